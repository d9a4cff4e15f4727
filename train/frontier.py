"""The frontier of a sweep: its Pareto set, the rule that chooses, the table and the plot."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from curation.errors import InputError, NotFound, did_you_mean
from train.config import FuseSettings


@dataclass(frozen=True, slots=True)
class Measured:
    """A candidate, or one of the adapters alone or the bare base for comparison (`method` alone, base)."""

    candidate: str
    method: str
    weights: tuple[float, ...]
    harmfulness: float
    over_refusal: float
    utility: float
    rank: int
    delta_error: float
    seconds: float


def pareto_set(candidates: Sequence[Measured]) -> frozenset[str]:
    """Those that no other beats: less or as harmful, as little over-refusal, as useful, and better in one of the three."""

    def beats(one: Measured, other: Measured) -> bool:
        left = (one.harmfulness, one.over_refusal, -one.utility)
        right = (other.harmfulness, other.over_refusal, -other.utility)
        return left != right and all(a <= b for a, b in zip(left, right, strict=True))

    return frozenset(one.candidate for one in candidates if not any(beats(other, one) for other in candidates))


def choose(candidates: Sequence[Measured], settings: FuseSettings) -> tuple[Measured, str]:
    """The candidate to keep, and the rule in words.

    Raises:
        NotFound: `choose` names none of them.
        InputError: none satisfies the rule.
    """
    if settings.choose:
        names = {one.candidate: one for one in candidates}
        if settings.choose not in names:
            raise NotFound(f"choose={settings.choose}: no such candidate.{did_you_mean(settings.choose, names)}")
        return names[settings.choose], f"choose={settings.choose}"
    best = max(one.utility for one in candidates)
    rule = (
        f"the least harmful with utility within {settings.tolerance:g} of the best ({best:.3f}) "
        f"and over-refusal of at most {settings.max_over_refusal:g}"
    )
    fit = [
        one for one in candidates
        if one.utility >= best - settings.tolerance and one.over_refusal <= settings.max_over_refusal
    ]  # fmt: skip
    if not fit:
        raise InputError(
            f"no candidate is {rule}; frontier.csv has them all: keep one by choose=..., or widen the limits"
        )
    return min(fit, key=lambda one: (one.harmfulness, one.over_refusal, -one.utility, one.rank)), rule


def write_table(
    folder: Path,
    candidates: Sequence[Measured],
    references: Sequence[Measured],
    pareto: frozenset[str],
    chosen: Measured | None,
) -> None:
    scratch = folder / ".frontier.csv.part"
    with scratch.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*Measured.__dataclass_fields__, "pareto", "chosen"])
        writer.writeheader()
        for one in [*candidates, *references]:
            weights = " ".join(f"{weight:g}" for weight in one.weights)
            writer.writerow(
                {**asdict(one), "weights": weights, "pareto": one.candidate in pareto, "chosen": one is chosen}
            )
    scratch.replace(folder / "frontier.csv")
