"""`synth render` as a person sees it."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from curation.documents import Document
from synth.config import RenderSettings
from synth.documents.files import found
from synth.documents.load import Outcome, Traffic, render
from synth.progress import PLAIN_EVERY_S, duration


def render_command(settings: RenderSettings) -> int:
    began = time.monotonic()
    passed_over = found(settings.documents).passed_over
    traffic = Traffic()
    try:
        with _watched(traffic):
            outcomes = render(settings.documents, settings, traffic)
            sheets = {id(one): _sheet(one.document, settings) for one in outcomes if one.document and settings.sheet}
    except KeyboardInterrupt:
        print("stopped: documents that are whole are kept, and the same command goes on from there", file=sys.stderr)
        raise
    took = time.monotonic() - began
    if settings.as_json:
        listed = [_described(one, sheets.get(id(one))) for one in outcomes]
        print(json.dumps({"documents": listed, "seconds": round(took, 3)}, ensure_ascii=False))
    else:
        _print(Console(highlight=False, markup=False), outcomes, sheets, passed_over, traffic, took)
    return 1 if any(one.refused is not None for one in outcomes) else 0


def _sheet(document: Document, settings: RenderSettings) -> Path:
    """The path of the document's contact sheet, drawn if it is not there."""
    from synth.documents.sheet import contact_sheet

    folder = settings.workspace / "sheets"
    safe = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in document.name)[:80]
    path = folder / f"{safe}-{document.id[-8:]}.png"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        fresh.write_bytes(contact_sheet(document, settings.workspace / "assets"))
        fresh.replace(path)
    return path


def _described(one: Outcome, sheet: Path | None) -> dict[str, object]:
    if one.document is None:
        return {"path": str(one.path), "refused": one.refused}
    document = one.document
    return {
        "path": str(one.path), "id": document.id, "name": document.name, "title": document.title, "media_type": document.media_type,
        "pages": len(document.pages), "blocks": _blocks(document), "bytes": one.bytes, "new": one.new, "notes": list(one.notes),
        "sheet": str(sheet) if sheet else None,
    }  # fmt: skip


def _blocks(document: Document) -> int:
    return sum(len(page.blocks) for page in document.pages)


# -- printing ------------------------------------------------------------------------------------------------------


def _print(
    console: Console, outcomes: list[Outcome], sheets: dict[int, Path], passed_over: list[Path], traffic: Traffic, took: float
) -> None:  # fmt: skip
    made = [one for one in outcomes if one.document is not None]
    if made:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("document", "title", "pages", "blocks", "MB", ""):
            if heading in ("document", "title"):
                table.add_column(heading, overflow="fold")
            else:
                table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
        for one in made:
            document = one.document
            assert document is not None
            table.add_row(
                document.name, document.title, f"{len(document.pages):,}", f"{_blocks(document):,}", f"{one.bytes / 1e6:.1f}",
                "new" if one.new else "known",
            )  # fmt: skip
        console.print(table)
    for one in made:
        notes = [*one.notes, *_unread(one.document)]
        if notes:
            console.print(f"{one.path}: {'; '.join(notes)}", soft_wrap=True)
    for one in outcomes:
        if one.refused is not None:
            console.print(f"{one.path}: not read: {one.refused}", style="red", soft_wrap=True)
    if passed_over:
        some = ", ".join(path.name for path in passed_over[:3]) + (", ..." if len(passed_over) > 3 else "")
        console.print(f"{len(passed_over):,} other files passed over: {some}", soft_wrap=True)
    new = sum(one.new for one in made)
    refused = len(outcomes) - len(made)
    rate = f" ({traffic.pages / took:.1f} pages/s)" if traffic.pages else ""
    console.print(
        f"{new:,} new, {len(made) - new:,} known, {refused:,} not read · {traffic.pages:,} pages rendered in {duration(took)}{rate}",
        soft_wrap=True,
    )
    if sheets:
        first = next(iter(sheets.values()))
        console.print(f"Next:  look at {first if len(sheets) == 1 else first.parent}", soft_wrap=True)


def _unread(document: Document | None) -> Iterator[str]:
    blank = [page.number for page in document.pages if not page.text.strip()] if document else []
    if blank:
        which = ", ".join(map(str, blank[:5])) + (", ..." if len(blank) > 5 else "")
        yield f"no text on page {which}: only the image is there; ocr=true recognises it"


@contextmanager
def _watched(traffic: Traffic) -> Iterator[None]:
    console = Console(stderr=True, markup=False, highlight=False)
    began = time.monotonic()
    if console.is_terminal:
        with Live(get_renderable=lambda: _bar(traffic, began), console=console, refresh_per_second=5, transient=True):
            yield
        return
    done = threading.Event()

    def lines() -> None:
        while not done.wait(PLAIN_EVERY_S):
            print(_line(traffic, began), file=sys.stderr, flush=True)

    ticker = threading.Thread(target=lines, daemon=True)
    ticker.start()
    try:
        yield
    finally:
        done.set()
        ticker.join()


def _bar(traffic: Traffic, began: float) -> Table:
    grid = Table.grid(padding=(0, 2))
    total = max(traffic.expected, 1)
    grid.add_row(ProgressBar(total=total, completed=min(traffic.pages, total), width=32), _line(traffic, began))
    return grid


def _line(traffic: Traffic, began: float) -> str:
    """Documents and pages done, the rate, and the time that the pages known so far will take."""
    rate = traffic.pages / max(time.monotonic() - began, 1e-6)
    left = duration((traffic.expected - traffic.pages) / rate) if rate else "unknown"
    refused = f" · {traffic.refused:,} not read" if traffic.refused else ""
    return (
        f"documents {traffic.done:,}/{traffic.files:,} · pages {traffic.pages:,}/{traffic.expected:,} · "
        f"{rate:.1f} pages/s · ETA {left}{refused}"
    )
