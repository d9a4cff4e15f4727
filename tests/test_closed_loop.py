"""From what a model gets wrong back to the review queue, and on to new examples of the same cells."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from synth_kit import WAITS, column, filled, write

from curation.browse import ls_command
from curation.config import ExportSettings, ImportSettings, ListSettings
from curation.errors import InputError, NotFound
from curation.evaluations import Flagged, flag
from curation.export import export
from curation.importers import import_command, import_file
from curation.records import Decision, Verdict
from curation.store import Store
from curation.tables import verdict_row
from synth.choice import plans
from synth.config import RunSettings
from synth.targets import shared_out

LABELLED = {  # the axis `mood` decides the category
    **WAITS,
    "labels": {"label": "disallowed", "category": "{{ mood }}", "severity": 1},
}


def evaluation(folder: Path, mistakes: list[dict[str, Any]], identity: str = "run-on-posts-1-test-ab12cd") -> Path:
    """A folder as `train eval` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps({"id": identity, "rows": 100}), encoding="utf-8")
    (folder / "errors.jsonl").write_text("".join(json.dumps(one) + "\n" for one in mistakes), encoding="utf-8")
    return folder


def mistake(identity: str = "ex1_unknown", **fields: Any) -> dict[str, Any]:
    given = {
        "id": identity, "why": "misclassified", "said": "P(disallowed) 0.020", "label": "disallowed", "probability": 0.02, "loss": 3.9,
        "language": "en", "category": "glad", "severity": 1, "prompt": "waits",
    }  # fmt: skip
    return given | fields


def flagged(workspace: Path, folder: Path) -> Flagged:
    return flag(ImportSettings(workspace=workspace, evaluation=folder), folder)


# -- into the review queue -------------------------------------------------------------------------------------------


