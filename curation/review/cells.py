"""Cells of the coverage map that have too few examples, and the `synth run` that fills one."""

import json
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.errors import InputError
from curation.store import Store


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a map of (task, label, category) by language, or by the values of an axis.

    Args:
        usable: examples that are kept or passed.
        examples: all of them.
    """

    task: str
    label: str
    category: str
    column: str
    usable: int
    examples: int

    @property
    def row(self) -> tuple[str, str, str]:
        return self.task, self.label, self.category


def whole(cells: Iterable[Cell], columns: Sequence[str] = ()) -> list[Cell]:
    """The cells with those between them that nothing is in, by row and column.

    Args:
        columns: columns to have even if no cell is in them.
    """
    there = {(cell.row, cell.column): cell for cell in cells}
    rows = sorted({row for row, _ in there})
    across = sorted({column for _, column in there} | set(columns))
    return [there.get((row, column)) or Cell(*row, column, 0, 0) for row in rows for column in across]


def by_language(store: Store) -> list[Cell]:
    found = store.rows("""
        SELECT task, coalesce(said_label, ''), coalesce(said_category, ''), language,
            count(*) FILTER (status IN ('kept', 'passed')), count(*)
        FROM review GROUP BY ALL
    """)
    return [Cell(*row) for row in found]


def by_axis(store: Store, axis: str) -> list[Cell]:
    """Of an example with several origins the first that was dealt the axis stands for it."""
    found = store.rows(
        """
        SELECT task, coalesce(said_label, ''), coalesce(said_category, ''), value,
            count(*) FILTER (status IN ('kept', 'passed')), count(*)
        FROM review JOIN (
            SELECT example, arg_min(axes ->> $path, id) FILTER (axes ->> $path IS NOT NULL) AS value
            FROM origins WHERE axes IS NOT NULL GROUP BY example
        ) AS dealt USING (example) WHERE value IS NOT NULL GROUP BY ALL
        """,
        {"path": f'$."{axis}"'},
    )
    return [Cell(*row) for row in found]


def filling(store: Store, cell: Cell, want: int, *, axis: str | None, workspace: Path) -> str:
    """The command that brings a cell to `want` usable examples.

    It names the prompt that wrote most of the cell's row (on this axis), who answered it last, and a seed that no run had: the
    run then makes as many new examples as are missing, instead of finding the old ones.

    Raises:
        InputError: no prompt wrote any example of this row, so it is not known which would.
    """
    found = store.rows(
        """
        SELECT prompt, arg_max(provider, origins.made_at), arg_max(origins.model, origins.made_at),
            arg_max(axes ->> '$.document', origins.made_at) FILTER (axes ->> '$.document' IN (SELECT name FROM documents))
        FROM review JOIN origins USING (example)
        WHERE task = $task AND coalesce(said_label, '') = $label AND coalesce(said_category, '') = $category
            AND prompt IS NOT NULL AND ($path IS NULL OR axes ->> $path IS NOT NULL)
        GROUP BY prompt ORDER BY count(*) DESC, prompt LIMIT 1
        """,
        {
            "task": cell.task,
            "label": cell.label,
            "category": cell.category,
            "path": None if axis is None else f'$."{axis}"',
        },
    )
    if not found:
        raise InputError(
            f"{named(cell)}: no prompt wrote any of these examples; pick one from `synth ls`, or import more of them"
        )
    prompt, provider, model, document = found[0]
    used = store.rows("SELECT coalesce(max(TRY_CAST(settings ->> '$.seed' AS BIGINT)), 0) FROM runs")[0][0]
    words = [f"prompt={prompt}", f"language={cell.column}" if axis is None else f"axes.{axis}=[{_word(cell.column)}]"]
    if axis == "document":
        document = cell.column
    words += [f"documents={_word(document)}"] if document else []
    words += [f"n={max(1, want - cell.usable)}", f"seed={used + 1}"]
    if provider and provider != "offline":
        words += [f"provider={provider}", *([f"model={model}"] if model else [])]
    if str(workspace) != "workspace":
        words.append(f"workspace={workspace}")
    return " ".join(["synth run", *map(shlex.quote, words)])


def _word(value: str) -> str:
    """A value as the settings' grammar reads it back: quoted where it is more than a name."""
    return value if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_./-]*", value) else json.dumps(value, ensure_ascii=False)


def named(cell: Cell) -> str:
    """`moderation / disallowed / race`: a row in words."""
    return " / ".join(part for part in cell.row if part)
