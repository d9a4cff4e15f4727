"""Documents: the pages of SOPs, what cites them, what nothing cites, and their outlines to correct."""

import tempfile
from pathlib import Path

import streamlit as st

from curation.citations import Citation, Shelved, citing, shelved, uncited
from curation.courses import flaws
from curation.documents import Document, Outline, Step
from curation.errors import InputError, TilthError
from curation.review.sources import Cited
from curation.shelf import current_outline, document, save_outline
from synth import outline_text
from ui.cards import CSS, shot
from ui.frame import ask_name
from ui.look import Html, chip, empty, head, notice, status_chip, table, tiles
from ui.session import reviewer, served, store
from ui.text import shown

SHOWN = 40  # examples that are listed for a page


def page() -> None:
    st.html(f"<style>{CSS}</style>")
    head("Documents", "what stands on each page, and what rests on it")
    shelf = shelved(store())
    if not shelf:
        empty(
            "No document was taken in yet",
            "PDF, Word, HTML, Markdown, text and images become pages that dialogues can cite. The five SOPs that come with Tilth will do.",
            command=f"synth render documents=docs/examples/sops workspace={served().settings.workspace}",
        )
        return
    ids = [one.id for one in shelf]
    asked = st.query_params.get("document", ids[0])
    if asked not in ids:  # a name, or a rendering that is there no more
        asked = next((one.id for one in shelf if one.name == asked), ids[0])
    names = {one.id: _title(one) for one in shelf}
    picked = st.selectbox("Document", ids, index=ids.index(asked), format_func=names.__getitem__)
    if picked != asked:
        st.query_params.pop("page", None)
    st.query_params["document"] = picked
    _one(next(one for one in shelf if one.id == picked))
    with st.expander(f"All documents ({len(shelf):,})"):
        st.html(
            table(
                ["document", "pages", "cited", "examples", "outline by", "from"],
                (
                    [shown(one.title or one.name), f"{one.pages:,}", f"{one.cited_pages:,}", f"{one.examples:,}",
                     shown(one.outlined_by or "none yet"), shown(one.path)]
                    for one in shelf
                ),
                numbers=frozenset({1, 2, 3}),
            )
        )  # fmt: skip


def _title(one: Shelved) -> str:
    return f"{one.title or one.name} ({one.pages} page{'s' * (one.pages != 1)}, {one.examples:,} example{'s' * (one.examples != 1)})"


@st.fragment
def _one(shelf: Shelved) -> None:
    whole = document(store(), shelf.id)
    outline = current_outline(store(), shelf.id)
    unread = uncited(store(), shelf.id)
    tiles([
        (f"{shelf.pages:,}", "pages"), (f"{shelf.cited_pages:,}", "pages that something cites"),
        (f"{shelf.examples:,}", "examples that cite them"), (str(len(outline.steps)) if outline else "none", "steps in the outline"),
    ])  # fmt: skip
    if unread and shelf.examples:
        st.html(
            f'<p class="t-quiet">Nothing cites page{"s" * (len(unread) != 1)} {", ".join(map(str, unread[:60]))}'
            f"{' and more' if len(unread) > 60 else ''}.</p>"
        )
    number = _pick(shelf, {one.page for one in citing(store(), shelf.id)})
    there = citing(store(), shelf.id, number, dropped=True)
    steps = [step for step in outline.steps if step.place.page == number] if outline else []
    left, right = st.columns([1.1, 1], gap="large")
    with left:
        _image(whole, number, steps)
    with right:
        _steps(steps, outline, there)
        _examples(there)
        _outline(whole, outline)


def _pick(shelf: Shelved, cited: set[int]) -> int:
    asked = st.query_params.get("page", "")
    number = int(asked) if asked.isdigit() and 1 <= int(asked) <= shelf.pages else min(cited, default=1)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox(
            "Page", range(1, shelf.pages + 1), index=number - 1, width=260, key=f"page-{shelf.id}-{number}",
            format_func=lambda at: f"{at} of {shelf.pages}{'' if at in cited else ', cited by nothing'}",
        )  # fmt: skip
        st.button("Previous page", disabled=number == 1, on_click=_turn, args=(number - 1,))
        st.button("Next page", disabled=number == shelf.pages, on_click=_turn, args=(number + 1,))
    if chosen != number:
        _turn(chosen)
        st.rerun(scope="fragment")
    st.query_params["page"] = str(number)
    return number


