"""How well two judges of the same examples agree, beyond what chance would give: Cohen's kappa."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

Z_95 = 1.959964  # 97.5 % quantile of the normal distribution


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two raters said of the same things.

    Args:
        table: (one's word, the other's word) -> how often.
        left_out: pairs in which one of them had no word to compare.
        kappa: None where it is undefined: fewer than two pairs, or both said the same one word throughout.
        interval: of kappa, 95 %; None where it is undefined, or where all pairs agree and its variance says nothing.
    """

    table: dict[tuple[str, str], int]
    left_out: int
    kappa: float | None
    interval: tuple[float, float] | None

    @property
    def n(self) -> int:
        return sum(self.table.values())

    @property
    def same(self) -> int:
        return sum(count for (one, other), count in self.table.items() if one == other)

    @property
    def words(self) -> list[str]:
        """All words that were said, sorted."""
        return sorted({word for pair in self.table for word in pair})

    def described(self) -> str:
        """`kappa 0.68 (95 % interval 0.51 to 0.85), 89 of 100 the same`."""
        if not self.n:
            return "kappa undefined: no pairs to compare"
        shares = f"{self.same:,} of {self.n:,} the same ({self.same / self.n:.0%})"
        if self.kappa is None:
            why = "one pair is too few" if self.n == 1 else f"both only ever said {self.words[0]!r}"
            return f"kappa undefined ({why}), {shares}"
        if self.interval is None:
            return f"kappa {self.kappa:.2f}, {shares}"
        low, high = self.interval
        return f"kappa {self.kappa:.2f} (95 % interval {low:.2f} to {high:.2f}), {shares}"


def agreement(pairs: Sequence[tuple[str | None, str | None]]) -> Agreement:
    """Cohen's kappa of paired words; a pair with a None in it is left out and counted.

    Source:
        Cohen (1960), A coefficient of agreement for nominal scales; the interval is kappa +- 1.96 standard errors by the
        large-sample variance of Fleiss, Cohen and Everitt (1969), cut at -1 and 1. It is too narrow for few pairs.
    """
    said = [(one, other) for one, other in pairs if one is not None and other is not None]
    table = dict(sorted(Counter(said).items()))
    kappa, error = _kappa(table, len(said)) if len(said) > 1 else (None, 0.0)
    interval = None
    if kappa is not None and error:
        interval = max(-1.0, kappa - Z_95 * error), min(1.0, kappa + Z_95 * error)
    return Agreement(table, len(pairs) - len(said), kappa, interval)


def _kappa(table: dict[tuple[str, str], int], n: int) -> tuple[float | None, float]:
    """Kappa and its standard error."""
    rows: Counter[str] = Counter()
    columns: Counter[str] = Counter()
    for (one, other), count in table.items():
        rows[one] += count
        columns[other] += count
    observed = sum(count for (one, other), count in table.items() if one == other) / n
    expected = sum(rows[word] * columns[word] for word in rows) / n**2
    if sum(rows[word] * columns[word] for word in rows) == n**2:
        return None, 0.0
    kappa = (observed - expected) / (1 - expected)
    agreed = sum(
        table.get((word, word), 0) / n * (1 - (rows[word] + columns[word]) / n * (1 - kappa)) ** 2 for word in rows
    )
    differed = (1 - kappa) ** 2 * sum(
        count / n * ((columns[one] + rows[other]) / n) ** 2 for (one, other), count in table.items() if one != other
    )
    variance = (agreed + differed - (kappa - expected * (1 - kappa)) ** 2) / (n * (1 - expected) ** 2)
    return kappa, sqrt(max(0.0, variance)) if variance > 1e-12 else 0.0
