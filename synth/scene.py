"""A walk played as a dialogue: documents drawn, slots filled, searches made; the words come from whoever is asked.

`play` is a generator: it yields what is needed next (a user's turn, a query, a system's turn), takes the text, and returns the turns.
So the same scene is played with a model, several models, or the offline grammar.
"""

import json
import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from curation.errors import InputError
from curation.records import Turn
from synth.corpora import Corpus, Document
from synth.graph import HERE, Graph, Record, Retrieve
from synth.memory import Items
from synth.references import DrawSource, Reference
from synth.retrieve import retriever
from synth.walks import Step, Walk

Value = str | int | float | list[str]
Row = Mapping[str, str | int]
COMMA = {"zh": "、"}
SHORT = 80  # characters of a field that a tool turn shows, if the corpus does not say which


@dataclass(frozen=True, slots=True)
class Need:
    """What the scene wants to be written next.

    Attributes:
        kind: a turn of the user, of the system, or the query of a search.
        slots: what the text has to say (user), or what the query is made of.
        variables: for templates and grammars, all of them texts or whole numbers.
        turns: what was said before.
    """

    kind: Literal["user", "system", "query"]
    state: str
    visit: int  # how often this state was entered before
    slots: dict[str, Value]
    variables: dict[str, str | int]
    turns: tuple[Turn, ...]


