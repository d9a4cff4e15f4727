"""Overview: how much there is, of what, in which state, and what to do next."""

import shlex
from html import escape

import streamlit as st

from curation.errors import TilthError
from curation.review.cells import Cell, by_axis, by_language, filling, named, whole
from curation.review.overview import Overview, axes, overview
from curation.settings import load
from curation.store import Store
from synth.choice import plans
from synth.config import RunSettings
from synth.providers import connect
from ui.look import (
    DECISION_TONE,
    STATUS_TONE,
    STATUSES,
    Html,
    chip,
    empty,
    head,
    language_name,
    notice,
    share_bar,
    status_chip,
    table,
    tiles,
    usd,
)
from ui.session import served, store
from ui.text import shown

LANGUAGES = ("en", "zh", "ms", "ta")
LANGUAGE = "language"
THIN = 50
MOST_COLUMNS = 16  # of the heat map; an axis with more values shows its largest


def page() -> None:
    figures = overview(store())
    head("Overview", "What there is, in which state, and where it is thin.")
    if not figures.examples:
        empty(
            "This workspace is empty",
            "Write examples from a built-in prompt (no key needed), or bring in your own file. They appear here within a second.",
            command="synth run prompt=general_ok n=100\ncurate import posts.csv columns.text=body constants.language=en",
        )
        return
    done = sum(count for _, count in figures.people)
    tiles([
        (f"{figures.examples:,}", "examples"),
        *((f"{figures.statuses[status]:,}", status) for status in STATUSES if figures.statuses.get(status)),
        (f"{done:,}", "decisions of people that stand"),
    ])  # fmt: skip
    share_bar([(status, figures.statuses.get(status, 0), STATUS_TONE[status]) for status in STATUSES])
    st.html('<div class="t-chips">' + "".join(status_chip(status) for status in STATUSES) + "</div>")
    coverage(store())
    left, right = st.columns(2, gap="large")
    with left:
        prompts(figures)
        reviewers(figures)
    with right:
        rejects(figures)
        costs(figures)


# -- coverage ----------------------------------------------------------------------------------------------------


@st.fragment
def coverage(of: Store) -> None:
    """The heat map, and the command that fills one of its thin cells."""
    st.subheader("Coverage", anchor=False)
    known = [LANGUAGE, *axes(of)]
    asked = st.query_params.get("by", LANGUAGE)
    first, second = st.columns([2, 1])
    by = first.selectbox("Label and category by", known, index=known.index(asked) if asked in known else 0)
    thin = int(second.number_input("Thin is fewer usable examples than", 1, 1_000_000, THIN, step=10))
    if by == LANGUAGE:
        st.query_params.pop("by", None)
        cells = whole(by_language(of), LANGUAGES)
    else:
        st.query_params["by"] = by
        cells = whole(by_axis(of, by))
    if dropped := _narrowed(cells):
        st.caption(f"The {MOST_COLUMNS} largest values of {by}; {dropped} more are not shown.")
    st.html(_heat(cells, by, thin))
    _fill(of, cells, by, thin)


def _narrowed(cells: list[Cell]) -> int:
    """Leave the largest columns; how many went."""
    sizes: dict[str, int] = {}
    for cell in cells:
        sizes[cell.column] = sizes.get(cell.column, 0) + cell.examples
    gone = set(sorted(sizes, key=lambda name: (-sizes[name], name))[MOST_COLUMNS:])
    cells[:] = [cell for cell in cells if cell.column not in gone]
    return len(gone)


def _heat(cells: list[Cell], by: str, thin: int) -> Html:
    columns = list(dict.fromkeys(cell.column for cell in cells))
    rows: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.row, []).append(cell)
    peak = max((cell.usable for cell in cells), default=0) or 1

    def drawn(cell: Cell) -> str:
        title = f"{cell.usable:,} usable of {cell.examples:,}"
        if cell.usable < thin:
            tone = "t-bad" if not cell.usable else "t-warn"
            return f'<td class="{tone}" title="{title}">{cell.usable or "none"}</td>'
        # the square root keeps small cells apart where one is far larger than the rest
        share = round(10 + 30 * (cell.usable / peak) ** 0.5)
        return f'<td style="background:color-mix(in srgb, var(--t-good) {share}%, transparent)" title="{title}">{cell.usable:,}</td>'

    top = "".join(
        f'<th scope="col">{escape(language_name(name)) if by == LANGUAGE else shown(name)}</th>' for name in columns
    )
    body = "".join(
        f'<tr><th scope="row">{shown(named(own[0]))}</th>{"".join(map(drawn, own))}</tr>' for own in rows.values()
    )
    about = f"usable examples of each label and category by {by}"
    return Html(
        f'<div class="t-scroll"><table class="t-heat" aria-label="{escape(about)}"><thead><tr><td></td>{top}</tr></thead>'
        f'<tbody>{body}</tbody></table></div><p class="t-quiet">Usable examples: kept by a person, or passed by the checks.</p>'
    )


