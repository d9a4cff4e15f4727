"""The store: one DuckDB file per workspace, used by many processes at once. No other file opens DuckDB.

DuckDB lets one process hold a file for writing and then nobody else, so everybody opens it briefly: take an OS file lock (shared to
read, exclusive to write), open, one transaction, close, release. A second lock, the gate, is passed by all and held by a waiting writer,
so that a stream of readers cannot starve it. Nobody holds either while waiting for a model or a person.

Appends go through a `Writer`, which commits in groups; what could not be made again is on disk in its journal before `append` returns.
"""

import fcntl
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from curation.errors import InputError, WorkspaceError
from curation.migrations import MIGRATIONS

Row = tuple[Any, ...]
FOREIGN_LOCK_WAIT_S = 15.0
MEMORY = 1 << 30  # bytes that DuckDB may take; it spills what goes beyond to the workspace
LARGE = 16 << 20  # bytes of one insert from which on it may take more: long texts cannot all be spilt


class Store:
    """A workspace's store. Cheap to make: nothing is open between calls.

    Args:
        workspace: the folder that holds `tilth.duckdb`, `journal/`, `assets/` and `datasets/`.
        create: make the folder and the store if they are missing.

    Raises:
        WorkspaceError: missing (with `create=False`), unwritable, damaged, or written by a newer Tilth.
    """

    def __init__(self, workspace: Path, *, create: bool = True) -> None:
        self.workspace = workspace
        self.path = workspace / "tilth.duckdb"
        self.journals = workspace / "journal"
        self._columns: dict[str, pa.Schema] = {}
        if not create and not self.path.is_file():
            raise WorkspaceError(
                f"workspace {str(workspace)!r}: no store there; make one with `synth run prompt=general_ok n=100`, "
                "or name another with workspace=FOLDER"
            )
        with _clear_io_errors(workspace):
            self.journals.mkdir(parents=True, exist_ok=True)
        self._migrate()

    def _migrate(self) -> None:
        if not self.path.is_file():
            self._found()
        with self.read() as connection:
            version = _schema_version(connection)
        if version > len(MIGRATIONS):
            raise WorkspaceError(
                f"{self.path}: written by a newer Tilth (schema {version}, this one knows {len(MIGRATIONS)}); "
                "upgrade with `pip install -U tilth`"
            )
        if version < len(MIGRATIONS):
            with self.write() as connection:
                _upgrade(connection)

    def _found(self) -> None:
        """Make the store beside its place and move it there: whoever is killed here leaves no half-made store."""
        fresh = self.workspace / "tilth.duckdb.new"
        with self._locked(fcntl.LOCK_EX), _clear_io_errors(self.workspace):
            if self.path.is_file():
                return  # another process was first
            fresh.unlink(missing_ok=True)
            (self.workspace / "tilth.duckdb.new.wal").unlink(missing_ok=True)
            with self._open(fresh, read_only=False) as connection:
                connection.begin()
                _upgrade(connection)
                connection.commit()
            fresh.replace(self.path)

    # -- opening ---------------------------------------------------------------------------------------------

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection; others may read at the same time."""
        with self._locked(fcntl.LOCK_SH), self._open(self.path, read_only=True) as connection:
            yield connection

    @contextmanager
    def write(self, *, memory: int = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection inside one transaction, committed on leaving and rolled back on an exception."""
        with self._locked(fcntl.LOCK_EX), self._open(self.path, read_only=False, memory=memory) as connection:
            connection.begin()
            yield connection
            connection.commit()

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        with _clear_io_errors(self.workspace):
            gate = os.open(self.workspace / ".gate", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            door = os.open(self.workspace / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(door, kind)
            fcntl.flock(gate, fcntl.LOCK_UN)
            yield
        finally:
            os.close(gate)  # closing releases
            os.close(door)

    @contextmanager
    def _open(self, path: Path, *, read_only: bool, memory: int = MEMORY) -> Iterator[duckdb.DuckDBPyConnection]:
        with _clear_database_errors(path):
            connection = self._connect(path, read_only, memory)
            try:
                yield connection
            finally:
                connection.close()

    def _connect(self, path: Path, read_only: bool, memory: int) -> duckdb.DuckDBPyConnection:
        config: dict[str, str | bool | int | float | list[str]] = {
            "threads": min(os.cpu_count() or 1, 8),
            "memory_limit": f"{memory}B",
            "preserve_insertion_order": False,
            "temp_directory": str(self.workspace / "tmp"),
        }
        give_up = time.monotonic() + FOREIGN_LOCK_WAIT_S
        while True:
            try:
                return duckdb.connect(str(path), read_only=read_only, config=config)
            except duckdb.IOException as error:
                # Tilth's own processes wait on the file lock, so whoever holds DuckDB's is another program.
                if "lock" not in str(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    @contextmanager
    def hold(self, name: str, what: str) -> Iterator[None]:
        """Be the only process that does `what` in this workspace.

        Raises:
            WorkspaceError: another process is at it; the message says which.
        """
        folder = self.workspace / "locks"
        with _clear_io_errors(self.workspace):
            folder.mkdir(exist_ok=True)
            file = os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.pread(file, 32, 0).decode() or "unknown"
                raise WorkspaceError(f"{what} is going on in process {owner}; wait for it, or stop it first") from None
            os.ftruncate(file, 0)
            os.pwrite(file, str(os.getpid()).encode(), 0)
            yield
        finally:
            os.close(file)

    # -- writing ---------------------------------------------------------------------------------------------

    def insert(self, connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> int:
        """Append rows (in column order) whose id is not there yet; returns how many were new.

        Tables without an `id` column take every row.
        """
        if not rows:
            return 0
        return self.insert_arrow(connection, table, self._arrow(connection, table, rows))

    def insert_arrow(self, connection: duckdb.DuckDBPyConnection, table: str, batch: pa.Table) -> int:
        """`insert` for rows that are in Arrow already."""
        if batch.nbytes > LARGE:
            connection.execute(f"SET memory_limit = '{max(MEMORY, 4 * batch.nbytes)}B'")
        if "id" not in batch.column_names:
            source = "batch"
        else:
            batch = _first_of_each_id(batch)
            source = f"batch AS fresh ANTI JOIN {table} USING (id)"
        connection.register("batch", batch)
        if table == "origins":  # an origin speaks of an example that is kept; a rejected twin has none
            source = f"(SELECT * FROM {source}) AS fresh SEMI JOIN examples ON fresh.example = examples.id"
        found = connection.execute(f"INSERT INTO {table} SELECT * FROM {source}").fetchone()
        connection.unregister("batch")  # not if that failed: another error would hide why
        return int(found[0]) if found else 0

    def _arrow(self, connection: duckdb.DuckDBPyConnection, table: str, rows: Sequence[Row]) -> pa.Table:
        if table not in self._columns:
            self._columns[table] = connection.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema
        schema = self._columns[table]
        columns = zip(*rows, strict=True)
        return pa.table([pa.array(c, type=f.type) for c, f in zip(columns, schema, strict=True)], schema=schema)

    # -- asking ----------------------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: Sequence[Any] | dict[str, Any] = ()) -> list[Row]:
        """All rows of one query, in an opening of its own."""
        with self.read() as connection:
            return connection.execute(sql, parameters).fetchall()

    def resolve(self, prefix: str, tables: Iterable[str]) -> tuple[str, str]:
        """The table and full id that an id or a unique beginning of one stands for.

        Raises:
            InputError: nothing, or more than one thing, begins like that.
        """
        with self.read() as connection:
            found = [
                (table, str(row[0]))
                for table in tables
                for row in connection.execute(
                    f"SELECT DISTINCT id FROM {table} WHERE starts_with(id, ?) ORDER BY id LIMIT 3", [prefix]
                ).fetchall()
            ]
        if not found:
            raise InputError(f"id {prefix!r}: nothing in {self.path} begins like that; `curate ls` lists examples")
        if len(found) > 1 and prefix not in (identity for _, identity in found):
            some = ", ".join(identity for _, identity in found[:3]) + (", ..." if len(found) > 3 else "")
            raise InputError(f"id {prefix!r}: more than one thing begins like that: {some}; give more of it")
        return next((pair for pair in found if pair[1] == prefix), found[0])


def _first_of_each_id(batch: pa.Table) -> pa.Table:
    if len(batch["id"].unique()) == len(batch):
        return batch  # nearly always; DISTINCT ON in DuckDB would hold every text in memory to find that out
    rows = {identity: row for row, identity in reversed(list(enumerate(batch["id"].to_pylist())))}
    return batch.take(sorted(rows.values()))


def _schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    known = connection.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'tilth_schema'").fetchone()
    if not known or not known[0]:
        return 0
    row = connection.execute("SELECT max(version) FROM tilth_schema").fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def _upgrade(connection: duckdb.DuckDBPyConnection) -> None:
    first = _schema_version(connection)
    for number, migration in enumerate(MIGRATIONS[first:], first + 1):
        migration(connection)
        connection.execute("CREATE TABLE IF NOT EXISTS tilth_schema (version INTEGER)")
        connection.execute("INSERT INTO tilth_schema VALUES (?)", [number])


@contextmanager
def _clear_database_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        if (message := _explained(error)) is None:
            raise
        raise WorkspaceError(f"{path}: {message}") from error


def _explained(error: duckdb.Error) -> str | None:
    text = str(error).split("\n", 1)[0]
    if "lock" in text and isinstance(error, duckdb.IOException):
        return f"another program holds the store open; close it and run this again ({text})"
    if "No space left" in text or "disk is full" in text.lower():
        return "the disk is full; free some space and run the same command again"
    if "Could not write" in text:  # a quota, a limit on a file's size, a failing disk
        return f"cannot be written; see to that and run the same command again ({text})"
    if isinstance(error, duckdb.IOException) and ("Permission denied" in text or "read-only" in text.lower()):
        return "cannot be written; check its owner, or use another with workspace=FOLDER"
    if isinstance(error, duckdb.IOException | duckdb.SerializationException) or "Corrupt database" in text:
        return f"not a store this version can open; restore it from a backup ({text})"
    return None


@contextmanager
def _clear_io_errors(workspace: Path) -> Iterator[None]:
    try:
        yield
    except WorkspaceError:  # an OSError that is clear already
        raise
    except OSError as error:
        raise WorkspaceError(
            f"workspace {str(workspace)!r}: {error.strerror or error}; check the folder, or name another with workspace=FOLDER"
        ) from error
