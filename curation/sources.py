"""Files and dataset folders as numbered rows, a chunk at a time. What cannot be read says where, and how to put it right.

A chunk is still raw, so that another process can take it apart: what is slow here is parsing, not reading.
"""

import csv
import json
import stat
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO

import pyarrow as pa

from curation import encodings
from curation.errors import InputError, did_you_mean

if TYPE_CHECKING:
    from datasets import Dataset

Fields = dict[str, Any]
Label = int | str  # 7 for line or row 7; "test:7" where a folder has several splits

CHUNK_ROWS = 5_000
CHUNK_CHARS = 1 << 20  # small enough that an interrupted import stops at once
HEAD_ROWS = 1_000  # of a JSONL file, whose columns nobody declares
MAX_CELL = 1 << 24
SAVED = ("state.json", "dataset_dict.json")  # what `save_to_disk` leaves
SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True, slots=True)
class Broken:
    """A row that is none: a broken line, a line with too many cells."""

    reason: str  # the same for all rows with this fault
    detail: str


class Chunk(Protocol):
    """Some rows of a source, in order."""

    @property
    def path(self) -> str: ...

    def rows(self) -> Iterator[tuple[int, Label, Fields | Broken]]:
        """Each row's number, how to call it in a message, and its columns."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """What is to be imported, opened: `chunks(columns)` reads it, for the columns named (text files give all)."""

    path: str
    sha256: str  # of the file, or of all files of a folder
    columns: tuple[str, ...]  # of JSONL, those of its first rows
    declared: bool  # whether all rows have these columns and no others
    lines: bool  # whether rows are counted as an editor counts lines
    expected: int  # rows, about
    chunks: Callable[[Sequence[str]], Iterator[Chunk]]


@contextmanager
def open_source(
    path: Path, *, encoding: str = "utf-8", splits: Sequence[str] = (), limit: int | None = None, scratch: Path
) -> Iterator[Source]:
    """Open a file or a dataset folder; what `datasets` has to unpack goes below `scratch` until the end.

    Raises:
        InputError: missing, unreadable, empty, of an unknown kind, damaged, or in another encoding.
    """
    with ExitStack() as held:
        with readable(path):
            source = _open(path, encoding, splits, limit, scratch, held)
        yield source


def _open(
    path: Path, encoding: str, splits: Sequence[str], limit: int | None, scratch: Path, held: ExitStack
) -> Source:
    kind = path.stat().st_mode
    if stat.S_ISDIR(kind):
        return _folder(path, splits, limit, scratch, held)
    if not stat.S_ISREG(kind):
        raise InputError(f"{path}: not a file (a pipe, a device?); write it to a file and import that")
    if splits:
        raise InputError(f"split={splits[0]}: {path} is one file; only a dataset folder has splits")
    _check_suffix(path)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    if path.suffix.lower() == ".parquet":
        return _parquet(path, limit)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _csv(path, encoding, limit)
    return _jsonl(path, encoding, limit)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Say in one line what keeps a file from being read."""
    try:
        yield
    except FileNotFoundError as error:
        near = did_you_mean(path.name, _names_beside(path)) if str(error.filename) == str(path) else ""
        raise InputError(f"{path}: no such file or folder.{near if 'Did' in near else ''}") from error
    except PermissionError as error:
        raise InputError(f"{path}: may not be read; `chmod +r {path}`, or ask its owner") from error
    except pa.ArrowException as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(f"{path}: damaged, or no Parquet file: {reason}; write or copy it again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or str(error).split(chr(10), 1)[0]}") from error


