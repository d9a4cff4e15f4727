"""Exported rows as a table, whatever their format."""

import json
from typing import Any

import pyarrow as pa

from ui.look import Html, chip, language_name, table
from ui.text import shown

_LONG = 300  # characters of a text that a table shows
_LAST = ("label", "category", "severity")


def rows_table(rows: pa.Table) -> str:
    """A few rows, their texts cut."""
    body = []
    for row in rows.to_pylist():
        labels = "".join(chip(str(row[name])) for name in _LAST if row.get(name) is not None)
        body.append((shown(language_name(row["language"])), _words(row), Html(f'<div class="t-chips">{labels}</div>')))
    return table(("Language", "text", "labels"), body)


def _words(row: dict[str, Any]) -> Html:
    if messages := row.get("messages"):
        said = [f"<b>{shown(turn['role'])}</b> {_cut(turn.get('content') or _calls(turn))}" for turn in messages[:4]]
        return Html("<br>".join([*said, f"… {len(messages) - 4} more"] if len(messages) > 4 else said))
    names = ("prompt", "chosen", "rejected") if row.get("chosen") else ("prompt_text", "completion", "text")
    there = [(name, str(row[name])) for name in names if row.get(name)]
    if len(there) == 1:
        return _cut(there[0][1])
    return Html("<br>".join(f"<b>{shown(name)}</b> {_cut(words)}" for name, words in there))


def _calls(turn: dict[str, Any]) -> str:
    return json.dumps(turn.get("tool_calls"), ensure_ascii=False)


def _cut(words: str) -> Html:
    line = " ".join(words.split())
    return shown(line if len(line) <= _LONG else f"{line[:_LONG]} …")
