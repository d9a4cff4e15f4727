"""From a sample of answers to what is still to be asked: requests, tokens and dollars, each with a range.

A place of the plan is asked until it has its texts, each time for what it lacks (`synth.run`). What an attempt brings and costs is drawn
from the sample, so the expected cost of a place follows from its end: none once it has all. How often an answer is of use is judged by
the answers of all languages, how long it is by those of its own. The range comes from reweighting the sample at
random (the Bayesian bootstrap: Rubin 1981).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

REQUESTS, INPUT, OUTPUT, USD = range(4)
DRAWS = 400
FEWEST = 3  # answers of a language that tell how long its answers are; else those of all languages do
UNSEEN = 0.5  # answers that come to nothing, and perfect ones, that a sample may have missed (Jeffreys' prior); for the range
Z90 = 1.645
Places = Mapping[
    tuple[str, int, int], float
]  # how many places there are of a language, lack and number of attempts made


@dataclass(frozen=True, slots=True)
class Observation:
    """One attempt: what was asked for, what it brought, and what its answers cost when asked live."""

    language: str
    count: int
    usable: int
    input_tokens: float
    output_tokens: float
    usd: float
    output_usd: float  # the part of `usd` that grows with the length of the answer
    latency_s: float
    refused: bool = False
    requests: int = 1

    @property
    def share(self) -> float:
        return min(1.0, self.usable / self.count)


@dataclass(frozen=True, slots=True)
class Range:
    """An expected value and the bounds that it lies between nine times in ten."""

    low: float
    expected: float
    high: float

    def times(self, factor: float) -> "Range":
        return Range(self.low * factor, self.expected * factor, self.high * factor)

    def plus(self, other: "Range") -> "Range":
        """The sum of two ranges that may be wrong the same way."""
        return Range(self.low + other.low, self.expected + other.expected, self.high + other.high)


NOTHING = Range(0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Forecast:
    requests: Range = NOTHING
    input_tokens: Range = NOTHING
    output_tokens: Range = NOTHING
    usd: Range = NOTHING


def forecast(sample: Sequence[Observation], places: Places, *, max_attempts: int) -> Forecast:
    """What filling these places takes, judged by a sample of at least one answer."""
    dice = np.random.default_rng(0)
    number = len(sample)
    weights: Floats = np.vstack(
        [
            np.append(np.ones(number), (0.0, 0.0)),  # the sample as it is
            np.column_stack([dice.standard_exponential((DRAWS, number)), dice.standard_gamma(UNSEEN, (DRAWS, 2))]),
        ]
    )
    weights /= weights.sum(axis=1, keepdims=True)
    total: Floats = np.zeros((DRAWS + 1, 4))
    lengths: Floats = np.zeros(4)  # variance from how far the lengths of each language are known
    for language in sorted({language for language, _, _ in places}):
        most = max(need for at, need, _ in places if at == language)
        costs = _costs(_as_in(language, sample), weights, most, max_attempts)
        of_language: Floats = np.zeros((DRAWS + 1, 4))
        for (at, need, attempts), count in places.items():
            if at == language and attempts < max_attempts:
                of_language += count * costs[attempts][need]
        total += of_language
        own = _of(language, sample)
        lengths += (of_language[0] * _variation(own)) ** 2 / max(1, len(own) - 1)
    by_chance = _spread(sample) * total[0, REQUESTS] ** 0.5
    ranges = []
    for what in (REQUESTS, INPUT, OUTPUT, USD):
        expected = float(total[0, what])
        if number < FEWEST:
            ranges.append(Range(expected / 2, expected, expected * 2))
            continue
        low, high = (float(bound) for bound in np.percentile(total[1:, what], (5, 95)))
        wider = (1 + 0.93 / (number - 1)) * ((number + 1) / (number - 1)) ** 0.5  # Student's t; the bootstrap's n + 1
        besides = Z90 * float(lengths[what] + by_chance[what] ** 2) ** 0.5
        below = float(np.hypot(max(0.0, expected - low) * wider, besides))
        above = float(np.hypot(max(0.0, high - expected) * wider, besides))
        ranges.append(Range(max(0.0, expected - below), expected, expected + above))
    return Forecast(*ranges)


def _of(language: str, sample: Sequence[Observation]) -> list[Observation]:
    """The answers that tell how long those of a language are."""
    useful = [one for one in sample if one.usable]
    own = [one for one in useful if one.language == language]
    return own if len(own) >= FEWEST else useful


def _as_in(language: str, sample: Sequence[Observation]) -> list[Observation]:
    """The sample as if all of it were in one language: of its usual length."""
    length = {at: _length(_of(at, sample)) for at in {language, *(one.language for one in sample)}}
    found = []
    for one in sample:
        (own_in, own_out), (its_in, its_out) = length[language], length[one.language]
        longer_in, longer_out = own_in / its_in if its_in else 1.0, own_out / its_out if its_out else 1.0
        found.append(
            replace(
                one, input_tokens=one.input_tokens * longer_in, output_tokens=one.output_tokens * longer_out,
                usd=(one.usd - one.output_usd) * longer_in + one.output_usd * longer_out,
                output_usd=one.output_usd * longer_out,
            )
        )  # fmt: skip
    return found


def _length(sample: Sequence[Observation]) -> tuple[float, float]:
    """Input tokens of a request and output tokens of a text, on average."""
    if not sample:
        return 0.0, 0.0
    asked = sum(one.count for one in sample)
    return sum(one.input_tokens for one in sample) / len(sample), sum(one.output_tokens for one in sample) / asked


def _variation(sample: Sequence[Observation]) -> Floats:
    """Standard deviations of a request's costs, as shares of their means."""
    if len(sample) < 2:
        return np.zeros(4)
    rows = np.array([_cost(one, 1) for one in sample])
    variation: Floats = rows.std(axis=0, ddof=1) / np.maximum(rows.mean(axis=0), 1e-12)
    return variation


