"""Review: one example at a time, decided by keys; why it is here and where it came from are a key away."""

from collections.abc import Callable
from typing import get_args

import streamlit as st

from curation.errors import InputError, TilthError
from curation.records import QA, Decision, Dialogue, Moderation, Preference, Safety
from curation.review.queue import FILTERS, ORDERS, Card, Filters, Order, Queue, choices, cluster, everything
from curation.tables import AnyExample
from ui import drafts
from ui.cards import CSS, card, pages, shown_chip
from ui.frame import ask_name
from ui.line import Line, line_of
from ui.look import DECISION_TONE, Html, chip, empty, head, language_name, notice, status_chip
from ui.origin import origin
from ui.session import reviewer, served, store
from ui.text import shown

ABOUT = {
    "uncertain": "Uncertain first", "disagreement": "Checks and judges disagree", "thin": "Thin cells first",
    "audit": "Random audit sample", "newest": "Newest first",
}  # fmt: skip
KEYS = (
    ("K", "keep"), ("D", "drop"), ("F", "flag for somebody to look at"), ("W", "decide with a reason"), ("L", "relabel"),
    ("E", "edit: the new text is kept, the old one dropped"), ("S", "skip: not shown again until the page is reloaded"),
    ("U", "undo the last act, however many examples it touched"), ("N", "next, without deciding"), ("P", "previous"),
    ("A", "all like this: one decision for a cluster or a filter"), ("O", "where it came from"), ("Esc", "close"), ("?", "this sheet"),
)  # fmt: skip
_SHEET = (
    '<div class="t-sheet">'
    + "".join(f'<div><kbd class="t-key">{key}</kbd> {what}</div>' for key, what in KEYS)
    + "</div>"
)
Labels = dict[str, str | int]


def page() -> None:
    name = reviewer()
    if name is None:
        ask_name()
        return
    st.html(f"<style>{CSS}{_CSS}</style>")
    drafts.keys()
    asked = st.query_params
    order = asked.get("order", "uncertain")
    if order not in ORDERS:
        raise InputError(f"order={order}: there is no such order; take one of {', '.join(ORDERS)}")
    filters = Filters(**{kind: tuple(asked.get_all(kind)) for kind in FILTERS}, text=asked.get("text", ""))
    seed = asked.get("seed", "0")
    queue = Queue(
        name,
        order,
        filters,
        overlap=served().settings.overlap,
        mine=asked.get("which") == "mine",
        seed=int(seed) if seed.isdigit() else 0,
    )
    head("Review", "one example at a time; press ? for the keys")
    _choose(queue)
    _desk(queue)


# -- what is reviewed ----------------------------------------------------------------------------------------------


def _choose(queue: Queue) -> None:
    known = choices(store())
    chosen = sum(len(getattr(queue.filters, kind)) for kind in FILTERS) + bool(queue.filters.text)
    with st.container(horizontal=True, vertical_alignment="bottom", key="choose"):
        st.selectbox(
            "Order", get_args(Order), index=ORDERS.index(queue.order), format_func=ABOUT.__getitem__, key="f-order", width=240,
            on_change=_chosen,
        )  # fmt: skip
        st.segmented_control(
            "Show", ("open", "mine"), default="mine" if queue.mine else "open", key="f-which", on_change=_chosen,
            format_func={"open": "Waiting for me", "mine": "Decided by me"}.__getitem__,
        )  # fmt: skip
        with st.popover(f"Filter ({chosen})" if chosen else "Filter", icon=":material/filter_alt:"):
            for kind in FILTERS:
                values = getattr(queue.filters, kind)
                st.multiselect(
                    kind.capitalize(), sorted({*known[kind], *values}), default=values, key=f"f-{kind}", on_change=_chosen,
                    format_func=language_name if kind == "language" else str, placeholder="any",
                )  # fmt: skip
            st.text_input("Text contains", value=queue.filters.text, key="f-text", on_change=_chosen)
            st.caption("The address of this page carries the filter: send it to a colleague.")


def _chosen() -> None:
    """The widgets' state into the address, which is what the page goes by."""
    given, asked = st.session_state, st.query_params
    asked.pop("example", None)
    asked.pop("panel", None)
    for kind in FILTERS:
        asked[kind] = given[f"f-{kind}"]
    for name, value, usual in (
        ("order", given["f-order"], "uncertain"), ("which", given["f-which"] or "open", "open"), ("text", given["f-text"], ""),
    ):  # fmt: skip
        if value == usual:
            asked.pop(name, None)
        else:
            asked[name] = value


