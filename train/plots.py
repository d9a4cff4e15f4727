"""The pictures of a run, of an evaluation and of a sweep, as PNG files."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from train.metrics import moderation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from train.frontier import Measured

_INK, _SOFT, _BARS, _MARK = "#1f4e79", "#9aa5b1", "#cfe0f0", "#c0392b"
_OTHERS = ("#e08214", "#4d9221", "#8e44ad", "#7f8c8d")  # beside _INK


def roc(path: Path, curves: Sequence[tuple[str, ArrayLike, ArrayLike]]) -> None:
    """The ROC curves of several models, with their areas.

    Args:
        curves: (name, labels (n,), P(disallowed) (n,)); both classes must be there.
    """
    with _figure(path, (5, 4.8)) as figure:
        axes = figure.add_subplot()
        for at, (name, labels, probabilities) in enumerate(curves):
            false_rate, true_rate = moderation.roc_curve(labels, probabilities)
            area = moderation.measure(labels, probabilities, 0.5, resamples=0)["auroc"].value
            colour = _INK if at == 0 else _OTHERS[(at - 1) % len(_OTHERS)]
            axes.plot(false_rate, true_rate, label=f"{name}: AUROC {area:.3f}", color=colour, lw=2 if at == 0 else 1.2)
        axes.plot([0, 1], [0, 1], color=_SOFT, ls=":", lw=1, label="chance")
        axes.set(
            xlabel="allowed texts called disallowed, share",
            ylabel="disallowed texts caught, share",
            title="ROC",
            aspect="equal",
            xlim=(-0.02, 1.02),
            ylim=(-0.02, 1.02),
        )
        axes.legend(loc="lower right", frameon=False, fontsize="small")


def reliability(path: Path, labels: ArrayLike, probabilities: ArrayLike) -> None:
    """Observed share of disallowed texts against P(disallowed), in 15 bins of equal width, each with its 95 % interval (Wilson 1927),
    over a histogram of the probabilities. A bin of few texts says little, which its interval shows."""
    points = moderation.reliability(labels, probabilities)
    total = sum(count for _, _, count in points)
    chances, shares = [p for p, _, _ in points], [share for _, share, _ in points]
    intervals = [_wilson(share, count) for _, share, count in points]
    spans = [
        [max(0.0, share - low) for share, (low, _) in zip(shares, intervals, strict=True)],
        [max(0.0, high - share) for share, (_, high) in zip(shares, intervals, strict=True)],
    ]
    with _figure(path, (5, 5.4)) as figure:
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        axes.plot([0, 1], [0, 1], color=_SOFT, ls=":", lw=1, label="perfectly calibrated")
        axes.errorbar(chances, shares, yerr=spans, fmt="o", color=_INK, ecolor=_SOFT, label="observed, 95 % interval")
        axes.set(ylabel="share that is disallowed", title="Reliability", ylim=(-0.04, 1.24))
        axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1])
        axes.legend(loc="upper left", frameon=False, fontsize="small")
        below.hist(probabilities, bins=moderation.BINS, range=(0, 1), color=_BARS, edgecolor="white")
        below.set(xlabel="P(disallowed)", ylabel=f"texts, of {total:,}", xlim=(0, 1))


def _wilson(share: float, count: int) -> tuple[float, float]:
    z = 1.96
    middle = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return (middle - half) / (1 + z * z / count), (middle + half) / (1 + z * z / count)


def confusion(path: Path, counts: dict[str, int], threshold: float) -> None:
    """The four counts at a threshold, and each one's share of its row, which is its colour."""
    table = [
        [counts["true_negative"], counts["false_positive"]],
        [counts["false_negative"], counts["true_positive"]],
    ]
    shares = [[count / max(1, sum(row)) for count in row] for row in table]
    with _figure(path, (4.6, 4.6)) as figure:
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.2)
        for y, row in enumerate(table):
            for x, count in enumerate(row):
                axes.text(
                    x, y, f"{count:,}\n{shares[y][x]:.1%} of row", ha="center", va="center",
                    color="white" if shares[y][x] > 0.6 else "black",
                )  # fmt: skip
        axes.set_xticks([0, 1], ["allowed", "disallowed"])
        axes.set_yticks([0, 1], ["allowed", "disallowed"], rotation=90, va="center")
        axes.set(xlabel="called", ylabel="truly", title=f"Called disallowed from P = {threshold:.3f} on")


