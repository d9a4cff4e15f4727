"""The review app on many examples: key press to next example, Overview, filters, and memory, in a real browser.

    python benchmarks/review.py [--n 1000000] [--keys 300] [--workspace FOLDER]

The examples are those of store.py, brought in by `curate import`; a judge's word on a fifth of them, a reviewer's on one in a
hundred and pairs of near twins are added. The app runs as `ui` does, in a process of its own; Chromium presses K. Times in the
page are taken by the page itself: from the key event to the next painted frame that shows another example ("browser"), and from
the message that the key sends to the message that brings the example ("server", the loopback included). Memory is the app's
process with those it starts, sampled. With --workspace a workspace is kept there and used again.

Aims: key press p50 < 150 ms and p95 < 300 ms at the server, < 500 ms in the browser; Overview < 2 s cold; a filter < 500 ms;
memory < 1 GB. As the limit that one could reach at best, a bare page of Streamlit that shows the next of ten texts at a key is
measured in the same way.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from near_dedup import ROOT, machine
from store import CURATE, measured, memory_mb, write_corpus

sys.path.insert(0, str(ROOT / "tests"))
from ui_kit import browsing, free_port, serving, settled

from curation.review.index import behind
from curation.review.queue import ORDERS, Filters, Queue, draw
from curation.store import Store

WORDS = """
INSERT INTO verdicts (id, example, author, decision, reason, score, made_at)
SELECT 'vd' || md5(id || 'j'), id, 'judge:judge_moderation@1', if(score > 0.6, 'flag', 'keep'), 'a reason', score, now()::TIMESTAMP
FROM (SELECT id, (hash(id) % 1000) / 1000 AS score FROM examples WHERE hash(id || 'j') % 5 = 0)
UNION ALL
SELECT 'vd' || md5(id || 'p'), id, 'human:bob', ['keep', 'drop', 'flag'][CAST(1 + hash(id) % 3 AS INTEGER)], '', NULL, now()::TIMESTAMP
FROM examples WHERE hash(id || 'p') % 100 = 0
"""
TWINS = """
INSERT INTO near_pairs BY NAME
SELECT 'dd' AS dedup, least(id, next) AS a, greatest(id, next) AS b, 0.85 AS jaccard
FROM (SELECT id, lead(id) OVER (ORDER BY id) AS next FROM examples WHERE hash(id) % 20 = 0) WHERE next IS NOT NULL
"""
# Streamlit's own floor: a script that shows the next of ten texts
BARE = """
import streamlit as st
at = st.session_state.setdefault("at", 0)
def move():
    st.session_state["at"] += 1
@st.fragment
def desk():
    st.button("Keep", shortcut="k", on_click=move)
    st.html(f'<div class="t-card">text number {st.session_state["at"]}</div>')
desk()
"""
# Wraps the page's socket and watches its DOM: what a key cost is known in the page, to the millisecond.
WATCH = """
(() => {
  const seen = window.seen = {key: 0, sent: 0, came: 0, done: []};
  const send = WebSocket.prototype.send;
  WebSocket.prototype.send = function (data) {
    if (!this.watched) { this.watched = true; this.addEventListener('message', () => { seen.came = performance.now(); }); }
    if (seen.key && !seen.sent) seen.sent = performance.now();
    return send.call(this, data);
  };
  const card = () => document.querySelector('.t-card')?.textContent;
  document.addEventListener('keydown', () => { seen.before = card(); seen.key = performance.now(); seen.sent = 0; }, true);
  const look = () => {
    const now = seen.key && card();
    if (now && now !== seen.before) {
      const {key, sent, came} = seen;
      seen.key = 0;
      requestAnimationFrame(() => seen.done.push([came - sent, performance.now() - key]));
    }
  };
  new MutationObserver(look).observe(document, {childList: true, subtree: true, characterData: true});
})();
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--keys", type=int, default=300)
    parser.add_argument("--workspace", type=Path)
    options = parser.parse_args()
    print(f"machine: {machine()}\n{options.n:,} examples, {options.keys} key presses", flush=True)
    with tempfile.TemporaryDirectory() as name, browsing() as browser:
        workspace = options.workspace or Path(name) / "workspace"
        if not (workspace / "tilth.duckdb").is_file():
            fill(workspace, options.n, Path(name))
        print("\n| what | p50 ms | p95 ms | most ms | aim | |\n|---|---|---|---|---|---|", flush=True)
        with bare_streamlit(Path(name)) as address:
            page = watched(browser, address)
            row(
                "bare Streamlit: opened, cold",
                [timed(lambda: page.goto(address), lambda: page.wait_for_selector(".t-card"))],
            )
            server, shown = pressed(page, options.keys)
            row("bare Streamlit: server", server)
            row("bare Streamlit: browser", shown)
        new = behind(Store(workspace))
        began = time.perf_counter()
        with memory_of(workspace) as peak, serving(workspace) as address:
            start = time.perf_counter() - began
            page = watched(browser, address)
            cold = timed(lambda: page.goto(f"{address}/overview"), lambda: page.wait_for_selector(".t-tile"))
            row("Overview, cold, until its figures show", [cold], most=2_000)
            warm = timed(page.reload, lambda: page.wait_for_selector(".t-tile"))
            row("Overview, warm", [warm], most=2_000)
            for order in ORDERS:
                went = timed(
                    lambda o=order: page.goto(f"{address}/review?order={o}"), lambda: page.wait_for_selector(".t-card")
                )  # type: ignore[misc]
                row(f"Review opened, {order}", [went])
            ours, shown = pressed(page, options.keys)
            row("key press: server", ours, p50=150, p95=300)
            row("key press: browser", shown, p95=500)
            print(f"| server time against bare Streamlit's, p50 | {middle(ours) / middle(server):.2f} x | | | | |")
        print(f"| the app's memory, peak MB | {peak[0]:,.0f} | | | < 1,024 | {met(peak[0] < 1024)} |")
        print(f"| start, with {new:,} rows taken into the index, s | {start:.1f} | | | | |")
        filters(Store(workspace))