# -- the example in front ------------------------------------------------------------------------------------------


@st.fragment
def _desk(queue: Queue) -> None:
    line = line_of(queue)
    front = line.front()
    panel = st.query_params.get("panel", "")
    _buttons(line, front)
    left = f"{line.waiting:,} {'decided by you' if queue.mine else 'waiting for you'}"
    st.html(f'<p class="t-quiet t-note" role="status">{shown(f"{left} · {line.note}" if line.note else left)}</p>')
    # every part has its place, filled or not: what stands below a panel does not move to another place when it closes
    above = st.container()
    with above:
        if trouble := st.session_state.pop("trouble", ""):
            notice(trouble)
        if panel == "keys":
            with st.container(border=True, key="panel"):
                st.html(_SHEET)
    if front is None:
        _nothing(queue)
        st.query_params.pop("example", None)
        return
    assets = store().workspace / "assets"
    steps = line.steps.get(front.example.id, [])
    main, side = st.columns([1.25, 1] if steps else [2.1, 1], gap="large")
    with main:
        over, under = st.container(), st.container()
        if panel in _PANELS:
            with over, st.container(border=True, key="panel"):
                _PANELS[panel](line, front)
                drafts.keep(front.example.id, panel)
        under.html(_labels(front.example) + card(front.example, assets))
    with side:
        st.html(pages(steps, assets) + _why(front))
        if panel == "origin":
            with st.container(border=True, key="panel"):
                origin(front)
    if line.forget:
        drafts.forget(line.forget)
        line.forget = ""
    st.query_params["example"] = front.example.id  # last, so that the address names what is on the screen


def _buttons(line: Line, front: Card | None) -> None:
    none = front is None
    with st.container(horizontal=True, key="acts"):
        for word, key, kind, what, off in (
            ("Keep", "k", "primary", lambda: line.decide(Decision.KEEP), none),
            ("Drop", "d", "secondary", lambda: line.decide(Decision.DROP), none),
            ("Flag", "f", "secondary", lambda: line.decide(Decision.FLAG), none),
            ("Reason", "w", "secondary", lambda: _open("reason"), none),
            ("Relabel", "l", "secondary", lambda: _open("relabel"), none or not front or not front.example.labels
             or isinstance(front.example, Dialogue)),
            ("Edit", "e", "secondary", lambda: _open("edit"), none),
            ("Skip", "s", "secondary", line.skip, none),
            ("Undo", "u", "secondary", line.undo, False),
            ("Previous", "p", "tertiary", lambda: line.move(-1), none or line.at == 0),
            ("Next", "n", "tertiary", lambda: line.move(1), none),
            ("All like this", "a", "tertiary", lambda: _open("all"), none),
            ("Origin", "o", "tertiary", lambda: _open("origin"), none),
        ):  # fmt: skip
            why_off = "nothing is labelled here: edit it, or decide" if word == "Relabel" and off and front else None
            st.button(
                word, key=f"do-{word}", shortcut=key, type=kind, on_click=_safely, args=(line, what), disabled=off, help=why_off  # type: ignore[arg-type]
            )  # fmt: skip
        st.button("Keys (?)", key="keys", type="tertiary", on_click=_open, args=("keys",))
        if st.query_params.get("panel"):
            st.button("Close (Esc)", key="close", type="tertiary", on_click=_open, args=("",))


def _safely(line: Line, act: Callable[[], None]) -> None:
    """Do it; what is wrong with it is said on the page, and the example stays in front.

    A key that was pressed before its example was on the screen does nothing: the address in the browser names the one that was.
    """
    if line.at < len(line.ids) and st.query_params.get("example") != line.ids[line.at]:
        line.note = "a key came before this example was shown, so it did nothing"
        return
    try:
        act()
    except TilthError as error:
        st.session_state["trouble"] = str(error)


def _open(panel: str) -> None:
    st.session_state.pop("scopes", None)
    if panel and st.query_params.get("panel") != panel:
        st.query_params["panel"] = panel
    else:
        st.query_params.pop("panel", None)


# -- panels --------------------------------------------------------------------------------------------------------


