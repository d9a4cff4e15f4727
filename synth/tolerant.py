"""Reading what is nearly JSON: Python's and JavaScript's ways to write it, comments, trailing commas, other quotation marks.

A value is read whole or not at all, and no text in it is ever altered: where more than one reading is possible, there is
none. (Libraries that repair JSON guess instead: they close what was cut off and so keep half a text as if it were one.)
"""

import json
import re
import sys
from dataclasses import dataclass
from typing import Any

DEEPEST = 40  # brackets within brackets
_SPACE = re.compile(r"\s*+(?:(?://|#)[^\n]*+\s*+|/\*.*?\*/\s*+)*+", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,400})(?:\.\d+)?(?:[eE][-+]?\d{1,4})?(?![\w.])")
_WORD = re.compile(r"[^\W\d][\w$-]*")
_LITERALS = {
    "true": True, "True": True, "false": False, "False": False, "null": None, "None": None, "undefined": None,
    "NaN": float("nan"), "nan": float("nan"),
}  # fmt: skip
_CLOSING = {'"': '"', "'": "'", "“": "”", "‘": "’"}
_PLAIN = {mark: re.compile(rf"[^\\{mark}{_CLOSING[mark]}]++") for mark in _CLOSING}
_ESCAPES = {'"': '"', "'": "'", "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_HEX = set("0123456789abcdefABCDEF")
_CODES = {"x": 2, "u": 4, "U": 8}  # hex digits of an escape
_MAYBE_CLOSED = re.compile(r"[:}\]]|,\s*+[\"'“‘\[{]|\Z")


class Unreadable(Exception):
    """What is there is not a value.

    Args:
        at: where that showed, in characters from the start.
        cut: the text ended before the value did.
        within: it showed within a quoted text, so a bracket further on may be part of that.

    Attributes:
        items: the whole values of a list that broke off, where it is the value of
        keys: the last of these, in an object that nothing is around.
    """

    def __init__(self, why: str, at: int, *, cut: bool = False, within: bool = False) -> None:
        super().__init__(why)
        self.why, self.at, self.cut, self.within = why, at, cut, within
        self.items: list[Any] = []
        self.keys: tuple[str, ...] = ()


@dataclass(slots=True)
class _Reader:
    text: str

    def value(self, at: int, depth: int) -> tuple[Any, int]:
        character = self.text[at : at + 1]
        if character in _CLOSING:
            return self.quoted(at)
        if character in ("[", "{"):
            if depth >= DEEPEST:
                raise self.wrong("it is nested too deep", at)
            return self.list(at, depth) if character == "[" else self.object(at, depth)
        if number := _NUMBER.match(self.text, at):
            written = number[0]
            return (float(written) if set(written) & set(".eE") else int(written)), number.end()
        if (word := _WORD.match(self.text, at)) and word[0] in _LITERALS:
            return _LITERALS[word[0]], word.end()
        raise self.wrong("no value starts here", at)

    def list(self, at: int, depth: int) -> tuple[list[Any], int]:
        values: list[Any] = []
        place = self.space(at + 1)
        try:
            while self.text[place : place + 1] != "]":
                value, place = self.value(place, depth + 1)
                values.append(value)
                place = self.next(place, "]")
        except Unreadable as wrong:
            wrong.items = values if depth == 1 else []
            raise
        return values, place + 1

    def object(self, at: int, depth: int) -> tuple[dict[str, Any], int]:
        fields: dict[str, Any] = {}
        place = self.space(at + 1)
        key = ""
        try:
            while self.text[place : place + 1] != "}":
                key, place = self.key(place)
                place = self.space(place)
                if self.text[place : place + 1] != ":":
                    raise self.wrong("a colon is missing", place)
                if key in fields:
                    raise self.wrong(f"the key {key[:40]!r} is there twice", place)
                fields[key], place = self.value(self.space(place + 1), depth + 1)
                place = self.next(place, "}")
                key = ""
        except Unreadable as wrong:
            wrong.keys = tuple(dict.fromkeys((*fields, key)))
            lists = [value for value in fields.values() if isinstance(value, list)]
            wrong.items = wrong.items or (lists[0] if len(lists) == 1 and not depth else [])
            raise
        return fields, place + 1

    def key(self, at: int) -> tuple[str, int]:
        if self.text[at : at + 1] in _CLOSING:
            return self.quoted(at)
        if word := _WORD.match(self.text, at):
            return word[0], word.end()
        raise self.wrong("no key starts here", at)

    def next(self, at: int, closing: str) -> int:
        """Where the next part of a list or object is, past a comma; or its closing bracket."""
        place = self.space(at)
        following = self.text[place : place + 1]
        if following == ",":
            return self.space(place + 1)
        if following != closing:
            raise self.wrong("a comma is missing", place)
        return place

    def quoted(self, at: int) -> tuple[str, int]:
        opening = self.text[at]
        closing, plain = _CLOSING[opening], _PLAIN[opening]
        parts: list[str] = []
        place, open_marks = at + 1, 1
        while True:
            if run := plain.match(self.text, place):
                parts.append(run[0])
                place = run.end()
            character = self.text[place : place + 1]
            if not character:
                raise Unreadable("a text is not closed", at, cut=True, within=True)
            if character == "\\":
                part, place = unescaped(self.text, place)
                parts.append(part)
                continue
            place += 1
            if character != closing:
                open_marks += 1
            elif not self._apostrophe(character, place):
                open_marks -= 1
                if not open_marks:
                    return self.closed(at, place, "".join(parts))
                if _MAYBE_CLOSED.match(self.text, self.space(place)):
                    raise Unreadable("which quotation mark closes a text is not clear", place - 1, within=True)
            parts.append(character)

    def closed(self, at: int, place: int, text: str) -> tuple[str, int]:
        """The text that opened at `at` and whose closing mark ends at `place`, if that is followed by what follows a text."""
        following = self.space(place)
        if following < len(self.text) and self.text[following] not in ",:}]":
            raise Unreadable("a quotation mark within a text has no backslash", place - 1, within=True)
        if following == len(self.text) and self.text[at] != '"':  # it may be an apostrophe before the cut
            raise Unreadable("a text is not closed", at, cut=True, within=True)
        return _paired(text), place

    def _apostrophe(self, character: str, after: int) -> bool:
        """Whether a closing mark stands between two letters: `don't`."""
        around = self.text[after - 2] + self.text[after : after + 1]
        return character in "'’" and len(around) == 2 and all(letter.isalnum() for letter in around)

    def space(self, at: int) -> int:
        match = _SPACE.match(self.text, at)
        return match.end() if match else at

    def wrong(self, why: str, at: int) -> Unreadable:
        ended = at >= len(self.text)
        return Unreadable("it is not closed" if ended else why, at, cut=ended)


def read(text: str, at: int) -> tuple[Any, int]:
    """The value that starts at `at`, and where it ends.

    Raises:
        Unreadable: none does, or it is not whole.
    """
    return _Reader(text).value(at, 0)


def only_object(text: str, wanted: str) -> dict[str, Any] | str:
    """The one object in an answer that has the field `wanted`, or why there is none."""
    place = text.find("{")
    if place < 0:
        return "no JSON object in the answer" if text.strip() else "empty answer"
    try:
        value: Any = json.JSONDecoder(strict=False).raw_decode(text, place)[0]
    except ValueError:
        try:
            value = read(text, place)[0]
        except Unreadable as wrong:
            return "broken JSON, cut off" if wrong.cut else f"broken JSON: {wrong.why}"
    if isinstance(value, dict) and wanted not in value and len(value) == 1:
        value = next(iter(value.values()))
    if not isinstance(value, dict) or wanted not in value:
        return f"the answer lacks {wanted!r}"
    return value


def unescaped(text: str, at: int) -> tuple[str, int]:
    """What the backslash at `at` and what follows stand for. A backslash that escapes nothing is itself.

    Raises:
        Unreadable: the text ends within the escape, or it names no character.
    """
    letter = text[at + 1 : at + 2]
    if not letter:
        raise Unreadable("a text is not closed", at, cut=True, within=True)
    if letter in _ESCAPES:
        return _ESCAPES[letter], at + 2
    if letter not in _CODES:
        return "\\" + letter, at + 2
    end = at + 2 + _CODES[letter]
    digits = text[at + 2 : end]
    if len(digits) < _CODES[letter]:
        raise Unreadable("a text is not closed", at, cut=True, within=True)
    if set(digits) <= _HEX and (code := int(digits, 16)) <= sys.maxunicode:
        return chr(code), end
    raise Unreadable(f"\\{letter}{digits} is no character", at, within=True)


def without_backslashes(text: str, at: int) -> str:
    """The text from `at` on with one level of backslashes taken away, up to a quotation mark that has none, or to where it
    was cut off."""
    parts: list[str] = []
    place, plain = at, _PLAIN['"']
    while place < len(text) and text[place] != '"':
        if run := plain.match(text, place):
            parts.append(run[0])
            place = run.end()
            continue
        try:
            part, place = unescaped(text, place)
        except Unreadable:
            break
        parts.append(part)
    return _paired("".join(parts))


def _paired(text: str) -> str:
    r"""The text with the two halves of `\ud83c\udf5a` put together."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