@dataclass(slots=True)
class _Scene:
    graph: Graph
    corpora: Mapping[str, Corpus]
    language: str
    rng: random.Random
    embedder: str | None = None  # searches by an encoder; by BM25, if there is none
    memory: dict[str, Any] = field(default_factory=dict)
    bound: dict[str, Document | Row] = field(default_factory=dict)
    lists: dict[str, list[Document]] = field(default_factory=dict)
    said: dict[str, Value] = field(default_factory=dict)  # slots since the golden document was drawn
    seen: set[str] = field(default_factory=set)  # documents that the search under way has shown
    found: list[Document] = field(default_factory=list)
    here: str = ""  # the step of the SOP where the case stands
    used_rows: dict[str, set[int]] = field(default_factory=dict)

    # -- drawing ---------------------------------------------------------------------------------------------

    def draw(self, name: str, source: DrawSource) -> None:
        """Bind a name to a document or row."""
        if source.base in self.graph.tables:
            self.bound[name] = self._row(source.base)
            return
        if source.base in self.corpora:
            pool = list(self._fitting(source.base))
            self.said, self.seen = {}, set()
        else:
            pool = self.lists[source.base]
            if source.item == "last":
                pool = pool[-1:]
            elif source.item == "first":
                pool = pool[:1]
        without = {document.id for other in source.unlike for document in self._documents(other)}
        pool = [document for document in pool if document.id not in without] or pool
        self.bound[name] = self.rng.choice(pool)

    def _fitting(self, corpus: str) -> Sequence[Document]:
        """The documents of the size that the walk's memory was started with, where it was started with one."""
        documents = self.corpora[corpus].documents(self.language)
        for memory, variable in self.graph.memory.items():
            start = getattr(variable, "start", None)
            if isinstance(start, str) and start.startswith(f"{corpus}."):
                size = self.memory[memory]
                documents = tuple(one for one in documents if _size(one[start.partition(".")[2]]) == size)
        return documents

    def _row(self, table: str) -> Row:
        rows = self.graph.tables[table].get(self.language) or self.graph.tables[table]["en"]
        used = self.used_rows.setdefault(table, set())
        if len(used) >= len(rows):
            used.clear()
        place = self.rng.choice([place for place in range(len(rows)) if place not in used])
        used.add(place)
        return rows[place]

    def _documents(self, name: str) -> list[Document]:
        if name in self.lists:
            return self.lists[name]
        bound = self.bound.get(name)
        return [bound] if isinstance(bound, Document) else []

    # -- references ------------------------------------------------------------------------------------------

    def value(self, reference: Reference) -> Any:
        """What a reference stands for now: a text, number, document, or a list of these."""
        if reference.call == "place":
            assert reference.other is not None
            document, among = self._base(reference), self._base(reference.other)
            return next(place for place, one in enumerate(among, 1) if one.id == document.id)
        value = self._base(reference)
        if reference.call == "count":
            return len(value)
        if reference.call == "sum":
            return round(sum(value), 2)
        if reference.call in ("money", "total"):
            return f"{sum(value) if isinstance(value, list) else value:.2f}"
        if reference.call == "above":
            return _above(value)
        if reference.call == "lines":
            return "\n".join(f"{number}. {self.card(one)}" for number, one in enumerate(value, 1))
        return value

    def _base(self, reference: Reference) -> Any:
        name = reference.base
        value: Any = self.lists[name] if name in self.lists else self.bound.get(name, self.memory.get(name))
        if value is None:
            raise InputError(
                f"{self.graph.path}: {reference.source!r} is asked for before any state has drawn {name!r}"
            )
        if reference.item is not None:
            value = self._pick(value, reference.item, reference)
        if reference.field is not None:
            value = [one[reference.field] for one in value] if isinstance(value, list) else value[reference.field]
        return value if reference.index is None else self._pick(value, reference.index, reference)

    def _pick(self, value: Any, index: str, reference: Reference) -> Any:
        if not isinstance(value, list):
            value = [value]
        if index == "any":
            return self.rng.choice(value)
        if index == "some":
            return sorted(self.rng.sample(value, min(len(value), self.rng.choice((1, 2)))), key=value.index)
        place = len(value) if index == "last" else int(index) if index.isdigit() else int(self.memory[index])
        if not 1 <= place <= len(value):
            raise InputError(f"{self.graph.path}: {reference.source!r}: there is no entry {place} among {len(value)}")
        return value[place - 1]

    def card(self, document: Document) -> str:
        """A document as a list shows it."""
        corpus = next(name for name, one in self.corpora.items() if document.id in one.places)
        card = self.graph.cards[corpus]
        shown = {
            name: value if isinstance(value, float | int) else _shown(value, self.language)
            for name, value in document.fields.items()
        }
        return card.get(self.language, card["en"]).format_map(shown)

    # -- searching -------------------------------------------------------------------------------------------

    def search(self, wanted: Retrieve, query: str, *, withheld: bool) -> list[Document]:
        """The hits of a query that have not been shown yet, the golden document at a random place unless it is `withheld`."""
        golden = self.bound[wanted.golden]
        assert isinstance(golden, Document)
        corpus = next(one for one in self.corpora.values() if golden.id in one.places)
        hits = [
            one
            for one in retriever(corpus, self.language, self.embedder).search(query)
            if one.id not in self.seen | {golden.id}
        ]
        count = wanted.show - (not withheld)
        page = sorted(hits, key=lambda one: self._misses(one, wanted))[
            :count
        ]  # stable: the best hits first among equals
        if len(page) < count:  # a small or odd corpus: the list is filled from it
            taken = {one.id for one in page} | self.seen | {golden.id}
            rest = [one for one in corpus.documents(self.language) if one.id not in taken]
            page += self.rng.sample(rest, min(count - len(page), len(rest)))
        if not withheld:
            page.insert(self.rng.randint(0, len(page)), golden)
        self.seen |= {one.id for one in page}
        if len(page) < wanted.show:
            raise InputError(f"{corpus.path}: {len(corpus)} documents are too few to show {wanted.show} on every page")
        return page

    def _misses(self, document: Document, wanted: Retrieve) -> int:
        """How far a document is from what the user said: a limit that it exceeds counts twice."""
        misses = 0
        for slot, name in wanted.within.items():
            value = document[name]
            if slot in self.said and isinstance(value, int | float) and value > float(self.said[slot]):  # type: ignore[arg-type]
                misses += 2
        for slot, name in wanted.having.items():
            if slot in self.said:
                value = document[name]
                misses += self.said[slot] not in (value if isinstance(value, list) else [value])
        return misses

    def hit(self, document: Document, shown: Sequence[str]) -> dict[str, Any]:
        fields = document.fields
        names = shown or [
            name for name, value in fields.items() if not isinstance(value, list) and len(str(value)) <= SHORT
        ]
        return {"id": document.id, **{name: fields[name] for name in names}}

    # -- effects ---------------------------------------------------------------------------------------------

    def apply(self, step: Step) -> None:
        """Do a state's effects to the documents; numbers and words are as the walk has them."""
        for effect in self.graph.effects[step.state]:
            if effect.how == "push":
                document = self.bound[effect.binding]
                assert isinstance(document, Document)
                self.lists[effect.target].append(document)
            elif effect.how == "drop":
                self.lists[effect.target].pop()
            elif effect.how == "found":
                self.lists[effect.target] = list(self.found)
            elif effect.how == "clear":
                self.lists[effect.target] = []
        self.remember(step)

    def remember(self, step: Step) -> None:
        for (name, variable), value in zip(self.graph.memory.items(), step.memory, strict=True):
            if isinstance(variable, Items):
                assert len(self.lists[name]) == value, (
                    f"{step.state}: {name} holds {len(self.lists[name])}, not {value}"
                )
            else:
                self.memory[name] = value


