"""How reliable several people's words are: Krippendorff's alpha and Cohen's kappa, with intervals from resampled examples.

Examples on which everybody said the same are one row with a count, so that a thousand resamples of 100,000 examples are a few
products of small matrices. (The package `krippendorff` is under the GPL, and resamples nothing.)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Level = Literal["nominal", "ordinal"]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]
Interval = tuple[float, float]

AT_ONCE = 100  # resamples
DEFINED = 0.95  # of the resamples must have a figure, or there is no interval


@dataclass(frozen=True, slots=True)
class Sample:
    """What raters said of examples.

    Args:
        raters: their names.
        values: all words, in order where the measure is ordinal.
        said: (patterns, raters) the place in `values` of a rater's word; -1 where there is none.
        times: (patterns,) how many examples have this pattern.
    """

    raters: tuple[str, ...]
    values: tuple[str, ...]
    said: I64
    times: I64

    @property
    def units(self) -> int:
        """Examples with words of at least two."""
        return int(self.times[(self.said >= 0).sum(axis=1) > 1].sum())


@dataclass(frozen=True, slots=True)
class Figure:
    """How well the raters of a sample agree.

    Args:
        units: examples on which at least two spoke.
        same: share of the pairs of words on one example that are equal; None without pairs.
        alpha: Krippendorff's; None where all words are one and the same, or there are no pairs.
        kappa: Cohen's of two raters; of more, the mean over their pairs, weighted by the examples they share.
        alpha_interval, kappa_interval: 95 %; None where too few resamples have a figure.
    """

    units: int
    raters: int
    same: float | None
    alpha: float | None
    alpha_interval: Interval | None
    kappa: float | None
    kappa_interval: Interval | None


def sample(patterns: Mapping[frozenset[tuple[str, str]], int], values: Sequence[str] | None = None) -> Sample:
    """A sample from what was said ({(rater, word), ...}) and how often; `values` gives an ordinal measure its order."""
    raters = sorted({rater for pattern in patterns for rater, _ in pattern})
    words = list(values) if values is not None else sorted({word for pattern in patterns for _, word in pattern})
    column, place = {r: i for i, r in enumerate(raters)}, {w: i for i, w in enumerate(words)}
    said = np.full((len(patterns), len(raters)), -1, np.int64)
    for row, pattern in enumerate(patterns):
        for rater, word in pattern:
            said[row, column[rater]] = place[word]
    return Sample(tuple(raters), tuple(words), said, np.fromiter(patterns.values(), np.int64, len(patterns)))


def figure(
    found: Sample,
    level: Level = "nominal",
    *,
    pairs: Sequence[tuple[str, str]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Alpha and kappa of a sample.

    Args:
        pairs: compare the first of each pair with the second and add all these comparisons up, as if one rater had made
            them; alpha is left out then. None: every two raters, each by themselves.
        resamples: how often the examples are drawn anew, with replacement, for the percentile intervals; 0 leaves them out.

    Source:
        Krippendorff (2011), Computing Krippendorff's alpha-reliability. Cohen (1960); for ordinal words Cohen (1968) with
        weights of the squared distance; the mean over pairs is Light's (1971). Efron and Tibshirani (1993), chapter 13.
    """
    if not found.units:
        return Figure(0, len(found.raters), None, None, None, None, None)
    whole = found.times[None, :].astype(np.float64)
    coincide, compare = _coincidences(found), _comparisons(found, pairs)
    weigh = _weights(len(found.values), level)

    def both(weights: F64) -> tuple[F64, F64]:
        kappa = _kappa(weights, compare, len(found.values), weigh, pooled=pairs is not None)
        return (_alpha(weights, coincide, level) if pairs is None else np.full(len(weights), np.nan)), kappa

    alpha, kappa = both(whole)
    drawn = [both(weights) for weights in _drawn(found.times, resamples, seed)]
    again = [np.concatenate([part[k] for part in drawn]) for k in (0, 1)] if drawn else [np.empty(0)] * 2
    equal, total = _same(found, pairs)
    return Figure(
        found.units, len(found.raters), equal / total if total else None,
        _known(alpha), _interval(again[0]), _known(kappa), _interval(again[1]),
    )  # fmt: skip


def wilson(changed: int, checked: int) -> Interval:
    """The 95 % interval of a share. Source: Wilson (1927)."""
    if not checked:
        return 0.0, 1.0
    z, share = 1.959964, changed / checked
    middle = share + z * z / (2 * checked)
    half = z * np.sqrt(share * (1 - share) / checked + z * z / (4 * checked**2))
    low, high = (middle - half) / (1 + z * z / checked), (middle + half) / (1 + z * z / checked)
    return max(0.0, float(low)), min(1.0, float(high))


# -- alpha ---------------------------------------------------------------------------------------------------------


