"""Offline grammars: the text rules that stand in for a model when there is no key.

A grammar belongs to one language of one prompt. Its rules are context-free, in the tradition of Tracery (Compton et
al. 2015), with four additions that let several fields of one item agree with each other and with the plan's cell:

    rule: ["one text", "another with {other_rule}"]     alternatives, drawn without repeats within a request
    rule: {food: [...], transport: [...], _: [...]}      a switch on an axis value; `_` is every other value
    ITEM: [{name: rice cooker, price: "$35"}, ...]       a name in capitals is drawn once per item: {ITEM.name}
    {3..9}  {today|tonight}  {^rule}  {{ }}              a number, a small choice, a capital first, plain braces

`item` is the start: it maps each output field to a text.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.errors import InputError, did_you_mean

Value = str | int
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_RANGE = re.compile(r"(-?\d{1,18})\.\.(-?\d{1,18})")
_NAME = re.compile(r"(\^?)([A-Za-z][A-Za-z0-9_]*)(?:\.([A-Za-z0-9_]+))?")
_BLANKS = re.compile(r"[ \t]{2,}")


@dataclass(frozen=True, slots=True)
class Ref:
    name: str
    field: str | None
    capital: bool


@dataclass(frozen=True, slots=True)
class Span:
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Choice:
    options: tuple[str, ...]


Part = str | Ref | Span | Choice
Template = tuple[Part, ...]
Entry = Template | dict[str, Template]  # a text, or a record of texts


@dataclass(frozen=True, slots=True, eq=False)
class Alternatives:
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    axis: str
    cases: dict[str, "Node"]
    otherwise: "Node | None"


Node = Alternatives | Switch


@dataclass(slots=True)
class _Draw:
    """The state of one request: its random numbers, what was used up, and the current item's fixed draws."""

    rng: random.Random
    axes: Mapping[str, Value]
    decks: dict[int, list[int]] = field(default_factory=dict)
    fixed: dict[str, Entry] = field(default_factory=dict)
    fixed_text: dict[tuple[str, str | None], str] = field(default_factory=dict)

    def pick(self, node: Alternatives) -> Entry:
        if len(node.entries) == 1:
            return node.entries[0]
        deck = self.decks.get(id(node))
        if not deck:
            deck = list(range(len(node.entries)))
            self.rng.shuffle(deck)
            self.decks[id(node)] = deck
        return node.entries[deck.pop()]


