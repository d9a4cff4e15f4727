"""Reading a model's answer as a list of items. What cannot be read keeps its reason."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

_DECODER = json.JSONDecoder(strict=False)  # models put raw line breaks into strings


@dataclass(frozen=True, slots=True)
class Parsed:
    """The items that were read whole, those that were not (position, reason), and what ails the answer itself."""

    items: list[tuple[int, dict[str, str]]]
    malformed: list[tuple[int | None, str]]


def items(text: str, fields: Collection[str]) -> Parsed:
    """The items of an answer that was asked for as a JSON array of objects with string `fields`.

    Takes a code fence, prose around the array, a bare object, and an array cut off anywhere: its whole items are
    kept, and the cut is reported.
    """
    values, problem = _values(text)
    parsed = Parsed([], [(None, problem)] if problem else [])
    for position, value in enumerate(values):
        item = _item(value, fields)
        if isinstance(item, str):
            parsed.malformed.append((position, item))
        else:
            parsed.items.append((position, item))
    return parsed


def _values(text: str) -> tuple[list[Any], str | None]:
    starts = [place for place in (text.find("["), text.find("{")) if place >= 0]
    if not starts:
        return [], "no JSON in the answer" if text.strip() else "empty answer"
    start = min(starts)
    try:
        value, _ = _DECODER.raw_decode(text, start)
    except json.JSONDecodeError:
        return _salvaged(text, start)
    if isinstance(value, dict):
        inner = [part for part in value.values() if isinstance(part, list)]
        return (inner[0] if len(value) == 1 and inner else [value]), None
    return value, None


def _salvaged(text: str, start: int) -> tuple[list[Any], str]:
    """The whole objects of a broken array, up to where it breaks."""
    values: list[Any] = []
    place = text.find("{", start)
    while place >= 0:
        try:
            value, end = _DECODER.raw_decode(text, place)
        except json.JSONDecodeError as error:
            return values, f"broken JSON at character {error.pos}: {error.msg}"
        values.append(value)
        rest = text[end:].lstrip(" \t\r\n,")
        place = len(text) - len(rest) if rest.startswith("{") else -1
    return values, "broken JSON: the list is not closed"


def _item(value: Any, fields: Collection[str]) -> dict[str, str] | str:
    if isinstance(value, str) and len(fields) == 1:
        value = {next(iter(fields)): value}
    if not isinstance(value, dict):
        return f"item is a {type(value).__name__}, not an object"
    item = {}
    for name in fields:
        if name not in value:
            return f"item lacks field {name!r}"
        content = value[name]
        if isinstance(content, bool) or not isinstance(content, str | int | float):
            return f"field {name!r} is a {type(content).__name__}, not a text"
        if not str(content).strip():
            return f"field {name!r} is empty"
        item[name] = str(content).strip()
    return item
