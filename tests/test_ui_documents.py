"""The Documents page over really rendered SOPs: pages with their steps marked, what cites them, and an outline corrected in the app."""

import os
import subprocess
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect
from ui_kit import ROOT, open_page, serious, serving, settled

from curation.shelf import current_outline, document
from curation.store import Store

SOP = ROOT / "docs/examples/sops/refund_late_parcel.pdf"


def synth(folder: Path, *words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from synth.cli import app; app()", *words], cwd=folder, capture_output=True, text=True,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_pages_show_their_steps_and_what_cites_them_and_an_outline_is_corrected(
    browser: Browser, tmp_path: Path
) -> None:
    synth(tmp_path, "run", "prompt=sop_dialogue", f"documents={SOP}", "n=3", "language=en")
    store = Store(tmp_path / "workspace")
    whole = document(store, SOP.stem)
    outline = current_outline(store, whole.id)
    assert outline is not None
    with serving(tmp_path / "workspace") as address:
        page = open_page(browser, f"{address}/documents", "ann")
        shot = page.locator(".t-shot")
        expect(shot.locator("img")).to_be_visible()
        number = int(page.url.partition("page=")[2])
        assert shot.locator("i b").all_inner_texts() == [step.id for step in outline.steps if step.place.page == number]
        link = page.locator("a[href*='review?example=']").first
        expect(link).to_be_visible()
        assert serious(page) == []

        page.get_by_text("Correct it").click()
        field = page.get_by_label("Steps, branches and evidence, as YAML")
        good = field.input_value()
        field.fill(good.replace("steps:", "stepps:", 1))
        page.get_by_role("button", name="Save as my outline").click()
        expect(page.get_by_role("alert")).to_contain_text("refund_late_parcel.yaml")
        assert current_outline(store, whole.id) == outline
        first = outline.steps[0].text
        field.fill(good.replace(first[:20], f"Kindly {first[:20].lower()}", 1))
        page.get_by_role("button", name="Save as my outline").click()
        expect(page.get_by_text("Stored as")).to_be_visible()
        edited = current_outline(store, whole.id)
        assert edited is not None
        assert (edited.by, edited.steps[0].text[:6]) == ("human:ann", "Kindly")

        page.goto(f"{address}/documents?document={SOP.stem}")
        settled(page)
        link.click()
        expect(page.locator(".t-card")).to_be_visible()
        page.context.close()


def test_without_documents_it_says_how_to_take_some_in(browser: Browser, tmp_path: Path) -> None:
    with serving(tmp_path / "workspace") as address:
        page = open_page(browser, f"{address}/documents")
        expect(page.get_by_test_id("stCode")).to_contain_text("synth render documents=docs/examples/sops")
        assert serious(page) == []
        page.context.close()
