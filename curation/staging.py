"""Rows on their way into the store, laid aside as Arrow until all of them are there."""

import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import pyarrow as pa

from curation.errors import WorkspaceError
from curation.store import Row, Store

TABLES = ("examples", "origins", "verdicts")  # in the order they go in
INSERT_ROWS = 200_000
# More go in by several transactions: others wait for seconds, not minutes, and DuckDB keeps all Arrow data of a transaction until
# its end (1 GB for a million posts). One that fails in between loses nothing: running the import again adds what is missing.
TRANSACTION_ROWS = 500_000


class Staging:
    """Rows that wait to go in together, in a nameless file beside the store, gone when this process is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with store.read() as connection:
            self.schemas = {
                table: connection.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema for table in TABLES
            }
        self._file = tempfile.TemporaryFile(dir=store.workspace)  # noqa: SIM115
        self._parts: deque[tuple[int, dict[str, int]]] = deque()  # examples, and how many bytes each table takes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # what a full disk would not take
            self._file.close()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WorkspaceError(
                f"workspace {str(self._store.workspace)!r}: {error.strerror or error}; nothing was imported: make room, "
                "or choose another disk with workspace=FOLDER"
            ) from error

    def add(self, examples: int, packed: dict[str, bytes]) -> None:
        """Take some examples with what belongs to them, each table's rows `pack`ed."""
        with self._clear_errors():
            for table in TABLES:
                self._file.write(packed[table])
        self._parts.append((examples, {table: len(packed[table]) for table in TABLES}))

    def commit(self) -> int:
        """Put everything into the store; returns how many examples were new."""
        with self._clear_errors():
            self._file.seek(0)  # writes what was buffered
        new = 0
        while self._parts:
            with self._store.write() as connection:
                room = TRANSACTION_ROWS
                while self._parts and room > 0:
                    count, groups = self._take()
                    room -= count
                    for table in TABLES:
                        inserted = self._store.insert_arrow(connection, table, pa.concat_tables(groups.pop(table)))
                        new += inserted if table == "examples" else 0
        return new

    def _take(self) -> tuple[int, dict[str, list[pa.Table]]]:
        """The next rows to insert: how many examples, and each table's."""
        count = 0
        groups: dict[str, list[pa.Table]] = {table: [] for table in TABLES}
        while self._parts and count < INSERT_ROWS:
            examples, sizes = self._parts.popleft()
            count += examples
            for table in TABLES:
                groups[table].append(pa.ipc.open_stream(self._file.read(sizes[table])).read_all())
        return count, groups


def pack(rows: Sequence[Row], schema: pa.Schema) -> bytes:
    """Rows of a table, in column order, as a compressed Arrow stream: a third to send and to write."""
    columns: Any = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(values, type=about.type) for values, about in zip(columns, schema, strict=True)]
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as stream:
        stream.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]
