"""The Runs page: a run is started, watched, stopped and gone on with from the browser, and one that cannot run says why."""

import time
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from ui_kit import open_page, serious, serving, settled

from curation.config import ImportSettings
from curation.review.runs import runs
from curation.settings import load
from curation.store import Store
from synth.config import RunSettings
from ui.words import words_of

expect.set_options(timeout=20_000)
HOSTILE = "<img src=x onerror=window.hacked=1> not JSON at all"


def form(page: Page, n: int, more: str) -> None:
    start = page.get_by_role("button", name="Start", exact=True)
    if not start.is_visible():
        page.get_by_text("Start a run").click()
    page.get_by_role("spinbutton", name="Examples of each").fill(str(n))
    page.get_by_role("spinbutton", name="Examples of each").press("Enter")
    page.get_by_role("textbox", name="Other settings").fill(more)
    page.get_by_role("textbox", name="Other settings").press("Enter")
    expect(page.get_by_test_id("stCode").first).to_contain_text(more.rsplit(maxsplit=1)[-1])
    settled(page)
    start.click()


def examples(store: Store) -> int:
    return int(store.rows("SELECT count(*) FROM examples")[0][0])


def test_a_run_is_started_watched_stopped_and_gone_on_with(browser: Browser, tmp_path: Path) -> None:
    store = Store(tmp_path / "workspace")
    with serving(tmp_path / "workspace") as address:
        page = open_page(browser, f"{address}/runs", "ann")
        assert serious(page) == []
        page.get_by_role("button", name="What would it cost?").click()
        expect(
            page.get_by_text("100 examples in all, those that are there already included; expected cost: nothing")
        ).to_be_visible()
        form(page, 300, "offline.latency_ms=500 concurrency=1")
        stop = page.get_by_role("button", name="Stop").first
        expect(stop).to_be_enabled()
        row = page.locator("table.t-table tbody tr").first
        expect(row).to_contain_text("running")
        seen = set()
        for _ in range(60):
            seen.add(row.locator("td").nth(3).inner_text())
            if len(seen) >= 3:
                break
            time.sleep(0.2)
        assert len(seen) >= 3, "it stands still"
        stop.click()
        expect(stop).to_be_disabled()
        expect(row).to_contain_text("stopped")
        assert serious(page) == []
        expect(page.get_by_text("Stopped: interrupted.").first).to_be_visible()
        part = examples(store)
        assert 0 < part < 300
        page.reload()
        settled(page)
        page.get_by_role("button", name="Run again").first.click()
        stop = page.get_by_role("button", name="Stop").first
        expect(stop).to_be_enabled()
        form(page, 300, "offline.latency_ms=500 concurrency=1")  # while the same is asked already
        expect(page.get_by_role("status").first).to_contain_text("a run of prompt 'general_ok'")
        expect(page.locator("table.t-table tbody tr").first).to_contain_text("ended", timeout=60_000)
        assert examples(store) == 300
        first, second = runs(store)[1], runs(store)[0]
        assert (first.state, second.state, second.wanted) == ("stopped", "ended", 300)
        assert first.examples + second.examples >= 300

        form(page, 5, "model=nobody provider=anthropic base_url=nonsense")
        expect(page.get_by_role("alert")).to_be_visible()
        assert "Traceback" not in page.locator("body").inner_text()
        form(page, 5, "colour=red")
        expect(page.get_by_role("alert")).to_contain_text("colour")
        page.context.close()


def test_raw_answers_that_could_not_be_read_are_shown_and_inert(browser: Browser, tmp_path: Path) -> None:
    store = Store(tmp_path / "workspace")
    at = "now()::TIMESTAMP"
    with store.write() as connection:
        connection.execute(f"INSERT INTO runs VALUES ('rn1', '{{\"prompt\": [\"p\"], \"n\": 5}}', 'tilth 0', {at})")
        store.insert(connection, "completions", [])
        connection.execute(
            f"INSERT INTO completions (id, request, run, model, text, made_at) VALUES ('cp1', 'rq1', 'rn1', 'm', $text, {at})",
            {"text": HOSTILE},
        )
        connection.execute(
            f"INSERT INTO malformed (id, completion, reason, made_at) VALUES ('ml1', 'cp1', 'no item found', {at})"
        )
    with serving(tmp_path / "workspace") as address:
        page = open_page(browser, f"{address}/runs?run=rn1", "ann")
        page.get_by_text("cp1", exact=True).click()
        expect(page.get_by_text("not JSON at all")).to_be_visible()
        assert page.evaluate("window.hacked") is None
        page.context.close()


@pytest.mark.parametrize(
    "words",
    [
        ["prompt=[general_ok,meme_ok]", "n=5", "axes.topic=[food,a b]", "offline.latency_ms=7", "max_usd=0.5"],
        ["prompt=yes", 'model="1"', "seed=3", "structured=false"],
    ],
)
def test_settings_and_words_say_the_same(words: list[str]) -> None:
    settings = load(RunSettings, words, environ={})
    assert load(RunSettings, words_of(settings), environ={}) == settings
    assert words_of(load(ImportSettings, ["path=posts.csv"], environ={})) == ["path=posts.csv"]
