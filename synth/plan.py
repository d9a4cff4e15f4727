"""The plan: which cell of the grid each request fills.

The grid is languages x axes. Each axis has, per language, a deck that is dealt over and over: every block of a deck is a
fresh permutation of the axis' values, so any prefix of the plan covers each axis evenly (to within one request per
language). Languages read the same permutation from different places, so the leftovers of a block fall on
different values: the design is a randomised Latin square per axis (Fisher 1935), which also keeps the joint shares level.
A slot depends on the seed and its own number alone: a larger `n` only appends slots.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from synth.programs.base import AnyPrompt

Value = str | int


@dataclass(frozen=True, slots=True)
class Slot:
    """One place of the plan: `want` accepted examples of one cell."""

    number: int
    language: str
    axes: dict[str, Value]
    want: int


@lru_cache(maxsize=4096)
def _block(seed: int, salt: str, axis: str, size: int, block: int) -> tuple[int, ...]:
    order = list(range(size))
    random.Random(f"{seed}/{salt}/{axis}/{block}").shuffle(order)
    return tuple(order)


def dealt(place: int, *, seed: int, salt: str, axis: str, size: int) -> int:
    """Which of `size` values comes at a place of a deck that is dealt over and over."""
    block, within = divmod(place, size)
    return _block(seed, salt, axis, size, block)[within]


def cell(
    number: int, *, seed: int, salt: str, languages: Sequence[str], axes: Mapping[str, Sequence[Value]]
) -> tuple[str, dict[str, Value]]:
    """The language and axis values of slot `number`. `salt` tells prompts apart that share a seed."""
    turn, lane = divmod(number, len(languages))
    values: dict[str, Value] = {}
    for axis, choices in axes.items():
        block, place = divmod(turn, len(choices))
        order = _block(seed, salt, axis, len(choices), block)
        shift = lane * len(choices) // len(languages)
        values[axis] = choices[order[(place + shift) % len(choices)]]
    return languages[lane], values


@dataclass(frozen=True, slots=True)
class Plan:
    """`n` accepted examples of one prompt, over the languages and axis values that were chosen."""

    prompt: "AnyPrompt"
    n: int
    languages: tuple[str, ...]
    axes: Mapping[str, Sequence[Value]]
    per_request: int
    seed: int

    @property
    def size(self) -> int:
        """How many slots there are: the number of attempts when nothing goes wrong."""
        return -(-self.n // self.per_request)

    @property
    def requests(self) -> int:
        """How many requests they take when nothing goes wrong."""
        return self.size * self.prompt.requests_each

    def slot(self, number: int) -> Slot:
        language, values = cell(number, seed=self.seed, salt=self.prompt.name, languages=self.languages, axes=self.axes)
        return Slot(number, language, values, min(self.per_request, self.n - number * self.per_request))

    def slots(self) -> Iterator[Slot]:
        """The slots, lazily; the last one may want fewer than `per_request`."""
        return map(self.slot, range(self.size))
