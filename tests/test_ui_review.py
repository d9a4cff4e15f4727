"""A labelling session in a real browser, by keys alone; afterwards the store holds exactly what was decided."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect
from ui_kit import ROOT, open_page, serious, serving, settled

from curation.records import QA, Decision, Dialogue, Moderation, Preference, Safety, Turn, Verdict
from curation.review.index import refresh
from curation.store import Store
from curation.tables import AnyExample, TableRow, example_row, verdict_row

AT = datetime(2026, 11, 1)
HOSTILE = "<script>window.hacked=1</script><img src=x onerror=window.hacked=1> ![a](https://evil.example/a.png) \u202eturned\u202c nul\x00"


expect.set_options(timeout=20_000)


def fill(workspace: Path, examples: list[AnyExample], *more: TableRow) -> Store:
    store = Store(workspace)
    rows = [example_row(one, AT - timedelta(seconds=at)) for at, one in enumerate(examples)]
    with store.write() as connection:
        store.insert(connection, "examples", [row for _, row in rows])
        for table in ("verdicts", "near_pairs"):
            store.insert(connection, table, [row for name, row in more if name == table])
    refresh(store)
    return store


def posts(n: int, **fields: object) -> list[Moderation]:
    return [
        Moderation.model_validate({"text": f"post number {at}", "language": "en", "label": "allowed", **fields})
        for at in range(n)
    ]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[tuple[str, Store, list[Moderation]]]:
    """The newest post first, so that what is before the reviewer is known."""
    examples = posts(8)
    pairs = [("near_pairs", ("dd", *sorted((examples[4].id, examples[5].id)), 0.9))]
    store = fill(tmp_path / "workspace", list(examples), *pairs)
    with serving(tmp_path / "workspace", overlap=1) as address:
        yield f"{address}/review?order=newest", store, examples


def words(store: Store) -> list[tuple[str, str, str, str, str | None]]:
    """(author, text, decision, reason, labels) of all verdicts, as they were said."""
    return store.rows(  # type: ignore[return-value]
        "SELECT author, content, decision, reason, labels FROM verdicts JOIN examples ON examples.id = example "
        "ORDER BY verdicts.made_at, content"
    )


def press(page: Page, key: str, then: str | None = None) -> None:
    """Press a key, and wait until the card says `then`."""
    expect(page.get_by_role("button", name="Undo")).to_be_visible()  # a key that has no button yet does nothing
    settled(page)
    page.wait_for_timeout(250)
    page.keyboard.press(key)
    if then is not None:
        expect(page.locator(".t-card").filter(has_text=then)).to_be_visible()
        expect(page.locator(".t-card")).to_have_count(1)


def test_a_session_by_keys_leaves_exactly_its_verdicts(
    browser: Browser, desk: tuple[str, Store, list[Moderation]]
) -> None:
    address, store, _ = desk
    page = open_page(browser, address, "ann")
    expect(page.locator(".t-card")).to_contain_text("post number 0")
    press(page, "k", "post number 1")
    press(page, "w")
    expect(page.get_by_label("Reason", exact=True)).to_be_focused()
    page.keyboard.type("too short")
    page.reload()  # what was typed and not sent comes back
    settled(page)
    expect(page.get_by_label("Reason", exact=True)).to_have_value("too short")
    page.keyboard.type(" by far")
    press(page, "Enter", "post number 2")
    press(page, "d", "post number 3")
    press(page, "u", "post number 2")
    press(page, "l")
    expect(page.get_by_role("radio", name="allowed", exact=True)).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(200)
    press(page, "Control+Enter", "post number 3")
    press(page, "e")
    expect(page.get_by_label("Text", exact=True)).to_be_focused()
    page.keyboard.press("Control+End")
    page.keyboard.type(", edited")
    press(page, "Control+Enter", "post number 4")
    press(page, "s", "post number 5")
    press(page, "p", "post number 4")
    press(page, "n", "post number 5")
    press(page, "f", "post number 6")
    page.context.close()
    expected = [
        ("human:ann", "post number 0", "keep", "", None),
        ("human:ann", "post number 1", "drop", "too short by far", None),
        ("human:ann", "post number 2", "drop", "", None),
        ("human:ann", "post number 2", "retract", "undo", None),
        ("human:ann", "post number 2", "keep", "", '{"category":"none","label":"disallowed","severity":0}'),
        ("human:ann", "post number 3", "drop", "edited", None),
        ("human:ann", "post number 3, edited", "keep", "", None),
        ("human:ann", "post number 5", "flag", "", None),
    ]
    for _ in range(40):
        if len(found := words(store)) == len(expected):
            break
        time.sleep(0.1)
    assert [
        (by, text, decision, reason.split(":")[0], labels) for by, text, decision, reason, labels in found
    ] == expected


def test_keys_pressed_faster_than_the_page_decide_nothing_unseen(
    browser: Browser, desk: tuple[str, Store, list[Moderation]]
) -> None:
    address, store, _ = desk
    page = open_page(browser, address, "ann")
    expect(page.locator(".t-card")).to_contain_text("post number 0")
    page.evaluate(
        "window.before = []; window.addEventListener('keydown', () => before.push(document.querySelector('.t-card')?.innerText.trim()), true)"
    )
    for pause in (0, 20, 60, 0, 120, 20, 0):
        page.keyboard.press("k")
        page.wait_for_timeout(pause)
    settled(page)
    page.wait_for_timeout(1500)
    before, shown = page.evaluate("before"), page.locator(".t-card").inner_text().strip()
    page.context.close()
    for _ in range(40):
        if (kept := [text for _, text, _, _, _ in words(store)]) and len(kept) == int(shown.split()[-1]):
            break
        time.sleep(0.1)
    assert kept == [f"post number {at}" for at in range(len(kept))]
    assert shown == f"post number {len(kept)}"
    assert set(kept) <= set(before)


def test_letters_typed_before_a_panel_is_there_are_its_first_letters(
    browser: Browser, desk: tuple[str, Store, list[Moderation]]
) -> None:
    address, store, _ = desk
    page = open_page(browser, address, "ann")
    expect(page.locator(".t-card")).to_contain_text("post number 0")
    page.keyboard.type("wdkf")  # W, and at once what would drop, keep and flag
    expect(page.get_by_label("Reason", exact=True)).to_have_value("dkf")
    page.keyboard.press("Enter")
    expect(page.locator(".t-card")).to_contain_text("post number 1")
    page.context.close()
    for _ in range(40):
        if words(store):
            break
        time.sleep(0.1)
    assert [word[1:4] for word in words(store)] == [("post number 0", "drop", "dkf")]


def test_one_decision_for_a_cluster_or_a_filter_and_its_undo(
    browser: Browser, desk: tuple[str, Store, list[Moderation]]
) -> None:
    address, store, examples = desk
    page = open_page(browser, f"{address}&example={examples[4].id}", "ann")
    expect(page.locator(".t-card")).to_contain_text("post number 4")
    press(page, "o")
    expect(page.locator(".st-key-panel ins")).to_have_text(["5"])
    expect(page.locator(".st-key-panel del")).to_have_text(["4"])
    press(page, "o")
    press(page, "a")
    expect(page.get_by_text("this example and its near twins (2)")).to_be_visible()
    expect(page.locator(".st-key-panel input[type=radio]").first).to_be_focused()
    press(page, "Control+Enter", "post number 0")
    assert [word[1:3] for word in words(store)] == [("post number 4", "drop"), ("post number 5", "drop")]
    press(page, "a")
    page.get_by_text("all that this filter leaves waiting for me (6)").wait_for()
    expect(page.locator(".st-key-panel input[type=radio]").first).to_be_focused()
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(200)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    assert len(words(store)) == 8
    press(page, "u")
    expect(page.locator(".t-note")).to_contain_text("taken back: 6 decisions")
    expect(page.locator(".t-card")).to_contain_text("post number")
    page.context.close()
    for _ in range(40):
        if len(words(store)) == 14:
            break
        time.sleep(0.1)
    refresh(store)
    assert store.rows("SELECT status, count(*) FROM review GROUP BY 1 ORDER BY 1") == [("dropped", 2), ("new", 6)]


def test_a_filter_is_set_by_keys_and_its_address_is_the_filter(browser: Browser, tmp_path: Path) -> None:
    fill(tmp_path / "workspace", [*posts(3), *posts(1, language="ms", text="hantaran")])
    with serving(tmp_path / "workspace") as address:
        page = open_page(browser, f"{address}/review?order=newest", "ann")
        expect(page.locator(".t-note")).to_contain_text("4 waiting for you")
        for _ in range(40):
            if page.evaluate(
                "document.activeElement.tagName === 'BUTTON' && document.activeElement.innerText.includes('Filter')"
            ):
                break
            page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        language = page.get_by_role("combobox", name="Language")
        expect(language).to_be_visible()
        for _ in range(40):
            if language.evaluate("one => one === document.activeElement"):
                break
            page.keyboard.press("Tab")
        page.keyboard.type("Mal")
        page.keyboard.press("Enter")
        expect(page.locator(".t-note")).to_contain_text("1 waiting for you")
        expect(page.locator(".t-card")).to_contain_text("hantaran")
        assert "language=ms" in page.url
        other = open_page(browser, page.url, "bob")
        expect(other.locator(".t-card")).to_contain_text("hantaran")
        expect(other.locator(".t-note")).to_contain_text("1 waiting for you")


def test_what_strangers_wrote_is_inert_and_every_task_has_its_card(browser: Browser, tmp_path: Path) -> None:
    turns = (Turn(role="user", content=HOSTILE, annotation={"intent": HOSTILE, "slots": {"size": "<b>XL</b>"}}),
             Turn(role="assistant", content="fine", cites=("4.2",)))  # fmt: skip
    examples: list[AnyExample] = [
        Moderation(text=HOSTILE, language="en", label="allowed"),
        Moderation(text=HOSTILE, title=HOSTILE, surface="listing", language="en", label="allowed"),
        Moderation(text=HOSTILE, caption=HOSTILE, surface="meme", images=("../../x",), language="en", label="allowed"),
        Dialogue(turns=turns, language="en"), Preference(prompt=HOSTILE, chosen=HOSTILE, rejected="no", language="en"),
        Safety(prompt=HOSTILE, response=HOSTILE, behaviour="refuse", language="en"), QA(question=HOSTILE, answer="x", language="en"),
        Moderation(text="long " * 200_000 + "END", language="en", label="allowed"),
    ]  # fmt: skip
    said = verdict_row(
        Verdict(example=examples[0].id, by="judge:j@1", decision=Decision.FLAG, reason=HOSTILE, score=0.5, at=AT)
    )
    fill(tmp_path / "workspace", examples, said)
    with serving(tmp_path / "workspace") as address:
        page = open_page(browser, f"{address}/review?order=newest", "ann")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for number in range(len(examples)):
            expect(page.locator(".t-card")).to_contain_text("<script>window.hacked=1</script>" if number < 7 else "END")
            assert page.locator(".t-card script, .t-card img, .t-card a, .t-why img, .t-why script").count() == 0
            if number < 7:
                before = page.url
                press(page, "n")
                page.wait_for_function("before => location.href !== before", arg=before)
        assert page.evaluate("window.hacked") is None
        assert not [url for url in asked if "evil" in url]
        page.context.close()


def test_two_browsers_decide_blindly_and_a_third_adjudicates(browser: Browser, tmp_path: Path) -> None:
    store = fill(tmp_path / "workspace", list(posts(2)))
    with serving(tmp_path / "workspace", overlap=1) as address:
        ann, bob = (open_page(browser, f"{address}/review?order=newest", name) for name in ("ann", "bob"))
        press(ann, "w")
        ann.keyboard.type("secret")
        press(ann, "Enter", "post number 1")
        press(ann, "k")
        expect(ann.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
        bob.reload()
        settled(bob)
        expect(bob.locator(".t-card")).to_contain_text("post number 0")
        assert "secret" not in bob.locator("body").inner_text()
        press(bob, "k", "post number 1")
        press(bob, "k")
        expect(bob.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
        eve = open_page(browser, f"{address}/adjudicate", "eve")
        expect(eve.locator(".t-card")).to_contain_text("post number 0")
        expect(eve.locator(".t-why").first).to_contain_text("secret")
        assert serious(eve) == []
        press(eve, "1")
        expect(eve.get_by_role("heading", name="Nobody disagrees")).to_be_visible()
        press(eve, "u", "post number 0")
        press(eve, "2")
        expect(eve.get_by_role("heading", name="Nobody disagrees")).to_be_visible()
    assert [word[:4] for word in words(store)] == [
        ("human:ann", "post number 0", "drop", "secret"), ("human:ann", "post number 1", "keep", ""),
        ("human:bob", "post number 0", "keep", ""), ("human:bob", "post number 1", "keep", ""),
        ("human:adjudicator:eve", "post number 0", "drop", ""), ("human:adjudicator:eve", "post number 0", "retract", "undo"),
        ("human:adjudicator:eve", "post number 0", "keep", ""),
    ]  # fmt: skip


def test_the_sop_page_stands_beside_the_turns_that_cite_it(browser: Browser, tmp_path: Path) -> None:
    words = (
        "run",
        "prompt=sop_dialogue",
        f"documents={ROOT / 'docs/examples/sops/returns_abuse.pdf'}",
        "n=2",
        "language=en",
    )
    done = subprocess.run(
        [sys.executable, "-c", "from synth.cli import app; app()", *words], cwd=tmp_path, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with serving(tmp_path / "workspace") as address:
        page = open_page(browser, f"{address}/review?task=dialogue", "ann")
        expect(page.locator(".t-shot img").first).to_be_visible()
        assert page.evaluate("[...document.querySelectorAll('.t-shot img')].every(one => one.naturalWidth > 500)")
        cited = {chip.removeprefix("cites ") for chip in page.locator(".t-turn .t-info").all_inner_texts()}
        assert cited
        assert sorted(page.locator(".t-shot i b").all_inner_texts()) == sorted(cited)
        for mark in page.locator(".t-shot").all():
            outer = mark.bounding_box()
            for one in mark.locator("i").all():
                inner = one.bounding_box()
                assert outer
                assert inner
                assert outer["x"] - 3 <= inner["x"] <= inner["x"] + inner["width"] <= outer["x"] + outer["width"] + 3
                assert outer["y"] - 3 <= inner["y"] <= inner["y"] + inner["height"] <= outer["y"] + outer["height"] + 3
        expect(page.get_by_role("button", name="Relabel")).to_be_disabled()
        assert serious(page) == []
        for key in ("w", "Escape", "e", "Escape", "o", "o", "?", "Escape", "a"):
            press(page, key)
            page.wait_for_timeout(600)
            assert serious(page) == [], key
        page.context.close()