def _reason(line: Line, front: Card) -> None:
    key = f"reason-{front.example.id}"

    def said(decision: Decision) -> None:
        _safely(line, lambda: line.decide(decision, reason=st.session_state[key]))

    with st.form(f"form-{key}", border=False):
        st.text_input(
            "Reason", key=key, placeholder="what a colleague should know, then Enter to drop", max_chars=2_000
        )
        with st.container(horizontal=True):
            st.form_submit_button("Drop with this reason", type="primary", on_click=said, args=(Decision.DROP,))
            st.form_submit_button("Flag with it", on_click=said, args=(Decision.FLAG,))
            st.form_submit_button("Keep with it", on_click=said, args=(Decision.KEEP,))


def _relabel(line: Line, front: Card) -> None:
    def said() -> None:
        _safely(line, lambda: line.decide(Decision.KEEP, labels=_said_labels(front.example)))

    with st.form(f"form-relabel-{front.example.id}", border=False):
        _label_fields(front.example)
        st.form_submit_button("Keep with these labels (Ctrl+Enter)", type="primary", on_click=said)


def _label_fields(example: AnyExample) -> None:
    known = sorted({*choices(store())["category"], "none", str(example.labels.get("category", "none"))})
    words = ("allowed", "disallowed") if isinstance(example, Moderation) else ("comply", "refuse")
    one = example.id
    st.radio("Label", words, index=words.index(str(example.labels["label"])), key=f"label-{one}", horizontal=True)
    st.selectbox("Category", known, index=known.index(str(example.labels["category"])), key=f"category-{one}")
    if isinstance(example, Moderation):
        st.radio("Severity", (0, 1, 2, 3), index=example.severity, key=f"severity-{one}", horizontal=True)


def _said_labels(example: AnyExample) -> Labels:
    given: Labels = {name: st.session_state[f"{name}-{example.id}"] for name in example.labels}
    return given


def _edit(line: Line, front: Card) -> None:
    example, one = front.example, front.example.id
    fields = _fields(example)

    def said() -> None:
        given = {name: st.session_state[f"edit-{name}-{one}"] for name, _, _ in fields}
        _safely(line, lambda: line.edit(front, _changes(example, given), st.session_state[f"why-{one}"]))

    with st.form(f"form-edit-{one}", border=False):
        for name, what, value in fields:
            st.text_area(what, value=value, key=f"edit-{name}-{one}", height="content")
        st.text_input("Why", key=f"why-{one}", placeholder="optional")
        st.form_submit_button("Save as a new example (Ctrl+Enter)", type="primary", on_click=said)


def _fields(example: AnyExample) -> list[tuple[str, str, str]]:
    """(field, what it is called, its text) of all that can be edited."""
    match example:
        case Moderation():
            return [(name, name.capitalize(), value) for name in ("title", "text", "caption")
                    if (value := getattr(example, name)) is not None]  # fmt: skip
        case Dialogue():
            return [(str(at), f"{at + 1} {turn.role}", turn.content) for at, turn in enumerate(example.turns)]
        case Preference():
            return [(name, name.capitalize(), getattr(example, name)) for name in ("prompt", "chosen", "rejected")]
        case Safety():
            return [(name, name.capitalize(), getattr(example, name)) for name in ("prompt", "response")]
        case QA():
            return [(name, name.capitalize(), getattr(example, name)) for name in ("question", "answer")]


def _changes(example: AnyExample, given: dict[str, str]) -> dict[str, object]:
    if not isinstance(example, Dialogue):
        return dict(given)
    turns = [turn.model_copy(update={"content": given[str(at)]}) for at, turn in enumerate(example.turns)]
    return {"turns": [turn.model_dump(mode="json") for turn in turns]}