def _turn(number: int) -> None:
    st.query_params["page"] = str(number)


def _image(whole: Document, number: int, steps: list[Step]) -> None:
    one = whole.pages[number - 1]
    marks = [Cited(step.id, step.text, number, step.place.box, one.image) for step in steps]
    st.html(f'<div class="t-page">{shot(one.image, number, marks, store().workspace / "assets")}</div>')
    with st.expander("The page's text"):
        st.html(f'<div class="t-quiet">{shown(one.text)}</div>' if one.text else "<p>no text was found on it</p>")


def _steps(steps: list[Step], outline: Outline | None, there: list[Citation]) -> None:
    st.subheader("Steps on this page", anchor=False)
    if not steps:
        st.caption("No step of the outline stands on this page." if outline else "There is no outline yet.")
        return
    count = {
        step.id: len({one.example for one in there if one.step == step.id and one.status != "dropped"})
        for step in steps
    }
    st.html(
        table(
            ["step", "", "says", "cited by"],
            ([shown(step.id), Html(chip(step.kind)), _says(step), f"{count[step.id]:,}"] for step in steps),
            numbers=frozenset({3}),
        )
    )


def _says(step: Step) -> Html:
    more = [f"only if {step.when}"] if step.when else []
    more += [f"wants {', '.join(step.evidence)}"] if step.evidence else []
    more += [f"{branch.when} → {branch.to}" for branch in step.branches] + (
        [f"then → {step.then}"] if step.then else []
    )
    return Html(shown(step.text) + (f'<br><span class="t-quiet">{shown("; ".join(more))}</span>' if more else ""))


def _examples(there: list[Citation]) -> None:
    st.subheader("What cites this page", anchor=False)
    by_example: dict[str, list[Citation]] = {}
    for one in there:
        by_example.setdefault(one.example, []).append(one)
    if not by_example:
        st.caption("Nothing yet.")
        return
    st.html(
        table(
            ["example", "", "steps"],
            (
                [Html(f'<a href="review?example={shown(name)}" target="_self">{shown(name[:16])}…</a>'),
                 Html(status_chip(own[0].status)), shown(", ".join(dict.fromkeys(one.step for one in own)))]
                for name, own in list(by_example.items())[:SHOWN]
            ),
        )
    )  # fmt: skip
    if len(by_example) > SHOWN:
        st.caption(f"{len(by_example) - SHOWN:,} more: `curate ls` lists them.")


# -- the outline -------------------------------------------------------------------------------------------------


def _outline(whole: Document, outline: Outline | None) -> None:
    st.subheader("Outline", anchor=False)
    if outline is None:
        empty(
            "There is no outline yet", "It is what dialogues follow and cite: made by rule, or read by a model.",
            command=f"synth outline documents={whole.name} workspace={served().settings.workspace}",
        )  # fmt: skip
        return
    st.html(
        f'<p class="t-quiet">{shown(outline.id)} by {shown(outline.by)}. Earlier ones stay, and so do examples that cite them.</p>'
    )
    for flaw in flaws(outline):
        notice(flaw, "warn")
    if message := st.session_state.pop("outline-said", ""):
        notice(message, "good")
    with st.expander("Correct it"):
        if reviewer() is None:
            ask_name()
            return
        with st.form(f"outline-{outline.id}", border=False):
            typed = st.text_area(
                "Steps, branches and evidence, as YAML", outline_text.written(outline, whole), height=420
            )
            if st.form_submit_button("Save as my outline", type="primary"):
                _save(whole, outline, typed)


def _save(whole: Document, before: Outline, typed: str) -> None:
    """Through the same reader as `synth outline edited=FILE`."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{whole.name}.yaml"
        path.write_text(typed, encoding="utf-8")
        try:
            made = save_outline(store(), outline_text.read(path, f"human:{reviewer()}", whole))
        except InputError as error:
            notice(str(error).replace(f"{folder}/", ""))
            return
        except TilthError as error:
            notice(str(error))
            return
    same = made.id == before.id
    st.session_state["outline-said"] = (
        "Nothing was changed." if same else f"Stored as {made.id}. New dialogues follow it."
    )
    st.rerun(scope="fragment")
