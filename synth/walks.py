"""Random walks over a graph, and what they have covered.

A walk depends on the seed and its own number. With `steer`, it also depends on the walks before it, in the order of their numbers:
transitions that were seldom taken, and those that lead to such, get more weight. The same seed gives the same walks either way.
"""

import random
from bisect import bisect
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from synth.chain import Chain
from synth.memory import Values

RENEW = 8  # walks after which the weights are steered anew
FAR_SIGHT = 0.85  # how much of a thin edge's pull is felt one turn before it
PULL = 6.0  # how much more a thin edge weighs at most


@dataclass(frozen=True, slots=True)
class Step:
    """One turn of a walk: the state that is entered and the memory after its effects."""

    state: str
    memory: Values
    edge: int | None  # the transition that led here; None at the start


Walk = tuple[Step, ...]


class Walker:
    """Draws the walks of one graph.

    Args:
        seed: what is drawn depends on it and on the walk's number.
        steer: pull walks to edges that the walks before took seldom.
    """

    def __init__(self, chain: Chain, seed: str, *, steer: bool = False) -> None:
        self.chain = chain
        self._seed = seed
        self._steer = steer
        self._weights = [edge.weight for edge in chain.graph.edges]
        self._starts = list(chain.start)
        self._start_weights = list(accumulate(chain.start.values()))
        self._kept: list[bytes] = []  # of steered walks, the edges: a walk is known by where it starts and by these
        self._taken: Counter[int] = Counter()
        self._may = {edge for edge, rate in chain.rates.edges.items() if rate > 0}
        self._to_end = chain.to_end.tolist()

    def walk(self, number: int) -> Walk:
        """The walk of one number, the same whatever was asked before."""
        if not self._steer:
            return self._draw(number, self._weights)[0]
        while len(self._kept) <= number:
            if len(self._kept) % RENEW == 0:
                self._renew()
            _, places = self._draw(len(self._kept), self._weights)
            self._taken.update(edge for _, edge in places if edge is not None)
            self._kept.append(b"".join((place).to_bytes(4, "little") for place, _ in places))
        return self._again(self._kept[number])

    def _draw(self, number: int, weights: Sequence[float]) -> tuple[Walk, list[tuple[int, int | None]]]:
        rng = random.Random(f"{self._seed}/{number}")
        chain, most = self.chain, self.chain.graph.max_turns
        at = self._starts[_pick(rng, self._start_weights)]
        places: list[tuple[int, int | None]] = [(at, None)]
        while self._to_end[at] > 0:
            turns = len(places) + 1
            ahead = [step for step in chain.after[at] if turns + self._to_end[step[1]] <= most]
            edge, at = ahead[_pick(rng, list(accumulate(weights[edge] for edge, _ in ahead)))]
            places.append((at, edge))
        return tuple(self._step(place, edge) for place, edge in places), places

    def _step(self, place: int, edge: int | None) -> Step:
        node = self.chain.nodes[place]
        return Step(node.state, node.memory, edge)

    def _again(self, kept: bytes) -> Walk:
        places = [int.from_bytes(kept[i : i + 4], "little") for i in range(0, len(kept), 4)]
        steps = [self._step(places[0], None)]
        for before, at in pairwise(places):
            steps.append(self._step(at, next(edge for edge, target in self.chain.after[before] if target == at)))
        return tuple(steps)

    def _renew(self) -> None:
        """Weights for the next walks: an edge's own, times more the thinner it is, or the thinner what lies behind it."""
        graph = self.chain.graph
        mean = sum(self._taken.values()) / max(1, len(self._may))
        need = {edge: 1 / (1 + 4 * self._taken[edge] / (mean + 1)) for edge in self._may}
        pull = dict.fromkeys(graph.states, 0.0)
        for _ in range(12):
            for edge in self._may:
                one = graph.edges[edge]
                pull[one.source] = max(pull[one.source], need[edge], FAR_SIGHT * pull[one.target])
        self._weights = [
            edge.weight
            * (PULL ** (2 * max(need[number], FAR_SIGHT * pull[edge.target]) - 1) if number in self._may else 1)
            for number, edge in enumerate(graph.edges)
        ]


def _pick(rng: random.Random, cumulative: Sequence[float]) -> int:
    return min(bisect(cumulative, rng.random() * cumulative[-1]), len(cumulative) - 1)


@dataclass(frozen=True, slots=True)
class Coverage:
    """What a set of walks has been to.

    Attributes:
        walks: how many they are.
        states: state -> visits.
        edges: edge number -> times taken; of all that a walk can take.
        paths: how many different walks there are, by states alone.
    """

    walks: int
    states: dict[str, int]
    edges: dict[int, int]
    paths: int

    @property
    def thin(self) -> list[int]:
        """Edges that no walk took."""
        return [edge for edge, times in self.edges.items() if times == 0]


def coverage(chain: Chain, states: Iterable[Sequence[str]]) -> Coverage:
    """What walks, each given as its states in order, have covered of a graph."""
    numbers = {(edge.source, edge.target): number for number, edge in enumerate(chain.graph.edges)}
    visits = Counter(dict.fromkeys(chain.graph.states, 0))
    taken = Counter({edge: 0 for edge, rate in chain.rates.edges.items() if rate > 0})
    paths: set[int] = set()
    walks = 0
    for walk in states:
        walks += 1
        visits.update(walk)
        taken.update(numbers[pair] for pair in pairwise(walk) if pair in numbers)
        paths.add(hash(tuple(walk)))
    return Coverage(walks, dict(visits), dict(taken), len(paths))
