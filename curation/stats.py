"""`curate stats`: what is in the store, in numbers and as a picture."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.config import StatsSettings
from curation.coverage import draw
from curation.errors import InputError, did_you_mean
from curation.journal import open_store
from curation.selection import nothing_selected, query
from curation.store import Row, Store


def stats_command(settings: StatsSettings) -> int:
    plot = settings.plot or settings.workspace / "coverage.png"
    if plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"plot={plot}: the picture is a PNG, SVG or PDF file, e.g. plot=coverage.png")
    store = open_store(settings.workspace)
    counts = count(store, settings)
    if not counts["examples"]:
        raise nothing_selected(store, settings)
    draw({"language": counts["coverage"], **({settings.axis: counts["axis"]} if settings.axis else {})}, plot)
    if settings.as_json:
        print(json.dumps({**counts, "plot": str(plot)}, ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False)
    console.print(f"{counts['examples']:,} examples: " + ", ".join(f"{n:,} {status}" for status, n in counts["status"]))
    console.print(_coverage_table(counts["coverage"]))
    if settings.axis:
        shares = Counter({value: 0 for _, _, value, _ in counts["axis"]})
        for _, _, value, n in counts["axis"]:
            shares[value] += n
        console.print(_pairs(settings.axis, shares.most_common()))
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

        axis = _axis_coverage(rows, settings.axis) if settings.axis else []
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


def _axis_coverage(rows: Callable[..., list[Row]], axis: str) -> list[Row]:
    """(label, category, value of the axis, examples). Of an example with several origins the first stands for it, so that
    shares add up to the whole."""
    found = rows(
        "SELECT coalesce(label, ''), coalesce(category, ''), axes ->> ? AS value, count(*) FROM "
        "(SELECT DISTINCT ON (example) example, axes FROM origins WHERE axes IS NOT NULL ORDER BY example, id) "
        "JOIN picked ON picked.id = example WHERE value IS NOT NULL AND status <> 'dropped' GROUP BY ALL ORDER BY ALL",
        [f"$.{axis}"],
    )
    if not found:
        known = [row[0] for row in rows("SELECT DISTINCT unnest(json_keys(axes)) AS axis FROM origins ORDER BY axis")]
        raise InputError(f"axis={axis}: no selected example has that axis.{did_you_mean(axis, known)}")
    return found


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
