"""The memory of a dialogue graph, and the tiny language of its guards and effects.

A guard is one condition, an effect one assignment:

    cart >= 1 and step < steps        results = found        cart += golden        cart -= 1        compare = []

There are whole numbers, words, flags and lists of documents. In a condition a list stands for its length, which is all that a
guard can know of it: so the memory of a walk is a tuple of small values, and all of them can be enumerated. Texts are parsed
with Python's own parser and read node by node; nothing is ever evaluated by Python, and whatever is not named here is refused.
"""

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from curation.errors import InputError, did_you_mean

Value = int | str | bool
Values = tuple[Value, ...]  # one for each name of the memory, in order
Kind = Literal["number", "word", "flag"]
LONGEST = 300  # characters of a guard or an effect


class _Variable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Number(_Variable):
    """A whole number between two bounds; `start` is a value, a share for each value, or CORPUS.FIELD."""

    number: tuple[int, int]
    start: int | dict[int, float] | str = 0


class Word(_Variable):
    """One of some words; `start` is a word, or a share for each."""

    words: tuple[str, ...] = Field(min_length=2)
    start: str | dict[str, float]


class Flag(_Variable):
    flag: bool  # its value at the start


class Items(_Variable):
    """A list of documents, empty at the start."""

    items: str  # the corpus they come from
    most: int = Field(ge=1, le=20)


