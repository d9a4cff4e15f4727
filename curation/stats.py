"""`curate stats`: what is in the store, in numbers and as a picture."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.config import StatsSettings
from curation.errors import WorkspaceError
from curation.journal import open_store
from curation.selection import nothing_selected, query
from curation.store import Row, Store


def stats_command(settings: StatsSettings) -> int:
    store = open_store(settings.workspace)
    counts = count(store, settings)
    if not counts["examples"]:
        raise nothing_selected(store, settings)
    plot = settings.plot or settings.workspace / "coverage.png"
    draw(counts["coverage"], plot)
    if settings.as_json:
        print(json.dumps({**counts, "plot": str(plot)}, ensure_ascii=False))
        return 0
    console = Console(highlight=False)
    console.print(f"{counts['examples']:,} examples: " + ", ".join(f"{n:,} {status}" for status, n in counts["status"]))
    console.print(_coverage_table(counts["coverage"]))
    if settings.axis:
        console.print(_pairs(f"{settings.axis}", counts["axis"]))
    if counts["complaints"]:
        console.print(_pairs("check, decision", [(f"{by}, {what}", n) for by, what, n in counts["complaints"]]))
    console.print(
        f"{counts['completions']:,} answers paid ${counts['cost_usd']:,.2f}"
        + (f" + {counts['unpriced']:,} of unknown price" if counts["unpriced"] else "")
        + f", {counts['malformed']:,} malformed. Coverage map: {plot}",
        soft_wrap=True,
    )
    return 0


def count(store: Store, settings: StatsSettings) -> dict[str, Any]:
    """All figures of one look at the store."""
    sql, parameters = query(settings, "id, status, label, category, language")
    with store.read() as connection:
        connection.execute(f"CREATE TEMP TABLE picked AS {sql}", parameters)

        def rows(sql: str, parameters: list[Any] | None = None) -> list[Row]:
            return connection.execute(sql, parameters or []).fetchall()

        # Of an example with several origins the first stands for it, so that shares add up.
        axis = rows(
            "SELECT axes ->> ? AS value, count(*) FROM (SELECT DISTINCT ON (example) example, axes FROM origins ORDER BY example, id) "
            "JOIN picked ON picked.id = example WHERE value IS NOT NULL GROUP BY value ORDER BY 2 DESC, 1",
            [f"$.{settings.axis}"],
        ) if settings.axis else []  # fmt: skip
        priced = "count(*), coalesce(sum(cost_usd), 0), count(*) FILTER (cost_usd IS NULL)"
        completions, cost, unpriced = rows(f"SELECT {priced} FROM completions")[0]
        return {
            "examples": rows("SELECT count(*) FROM picked")[0][0],
            "status": rows("SELECT status, count(*) FROM picked GROUP BY status ORDER BY 2 DESC"),
            "coverage": rows(
                "SELECT coalesce(label, ''), coalesce(category, ''), language, count(*) FROM picked "
                "WHERE status <> 'dropped' GROUP BY ALL ORDER BY ALL"
            ),
            "axis": axis,
            "complaints": rows(
                "SELECT author || '@' || version AS by, decision, count(DISTINCT example) FROM verdicts "
                "SEMI JOIN picked ON picked.id = example WHERE author NOT LIKE 'human:%' AND decision <> 'keep' "
                "GROUP BY ALL ORDER BY 3 DESC, 1"
            ),
            "completions": completions,
            "cost_usd": cost,
            "unpriced": unpriced,
            "malformed": rows("SELECT count(*) FROM malformed")[0][0],
        }


def _coverage_table(coverage: list[Row]) -> Table:
    languages = sorted({row[2] for row in coverage})
    cells = {(label, category, language): n for label, category, language, n in coverage}
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("label")
    table.add_column("category")
    for language in [*languages, "all"]:
        table.add_column(language, justify="right")
    for label, category in dict.fromkeys((row[0], row[1]) for row in coverage):
        numbers = [cells.get((label, category, language), 0) for language in languages]
        table.add_row(label, category, *(f"{n:,}" if n else "-" for n in numbers), f"{sum(numbers):,}")
    totals = [sum(n for *_, language, n in coverage if language == one) for one in languages]
    table.add_row("all", "", *(f"{n:,}" for n in totals), f"{sum(totals):,}", style="bold")
    return table


def _pairs(heading: str, rows: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(heading)
    table.add_column("examples", justify="right")
    for name, n in rows:
        table.add_row(str(name), f"{n:,}")
    return table


def draw(coverage: list[Row], path: Path) -> None:
    """The heat map of label and category (rows) by language (columns), as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    languages = sorted({row[2] for row in coverage})
    groups = list(dict.fromkeys((row[0], row[1]) for row in coverage))
    cells = {(label, category, language): n for label, category, language, n in coverage}
    grid = [[cells.get((*group, language), 0) for language in languages] for group in groups]
    figure, axes = plt.subplots(figsize=(3.4 + 0.9 * len(languages), 1.3 + 0.36 * len(groups)), layout="constrained")
    peak = max((max(row) for row in grid), default=1) or 1
    # the square root keeps small cells apart where one is far larger than the rest
    axes.imshow(grid, aspect="auto", cmap="YlGnBu", norm=mpl.colors.PowerNorm(0.5, vmin=0, vmax=peak))
    axes.set_xticks(range(len(languages)), languages)
    names = [" / ".join(part for part in group if part and part != "none") or "unlabelled" for group in groups]
    axes.set_yticks(range(len(groups)), names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_title("Examples by label, category and language", loc="left", fontsize=11)
    for y, row in enumerate(grid):
        for x, n in enumerate(row):
            axes.text(
                x,
                y,
                f"{n:,}" if n else "none",
                ha="center",
                va="center",
                color="white" if n > 0.4 * peak else "#333",
                fontsize=9,
            )
    try:
        figure.savefig(path, dpi=150)
    except OSError as error:
        raise WorkspaceError(
            f"{path}: the plot cannot be written: {error.strerror or error}; set plot=FILE.png"
        ) from error
    finally:
        plt.close(figure)
