"""`curate agreement` as a person sees it."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation.config import AgreementSettings
from curation.errors import InputError
from curation.journal import open_store
from curation.review.agreement import MEASURES, Noise, Report, report
from curation.review.reliability import Figure, Interval, wilson
from curation.selection import described, nothing_selected, query

SAYS = ((0.8, "good"), (0.667, "tentative"), (-1.0, "poor"))  # Krippendorff (2004), p. 241


def reading(alpha: float | None) -> str:
    """What Krippendorff's rule of thumb says of an alpha: good, tentative, poor; nothing of none."""
    return "" if alpha is None else next(word for least, word in SAYS if alpha >= least)


def agreement_command(settings: AgreementSettings) -> int:
    store = open_store(settings.workspace)
    found = report(
        store, settings.on, selector=settings, resamples=settings.resamples, seed=settings.seed, idle_s=settings.idle_s
    )
    if not found.decided:
        if described(settings) and not store.rows(*query(settings, "1")):
            raise nothing_selected(store, settings)
        raise InputError(
            "no person has decided on any of these examples yet; `ui` opens the review app, where a share of the examples "
            "goes to two people (overlap=0.1)"
        )
    if settings.as_json:
        print(json.dumps(as_json(found), ensure_ascii=False, default=str))
        return 0
    _print(found, settings)
    return 0


def as_json(found: Report) -> dict[str, object]:
    """The report for machines."""
    noise = {
        by: [{**asdict(row), "label_interval": wilson(row.label, row.checked)} for row in rows]
        for by, rows in found.noise.items()
    }
    pace = [{**asdict(one), "per_minute": one.per_minute} for one in found.pace]
    return {**asdict(found), "noise": noise, "pace": pace}


def _print(found: Report, settings: AgreementSettings) -> None:
    console = Console(highlight=False, markup=False)
    people = f"{found.people:,} {'people' if found.people != 1 else 'person'}"
    console.print(
        f"{people} decided on {found.decided:,} examples; at least two on {found.overall['decision'].units:,}, "
        f"{found.contested:,} of them differently."
    )
    if found.overall["decision"].units:
        console.print(_figures("measure", [(measure, found.overall[measure]) for measure in MEASURES]))
        for name, rows in found.groups.items():
            console.print(_figures(f"{found.on}, by {name}", rows))
        console.print(
            _figures(f"{found.on}, by pair", [(f"{one} and {other}", its) for one, other, its in found.pairs])
        )
    else:
        console.print(
            "Agreement needs examples that two people decided on: a second person reviews with `ui` and another name."
        )
    if found.judges:
        console.print(_figures(f"{found.on}, with judge", found.judges, alpha=False))
    for one, other, count in found.differ[:3]:
        console.print(f"{count:,} x one said {one}, another {other}")
    console.print(_pace(found))
    for by in ("all", "category", "prompt"):
        if found.noise[by]:
            console.print(_noise("labels people checked" if by == "all" else f"by {by}", found.noise[by][:12]))
    console.print(
        f"Intervals are 95 %: {settings.resamples:,} resamples of the examples (seed {settings.seed}), Wilson's for shares. Gaps over "
        f"{settings.idle_s:g} s are breaks and not counted as time. What people checked is a fair sample of all only where they "
        "reviewed in the order audit.",
        soft_wrap=True,
    )


def _figures(name: str, rows: list[tuple[str, Figure]], *, alpha: bool = True) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(name, min_width=24, no_wrap=True)
    for heading in ("examples", "same", *(("alpha", "95 %") if alpha else ()), "kappa", "95 %"):
        table.add_column(heading, justify="right", no_wrap=True)
    for what, one in rows:
        table.add_row(
            Text(what or "none"), f"{one.units:,}", "" if one.same is None else f"{one.same:.0%}",
            *((f"{number(one.alpha)} {reading(one.alpha)}", between(one.alpha_interval)) if alpha else ()),
            number(one.kappa), between(one.kappa_interval),
        )  # fmt: skip
    return table


def _pace(found: Report) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("reviewer", min_width=24, no_wrap=True)
    for heading in ("decisions", "a minute", "median s", "active min", "last (UTC)"):
        table.add_column(heading, justify="right")
    for one in found.pace:
        table.add_row(
            Text(one.person), f"{one.acts:,}", "" if one.per_minute is None else f"{one.per_minute:.1f}",
            "" if one.median_s is None else f"{one.median_s:.1f}", f"{one.active_s / 60:,.1f}", f"{one.last:%Y-%m-%d %H:%M}",
        )  # fmt: skip
    return table


def _noise(name: str, rows: list[Noise]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(name, min_width=24, no_wrap=True)
    for heading in ("checked", "label changed", "95 %", "category", "severity"):
        table.add_column(heading, justify="right")
    for row in rows:
        low, high = wilson(row.label, row.checked)
        table.add_row(
            Text(row.value or "none"), f"{row.checked:,}", f"{row.label / row.checked:.1%}", f"{low:.1%} to {high:.1%}",
            f"{row.category / row.checked:.1%}", f"{row.severity / row.checked:.1%}",
        )  # fmt: skip
    return table


def number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2f}"


def between(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval[0]:.2f} to {interval[1]:.2f}"
