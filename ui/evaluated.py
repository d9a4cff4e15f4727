"""One evaluation: measures beside baselines, plots, slices, and every error with the way to its example."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import streamlit as st

from curation.config import ImportSettings
from curation.errors import TilthError
from curation.evaluations import Mistake, flag, read
from train.evaluations import MEASURES, Evaluated
from ui.look import Html, chip, language_name, notice, table, tiles
from ui.session import served, store
from ui.text import shown

PAGE = 20
_PLOTS = (("roc.png", "ROC"), ("reliability.png", "reliability: is a probability of 0.8 right in 80 of 100?"))
_CALLED = (("is allowed", "true_negative", "false_positive"), ("is disallowed", "false_negative", "true_positive"))


def listed(evaluations: Sequence[Evaluated]) -> str:
    """A table of evaluations."""
    rows = []
    for one in evaluations:
        name, measure = one.main
        link = f'<a class="t-id" href="/models?show=Evaluations&evaluation={quote(one.id)}" target="_self">{shown(one.id)}</a>'
        errors = sum(one.report.get("errors", {}).values())
        rows.append((
            Html(link), shown(f"{one.dataset}, {one.report['dataset']['split']}"), shown(one.task), f"{one.report['rows']:,}",
            Html(f"{shown(name.replace('_', ' '))} {interval(measure)}"), f"{errors:,}", shown(str(one.report.get("at", ""))[:16].replace("T", " ")),
        ))  # fmt: skip
    header = ("Evaluation", "of", "task", "rows", "main measure", "errors", "at (UTC)")
    return table(header, rows, numbers=frozenset({3, 5}))


def interval(measure: Mapping[str, Any] | None, between: str = " ") -> Html:
    """A measure with its 95 % interval."""
    if measure is None or measure.get("value") is None:
        why = (measure or {}).get("undefined", "")
        return Html(f'<span class="t-quiet" title="{escape(str(why))}">undefined</span>')
    if measure.get("low") is None:
        return Html(f"{measure['value']:.3f}")
    return Html(f"{measure['value']:.3f}{between}<small>[{measure['low']:.3f}, {measure['high']:.3f}]</small>")


def evaluation(one: Evaluated) -> None:
    """The page of one evaluation."""
    report = one.report
    models: Mapping[str, Any] = report["models"]
    name, measure = one.main
    tiles([
        (f"{measure['value']:.3f}" if measure["value"] is not None else "undefined", name.replace("_", " ")),
        (f"{report['rows']:,}", f"rows of {one.dataset}, split {report['dataset']['split']}"),
        *((f"{count:,}", why) for why, count in report.get("errors", {}).items()),
    ])  # fmt: skip
    names = [name for name in MEASURES[one.task] if any(name in its.get("measures", {}) for its in models.values())]
    body = [
        (shown(name.replace("_", " ")), *(interval(its.get("measures", {}).get(name)) for its in models.values()))
        for name in names
    ]
    st.html(table(("Measure", *(shown(model) for model in models)), body))
    if "threshold" in report:
        said = f"Called disallowed from {report['threshold']:.4g} on: {models['trained']['chosen_on']}"
        st.html(f'<p class="t-quiet">{shown(said)}</p>')
    _plots(one)
    _slices(report.get("slices", {}), names)
    _errors(one)


def _plots(one: Evaluated) -> None:
    there = [(one.folder / name, about) for name, about in _PLOTS if (one.folder / name).is_file()]
    if one.task == "dialogue" and (one.folder / "confusion.png").is_file():
        there.append((one.folder / "confusion.png", "intents: what was meant, and what the model noted"))
    counts = one.report.get("confusion")
    if not there and not counts:
        return
    for column, part in zip(st.columns(len(there) + bool(counts), gap="large"), [*there, *([None] if counts else [])], strict=True):  # fmt: skip
        with column:
            if part is not None:
                st.html(picture(part[0], part[1]))
            elif counts:
                st.html(_confusion(counts))


def picture(path: Path, about: str) -> Html:
    """A plot that `train` drew, on the white it was drawn for."""
    data = b64encode(path.read_bytes()).decode()
    return Html(
        f'<figure class="t-plot"><img src="data:image/png;base64,{data}" alt="{escape(about)}">'
        f"<figcaption>{shown(about)}</figcaption></figure>"
    )


def _confusion(counts: Mapping[str, int]) -> str:
    total = sum(counts.values()) or 1
    body = ""
    for what, left, right in _CALLED:
        cells = "".join(
            f'<td style="background:color-mix(in srgb, var({"--t-good" if name.startswith("true") else "--t-bad"}) '
            f'{8 + 42 * counts[name] / total:.0f}%, transparent)"><b>{counts[name]:,}</b></td>'
            for name in (left, right)
        )
        body += f"<tr><th>{what}</th>{cells}</tr>"
    return (
        '<h2 class="t-small">Confusion</h2><table class="t-heat"><thead><tr><th>called</th><th>allowed</th>'
        f"<th>disallowed</th></tr></thead><tbody>{body}</tbody></table>"
    )


def _slices(slices: Mapping[str, Any], names: Sequence[str]) -> None:
    there = {by: values for by, values in slices.items() if values}
    if not there:
        return
    by = st.segmented_control(
        "By", list(there), default=next(iter(there)), key="by", bind="query-params", required=True
    )
    values = there[by or next(iter(there))]
    names = [
        name for name in (*names, "auroc_against_allowed")
        if any(name in its["measures"] and its["measures"][name]["value"] is not None for its in values.values())
    ][:7]  # fmt: skip
    body = [
        (
            shown(language_name(value) if by == "language" else value), f"{its.get('rows', its.get('turns', 0)):,}",
            *(interval(its["measures"].get(name), "<br>") for name in names),
        )
        for value, its in values.items()
    ]  # fmt: skip
    header = (by.capitalize(), "rows", *(name.replace("_", " ") for name in names))
    st.html(table(header, body, numbers=frozenset({1})))


# -- errors --------------------------------------------------------------------------------------------------------


def _errors(one: Evaluated) -> None:
    st.html('<h2 class="t-small">What it got wrong, the worst first</h2>')
    mistakes = read(one.folder).mistakes
    if not mistakes:
        st.html('<p class="t-quiet">Nothing: it was right on every row.</p>')
        return
    words = {
        example: (content, status)
        for example, content, status in store().rows(
            "SELECT id, content, coalesce(automatic, 'new') FROM examples LEFT JOIN review ON example = id WHERE list_contains(?, id)",
            [[mistake.id for mistake in mistakes]],
        )
    }
    kinds = sorted({mistake.why for mistake in mistakes})
    with st.container(horizontal=True, vertical_alignment="bottom"):
        asked = st.multiselect("Only", kinds, key="why", bind="query-params", placeholder="all kinds", width=320)
        st.button(
            f"Put {len(mistakes):,} in the review queue", icon=":material/rate_review:", on_click=_flag, args=(one,),
            disabled=not words,
        )  # fmt: skip
    if note := st.session_state.pop("note", ""):
        st.html(f'<p class="t-quiet" role="status">{shown(note)}</p>')
    if trouble := st.session_state.pop("trouble", ""):
        notice(trouble)
    if not words:
        st.html('<p class="t-quiet">None of these examples is in this workspace; it was evaluated on another one\'s version.</p>')  # fmt: skip
    chosen = [mistake for mistake in mistakes if not asked or mistake.why in asked]
    pages = max(1, -(-len(chosen) // PAGE))
    number = min(pages, st.pagination(pages, key="page", bind="query-params")) if pages > 1 else 1
    rows = [_row(mistake, words.get(mistake.id)) for mistake in chosen[(number - 1) * PAGE : number * PAGE]]
    st.html(table(("Why", "text", "is", "the model said", "loss", "go to"), rows, numbers=frozenset({4})))
    where = store().workspace
    st.code(
        f"curate import evaluation={one.folder} workspace={where}\n"
        f"synth run targets=evaluation:{one.folder} n=200 workspace={where}",
        language=None, wrap_lines=True,
    )  # fmt: skip


def _row(mistake: Mistake, there: tuple[str, str] | None) -> Sequence[str]:
    labels = [str(part) for part in (mistake.label, mistake.category, mistake.severity) if part is not None]
    is_ = Html(
        f'<div class="t-chips">{chip(language_name(mistake.language))}{"".join(chip(label) for label in labels)}</div>'
    )
    text = shown(_short(there[0])) if there else Html('<span class="t-quiet">not in this workspace</span>')
    turns = f", turn {', '.join(map(str, mistake.turns))}" if mistake.turns else ""
    example = quote(mistake.id)
    go = (
        f'<a class="t-id" href="/review?example={example}" target="_self">review</a> · '
        f'<a class="t-id" href="/review?example={example}&panel=origin" target="_self">origin</a>'
    )
    return (
        Html(chip(f"{mistake.why}{turns}", "bad" if mistake.why == "misclassified" else "warn")), text, is_, shown(mistake.said),
        "" if mistake.loss is None else f"{mistake.loss:.2f}", Html(go) if there else "",
    )  # fmt: skip


def _short(text: str) -> str:
    line = " ".join(text[:500].split())
    return line if len(line) <= 220 else f"{line[:220]} …"


def _flag(one: Evaluated) -> None:
    """What `curate import evaluation=` does."""
    try:
        found = flag(ImportSettings(workspace=store().workspace, evaluation=one.folder), one.folder)
        served().settle()
        st.session_state["note"] = (
            f"{found.new:,} flagged for review, {found.there:,} were before, {found.settled:,} are decided by a person already"
            + (f", {found.unknown:,} are not in this workspace" if found.unknown else "")
        )
    except TilthError as error:
        st.session_state["trouble"] = str(error)
