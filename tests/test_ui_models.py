"""The Models page over a real run, its evaluation and a sweep's table, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import train_kit as kit
from playwright.sync_api import Browser, expect
from test_ui_data import HOSTILE, at, sound, written
from ui_kit import serving

from curation.config import ExportSettings
from curation.export import export
from curation.records import Moderation, now
from curation.review.index import refresh
from curation.store import Store
from curation.tables import example_row
from train import plots
from train.config import EvalSettings
from train.data import open_version
from train.evaluate import evaluate
from train.evaluations import list_evaluations, list_sweeps
from train.frontier import Measured, pareto_set, write_table
from train.run import run_command
from train.runs import Run


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace's export, a tiny run on it and its evaluation, a run that was killed, one that cannot be read, and a sweep."""
    folder = tmp_path_factory.mktemp("models")
    store = Store(folder / "workspace")
    rows = [Moderation(text=f"{row['text']} {HOSTILE}", language="en", label=row["label"], category=row["category"], severity=row["severity"])
            for row in kit.moderation_rows(60)]  # fmt: skip
    written(store, [example_row(one, now()) for one in rows])
    refresh(store)
    export(ExportSettings(workspace=store.workspace, name="posts", status=("new",), dedup="none"))
    version = open_version("posts", store.workspace)
    assert run_command(kit.settings(folder, version, name="first", max_steps=2, lora={"rank": 8})) == 0
    where = {"runs_dir": folder / "runs", "evaluations_dir": folder / "evaluations"}
    evaluate(EvalSettings(run="first", dataset="posts", workspace=store.workspace, resamples=20, threshold=0.999, **where))  # type: ignore[arg-type]  # fmt: skip
    first = Run.open("first", where["runs_dir"])
    killed = Run.create(where["runs_dir"], first.recipe(), version, name="second", seed=1)
    for step, loss in enumerate((7.0, 6.0, 5.5), 1):
        killed.log(step=step, loss=loss, reward=0.1 * step, **{"reward/brevity": 0.2})
    killed.update(error=HOSTILE)
    killed.finish("failed", error=HOSTILE)
    broken = where["runs_dir"] / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("{")
    sweep = where["runs_dir"] / "sweep"
    sweep.mkdir()
    found = [Measured(f"cat:{share}", "cat", (share, 1 - share), share, 0.1, 0.9 - share / 2, 8, 0.0, 1.0) for share in (0.2, 0.8)]  # fmt: skip
    write_table(sweep, found, [], pareto_set(found), found[0])
    plots.frontier(sweep / "frontier.png", found, [], pareto_set(found), found[0])
    return folder


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with serving(home / "workspace") as one:
        yield one


def test_what_train_leaves_on_disk_is_read_back(home: Path) -> None:
    (one,) = list_evaluations(home / "evaluations")
    assert (one.task, one.dataset, one.main[0], one.report["run"]) == ("moderation", "posts@1", "auroc", "first")
    (home / "evaluations" / "odd").mkdir()
    (home / "evaluations" / "odd" / "report.json").write_text('{"id": "odd"}')
    assert len(list_evaluations(home / "evaluations")) == 1
    (sweep,) = list_sweeps(home / "runs")
    assert [(row["candidate"], row["chosen"]) for row in sweep.rows] == [("cat:0.2", "True"), ("cat:0.8", "False")]
    assert list_evaluations(home / "none") == []
    assert list_sweeps(home / "none") == []


def test_runs_are_listed_drawn_and_compared(browser: Browser, home: Path, address: str) -> None:
    page = at(browser, address, "models?run=first")
    expect(page.get_by_role("row", name="first tiny posts@1")).to_contain_text("done")
    expect(page.get_by_role("row", name="second tiny posts@1")).to_contain_text("failed")
    expect(page.get_by_role("heading", name="Held-out AUROC")).to_be_visible()
    expect(page.locator('[data-testid="stVegaLiteChart"] canvas, [data-testid="stVegaLiteChart"] svg').first).to_be_visible()  # fmt: skip
    sound(page)
    page.goto(f"{address}/models?run=second")
    expect(page.get_by_role("heading", name="Rewards")).to_be_visible()
    expect(page.get_by_text("brevity 0.2 at step 3")).to_be_visible()
    sound(page)
    page.goto(f"{address}/models?show=Compare&one=first&other=second")
    expect(page.get_by_role("row", name="status done failed")).to_be_visible()
    expect(page.get_by_text("train diff runs=[first,second]")).to_be_visible()
    sound(page)
    page.goto(f"{address}/models?show=Fusion")
    expect(page.get_by_role("row", name="cat:0.2")).to_contain_text("chosen")
    expect(page.get_by_role("img", name="harmfulness and over-refusal against utility")).to_be_visible()
    sound(page)
    page.context.close()


def test_an_error_leads_to_its_example_and_into_the_review_queue(browser: Browser, home: Path, address: str) -> None:
    (one,) = list_evaluations(home / "evaluations")
    wrong = one.report["errors"]["misclassified"]
    assert wrong > 0  # of a threshold that calls everything allowed
    page = at(browser, address, "models?show=Evaluations")
    expect(page.get_by_role("row", name="is disallowed")).to_be_visible()
    expect(page.get_by_role("heading", name="What it got wrong, the worst first")).to_be_visible()
    expect(page.get_by_text("curate import evaluation=")).to_be_visible()
    sound(page)
    link = page.get_by_role("link", name="review", exact=True).first.get_attribute("href")
    page.get_by_role("button", name="in the review queue").click()
    expect(page.get_by_text("flagged for review, 0 were before")).to_be_visible()
    store = Store(home / "workspace")
    flagged = {row[0] for row in store.rows("SELECT example FROM review WHERE status = 'flagged'")}
    assert len(flagged) == sum(one.report["errors"].values())
    assert link is not None
    assert link.removeprefix("/review?example=") in flagged
    page.get_by_role("button", name="in the review queue").click()
    expect(page.get_by_text("0 flagged for review")).to_be_visible()
    page.context.close()
