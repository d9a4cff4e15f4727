"""Appending to the store from a running job: durable at once, committed in groups.

`Writer.append` puts rows that could not be made again (a paid answer, a person's verdict) into a journal file by one write(2): the
kernel has them, so killing this process loses nothing. A thread then commits everything appended since the last time, about once a
second, and drops that journal file. A journal whose owner died is read back by the next `Writer` of any process.
"""

import fcntl
import json
import os
import threading
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from curation.errors import WorkspaceError
from curation.records import canonical_json
from curation.store import Row, Store

COMMIT_EVERY_S = 0.5
COMMIT_ROWS = 20_000
COMMIT_MEMORY = 128 << 20  # bytes for DuckDB: a run of a million rows must not take more than one of a thousand


class Writer:
    """Group-commits rows to a store; use as a context manager, from any number of threads.

    Raises:
        WorkspaceError: from `append` or on leaving, when the disk is full or the store cannot be written. Rows that
            `append` took with `durable=True` are in the journal all the same.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._condition = threading.Condition()
        self._rows: dict[str, list[Row]] = defaultdict(list)
        self._waiting = 0
        self._appended = self._committed = 0  # rows, since the beginning
        self._closing = False
        self._hurry = False
        self._failure: Exception | None = None
        self._journal = _Journal(store.journals)
        self._thread = threading.Thread(target=self._commit_loop, name="store-writer", daemon=True)

    def __enter__(self) -> Self:
        recover(self._store)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        self._thread.join()
        self._journal.close(keep=self._failure is not None)
        if self._failure is not None and error is None:
            raise self._failure

    def append(self, rows: Sequence[tuple[str, Row]], *, durable: bool = False) -> None:
        """Take `(table, row)` pairs; with `durable`, they survive the death of this process from here on."""
        with self._condition:
            if self._failure is not None:
                raise self._failure
            if durable:
                self._journal.write(rows)
            for table, row in rows:
                self._rows[table].append(row)
            self._waiting += len(rows)
            self._appended += len(rows)
            if self._waiting >= COMMIT_ROWS:
                self._condition.notify_all()

    def flush(self) -> None:
        """Wait until everything appended so far is committed."""
        with self._condition:
            wanted = self._appended
            while self._committed < wanted and self._failure is None:
                self._hurry = True
                self._condition.notify_all()
                self._condition.wait()
            if self._failure is not None:
                raise self._failure

    def _commit_loop(self) -> None:
        while self._failure is None:
            with self._condition:
                self._condition.wait_for(
                    lambda: self._closing or self._hurry or self._waiting >= COMMIT_ROWS, timeout=COMMIT_EVERY_S
                )
                self._hurry = False
                if not self._waiting:
                    if self._closing:
                        return
                    continue
                rows, self._rows = self._rows, defaultdict(list)
                count, self._waiting = self._waiting, 0
                done = self._journal.rotate()
            failure = self._commit(rows, done)
            with self._condition:
                self._committed += count
                self._failure = failure
                self._condition.notify_all()

    def _commit(self, rows: dict[str, list[Row]], journal: "_Spent") -> Exception | None:
        try:
            _insert_all(self._store, rows)
            journal.remove()
        except Exception as error:  # handed to whoever appends next: a thread must not die silently
            return error
        finally:
            journal.release()
        return None


class _Journal:
    """The journal file of one writer. Its lock says that the writer is alive."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._number = 0
        self._path: Path | None = None
        self._file = -1

    def write(self, rows: Sequence[tuple[str, Row]]) -> None:
        try:
            if self._path is None:
                self._start()
            block = "".join(canonical_json([table, *map(_jsonable, row)]) + "\n" for table, row in rows).encode()
            written = os.write(self._file, block)
            if written != len(block):
                os.ftruncate(self._file, os.fstat(self._file).st_size - written)
                raise OSError(28, "No space left on device")
        except OSError as error:
            raise WorkspaceError(
                f"{self._folder}: {error.strerror}; nothing already answered is lost: make room and run the same command again"
            ) from error

    def _start(self) -> None:
        self._number += 1  # written so that names sort by age: an origin is read back after its example
        path = self._folder / f"{os.getpid()}-{id(self):x}-{self._number:09}.jsonl"
        while True:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_nlink:
                break
            os.close(file)  # somebody's `recover` took it for a dead process' before it was locked
        self._path, self._file = path, file

    def rotate(self) -> "_Spent":
        """Hand over the file written so far; the next write starts another."""
        spent = _Spent(self._path, self._file)
        self._path, self._file = None, -1
        return spent

    def close(self, *, keep: bool) -> None:
        spent = self.rotate()
        if not keep:
            spent.remove()
        spent.release()


class _Spent:
    def __init__(self, path: Path | None, file: int) -> None:
        self._path, self._file = path, file

    def remove(self) -> None:
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def release(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def open_store(workspace: Path) -> Store:
    """The store of a workspace that must be there, with whatever a killed process left in its journal read back."""
    store = Store(workspace, create=False)
    recover(store)
    return store


def recover(store: Store) -> int:
    """Commit the journals that dead processes left behind; returns the number of rows read back."""
    count = 0
    for path in sorted(store.journals.glob("*.jsonl")):
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue  # its owner committed and removed it meanwhile, or it is another user's
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            continue
        try:
            if not os.fstat(file).st_nlink:
                continue  # its owner committed and removed it between these two calls
            rows = _read(path)
            _insert_all(store, rows)
            path.unlink(missing_ok=True)
            count += sum(map(len, rows.values()))
        finally:
            os.close(file)
    return count


def _read(path: Path) -> dict[str, list[Row]]:
    rows: dict[str, list[Row]] = defaultdict(list)
    lines = path.read_bytes().split(b"\n")[:-1]  # a last line without its end was never acknowledged
    for number, line in enumerate(lines, 1):
        try:
            table, *row = json.loads(line)
        except ValueError as error:
            raise WorkspaceError(
                f"{path}:{number}: damaged ({error}); mend or remove the line and run this again"
            ) from error
        rows[table].append(tuple(_unjson(value) for value in row))
    return rows


def _insert_all(store: Store, rows: dict[str, list[Row]]) -> None:
    if rows:
        with store.write(memory=COMMIT_MEMORY) as connection:
            for table in sorted(rows, key=lambda table: table == "origins"):  # after the examples they speak of
                store.insert(connection, table, rows[table])


def _jsonable(value: Any) -> Any:
    return {"at": value.isoformat()} if isinstance(value, datetime) else value


def _unjson(value: Any) -> Any:
    return datetime.fromisoformat(value["at"]) if isinstance(value, dict) else value
