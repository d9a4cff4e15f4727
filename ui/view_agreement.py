"""Agreement: whether two people, or a person and a judge, say the same; how fast people decide; how noisy the labels are."""

from dataclasses import replace

import streamlit as st

from curation.review.agreement import IDLE_S, MEASURES, Measure, Noise, Report, report
from curation.review.reliability import Figure, Interval, wilson
from curation.review.show_agreement import between, number, reading
from ui.look import Html, Tone, chip, empty, go, head, language_name, table, tiles
from ui.session import served, store
from ui.text import shown

ABOUT: dict[Measure, str] = {
    "decision": "keep, drop or flag",
    "label": "the label of what is kept",
    "category": "the category of what is kept",
    "severity": "the severity of what is kept, in steps",
}
_TONE: dict[str, Tone] = {"good": "good", "tentative": "warn", "poor": "bad", "": "plain"}
_LOW = -0.25  # where the scale of the bars begins; it ends at 1
_ROWS = 12


def page() -> None:
    head("Agreement", "whether people say the same of the same examples, and what that says of the labels")
    st.html(f"<style>{_CSS}</style>")
    asked = st.query_params.get("on", "decision")
    on: Measure = next((one for one in MEASURES if one == asked), "decision")
    found = _report(str(store().workspace), _mark(), on)
    if not found.decided:
        empty(
            "Nobody has decided on an example yet",
            "Agreement needs examples on which two people decided, without seeing each other's word.",
            f"Decide in Review; it hands {served().settings.overlap:.0%} of the examples to a second person. For another share, start the app so:",
            command=f"ui workspace={store().workspace} overlap=0.2",
        )
        return
    overall = found.overall["decision"]
    tiles([
        (f"{found.people:,}", "reviewer" if found.people == 1 else "reviewers"),
        (f"{found.decided:,}", "examples decided by a person"),
        (f"{overall.units:,}", "of them by two or more"),
        (f"{found.contested:,}", "of these differently"),
    ])  # fmt: skip
    if overall.units:
        _agreement(found, on)
    else:
        empty(
            "No example has the word of two people yet",
            "Let a second person review under another name; the share that goes to two people is set when the app starts:",
            command=f"ui workspace={store().workspace} overlap=0.2",
        )
    if found.judges:
        _section("People and judges", f"every person's {on} against the judge's on the same example; kappa only")
        st.html(_figures("Judge", [(judge, its) for judge, its in found.judges], alpha=False))
    _pace(found)
    _noise(found)
    st.html(
        '<p class="t-quiet">A person\'s last standing word on an example counts. What was undone does not, and who adjudicates is no '
        "reviewer. Who keeps an example without relabelling it says that its labels are right. Intervals are 95 %: 1,000 resamples of the "
        "examples, Wilson's for shares. The same as a command: <code>curate agreement</code>.</p>"
    )


def _mark() -> tuple[int, int]:
    """Changes when there is something new to count."""
    row = store().rows("SELECT (SELECT count(*) FROM verdicts), (SELECT count(*) FROM examples)")[0]
    return int(row[0]), int(row[1])


@st.cache_data(max_entries=16, show_spinner="Counting and resampling ...")
def _report(_workspace: str, _of: tuple[int, int], on: Measure) -> Report:
    return report(store(), on)


# -- parts ---------------------------------------------------------------------------------------------------------


def _agreement(found: Report, on: Measure) -> None:
    _section("How far people agree", "alpha: 1 is perfect, 0 is chance; from 0.80 good, from 0.67 tentative")
    st.html(_figures("Measure", [(f"{name}: {ABOUT[name]}", found.overall[name]) for name in MEASURES]))
    _section("Where they agree, and where not", "by what the examples were made as")
    st.segmented_control(
        "Compare their", MEASURES, default=on, key="on", format_func=str.capitalize, on_change=_chosen, required=True
    )
    left, right = st.columns(2, gap="large")
    for column, names in ((left, ("label", "language")), (right, ("category",))):
        with column:
            for name in names:
                if rows := found.groups[name]:
                    named = [(language_name(value) if name == "language" else value, its) for value, its in rows]
                    st.html(_figures(name.capitalize(), named[:_ROWS], kappa=False))
    with left:
        if found.pairs:
            ranked = sorted(found.pairs, key=lambda pair: -pair[2].units)[:_ROWS]
            st.html(_figures("Reviewers", [(f"{one} and {other}", its) for one, other, its in ranked], alpha=False))
    with right:
        if found.differ:
            rows_of = [(shown(one), shown(other), f"{count:,}") for one, other, count in found.differ]
            st.html(table(("One says", "another says", "times"), rows_of, numbers=frozenset({2})))
        if found.contested:
            go("Settle them in Adjudicate", "/adjudicate")


def _chosen() -> None:
    st.query_params["on"] = st.session_state["on"]


