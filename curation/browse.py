"""`curate ls` and `curate show`: looking at single records."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation.config import ListSettings, ShowSettings
from curation.errors import InputError
from curation.journal import open_store
from curation.selection import EXAMPLES, nothing_selected, query
from curation.store import Store

KINDS = ("examples", "completions", "requests", "runs", "prompts", "versions", "origins", "verdicts", "dedups")


def ls_command(settings: ListSettings) -> int:
    store = open_store(settings.workspace)
    sql, parameters = query(settings, "id, status, language, coalesce(label, ''), coalesce(category, ''), content")
    if settings.text:
        sql += " AND contains(lower(content), lower(?))"
        parameters.append(settings.text)
    total = store.rows(f"SELECT count(*) FROM ({sql})", parameters)[0][0]
    if not total and settings.text and store.rows(*query(settings, "1")):
        raise InputError(f"text={settings.text}: no selected example holds that")
    if not total:
        raise nothing_selected(store, settings)
    rows = store.rows(f"{sql} ORDER BY made_at DESC, id LIMIT {settings.n}", parameters)
    if settings.as_json:
        names = ("id", "status", "language", "label", "category", "content")
        for row in rows:
            print(json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
    for heading, width in (("example", 12), ("status", 8), ("language", 8)):
        table.add_column(heading, min_width=width, no_wrap=True)
    table.add_column("category", no_wrap=True)
    table.add_column("text", overflow="ellipsis", no_wrap=True, ratio=1)
    for identity, status, language, label, category, content in rows:
        shown = category if category not in ("", "none") else label
        table.add_row(identity[:12], status, language, shown, Text(" ".join(content.split())))
    console.print(table)
    console.print(
        f"{len(rows):,} of {total:,}, newest first. Next:  curate show {rows[0][0][:12]}  ·  curate trace {rows[0][0][:12]}",
        soft_wrap=True,
    )
    return 0


def show_command(settings: ShowSettings) -> int:
    store = open_store(settings.workspace)
    name, _, number = settings.id.partition("@")
    if number:
        return _show_version(store, name, number, as_json=settings.as_json)
    table, identity = store.resolve(settings.id, KINDS)
    record = fields(store, table, identity)
    if settings.as_json:
        print(json.dumps({"kind": table, **record}, ensure_ascii=False, default=str))
        return 0
    console = Console(highlight=False, markup=False)
    grid = Table(box=None, pad_edge=False, show_header=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in record.items():
        if value not in (None, "", [], {}):
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str, indent=1)
            grid.add_row(key, Text(text))
    console.print(grid)
    return 0


def fields(store: Store, table: str, identity: str) -> dict[str, Any]:
    """A record's columns, its JSON columns read; an example's with its status and effective labels."""
    source = f"({EXAMPLES})" if table == "examples" else table
    with store.read() as connection:
        found = connection.execute(f"SELECT * FROM {source} WHERE id = ?", [identity])
        names = [column[0] for column in found.description or []]
        row = found.fetchone() or ()
    return {name: _read(name, value) for name, value in zip(names, row, strict=True) if name != "text_hash"}


def _read(name: str, value: Any) -> Any:
    if name in ("body", "variables", "messages", "sampling", "raw", "axes", "settings", "selector", "labels") and value:
        return json.loads(value)
    return value


def _show_version(store: Store, name: str, number: str, *, as_json: bool) -> int:
    known = store.rows("SELECT name, number, folder FROM versions ORDER BY name, number")
    folder = next((folder for one, its, folder in known if one == name and str(its) == number), None)
    if folder is None:
        there = ", ".join(f"{one}@{its}" for one, its, _ in known) or "none yet; make one with `curate export name=...`"
        raise InputError(f"no version {name}@{number}; there is {there}")
    path = Path(folder) / ("manifest.json" if as_json else "README.md")
    if not path.is_file():
        raise InputError(f"{path}: {name}@{number} was exported there, but is gone; export it again under another name")
    print(path.read_text(encoding="utf-8"))
    return 0