def intents(path: Path, table: Mapping[str, Mapping[str, int]]) -> None:
    """What each intent was called, as counts, shaded by the share of the intent's turns.

    Args:
        table: intent -> what it was called -> turns.
    """
    columns = list(table) + sorted({name for row in table.values() for name in row} - set(table))
    counts = [[row.get(name, 0) for name in columns] for row in table.values()]
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    side = max(4.5, 0.42 * len(columns))
    with _figure(path, (side + 1.5, 0.42 * len(table) + 2.8)) as figure:
        axes = figure.add_subplot()
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for y, row in enumerate(counts):
            for x, count in enumerate(row):
                if count:
                    axes.text(
                        x, y, f"{count:,}", ha="center", va="center", fontsize=8,
                        color="white" if shares[y][x] > 0.5 else "black",
                    )  # fmt: skip
        axes.set_xticks(range(len(columns)), columns, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
        axes.set_yticks(range(len(table)), list(table), fontsize=8)
        axes.set(xlabel="called", ylabel="is", title="Intents (turns, shaded by the share of the row)")


def learning(path: Path, points: Sequence[tuple[int, float]], title: str) -> None:
    """AUROC on held-out rows over the steps of a run: `points` are (step, AUROC)."""
    with _figure(path, (6, 4)) as figure:
        axes = figure.add_subplot()
        axes.axhline(0.5, color=_SOFT, ls=":", lw=1, label="chance")
        axes.plot([step for step, _ in points], [value for _, value in points], "o-", color=_INK, label="held out")
        for step, value in {points[0], points[-1]}:
            axes.annotate(
                f"{value:.3f}",
                (step, value),
                xytext=(0, -14),
                textcoords="offset points",
                ha="center",
                fontsize="small",
            )
        axes.set(xlabel="step (0: before training)", ylabel="AUROC", title=title, ylim=(0, 1.03))
        axes.margins(x=0.07)
        axes.legend(loc="lower right", frameon=False, fontsize="small")


def loss(path: Path, curves: Mapping[str, Sequence[tuple[int, float]]], title: str, unit: str) -> None:
    """Curves over the steps of a run: {name: (step, value) points}; the first is drawn as a line, the others with their points."""
    with _figure(path, (7, 4)) as figure:
        axes = figure.add_subplot()
        for at, (name, points) in enumerate(curves.items()):
            if points:
                colour, style = (_INK, "-") if at == 0 else (_OTHERS[0], "o--")
                axes.plot(*zip(*points, strict=True), style, color=colour, ms=4, label=name)
        axes.set(xlabel="step", ylabel=unit, title=title)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)


