"""Pictures of dialogue graphs: one round of the dialogue, and how often its states are visited."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import WorkspaceError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from synth.chain import Chain
    from synth.walks import Coverage

USER, SYSTEM, FAINT, INK = "#2f6f9f", "#c2703d", "#b9b9b9", "#2b2b2b"
LEAST = 0.004  # transitions per dialogue below which a line is left out of the picture


def draw(chain: "Chain", path: Path) -> None:
    """One round of the dialogue from left to right: what the user does, what the system answers, what the user does next. The
    thicker a line, the oftener it is taken; the bars and numbers are expected visits per dialogue.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    graph, rates = chain.graph, chain.rates
    users = [name for name, state in graph.states.items() if state.who == "user"]
    systems = [name for name, state in graph.states.items() if state.who == "system"]
    rows = max(len(users), len(systems))
    figure, box = _canvas((15, 1.9 + 0.42 * rows))
    heights = {**_spread(users, rows), **_spread(systems, rows)}
    most = max(rates.states.values())
    widest = max(rates.edges.values()) or 1.0
    columns = {"user": 0.0, "system": 1.0, "next": 2.0}
    for number, edge in enumerate(graph.edges):
        rate = rates.edges[number]
        if rate < LEAST:
            continue
        from_user = graph.states[edge.source].who == "user"
        left, right = (columns["user"], columns["system"]) if from_user else (columns["system"], columns["next"])
        colour = USER if from_user else SYSTEM
        _ribbon(
            box,
            left + 0.30,
            heights[edge.source],
            right - 0.02,
            heights[edge.target],
            0.4 + 6 * (rate / widest) ** 0.6,
            colour,
        )
    for column, names, colour in (("user", users, USER), ("system", systems, SYSTEM), ("next", users, USER)):
        for name in names:
            _node(box, columns[column], heights[name], name, rates.states[name], most, colour, graph.states[name].end)
        title = {"user": "the user", "system": "the system answers", "next": "the user goes on"}[column]
        box.text(columns[column], rows + 0.15, title, fontsize=12, color=colour, weight="bold")
    ends = sum(state.end for state in graph.states.values())
    lines = sum(rate >= LEAST for rate in rates.edges.values())
    box.set_title(
        f"{graph.name}: {len(graph.states)} states, {lines} of {len(graph.edges)} transitions drawn, "
        f"{rates.turns:.1f} turns a dialogue on average (at most {graph.max_turns}), {ends} ways to end (dark edge)",
        loc="left", fontsize=12, pad=14,
    )  # fmt: skip
    box.set_xlim(-0.05, 2.42)
    box.set_ylim(-0.8, rows + 0.6)
    _save(figure, path)


def draw_coverage(chain: "Chain", coverage: "Coverage", path: Path) -> None:
    """How often the dialogues visit each state, beside what the graph expects of as many walks.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    graph, rates = chain.graph, chain.rates
    names = sorted(graph.states, key=lambda name: rates.states[name])
    walks = max(1, coverage.walks)
    figure, box = _canvas((10, 1.6 + 0.27 * len(names)))
    for place, name in enumerate(names):
        colour = USER if graph.states[name].who == "user" else SYSTEM
        box.barh(place, coverage.states[name] / walks, color=colour, height=0.62, alpha=0.85)
        box.plot([rates.states[name]] * 2, [place - 0.42, place + 0.42], color=INK, linewidth=1.6)
    box.axis("on")
    box.set_yticks(range(len(names)), names, fontsize=8)
    box.set_xlabel("visits per dialogue (bar: these dialogues; mark: expected of the graph)")
    box.spines[["top", "right", "left"]].set_visible(False)
    box.tick_params(axis="y", length=0)
    box.set_ylim(-0.7, len(names) - 0.3)
    covered = len(coverage.edges) - len(coverage.thin)
    box.set_title(
        f"{graph.name}: {coverage.walks:,} dialogues, {covered:,} of {len(coverage.edges):,} transitions, {coverage.paths:,} paths",
        loc="left", fontsize=11,
    )  # fmt: skip
    _save(figure, path)


def _canvas(size: tuple[float, float]) -> "tuple[Figure, Axes]":
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, box = plt.subplots(figsize=size, layout="constrained")
    box.axis("off")
    return figure, box


def _spread(names: list[str], rows: int) -> Mapping[str, float]:
    """Heights from the top, evenly over the whole picture."""
    step = rows / max(1, len(names))
    return {name: rows - step * (place + 0.5) for place, name in enumerate(names)}


def _node(box: "Axes", x: float, y: float, name: str, rate: float, most: float, colour: str, end: bool) -> None:
    from matplotlib.patches import FancyBboxPatch, Rectangle

    frame: Any = FancyBboxPatch(
        (x, y - 0.3), 0.28, 0.6, boxstyle="round,pad=0,rounding_size=0.03", facecolor="white", zorder=3, mutation_aspect=8,
        edgecolor=INK if end else colour, linewidth=2.0 if end else 1.0,
    )  # fmt: skip
    box.add_patch(frame)
    bar: Any = Rectangle((x + 0.004, y - 0.26), 0.272 * rate / most, 0.52, facecolor=colour, alpha=0.22, zorder=4)
    box.add_patch(bar)
    box.text(x + 0.01, y, name.replace("_", " "), va="center", fontsize=8.5, color=INK, zorder=5)
    box.text(x + 0.275, y, f"{rate:.2f}", va="center", ha="right", fontsize=7.5, color=colour, zorder=5)


def _ribbon(box: "Axes", left: float, low: float, right: float, high: float, width: float, colour: str) -> None:
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Curve

    middle = (left + right) / 2
    curve = Curve([(left, low), (middle, low), (middle, high), (right, high)], [Curve.MOVETO, *[Curve.CURVE4] * 3])
    patch: Any = PathPatch(
        curve,
        facecolor="none",
        edgecolor=colour,
        linewidth=width,
        alpha=0.16 + min(0.5, width / 10),
        zorder=1,
        capstyle="round",
    )
    box.add_patch(patch)


def _save(figure: "Figure", path: Path) -> None:
    from matplotlib import pyplot as plt

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=130)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WorkspaceError(f"{path}: the picture cannot be written: {reason}; set plot=FILE.png") from error
    finally:
        plt.close(figure)
