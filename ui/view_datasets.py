"""Datasets: the exported versions, what is in them and what changed between two, and a new one by a form that shows its command."""

from html import escape
from io import BytesIO
from typing import Any

import streamlit as st

from curation.changes import ABOUT, CHANGES, Difference, difference
from curation.journal import open_store
from curation.versions import Exported, faults, first_rows, pack, version, versions
from ui.export_form import form
from ui.look import Html, Tone, chip, empty, head, notice, table, tiles
from ui.rows import rows_table
from ui.session import store
from ui.text import markdown, shown

LARGEST = 200 << 20  # bytes that a download may hold in the server's memory
PAGE = 25
AT_SIGHT = 100 << 20  # bytes of a version that are hashed for the list
_VIEWS = ("Card", "Changes", "New version")
_TONE: dict[str, Tone] = {"came": "good", "went": "bad", "relabelled": "warn", "moved": "info"}


def page() -> None:
    head("Datasets", "numbered versions that never change, and what each stands on")
    st.html(f"<style>{_CSS}</style>")
    known = versions(store())
    if not known:
        there = store().rows("SELECT 1 FROM examples LIMIT 1")
        empty(
            "Nothing was exported yet",
            "A version is a folder that `datasets.load_dataset` opens: deduplicated, split, with a card and a manifest of hashes."
            if there
            else "Make examples first, then export them.",
            command=("" if there else f"synth run prompt=general_ok n=100 workspace={store().workspace}\n")
            + f"curate export name=moderation workspace={store().workspace}",
        )
        if there:
            form([])
        return
    titles = [one.title for one in known]
    st.html(_listed(known))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.selectbox("Version", titles, key="version", bind="query-params", width=280)
        view = st.segmented_control("Show", _VIEWS, default="Card", key="show", bind="query-params", required=True)
    one = known[titles.index(chosen)]
    if view == "Changes":
        _changes(one, known)
    elif view == "New version":
        form([one, *known])
    else:
        _card(one)


def _listed(known: list[Exported]) -> str:
    rows = [
        (
            shown(one.title), f"{one.made_at:%Y-%m-%d %H:%M}", shown(str(one.options.get("format", ""))),
            f"{sum(one.splits.values()):,}", ", ".join(f"{split} {count:,}" for split, count in one.splits.items()),
            f"{one.left_out:,}", _size(one.size), _whole(one),
        )
        for one in known[:50]
    ]  # fmt: skip
    header = ("Version", "exported (UTC)", "format", "examples", "splits", "twins left out", "size", "files")
    return table(header, rows, numbers=frozenset({3, 5, 6}))


@st.cache_data(max_entries=500, show_spinner="Comparing the files with the manifest ...")
def _faults(_one: Exported, _title: str, stamp: tuple[tuple[str, int, int], ...], digest: str) -> list[str]:  # noqa: ARG001
    return faults(_one)


def _whole(one: Exported) -> Html:
    if one.size > AT_SIGHT:
        return Html(
            chip("large: open its card to check", about="comparing the files with the manifest reads all of them")
        )
    wrong = _faults(one, one.title, one.stamp, one.digest)
    if not wrong:
        return Html(chip("as exported", "good", about="every file has the hash that the manifest says"))
    return Html(chip("changed" if one.splits else "gone", "bad", about="; ".join(wrong)))


# -- one version ---------------------------------------------------------------------------------------------------


def _card(one: Exported) -> None:
    wrong = _faults(one, one.title, one.stamp, one.digest)
    if wrong:
        notice(f"{one.title} is not what was exported: {'; '.join(wrong[:4])}")
    tiles([(f"{count:,}", split) for split, count in one.splits.items()] or [("0", "examples")])
    st.html(f'<p class="t-quiet">manifest sha256 <code>{escape(one.digest)}</code><br>{escape(str(one.folder))}</p>')
    with st.container(horizontal=True, vertical_alignment="center"):
        _download(one)
        st.code(
            f"train run dataset={one.title} recipe=qlora workspace={store().workspace}", language=None, wrap_lines=True
        )
    left, right = st.columns([3, 2], gap="large")
    with left:
        readme = one.folder / "README.md"
        card = readme.read_text(encoding="utf-8", errors="replace") if readme.is_file() else ""
        st.html(f'<div class="t-paper">{markdown(_without_header(card))}</div>')
    with right:
        for split in one.splits:
            rows = first_rows(one, split, 3)
            if rows is not None:
                st.html(f'<h2 class="t-small">The first of {escape(split)}</h2>{rows_table(rows)}')


def _without_header(card: str) -> str:
    """The card for people: without its YAML and its marks for programs."""
    body = card.partition("\n---\n")[2] if card.startswith("---\n") else card
    return "\n".join(line for line in body.splitlines() if not line.startswith("<!-- "))


