"""Corpora: the documents that dialogues are about. Built in, or a user's own JSONL, CSV or Parquet by a column mapping.

A field is a text, a number or a list of texts; in the built-in corpora it may be a mapping from language to these. A user's
own file takes the place of a graph's first corpus: `corpus.path=shop.csv corpus.columns.name=title`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from curation.errors import InputError, did_you_mean

Scalar = str | int | float
Value = Scalar | list[str]
MOST = 200_000  # documents
MARKS = ("|", "\n", ";")  # what parts the entries of a list in a CSV cell


class CorpusSource(BaseModel):
    """Where a graph's corpus lies and what the graph needs of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: Path  # relative to the graph's file
    columns: dict[str, str] = {}  # field -> column, where they differ
    fields: tuple[str, ...] = Field(min_length=1)  # what every document has to have
    text: tuple[str, ...] = Field(min_length=1)  # the fields that a search looks in
    shown: tuple[str, ...] = ()  # the fields of a hit that a tool turn shows; all that are short, if not given


@dataclass(frozen=True, slots=True)
class Document:
    """One document, its fields in one language."""

    id: str
    fields: Mapping[str, Value]

    def __getitem__(self, name: str) -> Value:
        return self.id if name == "id" else self.fields[name]


class Corpus:
    """The documents of one file; `sha256` names them in requests."""

    def __init__(self, name: str, source: CorpusSource, path: Path, rows: list[dict[str, Any]], sha256: str) -> None:
        self.name, self.source, self.path, self.sha256 = name, source, path, sha256
        self._rows = rows
        self._in: dict[str, tuple[Document, ...]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def documents(self, language: str) -> tuple[Document, ...]:
        """All documents in this language; what a document does not say in it, in English."""
        if language not in self._in:
            self._in[language] = tuple(
                Document(
                    str(row["id"]), {name: _said_in(value, language) for name, value in row.items() if name != "id"}
                )
                for row in self._rows
            )
        return self._in[language]

    @cached_property
    def places(self) -> dict[str, int]:
        return {str(row["id"]): place for place, row in enumerate(self._rows)}

    def sizes(self, field: str) -> dict[int, int]:
        """Value -> documents, for a number; for a list, of its length."""
        found: dict[int, int] = {}
        for document in self.documents("en"):
            value = document[field]
            size = len(value) if isinstance(value, list) else value
            if not isinstance(size, int):
                raise InputError(
                    f"{self.path}: {field} of {document.id}: a whole number or a list was expected, got {size!r}"
                )
            found[size] = found.get(size, 0) + 1
        return dict(sorted(found.items()))


def _said_in(value: Any, language: str) -> Value:
    if isinstance(value, Mapping):
        said = value.get(language, value.get("en"))
        return _said_in(said if said is not None else next(iter(value.values())), language)
    if isinstance(value, list):
        return [str(_said_in(one, language)) for one in value]
    return value if isinstance(value, int | float) else str(value)


def load_corpus(
    name: str, source: CorpusSource, folder: Path, path: Path | None = None, columns: Mapping[str, str] | None = None
) -> Corpus:
    """Read a corpus: the graph's own, or the user's in its place.

    Args:
        folder: that of the graph's file.
        path: the user's file, if it is one.
        columns: field -> column of the user's file.

    Raises:
        InputError: the file cannot be read, a column is missing, an id is there twice, or there is nothing in it.
    """
    if path is None:
        where = (folder / source.path).resolve()
        return _load(name, source.model_dump_json(), where, tuple(source.columns.items()), _stamp(where), own=False)
    return _load(name, source.model_dump_json(), path, tuple((columns or {}).items()), _stamp(path), own=True)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


@lru_cache(maxsize=16)
def _load(
    name: str,
    wanted: str,
    path: Path,
    columns: tuple[tuple[str, str], ...],
    stamp: tuple[int, int],  # noqa: ARG001  (a file that has changed is read again)
    *,
    own: bool,
) -> Corpus:
    from curation.sources import Broken, open_source  # pyarrow, which other prompts need not load

    source = CorpusSource.model_validate_json(wanted)  # as text it can be cached by
    columns_of = dict(columns)
    known = {*source.fields, "id"}
    for field in columns_of:
        if own and field not in known:
            raise InputError(f"corpus.columns.{field}: the graph has no such field.{did_you_mean(field, known)}")
    rows, seen = [], set()
    with open_source(path, scratch=path.parent) as opened:
        for field in source.fields:
            column = columns_of.get(field, field)
            if opened.columns and column not in opened.columns:
                fix = f"; say which it is: corpus.columns.{field}=COLUMN" if own else ""
                raise InputError(
                    f"{path}: no column {column!r} for {field}{fix}.{did_you_mean(column, opened.columns)}"
                )
        for chunk in opened.chunks(opened.columns):
            for number, label, row in chunk.rows():
                if isinstance(row, Broken):
                    raise InputError(f"{path}, row {label}: {row.detail}")
                document = {"id": str(row.get(columns_of.get("id", "id")) or number)}
                for field in source.fields:
                    value = row.get(columns_of.get(field, field))
                    if value is None or value in ("", []):
                        raise InputError(f"{path}, row {label}: {field} is empty; fill it in, or leave the row out")
                    document[field] = value
                if document["id"] in seen:
                    raise InputError(f"{path}, row {label}: the id {document['id']!r} is there twice")
                seen.add(document["id"])
                rows.append(document)
                if len(rows) > MOST:
                    raise InputError(
                        f"{path}: over {MOST:,} documents; a corpus is searched in memory, take a part of it"
                    )
    if not rows:
        raise InputError(f"{path}: no documents in it")
    if path.suffix.lower() in (".csv", ".tsv"):
        _read_cells(rows, source)
    return Corpus(name, source, path, rows, hashlib.sha256(path.read_bytes()).hexdigest())


def _read_cells(rows: list[dict[str, Any]], source: CorpusSource) -> None:
    """CSV has only texts: a column all of whose cells are numbers is one of numbers, one that ever holds a mark is of lists."""
    for field in source.fields:
        cells = [row[field] for row in rows]
        if not all(isinstance(cell, str) for cell in cells):
            continue
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            numbers = []
        mark = next((mark for mark in MARKS if any(mark in cell for cell in cells)), None)
        for row, cell in zip(rows, cells, strict=True):
            if numbers:
                row[field] = int(float(cell)) if float(cell).is_integer() else float(cell)
            elif mark is not None and mark != ";":
                row[field] = [part.strip() for part in cell.split(mark) if part.strip()]
