"""The pictures of an evaluation and of a run's learning, as PNG files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from train.metrics import moderation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _SOFT, _BARS = "#1f4e79", "#9aa5b1", "#cfe0f0"


def roc(path: Path, curves: Sequence[tuple[str, ArrayLike, ArrayLike]]) -> None:
    """The ROC curves of several models.

    Args:
        curves: (name, labels (n,), P(disallowed) (n,)); both classes must be there.
    """
    with _figure(path) as axes:
        for at, (name, labels, probabilities) in enumerate(curves):
            false_rate, true_rate = moderation.roc_curve(labels, probabilities)
            axes.plot(false_rate, true_rate, label=name, color=_INK if at == 0 else None, lw=2 if at == 0 else 1)
        axes.plot([0, 1], [0, 1], color=_SOFT, ls=":", lw=1)
        axes.set(
            xlabel="allowed texts called disallowed", ylabel="disallowed texts caught", title="ROC", aspect="equal"
        )
        axes.legend(loc="lower right", frameon=False)


def reliability(path: Path, labels: ArrayLike, probabilities: ArrayLike) -> None:
    """Observed share of disallowed texts against P(disallowed), in 15 bins of equal width; bars: share of the texts."""
    points = moderation.reliability(labels, probabilities)
    total = sum(count for _, _, count in points)
    with _figure(path) as axes:
        axes.bar(
            [p for p, _, _ in points],
            [n / total for _, _, n in points],
            width=0.04,
            color=_BARS,
            label="share of texts",
        )
        axes.plot([0, 1], [0, 1], color=_SOFT, ls=":", lw=1)
        axes.plot([p for p, _, _ in points], [share for _, share, _ in points], "o-", color=_INK, label="observed")
        axes.set(
            xlabel="P(disallowed)", ylabel="share that is disallowed", title="Reliability", xlim=(0, 1), ylim=(0, 1.02)
        )
        axes.legend(loc="upper left", frameon=False)


def confusion(path: Path, counts: dict[str, int], threshold: float) -> None:
    """The four counts at a threshold."""
    table = [
        [counts["true_negative"], counts["false_positive"]],
        [counts["false_negative"], counts["true_positive"]],
    ]
    most = max(max(row) for row in table) or 1
    with _figure(path) as axes:
        axes.imshow(table, cmap="Blues", vmin=0, vmax=most)
        for y, row in enumerate(table):
            for x, count in enumerate(row):
                axes.text(x, y, f"{count:,}", ha="center", va="center", color="white" if count > most / 2 else "black")
        axes.set_xticks([0, 1], ["allowed", "disallowed"])
        axes.set_yticks([0, 1], ["allowed", "disallowed"], rotation=90, va="center")
        axes.set(xlabel="called", ylabel="is", title=f"Confusion at P ≥ {threshold:.3f}")


def learning(path: Path, points: Sequence[tuple[int, float]], title: str) -> None:
    """AUROC on held-out rows over the steps of a run: `points` are (step, AUROC)."""
    with _figure(path) as axes:
        axes.axhline(0.5, color=_SOFT, ls=":", lw=1)
        axes.plot([step for step, _ in points], [value for _, value in points], "o-", color=_INK)
        axes.set(xlabel="step", ylabel="AUROC, held out", title=title, ylim=(0, 1.02))


@contextmanager
def _figure(path: Path) -> "Iterator[Axes]":
    """Axes to draw on; the picture is written on leaving."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # no pyplot: it keeps every figure, and wants a display

    figure = Figure(figsize=(5, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    yield figure.add_subplot()
    figure.savefig(path, dpi=120, metadata={"Software": None})
