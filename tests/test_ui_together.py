"""Two people review in their browsers while a batch job writes and somebody asks for figures: no error, and no decision is lost.

TOGETHER_S says for how many seconds; what is claimed of it was shown with 120.
"""

import os
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

from playwright.sync_api import Browser, Page
from ui_kit import ROOT, open_page, serving, settled

from curation.records import Moderation
from curation.store import Store
from curation.tables import example_row

SECONDS = float(os.environ.get("TOGETHER_S", "15"))
AT = datetime(2020, 1, 1)
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT), "TILTH_PRICES": ""}


def tilth(program: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = f"from {program}.cli import app; app()"
    return subprocess.run(
        [sys.executable, "-c", code, *words], cwd=cwd, env=ENVIRON, capture_output=True, text=True, check=False
    )


class Batch:
    """One command after the other, each a process of its own, until told to end; how often it ran, and what went wrong."""

    def __init__(self, folder: Path, program: str, *words: str, numbered: str = "") -> None:
        self.runs = 0
        self.wrong: list[str] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, args=(folder, program, words, numbered))
        self._thread.start()

    def _work(self, folder: Path, program: str, words: tuple[str, ...], numbered: str) -> None:
        while not self._over.is_set():
            more = (f"{numbered}={self.runs}",) if numbered else ()
            done = tilth(program, *words, *more, cwd=folder)
            self.runs += 1
            if done.returncode or "Traceback" in done.stderr:
                self.wrong.append(done.stderr[-2000:] or done.stdout[-2000:])

    def end(self) -> None:
        self._over.set()
        self._thread.join()


def shown(page: Page) -> str:
    return page.locator(".t-card").inner_text().strip()


def test_two_reviewers_a_batch_run_and_figures_at_once(browser: Browser, tmp_path: Path) -> None:
    workspace, n = tmp_path / "workspace", int(2_000 + 40 * SECONDS)
    store = Store(workspace)
    posts = [Moderation(text=f"post number {at}", language="en", label="allowed") for at in range(n)]
    with store.write() as connection:
        store.insert(connection, "examples", [example_row(one, AT + timedelta(seconds=n))[1] for one in posts])
    said: dict[str, list[tuple[str, str]]] = {"ann": [], "bob": []}
    with serving(workspace, overlap=0) as address:
        pages = {
            name: open_page(browser, f"{address}/review?order={order}&language=en", name)
            for name, order in (("ann", "audit"), ("bob", "newest"))
        }
        batch = Batch(tmp_path, "synth", "run", "prompt=general_ok", "n=60", numbered="seed")
        figures = Batch(tmp_path, "curation", "stats")
        until = time.monotonic() + SECONDS
        try:
            while time.monotonic() < until:
                for key, decision in (("k", "keep"), ("d", "drop"), ("f", "flag")):
                    for name, page in pages.items():
                        before = shown(page)
                        page.keyboard.press(key)
                        page.wait_for_function(
                            "before => { const card = document.querySelector('.t-card'); return card && card.innerText.trim() !== before }",
                            arg=before,
                        )
                        settled(page)
                        said[name].append((before, decision))
        finally:
            batch.end()
            figures.end()
        for page in pages.values():
            assert page.locator('[data-testid="stAlert"], .t-notice').count() == 0
            page.context.close()
    assert batch.wrong == figures.wrong == []
    assert batch.runs >= 1
    assert figures.runs >= 2
    assert not (workspace / "ui-errors.log").exists()
    for name, decisions in said.items():
        found = store.rows(
            "SELECT content, decision FROM verdicts JOIN examples ON examples.id = example WHERE author = ? ORDER BY verdicts.made_at",
            [f"human:{name}"],
        )
        assert [(" ".join(text.split()), word) for text, word in found] == [
            (" ".join(text.split()), word) for text, word in decisions
        ]
    both = [{text for text, _ in decisions} for decisions in said.values()]
    print(f"{SECONDS:.0f} s: {[len(one) for one in both]} decisions, {batch.runs} batch runs, {figures.runs} figures")
    assert min(map(len, both)) > SECONDS / 5
    assert not both[0] & both[1], "with overlap=0 nobody decides on what another has decided on"
