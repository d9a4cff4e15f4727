"""Adjudicate: the examples on which people differ, with all they said; the word said here ends it."""

import streamlit as st

from curation.errors import TilthError
from curation.records import Decision
from curation.review.decide import decided, undone
from curation.review.queue import Card, Said, cards, contested
from ui import drafts
from ui.cards import CSS, card, shown_chip
from ui.frame import ask_name
from ui.look import DECISION_TONE, Html, chip, empty, head, notice
from ui.session import reviewer, served, store
from ui.text import shown

_SIDES = 9  # keys 1 to 9


def page() -> None:
    name = reviewer()
    if name is None:
        ask_name()
        return
    st.html(f"<style>{CSS}{_CSS}</style>")
    drafts.keys()
    head(
        "Adjudicate",
        "only what reviewers disagree on; 1, 2 side with a person, K, D, F decide otherwise, S skips, U undoes",
    )
    _desk(name)


@st.fragment
def _desk(name: str) -> None:
    if "adjudicated" not in st.session_state:
        st.session_state["adjudicated"] = set()
        served().settle()
    waiting = [one for one in contested(store()) if one not in st.session_state["adjudicated"]]
    skipped: list[str] = st.session_state.setdefault("adjudicate-skipped", [])
    line = [one for one in waiting if one not in skipped] or waiting
    front = cards(store(), line[:1], reviewer=None).get(line[0]) if line else None
    people = _people(front) if front else []
    with st.container(horizontal=True, key="acts"):
        for number, said in enumerate(people[:_SIDES], 1):
            st.button(
                f"As {said.by.removeprefix('human:')}".replace("[", "(").replace("]", ")"), shortcut=str(number), key=f"side-{number}", on_click=_side,
                args=(name, front, said),
            )  # fmt: skip
        for word, key, decision in (
            ("Keep", "k", Decision.KEEP),
            ("Drop", "d", Decision.DROP),
            ("Flag", "f", Decision.FLAG),
        ):
            st.button(
                word,
                shortcut=key,
                key=f"do-{word}",
                disabled=front is None,
                on_click=_say,
                args=(name, front, decision),
            )
        st.button("Skip", shortcut="s", key="do-Skip", disabled=front is None, on_click=_skip, args=(front, skipped))
        st.button("Undo", shortcut="u", key="do-Undo", on_click=_undo, args=(name,))
    st.html(f'<p class="t-quiet t-note" role="status">{len(waiting):,} disagreement{"s" * (len(waiting) != 1)}</p>')
    if trouble := st.session_state.pop("trouble", ""):
        notice(trouble)
    if front is None:
        st.query_params.pop("example", None)
        empty(
            "Nobody disagrees",
            "A share of the examples is given to two people (`ui overlap=0.1`); where their decisions or labels differ, it comes here.",
        )
        return
    main, side = st.columns([2.1, 1], gap="large")
    with main:
        labels = [shown_chip(f"{kind} {value}") for kind, value in front.example.labels.items()]
        st.html(
            f'<div class="t-chips t-above">{"".join(labels)}</div>' + card(front.example, store().workspace / "assets")
        )
    with side:
        st.html(_words("What people said", people))
        st.html(_words("Checks and judges", [said for said in front.said if not said.by.startswith("human:")]))
    st.query_params["example"] = front.example.id  # last, so that the address names what is on the screen


def _people(front: Card) -> list[Said]:
    return [
        said for said in front.said if said.by.startswith("human:") and not said.by.startswith("human:adjudicator:")
    ]


def _words(title: str, words: list[Said]) -> Html:
    rows = "".join(
        f"<li>{chip(said.decision, DECISION_TONE.get(said.decision, 'plain'))} <b>{shown(said.by.removeprefix('human:'))}</b>"
        + (f" {said.score:.2f}" if said.score is not None else "")
        + (f"<br>{shown(said.reason)}" if said.reason else "")
        + (f"<br>{shown(', '.join(f'{k} {v}' for k, v in said.labels.items()))}" if said.labels else "")
        + "</li>"
        for said in words
    )
    return Html(f'<div class="t-why"><h2>{title}</h2><ul>{rows or "<li>nothing</li>"}</ul></div>')


def _on_screen(front: Card) -> bool:
    return st.query_params.get("example") == front.example.id


def _skip(front: Card, skipped: list[str]) -> None:
    if _on_screen(front):
        skipped.append(front.example.id)


def _say(name: str, front: Card, decision: Decision, labels: dict[str, str | int] | None = None) -> None:
    if not _on_screen(front):
        return
    try:
        served().append(decided([front.example.id], f"adjudicator:{name}", decision, labels=labels))
        st.session_state["adjudicated"].add(front.example.id)  # the index knows it a moment later
    except TilthError as error:
        st.session_state["trouble"] = str(error)


def _side(name: str, front: Card, said: Said) -> None:
    """Say what that person said."""
    _say(name, front, Decision(said.decision), said.labels)


def _undo(name: str) -> None:
    try:
        served().flush()
        touched, rows = undone(store(), f"adjudicator:{name}")
        served().append(rows)
        served().settle()
        st.session_state["adjudicated"].difference_update(touched)
    except TilthError as error:
        st.session_state["trouble"] = str(error)


_CSS = """
.st-key-acts { position: sticky; top: 3.2rem; z-index: 20; padding: .35rem 0; gap: .3rem; background: light-dark(#fcfbf8, #131614); }
.t-note { margin: 0; min-height: 1.4rem; } .t-above { margin-bottom: .6rem; }
.t-why h2 { font-size: .95rem; font-weight: 650; padding: 0; margin: 0 0 .35rem; }
.t-why ul { list-style: none; margin: .5rem 0 1rem; padding: 0; font-size: .92rem; } .t-why li { margin: 0 0 .5rem; padding: 0; overflow-wrap: anywhere; }
"""
