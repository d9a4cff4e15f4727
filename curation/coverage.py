"""The coverage map: how many examples each cell of the grid has, as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from curation.errors import WorkspaceError
from curation.store import Row


def draw(panels: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Heat maps side by side, each of label and category (rows) by one thing (columns), as a PNG.

    Args:
        panels: name of the columns -> (label, category, column, examples).

    Raises:
        WorkspaceError: the file cannot be written.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    groups = list(dict.fromkeys((row[0], row[1]) for rows in panels.values() for row in rows))
    columns = {name: sorted({str(row[2]) for row in rows}) for name, rows in panels.items()}
    widths = [len(names) for names in columns.values()]
    size = (3.4 + 0.8 * sum(widths), 1.9 + 0.36 * len(groups))
    figure, boxes = plt.subplots(
        1, len(panels), figsize=size, layout="constrained", squeeze=False, gridspec_kw={"width_ratios": widths}
    )
    for box, (name, rows) in zip(boxes[0], panels.items(), strict=True):
        cells = {(row[0], row[1], str(row[2])): row[3] for row in rows}
        grid = [[cells.get((*group, column), 0) for column in columns[name]] for group in groups]
        peak = max((max(row) for row in grid), default=1) or 1
        # The square root keeps small cells apart where one is far larger than the rest.
        box.imshow(grid, aspect="auto", cmap="YlGnBu", norm=mpl.colors.PowerNorm(0.5, vmin=0, vmax=peak))
        box.set_xticks(range(len(columns[name])), columns[name], rotation=0 if name == "language" else 40)
        plt.setp(box.get_xticklabels(), ha="center" if name == "language" else "right", rotation_mode="anchor")
        box.set_yticks([])
        box.tick_params(length=0)
        box.spines[:].set_visible(False)
        box.set_title(f"by {name}", loc="left", fontsize=11)
        for y, row in enumerate(grid):
            for x, n in enumerate(row):
                shade = "white" if n > 0.4 * peak else "#333"
                box.text(x, y, f"{n:,}" if n else "none", ha="center", va="center", color=shade, fontsize=9)
    names = [" / ".join(part for part in group if part and part != "none") or "unlabelled" for group in groups]
    boxes[0][0].set_yticks(range(len(groups)), names)
    figure.suptitle("Examples by label and category", x=0.01, ha="left", fontsize=12)
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        reason = error.strerror or error
        raise WorkspaceError(f"{path}: the plot cannot be written: {reason}; set plot=FILE.png") from error
    finally:
        plt.close(figure)