def play(
    graph: Graph,
    corpora: Mapping[str, Corpus],
    walk: Walk,
    language: str,
    rng: random.Random,
    embedder: str | None = None,
) -> Generator[Need, str, list[Turn]]:
    """Play a walk; see the head of this module. The returned turns carry annotations and what they cite."""
    scene = _Scene(graph, corpora, language, rng, embedder)
    scene.lists = {name: [] for name, variable in graph.memory.items() if isinstance(variable, Items)}
    scene.memory = {
        name: value for (name, variable), value in zip(graph.memory.items(), walk[0].memory, strict=True)
        if not isinstance(variable, Items)
    }  # fmt: skip
    turns: list[Turn] = []
    visits: dict[str, int] = {}
    for place, step in enumerate(walk):
        state = graph.states[step.state]
        for name, source in graph.draws[step.state].items():
            scene.draw(name, source)
        if state.retrieve is not None:
            text = yield _need("query", scene, step, visits, scene.said, turns)
            turns.append(_search(scene, state.retrieve, walk[place:], text))
        scene.apply(step)
        slots = _slots(scene, step.state)
        if state.who == "user":
            scene.said |= slots
        if state.record is not None:
            turns.append(_record(scene, step.state, state.record))
        text = yield _need(state.who, scene, step, visits, slots, turns)
        visits[step.state] = visits.get(step.state, 0) + 1
        turns.append(_turn(scene, step.state, slots, text))
    return turns


def _slots(scene: _Scene, name: str) -> dict[str, Value]:
    state = scene.graph.states[name]
    names = list(state.slots)
    if state.some is not None:
        few, many = state.some
        others = [slot for slot in names if slot not in state.always]
        fresh = [slot for slot in others if slot not in scene.said]
        count = min(scene.rng.randint(few, many), len(others))
        chosen = {*state.always, *scene.rng.sample(fresh if len(fresh) >= count else others, count)}
        names = [slot for slot in names if slot in chosen]
    values = {slot: scene.value(scene.graph.references[name][slot]) for slot in names}
    return {slot: value for slot, value in values.items() if value not in ("", [])}


def _need(
    kind: Literal["user", "system", "query"], scene: _Scene, step: Step, visits: Mapping[str, int],
    slots: Mapping[str, Value], turns: Sequence[Turn],
) -> Need:  # fmt: skip
    state = scene.graph.states[step.state]
    shown = (
        {} if kind == "query" else {name: scene.value(scene.graph.references[step.state][name]) for name in state.show}
    )
    variables = {name: _shown(value, scene.language) for name, value in {**slots, **shown}.items()}
    return Need(kind, step.state, visits.get(step.state, 0), dict(slots), variables, tuple(turns))


