"""`synth outline`: see the outlines of SOPs, have a model read them, write them down to edit, and take edited ones back."""

import getpass
import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from curation.courses import flaws
from curation.documents import Document, Outline
from curation.errors import InputError
from curation.shelf import current_outline, document, save_outline
from curation.store import Store
from synth import outline_text
from synth.config import OutlineSettings
from synth.grounding import named
from synth.outline_asking import Report, ask_outlines
from synth.outline_reading import doubts
from synth.outlining import outline_of
from synth.progress import Progress, cost


def outline_command(settings: OutlineSettings) -> int:
    store = Store(settings.workspace)
    if settings.edited is not None:
        return _take_back(store, settings, settings.edited)
    if settings.rule and settings.provider != "offline":
        raise InputError("rule=true makes outlines without a model; leave it out, or provider and model")
    documents = list({one.id: one for one in named(store, settings, settings.documents)}.values())
    report = None
    if settings.provider != "offline":
        report = ask_outlines(store, documents, settings, Progress())
    found = []
    for one in documents:
        outline = current_outline(store, one.id)
        if report is None and (outline is None or settings.rule):
            outline = save_outline(store, outline_of(one))
        if outline is not None:
            found.append((one, outline))
    if settings.as_json:
        print(json.dumps(_described(found, report), ensure_ascii=False))
        return _code(report)
    console = Console(highlight=False, markup=False)
    for one, outline in found:
        _print(console, one, outline)
    if report is not None:
        _print_report(console, report, {one.id: outline for one, outline in found})
    if settings.to is not None and found:
        for one, outline in found:
            _write(settings.to, one, outline)
        console.print(
            f"Next:  edit one, then  synth outline edited={settings.to / found[0][0].name}.yaml", soft_wrap=True
        )
    return _code(report)


def _described(found: list[tuple[Document, Outline]], report: Report | None) -> object:
    held = [{"id": outline.id, "document": one.name, **outline.model_dump(mode="json")} for one, outline in found]
    if report is None:
        return held
    asked = [
        {
            "document": one.document.name, "outline": one.outline and one.outline.id, "completion": one.completion, "why": one.why,
            "doubts": list(doubts(one.outline, one.document)) if one.outline else [],
        }
        for one in report.outlined
    ]  # fmt: skip
    return {
        "run": report.run,
        "asked": asked,
        "outlines": held,
        "traffic": asdict(report.traffic),
        "stopped": report.stopped,
    }


def _code(report: Report | None) -> int:
    if report is None or report.complete:
        return 0
    return 130 if report.stopped and report.stopped.startswith("interrupted") else 1


def _print_report(console: Console, report: Report, held: dict[str, Outline]) -> None:
    for one in report.outlined:
        now = held.get(one.document.id)
        if one.outline is None:
            stands = f"; the one by {now.by} stands" if now is not None else ""
            console.print(f"{one.document.name}: no outline: {one.why}{stands}", style="yellow", soft_wrap=True)
        elif now is not None and now.by != one.outline.by:
            console.print(
                f"{one.document.name}: stored as {one.outline.id}; the one by {now.by} stands before it", soft_wrap=True
            )
    traffic = report.traffic
    made = sum(one.outline is not None for one in report.outlined)
    console.print(
        f"{made:,} of {len(report.outlined):,} outlined, {traffic.asked:,} requests asked, {traffic.replayed:,} answered before, "
        f"{cost(traffic)} · run {report.run}",
        soft_wrap=True,
    )
    if report.stopped:
        console.print(
            f"Stopped: {report.stopped}. Nothing answered is lost; run the same command again to go on from here",
            soft_wrap=True,
        )


def _print(console: Console, one: Document, outline: Outline) -> None:
    console.rule(outline.title, align="left")
    console.print(f"{one.name} · {outline.id} by {outline.by}", soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    table.add_column("step", no_wrap=True)
    table.add_column("page", justify="right")
    table.add_column("kind", no_wrap=True)
    table.add_column("text", ratio=3)
    table.add_column("turns on, wants, leads to", ratio=2)
    for step in outline.steps:
        more = [f"only if {step.when}"] if step.when is not None else []
        more += [f"wants {name} {outline.wanted[name].text}" for name in step.evidence]
        more += [f"{branch.when} → {branch.to}" for branch in step.branches]
        more += [f"then → {step.then}"] if step.then else []
        table.add_row(step.id, str(step.place.page), step.kind, step.text, "; ".join(more))
    console.print(table)
    unsure = doubts(outline, one) if outline.by.startswith("model:") else ()
    for flaw in (*flaws(outline), *unsure):
        console.print(f"look at this: {flaw}", style="yellow", soft_wrap=True)
    console.print()


def _write(folder: Path, one: Document, outline: Outline) -> None:
    path = folder / f"{one.name}.yaml"
    if path.exists():
        raise InputError(f"{path} exists; delete it first, or write elsewhere with to=FOLDER")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(outline_text.written(outline, one), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    print(f"written to {path}")


def _take_back(store: Store, settings: OutlineSettings, path: Path) -> int:
    """Check an edited file and store it as the outline of its document."""
    if settings.documents or settings.to is not None or settings.provider != "offline":
        raise InputError("edited=... names its document itself and asks nobody; leave documents, to and provider out")
    if not path.is_file():
        raise InputError(f"edited={path}: no such file")
    one = document(store, path.stem)
    before = current_outline(store, one.id)
    by = f"human:{settings.by or getpass.getuser()}"
    outline = save_outline(store, outline_text.read(path, by, one))
    console = Console(highlight=False, markup=False)
    if settings.as_json:
        print(
            json.dumps(
                {"id": outline.id, "document": one.name, "by": by, "changed": before is None or before.id != outline.id}
            )
        )
        return 0
    _print(console, one, outline)
    same = before is not None and before.id == outline.id
    console.print(
        f"{one.name}: {'nothing changed' if same else 'stored'}, {outline.id} by {by}. Earlier ones stay; examples that cite them too.",
        soft_wrap=True,
    )
    return 0
