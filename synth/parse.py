"""Reading a model's answer as a list of items. What cannot be read keeps its reason.

Strict JSON first; only where that fails, the tolerant reader of `synth.tolerant`.
"""

import json
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from synth import tolerant

_DECODER = json.JSONDecoder(strict=False)  # models put raw line breaks into strings
_BRACKET = re.compile(r"[\[{]")
_GAP = re.compile(r"[\s,]*")
_COMMENT = re.compile(r"(?:(?://|#)[^\n]*+|/\*.*?\*/)[\s,]*+", re.DOTALL)
_LABEL = re.compile(
    r"[\s,;]*+(?:`{3,}\w*+\s*+)*+(?:[-*•]\s++)?(?:[#*(]{0,6}+\s*+(?:[^\W\d]{1,20}+\s?+)?#?\d{1,5}+[.:)*]{0,4}+\s*+)?"
    r"(?:`{3,}\w*+\s*+)?(?=\{)"
)  # what stands between objects that no list holds: a line break, a comma, `2.`, `**Post 2:**`, a code fence
_ESCAPED = re.compile(
    r'[\[{](?:\s|\\[nrt])*+(?:[\[{](?:\s|\\[nrt])*+)?\\"'
)  # JSON that was written as a text once more
_TRIES = 50  # brackets that are tried for a beginning


class Reason(StrEnum):
    """Why an answer, or an item of one, could not be read. A reason in full is one of these, or one, a colon and more."""

    EMPTY = "empty answer"
    NO_JSON = "no JSON in the answer"
    CUT_OFF = "broken JSON, cut off"
    BROKEN = "broken JSON"
    NO_ITEMS = "the list is empty"
    NO_OBJECT = "item is not an object"
    NO_FIELD = "item lacks a field"
    NO_TEXT = "field is not a text"
    NO_WORDS = "field is empty"


def reason_of(words: str) -> Reason | None:
    """The reason that a `Malformed` was given, without its details; None if it is none of the parser's."""
    name = words.partition(":")[0]
    return next((reason for reason in Reason if reason == name), None)


@dataclass(frozen=True, slots=True)
class Parsed:
    """The items that were read whole, those that were not (position, reason), and what ails the answer itself."""

    items: list[tuple[int, dict[str, str]]]
    malformed: list[tuple[int | None, str]]


def items(text: str, fields: Collection[str]) -> Parsed:
    """The items of an answer that was asked for as a JSON array of objects with string `fields`.

    Takes a code fence, prose around the array, a bare object or several, numbered or one a line, an object around the array,
    JSON within a JSON string, Python's and JavaScript's spellings, and an array cut off anywhere: its whole items are
    kept, and the cut is reported. No text of an item is ever altered; an item that can be read in two ways is not read.
    """
    values, problem = _values(_after_thinking(text), set(fields))
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
        parsed.malformed.append((None, Reason.NO_ITEMS))
    return parsed


def _after_thinking(text: str) -> str:
    """The answer proper, where a server leaves in what the model thought: its drafts are no data."""
    if not text.lstrip().startswith("<think>"):
        return text
    return text.rpartition("</think>")[2] if "</think>" in text else ""


def _values(text: str, fields: set[str], *, escaped: bool = False) -> tuple[list[Any], str | None]:
    """The values from the first bracket on that has an object or a text to give."""
    if not (start := _BRACKET.search(text)):
        return [], str(Reason.NO_JSON if text.strip() else Reason.EMPTY)
    fallback: tuple[list[Any], str | None] | None = None
    for _ in range(_TRIES):
        if not escaped and _ESCAPED.match(text, start.start()):
            return _values(tolerant.without_backslashes(text, start.start()), fields, escaped=True)
        values, broken, place = _read(text, start.start())
        if broken is not None and not values and _is_wrapper(broken, fields):
            values = broken.items
        problem = None if broken is None else _problem(broken)
        if any(isinstance(value, dict | str) for value in values) or (broken is not None and broken.within):
            return values, problem
        if fallback is None or (values and not fallback[0]):
            fallback = values, problem
        if not (start := _BRACKET.search(text, max(place, start.end()))):
            break
    assert fallback is not None
    return fallback