def _coincidences(found: Sample) -> F64:
    """(patterns, values, values): what an example of each pattern adds to the matrix of coincidences."""
    counts = (found.said[:, :, None] == np.arange(len(found.values))).sum(axis=1).astype(np.float64)
    spoke = counts.sum(axis=1)
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(found.values))
    return np.asarray(np.where(spoke > 1, 1 / np.maximum(spoke - 1, 1), 0)[:, None, None] * pairs)


def _alpha(weights: F64, coincide: F64, level: Level) -> F64:
    """(resamples,) alpha by weights (resamples, patterns); not a number where it is undefined."""
    patterns, size, _ = coincide.shape
    together = (weights @ coincide.reshape(patterns, -1)).reshape(-1, size, size)
    each = together.sum(axis=2)
    if level == "ordinal":
        middle = np.cumsum(each, axis=1) - each / 2
        distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    else:
        distance = np.broadcast_to(1 - np.eye(size), together.shape)
    by_chance = (each[:, :, None] * each[:, None, :] * distance).sum(axis=(1, 2))
    observed = (together * distance).sum(axis=(1, 2)) * (each.sum(axis=1) - 1)
    return np.where(by_chance > 0, 1 - observed / np.where(by_chance > 0, by_chance, 1), np.nan)


# -- kappa ---------------------------------------------------------------------------------------------------------


def _comparisons(found: Sample, pairs: Sequence[tuple[str, str]] | None) -> list[tuple[I64, I64]]:
    """For each pair of raters who share examples: the patterns, and the cell of their table that each falls into."""
    column = {rater: at for at, rater in enumerate(found.raters)}
    compared = []
    for one, other in combinations(found.raters, 2) if pairs is None else pairs:
        a, b = found.said[:, column[one]], found.said[:, column[other]]
        shared = np.flatnonzero((a >= 0) & (b >= 0))
        if len(shared):
            compared.append((shared, a[shared] * len(found.values) + b[shared]))
    return compared


def _weights(size: int, level: Level) -> F64:
    place = np.arange(size)
    if level == "ordinal":
        return ((place[:, None] - place[None, :]) / max(1, size - 1)) ** 2
    return 1 - np.eye(size)


def _kappa(weights: F64, compare: list[tuple[I64, I64]], size: int, weigh: F64, *, pooled: bool) -> F64:
    """(resamples,) the mean of the pairs' kappas, or the kappa of all their comparisons; not a number where undefined."""
    total, shared = np.zeros(len(weights)), np.zeros(len(weights))
    tables = [_table(weights, rows, cells, size) for rows, cells in compare]
    for table in [sum(tables[1:], tables[0])] if pooled and tables else tables:
        n = table.sum(axis=(1, 2))
        expected = (table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None, :] * weigh).sum(axis=(1, 2))
        defined = (expected > 0) & (n > 1)
        kappa = 1 - (table * weigh).sum(axis=(1, 2)) * n / np.where(defined, expected, 1)
        total += np.where(defined, kappa * n, 0)
        shared += np.where(defined, n, 0)
    return np.where(shared > 0, total / np.where(shared > 0, shared, 1), np.nan)


def _table(weights: F64, rows: I64, cells: I64, size: int) -> F64:
    """(resamples, values, values): how often one rater said this and the other that."""
    table = np.zeros((len(weights), size * size))
    for cell in np.unique(cells):
        table[:, cell] = weights[:, rows[cells == cell]].sum(axis=1)
    return table.reshape(-1, size, size)


# -- the rest ------------------------------------------------------------------------------------------------------


def _same(found: Sample, pairs: Sequence[tuple[str, str]] | None) -> tuple[int, int]:
    """Pairs of equal words on one example, and all pairs."""
    equal = total = 0
    for rows, cells in _comparisons(found, pairs):
        total += int(found.times[rows].sum())
        equal += int(found.times[rows[cells % (len(found.values) + 1) == 0]].sum())
    return equal, total


def _drawn(times: I64, resamples: int, seed: int) -> Iterator[F64]:
    """Weights of the patterns in the resamples, some at a time."""
    units = int(times.sum())
    if not units:
        return
    dice = np.random.Generator(np.random.PCG64(seed))
    for low in range(0, resamples, AT_ONCE):
        yield dice.multinomial(units, times / units, size=min(AT_ONCE, resamples - low)).astype(np.float64)


def _known(value: F64) -> float | None:
    return None if not len(value) or np.isnan(value[0]) else float(value[0])


def _interval(drawn: F64) -> Interval | None:
    good = drawn[~np.isnan(drawn)]
    if not len(drawn) or len(good) < DEFINED * len(drawn):
        return None
    low, high = np.percentile(good, (2.5, 97.5))
    return float(low), float(high)