def _costs(sample: Sequence[Observation], weights: Floats, most: int, max_attempts: int) -> list[list[Floats]]:
    """What it still costs, under each weighting, to fill a place: by attempts made, then by texts that it lacks."""
    shares = np.array([one.share for one in sample] + [0.0, 1.0])
    attempt, moves = [], []  # by texts lacking: an attempt's cost, and how likely it leaves so many lacking
    for need in range(1, most + 1):
        rows = np.array([_cost(one, need) for one in sample])
        attempt.append(weights @ np.vstack([rows, rows.mean(axis=0), rows.mean(axis=0)]))
        brought = np.floor(shares * need + 1e-9).astype(int)
        rest = shares * need - brought
        after = np.zeros((len(shares), need + 1))
        index = np.arange(len(shares))
        after[index, need - brought] = 1 - rest
        after[index, np.maximum(need - brought - 1, 0)] += rest * (brought < need)
        moves.append(weights @ after)
    none: Floats = np.zeros((DRAWS + 1, 4))
    costs = [[none] * (most + 1)]
    for _ in range(max_attempts):
        later = costs[0]
        now = [none]
        for need in range(1, most + 1):
            onward = sum((moves[need - 1][:, [left]] * later[left] for left in range(1, need + 1)), start=none)
            now.append(attempt[need - 1] + onward)
        costs.insert(0, now)
    return costs


def _cost(one: Observation, need: int) -> tuple[float, float, float, float]:
    """What that request would have cost if it had asked for `need` texts."""
    share = 1.0 if one.refused else need / one.count
    return float(one.requests), one.input_tokens, one.output_tokens * share, one.usd - one.output_usd * (1 - share)


def _spread(sample: Sequence[Observation]) -> Floats:
    """Standard deviations of a request's costs, and of the number of requests that a place needs."""
    rows = np.array([_cost(one, one.count) for one in sample])
    spread: Floats = rows.std(axis=0)
    share = max(0.05, float(np.mean([one.share for one in sample])))
    spread[REQUESTS] = (1 - share) ** 0.5 / share * float(np.mean([one.requests for one in sample]))
    return spread
