"""Keys pressed while the page is about to show another example never decide on that one."""

import random
from datetime import datetime
from pathlib import Path

from playwright.sync_api import Browser, Page, expect
from test_ui_review import fill, posts, words
from ui_kit import open_page, serving

from curation.records import Decision, Verdict
from curation.tables import verdict_row

WATCH = """window.before = []; window.addEventListener('keydown', () =>
  before.push(...[...document.querySelectorAll('.t-card')].map((card) => card.innerText.trim())), true)"""


def hammer(page: Page, times: int) -> set[str]:
    """Press K again and again; returns all that was on the screen when it was pressed."""
    page.evaluate("document.activeElement && document.activeElement.blur()")
    dice = random.Random(7)
    for _ in range(times):
        page.keyboard.press("k")
        page.wait_for_timeout(dice.choice((0, 5, 10, 20, 40, 80)))
    page.wait_for_timeout(1500)
    return set(page.evaluate("before"))


def test_no_key_decides_on_what_was_not_on_the_screen(browser: Browser, tmp_path: Path) -> None:
    examples = posts(80)
    said = [
        verdict_row(Verdict(example=one.id, by=f"human:{who}", decision=decision, at=datetime(2026, 11, 1)))
        for one in examples[:40]
        for who, decision in (("ann", Decision.KEEP), ("bob", Decision.DROP))
    ]
    store = fill(tmp_path / "workspace", list(examples), *said)
    with serving(tmp_path / "workspace", overlap=1) as address:
        page = open_page(browser, f"{address}/adjudicate", "eve")
        expect(page.locator(".t-card")).to_be_visible()
        page.evaluate(WATCH)
        seen = {"human:adjudicator:eve": hammer(page, 80)}
        page.context.close()
        page = open_page(browser, f"{address}/review?order=newest", "zoe")
        page.evaluate(WATCH)
        for order in ("Random audit sample", "Newest first", "Thin cells first"):
            expect(page.locator(".t-card")).to_be_visible()
            page.get_by_role("combobox").first.click()
            page.get_by_role("option", name=order).click()
            seen["human:zoe"] = hammer(page, 25)
        page.context.close()
    for who, what in seen.items():
        decided = [text for author, text, *_ in words(store) if author == who]
        assert len(decided) > 1
        assert len(set(decided)) == len(decided)
        assert set(decided) <= what