def _pace(found: Report) -> None:
    _section("How fast people decide", f"gaps over {IDLE_S / 60:g} minutes are breaks and no working time; one act on many examples counts once")  # fmt: skip
    rows = [
        (
            shown(one.person), f"{one.acts:,}", "" if one.per_minute is None else f"{one.per_minute:.1f}",
            "" if one.median_s is None else f"{one.median_s:.1f} s", f"{one.active_s / 60:,.1f} min", f"{one.last:%Y-%m-%d %H:%M} UTC",
        )
        for one in found.pace[:_ROWS]
    ]  # fmt: skip
    header = ("Reviewer", "decisions", "a minute", "middle gap", "working time", "last")
    st.html(table(header, rows, numbers=frozenset({1, 2, 3, 4})))


def _noise(found: Report) -> None:
    _section(
        "How noisy the labels are",
        "of the labelled examples that people kept, those whose label they changed; a fair sample of all only in the order audit",
    )
    if not any(row.checked for row in found.noise["all"]):
        st.html('<p class="t-quiet">No labelled example was kept by a person yet.</p>')
        return
    st.html(_noisy("All", found.noise["all"], whole=True))
    left, right = st.columns(2, gap="large")
    with left:
        st.html(_noisy("Category", found.noise["category"][:_ROWS]))
        languages = [replace(row, value=language_name(row.value)) for row in found.noise["language"][:_ROWS]]
        st.html(_noisy("Language", languages))
    with right:
        st.html(_noisy("Prompt", found.noise["prompt"][:_ROWS]))


# -- tables --------------------------------------------------------------------------------------------------------


def _section(title: str, about: str) -> None:
    st.html(f'<div class="t-section"><h2>{title}</h2><p class="t-quiet">{shown(about)}</p></div>')


def _figures(name: str, rows: list[tuple[str, Figure]], *, alpha: bool = True, kappa: bool = True) -> str:
    """A row each: how many examples, how often the same, and the coefficients with their intervals."""
    header = [name, "examples", "same"]
    for coefficient, wanted in (("alpha", alpha), ("kappa", kappa)):
        header += [coefficient, ""] if wanted else []
    body = []
    for what, its in rows:
        cells = [shown(what or "none"), f"{its.units:,}", "" if its.same is None else f"{its.same:.0%}"]
        for value, interval, wanted in (
            (its.alpha, its.alpha_interval, alpha),
            (its.kappa, its.kappa_interval, kappa),
        ):
            cells += [_value(value), _whisker(value, interval)] if wanted else []
        body.append(cells)
    return table(header, body, numbers=frozenset({1, 2}))


def _value(value: float | None) -> Html:
    word = reading(value)
    return Html(chip(number(value), _TONE[word], about=word or "undefined: too few words, or all the same"))


def _whisker(value: float | None, interval: Interval | None) -> Html:
    """A coefficient and its interval on a line from -0.25 to 1, with the limits of the rule of thumb."""
    if value is None:
        return Html("")
    low, high = interval or (value, value)
    said = f"{number(value)}, 95 % {between(interval)}" if interval else f"{number(value)}, no interval"
    return Html(
        f'<span class="t-whisker" role="img" aria-label="{said}" title="{said}">'
        f'<u style="left:{_at(0.667)}"></u><u style="left:{_at(0.8)}"></u>'
        f'<i style="left:{_at(low)};right:calc(100% - {_at(high)})"></i><b style="left:{_at(value)}"></b></span>'
    )


def _at(value: float) -> str:
    return f"{100 * (max(_LOW, min(1.0, value)) - _LOW) / (1 - _LOW):.1f}%"


def _noisy(name: str, rows: list[Noise], *, whole: bool = False) -> str:
    """The share of labels that were changed; `whole` has also those of category and severity."""
    header = [name, "kept", "label changed", "95 %", *(("category changed", "severity changed") if whole else ())]
    body = []
    for row in rows:
        low, high = wilson(row.label, row.checked)
        more = (f"{row.category / row.checked:.1%}", f"{row.severity / row.checked:.1%}") if whole else ()
        body.append((
            shown(row.value or "none"), f"{row.checked:,}", f"{row.label / row.checked:.1%}", f"{low:.1%} to {high:.1%}", *more,
        ))  # fmt: skip
    return table(header, body, numbers=frozenset(range(1, len(header))))


_CSS = """
.t-section { margin: 1.1rem 0 0; } .t-section h2 { font-size: 1.1rem; font-weight: 650; padding: 0; margin: 0; } .t-section p { margin: 0 0 .2rem; }
.t-table td:first-child { min-width: 9.5rem; }
.t-whisker { position: relative; display: inline-block; width: 9rem; height: 1.1rem; vertical-align: middle; }
.t-whisker::before { content: ""; position: absolute; inset: 50% 0 auto; border-top: 1px solid var(--t-line); }
.t-whisker u { position: absolute; top: .1rem; bottom: .1rem; border-left: 1px dashed var(--t-quiet); opacity: .55; }
.t-whisker i { position: absolute; top: calc(50% - 2px); height: 4px; border-radius: 2px; background: var(--t-quiet); min-width: 2px; }
.t-whisker b { position: absolute; top: calc(50% - 5px); width: 10px; height: 10px; margin-left: -5px; border-radius: 50%; background: var(--t-good); }
"""