def _fill(of: Store, cells: list[Cell], by: str, thin: int) -> None:
    wanting = sorted((cell for cell in cells if cell.usable < thin), key=lambda cell: (cell.usable, cell.row))
    if not wanting:
        st.caption(f"No cell has fewer than {thin:,} usable examples.")
        return
    chosen = st.selectbox(
        f"Fill a thin cell ({len(wanting):,})",
        wanting,
        format_func=lambda cell: (
            f"{named(cell)}, {language_name(cell.column) if by == LANGUAGE else cell.column}: {cell.usable:,}"
        ),
    )
    try:
        command = filling(of, chosen, thin, axis=None if by == LANGUAGE else by, workspace=served().settings.workspace)
        _can_run(command)
    except TilthError as error:
        notice(f"No run fills it as it is: {error}", "info")
        return
    st.code(command, language=None, wrap_lines=True)


def _can_run(command: str) -> None:
    """Plan the run and ask nothing: its prompt may be gone by now, or know no such language.

    Raises:
        TilthError: it would be refused.
    """
    settings = load(RunSettings, shlex.split(command)[2:])
    chosen = plans(settings)
    if settings.provider == "offline":  # whose grammars need not speak all languages of a prompt
        connect(settings, plans=chosen, assets=settings.workspace / "assets", price=None)


# -- the rest ----------------------------------------------------------------------------------------------------


def prompts(figures: Overview) -> None:
    st.subheader("Prompts", anchor=False)
    if not figures.prompts:
        st.caption("No example came from a prompt: all were imported.")
        return
    by_prompt: dict[str, dict[str, int]] = {}
    for prompt, status, count in figures.prompts:
        by_prompt.setdefault(prompt, {})[status] = count
    used = [status for status in STATUSES if any(status in counts for counts in by_prompt.values())]
    st.html(
        table(
            ["prompt", "examples", *used],
            (
                [shown(prompt), f"{sum(counts.values()):,}", *(f"{counts.get(status, 0):,}" for status in used)]
                for prompt, counts in by_prompt.items()
            ),
            numbers=frozenset(range(1, 2 + len(used))),
        )
    )


def rejects(figures: Overview) -> None:
    st.subheader("Flagged and dropped, by reason", anchor=False)
    if not figures.rejects:
        st.caption("No check, judge or person has flagged or dropped anything.")
        return
    st.html(
        table(
            ["by", "decision", "reason", "examples"],
            (
                [shown(who), Html(chip(decision, DECISION_TONE.get(decision, "plain"))), shown(why or ""), f"{count:,}"]
                for who, decision, why, count in figures.rejects[:15]
            ),
            numbers=frozenset({3}),
        )
    )
    if len(figures.rejects) > 15:
        st.caption(f"{len(figures.rejects) - 15} rarer reasons are not shown.")


def costs(figures: Overview) -> None:
    st.subheader("Cost", anchor=False)
    if not figures.costs:
        st.caption("No model was asked in this workspace.")
        return
    total, answers = sum(row[4] for row in figures.costs), sum(row[3] for row in figures.costs)
    unpriced = sum(row[5] for row in figures.costs)
    doubtful = f", {unpriced:,} of them of unknown price" if unpriced else ""
    st.caption(f"{usd(total)} for {answers:,} answers{doubtful}.")
    if total:
        spent = [
            {"day": f"{day:%Y-%m-%d}", "model": model or "?", "dollars": cost}
            for day, _, model, _, cost, _ in figures.costs
        ]
        st.bar_chart(spent, x="day", y="dollars", color="model", height=180)
    st.html(
        table(
            ["day", "provider", "model", "answers", "cost"],
            (
                [
                    f"{day:%Y-%m-%d}",
                    shown(provider),
                    shown(model),
                    f"{count:,}",
                    usd(cost if cost or not unknown else None),
                ]
                for day, provider, model, count, cost, unknown in reversed(figures.costs[-12:])
            ),
            numbers=frozenset({3, 4}),
        )
    )


def reviewers(figures: Overview) -> None:
    st.subheader("Reviewers", anchor=False)
    if not figures.people:
        st.caption("Nobody has decided on an example yet.")
        return
    st.html(
        table(
            ["reviewer", "examples decided", "of all"],
            ([shown(person), f"{count:,}", f"{count / figures.examples:.1%}"] for person, count in figures.people),
            numbers=frozenset({1, 2}),
        )
    )
    if figures.contested:
        st.caption(f"Reviewers disagree on {figures.contested:,} examples.")
