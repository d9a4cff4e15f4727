"""Makes the PDFs of this folder from src/*.md: `python docs/examples/sops/build.py`. Equal sources give equal bytes."""

import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymupdf
import yaml
from markdown_it import MarkdownIt

HERE = Path(__file__).parent
PAGE = pymupdf.paper_rect("a4")
BODY = PAGE + (58, 78, -58, -60)
INK, GREY, RULE, TINT = "#1c2733", "#5d6b7a", "#c5ced8", "#eef3f7"
ACCENT = "#0b5d7a"
CSS = f"""
@page {{ margin: 0; }}
body {{ margin: 0; }}
* {{ font-family: sans-serif; font-size: 10pt; color: {INK}; line-height: 1.38; }}
h1 {{ font-size: 21pt; line-height: 1.15; margin: 0 0 7pt 0; color: {ACCENT}; }}
h2 {{ font-size: 13pt; margin: 15pt 0 4pt 0; color: {ACCENT}; }}
h3 {{ font-size: 10.5pt; margin: 10pt 0 2pt 0; }}
p {{ margin: 3pt 0; }}
p.step, p.evidence {{ margin-left: 30pt; }}
p.evidence {{ color: {GREY}; }}
p.evidence b, p.evidence strong {{ color: {GREY}; }}
ul {{ margin: 2pt 0; padding-left: 16pt; }}
table {{ border-collapse: collapse; width: 100%; margin: 6pt 0 8pt 0; }}
td, th {{ border: 0.5pt solid {RULE}; padding: 3.5pt 5pt; text-align: left; vertical-align: top; font-size: 9pt; line-height: 1.25; }}
td *, th * {{ font-size: 9pt; }}
th {{ background-color: {TINT}; }}
blockquote {{ margin: 6pt 0 6pt 30pt; padding: 4pt 8pt; background-color: #fdf5e2; border-left: 2.5pt solid #d99a1c; }}
"""
WORDS = {
    "en": {"number": "Number", "version": "Version", "owner": "Owner", "effective": "Effective from",
           "applies": "Applies to", "house": "Lorong Market", "page": "Page {} of {}", "internal": "Internal"},
    "zh": {"number": "编号", "version": "版本", "owner": "负责部门", "effective": "生效日期",
           "applies": "适用人员", "house": "巷陌集市", "page": "第 {} 页，共 {} 页", "internal": "内部文件"},
}  # fmt: skip
_PIECES = re.compile(r"\n(?=<h3|<h2(?!.*\n<h3))")  # an h2 goes with the h3 that follows it
_NUMBERED = re.compile(r"<p>(\d+\.\d+) ")
_FLOW = re.compile(r'<pre><code class="language-flow">(.*?)</code></pre>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Source:
    head: dict[str, str]
    html: str
    flows: tuple[dict[str, Any], ...]


def read(path: Path) -> Source:
    """Front matter, and the body as HTML with an empty box of the right height for each flow chart."""
    _, front, body = path.read_text(encoding="utf-8").split("---\n", 2)
    html = MarkdownIt("commonmark").enable("table").render(body)
    font = pymupdf.Font("helv")

    def hang(found: re.Match[str]) -> str:
        number = found[1]
        indent = font.text_length(number + "\u2002", fontsize=10)
        return f'<p class="step" style="text-indent: -{indent:.2f}pt">{number}\u2002'

    html = _NUMBERED.sub(hang, html)
    html = re.sub(r"<h3>(\d+) ", "<h3>\\1\u2002", html)
    html = re.sub(r"<p>(<strong>(?:Evidence|证据))", r'<p class="evidence">\1', html)
    flows = [yaml.safe_load(_unescaped(flow)) for flow in _FLOW.findall(html)]
    for at, flow in enumerate(flows):
        _, rows, height = flow["size"]
        box = f'<div id="flow-{at}" style="height: {rows * height + 6}pt">&nbsp;</div>'
        html = _FLOW.sub(lambda _, box=box: box, html, count=1)  # type: ignore[misc]
    return Source(yaml.safe_load(front), html, tuple(flows))


def _unescaped(text: str) -> str:
    return text.replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def pdf(source: Source) -> bytes:
    head, words = source.head, WORDS[source.head["language"]]
    rows = [("number", "version"), ("owner", "effective")]
    control = "".join(
        f"<tr><th>{words[a]}</th><td>{head[a]}</td><th>{words[b]}</th><td>{head[b]}</td></tr>" for a, b in rows
    )
    control += f'<tr><th>{words["applies"]}</th><td colspan="3">{head["applies"]}</td></tr>'
    html = f"<h1>{head['title']}</h1><table>{control}</table>{source.html}"
    places: dict[str, tuple[int, pymupdf.Rect]] = {}
    document = pymupdf.open("pdf", _flowed(html, places))
    for name, (number, box) in places.items():
        _draw_flow(document[number], box, source.flows[int(name.removeprefix("flow-"))])
    for page in document:
        _furnish(page, head, words, document.page_count)
    document.set_metadata({"title": head["title"], "author": words["house"], "subject": head["number"]})
    document.set_language(head["language"])
    document.subset_fonts()
    return bytes(document.tobytes(garbage=4, deflate=True, no_new_id=True))


def _flowed(html: str, places: dict[str, tuple[int, pymupdf.Rect]]) -> bytes:
    """The text on as many pages as it takes. A heading stays with what it heads, a numbered step in one piece.

    Each page is a story of its own: one that runs over several paints the backgrounds of the first again on the next.
    """
    out = io.BytesIO()
    writer = pymupdf.DocumentWriter(out)
    for number, page in enumerate(_pages(html)):
        story = pymupdf.Story(page, user_css=CSS)
        device = writer.begin_page(PAGE)
        story.place(BODY)
        places |= {name: (number, box) for name, box in _named(story)}
        story.draw(device)
        writer.end_page()
    writer.close()
    return out.getvalue()


def _pages(html: str) -> list[str]:
    pages = [""]
    for piece in _PIECES.split(html):
        if pages[-1] and _height(pages[-1] + piece, CSS, BODY.width) > BODY.height:
            pages.append("")
        pages[-1] += piece
    return pages


def _named(story: pymupdf.Story) -> list[tuple[str, pymupdf.Rect]]:
    found: list[Any] = []

    def note(position: Any) -> None:
        found.append(position)

    story.element_positions(note)
    return [(one.id, pymupdf.Rect(one.rect)) for one in found if one.id and one.open_close & 1]


def _furnish(page: pymupdf.Page, head: dict[str, str], words: dict[str, str], count: int) -> None:
    small = f"body {{ margin: 0; }} * {{ font-family: sans-serif; font-size: 8pt; color: {GREY}; }}"
    left, right = BODY.x0, BODY.x1
    for text, align, box in (
        (f"<b>{words['house']}</b>", "left", (left, 42, right, 58)),
        (f"{head['number']} · {head['title']}", "right", (left, 42, right, 58)),
        (f"{words['internal']} · {words['version']} {head['version']}", "left", (left, 796, right, 812)),
        (words["page"].format(page.number + 1, count), "right", (left, 796, right, 812)),
    ):
        page.insert_htmlbox(box, f'<p style="text-align: {align}; margin: 0">{text}</p>', css=small)
    for y in (60, 792):
        page.draw_line((left, y), (right, y), color=_rgb(RULE), width=0.6)


def _rgb(text: str) -> tuple[float, float, float]:
    red, green, blue = bytes.fromhex(text[1:])
    return red / 255, green / 255, blue / 255


_LOOK = {"step": ("#ffffff", "#8796a5"), "decision": ("#fdf5e2", "#d99a1c"), "outcome": ("#e3f1ea", "#3b8f66")}
POINT = 8  # how far a decision's points stand out


@dataclass(frozen=True, slots=True)
class Node:
    kind: str
    frame: pymupdf.Rect
    text: str

    @property
    def centre(self) -> pymupdf.Point:
        return (self.frame.tl + self.frame.br) / 2

    def side(self, which: int) -> pymupdf.Point:
        """Its rightmost point (1), or its leftmost (-1)."""
        out = POINT if self.kind == "decision" else 0
        return pymupdf.Point(self.frame.x1 + out if which > 0 else self.frame.x0 - out, self.centre.y)


def _draw_flow(page: pymupdf.Page, box: pymupdf.Rect, flow: dict[str, Any]) -> None:
    """Boxes on a grid of columns and rows, and arrows between them."""
    columns, _, height = flow["size"]
    width = box.width / columns
    nodes = {}
    for name, (kind, column, row, text) in flow["nodes"].items():
        corner = pymupdf.Point(box.x0 + column * width, box.y0 + row * height)
        nodes[name] = Node(kind, pymupdf.Rect(14, 13, width - 14, height - 13) + (corner.x, corner.y) * 2, text)
    for start, end, word in flow["edges"]:
        _arrow(page, nodes[start], nodes[end], word)
    for node in nodes.values():
        fill, stroke = _LOOK[node.kind]
        frame = node.frame
        shape = page.new_shape()
        if node.kind == "decision":
            left, right = node.side(-1), node.side(1)
            upper, lower = (frame.tl + (4, 0), frame.tr - (4, 0)), (frame.br - (4, 0), frame.bl + (4, 0))
            shape.draw_polyline([left, *upper, right, *lower, left])
        else:
            shape.draw_rect(frame, radius=0.5 if node.kind == "outcome" else 0.12)
        shape.finish(color=_rgb(stroke), fill=_rgb(fill), width=0.9)
        shape.commit()
        _centred(page, frame + (6, 0, -6, 0), node.text, 8)


def _arrow(page: pymupdf.Page, start: Node, end: Node, word: str) -> None:
    """Straight where it can be; to the right, sideways out and in from above; to the left, down and into the arrow that comes
    in from above already."""
    a, b = start.centre, end.centre
    which = 1 if b.x > a.x else -1
    foot, head = pymupdf.Point(a.x, start.frame.y1), pymupdf.Point(b.x, end.frame.y0)
    out = start.side(which)
    align, label = "left", pymupdf.Rect(foot.x + 3, foot.y + 1, foot.x + 80, foot.y + 15)
    if abs(b.x - a.x) < 1:
        points = [foot, head]
    elif abs(b.y - a.y) < 1:
        points = [out, end.side(-which)]
        centre = (points[0].x + points[1].x) / 2
        align, label = "center", pymupdf.Rect(centre - 30, a.y - 13, centre + 30, a.y + 1)
    elif which < 0:
        points = [foot, pymupdf.Point(a.x, head.y - 9), head - (0, 9)]
    else:
        lane = b.x + (b.y - a.y) / 8 - 12  # arrows from different rows come in beside each other
        points = [out, pymupdf.Point(lane, a.y), pymupdf.Point(lane, head.y)]
        label = pymupdf.Rect(out.x + 3, out.y - 13, out.x + 80, out.y + 1)
    shape = page.new_shape()
    shape.draw_polyline(points)
    shape.finish(color=_rgb(GREY), width=0.8, closePath=False)
    tip, along = points[-1], (points[-1] - points[-2]).unit
    across = pymupdf.Point(-along.y, along.x)
    shape.draw_polyline([tip, tip - along * 5 + across * 2.6, tip - along * 5 - across * 2.6, tip])
    shape.finish(color=_rgb(GREY), fill=_rgb(GREY), width=0.5)
    shape.commit()
    css = f"body {{ margin: 0; }} * {{ font-family: sans-serif; font-size: 7.5pt; color: {GREY}; }}"
    page.insert_htmlbox(label, f'<p style="margin: 0; text-align: {align}">{word}</p>', css=css)


def _centred(page: pymupdf.Page, frame: pymupdf.Rect, text: str, size: float) -> None:
    css = (
        f"body {{ margin: 0; }} * {{ font-family: sans-serif; font-size: {size}pt; color: {INK}; line-height: 1.15; }}"
    )
    html = f'<p style="text-align: center; margin: 0">{text}</p>'
    spare = frame.height - _height(html, css, frame.width)
    page.insert_htmlbox(frame + (0, max(0.0, spare / 2), 0, 6), html, css=css)


def _height(html: str, css: str, width: float) -> float:
    """Of the text in a box of this width, both in points."""
    _, filled = pymupdf.Story(html, user_css=css).place(pymupdf.Rect(0, 0, width, 10_000))
    return float(filled[3])


def main() -> None:
    for path in sorted((HERE / "src").glob("*.md")):
        made = pdf(read(path))
        place = HERE / f"{path.stem}.pdf"
        place.write_bytes(made)
        print(f"{place.name}: {len(made):,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