def _search(scene: _Scene, wanted: Retrieve, ahead: Sequence[Step], query: str) -> Turn:
    golden = scene.bound[wanted.golden]
    assert isinstance(golden, Document)
    withheld = _comes_later(scene.graph, wanted, ahead)
    if wanted.page is None or _number(scene.graph, ahead[0], wanted.page) == 1:
        scene.seen = set()
    scene.found = scene.search(wanted, query, withheld=withheld)
    corpus = next(one for one in scene.corpora.values() if golden.id in one.places)
    hits = [scene.hit(one, corpus.source.shown) for one in scene.found]
    return Turn(
        role="tool", content=json.dumps(hits, ensure_ascii=False), cites=tuple(one.id for one in scene.found),
        annotation={
            "state": ahead[0].state, "query": {"text": query, **scene.said}, "golden": None if withheld else golden.id,
        },
    )  # fmt: skip


def _comes_later(graph: Graph, wanted: Retrieve, ahead: Sequence[Step]) -> bool:
    """Whether the walk goes on to another page of the same search: then the golden document is on that one."""
    if wanted.page is None:
        return False
    for step in ahead[1:]:
        state = graph.states[step.state]
        if wanted.golden in state.draw:
            return False
        if state.retrieve is not None and state.retrieve.golden == wanted.golden:
            return _number(graph, step, wanted.page) > _number(graph, ahead[0], wanted.page)
    return False


def _number(graph: Graph, step: Step, name: str) -> int:
    return int(step.memory[list(graph.memory).index(name)])


def _turn(scene: _Scene, name: str, slots: Mapping[str, Value], text: str) -> Turn:
    state = scene.graph.states[name]
    if state.who == "user":
        told = {"gives": list(state.gives), "lacks": list(state.lacks), "facts": dict(state.facts)}
        note = {"state": name, "intent": state.act or name, "slots": dict(slots), **_some(told)}
        return Turn(role="user", content=text, annotation=note)
    cites: list[str] = []
    for cited in scene.graph.cited[name]:
        value = (scene.here if cited == HERE else cited) if isinstance(cited, str) else scene.value(cited)
        cites += [one if isinstance(one, str) else one.id for one in (value if isinstance(value, list) else [value])]
    if cites and not state.aside:
        scene.here = cites[-1]
    annotation: dict[str, Any] = {"state": name, "action": state.act or name}
    annotation |= _some({"asks": list(state.asks), "aside": state.aside})
    if slots:
        annotation["slots"] = dict(slots)
    return Turn(role="assistant", content=text, cites=tuple(dict.fromkeys(cites)), annotation=annotation)


def _record(scene: _Scene, name: str, record: Record) -> Turn:
    """A lookup in the desk's own records."""
    found = {key: scene.value(reference) for key, reference in scene.graph.recorded[name].items()} | record.say
    note = {"state": name, "query": {"record": sorted(found)}}
    told = _some({"gives": list(record.gives), "facts": dict(record.facts)})
    return Turn(role="tool", content=json.dumps(found, ensure_ascii=False), annotation={**note, **told})


def _some(told: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in told.items() if value}


def _shown(value: Any, language: str) -> str | int:
    if isinstance(value, list):
        return COMMA.get(language, ", ").join(str(_shown(one, language)) for one in value)
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str | int) else str(value)


def _size(value: Any) -> Any:
    return len(value) if isinstance(value, list) else value


def _above(value: float) -> int:
    """A round number that is a little more: what people give as a limit."""
    step = next(step for most, step in ((30, 5), (100, 10), (500, 50), (float("inf"), 100)) if value <= most)
    return int(-(-value // step) * step)