def fill(workspace: Path, n: int, folder: Path) -> None:
    corpus = folder / "corpus.jsonl"
    write_corpus(n, corpus)
    seconds, _ = measured(CURATE, "import", str(corpus), f"workspace={workspace}")
    with Store(workspace).write() as connection:
        connection.execute(WORDS)
        connection.execute(TWINS)
    print(f"filled: import {seconds:.0f} s", flush=True)


def filters(store: Store) -> None:
    """What a change of order or filter asks of the store: the count and the next window."""
    kinds = {
        "none": Filters(), "language=ta": Filters(language=("ta",)), "label, category": Filters(label=("disallowed",), category=("spam",)),
        "status=flagged": Filters(status=("flagged",)), "text contains": Filters(text="zu"), "text nowhere": Filters(text="no such text"),
    }  # fmt: skip
    for about, chosen in kinds.items():
        took = []
        for order in ORDERS:
            queue = Queue("ann", order, chosen)
            took.append(timed(lambda q=queue: draw(store, q)))  # type: ignore[misc]
        row(f"filter {about}, all {len(ORDERS)} orders", took, p95=500)


def watched(browser: Any, address: str) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.add_init_script(WATCH)
    page.context.add_cookies([{"name": "tilth_reviewer", "value": "ann", "url": address}])
    return page


def pressed(page: Any, keys: int) -> tuple[list[float], list[float]]:
    """(server ms, browser ms) of each press of K, one after the other."""
    page.wait_for_selector(".t-card")
    settled(page)
    page.evaluate("seen.done.length = 0")
    for number in range(keys):
        page.keyboard.press("k")
        page.wait_for_function(f"seen.done.length > {number}", polling=20)
        settled(page)
    done = page.evaluate("seen.done")
    return [server for server, _ in done], [shown for _, shown in done]


@contextmanager
def bare_streamlit(folder: Path) -> Iterator[str]:
    script, port = folder / "bare.py", free_port()
    script.write_text(BARE)
    words = ("--server.headless=true", f"--server.port={port}", "--browser.gatherUsageStats=false")
    process = subprocess.Popen(
        [sys.executable, "-m", "streamlit", "run", str(script), *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(4)
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def memory_of(workspace: Path) -> Iterator[list[float]]:
    """The most memory of the process that serves this workspace, in a list that grows up to date."""
    peak, over = [0.0], threading.Event()

    def serves(entry: Path) -> bool:
        said = command(entry)
        return b"ui.cli" in said and f"workspace={workspace}".encode() in said

    def sample() -> None:
        while not over.wait(0.1):
            pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and serves(entry)]
            peak[0] = max(peak[0], sum(map(memory_mb, pids)))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    yield peak
    over.set()
    thread.join()


def command(entry: Path) -> bytes:
    try:
        return (entry / "cmdline").read_bytes()
    except OSError:
        return b""


def timed(*steps: Any) -> float:
    """Milliseconds that the steps take together."""
    began = time.perf_counter()
    for step in steps:
        step()
    return 1000 * (time.perf_counter() - began)


def middle(took: list[float], share: float = 0.5) -> float:
    return sorted(took)[min(len(took) - 1, int(share * len(took)))]


def row(what: str, took: list[float], *, p50: float = 0, p95: float = 0, most: float = 0) -> None:
    aims = [(share, limit) for share, limit in ((0.5, p50), (0.95, p95), (1.0, most)) if limit]
    good = all(middle(took, share) < limit for share, limit in aims)
    said = ", ".join(f"{'most' if share == 1 else f'p{share * 100:.0f}'} < {limit:,.0f}" for share, limit in aims)
    figures = " | ".join(f"{figure:,.0f}" for figure in (middle(took), middle(took, 0.95), max(took)))
    print(f"| {what} | {figures} | {said} | {met(good) if aims else ''} |", flush=True)


def met(good: bool) -> str:
    return "met" if good else "MISSED"


if __name__ == "__main__":
    main()