Variable = Annotated[Number | Word | Flag | Items, Field(union_mode="smart")]


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition that was read, and how to ask it of a memory."""

    source: str
    holds: Callable[[Values], bool]


@dataclass(frozen=True, slots=True)
class Effect:
    """An assignment that was read: `change` gives the new value (of a list: its length) from the memory before.

    For lists, `how` says what happens to the documents themselves: push a binding, drop the last ones, take what was found,
    or clear.
    """

    source: str
    target: str
    place: int
    change: Callable[[Values], Value]
    how: Literal["set", "push", "drop", "found", "clear"] = "set"
    binding: str = ""


class OutOfBounds(InputError):
    """An effect that takes a value where it may not be."""


@dataclass(frozen=True, slots=True)
class _Typed:
    kind: Kind
    value: Callable[[Values], Value]
    word: str | None = None  # of a constant


class Memory:
    """The names and kinds that guards and effects may use.

    Args:
        variables: by name; the order is that of a memory's values.
        bindings: the names that stand for one document or table row, which effects may add to lists.
    """

    def __init__(self, variables: Mapping[str, Variable], bindings: Sequence[str] = ()) -> None:
        self.variables = dict(variables)
        self.places = {name: place for place, name in enumerate(variables)}
        self._bindings = frozenset(bindings)

    # -- reading ---------------------------------------------------------------------------------------------

    def guard(self, source: str) -> Guard:
        """Read a condition.

        Raises:
            InputError: it is no condition over this memory; the message says what and where in the text.
        """
        tree = self._parsed(source, "eval")
        assert isinstance(tree, ast.Expression)
        typed = self._expression(tree.body, source)
        if typed.kind != "flag":
            raise InputError(f"{source!r}: a condition is true or false; this is a {typed.kind}")
        return Guard(source, _as_condition(typed.value))

    def effect(self, source: str, found: int | None = None) -> Effect:
        """Read an assignment; `found` is how many documents the state retrieves.

        Raises:
            InputError: it is no assignment to this memory.
        """
        tree = self._parsed(source, "exec")
        assert isinstance(tree, ast.Module)
        statement = tree.body[0] if len(tree.body) == 1 else None
        if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, sign, node = statement.targets[0], "=", statement.value
        elif isinstance(statement, ast.AugAssign) and isinstance(statement.op, ast.Add | ast.Sub):
            target, node = statement.target, statement.value
            sign = "+=" if isinstance(statement.op, ast.Add) else "-="
        else:
            raise InputError(f"{source!r}: an effect is one assignment: NAME = ..., NAME += ... or NAME -= ...")
        if not isinstance(target, ast.Name) or target.id not in self.variables:
            name = target.id if isinstance(target, ast.Name) else ast.unparse(target)
            raise InputError(f"{source!r}: {name!r} is not in the memory.{did_you_mean(name, self.variables)}")
        if isinstance(self.variables[target.id], Items):
            return self._list_effect(source, target.id, sign, node, found)
        return self._scalar_effect(source, target.id, sign, node)

    def _parsed(self, source: str, mode: Literal["eval", "exec"]) -> ast.AST:
        if len(source) > LONGEST:
            raise InputError(f"{source[:40]!r}...: over {LONGEST} characters; split it")
        try:
            return ast.parse(source.strip(), mode=mode)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            column = getattr(error, "offset", None)
            where = f" at character {column}" if column else ""
            raise InputError(f"{source!r}: cannot be read{where}; e.g. cart >= 1 and not paid") from error

    def _scalar_effect(self, source: str, name: str, sign: str, node: ast.expr) -> Effect:
        place, variable = self.places[name], self.variables[name]
        typed = self._expression(node, source)
        wanted: Kind = "number" if isinstance(variable, Number) else "word" if isinstance(variable, Word) else "flag"
        if typed.kind != wanted:
            raise InputError(f"{source!r}: {name} is a {wanted}, and this gives it a {typed.kind}")
        if isinstance(variable, Word) and typed.word is not None and typed.word not in variable.words:
            raise InputError(
                f"{source!r}: {typed.word!r} is no word of {name}.{did_you_mean(typed.word, variable.words)}"
            )
        if sign == "=":
            return Effect(source, name, place, typed.value)
        if wanted != "number":
            raise InputError(f"{source!r}: {sign} is for numbers and lists, and {name} is a {wanted}")
        return Effect(source, name, place, _shifted(place, typed.value, 1 if sign == "+=" else -1))

    def _list_effect(self, source: str, name: str, sign: str, node: ast.expr, found: int | None) -> Effect:
        place = self.places[name]
        if sign == "=" and isinstance(node, ast.List) and not node.elts:
            return Effect(source, name, place, lambda _: 0, "clear")
        if sign == "=" and isinstance(node, ast.Name) and node.id == "found":
            if found is None:
                raise InputError(f"{source!r}: nothing is found here; only a state with `retrieve` finds documents")
            count = found
            return Effect(source, name, place, lambda _: count, "found")
        if sign == "+=" and isinstance(node, ast.Name):
            if node.id not in self._bindings:
                hint = did_you_mean(node.id, self._bindings)
                raise InputError(f"{source!r}: no state draws {node.id!r}.{hint}")
            return Effect(source, name, place, _shifted(place, lambda _: 1, 1), "push", node.id)
        if sign == "-=" and isinstance(node, ast.Constant) and node.value == 1 and node.value is not True:
            return Effect(source, name, place, _shifted(place, lambda _: 1, -1), "drop")
        raise InputError(
            f"{source!r}: a list takes `{name} = found`, `{name} = []`, `{name} += BINDING` or `{name} -= 1` (its last)"
        )

    def _expression(self, node: ast.expr, source: str) -> _Typed:
        match node:
            case ast.Constant(value=bool() as value):
                raise InputError(f"{source!r}: write {str(value).lower()}")
            case ast.Constant(value=int() as value):
                return _Typed("number", lambda _: value)
            case ast.Constant(value=str() as value):
                return _Typed("word", lambda _: value, value)
            case ast.Name(id="true" | "false" as name):
                truth = name == "true"
                return _Typed("flag", lambda _: truth)
            case ast.Name(id=name):
                return self._name(name, source)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                inner = self._as(self._expression(operand, source), "flag", source)
                return _Typed("flag", lambda memory: not inner(memory))
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._as(self._expression(operand, source), "number", source)
                return _Typed("number", lambda memory: -int(inner(memory)))
            case ast.BinOp(left=left, op=ast.Add() | ast.Sub() as op, right=right):
                first = self._as(self._expression(left, source), "number", source)
                second = self._as(self._expression(right, source), "number", source)
                sign = 1 if isinstance(op, ast.Add) else -1
                return _Typed("number", lambda memory: int(first(memory)) + sign * int(second(memory)))
            case ast.BoolOp(op=op, values=values):
                parts = [self._as(self._expression(value, source), "flag", source) for value in values]
                whole = all if isinstance(op, ast.And) else any
                return _Typed("flag", lambda memory: whole(part(memory) for part in parts))
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARISONS:
                return self._comparison(self._expression(left, source), op, self._expression(right, source), source)
        raise InputError(
            f"{source!r}: {ast.unparse(node)!r} is not allowed; there are names, numbers, 'words', true, false, + - "
            "== != < <= > >= and or not"
        )

    def _name(self, name: str, source: str) -> _Typed:
        if name not in self.variables:
            quoted = f" Is it a word? Then quote it: '{name}'." if self._is_word(name) else ""
            raise InputError(
                f"{source!r}: {name!r} is not in the memory.{quoted or did_you_mean(name, self.variables)}"
            )
        variable = self.variables[name]
        kind: Kind = "word" if isinstance(variable, Word) else "flag" if isinstance(variable, Flag) else "number"
        return _Typed(kind, operator.itemgetter(self.places[name]))

    def _is_word(self, name: str) -> bool:
        return any(isinstance(one, Word) and name in one.words for one in self.variables.values())

    def _comparison(self, left: _Typed, op: ast.cmpop, right: _Typed, source: str) -> _Typed:
        if left.kind != right.kind:
            raise InputError(f"{source!r}: a {left.kind} cannot be compared with a {right.kind}")
        if left.kind != "number" and not isinstance(op, ast.Eq | ast.NotEq):
            raise InputError(f"{source!r}: only numbers and lists are larger or smaller than others")
        for typed in (left, right):
            if typed.word is not None and not self._is_word(typed.word):
                words = [word for one in self.variables.values() if isinstance(one, Word) for word in one.words]
                raise InputError(
                    f"{source!r}: no memory holds the word {typed.word!r}.{did_you_mean(typed.word, words)}"
                )
        compare, first, second = _COMPARISONS[type(op)], left.value, right.value
        return _Typed("flag", lambda memory: bool(compare(first(memory), second(memory))))

    def _as(self, typed: _Typed, kind: Kind, source: str) -> Callable[[Values], Value]:
        if typed.kind != kind:
            raise InputError(f"{source!r}: expected a {kind}, got a {typed.kind}")
        return typed.value

    # -- use -------------------------------------------------------------------------------------------------

    def after(self, memory: Values, effects: Sequence[Effect]) -> Values:
        """The memory when the effects are done, one after the other.

        Raises:
            OutOfBounds: a number or a list's length leaves its bounds.
        """
        if not effects:
            return memory
        values = list(memory)
        for effect in effects:
            value = effect.change(tuple(values))
            variable = self.variables[effect.target]
            low, high = variable.number if isinstance(variable, Number) else (0, getattr(variable, "most", 1))
            if isinstance(variable, Number | Items) and not low <= int(value) <= high:
                raise OutOfBounds(f"{effect.source!r} takes {effect.target} to {value}, out of {low} to {high}")
            values[effect.place] = value
        return tuple(values)


_COMPARISONS: dict[type[ast.cmpop], Callable[[Value, Value], bool]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip


def _as_condition(value: Callable[[Values], Value]) -> Callable[[Values], bool]:
    return value  # type: ignore[return-value]  # the kind was checked to be a flag


def _shifted(place: int, by: Callable[[Values], Value], sign: int) -> Callable[[Values], Value]:
    return lambda memory: int(memory[place]) + sign * int(by(memory))
