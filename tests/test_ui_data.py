"""The pages over what is in a workspace and what came of it, in a real browser: Agreement."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote
from zipfile import ZipFile

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from ui_kit import open_page, serving, settled

from curation.config import ExportSettings
from curation.export import export
from curation.records import Decision, Generated, Moderation, Verdict, now
from curation.review.decide import decided
from curation.review.index import refresh
from curation.store import Store
from curation.tables import TableRow, example_row, origin_row, verdict_row

HOSTILE = "<img src=x onerror=window.hit=1><script>window.hit=1</script> \u202eback \x00 [l](http://evil.test) ![i](http://evil.test/i.png)"

ANIMALS = ("heron", "badger", "otter", "lynx", "toad", "wren", "mole", "stoat", "newt", "hare", "swift", "pike")


def post(number: int) -> Moderation:
    words = " ".join(f"word{number + step}" for step in range(12))
    label = {"label": "disallowed", "category": "spam", "severity": 2} if number % 3 == 0 else {"label": "allowed"}
    return Moderation.model_validate({"text": f"{words} {HOSTILE if number == 0 else ''}", "language": "en", **label})


def written(store: Store, rows: list[TableRow]) -> None:
    with store.write() as connection:
        for table in ("examples", "origins", "verdicts"):
            store.insert(connection, table, [row for name, row in rows if name == table])


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty examples by a prompt of an ugly name, decided by two people."""
    folder = tmp_path_factory.mktemp("data") / "workspace"
    at, rows = now() - timedelta(hours=1), []
    for number in range(20):
        one = post(number)
        origin = Generated(completion="cp", position=0, prompt=HOSTILE, provider="offline", model="offline")
        rows += [example_row(one, at), origin_row(one.id, origin, at)]
        for by, keeps in (("ann", True), (HOSTILE, number % 4 > 0)):
            when = at + timedelta(seconds=10 * number)
            said = Verdict(example=one.id, by=f"human:{by}", decision="keep" if keeps else "drop", at=when)
            rows.append(verdict_row(said))
    written(Store(folder), rows)
    return folder


@pytest.fixture(scope="module")
def address(workspace: Path) -> Iterator[str]:
    with serving(workspace) as one:
        yield one


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(tmp_path_factory.mktemp("empty") / "workspace") as one:
        yield one


def at(browser: Browser, address: str, page: str) -> Page:
    return open_page(browser, f"{address}/{page}", "ann")


def sound(page: Page) -> None:
    """Nothing failed, nothing of a stranger ran, and axe finds nothing serious."""
    settled(page)
    expect(page.get_by_text("This page failed")).to_have_count(0)
    assert page.evaluate("window.hit") is None
    assert page.locator('[data-testid="stMain"] img[src*="evil"], [data-testid="stMain"] a[href*="evil"]').count() == 0
    found = Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_agreement_says_how_far_people_agree(browser: Browser, address: str, empty: str) -> None:
    page = at(browser, address, "agreement")
    expect(page.get_by_text("of them by two or more")).to_be_visible()
    row = page.get_by_role("row", name="decision: keep, drop or flag")
    expect(row).to_contain_text("20")
    expect(row).to_contain_text("75%")
    expect(row.get_by_role("img").first).to_have_attribute("aria-label", "-0.11, 95 % -0.26 to -0.03")
    sound(page)
    page.get_by_role("radio", name="Label").click()
    page.wait_for_url("**/agreement?on=label")
    expect(page.get_by_role("heading", name="How noisy the labels are")).to_be_visible()
    # an address that somebody sent is as hostile as a text: what the page says of it is text
    page.goto(f"{address}/review?order={quote(HOSTILE)}")
    expect(page.get_by_role("alert").filter(has_text="there is no such order")).to_contain_text("onerror")
    sound(page)
    page.context.close()
    page = at(browser, empty, "agreement")
    expect(page.get_by_text("Nobody has decided on an example yet")).to_be_visible()
    expect(page.get_by_text("overlap=0.2")).to_be_visible()
    sound(page)
    page.context.close()