def _download(one: Exported) -> None:
    if not one.files():
        return
    if one.size > LARGEST:
        st.code(
            f"tar -cf {one.name}-{one.number}.tar -C {one.folder.parent} {one.folder.name}",
            language=None,
            wrap_lines=True,
        )
        return
    workspace, title = store().workspace, one.title

    def packed() -> BytesIO:
        """Made when it is asked for, in a thread of its own."""
        file = BytesIO()
        pack(version(open_store(workspace), title), file)
        return file

    st.download_button(
        f"Download ({_size(one.size)})", packed, file_name=f"{one.name}-{one.number}.zip", mime="application/zip",
        icon=":material/download:", type="primary", on_click="ignore",
    )  # fmt: skip


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:,.0f} {unit}" if unit == "B" or size >= 10 else f"{size:,.1f} {unit}"
        size /= 1000
    return ""


# -- what changed --------------------------------------------------------------------------------------------------


def _changes(one: Exported, known: list[Exported]) -> None:
    others = [its.title for its in known if its.title != one.title]
    if not others:
        empty(
            f"{one.title} is the only version", "Export again after a change; an export of the same writes nothing new.",
            command=f"curate export name={one.name} workspace={store().workspace}",
        )  # fmt: skip
        return
    before = next(
        (its.title for its in known if its.name == one.name and its.number < one.number), others[0]
    )  # the one before it, where there is one
    asked = st.selectbox(
        f"{one.title} compared with", others, index=others.index(before), key="with", bind="query-params", width=280
    )
    earlier = next(its for its in known if its.title == asked)
    found = _difference(earlier, one, earlier.title, one.title, earlier.stamp, one.stamp)
    tiles(
        [
            (f"{found.same:,}", "the same"),
            *((f"{found.count(change):,}", f"{change}: {ABOUT[change]}") for change in CHANGES),
        ]
    )
    if found.settings:
        st.html(table(("Exported with", earlier.title, one.title), [tuple(map(shown, row)) for row in found.settings]))
    if not found.counts:
        st.html('<p class="t-quiet">No example came, went or changed.</p>')
        return
    kinds = ["all", *dict.fromkeys(f"{change}: {kind}" for change, kind, _ in found.counts)]
    left, right = st.columns([1, 2], gap="large")
    with left:
        counts = [(Html(chip(change, _TONE[change])), shown(kind), f"{n:,}") for change, kind, n in found.counts]
        st.html(table(("Change", "why", "examples"), counts, numbers=frozenset({2})))
    with right:
        kind = st.selectbox("List", kinds, key="why", bind="query-params", width=280)
        st.code(
            f"curate diff [{earlier.title},{one.title}] workspace={store().workspace}", language=None, wrap_lines=True
        )
    _reasons(found, kind)


@st.cache_data(max_entries=8, show_spinner="Comparing example by example ...")
def _difference(_one: Exported, _other: Exported, one: str, other: str, *_stamps: object) -> Difference:  # noqa: ARG001
    return difference(store(), _one, _other)


def _reasons(found: Difference, kind: str) -> None:
    rows = found.rows
    if kind != "all":
        import pyarrow.compute as pc

        change, _, why = kind.partition(": ")
        rows = rows.filter(pc.and_(pc.equal(rows["change"], change), pc.equal(rows["kind"], why)))
    pages = max(1, -(-len(rows) // PAGE))
    number = min(pages, st.pagination(pages, key="page", bind="query-params")) if pages > 1 else 1
    some: list[dict[str, Any]] = rows.slice((number - 1) * PAGE, PAGE).to_pylist()
    words: dict[str, str] = dict(
        store().rows("SELECT id, content FROM examples WHERE list_contains(?, id)", [[one["example"] for one in some]])
    )
    st.html(
        table(
            ("Change", "example", "text", "why"),
            [
                (
                    Html(chip(one["change"], _TONE[one["change"]])), _link(one["example"]),
                    shown(_short(str(words.get(one["example"], "")))), shown(one["reason"]),
                )
                for one in some
            ],
        )
    )  # fmt: skip


def _link(example: str) -> Html:
    return Html(f'<a class="t-id" href="/review?example={escape(example)}" target="_self">{escape(example[:12])}</a>')


def _short(text: str) -> str:
    line = " ".join(text[:400].split())
    return line if len(line) <= 160 else f"{line[:160]} …"


_CSS = """
.t-paper { border: 1px solid var(--t-line); border-radius: 12px; padding: .4rem 1.3rem 1rem; }
.t-small { font-size: .95rem; font-weight: 650; padding: 0; margin: .4rem 0 .2rem; }
.t-id { color: inherit; white-space: nowrap; }
"""
