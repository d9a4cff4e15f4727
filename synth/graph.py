"""Dialogue graphs: who may say what after what. One YAML file each, `prompts/dialogue/NAME.yaml`, data only.

States belong to the user or to the system. A transition has a weight and may have a guard; a state may have a guard of its own
(`when`: it cannot be entered otherwise) and effects (`then`: done as it is entered). From the graph, walks are drawn
(`synth.walks`), and each walk is played as a dialogue (`synth.programs.graph`). After SynTOD (Samarinas et al. 2024): a state
transition graph, random walks over it, and a dialogue simulated along each with retrieval.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from curation import library
from curation.courses import valid_facts
from curation.documents import Outline
from curation.errors import InputError, did_you_mean
from curation.library import Broken
from curation.records import content_id
from synth.corpora import CorpusSource
from synth.memory import Effect, Guard, Items, Memory, Number, Variable, Word
from synth.references import DrawSource, Reference

HERE = "here"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Transition(_Part):
    weight: float = Field(gt=0)
    when: str = ""


class Retrieve(_Part):
    """A search by the system: the query is made of what the user said, the golden document is among what is shown."""

    golden: str  # the binding that the search has to find
    show: int = Field(default=4, ge=1, le=20)
    page: str | None = None  # a number in the memory that says which page of the hits is shown, from 1
    within: dict[str, str] = {}  # slot -> field: the field is at most what the slot says
    having: dict[str, str] = {}  # slot -> field: the field is, or holds, what the slot says


class Record(_Part):
    """What the system looks up before it speaks: a tool turn, with what it shows of the case to whoever checks it against the SOP."""

    say: dict[str, str | int] = {}
    show: dict[str, str] = {}  # name -> reference
    gives: tuple[str, ...] = ()
    facts: dict[str, str | bool] = {}


class State(_Part):
    who: Literal["user", "system"]
    act: str = ""  # the intent or action in the annotation; the state's name, if not given
    about: str = Field(min_length=3)  # Jinja: what is said here, for whoever simulates it
    when: str = ""
    then: tuple[str, ...] = ()
    draw: dict[str, str] = {}  # binding -> where it is drawn from
    slots: dict[str, str] = {}  # slot -> reference to its value
    some: tuple[int, int] | None = None  # say only so many of the slots, drawn by chance,
    always: tuple[str, ...] = ()  # and these in any case
    show: dict[str, str] = {}  # more for the templates: name -> reference
    retrieve: Retrieve | None = None
    cites: tuple[str, ...] = ()  # references to documents, or ids of SOP steps; `here`: the step that was cited last
    asks: tuple[str, ...] = ()  # of the SOP: evidence, or steps whose answer is wanted
    gives: tuple[str, ...] = ()  # evidence that the user shows,
    lacks: tuple[str, ...] = ()  # or does not have
    facts: dict[str, str | bool] = {}  # step -> which of its branches, or whether its condition, holds
    record: Record | None = None
    aside: bool = False  # answers a question about the SOP, and does not go on in it
    next: dict[str, float | Transition] | str | tuple[str, ...] = {}  # transitions, or the names of menus
    end: bool = False


class Simulators(_Part):
    """Jinja templates: who each simulator is, and how it is asked for its next turn."""

    user: str = Field(min_length=10)
    system: str = Field(min_length=10)
    turn: str = Field(min_length=10)
    query: str = ""


@dataclass(frozen=True, slots=True)
class Edge:
    """A transition of the graph, read."""

    source: str
    target: str
    weight: float
    when: Guard | None


class Graph(library.Checked):
    """A graph as its file has it; `check` reads every guard, effect, reference and template."""

    description: str = Field(min_length=10)
    max_turns: int = Field(ge=2, le=200)  # what users and systems say; tool turns do not count
    start: dict[str, float] = Field(min_length=1)
    corpora: dict[str, CorpusSource] = {}
    memory: dict[str, Variable] = {}
    tables: dict[str, dict[str, tuple[dict[str, str | int], ...]]] = {}  # name -> language -> rows
    document: str = ""  # the name of the SOP that the steps are of
    sop: dict[str, str] = {}  # step id -> its words, where an SOP stands behind the graph
    menus: dict[str, dict[str, float | Transition]] = {}
    states: dict[str, State] = Field(min_length=2)
    simulators: Simulators
    cards: dict[str, dict[str, str]] = {}  # corpus -> language -> how a document is listed
    offline: dict[str, dict[str, Any]] = {}  # language -> rules; those named like a state are what is said there

    @cached_property
    def fingerprint(self) -> str:
        """Of what can change a dialogue, offline words aside."""
        return content_id("gh", self.model_dump(mode="json", exclude={"name", "path", "description", "offline"}))

    @cached_property
    def offline_fingerprint(self) -> str:
        return content_id("gr", self.offline)

    @cached_property
    def bindings(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for state in self.states.values() for name in state.draw))

    @cached_property
    def vocabulary(self) -> Memory:
        return Memory(self.memory, self.bindings)

    @cached_property
    def guards(self) -> dict[str, Guard | None]:
        """What each state wants of the memory before it can be entered."""
        return {
            name: self._read(("states", name, "when"), self.vocabulary.guard, state.when) if state.when else None
            for name, state in self.states.items()
        }

    @cached_property
    def effects(self) -> dict[str, tuple[Effect, ...]]:
        found = {}
        for name, state in self.states.items():
            shown = state.retrieve.show if state.retrieve else None
            found[name] = tuple(
                self._read(("states", name, "then", i), self.vocabulary.effect, source, shown)
                for i, source in enumerate(state.then)
            )
        return found

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every transition, menus unfolded; the position of an edge here is its number."""
        found: list[Edge] = []
        for name, state in self.states.items():
            here: dict[str, Edge] = {}
            for where, table in self._tables_of(name, state):
                for target, given in table.items():
                    at = (*where, target)
                    if target not in self.states:
                        raise self.error(at, f"no state {target!r}.{did_you_mean(target, self.states)}")
                    if self.states[target].who == state.who:
                        raise self.error(at, f"{name} and {target} are both the {state.who}'s; they speak in turns")
                    one = given if isinstance(given, Transition) else Transition.model_construct(weight=given, when="")
                    if one.weight <= 0:
                        raise self.error(at, f"weight {one.weight}: more than 0 was expected")
                    guard = self._read((*at, "when"), self.vocabulary.guard, one.when) if one.when else None
                    here.setdefault(target, Edge(name, target, one.weight, guard))
            if state.end and here:
                raise self.error(
                    ("states", name, "end"), f"{name} ends the dialogue and yet goes on to {next(iter(here))}"
                )
            if not state.end and not here:
                raise self.error(("states", name), f"{name} has no next state; add `next`, or `end: true`")
            found += here.values()
        return tuple(found)

    def _tables_of(self, name: str, state: State) -> list[tuple[tuple[str, ...], Mapping[str, float | Transition]]]:
        if isinstance(state.next, dict):
            return [(("states", name, "next"), state.next)]
        menus = [state.next] if isinstance(state.next, str) else state.next
        for menu in menus:
            if menu not in self.menus:
                raise self.error(("states", name, "next"), f"no menu {menu!r}.{did_you_mean(menu, self.menus)}")
        return [(("menus", menu), self.menus[menu]) for menu in menus]

    @cached_property
    def references(self) -> dict[str, dict[str, Reference]]:
        """State -> name -> where the value of a slot or a shown thing comes from."""
        return {
            name: {
                key: self._read(("states", name, part, key), Reference.read, source, self)
                for part in ("slots", "show")
                for key, source in getattr(state, part).items()
            }
            for name, state in self.states.items()
        }

    @cached_property
    def draws(self) -> dict[str, dict[str, DrawSource]]:
        return {
            name: {
                key: self._read(("states", name, "draw", key), DrawSource.read, source, self)
                for key, source in state.draw.items()
            }
            for name, state in self.states.items()
        }

    @cached_property
    def cited(self) -> dict[str, tuple[Reference | str, ...]]:
        """State -> what its turn cites: steps of the SOP by id, or references to documents."""
        return {
            name: tuple(
                one
                if one in self.sop or (one == HERE and self.sop)
                else self._read(("states", name, "cites", i), Reference.read, one, self)
                for i, one in enumerate(state.cites)
            )
            for name, state in self.states.items()
        }

    @cached_property
    def recorded(self) -> dict[str, dict[str, Reference]]:
        """State -> name -> where a value that its record shows comes from."""
        return {
            name: {
                key: self._read(("states", name, "record", "show", key), Reference.read, source, self)
                for key, source in state.record.show.items()
            }
            for name, state in self.states.items()
            if state.record is not None
        }

    @property
    def corpus(self) -> str | None:
        """The corpus that a user's own takes the place of: the first."""
        return next(iter(self.corpora), None)

    def check(self) -> None:
        """Raises InputError if anything in the file cannot be used; whether walks get anywhere, `synth.chain` proves."""
        for name in self.start:
            if name not in self.states:
                raise self.error(("start", name), f"no state {name!r}.{did_you_mean(name, self.states)}")
            if self.states[name].who != "user":
                raise self.error(("start", name), "a dialogue starts with a state of the user's")
        for name, variable in self.memory.items():
            self._check_variable(name, variable)
        for name, state in self.states.items():
            if state.retrieve is not None:
                self._check_retrieve(name, state.retrieve)
            if unknown := sorted(set(state.always) - set(state.slots)):
                raise self.error(
                    ("states", name, "always"), f"no slot {unknown[0]!r}.{did_you_mean(unknown[0], state.slots)}"
                )
            few, many = state.some or (0, 0)
            if not 0 <= few <= many <= len(state.slots):
                raise self.error(("states", name, "some"), f"{few} to {many} of {len(state.slots)} slots cannot be")
        for name, state in self.states.items():
            theirs = ("asks", "record", "aside") if state.who == "user" else ("gives", "lacks", "facts")
            if wrong := next((one for one in theirs if getattr(state, one)), None):
                raise self.error(("states", name, wrong), f"is not for a state of the {state.who}'s")
        self.guards, self.effects, self.edges, self.references, self.draws, self.cited, self.recorded  # noqa: B018  (reading checks)

    def _check_variable(self, name: str, variable: Variable) -> None:
        if name in self.bindings:
            raise self.error(("memory", name), f"{name!r} is both a memory and something that a state draws")
        if isinstance(variable, Items) and variable.items not in self.corpora:
            hint = did_you_mean(variable.items, self.corpora)
            raise self.error(("memory", name), f"no corpus {variable.items!r}.{hint}")
        if isinstance(variable, Number) and not isinstance(variable.start, str):
            low, high = variable.number
            for value in variable.start if isinstance(variable.start, dict) else (variable.start,):
                if not low <= value <= high:
                    raise self.error(("memory", name), f"start {value} is out of {low} to {high}")
        if isinstance(variable, Word):
            for word in variable.start if isinstance(variable.start, dict) else (variable.start,):
                if word not in variable.words:
                    hint = did_you_mean(word, variable.words)
                    raise self.error(("memory", name), f"start {word!r} is none of the words.{hint}")

    def _check_retrieve(self, name: str, wanted: Retrieve) -> None:
        where = ("states", name, "retrieve")
        if self.states[name].who != "system":
            raise self.error(where, "only the system retrieves")
        if wanted.golden not in self.bindings:
            raise self.error(where, f"no state draws {wanted.golden!r}.{did_you_mean(wanted.golden, self.bindings)}")
        if wanted.page is not None and not isinstance(self.memory.get(wanted.page), Number):
            raise self.error(where, f"page: {wanted.page!r} is no number in the memory")
        known = {slot for state in self.states.values() for slot in state.slots}
        for slot in (*wanted.within, *wanted.having):
            if slot not in known:
                raise self.error(where, f"no state has a slot {slot!r}.{did_you_mean(slot, known)}")

    def check_outline(self, outline: Outline) -> None:
        """Raises InputError if a state speaks of a step, evidence or answer that the outline does not have."""
        for name, state in self.states.items():
            record = state.record or Record()
            for part, known, names in (
                ("cites", outline.step, (one for one in state.cites if one in self.sop)),
                ("asks", {**outline.step, **outline.wanted}, state.asks),
                ("gives", outline.wanted, (*state.gives, *record.gives)), ("lacks", outline.wanted, state.lacks),
            ):  # fmt: skip
                if unknown := next((one for one in names if one not in known), None):
                    raise self.error(
                        ("states", name, part), f"{unknown!r} is not in the outline of {self.document!r}, {outline.id}"
                    )
            for step, fact in {**state.facts, **record.facts}.items():
                if fact not in (valid := valid_facts(outline, step)):
                    raise self.error(
                        ("states", name, "facts", step),
                        f"{fact!r} is no answer of that step in the outline of {self.document!r}, {outline.id}: {', '.join(map(repr, valid)) or 'nothing turns on it'}",
                    )

    def error(self, keys: Sequence[str | int], message: str) -> InputError:
        """An error that names the file, the line and the field."""
        line = _line(self.path, keys)
        at = f":{line}" if line else ""
        return InputError(f"{self.path}{at}: {'.'.join(map(str, keys))}: {message}")

    def _read(self, keys: Sequence[str | int], reader: Any, *given: Any) -> Any:
        try:
            return reader(*given)
        except InputError as error:
            raise self.error(keys, str(error)) from error


def _line(path: Path, keys: Sequence[str | int]) -> int | None:
    """The line of a field in a YAML file, or of the innermost field around it; None if the file is gone."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError):
        return None
    line = None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            pair = next(((name, value) for name, value in node.value if name.value == str(key)), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line + 1, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            break
    return line


def graph_folders(prompts_dir: Path | None) -> list[Path]:
    from synth.prompts import search_path  # which reads prompts that stand on graphs

    return [folder / "dialogue" for folder in search_path(prompts_dir) if (folder / "dialogue").is_dir()]


def load_graph(name: str, prompts_dir: Path | None = None) -> Graph:
    """The graph that a name or path stands for, checked."""
    return library.read(library.find(name, graph_folders(prompts_dir), kind="graph").path, Graph)


def load_graphs(folders: Sequence[Path]) -> list[Graph | Broken]:
    """Every graph of these folders; what cannot be read is listed as broken."""
    return library.read_all(folders, lambda path: library.read(path, Graph))
