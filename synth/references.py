"""References: how a graph says where the value of a slot comes from.

golden.name        a field of a document or table row that a state drew
golden.steps[step] one entry of a list field: a number of the memory, or a literal, counted from 1
golden.diet[any]   one by chance; [some] one or two of them
results.name       that field of every document of a list in the memory
cart[last].name    a field of the last document of a list
step               a number or word of the memory itself
count(cart)        sum(cart.price)   above(golden.price), a round number a little more
money(golden.price)  total(cart.price)   the number, or the sum, with two decimals
lines(results)     the numbered list, a card each   place(golden, results), its number there
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from curation.errors import InputError, did_you_mean
from synth.memory import Items, Number

if TYPE_CHECKING:
    from synth.graph import Graph

_CALL = re.compile(r"(count|sum|above|lines|place|money|total)\(([^()]*)\)")
_PATH = re.compile(r"([A-Za-z_]\w*)(?:\[(\w+)\])?(?:\.([A-Za-z_]\w*))?(?:\[(\w+)\])?")
_DRAW = re.compile(r"([A-Za-z_]\w*(?:\[\w+\])?)(?:\s*-\s*([\w, ]+))?")


@dataclass(frozen=True, slots=True)
class Reference:
    """A value of a scene: `base`, one of its `item`s, a `field`, an `index` into it; or a call on such paths."""

    source: str
    base: str = ""
    item: str | None = None
    field: str | None = None
    index: str | None = None
    call: str = ""
    other: "Reference | None" = None  # the second argument of place()

    @classmethod
    def read(cls, source: str, graph: "Graph") -> "Reference":
        """Read a reference.

        Raises:
            InputError: it is none, or a name in it stands for nothing in this graph.
        """
        if match := _CALL.fullmatch(source.strip()):
            call, inside = match.groups()
            arguments = [cls.read(part, graph) for part in inside.split(",")]
            if len(arguments) != (2 if call == "place" else 1):
                raise InputError(f"{source!r}: {call}() takes {'two things' if call == 'place' else 'one thing'}")
            first = arguments[0]
            return cls(
                source, first.base, first.item, first.field, first.index, call, arguments[1] if arguments[1:] else None
            )
        match = _PATH.fullmatch(source.strip())
        if match is None:
            raise InputError(f"{source!r}: cannot be read as a reference, e.g. golden.name or count(cart)")
        base, item, field, index = match.groups()
        if field is None and index is None and item is not None and base not in graph.memory:
            item, index = None, item
        known = {*graph.memory, *graph.bindings}
        if base not in known:
            raise InputError(
                f"{source!r}: no state draws {base!r}, and the memory has no such name.{did_you_mean(base, known)}"
            )
        for position in (item, index):
            if position is None or position.isdigit() or position in ("any", "some", "last"):
                continue
            if not isinstance(graph.memory.get(position), Number):
                raise InputError(f"{source!r}: [{position}] is no number of the memory, 1, 2, ..., any, some or last")
        variable = graph.memory.get(base)
        if field is not None and variable is not None and not isinstance(variable, Items):
            raise InputError(f"{source!r}: {base} is no document, so it has no field {field!r}")
        if field is not None:
            _check_field(source, base, field, graph)
        return cls(source, base, item, field, index)


def _check_field(source: str, base: str, field: str, graph: "Graph") -> None:
    known = fields_of(base, graph)
    if known and field not in known:
        raise InputError(f"{source!r}: {base} has no field {field!r}.{did_you_mean(field, known)}")


def fields_of(base: str, graph: "Graph") -> set[str]:
    """The fields that every value of a binding, list, table or corpus has; empty if nothing is known of it."""
    if base in graph.corpora:
        return {"id", *graph.corpora[base].fields}
    if base in graph.tables:
        rows = [row for rows in graph.tables[base].values() for row in rows]
        return set.intersection(*map(set, rows)) if rows else set()
    variable = graph.memory.get(base)
    if isinstance(variable, Items):
        return fields_of(variable.items, graph)
    sources = {
        source.partition(" ")[0].partition("[")[0] for state in graph.states.values() for name, source in state.draw.items()
        if name == base
    } - {base}  # fmt: skip
    found = [fields_of(one, graph) for one in sources]
    return set.intersection(*found) if found else set()


@dataclass(frozen=True, slots=True)
class DrawSource:
    """Where a binding is drawn from: a corpus, a table, a list of the memory, or one document of it; `unlike` are names whose
    documents are left out."""

    base: str
    item: str | None = None
    unlike: tuple[str, ...] = ()

    @classmethod
    def read(cls, source: str, graph: "Graph") -> "DrawSource":
        match = _DRAW.fullmatch(source.strip())
        if match is None:
            raise InputError(f"{source!r}: cannot be read; e.g. recipes, results - golden, cart[last]")
        path, without = match.groups()
        base, _, item = path.partition("[")
        known: Mapping[str, object] = {**graph.corpora, **graph.tables, **graph.memory}
        if base not in known or not (
            base in graph.corpora or base in graph.tables or isinstance(graph.memory[base], Items)
        ):
            raise InputError(f"{source!r}: {base!r} is no corpus, table or list.{did_you_mean(base, known)}")
        unlike = tuple(part.strip() for part in without.split(",")) if without else ()
        for name in unlike:
            if name not in graph.bindings and not isinstance(graph.memory.get(name), Items):
                raise InputError(f"{source!r}: {name!r} is neither drawn nor a list")
        item = item.rstrip("]")
        if item and item not in ("last", "first"):
            raise InputError(f"{source!r}: [{item}]: first or last was expected")
        return cls(base, item or None, unlike)
