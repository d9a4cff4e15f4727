"""What strangers wrote becomes HTML that does nothing and leaves nothing out."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.text import markdown, shown

HOSTILE = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "![pic](https://evil.example/a.png)", "[go](javascript:alert(1))",
    "[go](https://evil.example 'title')", "<https://evil.example>", "[ref]\n\n[ref]: https://evil.example", "<svg/onload=alert(1)>",
    "<!-- comment --><iframe src=//evil.example>", "`<b>`", "```html\n<script>\n```", "    <script>", "| a |\n|---|\n| <b onclick=x> |",
    "[![i](https://evil.example/i.png)](https://evil.example)", "&lt;script&gt;", "<a href='data:text/html,x'>x</a>",
)  # fmt: skip
TAGS = {"div", "p", "span", "code", "pre", "em", "strong", "ul", "ol", "li", "table", "thead", "tbody", "tr", "th", "td", "h1", "h2", "h3",
        "h4", "h5", "h6", "blockquote", "hr", "br", "s"}  # fmt: skip
ATTRIBUTES = {"class", "title", "dir", "start", "style"}


class Tags(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.words = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, attrs))

    def handle_data(self, data: str) -> None:
        self.words += data


def assert_inert(html: str) -> None:
    for tag, attributes in Tags(html).found:
        assert tag in TAGS, html
        for name, value in attributes:
            assert name in ATTRIBUTES, html
            assert name != "style" or re.fullmatch(r"text-align:(left|right|center)", value or ""), html


@pytest.mark.parametrize("source", HOSTILE)
def test_markdown_neither_acts_nor_fetches(source: str) -> None:
    html = markdown(source)
    assert_inert(html)
    for address in re.findall(r"evil\.example|alert\(1\)", source):
        assert address in Tags(html).words, "what it would have done is to be read"


@given(st.text())
def test_any_markdown_is_inert(source: str) -> None:
    assert_inert(markdown(source))


@given(st.text())
def test_any_text_is_shown_whole(source: str) -> None:
    html = shown(source)
    assert_inert(html)
    back = re.sub(r'<span class="t-unseen"[^>]*>U\+([0-9A-F]+)</span>', lambda found: f"&#x{found[1]};", html)
    unseen = {f"&#x{ord(c):04X};": c for c in source}  # html.unescape would drop some of them
    for reference, character in unseen.items():
        back = back.replace(reference, character)
    assert unescape(back) == source.replace("\r\n", "\n").replace("\r", "\n")


def test_what_turns_or_hides_text_is_made_visible() -> None:
    html = shown("pay \u202eevil\u202c now\x00\u200b")
    assert not re.search("[\x00\u202e\u202c\u200b]", html)
    assert Tags(html).words == "pay U+202EevilU+202C nowU+0000U+200B"
    joined = "\u0b95\u0bcd\u200c\u0bb7 \U0001f468\u200d\U0001f469\u200d\U0001f467"
    assert shown(joined) == joined, "joiners shape Tamil and emoji"