class Grammar:
    """A checked grammar of one language.

    Raises:
        InputError: a rule is malformed, refers to nothing, or misses a value of the axis it switches on. The message
            starts with the rule's path, e.g. `post.casual[2]: ...`.
    """

    def __init__(self, source: Mapping[str, Any], axes: Mapping[str, Sequence[Value]]) -> None:
        self._axes = {name: [str(value) for value in values] for name, values in axes.items()}
        item = source.get("item")
        if not isinstance(item, Mapping) or not item:
            raise InputError("item: a grammar starts with `item:`, a mapping of output field to text")
        self.item = {str(name): self._template(text, f"item.{name}") for name, text in item.items()}
        self.rules = {str(name): self._node(body, str(name)) for name, body in source.items() if name != "item"}
        self._check_references()

    # -- reading ---------------------------------------------------------------------------------------------

    def _node(self, body: Any, where: str) -> Node:
        if isinstance(body, str):
            body = [body]
        if isinstance(body, Mapping) and body:
            return self._switch(body, where)
        if not isinstance(body, Sequence) or not body:
            raise InputError(f"{where}: give a list of alternatives, or a mapping from axis values to lists")
        return Alternatives(tuple(self._entry(entry, f"{where}[{i}]") for i, entry in enumerate(body)))

    def _entry(self, entry: Any, where: str) -> Entry:
        if isinstance(entry, Mapping):
            if not entry:
                raise InputError(f"{where}: a record needs a field")
            return {str(name): self._template(text, f"{where}.{name}") for name, text in entry.items()}
        return self._template(entry, where)

    def _switch(self, body: Mapping[Any, Any], where: str) -> Switch:
        cases = {str(key): value for key, value in body.items() if key != "_"}
        fits = [name for name, values in self._axes.items() if cases and set(cases) <= set(values)]
        if not fits:
            nearest = max(self._axes, key=lambda name: len(set(cases) & set(self._axes[name])), default=None)
            known = self._axes[nearest] if nearest else []
            unknown = next((key for key in cases if key not in known), "")
            raise InputError(f"{where}: {unknown!r} is not a value of any one axis.{did_you_mean(unknown, known)}")
        axis = fits[0]
        missing = [value for value in self._axes[axis] if value not in cases]
        if missing and "_" not in body:
            raise InputError(f"{where}: axis {axis!r} has no case for {missing[0]!r}; add it, or `_` for all others")
        return Switch(
            axis,
            {key: self._node(value, f"{where}.{key}") for key, value in cases.items()},
            self._node(body["_"], f"{where}._") if "_" in body else None,
        )

    def _template(self, text: Any, where: str) -> Template:
        if isinstance(text, bool) or not isinstance(text, str | int | float):
            raise InputError(f"{where}: expected a text, got {type(text).__name__} (quote it?)")
        parts: list[Part] = []
        end = 0
        for match in _TOKEN.finditer(str(text)):
            parts.append(str(text)[end : match.start()])
            parts.append(self._token(match, where))
            end = match.end()
        parts.append(str(text)[end:])
        return tuple(part for part in parts if part != "")

    def _token(self, match: re.Match[str], where: str) -> Part:
        token, inner = match.group(0), match.group(1)
        if token in ("{{", "}}"):
            return token[0]
        if inner is None:
            raise InputError(f"{where}: lone {token!r}; write {token * 2!r} for a plain brace")
        if span := _RANGE.fullmatch(inner):
            low, high = int(span.group(1)), int(span.group(2))
            if low > high:
                raise InputError(f"{where}: empty range {{{inner}}}")
            return Span(low, high)
        if "|" in inner:
            return Choice(tuple(inner.split("|")))
        if name := _NAME.fullmatch(inner):
            return Ref(name.group(2), name.group(3), bool(name.group(1)))
        raise InputError(f"{where}: cannot read {{{inner}}}; a rule name, a..b or one|other was expected")

    # -- checking --------------------------------------------------------------------------------------------

    def _check_references(self) -> None:
        known = set(self.rules) | set(self._axes)
        edges: dict[str, set[str]] = {"item": set()}
        for where, rule, template in self._templates():
            for part in template:
                if not isinstance(part, Ref):
                    continue
                if part.name not in known:
                    raise InputError(f"{where}: no rule {part.name!r}.{did_you_mean(part.name, known)}")
                if part.field is not None and not self._has_field(part.name, part.field):
                    raise InputError(f"{where}: rule {part.name!r} has an alternative without field {part.field!r}")
                edges.setdefault(rule, set()).add(part.name)
        self._check_acyclic(edges)
        reached, frontier = {"item"}, ["item"]
        while frontier:
            for name in edges.get(frontier.pop(), ()):
                if name not in reached:
                    reached.add(name)
                    frontier.append(name)
        if unused := sorted(set(self.rules) - reached):
            raise InputError(f"{unused[0]}: rule is never used")

    def _check_acyclic(self, edges: Mapping[str, set[str]]) -> None:
        done: set[str] = set()

        def visit(name: str, path: tuple[str, ...]) -> None:
            if name in path:
                raise InputError(f"{name}: rule refers to itself: {' -> '.join((*path, name))}")
            if name not in done:
                for other in edges.get(name, ()):
                    visit(other, (*path, name))
                done.add(name)

        for name in edges:
            visit(name, ())

    def _has_field(self, name: str, field_name: str) -> bool:
        entries = list(_entries(self.rules[name])) if name in self.rules else []
        return bool(entries) and all(isinstance(entry, dict) and field_name in entry for _, entry in entries)

    def _templates(self) -> Iterator[tuple[str, str, Template]]:
        for name, template in self.item.items():
            yield f"item.{name}", "item", template
        for rule, node in self.rules.items():
            for where, entry in _entries(node, rule):
                for template in entry.values() if isinstance(entry, dict) else (entry,):
                    yield where, rule, template

    # -- drawing ---------------------------------------------------------------------------------------------

    def items(self, seed: str, axes: Mapping[str, Value], count: int) -> list[dict[str, str]]:
        """`count` items for one cell, the same for the same seed. Within the call no rule repeats an alternative
        before it has used all of them."""
        draw = _Draw(random.Random(seed), axes)
        found = []
        for _ in range(count):
            draw.fixed.clear()
            draw.fixed_text.clear()
            found.append({name: _tidy(self._text(template, draw)) for name, template in self.item.items()})
        return found

    def voice(self, seed: str, axes: Mapping[str, Value]) -> "Voice":
        """Somebody who says one thing after the other, for texts whose course is not the grammar's to decide."""
        return Voice(self, _Draw(random.Random(seed), axes), axes)

    def nth(self, field_name: str, seed: str, axes: Mapping[str, Value], number: int) -> str:
        """One field of the `number`-th item from 0 on; its rules repeat no alternative before they have used all of them."""
        draw = _Draw(random.Random(seed), axes)
        for _ in range(number):
            self._text(self.item[field_name], draw)
            draw.fixed.clear()
            draw.fixed_text.clear()
        return _tidy(self._text(self.item[field_name], draw))

    def names(self, field_name: str) -> set[str]:
        """What the rules behind a field refer to that is no rule: axes and variables."""
        found: set[str] = set()
        rules, waiting = {"item"}, [self.item[field_name]]
        while waiting:
            for part in waiting.pop():
                if not isinstance(part, Ref):
                    continue
                if part.name not in self.rules:
                    found.add(part.name)
                elif part.name not in rules:
                    rules.add(part.name)
                    waiting += [
                        template
                        for _, entry in _entries(self.rules[part.name])
                        for template in (entry.values() if isinstance(entry, dict) else (entry,))
                    ]
        return found

    def _text(self, template: Template, draw: _Draw) -> str:
        return "".join(
            part if isinstance(part, str) else self._expand(part, draw)  # the common case stays out of a call
            for part in template
        )

    def _expand(self, part: Ref | Span | Choice, draw: _Draw) -> str:
        if isinstance(part, Span):
            return str(draw.rng.randint(part.low, part.high))
        if isinstance(part, Choice):
            return draw.rng.choice(part.options)
        text = self._rule_text(part, draw)
        return text[:1].upper() + text[1:] if part.capital else text

    def _rule_text(self, ref: Ref, draw: _Draw) -> str:
        node = self.rules.get(ref.name)
        if node is None:
            return str(draw.axes[ref.name])
        if not ref.name.isupper():
            return self._text(_field(_choose(node, draw), ref), draw)
        key = (ref.name, ref.field)
        if key not in draw.fixed_text:
            entry = draw.fixed.get(ref.name)
            if entry is None:
                entry = draw.fixed[ref.name] = _choose(node, draw)
            draw.fixed_text[key] = self._text(_field(entry, ref), draw)
        return draw.fixed_text[key]