def _problem(broken: tolerant.Unreadable) -> str:
    return f"{Reason.CUT_OFF if broken.cut else Reason.BROKEN}: {broken.why}, at character {broken.at}"


def _is_wrapper(broken: tolerant.Unreadable, fields: set[str]) -> bool:
    """Whether what was cut off is an object around the list, and not an item that has a list in it."""
    if not broken.items or fields & set(broken.keys):
        return False
    return len(broken.keys) == 1 or any(isinstance(value, dict) for value in broken.items)


def _unwrapped(wrapper: dict[str, Any]) -> list[Any]:
    """The list in an object such as `{"posts": [...]}`; where it has other keys too, a list of objects."""
    lists = [
        part
        for part in wrapper.values()
        if isinstance(part, list) and (len(wrapper) == 1 or any(isinstance(value, dict) for value in part))
    ]
    return lists[0] if len(lists) == 1 else [wrapper]


def _read(text: str, start: int) -> tuple[list[Any], tolerant.Unreadable | None, int]:
    """The values of the list that opens at `start`, or the objects that follow each other from there, up to where they break;
    and where that is."""
    values: list[Any] = []
    listed = text[start] == "["
    place = start + listed
    while True:
        if listed or not values:
            match = _GAP.match(text, place)
        elif not (match := _LABEL.match(text, place)):
            return values, None, place
        place = match.end() if match else place
        following = text[place : place + 1]
        if listed and following == "]":
            return values, None, place + 1
        if listed and not following:
            return values, tolerant.Unreadable("the list is not closed", place, cut=True), place
        if listed and (comment := _COMMENT.match(text, place)):
            place = comment.end()
            continue
        try:
            value, place = _value(text, place, listed)
        except tolerant.Unreadable as broken:
            if listed:
                broken.items = []  # of a list within an item
            return values, broken, broken.at
        values.append(value)


def _value(text: str, place: int, listed: bool) -> tuple[Any, int]:
    """The value at `place`, by the book if that can be."""
    try:
        value, end = _DECODER.raw_decode(text, place)
    except (ValueError, RecursionError):  # also a number of over 4,300 digits
        return tolerant.read(text, place)
    if listed and isinstance(value, str) and (match := _GAP.match(text, end)):
        following = text[match.end() : match.end() + 1]
        if match.end() == end and following not in ("]", ""):
            raise tolerant.Unreadable("a quotation mark within a text has no backslash", end - 1, within=True)
    return value, end


def _item(value: Any, fields: Collection[str]) -> dict[str, str] | str:
    if isinstance(value, str) and len(fields) == 1:
        value = {next(iter(fields)): value}
    if not isinstance(value, dict):
        return f"{Reason.NO_OBJECT}: it is {_kind(value)}"
    item = {}
    for name in fields:
        if name not in value:
            return f"{Reason.NO_FIELD}: {name!r}"
        content = value[name]
        if isinstance(content, bool) or not isinstance(content, str | int | float):
            return f"{Reason.NO_TEXT}: {name!r} is {_kind(content)}"
        if isinstance(content, float) and not math.isfinite(content):
            return f"{Reason.NO_TEXT}: {name!r} is no number"
        if not (words := _encodable(str(content)).strip()):
            return f"{Reason.NO_WORDS}: {name!r}"
        item[name] = words
    return item


def _kind(value: Any) -> str:
    names = {
        "NoneType": "null",
        "bool": "true or false",
        "int": "a number",
        "float": "a number",
        "str": "a text",
        "list": "a list",
    }
    return names.get(type(value).__name__, "an object")


def _encodable(text: str) -> str:
    """The text with half a surrogate pair, which no file can hold, made a replacement character."""
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