def test_duplicates_are_cut_compared_and_settled_as_one_act(browser: Browser, tmp_path: Path, empty: str) -> None:
    folder = tmp_path / "workspace"
    store, when = Store(folder), now()
    base = "selling my old bike with new tyres and a bell today only call me soon " + HOSTILE
    posts = [Moderation(text=base.replace("bike", thing), language="en", label="allowed") for thing in ("bike", "car", "van")]  # fmt: skip
    posts += [Moderation(text=f"{start} 我想卖我的旧自行车，轮胎是新的", language="zh", label="allowed") for start in "甲乙"]  # fmt: skip
    ids = [one.id for one in posts]
    pairs = [(ids[0], ids[1], 0.9), (ids[1], ids[2], 0.6), (ids[3], ids[4], 0.95)]
    written(store, [example_row(one, when) for one in posts])
    with store.write() as connection:
        store.insert(connection, "dedups", [("dd1", 5, 3, 0.6, "{}", when)])
        store.insert(connection, "near_pairs", [("dd1", *sorted((a, b)), score) for a, b, score in pairs])

    def decisions() -> list[tuple[str, str, str]]:
        rows = store.rows("SELECT example, author, decision FROM verdicts ORDER BY made_at, id")
        return [(str(one), str(by), str(said)) for one, by, said in rows]

    with serving(folder) as address:
        page = at(browser, address, "duplicates")
        expect(page.get_by_text("3 twins")).to_be_visible()
        expect(page.locator("ins", has_text="car").or_(page.locator("del", has_text="car")).first).to_be_visible()
        expect(page.locator("ins, del").filter(has_text="乙").first).to_be_visible()
        sound(page)
        page.goto(f"{address}/duplicates?alike=0.8")  # cut anew: one text falls away
        expect(page.get_by_text("2 twins")).to_have_count(2)
        page.goto(f"{address}/duplicates")
        expect(page.get_by_text("3 twins")).to_be_visible()
        page.get_by_role("button", name="Keep this one").nth(1).click()
        expect(page.get_by_text("one kept, 2 dropped")).to_be_visible()
        expect(page.get_by_text("3 twins")).to_have_count(0)
        said = decisions()
        assert sorted(decision for _, _, decision in said) == ["drop", "drop", "keep"]
        assert {by for _, by, _ in said} == {"human:ann"}
        assert {one for one, _, _ in said} == set(ids[:3])
        page.keyboard.press("u")
        expect(page.get_by_text("taken back for 3 examples")).to_be_visible()
        expect(page.get_by_text("3 twins")).to_be_visible()
        page.get_by_role("button", name="Keep the first of each of 2 clusters").click()
        page.get_by_role("button", name="Drop 3 examples").click()
        expect(page.get_by_text("No cluster is open at this threshold")).to_be_visible()
        assert [decision for _, _, decision in decisions()[-3:]] == ["drop"] * 3
        page.context.close()
    page = at(browser, empty, "duplicates")
    expect(page.get_by_text("curate dedup threshold=0.7")).to_be_visible()
    sound(page)
    page.context.close()


def test_datasets_are_shown_compared_previewed_exported_and_downloaded(
    browser: Browser, tmp_path: Path, empty: str
) -> None:
    folder = tmp_path / "workspace"
    store = Store(folder)
    when, rows = now(), []
    for number in range(12):
        one = Moderation(text=f"{number} {HOSTILE} {ANIMALS[number]} by lake {number * 13}", language="en", label="allowed")  # fmt: skip
        origin = Generated(completion="cp", position=0, prompt=HOSTILE, provider="offline", model="offline")
        rows += [example_row(one, when), origin_row(one.id, origin, when)]
    written(store, rows)
    export(ExportSettings(workspace=folder, name="animals", status=("new",), dedup="none"))
    dropped = store.rows("SELECT id FROM examples ORDER BY id LIMIT 1")[0][0]
    written(store, decided([dropped], "bob", Decision.DROP, reason=HOSTILE))
    refresh(store)
    with serving(folder) as address:
        page = at(browser, address, "datasets?show=New+version")
        expect(page.get_by_text("curate export name=animals")).to_be_visible()
        page.get_by_role("button", name="Preview").click()
        expect(page.get_by_text("Nothing was written yet")).to_be_visible()
        assert not (folder / "datasets/animals/2").exists()
        sound(page)
        page.get_by_role("button", name="Export", exact=True).click()
        expect(page.get_by_text("animals@2 is written")).to_be_visible(timeout=30_000)
        assert (folder / "datasets/animals/2/manifest.json").is_file()
        page.goto(f"{address}/datasets?show=Changes")
        expect(page.get_by_role("cell", name="human:bob: drop")).to_be_visible()
        assert dropped[:12] in page.get_by_role("link", name="ex1_").first.inner_text()
        sound(page)
        readme = folder / "datasets/animals/1/README.md"
        readme.chmod(0o644)
        readme.write_text(f"---\na: b\n---\n# card\n{HOSTILE}")
        page.goto(f"{address}/datasets?version=animals%401")
        expect(page.get_by_text("README.md was changed since the export").first).to_be_visible()
        sound(page)
        with page.expect_download() as got:
            page.get_by_role("button", name="Download").click()
        with ZipFile(got.value.path()) as archive:
            assert "animals-1/manifest.json" in archive.namelist()
        page.context.close()
    page = at(browser, empty, "datasets")
    expect(page.get_by_text("curate export name=moderation")).to_be_visible()
    sound(page)
    page.goto(f"{empty}/models")
    expect(page.get_by_text("train run dataset=moderation recipe=tiny name=first")).to_be_visible()
    sound(page)
    page.context.close()
