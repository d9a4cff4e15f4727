"""CSV rows from a stream of bytes: one row a record whatever it holds, in constant memory.

A broken record costs its own line and no other: after a quote that is never closed, reading goes on at the next line.
"""

import csv
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from curation.errors import InputError
from train.config import Columns

MOST_BYTES = 32 * 2**20  # of a line; more of it is passed over
MOST_LINES, MOST_QUOTED = (
    20_000,
    2**24,
)  # lines and characters of a record with a quoted text; more is an unclosed quote


@dataclass(frozen=True, slots=True)
class Row:
    """One record: what to score, or the problem that it has."""

    line: int  # of the file, where the record starts, counted from 1
    id: str  # the row's number, counted from 1, where there is none
    text: str = ""
    title: str = ""
    caption: str = ""
    image: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    cells: list[str]
    problem: str = ""


def read(
    source: BinaryIO, columns: Columns, header: Literal["auto", "yes", "no"] = "auto", *, images: bool = False
) -> Iterator[Row]:
    """The rows of a CSV file, one a record.

    Args:
        images: whether a picture stands in for a text that is missing.

    Raises:
        InputError: there is nothing in it, it is not UTF-8 from the first byte on, or no column holds a text.
    """
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    records = _Records(source)
    first = next(records, None)
    if first is None:
        raise InputError("standard input is empty; give CSV with a column text")
    places = _places(first, columns, header, images)
    records.width = len(first.cells)
    if header == "no" or (header == "auto" and not _named(first, columns)):
        records.again(first)
    for number, record in enumerate(records, start=1):
        yield _row(record, number, places, records.width, columns, images)


class _Records:
    """Records of a file, each with the number of the line where it starts."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = _lines(source)
        self._back: deque[_Line] = deque()
        self._kept: _Record | None = None
        self.width: int | None = None  # cells of a record, once known

    def again(self, record: _Record) -> None:
        self._kept = record

    def __iter__(self) -> Iterator[_Record]:
        return self

    def __next__(self) -> _Record:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            return kept
        first = self._next_line()
        if first is None:
            raise StopIteration
        more: list[_Line] = []
        reason = ""
        try:
            cells = next(csv.reader(self._pulled(first, more), strict=True))
        except csv.Error as error:
            reason = "a quote is never closed" if "unexpected end" in str(error) else str(error)
        else:
            if not more or self.width is None or len(cells) == self.width:
                problem = next((line.problem for line in (first, *more) if line.problem), "")
                return _Record(first.number, cells, problem)
            reason = "a quote is never closed, or closed in a later line"
        self._back.extendleft(reversed(more))
        return _Record(first.number, next(csv.reader([first.text])), first.problem or f"broken CSV: {reason}")

    def _pulled(self, first: _Line, more: list[_Line]) -> Iterator[str]:
        yield first.text
        size = len(first.text)
        while len(more) < MOST_LINES and size < MOST_QUOTED and (line := self._next_line()) is not None:
            more.append(line)
            size += len(line.text)
            yield line.text

    def _next_line(self) -> _Line | None:
        return self._back.popleft() if self._back else next(self._source, None)


def _lines(source: BinaryIO) -> Iterator[_Line]:
    number = 0
    while raw := source.readline(MOST_BYTES):
        number += 1
        problem = ""
        if number == 1:
            if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise InputError("standard input is UTF-16; save the file as UTF-8")
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if len(raw) >= MOST_BYTES and not raw.endswith(b"\n"):
            problem = f"the line is longer than {MOST_BYTES // 2**20} MiB"
            while (rest := source.readline(MOST_BYTES)) and not rest.endswith(b"\n"):
                pass
            raw = raw[:4096] + b"\n"
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            text = raw.decode("utf-8", errors="replace")
            problem = problem or f"not UTF-8 (byte {error.start} of the line)"
        yield _Line(number, text, problem)


def _named(first: _Record, columns: Columns) -> bool:
    names = _names(first)
    return columns.text.casefold() in names or columns.image.casefold() in names


def _names(first: _Record) -> list[str]:
    return [cell.strip().casefold() for cell in first.cells]


def _places(first: _Record, columns: Columns, header: str, images: bool) -> dict[str, int]:
    """Which cell holds what."""
    if header == "yes" or (header == "auto" and _named(first, columns)):
        names = _names(first)
        wanted = {role: str(name).casefold() for role, name in columns.model_dump().items()}
        places = {role: names.index(name) for role, name in wanted.items() if name in names}
        if "text" not in places and not (images and "image" in places):
            hint = (
                "; pictures need ocr=FOLDER or captioner=FOLDER"
                if "image" in places
                else "; name it: columns.text=NAME"
            )
            raise InputError(f"standard input has no column {columns.text!r}, only {_shown(first)}{hint}")
        return places
    if len(first.cells) > 2 or "text" in columns.model_fields_set:
        raise InputError(
            f"standard input has no column {columns.text!r}, only {_shown(first)}; name it: columns.text=NAME"
        )
    return {"text": 0} if len(first.cells) < 2 else {"id": 0, "text": 1}


def _shown(first: _Record) -> str:
    shown = ", ".join(repr(cell.strip()[:30]) for cell in first.cells[:8])
    return shown + (", ..." if len(first.cells) > 8 else "")


def _row(
    record: _Record, number: int, places: dict[str, int], width: int | None, columns: Columns, images: bool
) -> Row:
    cells = {role: record.cells[place] for role, place in places.items() if place < len(record.cells)}
    identity = cells.pop("id", "").strip() or str(number)
    problem = record.problem
    if not problem and not record.cells:
        problem = "the line is empty"
    elif not problem and width is not None and len(record.cells) > width:
        problem = f"{len(record.cells)} cells where the first line has {width}; quote texts that hold commas"
    elif not problem and "text" not in cells and not (images and cells.get("image")):
        problem = f"no cell for column {columns.text!r}"
    return Row(record.line, identity, problem=problem) if problem else Row(record.line, identity, **cells)
