"""One look and one vocabulary for every page: the theme, the words, and the few pieces of HTML that Streamlit has no element for.

Everything that goes into HTML here is escaped on the way in; what models wrote goes through `ui/text.py`.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Literal

import streamlit as st

from curation.records import LANGUAGE_NAMES

_SANS = (
    "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans Tamil', 'Noto Sans CJK SC', 'PingFang SC', "
    "'Microsoft YaHei', 'InaiMathi', 'Nirmala UI', sans-serif"
)
_MONO = (
    "ui-monospace, 'SF Mono', 'Cascadia Mono', 'Noto Sans Mono', 'DejaVu Sans Mono', 'Noto Sans Mono CJK SC', monospace"
)

THEME = {
    "theme.font": _SANS,
    "theme.codeFont": _MONO,
    "theme.baseFontSize": 15,
    "theme.baseRadius": "8px",
    "theme.headingFontSizes": ["1.55rem", "1.2rem", "1.05rem"],
    "theme.headingFontWeights": [650, 650, 600],
    "theme.showSidebarBorder": True,
    "theme.chartCategoricalColors": [
        "#2f8a62",
        "#d0692c",
        "#3f78c9",
        "#9a63b8",
        "#b8922a",
        "#c64f6e",
        "#4fa3a5",
        "#7d7f78",
    ],
    "theme.light.primaryColor": "#1f6b4a",
    "theme.light.backgroundColor": "#fcfbf8",
    "theme.light.secondaryBackgroundColor": "#f1efe8",
    "theme.light.textColor": "#1e2420",
    "theme.light.borderColor": "#dedacd",
    "theme.light.linkColor": "#1f6b4a",
    "theme.light.sidebar.backgroundColor": "#f5f3ec",
    "theme.dark.primaryColor": "#2f8a62",
    "theme.dark.backgroundColor": "#131614",
    "theme.dark.secondaryBackgroundColor": "#1d221f",
    "theme.dark.textColor": "#e6e9e4",
    "theme.dark.borderColor": "#343b36",
    "theme.dark.linkColor": "#7fcaa3",
    "theme.dark.sidebar.backgroundColor": "#171b18",
}

# The words of the app, in the order in which they are shown everywhere.
STATUSES = ("kept", "passed", "new", "unscored", "flagged", "dropped")
STATUS_ABOUT = {
    "kept": "a person keeps it",
    "passed": "the checks and judges found nothing, no person looked",
    "new": "nothing was said of it yet",
    "unscored": "a check or judge could not decide",
    "flagged": "a check, a judge or a person wants it looked at",
    "dropped": "left out, with a reason",
}
Tone = Literal["good", "plain", "warn", "bad", "info"]
STATUS_TONE: dict[str, Tone] = {
    "kept": "good", "passed": "plain", "new": "plain", "unscored": "info", "flagged": "warn", "dropped": "bad",
}  # fmt: skip
DECISION_TONE: dict[str, Tone] = {
    "keep": "good", "drop": "bad", "flag": "warn", "unscored": "info", "retract": "plain",
}  # fmt: skip

CSS = """
:root {
  --t-line: color-mix(in srgb, currentColor 16%, transparent);
  --t-soft: color-mix(in srgb, currentColor 5%, transparent);
  --t-quiet: color-mix(in srgb, currentColor 72%, transparent);
  --t-good: light-dark(#17603f, #8fd9b2); --t-good-bg: light-dark(#dcf0e4, #17362a);
  --t-warn: light-dark(#7a4b00, #f0c46c); --t-warn-bg: light-dark(#fbecc9, #3b2e12);
  --t-bad: light-dark(#9b1c1c, #f7a8a0); --t-bad-bg: light-dark(#fbe1de, #431f1c);
  --t-info: light-dark(#1d4f91, #a5c8f7); --t-info-bg: light-dark(#dfeafa, #1b2d45);
}
.stMainBlockContainer { padding: 3.6rem 2rem 3rem; max-width: 1560px; }
.stSidebar .stSidebarHeader { padding-bottom: 0; }
.t-head { display: flex; align-items: baseline; gap: .9rem; flex-wrap: wrap; margin: 0 0 .2rem; }
.t-head h1 { font-size: 1.55rem; font-weight: 650; margin: 0; padding: 0; letter-spacing: -.01em; }
.t-head p { margin: 0; color: var(--t-quiet); }
.t-brand { font-weight: 700; font-size: 1.15rem; letter-spacing: -.01em; margin: 0 }
.t-brand small { display: block; font-weight: 400; font-size: .8rem; color: var(--t-quiet); letter-spacing: 0; overflow-wrap: anywhere; }
.t-chips { display: flex; flex-wrap: wrap; gap: .35rem; align-items: center; }
.t-chip { display: inline-block; padding: .05rem .55rem; border-radius: 99px; font-size: .82rem; line-height: 1.5; white-space: nowrap;
  background: var(--t-soft); border: 1px solid var(--t-line); }
.t-good { color: var(--t-good); background: var(--t-good-bg); border-color: transparent; }
.t-warn { color: var(--t-warn); background: var(--t-warn-bg); border-color: transparent; }
.t-bad { color: var(--t-bad); background: var(--t-bad-bg); border-color: transparent; }
.t-info { color: var(--t-info); background: var(--t-info-bg); border-color: transparent; }
.stApp [data-testid="stCaptionContainer"], .stApp [data-testid="stCaptionContainer"] p { color: light-dark(#555b57, #b4bab5); opacity: 1; }
.t-quiet { color: var(--t-quiet); font-size: .88rem; }
.t-tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .7rem; }
.t-tile { border: 1px solid var(--t-line); border-radius: 10px; padding: .6rem .85rem; background: var(--t-soft); }
.t-tile b { display: block; font-size: 1.5rem; font-weight: 650; line-height: 1.25; font-variant-numeric: tabular-nums; }
.t-tile span { color: var(--t-quiet); font-size: .86rem; }
.t-bar { display: flex; height: .6rem; border-radius: 99px; overflow: hidden; background: var(--t-soft); margin: .15rem 0 .5rem; }
.t-bar i { display: block; height: 100%; }
.t-scroll { overflow-x: auto; }
table.t-table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; width: 100%; }
table.t-table th { text-align: left; font-weight: 600; color: var(--t-quiet); padding: .25rem .7rem .25rem 0; border-bottom: 1px solid var(--t-line); white-space: nowrap; }
table.t-table td { padding: .28rem .7rem .28rem 0; border-bottom: 1px solid var(--t-line); vertical-align: top; overflow-wrap: anywhere; }
table.t-table .n { text-align: right; white-space: nowrap; }
table.t-heat { border-collapse: separate; border-spacing: 3px; font-variant-numeric: tabular-nums; font-size: .88rem; }
table.t-heat th { font-weight: 500; text-align: left; padding: .2rem .5rem .2rem 0; white-space: nowrap; }
table.t-heat thead th { text-align: center; padding: .1rem .3rem; color: var(--t-quiet); }
table.t-heat td { min-width: 3.6rem; text-align: center; padding: .32rem .4rem; border-radius: 6px; }
.t-go { color: var(--t-good); font-weight: 600; }
.t-notice { border-radius: 8px; padding: .6rem .9rem; margin: .3rem 0; overflow-wrap: anywhere; }
.t-empty { border: 1px dashed var(--t-line); border-radius: 12px; padding: 1.6rem 1.8rem; margin: .6rem 0; }
.t-empty h2 { font-size: 1.1rem; margin: 0 0 .3rem; padding: 0; }
.t-empty p { margin: 0 0 .3rem; color: var(--t-quiet); }
kbd.t-key { font-family: inherit; font-size: .8rem; padding: .05rem .42rem; border: 1px solid var(--t-line); border-bottom-width: 2px; border-radius: 5px; background: var(--t-soft); }
.t-visually-hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
"""


def head(title: str, about: str = "") -> None:
    """A page's title, and a line that says what the page is for."""
    st.html(f'<div class="t-head"><h1>{escape(title)}</h1><p>{escape(about)}</p></div>')


def chip(word: str, tone: Tone = "plain", *, about: str = "") -> str:
    """A small label, as HTML."""
    title = f' title="{escape(about)}"' if about else ""
    return f'<span class="t-chip t-{tone}"{title}>{escape(word)}</span>'


def status_chip(status: str) -> str:
    return chip(status, STATUS_TONE.get(status, "plain"), about=STATUS_ABOUT.get(status, ""))


def chips(parts: Iterable[str]) -> None:
    """Chips in a row."""
    st.html(f'<div class="t-chips">{"".join(parts)}</div>')


def tiles(figures: Sequence[tuple[str, str]]) -> None:
    """Large figures side by side: (figure, what it counts)."""
    st.html(
        '<div class="t-tiles">'
        + "".join(
            f'<div class="t-tile"><b>{escape(figure)}</b><span>{escape(what)}</span></div>' for figure, what in figures
        )
        + "</div>"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: frozenset[int] = frozenset()) -> str:
    """A plain table as HTML; `numbers` are the columns set to the right. Cells that are `Html` go in as they are."""

    def cell(tag: str, at: int, value: str) -> str:
        kind = ' class="n"' if at in numbers else ""
        return f"<{tag}{kind}>{value if isinstance(value, Html) else escape(value)}</{tag}>"

    top = "".join(cell("th", at, name) for at, name in enumerate(header))
    body = "".join(f"<tr>{''.join(cell('td', at, value) for at, value in enumerate(row))}</tr>" for row in rows)
    about = f'tabindex="0" role="group" aria-label="{escape(header[0])}"'  # wide tables scroll, by keys too
    inside = f'<table class="t-table"><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="t-scroll" {about}>{inside}</div>'


class Html(str):
    """Text that is HTML already: made here, from escaped parts."""


def share_bar(shares: Sequence[tuple[str, int, Tone]]) -> None:
    """One bar cut by counts: (what, count, tone), with what each part is for a screen reader."""
    total = sum(count for _, count, _ in shares) or 1
    colours = {"good": "--t-good", "plain": "--t-line", "warn": "--t-warn", "bad": "--t-bad", "info": "--t-info"}
    said = ", ".join(f"{count:,} {what}" for what, count, _ in shares if count)
    parts = "".join(
        f'<i style="width:{count / total:.4%};background:var({colours[tone]})" title="{escape(f"{count:,} {what}")}"></i>'
        for what, count, tone in shares if count
    )  # fmt: skip
    st.html(f'<div class="t-bar" role="img" aria-label="{escape(said)}">{parts}</div>')


def empty(title: str, *lines: str, command: str = "") -> None:
    """What a page says when there is nothing to show: why, and the command or step that changes it."""
    text = "".join(f"<p>{escape(line)}</p>" for line in lines)
    st.html(f'<div class="t-empty"><h2>{escape(title)}</h2>{text}</div>')
    if command:
        st.code(command, language=None, wrap_lines=True)


def notice(words: str, tone: Tone = "bad") -> None:
    """One line that says what went wrong, or right. Streamlit's own would read it as Markdown, which may fetch what strangers wrote."""
    role = "alert" if tone == "bad" else "status"
    st.html(f'<div class="t-notice t-{tone}" role="{role}">{escape(words)}</div>')


def go(words: str, address: str) -> None:
    """A link to another page of the app, in the same tab."""
    st.html(f'<p><a class="t-go" href="{escape(address)}" target="_self">{escape(words)}</a></p>')


def language_name(code: str) -> str:
    return LANGUAGE_NAMES.get(code, code)


def usd(amount: float | None) -> str:
    """A price as it is shown everywhere; an unknown one is unknown, not free."""
    return "unknown" if amount is None else f"${amount:,.2f}" if amount >= 0.01 or not amount else f"${amount:.4f}"
