"""Duplicates: clusters of near twins with what differs between them, to keep one of or all."""

import json
from collections.abc import Callable
from html import escape
from typing import Any

import streamlit as st

from curation.errors import TilthError
from curation.review.decide import undone
from curation.review.duplicates import (
    ORDERS,
    Cluster,
    Cut,
    Found,
    Order,
    Search,
    cut,
    difference,
    drop_others,
    keep_all,
    keep_one,
    load,
    said_by,
    searches,
    texts,
)
from curation.tables import TableRow
from ui.frame import ask_name
from ui.look import DECISION_TONE, Html, chip, empty, head, language_name, notice, status_chip, tiles
from ui.session import reviewer, served, store
from ui.text import shown

AT_ONCE = 10  # clusters on a page
SHOWN = 4  # members of a cluster, unless all are asked for
MOST = 100
_ORDER: dict[Order, str] = {
    "largest": "largest first",
    "labels": "labels differ first",
    "alike": "most alike first",
}


def page() -> None:
    head("Duplicates", "near twins, with what differs marked; keep one of them, or all")
    st.html(f"<style>{_CSS}</style>")
    known = searches(store())
    if not known:
        there = store().rows("SELECT 1 FROM examples LIMIT 1")
        empty(
            "No search for duplicates was made yet" if there else "There are no examples yet",
            "A search compares every text with every other, a million in minutes, and keeps the pairs. Nothing is removed by it."
            if there
            else "Make some, then search them for near twins.",
            command=("" if there else f"synth run prompt=general_ok n=100 workspace={store().workspace}\n")
            + f"curate dedup threshold=0.7 workspace={store().workspace}",
        )
        return
    name = reviewer()
    if name is None:
        ask_name()
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="large"):
        search = _asked(known)
        at = search.threshold
        if search.threshold < 1:
            low = round(search.threshold, 2)
            at = st.slider("Alike from (Jaccard)", low, 1.0, low, 0.01, key="alike", bind="query-params", width=300)
        order: Order = st.selectbox(
            "Order", ORDERS, key="order", bind="query-params", format_func=_ORDER.__getitem__, width=210
        )
        settled = st.toggle("Also settled ones", key="settled", bind="query-params")
    found = _pairs(str(store().workspace), search.id)
    clusters = cut(store(), found, at, settled=settled, order=order)
    _summary(search, clusters)
    if trouble := st.session_state.pop("trouble", ""):
        notice(trouble)
    if not clusters:
        empty(
            "No cluster is open at this threshold" if found.ids else "This search found no near twins",
            "Lower the threshold, or turn on the settled ones."
            if found.ids
            else "A lower threshold finds more distant ones:",
            command="" if found.ids else f"curate dedup threshold=0.5 workspace={store().workspace}",
        )
        _undo(name)
        return
    _acts(clusters, name)
    pages = -(-len(clusters) // AT_ONCE)
    number = 1
    if pages > 1:
        number = min(pages, st.pagination(pages, key="page", bind="query-params"))
    some = clusters.page((number - 1) * AT_ONCE, number * AT_ONCE)
    about = texts(store(), [one for cluster in some for one in cluster.members[:MOST]])
    mine = said_by(store(), list(about), name)
    for cluster in some:
        _cluster(cluster, about, mine, name)


@st.cache_resource(max_entries=4, show_spinner="Reading the pairs ...")
def _pairs(_workspace: str, search: str) -> Found:
    return load(store(), search)


def _asked(known: list[Search]) -> Search:
    """The search to show; the latest, unless another is chosen."""
    if len(known) == 1:
        return known[0]
    by_id = {one.id: one for one in known}
    chosen = st.selectbox(
        "Search", list(by_id), key="search", bind="query-params", width=330, format_func=lambda one: _described(by_id[one])
    )  # fmt: skip
    return by_id[chosen]


def _described(search: Search) -> str:
    what = ", ".join(f"{name} {' '.join(values)}" for name, values in json.loads(search.selector).items())
    return f"{search.made_at:%d %b %H:%M} · {what or 'all'} · from {search.threshold:g}"


def _summary(search: Search, clusters: Cut) -> None:
    tiles([
        (f"{len(clusters):,}", "clusters"), (f"{clusters.examples:,}", "examples in them"),
        (f"{clusters.examples - len(clusters):,}", "more than one of each"),
        (f"{int(clusters.differ.sum()):,}", "clusters whose labels differ"),
    ])  # fmt: skip
    now = int(store().rows("SELECT count(*) FROM examples")[0][0])
    said = f"The search of {search.made_at:%Y-%m-%d %H:%M} UTC looked at {search.examples:,} examples and kept {search.pairs:,} pairs."
    if now > search.examples and not json.loads(search.selector):
        said += f" There are {now - search.examples:,} more now: curate dedup threshold={search.threshold:g} workspace={store().workspace}"
    st.html(f'<p class="t-quiet">{escape(said)}</p>')


# -- acts ----------------------------------------------------------------------------------------------------------


def _acts(clusters: Cut, name: str) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        more = clusters.examples - len(clusters)
        with st.popover(f"Keep the first of each of {len(clusters):,} clusters", icon=":material/done_all:"):
            st.write(
                f"Drops {more:,} examples, all but the first of each cluster at this threshold: the one that a person kept, else one "
                "that the checks passed. One act: Undo takes it back whole."
            )
            st.button(
                f"Drop {more:,} examples", type="primary", key="drop-all", on_click=_act,
                args=(lambda: drop_others(clusters, name), f"{more:,} examples dropped"),
            )  # fmt: skip
        _undo(name)
        if note := st.session_state.pop("note", ""):
            st.html(f'<p class="t-quiet" role="status">{escape(note)}</p>')


def _undo(name: str) -> None:
    st.button("Undo", key="undo", icon=":material/undo:", shortcut="u", on_click=_take_back, args=(name,))


def _act(rows: Callable[[], list[TableRow]], note: str) -> None:
    """Write an act and have it counted before the page is drawn again."""
    try:
        served().append(rows())
        served().settle()
        st.session_state["note"] = note
    except TilthError as error:
        st.session_state["trouble"] = str(error)


def _take_back(name: str) -> None:
    try:
        served().settle()
        ids, rows = undone(store(), name)
        if rows:
            served().append(rows)
            served().settle()
        st.session_state["note"] = f"taken back for {len(ids):,} examples" if ids else "there is nothing to take back"
    except TilthError as error:
        st.session_state["trouble"] = str(error)


# -- a cluster -----------------------------------------------------------------------------------------------------


def _cluster(cluster: Cluster, about: dict[str, dict[str, Any]], mine: dict[str, str], name: str) -> None:
    first, size = cluster.members[0], len(cluster.members)
    with st.container(border=True, key=f"cluster-{first}"):
        alike = f"{cluster.least:.2f}" if cluster.least == cluster.most else f"{cluster.least:.2f} to {cluster.most:.2f}"  # fmt: skip
        with st.container(horizontal=True, vertical_alignment="center"):
            chips = [chip(f"{size:,} twins"), chip(f"alike {alike}")]
            if cluster.labels_differ:
                chips.append(chip("labels differ", "warn"))
            st.html(f'<div class="t-chips">{"".join(chips)}</div>')
            st.button(
                "Keep all", key=f"all-{first}", icon=":material/select_all:", on_click=_act,
                args=(lambda: keep_all(cluster, name), f"{size:,} twins kept"),
            )  # fmt: skip
            every = size > SHOWN and st.toggle(f"Show all {size:,}", key=f"every-{first}")
        limit = MOST if every else SHOWN
        for at, one in enumerate(cluster.members[:limit]):
            if one not in about:
                continue
            words, button = st.columns([5, 1], vertical_alignment="top")
            with words:
                st.html(_member(about[one], about.get(first, about[one]), mine.get(one, ""), at=at))
            with button:
                st.button(
                    "Keep this one", key=f"one-{first}-{one}", type="primary" if at == 0 else "secondary", width="stretch",
                    on_click=_act, args=(lambda one=one: keep_one(cluster, one, name), f"one kept, {size - 1:,} dropped"),
                )  # fmt: skip
        if size > limit:
            st.html(f'<p class="t-quiet">and {size - limit:,} more, which the buttons decide on too</p>')


def _member(its: dict[str, Any], first: dict[str, Any], mine: str, *, at: int) -> Html:
    """A text with its labels; from the second on with what differs from the first marked."""
    labels = [str(its[key]) for key in ("label", "category", "severity") if its[key] is not None]
    chips = [chip(language_name(its["language"])), *map(chip, labels), status_chip(its["status"])]
    if mine:
        chips.append(chip(f"you: {mine}", DECISION_TONE.get(mine, "plain")))
    if at == 0:
        body = shown(its["content"])
    else:
        parts = difference(first["content"], its["content"])
        if all(kind == "same" for kind, _ in parts):
            chips.append(chip("the same words", "info"))
        tags = {
            "same": "{}",
            "more": '<ins title="only here">{}</ins>',
            "less": '<del title="only in the first">{}</del>',
        }
        body = Html("".join(tags[kind].format(shown(words)) for kind, words in parts))
    where = f'<a href="/review?example={escape(its["id"])}" target="_self">{escape(its["id"][:12])}</a>'
    return Html(
        f'<div class="t-twin"><div class="t-text" dir="auto" lang="{escape(its["language"])}">{body}</div>'
        f'<div class="t-chips">{"".join(chips)} <small class="t-quiet">{where}</small></div></div>'
    )


_CSS = """
.t-twin { border-left: 3px solid var(--t-line); padding: .1rem 0 .1rem .8rem; }
.t-twin .t-text { max-height: 16rem; overflow-y: auto; margin-bottom: .35rem; }
.t-twin a { color: inherit; }
.t-twin ins { text-decoration: none; background: var(--t-good-bg); color: var(--t-good); border-radius: 3px; padding: 0 .1em; }
.t-twin del { background: var(--t-bad-bg); color: var(--t-bad); border-radius: 3px; padding: 0 .1em; }
"""
