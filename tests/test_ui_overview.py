"""The Overview page in a real browser: the heat map offers the command that fills a thin cell."""

import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from ui_kit import ROOT, WAIT_MS, open_page, serious, serving, settled

SYNTH = (sys.executable, "-c", "from synth.cli import app; app()")


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    workspace = tmp_path / "workspace"
    words = ["run", "prompt=general_ok", "n=6", "language=en", f"workspace={workspace}"]
    subprocess.run(
        [*SYNTH, *words], cwd=ROOT, check=True, capture_output=True
    )  # playwright has this thread's event loop
    return workspace


def test_a_thin_cell_offers_its_command(browser: Browser, filled: Path) -> None:
    with serving(filled) as address:
        page = open_page(browser, address)
        expect(page.get_by_role("heading", name="Coverage")).to_be_visible()
        heat = page.get_by_label("usable examples of each label and category by language")
        expect(heat.get_by_role("columnheader", name="Tamil")).to_be_visible()
        expect(heat.get_by_role("cell", name="none")).to_have_count(3)
        command = page.get_by_test_id("stCode")
        expect(command).to_contain_text("synth run prompt=general_ok language=")
        expect(command).to_contain_text("n=50 seed=1")
        assert serious(page) == []
        page.goto(f"{address}/?by=topic")
        settled(page)
        expect(page.get_by_test_id("stCode")).to_contain_text("axes.topic=", timeout=WAIT_MS)
        page.context.close()
