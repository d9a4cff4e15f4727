"""The rows of a version as JSON lines, for whoever reads no Parquet."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa


@contextmanager
def writer(path: Path | None) -> Iterator[Callable[[pa.Table], None]]:
    """A function that appends a table's rows to a new file; to none, if `path` is None."""
    if path is None:
        yield lambda _: None
        return
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        yield lambda table: file.writelines(
            json.dumps(plain(row), ensure_ascii=False) + "\n" for row in table.to_pylist()
        )


def plain(row: Any) -> Any:
    """A row without its empty fields, and with the JSON texts that stand for objects as these: `arguments` of calls, and `tools`."""
    if isinstance(row, list):
        return [plain(one) for one in row]
    if not isinstance(row, dict):
        return row
    return {
        key: json.loads(value) if key in ("arguments", "tools") and isinstance(value, str) else plain(value)
        for key, value in row.items()
        if value is not None
    }
