"""HTML down to what says something: no scripts, styles, frames, forms or links, nothing from elsewhere, and no deep nesting."""

import base64
import binascii
import html
from dataclasses import dataclass, field
from html.parser import HTMLParser

from synth.documents.joining import cleaned
from synth.documents.limits import MOST_PIXELS
from synth.pictures import pixels

KEPT = {
    "h1", "h2", "h3", "h4", "h5", "h6", "p", "ul", "ol", "li", "table", "tr", "td", "th", "blockquote", "pre", "code", "b", "strong", "i", "em",
    "u", "div", "sup", "sub", "dl", "dt", "dd",
}  # fmt: skip
BLOCKS = {
    "section",
    "article",
    "main",
    "header",
    "footer",
    "aside",
    "nav",
    "figure",
    "figcaption",
    "address",
    "details",
    "summary",
}
SKIPPED = {
    "script", "style", "template", "iframe", "object", "embed", "applet", "svg", "math", "noscript", "select", "textarea", "audio", "video", "canvas",
    "frameset",
}  # fmt: skip
NUMBERS = {"colspan", "rowspan", "start"}
DEEPEST = 40
MOST_IMAGES, MOST_IMAGE_BYTES = 200, 20_000_000  # inlined
MOST_SPAN = 100
MOST_WIDE, MOST_HIGH = 460, 640  # points of a page that an image may take


@dataclass(slots=True)
class Clean:
    html: str
    title: str = ""
    images: dict[str, bytes] = field(default_factory=dict)  # name in the HTML -> PNG or JPEG
    left_out: set[str] = field(default_factory=set)  # kinds of things that were left out


def clean(source: str) -> Clean:
    parser = _Cleaner()
    parser.feed(source)
    parser.close()
    return parser.done()


class _Cleaner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._out: list[str] = []
        self._open: list[str] = []
        self._skipping: list[str] = []
        self._deep = 0  # elements that are open but left out, for being too deep
        self._title: list[str] | None = None
        self._made = Clean("")
        self._bytes = 0

    def done(self) -> Clean:
        self._out += [f"</{tag}>" for tag in reversed(self._open)]
        self._made.html = "".join(self._out)
        self._made.title = cleaned("".join(self._title or ()))[:300]
        return self._made

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipping:
            if tag == self._skipping[-1]:
                self._skipping.append(tag)
            return
        given = {name: value or "" for name, value in attrs}
        if tag in SKIPPED:
            self._skipping.append(tag)
            self._made.left_out.add("scripts" if tag == "script" else "embedded objects" if tag in _OBJECTS else "")
        elif tag == "title" and self._title is None:
            self._title = []
            self._skipping.append("title")
        elif tag in ("br", "hr"):
            self._out.append("<br/>" if tag == "br" else "<p></p>")
        elif tag == "img":
            self._image(given)
        elif tag in BLOCKS:
            self._start("div", {})
        elif tag in KEPT:
            self._start(tag, given)

    def _start(self, tag: str, given: dict[str, str]) -> None:
        if tag in _CLOSES and self._open and self._open[-1] in _CLOSES[tag]:
            self._out.append(f"</{self._open.pop()}>")
        if len(self._open) >= DEEPEST:
            return
        self._open.append(tag)
        kept = "".join(
            f' {name}="{min(int(value), MOST_SPAN)}"'
            for name, value in given.items()
            if name in NUMBERS and value.isascii() and value.isdecimal() and len(value) < 6
        )
        self._out.append(f"<{tag}{kept}>")

    def handle_endtag(self, tag: str) -> None:
        if self._skipping:
            if tag == self._skipping[-1]:
                self._skipping.pop()
            return
        tag = "div" if tag in BLOCKS else tag
        if tag in self._open:
            while True:
                last = self._open.pop()
                self._out.append(f"</{last}>")
                if last == tag:
                    break

    def handle_data(self, data: str) -> None:
        if self._skipping:
            if self._skipping[-1] == "title" and self._title is not None:
                self._title.append(data)
            return
        keep = "pre" in self._open
        self._out.append(html.escape(data if keep else cleaned_inside(data)))

    def _image(self, given: dict[str, str]) -> None:
        source = given.get("src", "")
        data = _inline(source) if source[:5].lower() == "data:" else None
        if data is None or len(self._made.images) >= MOST_IMAGES or self._bytes + len(data) > MOST_IMAGE_BYTES:
            self._made.left_out.add("linked images" if data is None else "images beyond the first 200")
            self._out.append(
                f"<i>[image{': ' if given.get('alt') else ''}{html.escape(cleaned(given.get('alt', ''))[:300])}]</i>"
            )
            return
        name = f"image-{len(self._made.images)}"
        shown = image_tag(name, data)
        if shown is None:
            self._made.left_out.add("damaged or overlarge images")
            return
        self._bytes += len(data)
        self._made.images[name] = data
        self._out.append(shown)


_OBJECTS = {"iframe", "object", "embed", "applet", "audio", "video", "frameset"}
_CLOSES = {"p": {"p"}, "li": {"p"}, "tr": {"tr"}, "td": {"td", "th"}, "th": {"td", "th"}}


def cleaned_inside(text: str) -> str:
    """As `cleaned`, but a space at either end stays one."""
    inner = cleaned(text)
    if not inner:
        return " " if text else ""
    return (" " if text[0].isspace() else "") + inner + (" " if text[-1].isspace() else "")


def image_tag(name: str, data: bytes) -> str | None:
    """A PNG or JPEG, no wider or higher than the text of a page; None if its header is damaged or it has too many pixels."""
    size = pixels(data)
    if size is None or not all(size) or size[0] * size[1] > MOST_PIXELS // 4:
        return None
    scale = min(0.75, MOST_WIDE / size[0], MOST_HIGH / size[1])
    return f'<img src="{name}" width="{max(size[0] * scale, 1):.0f}" height="{max(size[1] * scale, 1):.0f}"/>'


def _inline(source: str) -> bytes | None:
    """The bytes of a PNG or JPEG data URI; None for anything else."""
    head, _, body = source.partition(",")
    if not head.lower().endswith(";base64"):
        return None
    try:
        data = base64.b64decode(body, validate=False)
    except (binascii.Error, ValueError):
        return None
    return data if data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")) else None
