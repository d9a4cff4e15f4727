"""A graph with its memory as a Markov chain: what can be reached, what can end, and how often a walk comes by.

A node is a state with the memory as it is after that state's effects. The memory is small and bounded, so all nodes that a walk
can reach are enumerated: what is proved here is proved of the graph itself, not of a sample or an abstraction. A list of documents
is its length, which is all that a guard can ask.

A walk of at most `max_turns` takes from a node only transitions whose guards hold and from which an end can still be reached in
time. So no walk is ever thrown away, and the expected visits are exact: the distribution over nodes, turn by turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from curation.errors import InputError
from synth.corpora import Corpus
from synth.graph import Edge, Graph
from synth.memory import Flag, Number, OutOfBounds, Value, Values, Word

MOST_NODES = 300_000
FAR = 1 << 30  # turns to an end that cannot be reached


@dataclass(frozen=True, slots=True)
class Node:
    state: str
    memory: Values


@dataclass(frozen=True, slots=True)
class Rates:
    """What is expected of one walk.

    Attributes:
        states: state -> visits per dialogue.
        edges: edge number -> times taken per dialogue.
        turns: mean length.
        lengths: turns -> share of dialogues.
    """

    states: dict[str, float]
    edges: dict[int, float]
    turns: float
    lengths: dict[int, float]


class Chain:
    """Every node that a walk of this graph can reach.

    Args:
        corpora: where a number of the memory starts as a size in a corpus, that corpus.

    Raises:
        InputError: an effect leaves its bounds, the memory is too large to enumerate, a state cannot be reached, or there is
            a node from which no end can be.
    """

    def __init__(self, graph: Graph, corpora: Mapping[str, Corpus]) -> None:
        self.graph = graph
        self.nodes: list[Node] = []
        self.start: dict[int, float] = {}
        self.after: list[list[tuple[int, int]]] = []  # node -> (edge number, next node)
        self._places: dict[Node, int] = {}
        self._entries: dict[
            tuple[str, Values], int | None
        ] = {}  # where a state is entered from a memory; None: not at all
        self._leaving: dict[str, list[tuple[int, Edge]]] = {name: [] for name in graph.states}
        for number, edge in enumerate(graph.edges):
            self._leaving[edge.source].append((number, edge))
        for node, share in self._starts(corpora).items():
            place = self._place(node)
            self.start[place] = self.start.get(place, 0.0) + share
        place = 0
        while place < len(self.nodes):
            self.after.append(self._steps(self.nodes[place]))
            place += 1
        self.to_end = self._distances()
        self._prove()

    # -- enumeration -----------------------------------------------------------------------------------------

    def _starts(self, corpora: Mapping[str, Corpus]) -> dict[Node, float]:
        graph = self.graph
        options = [self._options(name, corpora) for name in graph.memory]
        total = sum(graph.start.values())
        found: dict[Node, float] = {}
        for combination in product(*options):
            memory = tuple(value for value, _ in combination)
            share = float(np.prod([share for _, share in combination])) if combination else 1.0
            open_states = {name: weight for name, weight in graph.start.items() if self._holds(name, memory)}
            if not open_states:
                raise graph.error(("start",), f"no start is allowed with {self._told(memory)}")
            total = sum(open_states.values())
            for name, weight in open_states.items():
                node = Node(name, self._entered(name, memory, "the start"))
                found[node] = found.get(node, 0.0) + share * weight / total
        return found

    def _options(self, name: str, corpora: Mapping[str, Corpus]) -> list[tuple[Value, float]]:
        variable = self.graph.memory[name]
        start: object = getattr(variable, "start", 0)
        if isinstance(variable, Flag):
            return [(variable.flag, 1.0)]
        if isinstance(variable, Number) and isinstance(start, str):
            corpus, _, field = start.partition(".")
            if corpus not in corpora:
                raise self.graph.error(
                    ("memory", name, "start"), f"{start!r}: no corpus {corpus!r}; write CORPUS.FIELD"
                )
            sizes = corpora[corpus].sizes(field)
            low, high = variable.number
            for size in sizes:
                if not low <= size <= high:
                    raise self.graph.error(
                        ("memory", name),
                        f"{corpora[corpus].path} has a document with {size} {field}, out of {low} to {high}",
                    )
            start = {size: float(count) for size, count in sizes.items()}
        if isinstance(variable, Number | Word) and isinstance(start, dict):
            total = sum(start.values())
            return [(value, share / total) for value, share in start.items() if share > 0]
        assert isinstance(start, int | str)
        return [(start, 1.0)]

    def _place(self, node: Node) -> int:
        place = self._places.get(node)
        if place is None:
            if len(self.nodes) >= MOST_NODES:
                raise InputError(
                    f"{self.graph.path}: memory: over {MOST_NODES:,} combinations of state and memory can be reached; make "
                    "numbers and lists smaller"
                )
            place = self._places[node] = len(self.nodes)
            self.nodes.append(node)
        return place

    def _steps(self, node: Node) -> list[tuple[int, int]]:
        found = []
        for number, edge in self._leaving[node.state]:
            if edge.when is not None and not edge.when.holds(node.memory):
                continue
            key = edge.target, node.memory  # menus lead from many states to the same ones with the same memory
            if key not in self._entries:
                holds = self._holds(*key)
                entered = self._entered(*key, edge.source) if holds else None
                self._entries[key] = None if entered is None else self._place(Node(edge.target, entered))
            if (place := self._entries[key]) is not None:
                found.append((number, place))
        return found

    def _holds(self, state: str, memory: Values) -> bool:
        guard = self.graph.guards[state]
        return guard is None or guard.holds(memory)

    def _entered(self, state: str, memory: Values, source: str) -> Values:
        try:
            return self.graph.vocabulary.after(memory, self.graph.effects[state])
        except OutOfBounds as error:
            message = f"{error}, coming from {source} with {self._told(memory)}; add a guard (`when`)"
            raise self.graph.error(("states", state, "then"), message) from error

    def _told(self, memory: Values) -> str:
        return (
            ", ".join(f"{name} {value}" for name, value in zip(self.graph.memory, memory, strict=True)) or "no memory"
        )

    # -- proof -----------------------------------------------------------------------------------------------

    def _distances(self) -> NDArray[np.int64]:
        """Turns from each node to the nearest end."""
        before: list[list[int]] = [[] for _ in self.nodes]
        for place, steps in enumerate(self.after):
            for _, target in steps:
                before[target].append(place)
        distances = np.full(len(self.nodes), FAR, dtype=np.int64)
        frontier = [place for place, node in enumerate(self.nodes) if self.graph.states[node.state].end]
        distances[frontier] = 0
        turns = 0
        while frontier:
            turns += 1
            reached = []
            for place in frontier:
                for source in before[place]:
                    if distances[source] == FAR:
                        distances[source] = turns
                        reached.append(source)
            frontier = reached
        return distances

    def _prove(self) -> None:
        graph = self.graph
        reached = {node.state for node in self.nodes}
        for name in graph.states:
            if name not in reached:
                raise graph.error(
                    ("states", name), f"no walk can reach {name}; look at its `when` and what leads to it"
                )
        for place in np.flatnonzero(self.to_end == FAR):
            node = self.nodes[place]
            raise graph.error(
                ("states", node.state), f"no end can be reached from {node.state} with {self._told(node.memory)}"
            )
        longest = max(int(self.to_end[place]) for place in self.start) + 1
        if longest > graph.max_turns:
            raise graph.error(
                ("max_turns",), f"{graph.max_turns} is too few: the shortest walk from a start has {longest}"
            )
        counts = self.rates.states
        for name in graph.states:
            if counts[name] == 0:
                raise graph.error(
                    ("max_turns",), f"no walk of {graph.max_turns} turns comes to {name}; allow more turns"
                )

    # -- expectation -----------------------------------------------------------------------------------------

    @cached_property
    def rates(self) -> Rates:
        """Exact, by the distribution over nodes turn after turn."""
        source = np.array([place for place, steps in enumerate(self.after) for _ in steps], dtype=np.int64)
        target = np.array([node for steps in self.after for _, node in steps], dtype=np.int64)
        number = np.array([edge for steps in self.after for edge, _ in steps], dtype=np.int64)
        weight = np.array([self.graph.edges[edge].weight for edge in number], dtype=np.float64)
        ends = self.to_end == 0
        share = np.zeros(len(self.nodes))
        for place, start in self.start.items():
            share[place] += start
        visits, taken = np.zeros(len(self.nodes)), np.zeros(len(self.graph.edges))
        lengths: dict[int, float] = {}
        for turn in range(1, self.graph.max_turns + 1):
            visits += share
            if (ended := float(share[ends].sum())) > 0:
                lengths[turn] = ended
            flow = np.where(turn + 1 + self.to_end[target] <= self.graph.max_turns, weight, 0.0)
            out = np.bincount(source, flow, len(self.nodes))
            flow *= share[source] / np.where(out > 0, out, 1.0)[source]
            taken += np.bincount(number, flow, len(self.graph.edges))
            share = np.bincount(target, flow, len(self.nodes)).astype(np.float64)
        states = dict.fromkeys(self.graph.states, 0.0)
        for place, node in enumerate(self.nodes):
            states[node.state] += float(visits[place])
        edges = {edge: float(times) for edge, times in enumerate(taken)}
        return Rates(states, edges, sum(turn * part for turn, part in lengths.items()), lengths)