def test_mistakes_are_flagged_once(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("waits")
    filled(workspace, n=20)
    known = column(workspace, "SELECT id FROM examples ORDER BY id")
    folder = evaluation(
        Path("evaluations/one"), [mistake(known[0]), mistake(known[1], loss=0.6, why="high loss"), mistake("ex1_gone")]
    )
    before = column(workspace, "SELECT status FROM status WHERE status <> 'flagged'")
    assert len(before) == 20

    done = flagged(workspace, folder)
    assert (done.mistakes, done.new, done.there, done.unknown, done.settled) == (3, 2, 0, 1, 0)
    assert set(column(workspace, "SELECT example FROM status WHERE status = 'flagged'")) == set(known[:2])
    verdicts = Store(workspace).rows(
        "SELECT author, version, decision, reason, score FROM verdicts WHERE author = 'check:evaluation' ORDER BY score"
    )
    assert verdicts == [
        ("check:evaluation", "run-on-posts-1-test-ab12cd", "flag", "high loss: the model says P(disallowed) 0.020; the label is disallowed", 0.6),
        ("check:evaluation", "run-on-posts-1-test-ab12cd", "flag", "misclassified: the model says P(disallowed) 0.020; the label is disallowed", 3.9),
    ]  # fmt: skip

    again = flagged(workspace, folder)
    assert (again.new, again.there) == (0, 2)
    assert len(column(workspace, "SELECT id FROM verdicts WHERE author = 'check:evaluation'")) == 2
    assert ls_command(ListSettings(workspace=workspace, status=("flagged",))) == 0
    assert "2 of 2" in capsys.readouterr().out


def test_the_command_takes_an_id_and_says_what_is_next(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("waits")
    filled(workspace, n=10)
    known = column(workspace, "SELECT id FROM examples")
    evaluation(Path("evaluations/run-on-posts"), [mistake(known[0])])
    assert import_command(ImportSettings(workspace=workspace, evaluation=Path("run-on"))) == 0
    assert "1 mistakes, 1 flagged now, 0 flagged before" in capsys.readouterr().out
    assert import_command(ImportSettings(workspace=workspace, evaluation=Path("run-on"), as_json=True)) == 0
    assert json.loads(capsys.readouterr().out)["there"] == 1


def test_a_persons_word_stands(workspace: Path) -> None:
    write("waits")
    filled(workspace, n=10)
    known = column(workspace, "SELECT id FROM examples ORDER BY id")
    store = Store(workspace)
    with store.write() as connection:
        said = [Verdict(example=known[0], by="human:ann", decision=Decision.KEEP)]
        said += [
            Verdict(example=known[1], by="human:ann", decision=Decision.KEEP),
            Verdict(example=known[1], by="human:ann", decision=Decision.RETRACT),
        ]
        store.insert(connection, "verdicts", [verdict_row(one)[1] for one in said])
    done = flagged(workspace, evaluation(Path("e"), [mistake(known[0]), mistake(known[1])]))
    assert done.settled >= 1
    assert column(workspace, f"SELECT status FROM status WHERE example = '{known[0]}'") == ["kept"]
    assert column(workspace, f"SELECT status FROM status WHERE example = '{known[1]}'") == ["flagged"]


def test_an_evaluation_of_another_workspace_is_refused(workspace: Path) -> None:
    write("waits")
    filled(workspace, n=10)
    with pytest.raises(InputError, match="none of its 1 examples is in"):
        flagged(workspace, evaluation(Path("e"), [mistake()]))
    assert column(workspace, "SELECT id FROM verdicts WHERE author = 'check:evaluation'") == []
    assert flagged(workspace, evaluation(Path("faultless"), [])).mistakes == 0


@pytest.mark.parametrize(
    ("report", "errors", "said"),
    [
        (None, "", "name a folder that `train eval` made"),
        ("{}", "", "not the report of an evaluation"),
        ('{"id": "a"}', None, "cannot be read; run `train eval` again"),
        ('{"id": "a"}', "{\n", r"errors\.jsonl:1: "),
        ('{"id": "a"}', '{"id": "x", "why": "w", "said": "s", "language": "en", "probability": 7}\n', "probability"),
    ],
)
def test_a_broken_evaluation_is_named(workspace: Path, report: str | None, errors: str | None, said: str) -> None:
    write("waits")
    filled(workspace, n=10)
    folder = Path("broken")
    folder.mkdir()
    for name, text in (("report.json", report), ("errors.jsonl", errors)):
        if text is not None:
            (folder / name).write_text(text)
    with pytest.raises(InputError, match=said):
        flagged(workspace, folder)


def test_an_evaluation_is_found_by_the_beginning_of_its_name(workspace: Path) -> None:
    write("waits")
    filled(workspace, n=10)
    for name in ("run-a", "run-b"):
        evaluation(Path("evaluations") / name, [], name)
    assert flagged(workspace, Path("run-b")).evaluation == "run-b"
    with pytest.raises(InputError, match="more than one begins like that: run-a, run-b"):
        flagged(workspace, Path("run"))
    with pytest.raises(NotFound, match="Did you mean 'run-a'"):
        flagged(workspace, Path("runa"))


def test_import_wants_a_file_or_an_evaluation(workspace: Path) -> None:
    with pytest.raises(InputError, match="'path' is missing"):
        import_file(ImportSettings(workspace=workspace))
    with pytest.raises(InputError, match="limit: says nothing beside evaluation="):
        import_command(ImportSettings(workspace=workspace, evaluation=Path("e"), limit=3))


# -- and on to new examples ------------------------------------------------------------------------------------------


def chosen(folder: Path, **given: Any) -> list[tuple[str, str, tuple[Any, ...], int]]:
    found = plans(RunSettings(targets=f"evaluation:{folder}", **given))
    return [(plan.prompt.name, *plan.languages, tuple(plan.axes["mood"]), plan.n) for plan in found]


def test_plans_follow_the_mistakes(workspace: Path) -> None:
    write("waits", LABELLED, Path("prompts"))
    mistakes = (
        [mistake()] * 3
        + [mistake(category="cross", language="ms")] * 6
        + [mistake(category="cross")]
        + [mistake(prompt=None)] * 50
    )
    folder = evaluation(Path("e"), mistakes)
    assert chosen(folder, n=100) == [
        ("waits", "ms", ("cross",), 60),
        ("waits", "en", ("glad",), 30),
        ("waits", "en", ("cross",), 10),
    ]
    assert chosen(folder, n=100, language=("en",)) == [("waits", "en", ("glad",), 75), ("waits", "en", ("cross",), 25)]
    assert chosen(folder, n=1) == [("waits", "ms", ("cross",), 1)]
    other = evaluation(Path("corrected"), [mistake(category="a reviewer's")])
    assert chosen(other, n=5) == [("waits", "en", ("glad", "cross"), 5)]


def test_shares_add_up_and_keep_the_proportion() -> None:
    mistakes = {("a", "en", "x"): 5, ("b", "en", "x"): 3, ("c", "en", "x"): 3}
    for n in range(1, 60):
        shares = shared_out(n, mistakes)
        assert sum(shares.values()) == n
        assert all(abs(shares[cell] - n * times / 11) < 1 for cell, times in mistakes.items())


def test_new_examples_are_written_around_the_mistakes_once(workspace: Path) -> None:
    write("waits", LABELLED, Path("prompts"))
    filled(workspace, "waits", n=20, language=("en",))
    before = set(column(workspace, "SELECT id FROM examples"))
    folder = evaluation(Path("e"), [mistake(category="cross")] * 2 + [mistake(language="ms")])
    given = {"targets": f"evaluation:{folder}", "n": 30}
    report = filled(workspace, (), **given)
    assert report.complete
    assert sum(tally.accepted for tally in report.tallies) == 30
    fresh = Store(workspace).rows("SELECT id, language, category FROM examples")
    cells = Counter(row[1:] for row in fresh if row[0] not in before)
    assert cells[("en", "cross")] >= 20
    assert cells[("ms", "glad")] >= 10
    assert set(cells) == {("en", "cross"), ("ms", "glad")}

    again = filled(workspace, (), **given)
    assert again.traffic.asked == 0
    later = evaluation(Path("later"), [mistake(category="cross")], "another-run")
    assert filled(workspace, (), targets=f"evaluation:{later}", n=10).traffic.asked > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"targets": "e"}, "write targets=evaluation:FOLDER"),
        ({"targets": "evaluation:"}, "write targets=evaluation:FOLDER"),
        ({"targets": "evaluation:nowhere"}, "no such folder"),
        ({"targets": "evaluation:e", "prompt": ("waits",)}, "targets=... chooses the prompts"),
        ({"targets": "evaluation:e", "axes": {"mood": ("glad",)}}, "axes: says nothing beside targets="),
        ({"targets": "evaluation:e", "language": ("ta",)}, "language=ta: no mistake"),
        ({"targets": "evaluation:imported"}, "its 1 mistakes were not generated by a prompt"),
        ({"targets": "evaluation:faultless"}, "it has no mistakes"),
        ({"targets": "evaluation:old"}, "prompt 'wait_gone'"),
    ],
)
def test_targets_that_lead_nowhere(workspace: Path, given: dict[str, Any], said: str) -> None:
    write("waits", LABELLED, Path("prompts"))
    for name, mistakes in {
        "e": [mistake()], "imported": [mistake(prompt=None)], "faultless": [], "old": [mistake(prompt="wait_gone")],
    }.items():  # fmt: skip
        evaluation(Path(name), mistakes)
    with pytest.raises(InputError, match=said.replace(".", r"\.").replace("(", r"\(")):
        plans(RunSettings(**given))