def rewards(path: Path, lines: Sequence[Mapping[str, Any]], weights: Mapping[str, float], title: str) -> None:
    """A panel for each reward function and one for their weighted sum, over the steps of a run.

    Args:
        lines: of metrics.jsonl, those of training: step, reward, reward/NAME. A step on which nothing was scored has no point.
        weights: of the functions, in the order of their panels.
    """
    panels = [("reward", "weighted sum"), *((f"reward/{name}", f"{name} x {weights[name]:g}") for name in weights)]
    columns = 3 if len(panels) > 4 else 2
    height = -(-len(panels) // columns)
    with _figure(path, (3.1 * columns, 2 * height + 0.6)) as figure:
        grid = figure.subplots(height, columns, sharex=True, squeeze=False)
        for place, axes in enumerate(grid.flat):
            if place >= len(panels):
                axes.set_visible(False)
                continue
            key, name = panels[place]
            points = [(line["step"], line[key]) for line in lines if line.get(key) is not None]
            axes.set_title(name, fontsize="small")
            axes.grid(alpha=0.3)
            axes.tick_params(labelsize="small")
            if key != "reward":
                axes.set_ylim(-0.05, 1.05)
            if points:
                marker = "." if len(points) < 40 else ""
                axes.plot(*zip(*points, strict=True), color=_MARK if key == "reward" else _INK, lw=1.4, marker=marker)
                if key == "reward":
                    axes.set_ylim(
                        bottom=min(0.0, *(value for _, value in points)),
                        top=max(0.1, *(1.1 * value for _, value in points)),
                    )
            else:
                axes.text(0.5, 0.5, "nothing scored", transform=axes.transAxes, ha="center", va="center", color=_SOFT)
        figure.suptitle(title)
        figure.supxlabel("step", fontsize="medium")
        figure.supylabel("mean over the scored answers", fontsize="medium")


def frontier(
    path: Path, candidates: Sequence["Measured"], references: Sequence["Measured"], pareto: frozenset[str],
    chosen: "Measured | None",
) -> None:  # fmt: skip
    """Harmfulness against utility; the colour is over-refusal, rings mark the Pareto set, a star the chosen one.

    Points are numbered and named beside the axes, as neighbours' names would lie on each other.
    """
    named = sorted((one for one in candidates if one.candidate in pareto), key=lambda one: -one.utility)
    if chosen is not None and chosen not in named:
        named.append(chosen)
    listed = [*named, *references]
    with _figure(path, (11, max(4.8, 0.16 * len(listed) + 1.5))) as figure:
        axes, side = figure.subplots(1, 2, width_ratios=(3, 2))
        most = max(0.1, *(one.over_refusal for one in candidates))
        shown = axes.scatter(
            [one.utility for one in candidates], [one.harmfulness for one in candidates],
            c=[one.over_refusal for one in candidates], cmap="viridis_r", vmin=0, vmax=most, s=40, label="candidate",
        )  # fmt: skip
        edge = [one for one in named if one.candidate in pareto]
        axes.scatter(
            [one.utility for one in edge], [one.harmfulness for one in edge], s=130, facecolors="none",
            edgecolors=_MARK, label="Pareto set",
        )  # fmt: skip
        if chosen:
            axes.scatter([chosen.utility], [chosen.harmfulness], marker="*", s=60, color=_MARK, label="chosen")
        axes.scatter(
            [one.utility for one in references], [one.harmfulness for one in references], marker="x", color=_OTHERS[-1],
            label="an adapter alone, the base",
        )  # fmt: skip
        places: dict[tuple[float, float], list[int]] = {}
        for number, one in enumerate(listed, 1):
            places.setdefault((one.utility, one.harmfulness), []).append(number)
        for place, numbers in places.items():
            text = ", ".join(map(str, numbers[:3])) + (", ..." if len(numbers) > 3 else "")
            side_of = -15 if place[1] > 0.9 or numbers[0] % 2 else 8
            axes.annotate(text, place, xytext=(0, side_of), textcoords="offset points", fontsize=7, ha="center")
        axes.set(
            xlabel="utility", ylabel="harmful requests not refused, share", ylim=(-0.04, 1.04),
            title="Fused adapters: lower right is better",
        )  # fmt: skip
        axes.margins(x=0.08)
        figure.colorbar(shown, ax=axes, label="harmless requests refused, share")
        figure.legend(loc="outside lower left", ncols=4, frameon=False, fontsize=8)
        head = f"{'':>5}{'':<24}{'harmful':>8}{'refused':>9}{'utility':>9}"
        rows = [
            f"{number:>3}  {one.candidate[:22]:<24}{one.harmfulness:>8.3f}{one.over_refusal:>9.3f}{one.utility:>9.3f}"
            + ("  chosen" if one is chosen else "")
            for number, one in enumerate(listed, 1)
        ]
        side.set_axis_off()
        side.text(0, 1, "\n".join([head, *rows]), family="monospace", fontsize=6.5, va="top", transform=side.transAxes)


@contextmanager
def _figure(path: Path, size: tuple[float, float]) -> "Iterator[Figure]":
    """A figure to draw on; the picture is written on leaving."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: it keeps every figure, and wants a display

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    figure.savefig(path, dpi=120, metadata={"Software": None})