@dataclass(slots=True)
class Voice:
    """Speaks the fields of a grammar's `item` one at a time. What is drawn once per item stays the same throughout."""

    grammar: Grammar
    draw: _Draw
    axes: Mapping[str, Value]

    def say(self, name: str, **values: Value) -> str:
        """One field of the item; `values` stand in for axes of their names."""
        self.draw.axes = {**self.axes, **values}
        return _tidy(self.grammar._text(self.grammar.item[name], self.draw))


def _choose(node: Node, draw: _Draw) -> Entry:
    while isinstance(node, Switch):
        case = node.cases.get(str(draw.axes[node.axis]), node.otherwise)
        assert case is not None  # the constructor saw to it
        node = case
    return draw.pick(node)


def _field(entry: Entry, ref: Ref) -> Template:
    if isinstance(entry, dict):
        return entry[ref.field] if ref.field is not None else next(iter(entry.values()))
    return entry


def _entries(node: Node, where: str = "") -> Iterator[tuple[str, Entry]]:
    if isinstance(node, Alternatives):
        for i, entry in enumerate(node.entries):
            yield f"{where}[{i}]", entry
        return
    for key, case in node.cases.items():
        yield from _entries(case, f"{where}.{key}")
    if node.otherwise is not None:
        yield from _entries(node.otherwise, f"{where}._")


def _tidy(text: str) -> str:
    """Alternatives may be empty; the blanks they leave go, the line breaks stay."""
    return "\n".join(_BLANKS.sub(" ", line).rstrip() for line in text.strip().split("\n"))