def _names_beside(path: Path) -> list[str]:
    return [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []


def _check_suffix(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix in SUFFIXES:
        return
    fix = {
        ".json": f"write one object a line: `jq -c '.[]' {path.name} > {path.stem}.jsonl`",
        ".gz": "unpack it first: `gunzip`", ".zst": "unpack it first: `unzstd`", ".zip": "unpack it first: `unzip`",
        ".xlsx": "save the sheet as CSV UTF-8", ".xls": "save the sheet as CSV UTF-8",
        ".arrow": "name the folder that it lies in", ".txt": "name it .csv, .tsv or .jsonl, whichever it is",
    }.get(suffix, "import JSONL, CSV or Parquet, or a Hugging Face dataset folder")  # fmt: skip
    raise InputError(f"{path}: {suffix or 'no suffix'} is not one of {', '.join(SUFFIXES)}; {fix}")


# -- text files --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Lines:
    path: str
    first: int
    text: str

    def rows(self) -> Iterator[tuple[int, Label, Fields | Broken]]:
        for number, line in enumerate(self.text.split("\n"), self.first):
            if line and not line.isspace():
                yield number, number, _object(line)


def _object(line: str) -> Fields | Broken:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        return Broken("broken JSON", f"column {error.colno}: {error.msg}")
    except (ValueError, RecursionError) as error:
        return Broken("broken JSON", str(error).split(";", 1)[0])
    if not isinstance(value, dict):
        return Broken("not a JSON object", f"a {type(value).__name__}")
    return value


def _jsonl(path: Path, encoding: str, limit: int | None) -> Source:
    survey = encodings.survey(path, encoding)
    with survey.open(path, newline="\n") as file:
        head = [line for line in islice(file, HEAD_ROWS) if not line.isspace()]
    if not head:
        raise InputError(f"{path}: there are only blank lines in it")
    objects = [_object(line) for line in head]
    if all(isinstance(item, Broken) for item in objects):
        first = objects[0]
        assert isinstance(first, Broken)
        whole = head[0].lstrip().startswith("[") or head[0].strip() == "{"
        fix = f"write one object a line: `jq -c '.[]' {path.name}`" if whole else "is it JSON Lines?"
        raise InputError(f"{path}:1: {first.reason} ({first.detail}); {fix}")
    columns = dict.fromkeys(key for item in objects if isinstance(item, dict) for key in item)

    def chunks(_: Sequence[str]) -> Iterator[Chunk]:
        left, first = limit, 1
        with readable(path), survey.open(path, newline="\n") as file:
            while left != 0 and (lines := file.readlines(CHUNK_CHARS)):
                if left is not None:
                    lines = _first_rows(lines, left)
                    left -= sum(not line.isspace() for line in lines)
                yield _Lines(str(path), first, "".join(lines))
                first += len(lines)

    return Source(str(path), survey.sha256, tuple(columns), False, True, _least(survey.lines, limit), chunks)


def _first_rows(lines: list[str], count: int) -> list[str]:
    rows = (number for number, line in enumerate(lines, 1) if not line.isspace())
    return lines[: next(islice(rows, count - 1, None), len(lines))]


@dataclass(frozen=True, slots=True)
class _Cells:
    path: str
    columns: tuple[str, ...]
    records: list[tuple[int, list[str] | Broken]]

    def rows(self) -> Iterator[tuple[int, Label, Fields | Broken]]:
        width = len(self.columns)
        for number, cells in self.records:
            if isinstance(cells, Broken):
                yield number, number, cells
            elif len(cells) != width:
                detail = f"{len(cells)} here, {width} in the header; quote a text that holds a comma or a line break"
                yield number, number, Broken("another number of cells than the header", detail)
            else:
                yield number, number, dict(zip(self.columns, cells, strict=True))


def _csv(path: Path, encoding: str, limit: int | None) -> Source:
    survey = encodings.survey(path, encoding)
    csv.field_size_limit(MAX_CELL)
    with survey.open(path, newline="") as file:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(path, file)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        columns = tuple(name.strip() for name in _next_record(path, reader, 1) or ())
    if not any(columns):
        raise InputError(f"{path}: the first line names no columns")
    if twice := [name for name, count in Counter(columns).items() if count > 1 and name]:
        places = ", ".join(str(at) for at, name in enumerate(columns, 1) if name == twice[0])
        raise InputError(f"{path}:1: two columns are called {twice[0]!r} (columns {places}); rename one of them")

    def chunks(_: Sequence[str]) -> Iterator[Chunk]:
        with readable(path), survey.open(path, newline="") as file:
            records = islice(_records(path, csv.reader(file, delimiter=delimiter, strict=True)), 1, limit and limit + 1)
            while block := list(islice(records, CHUNK_ROWS)):
                yield _Cells(str(path), columns, block)

    return Source(str(path), survey.sha256, columns, True, True, _least(survey.lines - 1, limit), chunks)


def _delimiter(path: Path, file: TextIO) -> str:
    """The one that splits the header into most columns; a comma, where none does."""
    widths = {}
    for delimiter in ",;\t|":
        file.seek(0)
        widths[delimiter] = len(_next_record(path, csv.reader(file, delimiter=delimiter, strict=True), 1) or ())
    file.seek(0)
    return max(widths, key=widths.__getitem__)


class _Reader(Protocol):
    line_num: int

    def __next__(self) -> list[str]: ...


def _records(path: Path, reader: _Reader) -> Iterator[tuple[int, list[str] | Broken]]:
    """The lines' numbers and cells; blank lines are passed over."""
    while True:
        number = reader.line_num + 1
        try:
            record = _next_record(path, reader, number)
        except csv.Error as error:
            yield number, Broken("broken CSV", str(error))
            continue
        if record is None:
            return
        if record:
            yield number, record


def _next_record(path: Path, reader: _Reader, number: int) -> list[str] | None:
    try:
        return next(reader)
    except StopIteration:
        return None
    except csv.Error as error:
        if "unexpected end" in str(error) or "field limit" in str(error):
            raise InputError(
                f'{path}:{number}: a quote that opens here is never closed; write " inside a text as ""'
            ) from error
        if number == 1:
            raise InputError(f"{path}:1: the header is broken CSV: {error}") from error
        raise


# -- tables ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Batch:
    path: str
    prefix: str
    first: int
    batch: pa.RecordBatch | pa.Table
    names: dict[str, list[str]]  # of class labels, which are stored as numbers

    def rows(self) -> Iterator[tuple[int, Label, Fields | Broken]]:
        for number, row in enumerate(self.batch.to_pylist(), self.first):
            for column, names in self.names.items():
                if isinstance(row.get(column), int) and 0 <= row[column] < len(names):
                    row[column] = names[row[column]]
            yield number, f"{self.prefix}{number}" if self.prefix else number, row


def _parquet(path: Path, limit: int | None) -> Source:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema, count = file.schema_arrow, file.metadata.num_rows
    if twice := [name for name, times in Counter(schema.names).items() if times > 1]:
        raise InputError(f"{path}: two columns are called {twice[0]!r}; rename one of them")

    def chunks(columns: Sequence[str]) -> Iterator[Chunk]:
        wanted = None if any("." in name for name in columns) else list(columns)  # a dot would mean a nested field
        first, left = 1, _least(count, limit)
        with readable(path), pq.ParquetFile(path) as file:
            for batch in file.iter_batches(CHUNK_ROWS, columns=wanted):
                if left <= 0:
                    return
                yield _Batch(str(path), "", first, batch.slice(0, left), _class_names(schema))
                first += batch.num_rows
                left -= batch.num_rows

    return Source(str(path), encodings.sha256([path]), tuple(schema.names), True, False, _least(count, limit), chunks)


def _class_names(schema: pa.Schema) -> dict[str, list[str]]:
    """The names behind the numbers of `ClassLabel` columns, from what `datasets` leaves in a schema."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: about["names"] for name, about in features.items() if about.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, AttributeError, TypeError):
        return {}


def _folder(path: Path, splits: Sequence[str], limit: int | None, scratch: Path, held: ExitStack) -> Source:
    files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    saved = any((path / name).is_file() for name in SAVED)
    if not saved and not {file.suffix.lower() for file in files} & {".arrow", *SUFFIXES}:
        what = "neither `save_to_disk` output nor .parquet, .csv or .jsonl files" if files else "it is empty"
        raise InputError(f"{path}: no dataset in this folder: {what}")
    found = _load_dataset(path, scratch, held)
    for name in splits:
        if name not in found:
            raise InputError(f"{path}: no split {name!r}.{did_you_mean(name, found)}")
    chosen = {name: data for name, data in found.items() if not splits or name in splits}
    columns = tuple(dict.fromkeys(name for data in chosen.values() for name in data.column_names))
    count = _least(sum(data.num_rows for data in chosen.values()), limit)

    def chunks(wanted: Sequence[str]) -> Iterator[Chunk]:
        left = count
        for split, data in chosen.items():
            origin, prefix = (f"{path}/{split}", f"{split}:") if len(found) > 1 else (str(path), "")
            first, names = 1, _class_names(data.features.arrow_schema)
            here = data.select_columns([name for name in wanted if name in data.column_names]).with_format("arrow")
            with readable(path):
                for table in here.iter(batch_size=CHUNK_ROWS):
                    if left <= 0:
                        return
                    yield _Batch(origin, prefix, first, table.slice(0, left), names)
                    first += table.num_rows
                    left -= table.num_rows

    return Source(str(path), encodings.sha256(files), columns, True, False, count, chunks)


def _load_dataset(path: Path, scratch: Path, held: ExitStack) -> "dict[str, Dataset]":
    """The splits of a dataset folder, by name; nothing is fetched."""
    import datasets

    datasets.disable_progress_bars()
    offline, datasets.config.HF_DATASETS_OFFLINE = datasets.config.HF_DATASETS_OFFLINE, True
    try:
        if any((path / name).is_file() for name in SAVED):
            data = datasets.load_from_disk(str(path))
        else:
            scratch.mkdir(parents=True, exist_ok=True)
            cache = held.enter_context(tempfile.TemporaryDirectory(prefix=".import-", dir=scratch))
            data = datasets.load_dataset(str(path), cache_dir=cache)
    except Exception as error:  # whatever it is: datasets raises all kinds, some over many lines
        reason = str(error.__cause__ or error).split("\n", 1)[0]
        raise InputError(
            f"{path}: `datasets` cannot load this folder: {reason}; import one of its files instead"
        ) from error
    finally:
        datasets.config.HF_DATASETS_OFFLINE = offline
    return {str(name): split for name, split in data.items()} if isinstance(data, dict) else {"train": data}


def _least(count: int, limit: int | None) -> int:
    return count if limit is None else min(count, limit)