def _all(line: Line, front: Card) -> None:
    """One decision for a cluster or a filter, with how many it would touch."""
    example, one = front.example, front.example.id
    held = st.session_state.get("scopes")
    if held is None or held[0] != one:  # what is decided for is what was counted here, whatever comes in meanwhile
        held = st.session_state["scopes"] = (one, cluster(store(), one), everything(store(), line.queue))
    scopes = {"twins": held[1], "filter": held[2]}
    about = {
        "twins": f"this example and its near twins ({len(scopes['twins']):,})",
        "filter": f"all that this filter leaves waiting for me ({len(scopes['filter']):,})",
    }
    labelled = isinstance(example, Moderation | Safety)
    acts = ("drop", "keep", "flag", *(("relabel",) if labelled else ()))

    def said() -> None:
        act, ids = st.session_state[f"act-{one}"], scopes[st.session_state[f"scope-{one}"]]
        labels = _said_labels(example) if act == "relabel" else None
        decision = Decision.KEEP if labels else Decision(act)
        _safely(line, lambda: line.bulk(ids, decision, reason=st.session_state[f"all-reason-{one}"], labels=labels))

    with st.form(f"form-all-{one}", border=False):
        st.radio("Decide for", tuple(scopes), key=f"scope-{one}", format_func=about.__getitem__)
        st.radio("Decision", acts, key=f"act-{one}", horizontal=True)
        if labelled:
            with st.expander("Labels, if you relabel"):
                _label_fields(example)
        st.text_input("Reason", key=f"all-reason-{one}", placeholder="optional")
        st.form_submit_button("Decide for all of them (Ctrl+Enter)", type="primary", on_click=said)


_PANELS = {"reason": _reason, "relabel": _relabel, "edit": _edit, "all": _all}


# -- what is known of it -------------------------------------------------------------------------------------------


def _labels(example: AnyExample) -> str:
    parts = [shown_chip(language_name(example.language)), chip(example.task)]
    parts += [shown_chip(f"{name} {value}", "bad" if value in ("disallowed", "refuse") else "plain")
              for name, value in example.labels.items()]  # fmt: skip
    return f'<div class="t-chips t-above">{"".join(parts)}</div>'


def _why(front: Card) -> Html:
    """Why it is before a person: what was said of it, and its near twins."""
    words = "".join(
        f"<li>{chip(said.decision, DECISION_TONE.get(said.decision, 'plain'))} "
        f"<b>{shown('you' if said.by.startswith('human:') else said.by)}</b>"
        + (f" {said.score:.2f}" if said.score is not None else "")
        + (f"<br>{shown(said.reason)}" if said.reason else "")
        + (f"<br>{shown(', '.join(f'{k} {v}' for k, v in said.labels.items()))}" if said.labels else "")
        + "</li>"
        for said in front.said
    )
    twins = "".join(
        f"<li>{score:.2f} alike: {shown(one[:12])}, O shows what differs</li>" for one, score in front.twins[:5]
    )
    more = f"<li>and {len(front.twins) - 5:,} more</li>" if len(front.twins) > 5 else ""
    return Html(
        f'<div class="t-why"><h2>Why it is here</h2><div class="t-chips">{status_chip(front.status)}</div>'
        f"<ul>{words or '<li>No check and no judge has said anything of it.</li>'}</ul>"
        + (f"<h2>Near twins</h2><ul>{twins}{more}</ul>" if twins else "")
        + "</div>"
    )


def _nothing(queue: Queue) -> None:
    if queue.mine:
        empty("You have decided nothing here yet", "Choose “Waiting for me”, or take a filter away.")
    elif queue.filters != Filters():
        empty("Nothing in this filter waits for you", "Take a filter away, or choose another order.")
    elif store().rows("SELECT 1 FROM examples LIMIT 1"):
        empty(
            "Nothing waits for you",
            "Everything is decided, or waits for a second person. Skipped examples come back on a reload.",
        )
    else:
        empty(
            "Nothing to review yet", "Examples appear here within a second of being written.",
            command="synth run prompt=general_ok n=100",
        )  # fmt: skip


_CSS = """
.st-key-acts { position: sticky; top: 3.2rem; z-index: 20; padding: .35rem 0; gap: .2rem; background: light-dark(#fcfbf8, #131614); }
.st-key-acts button { padding: .15rem .42rem; min-height: 2.2rem; } .st-key-acts button[kind=tertiary] { padding: .15rem .18rem; }
.st-key-acts button p { font-size: .92rem; }
.t-note { margin: 0; min-height: 1.4rem; }
.t-above { margin-bottom: .6rem; }
.t-why h2 { font-size: .95rem; font-weight: 650; padding: 0; margin: 0 0 .35rem; } .t-why ul + h2 { margin-top: .8rem; }
.t-why ul { list-style: none; margin: .5rem 0 0; padding: 0; font-size: .92rem; } .t-why li { margin: 0 0 .5rem; padding: 0; overflow-wrap: anywhere; }
.t-sheet { display: grid; grid-template-columns: repeat(auto-fit, minmax(17rem, 1fr)); gap: .4rem 1.5rem; }
"""
