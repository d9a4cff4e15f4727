"""From a selector to SQL: the one place that says what a selection is."""

from collections.abc import Sequence
from typing import Any

from curation.config import Selector
from curation.errors import InputError
from curation.store import Store

# Every example with its status and with the labels a reviewer corrected.
EXAMPLES = """
SELECT examples.id, task, language, status, body, content, text_hash, made_at,
    coalesce(labels ->> '$.label', label) AS label,
    coalesce(labels ->> '$.category', category) AS category,
    coalesce(CAST(labels ->> '$.severity' AS INTEGER), severity) AS severity
FROM examples JOIN status ON status.example = examples.id
"""


def where(selector: Selector) -> tuple[str, list[Any]]:
    """The condition on `EXAMPLES` that a selector stands for, and its parameters."""
    conditions, parameters = ["true"], []
    for column in ("task", "label", "category", "language", "status"):
        if values := list(getattr(selector, column)):
            conditions.append(f"{column} IN (SELECT unnest(?))")
            parameters.append(values)
    if selector.prompt:
        conditions.append("id IN (SELECT example FROM origins WHERE prompt IN (SELECT unnest(?)))")
        parameters.append(list(selector.prompt))
    return " AND ".join(conditions), parameters


def query(selector: Selector, columns: str) -> tuple[str, list[Any]]:
    """`SELECT columns` of the selected examples."""
    condition, parameters = where(selector)
    return f"SELECT {columns} FROM ({EXAMPLES}) AS chosen WHERE {condition}", parameters


def described(selector: Selector) -> dict[str, list[str]]:
    """The parts of a selector that say something, for manifests and messages."""
    names = ("task", "label", "category", "language", "prompt", "status")
    return {name: sorted(getattr(selector, name)) for name in names if getattr(selector, name)}


def nothing_selected(store: Store, selector: Selector) -> InputError:
    """The error for an empty selection: which part of the selector matches nothing, and what there is."""
    if not store.rows("SELECT 1 FROM examples LIMIT 1"):
        return InputError(f"{store.path} holds no examples yet; make some with `synth run prompt=general_ok n=100`")
    for name in ("task", "label", "category", "language", "status"):
        values: Sequence[str] = getattr(selector, name)
        there = [
            str(row[0])
            for row in store.rows(f"SELECT DISTINCT {name} FROM ({EXAMPLES}) WHERE {name} IS NOT NULL ORDER BY 1")
        ]
        if values and not set(values) & set(there):
            return InputError(f"{name}={_list(values)} matches no example; the store has {name}={_list(there)}")
    if selector.prompt:
        there = [
            row[0] for row in store.rows("SELECT DISTINCT prompt FROM origins WHERE prompt IS NOT NULL ORDER BY 1")
        ]
        if not set(selector.prompt) & set(there):
            return InputError(
                f"prompt={_list(selector.prompt)} matches no example; the store has prompt={_list(there)}"
            )
    return InputError("no example fits all parts of the selection at once; `curate stats` shows what there is")


def _list(values: Sequence[str]) -> str:
    return f"[{','.join(values)}]" if len(values) != 1 else values[0]