# -- all the way round -----------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")
def test_from_a_version_through_a_model_and_back(workspace: Path) -> None:
    from train.config import EvalSettings
    from train.config import RunSettings as TrainSettings
    from train.evaluate import evaluate
    from train.run import run_command

    filled(workspace, ("general_ok", "listing_gambling"), n=60, language=("en", "ms"))
    export(ExportSettings(workspace=workspace, name="posts"))
    fixed = {"workspace": workspace, "dataset": "posts"}
    assert run_command(TrainSettings(**fixed, recipe="classifier", max_steps=4, report_to=("none",), name="first")) == 0
    found = evaluate(EvalSettings(**fixed, run="first", split="train", resamples=0))
    wrong = sum(found.report["errors"].values())
    assert wrong > 0, "four steps cannot have taught it everything"

    done = flagged(workspace, found.folder)
    assert (done.new, done.unknown) == (wrong, 0)
    assert (
        len(column(workspace, "SELECT example FROM verdicts WHERE author = 'check:evaluation' AND decision = 'flag'"))
        == wrong
    )
    cells = {
        (row["prompt"], row["language"])
        for row in map(json.loads, (found.folder / "errors.jsonl").read_text().splitlines())
    }
    before = set(column(workspace, "SELECT id FROM origins"))
    report = filled(workspace, (), targets=f"evaluation:{found.folder}", n=20)
    assert report.complete
    news = Store(workspace).rows(
        "SELECT origins.id, origins.prompt, language FROM origins JOIN examples ON examples.id = example"
    )
    assert {row[1:] for row in news if row[0] not in before} <= cells
