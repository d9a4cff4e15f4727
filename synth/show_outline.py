"""`synth outline`: see the outlines of SOPs, write them down to edit, and take edited ones back."""

import getpass
import json
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
from synth.outlining import outline_of


def outline_command(settings: OutlineSettings) -> int:
    store = Store(settings.workspace)
    if settings.edited is not None:
        return _take_back(store, settings, settings.edited)
    found = []
    for one in named(store, settings, settings.documents):
        outline = current_outline(store, one.id)
        if outline is None or settings.rule:
            outline = save_outline(store, outline_of(one))
        found.append((one, outline))
    if settings.as_json:
        print(
            json.dumps(
                [{"id": outline.id, "document": one.name, **outline.model_dump(mode="json")} for one, outline in found],
                ensure_ascii=False,
            )
        )
        return 0
    console = Console(highlight=False, markup=False)
    for one, outline in found:
        _print(console, one, outline)
    if settings.to is not None:
        for one, outline in found:
            _write(settings.to, one, outline)
        console.print(
            f"Next:  edit one, then  synth outline edited={settings.to / found[0][0].name}.yaml", soft_wrap=True
        )
    return 0


def _print(console: Console, one: Document, outline: Outline) -> None:
    console.rule(f"{outline.title} · {one.name} · {outline.id} by {outline.by}", align="left")
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
    for flaw in flaws(outline):
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
    if settings.documents or settings.to is not None:
        raise InputError("edited=... names its document itself; leave documents and to out")
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
