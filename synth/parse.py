"""Reading a model's answer as a list of items. What cannot be read keeps its reason."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

_DECODER = json.JSONDecoder(strict=False)  # models put raw line breaks into strings
_BRACKET = re.compile(r"[\[{]")
_LIST = re.compile(r'\[\s*[{"]')  # opens a list of objects or texts, unlike the [1] of a footnote
_GAP = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True)
class Parsed:
    """The items that were read whole, those that were not (position, reason), and what ails the answer itself."""

    items: list[tuple[int, dict[str, str]]]
    malformed: list[tuple[int | None, str]]


def items(text: str, fields: Collection[str]) -> Parsed:
    """The items of an answer that was asked for as a JSON array of objects with string `fields`.

    Takes a code fence, prose around the array, a bare object or several, an object around the array, and an array cut off
    anywhere: its whole items are kept, and the cut is reported.
    """
    values, problem = _values(text)
    if len(values) == 1 and isinstance(values[0], dict) and not set(fields) & set(values[0]):
        values = _unwrapped(values[0])
    parsed = Parsed([], [(None, problem)] if problem else [])
    for position, value in enumerate(values):
        item = _item(value, fields)
        if isinstance(item, str):
            parsed.malformed.append((position, item))
        else:
            parsed.items.append((position, item))
    if not parsed.items and not parsed.malformed:
        parsed.malformed.append((None, "the list is empty"))
    return parsed


def _values(text: str) -> tuple[list[Any], str | None]:
    """The values from the first bracket on that has an object or a text to give."""
    found = [match.start() for match in (_BRACKET.search(text), _LIST.search(text)) if match]
    if not found:
        return [], "no JSON in the answer" if text.strip() else "empty answer"
    if (brace := text.find("{")) >= 0:
        found.append(brace)
    for start in dict.fromkeys(found):
        values, problem = _read(text, start)
        if any(isinstance(value, dict | str) for value in values):
            break
    return values, problem


def _unwrapped(wrapper: dict[str, Any]) -> list[Any]:
    """The list in an object such as `{"posts": [...]}`; where it has other keys too, a list of objects."""
    lists = [
        part
        for part in wrapper.values()
        if isinstance(part, list) and (len(wrapper) == 1 or any(isinstance(value, dict) for value in part))
    ]
    return lists[0] if len(lists) == 1 else [wrapper]


def _read(text: str, start: int) -> tuple[list[Any], str | None]:
    """The values of the list that opens at `start`, or the objects that follow each other from there, up to where they break."""
    values: list[Any] = []
    listed = text[start] == "["
    place = start + listed
    while True:
        match = _GAP.match(text, place)
        place = match.end() if match else place
        following = text[place : place + 1]
        if listed and following == "]":
            return values, None
        if listed and not following:
            return values, "broken JSON: the list is not closed"
        if not listed and values and following != "{":
            return values, None
        try:
            value, place = _DECODER.raw_decode(text, place)
        except json.JSONDecodeError as error:
            return values, f"broken JSON at character {error.pos}: {error.msg}"
        except (RecursionError, ValueError) as error:  # nested too deep; a number of over 4,300 digits
            return values, f"broken JSON at character {place}: {error}"
        values.append(value)


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
