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
TRANSACTION_ROWS = 1_000_000  # more go in by several transactions, so that others wait ten seconds, not minutes


class Staging:
    """Rows that wait to go in together: a nameless file a table beside the store, gone when this process is."""

    def __init__(self, store: Store) -> None:
        self._store = store
        with store.read() as connection:
            self.schemas = {
                table: connection.sql(f"SELECT * FROM {table} LIMIT 0").to_arrow_table().schema for table in TABLES
            }
        self._files = {table: tempfile.TemporaryFile(dir=store.workspace) for table in TABLES}  # noqa: SIM115
        self._writers = {table: pa.ipc.new_stream(self._files[table], self.schemas[table]) for table in TABLES}
        self._parts: list[int] = []  # examples in each

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            with suppress(OSError):  # what a full disk would not take
                file.close()

    @contextmanager
    def _clear_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise WorkspaceError(
                f"workspace {str(self._store.workspace)!r}: {error.strerror or error}; nothing was imported: make room, "
                "or choose another disk with workspace=FOLDER"
            ) from error

    def add(self, batches: dict[str, pa.RecordBatch]) -> None:
        with self._clear_errors():
            for table, batch in batches.items():
                self._writers[table].write_batch(batch)
        self._parts.append(batches["examples"].num_rows)

    def commit(self) -> int:
        """Put everything into the store; returns how many examples were new."""
        readers = {}
        for table in TABLES:
            with self._clear_errors():
                self._writers[table].close()
                self._files[table].seek(0)  # writes what was buffered
            readers[table] = pa.ipc.open_stream(self._files[table])
        new, left = 0, deque(self._parts)
        while left:
            with self._store.write() as connection:
                room = TRANSACTION_ROWS
                while left and room > 0:
                    count, rows = 0, 0
                    while left and rows < INSERT_ROWS:
                        rows += left.popleft()
                        count += 1
                    room -= rows
                    for table in TABLES:
                        group = pa.Table.from_batches(readers[table].read_next_batch() for _ in range(count))
                        inserted = self._store.insert_arrow(connection, table, group)
                        new += inserted if table == "examples" else 0
        return new


def record_batch(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    """Rows of a table, in column order, as Arrow."""
    columns: Any = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [pa.array(values, type=about.type) for values, about in zip(columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
