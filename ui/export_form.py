"""The form that exports a version: every choice is a word of the command that is shown and run."""

import json
import os
import shlex
import subprocess
import sys
from collections import Counter
from typing import Any, get_args

import streamlit as st

from curation.config import ExportSettings
from curation.errors import TilthError
from curation.export import choose, sample
from curation.review.queue import choices
from curation.settings import load
from curation.versions import Exported
from ui.look import STATUSES, go, language_name, notice, table, tiles
from ui.rows import rows_table
from ui.session import store
from ui.text import shown
from ui.words import word

SHOWN = 5
CURATE = (sys.executable, "-c", "from curation.cli import app; app()")
_FORMATS = get_args(ExportSettings.model_fields["format"].annotation)
_DEDUP = get_args(ExportSettings.model_fields["dedup"].annotation)
_USUAL: dict[str, Any] = {
    name: field.get_default(call_default_factory=True) for name, field in ExportSettings.model_fields.items()
}


def form(like: list[Exported]) -> None:
    """The form, a preview of what it selects, and the run of it; begins as the first of `like` was exported."""
    words = _fields(like[0] if like else None)
    st.code(command(words), language=None, wrap_lines=True)
    with st.container(horizontal=True):
        look = st.button("Preview", icon=":material/visibility:", key="preview")
        export = st.button("Export", type="primary", icon=":material/save:", key="export")
    if look or export:
        st.session_state["export-shown"] = words
    try:
        settings = load(ExportSettings, [*words, _where()])
        if export:
            _export(words)
        elif st.session_state.get("export-shown") == words:
            _preview(settings)
    except TilthError as error:
        notice(str(error))


def command(words: list[str]) -> str:
    """The command that does the same."""
    return shlex.join(["curate", "export", *words, _where()])


def _where() -> str:
    return f"workspace={word(str(store().workspace))}"


def _fields(one: Exported | None) -> list[str]:
    """The words of the command that the form says; what is usual is left out."""
    was: dict[str, Any] = {**_USUAL, **(one.selector if one else {}), **(one.options if one else {})}
    known = choices(store())
    first, second, third = st.columns(3, gap="large")
    given: dict[str, Any] = {}
    with first:
        given["name"] = st.text_input("Name", value=one.name if one else "moderation", key="export-name")
        given["format"] = st.selectbox("Format", _FORMATS, index=_FORMATS.index(was["format"]), key="export-format")
        given["status"] = st.multiselect(
            "Status", STATUSES, default=[s for s in STATUSES if s in was["status"]], key="export-status"
        )
        given["licence"] = st.text_input("Licence", value=was["licence"], key="export-licence")
    with second:
        for name in ("task", "label", "category", "language", "prompt"):
            values = [str(value) for value in was.get(name) or ()]
            given[name] = st.multiselect(
                name.capitalize(), sorted({*known[name], *values}), default=values, placeholder="any", key=f"export-{name}",
                format_func=language_name if name == "language" else str,
            )  # fmt: skip
    with third:
        given["dedup"] = st.selectbox(
            "Twins to leave out", _DEDUP, index=_DEDUP.index(was["dedup"]), key="export-dedup"
        )
        given["threshold"] = st.slider(
            "Near twins from (Jaccard)", 0.3, 1.0, float(was["threshold"]), 0.01, key="export-threshold"
        )
        split = was["split"] if isinstance(was["split"], dict) else was["split"].model_dump()
        train, validation = st.slider(
            "Splits: train up to, validation up to (%)", 0, 100,
            (round(100 * split["train"]), round(100 * (split["train"] + split["validation"]))), key="export-split",
        )  # fmt: skip
        given["seed"] = int(st.number_input("Seed of the splits", value=int(was["seed"]), step=1, key="export-seed"))
        given["jsonl"] = st.checkbox("Also as JSON lines", value=bool(was.get("jsonl")), key="export-jsonl")
    words = [
        f"{name}={word(value)}" for name, value in given.items() if name == "name" or value != _plain(_USUAL[name])
    ]
    shares = {"train": train / 100, "validation": (validation - train) / 100, "test": (100 - validation) / 100}
    if shares != _USUAL["split"].model_dump():
        words += [f"split.{name}={round(share, 2):g}" for name, share in shares.items()]
    return words


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


# -- what it would write, and writing it ---------------------------------------------------------------------------


def _preview(settings: ExportSettings) -> None:
    with st.spinner("Selecting, and comparing the texts ..."):
        members = choose(store(), settings)
        rows = sample(store(), settings, members, SHOWN)
    left_out = len(members.twins.reasons())
    tiles([
        *((f"{count:,}", split) for split, count in members.counts.items()),
        (f"{left_out:,}", "twins left out"), (f"{len(members.twins.examples):,}", "selected"),
    ])  # fmt: skip
    chosen = members.table.select(["label", "category", "language"]).to_pydict()
    counted = Counter(zip(chosen["label"], chosen["category"], chosen["language"], strict=True))
    left, right = st.columns(2, gap="large")
    with left:
        body = [
            (shown(str(label or "")), shown(str(category or "")), shown(language_name(language)), f"{count:,}")
            for (label, category, language), count in counted.most_common(15)
        ]
        st.html(table(("Label", "category", "language", "examples"), body, numbers=frozenset({3})))
        if len(counted) > 15:
            st.html(f'<p class="t-quiet">and {len(counted) - 15:,} more kinds</p>')
    with right:
        st.html(rows_table(rows))
        st.html('<p class="t-quiet">The first rows as they would be written. Nothing was written yet.</p>')


def _export(words: list[str]) -> None:
    """Run the very command, in a process of its own: the app stays small, and closing the page stops nothing."""
    with st.spinner("Exporting; the page may be left ..."):
        done = subprocess.run(
            [*CURATE, "export", *words, _where(), "--json"],
            capture_output=True, text=True, check=False, env=os.environ,
        )  # fmt: skip
    if done.returncode:
        notice((done.stderr.strip().splitlines() or ["the export ended without a word"])[-1])
        return
    made = json.loads(done.stdout)
    counts = ", ".join(f"{split} {count:,}" for split, count in made["splits"].items())
    title = f"{made['name']}@{made['number']}"
    if made["new"]:
        notice(f"{title} is written: {counts}", "good")
    else:
        notice(f"{title} says the same already, so nothing was written: {counts}", "info")
    go(f"Open {title}", f"/datasets?version={title}")
    st.caption("Train on it:")
    st.code(f"train run dataset={title} recipe=qlora workspace={store().workspace}", language=None, wrap_lines=True)
