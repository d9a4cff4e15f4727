"""`curate import`: somebody else's rows as examples, checked, with an origin that names file and line.

Nothing is half-imported: all rows are read, checked and laid aside as Arrow first, in several processes where there are many; only then
is the store opened, for as long as the rows take to go in (some seconds for each half million, which is one transaction).
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from curation.checks import run_checks
from curation.config import ImportSettings
from curation.errors import InputError
from curation.evaluations import flag_command
from curation.mapping import RowMap, Unusable, no_column, proposal, row_map
from curation.pool import processors, spread
from curation.records import Decision, Imported, Verdict, now
from curation.sources import Broken, Chunk, Label, Source, open_source
from curation.staging import TABLES, Staging, pack
from curation.store import Store
from curation.tables import AnyExample, example_row, origin_row, verdict_row

POOL_ROWS = 50_000  # from so many rows on, starting processes pays
SHOWN_VALUES = 20  # different ones that a reason keeps; a column with more of them is the wrong column
_STRICTNESS = (Decision.KEEP, Decision.UNSCORED, Decision.FLAG, Decision.DROP)
_STATUS = {Decision.KEEP: "passed", Decision.UNSCORED: "unscored", Decision.FLAG: "flagged", Decision.DROP: "dropped"}


@dataclass(slots=True)
class Bad:
    """Rows that are no examples, all for one reason."""

    meaning: str | None = None  # the field, where another meaning of the values would make them examples
    rows: list[Label] = field(default_factory=list)
    values: Counter[str] = field(default_factory=Counter)  # what they hold instead; the first few different ones

    def add(self, rows: Sequence[Label], values: Counter[str]) -> None:
        self.rows += rows
        for value, count in values.items():
            if value in self.values or len(self.values) < SHOWN_VALUES:
                self.values[value] += count


@dataclass(slots=True)
class Report:
    """What an import came to."""

    path: str
    sha256: str
    task: str
    columns: dict[str, str] = field(default_factory=dict)  # field -> the column it came from
    constants: dict[str, Any] = field(default_factory=dict)
    rows: int = 0
    new: int = 0  # examples
    there: int = 0  # examples that the store had already
    repeated: int = 0  # rows that say what an earlier row of this file said
    statuses: Counter[str] = field(default_factory=Counter)  # what the checks say, in rows
    findings: Counter[tuple[str, str]] = field(default_factory=Counter)  # (check, decision), in rows
    bad: dict[str, Bad] = field(default_factory=dict)  # by reason
    unused: list[str] = field(default_factory=list)  # columns

    @property
    def bad_rows(self) -> int:
        return sum(len(bad.rows) for bad in self.bad.values())


def import_file(settings: ImportSettings, progress: Callable[[int], None] | None = None) -> Report:
    """Import a file or dataset folder; `progress` is told how many rows were read so far.

    Raises:
        InputError: the file, a setting or (without `skip_bad`) a row cannot be used; nothing was imported.
        WorkspaceError: the store cannot be written.
    """
    if settings.path is None:
        raise InputError("'path' is missing: name a file (curate import posts.csv), or an evaluation=FOLDER")
    with ExitStack() as held:
        source = held.enter_context(
            open_source(
                settings.path, encoding=settings.encoding, splits=settings.split, limit=settings.limit,
                scratch=settings.workspace,
            )
        )  # fmt: skip
        mapping = row_map(settings, source)
        store = Store(settings.workspace)
        staged = held.enter_context(Staging(store))
        job = _Job(mapping, source.sha256, now(), staged.schemas)
        report = Report(source.path, source.sha256, settings.task, constants=mapping.constants)
        seen: set[str] = set()
        texts: list[NDArray[np.uint64]] = []
        chunks = source.chunks(sorted(mapping.used))
        processes = processors() if source.expected > POOL_ROWS else 1
        for part in held.enter_context(closing(spread(partial(_examine, job), chunks, processes))):
            _tell(report, part)
            if report.bad and not settings.skip_bad:
                raise _refusal(source, report, settings.task)
            seen |= part.seen
            texts.append(part.texts)
            staged.add(len(part.texts), part.packed)
            if progress is not None:
                progress(report.rows)
        if not report.rows:
            raise InputError(f"{source.path}: it has no rows, only {'a header' if source.lines else 'columns'}")
        if report.bad_rows == report.rows:
            raise _refusal(source, report, settings.task)
        for name, column in mapping.asked.items():
            if column not in seen:
                raise no_column(source.path, name, column, sorted(seen))
        different = len(np.unique(np.concatenate(texts)))
        report.new = staged.commit()
        report.there = different - report.new
        report.repeated = report.rows - report.bad_rows - different
        report.columns = mapping.found(seen)
        report.unused = sorted((seen | set(source.columns)) - mapping.used)
    return report


def _tell(report: Report, part: "_Part") -> None:
    report.rows += part.rows
    report.statuses.update(part.statuses)
    report.findings.update(part.findings)
    for reason, bad in part.bad.items():
        report.bad.setdefault(reason, Bad(bad.meaning)).add(bad.rows, bad.values)


def _refusal(source: Source, report: Report, task: str) -> InputError:
    reason, bad = next(iter(report.bad.items()))
    place = f"{source.path}:{bad.rows[0]}" if source.lines else f"{source.path}, row {bad.rows[0]}"
    count = f" (and {report.bad_rows - 1:,} more bad rows)" if report.bad_rows > 1 else ""
    if report.bad_rows == report.rows > 1:
        count = (
            f"; so are all {report.rows:,} rows" if len(report.bad) == 1 else f"; no row of {report.rows:,} is usable"
        )
    if bad.meaning is None or not bad.values:
        detail = f": {next(iter(bad.values))}" if bad.values else ""
        leave = "; correct it, or leave bad rows out with skip_bad=true" if report.bad_rows < report.rows else ""
        return InputError(f"{place}: {reason}{detail}{count}{leave}")
    if len(bad.values) >= SHOWN_VALUES:
        some = ", ".join(map(repr, list(bad.values)[:5]))
        return InputError(
            f"{place}: {reason}; the column holds {some} and many more: name the right one with columns.{bad.meaning}="
        )
    held = ", ".join(f"{value!r} ({times:,})" for value, times in bad.values.most_common(6))
    fix = " ".join(proposal(bad.meaning, value, task) for value, _ in bad.values.most_common(6))
    return InputError(
        f"{place}: {reason}, but {held}; say what {'it means' if len(bad.values) == 1 else 'they mean'}, e.g. {fix}"
    )


# -- rows to Arrow, here or in other processes -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    """What it takes to examine a chunk."""

    mapping: RowMap
    sha256: str
    at: datetime
    schemas: dict[str, pa.Schema]


@dataclass(slots=True)
class _Part:
    """A chunk, examined."""

    rows: int = 0
    bad: dict[str, Bad] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)  # columns
    statuses: Counter[str] = field(default_factory=Counter)
    findings: Counter[tuple[str, str]] = field(default_factory=Counter)
    texts: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))  # of the examples' ids
    packed: dict[str, bytes] = field(default_factory=dict)  # by table


def _examine(job: _Job, chunk: Chunk) -> _Part:
    part = _Part()
    found = list(_examples(job, chunk, part))
    checked = [run_checks(example) for _, example in found]
    for verdicts in checked:
        worst = max((verdict.decision for verdict in verdicts), key=_STRICTNESS.index)
        part.statuses[_STATUS[worst]] += 1
        if worst is not Decision.KEEP:
            part.findings.update((_check_name(verdict), str(verdict.decision)) for verdict in verdicts)
    part.texts = np.array([int(example.id[-16:], 16) for _, example in found], np.uint64)
    rows = {
        "examples": [example_row(example, job.at)[1] for _, example in found],
        "origins": [
            origin_row(example.id, Imported(path=chunk.path, row=number, sha256=job.sha256), job.at)[1]
            for number, example in found
        ],
        "verdicts": [verdict_row(verdict, once=True)[1] for verdicts in checked for verdict in verdicts],
    }
    part.packed = {table: pack(rows[table], job.schemas[table]) for table in TABLES}
    return part


def _examples(job: _Job, chunk: Chunk, part: _Part) -> Iterator[tuple[int, AnyExample]]:
    """The rows that are examples, with their numbers; the others go into `part.bad`."""
    read = job.mapping.reader()
    for number, label, columns in chunk.rows():
        part.rows += 1
        if isinstance(columns, Broken):
            _put_aside(part, label, columns.reason, columns.detail, None)
            continue
        part.seen |= columns.keys()
        try:
            yield number, read(columns)
        except Unusable as error:
            _put_aside(part, label, error.reason, _short(error.value), error.field)


def _check_name(verdict: Verdict) -> str:
    return verdict.by.partition(":")[2].partition("@")[0]


def _put_aside(part: _Part, label: Label, reason: str, value: str, name: str | None) -> None:
    bad = part.bad.setdefault(reason, Bad(name))
    bad.add([label], Counter([value] if value else []))


def _short(value: object) -> str:
    if value is None:
        return ""
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= 60 else shown[:57] + "..."


# -- as a person sees it ---------------------------------------------------------------------------------------------


def import_command(settings: ImportSettings) -> int:
    if settings.evaluation is not None:
        if extra := settings.model_fields_set - {"evaluation", "workspace", "as_json"}:
            raise InputError(f"{min(extra)}: says nothing beside evaluation=; import the file by a command of its own")
        return flag_command(settings, settings.evaluation)
    began = time.monotonic()
    report = import_file(settings, None if settings.as_json else _Ticker())
    took = time.monotonic() - began
    if settings.as_json:
        print(json.dumps(_as_json(report, took), ensure_ascii=False))
    else:
        _print_report(Console(highlight=False, markup=False), report, settings, took)
    return 0


def _as_json(report: Report, took: float) -> dict[str, object]:
    return {
        "path": report.path, "sha256": report.sha256, "task": report.task, "columns": report.columns, "constants": report.constants,
        "rows": report.rows, "new": report.new, "there": report.there, "repeated": report.repeated, "statuses": report.statuses,
        "findings": [
            {"check": check, "decision": decision, "rows": count} for (check, decision), count in report.findings.items()
        ],
        "bad_rows": report.bad_rows,
        "bad": [{"reason": reason, "rows": bad.rows, "values": bad.values} for reason, bad in report.bad.items()],
        "unused": report.unused, "seconds": round(took, 3),
    }  # fmt: skip


class _Ticker:
    """A plain line on standard error now and then."""

    EVERY_S = 5.0

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def __call__(self, rows: int) -> None:
        at = time.monotonic()
        if at - self._last >= self.EVERY_S:
            self._last = at
            print(
                f"read and checked {rows:,} rows · {rows / (at - self._began):,.0f} rows/s", file=sys.stderr, flush=True
            )


def _print_report(console: Console, report: Report, settings: ImportSettings, took: float) -> None:
    def say(text: str) -> None:
        console.print(text, soft_wrap=True, markup=False)

    mapping = [name if name == column else f"{name} ← {column}" for name, column in report.columns.items()]
    mapping += [f"{name} = {value}" for name, value in report.constants.items()]
    say(f"{report.path}: {report.task} from {', '.join(mapping)}")
    if report.unused:
        more = ", ..." if len(report.unused) > 12 else ""
        say(f"Columns not used: {', '.join(report.unused[:12])}{more}")
    repeated = f", {report.repeated:,} repeat an earlier row" if report.repeated else ""
    bad = f", {report.bad_rows:,} bad and left out" if report.bad else ""
    say(
        f"{report.rows:,} rows: {report.new:,} new examples, {report.there:,} were there already{repeated}{bad}, {took:.1f} s"
    )
    checks = ", ".join(f"{count:,} {status}" for status, count in report.statuses.most_common())
    say(f"Checks: {checks}")
    if report.findings:
        console.print(_findings(report.findings))
    if report.bad:
        console.print(_bad(report.bad))
    where = "" if str(settings.workspace) == "workspace" else f" workspace={settings.workspace}"
    steps = [f"curate ls status={status}" for status in ("flagged", "dropped") if report.statuses[status]]
    steps += ["curate dedup", "curate export name=" + report.task]
    say("\n".join(f"{'Next:  ' if at == 0 else '       '}{step}{where}" for at, step in enumerate(steps)))


def _findings(findings: Counter[tuple[str, str]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("check")
    for decision in ("flag", "drop", "unscored"):
        table.add_column({"flag": "flagged", "drop": "dropped"}.get(decision, decision), justify="right")
    for check in sorted({check for check, _ in findings}):
        table.add_row(check, *(f"{findings[check, decision]:,}" for decision in ("flag", "drop", "unscored")))
    return table


def _bad(bad: dict[str, Bad]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("bad rows", justify="right")
    table.add_column("why")
    table.add_column("such as")
    table.add_column("rows")
    for reason, one in sorted(bad.items(), key=lambda pair: -len(pair[1].rows)):
        shown = ", ".join(map(str, one.rows[:10])) + (", ..." if len(one.rows) > 10 else "")
        table.add_row(f"{len(one.rows):,}", reason, next(iter(one.values), ""), shown)
    return table
