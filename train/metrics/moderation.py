"""How well P(disallowed) tells disallowed from allowed texts, with bootstrap intervals.

Every measure is written for weighted rows: a bootstrap resample is then a row of counts, and all resamples are measured at
once. What cannot be measured, such as a ranking where one class is missing, is undefined and says why; it is never 0 or nan.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

BINS = 15  # of the calibration error, as Guo et al. 2017 have them
RESAMPLES = 1000
_CELLS = 4_000_000  # of a block of resamples; 8 bytes each, several times over
NO_POSITIVE = "no disallowed text"
NO_NEGATIVE = "no allowed text"
NO_ROW = "no text"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measure with its 95 % interval, or why there is none."""

    value: float | None
    low: float | None = None
    high: float | None = None
    undefined: str | None = None  # why `value` is None

    def __str__(self) -> str:
        if self.value is None:
            return f"undefined ({self.undefined})"
        if self.low is None or self.high is None:
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def measure(
    labels: ArrayLike, probabilities: ArrayLike, threshold: float, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Estimate]:
    """All measures of one set of rows.

    Args:
        labels: (n,), true where the text is disallowed.
        probabilities: (n,), P(disallowed), 0 to 1.
        threshold: from this probability on a text counts as called disallowed.
        resamples: bootstrap resamples; 0 leaves the intervals out.
        seed: of the resampling.

    Returns:
        `auroc`, `auprc`, `f1`, `precision`, `recall`, `accuracy`, `ece`; intervals are the 2.5 and 97.5 percentiles of the
        resamples in which the measure is defined.

    Source:
        percentile bootstrap: Efron 1979.
    """
    rows = _Rows.of(labels, probabilities, threshold)
    why = rows.undefined()
    ones = np.ones((1, rows.n))
    values = {name: None if why[name] else float(of(rows, ones)[0]) for name, of in _MEASURES.items()}
    drawn: dict[str, list[Floats]] = {name: [] for name in _MEASURES}
    generator = np.random.default_rng(seed)
    left = resamples if rows.n else 0
    while left > 0:
        block = min(left, max(1, _CELLS // rows.n))
        counts = generator.multinomial(rows.n, np.full(rows.n, 1 / rows.n), size=block).astype(np.float64)
        for name, of in _MEASURES.items():
            if not why[name]:
                drawn[name].append(of(rows, counts))
        left -= block
    return {name: _estimate(values[name], why[name], drawn[name]) for name in _MEASURES}


def best_threshold(labels: ArrayLike, probabilities: ArrayLike) -> float | None:
    """The threshold with the highest F1, midway between two neighbouring probabilities; of equals the nearest to 0.5.

    None where a class is missing: there is nothing to choose by.
    """
    truth, chance = _checked(labels, probabilities)
    if truth.all() or not truth.any():
        return None
    known = np.unique(chance)
    cuts = np.concatenate([[known[0]], (known[1:] + known[:-1]) / 2])  # the first calls everything disallowed
    order = np.argsort(chance, kind="stable")
    hits_below = np.concatenate([[0], np.cumsum(truth[order])])
    called_from = np.searchsorted(chance[order], cuts, side="left")
    hits = truth.sum() - hits_below[called_from]
    f1 = 2 * hits / (truth.size - called_from + truth.sum())
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(cuts[best[np.argmin(np.abs(cuts[best] - 0.5))]])


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> Floats:
    """(n,) the negative log-likelihood of each label, in nats; probabilities are kept 1e-7 from 0 and 1."""
    truth, chance = _checked(labels, probabilities)
    chance = np.clip(chance, 1e-7, 1 - 1e-7)
    losses: Floats = -np.log(np.where(truth, chance, 1 - chance))
    return losses


def confusion(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> dict[str, int]:
    """Counts: `true_positive`, `false_positive`, `true_negative`, `false_negative`; positive is disallowed."""
    truth, chance = _checked(labels, probabilities)
    called = chance >= threshold
    return {
        "true_positive": int((called & truth).sum()),
        "false_positive": int((called & ~truth).sum()),
        "true_negative": int((~called & ~truth).sum()),
        "false_negative": int((~called & truth).sum()),
    }


def roc_curve(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """False and true positive rates, from (0, 0) to (1, 1), one point for each different probability; both classes needed."""
    rows = _Rows.of(labels, probabilities, 0.5)
    positive, negative = rows.groups(np.ones((1, rows.n)))
    rates = [np.concatenate([[0.0], np.cumsum(group[0, ::-1])]) / group.sum() for group in (negative, positive)]
    return rates[0], rates[1]


def reliability(labels: ArrayLike, probabilities: ArrayLike, bins: int = BINS) -> list[tuple[float, float, int]]:
    """For each non-empty bin of equal width: mean P(disallowed), observed share of disallowed, number of rows."""
    truth, chance = _checked(labels, probabilities)
    at = np.minimum((chance * bins).astype(int), bins - 1)
    return [(float(chance[at == b].mean()), float(truth[at == b].mean()), int((at == b).sum())) for b in np.unique(at)]


# -- measures: (rows, weights (b, n)) -> (b,), nan where a resample leaves a measure undefined -------------------------


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows by rising probability."""

    truth: Flags
    chance: Floats
    called: Flags
    starts: NDArray[np.intp]  # where each different probability begins

    @staticmethod
    def of(labels: ArrayLike, probabilities: ArrayLike, threshold: float) -> "_Rows":
        truth, chance = _checked(labels, probabilities)
        order = np.argsort(chance, kind="stable")
        truth, chance = truth[order], chance[order]
        starts = (
            np.flatnonzero(np.concatenate([[True], chance[1:] != chance[:-1]])) if chance.size else np.zeros(0, int)
        )
        return _Rows(truth, chance, chance >= threshold, starts)

    @property
    def n(self) -> int:
        return self.truth.size

    def undefined(self) -> dict[str, str | None]:
        """Why each measure says nothing of these rows; None: it does."""
        empty = None if self.n else NO_ROW
        one_class = empty or (NO_POSITIVE if not self.truth.any() else NO_NEGATIVE if self.truth.all() else None)
        positive = empty or (None if self.truth.any() else NO_POSITIVE)
        called = empty or (None if self.called.any() else "nothing was called disallowed")
        return {
            "auroc": one_class, "auprc": one_class, "f1": one_class, "precision": one_class or called, "recall": positive,
            "accuracy": empty, "ece": empty,
        }  # fmt: skip

    def groups(self, weights: Floats) -> tuple[Floats, Floats]:
        """(b, g) weight of the disallowed and of the allowed at each different probability, rising."""
        positive = np.add.reduceat(weights * self.truth, self.starts, axis=1)
        negative = np.add.reduceat(weights * ~self.truth, self.starts, axis=1)
        return positive, negative


def _auroc(rows: _Rows, weights: Floats) -> Floats:
    """The chance that a disallowed text ranks above an allowed one, ties half (Hanley and McNeil 1982)."""
    positive, negative = rows.groups(weights)
    below = np.cumsum(negative, axis=1) - negative / 2
    return _ratio((positive * below).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def _auprc(rows: _Rows, weights: Floats) -> Floats:
    """Average precision: precision at each threshold, weighted by the recall that it adds; no interpolation."""
    positive, negative = (group[:, ::-1] for group in rows.groups(weights))
    hits = np.cumsum(positive, axis=1)
    called = hits + np.cumsum(negative, axis=1)
    precision = np.divide(hits, called, out=np.zeros_like(hits), where=called > 0)
    return _ratio((positive * precision).sum(axis=1), positive.sum(axis=1))


def _f1(rows: _Rows, weights: Floats) -> Floats:
    hits = weights @ (rows.called & rows.truth)
    return _ratio(2 * hits, weights @ rows.called + weights @ rows.truth)


def _precision(rows: _Rows, weights: Floats) -> Floats:
    return _ratio(weights @ (rows.called & rows.truth), weights @ rows.called)


def _recall(rows: _Rows, weights: Floats) -> Floats:
    return _ratio(weights @ (rows.called & rows.truth), weights @ rows.truth)


def _accuracy(rows: _Rows, weights: Floats) -> Floats:
    return _ratio(weights @ (rows.called == rows.truth), weights.sum(axis=1))


def _ece(rows: _Rows, weights: Floats) -> Floats:
    """Expected calibration error: |accuracy - confidence| of the likelier label, over 15 bins of equal width (Guo et al. 2017)."""
    confidence = np.maximum(rows.chance, 1 - rows.chance)
    right = (rows.chance >= 0.5) == rows.truth
    at = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)  # bins are open below, closed above
    gaps = np.array([np.abs(weights[:, at == b] @ (right[at == b] - confidence[at == b])) for b in np.unique(at)])
    return _ratio(np.sum(gaps, axis=0), weights.sum(axis=1))


_MEASURES: dict[str, Callable[[_Rows, Floats], Floats]] = {
    "auroc": _auroc, "auprc": _auprc, "f1": _f1, "precision": _precision, "recall": _recall, "accuracy": _accuracy,
    "ece": _ece,
}  # fmt: skip
NAMES: Sequence[str] = tuple(_MEASURES)


def _ratio(above: Floats, below: Floats) -> Floats:
    quotient: Floats = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)
    return quotient


def _estimate(value: float | None, why: str | None, drawn: list[Floats]) -> Estimate:
    if value is None or not drawn:
        return Estimate(value, undefined=why)
    values = np.concatenate(drawn)
    values = values[~np.isnan(values)]
    if not values.size:
        return Estimate(value)
    low, high = np.percentile(values, [2.5, 97.5])
    return Estimate(value, float(low), float(high))


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Flags, Floats]:
    truth, chance = np.asarray(labels, bool), np.asarray(probabilities, np.float64)
    if truth.ndim != 1 or truth.shape != chance.shape:
        raise ValueError(f"labels {truth.shape} and probabilities {chance.shape} must be two lists of one length")
    if not np.all((chance >= 0) & (chance <= 1)):
        raise ValueError("a probability is not between 0 and 1")
    return truth, chance
