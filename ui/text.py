"""What models and strangers wrote, as HTML that does nothing: shown whole, as text, with what cannot be seen made visible.

Streamlit cleans HTML once more in the browser (DOMPurify); nothing here relies on that.
"""

import re
from collections.abc import Sequence
from html import escape

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from ui.look import Html

# Controls have no shape, and bidirectional overrides turn what stands around them: each is shown by its code point instead.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0001-\U000e007f]"
)


def shown(text: str) -> Html:
    """A text as it is, with its line breaks (in an element of class `t-text`), in whichever direction it runs."""
    return Html(_UNSEEN.sub(_code_point, escape(text.replace("\r\n", "\n").replace("\r", "\n"))))


def _code_point(found: re.Match[str]) -> str:
    return f'<span class="t-unseen" title="an invisible character">U+{ord(found[0]):04X}</span>'


def text(value: str, *, kind: str = "") -> Html:
    """`shown` in a block of its own; `kind` is a further class."""
    return Html(f'<div class="t-text {kind}" dir="auto">{shown(value)}</div>')


def markdown(source: str) -> Html:
    """CommonMark and tables without raw HTML; links show their address and lead nowhere, images are named and not fetched."""
    return Html(f'<div class="t-markdown" dir="auto">{_MARKDOWN.render(source)}</div>')


class _Inert(RendererHTML):
    """Renders tokens with everything that could act or fetch replaced by text."""

    def text(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return shown(tokens[idx].content)

    def html_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f"<p>{shown(tokens[idx].content)}</p>"

    def html_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return shown(tokens[idx].content)

    def code_inline(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f"<code>{shown(tokens[idx].content)}</code>"

    def code_block(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f"<pre><code>{shown(tokens[idx].content)}</code></pre>"

    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return f"<pre><code>{shown(tokens[idx].content)}</code></pre>"

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        token = tokens[idx]
        alt = self.renderInlineAsText(token.children or [], options, env)
        return f'<span class="t-link">[image: {shown(alt)} {shown(str(token.attrGet("src") or ""))}]</span>'

    def link_open(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        return '<span class="t-link">'

    def link_close(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        opening = next(
            one for one in reversed(tokens[:idx]) if one.type == "link_open" and one.level == tokens[idx].level
        )
        return f" ({shown(str(opening.attrGet('href') or ''))})</span>"


_MARKDOWN = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 40}, renderer_cls=_Inert).enable(
    ["table", "strikethrough"]
)

CSS = """
.t-text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; line-height: 1.6; }
.t-markdown { overflow-wrap: anywhere; unicode-bidi: isolate; line-height: 1.6; }
.t-markdown h1, .t-markdown h2, .t-markdown h3, .t-markdown h4, .t-markdown h5, .t-markdown h6 { font-size: 1.05rem; font-weight: 650; margin: .7rem 0 .3rem; padding: 0; }
.t-markdown p, .t-markdown ul, .t-markdown ol { margin: 0 0 .6rem; }
.t-markdown table { border-collapse: collapse; margin: .4rem 0; } .t-markdown td, .t-markdown th { border: 1px solid var(--t-line); padding: .2rem .5rem; overflow-wrap: normal; word-break: normal; }
.t-markdown pre { white-space: pre-wrap; background: var(--t-soft); padding: .5rem .7rem; border-radius: 6px; }
.t-markdown blockquote { border-left: 3px solid var(--t-line); margin: .4rem 0; padding-left: .8rem; }
.t-link { text-decoration: underline dotted; }
.t-unseen { font-family: ui-monospace, monospace; font-size: .72em; border: 1px dashed var(--t-line); border-radius: 4px; padding: 0 .25em; margin: 0 .1em; color: var(--t-warn); unicode-bidi: isolate; }
"""
