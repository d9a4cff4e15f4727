"""From lines, tables and figures to blocks: what is a heading and of which level, a step, a bullet, a note.

Read over the whole document: the size that most letters have is the body's, larger or bold lines that stand alone head what follows, and what
comes again at the edge of most pages belongs to none.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal

from curation.documents import Block, Place
from synth.documents.joining import cleaned, joined

Corners = tuple[float, float, float, float]
Kind = Literal["title", "heading", "paragraph", "step", "bullet", "table", "figure", "note"]
EDGE = 0.085  # of the page's height, at its top and bottom, where running heads stand
LONG_HEADING = 160  # letters
_BULLET = re.compile(r"^[•◦▪‣●○■□–—*·➢✓☐-]\s+(?=\S)|^[•◦▪‣●○■□➢✓☐](?=\S)")
_DOTTED = re.compile(r"^(?:step\s+)?(\d{1,3}(?:\.\d{1,3}){1,5})\.?[)）、:：]?(?=[\s\u2e80-\u9fff])", re.IGNORECASE)
_PLAIN = re.compile(
    r"^(?:(\d{1,3})[.)）、]|[(（](\d{1,3}|[a-z])[)）]|([a-z])[)）])(?=[\s\u2e80-\u9fff])|^(\d{1,3})(?=\s)"
)
_WORDED = re.compile(
    r"^step\s+(\d{1,3})\b[.:)]?|^第\s*([0-9一二三四五六七八九十]{1,3})\s*步[：:、]?|^([一二三四五六七八九十]{1,3})、",
    re.IGNORECASE,
)
_ENDS = re.compile(r"[.。;；!！?？,，…]$")


@dataclass(slots=True)
class _Paragraph:
    lines: list[dict[str, Any]]
    page: int
    kind: Kind = "paragraph"
    number: str | None = None
    level: int = 0

    @property
    def size(self) -> float:
        return float(self.lines[0]["size"])

    @property
    def bold(self) -> bool:
        return all(line["bold"] for line in self.lines)

    @property
    def text(self) -> str:
        return joined(line["text"] for line in self.lines)

    @property
    def box(self) -> Corners:
        boxes = [line["box"] for line in self.lines]
        return (
            min(box[0] for box in boxes), min(box[1] for box in boxes), max(box[2] for box in boxes), max(box[3] for box in boxes)
        )  # fmt: skip


@dataclass(slots=True)
class _Fonts:
    body: float
    levels: dict[tuple[float, bool], int] = field(default_factory=dict)
    title: float | None = None


def blocks_of(pages: Sequence[dict[str, Any]]) -> tuple[str, list[tuple[Block, ...]]]:
    """The document's title ("" if nothing looks like one) and the blocks of each page, in reading order.

    Args:
        pages: `Marks.plain()` of each page.
    """
    running = _running(pages)
    kept = [
        [line for line in page["lines"] if cleaned(line["text"]) and _mark(line, page) not in running] for page in pages
    ]
    fonts = _Fonts(_body(kept))
    paragraphs = [list(_paragraphs(lines, number, fonts)) for number, lines in enumerate(kept, 1)]
    _read_headings(paragraphs, fonts)
    _read_numbers(paragraphs)
    made = [tuple(_placed(page, at, mine)) for at, (page, mine) in enumerate(zip(pages, paragraphs, strict=True), 1)]
    title = next((block.text for page in made for block in page if block.kind == "title"), "")
    return title, made


def _mark(line: dict[str, Any], page: dict[str, Any]) -> tuple[str, int] | None:
    """What makes a line at the edge of one page the same as one on another: its words but not its numbers, and its height."""
    top, bottom, height = line["box"][1], line["box"][3], page["height"] or 1.0
    if bottom > EDGE * height and top < (1 - EDGE) * height:
        return None
    return re.sub(r"\d+", "#", cleaned(line["text"])), round(top / height * 100)


def _running(pages: Sequence[dict[str, Any]]) -> set[tuple[str, int] | None]:
    seen = Counter(mark for page in pages for mark in {_mark(line, page) for line in page["lines"]} if mark)
    return {mark for mark, count in seen.items() if count >= 2 and count * 2 >= len(pages)}


def _body(pages: Sequence[Sequence[dict[str, Any]]]) -> float:
    sizes: Counter[float] = Counter()
    for lines in pages:
        for line in lines:
            sizes[line["size"]] += len(line["text"]) if not line["bold"] else len(line["text"]) // 4
    return max(sizes, key=lambda size: (sizes[size], size), default=10.0)


# -- paragraphs ----------------------------------------------------------------------------------------------------


def _paragraphs(lines: Sequence[dict[str, Any]], page: int, fonts: _Fonts) -> Iterator[_Paragraph]:
    current: _Paragraph | None = None
    pieces = list(_pieces(_in_order(lines)))
    margin = max((line["box"][2] for line in pieces), default=0.0)
    for line in pieces:
        if current is not None and _goes_on(current, line, fonts, margin):
            current.lines.append(line)
            continue
        if current is not None:
            yield current
        current = _Paragraph([line], page)
    if current is not None:
        yield current


def _in_order(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As they were written, which is how they read; if that jumps about, by place."""
    jumps = sum(
        b["box"][3] < a["box"][1] - 1 and b["box"][0] < a["box"][2] and a["box"][0] < b["box"][2]
        for a, b in pairwise(lines)
    )
    if jumps * 5 <= len(lines):
        return list(lines)
    return sorted(lines, key=lambda line: (round(line["box"][1]), line["box"][0]))


def _pieces(lines: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Pieces of one line that stand beside each other, such as a number and the text that it numbers, put together."""
    held: dict[str, Any] | None = None
    for line in lines:
        if held is not None and _beside(held, line):
            a, b = held["box"], line["box"]
            held = {
                **held, "text": f"{held['text']} {line['text']}", "bold": held["bold"] and line["bold"],
                "size": max((held, line), key=lambda one: len(one["text"]))["size"],
                "box": (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])),
            }  # fmt: skip
            continue
        if held is not None:
            yield held
        held = line
    if held is not None:
        yield held


def _beside(a: dict[str, Any], b: dict[str, Any]) -> bool:
    (_, top, right, bottom), (left, top_b, _, bottom_b) = a["box"], b["box"]
    overlap = min(bottom, bottom_b) - max(top, top_b)
    near = left - right < 3 * b["size"] and left > right - 2
    label = len(a["text"]) <= 8 and (_number(a["text"] + " x") or _BULLET.match(a["text"] + " x"))
    return overlap > 0.5 * min(bottom - top, bottom_b - top_b) and near and (a["block"] == b["block"] or bool(label))


def _goes_on(current: _Paragraph, line: dict[str, Any], fonts: _Fonts, margin: float) -> bool:
    """Whether the line is the next of the paragraph. `margin` is how far to the right lines of the page reach."""
    last = current.lines[-1]
    height = max(last["box"][3] - last["box"][1], 1.0)
    gap = line["box"][1] - last["box"][3]
    if gap > 0.6 * height or gap < -1.2 * height or abs(line["size"] - last["size"]) > 0.6:
        return False
    text = cleaned(line["text"])
    if _BULLET.match(text) or line["block"] != last["block"]:
        return False
    found = _PLAIN.match(text)
    if _DOTTED.match(text) or _WORDED.match(text) or (found and not found[4]):
        # "... go to step" may run on with "4.2." in the next line; a number that had room above begins something
        word = text.split(" ", 1)[0]
        room = margin - last["box"][2] > (len(word) + 1) * 0.55 * last["size"]
        if room or _ENDS.search(cleaned(last["text"])):
            return False
    return bool(line["bold"] == current.lines[0]["bold"] or line["size"] <= fonts.body + 0.6)


# -- what they are -------------------------------------------------------------------------------------------------


def _read_headings(pages: Sequence[Sequence[_Paragraph]], fonts: _Fonts) -> None:
    heads = [
        paragraph
        for page in pages
        for paragraph in page
        if len(paragraph.text) <= LONG_HEADING
        and not _BULLET.match(paragraph.text)
        and _stands_out(paragraph, fonts.body)
    ]
    if pages and pages[0]:
        first = max(pages[0], key=lambda one: (one.size, -one.box[1]))
        others = [one.size for one in heads if one is not first and one.page == 1] + [
            one.size for one in heads if one.page > 1
        ]
        if first in heads and first.size > fonts.body + 0.6 and all(first.size > size + 0.4 for size in others):
            first.kind, first.level = "title", 1
    ranks = sorted({(one.size, one.bold) for one in heads if one.kind != "title"}, reverse=True)
    under = 2 if any(one.kind == "title" for one in heads) else 1
    merged: list[float] = []
    for size, _ in ranks:
        if not merged or merged[-1] - size > 0.3:
            merged.append(size)
        level = under + len(merged) - 1
        fonts.levels.update({(size, True): level, (size, False): level})
    for one in heads:
        if one.kind != "title":
            one.kind, one.level = "heading", fonts.levels[one.size, one.bold]


def _stands_out(paragraph: _Paragraph, body: float) -> bool:
    if paragraph.size > body + 0.9:
        return True
    bold = paragraph.bold and len(paragraph.lines) <= 2 and not _ENDS.search(paragraph.text)
    return bold and paragraph.size > body - 0.6 and not paragraph.text.endswith((":", "："))


def _number(text: str) -> tuple[str, int] | None:
    """The number that a text begins with, as printed but for its brackets, and how deep it is: 4.2 is 2."""
    if found := _DOTTED.match(text):
        return found[1], found[1].count(".") + 1
    if found := _WORDED.match(text):
        return next(group for group in found.groups() if group), 1
    if found := _PLAIN.match(text):
        return next(group for group in found.groups() if group), 1
    return None


def _read_numbers(pages: Sequence[Sequence[_Paragraph]]) -> None:
    last = 0
    for paragraph in (one for page in pages for one in page):
        text = paragraph.text
        found = _number(text)
        if paragraph.kind in ("title", "heading"):
            if found and paragraph.kind == "heading":
                paragraph.number = found[0]
            continue
        if _BULLET.match(text):
            paragraph.kind, paragraph.level = "bullet", 1
            continue
        if found is None:
            continue
        number, depth = found
        bare = _PLAIN.match(text)
        if bare and bare[4] and int(number) != last + 1:  # "15 days after ..." counts nothing
            continue
        if number.isdecimal():
            last = int(number)
        paragraph.kind, paragraph.number, paragraph.level = "step", number, depth


# -- places --------------------------------------------------------------------------------------------------------


def _placed(page: dict[str, Any], number: int, paragraphs: Sequence[_Paragraph]) -> Iterator[Block]:
    """The blocks of a page: the paragraphs in their order, tables and figures where they stand between them."""

    def block(kind: Kind, text: str, box: Corners, **more: Any) -> Block:
        return Block(kind=kind, text=text, place=Place(page=number, box=_shares(box, page)), **more)

    loose: list[Block] = []
    for table in page["tables"]:
        cells = tuple(map(tuple, table["cells"]))
        loose.append(block("table", "\n".join(" | ".join(row) for row in cells), table["box"], cells=cells))
    loose += [block("figure", figure["text"], figure["box"]) for figure in page["figures"]]
    loose.sort(key=lambda one: one.place.box[1])
    for paragraph in paragraphs:
        here = _shares(paragraph.box, page)
        while loose and _before(loose[0].place.box, here):
            yield loose.pop(0)
        kind = paragraph.kind
        if kind == "paragraph" and any(_within(paragraph.box, shade) for shade in page["shades"]):
            kind = "note"
        text = _BULLET.sub("", paragraph.text) if kind == "bullet" else paragraph.text
        yield block(kind, text, paragraph.box, number=paragraph.number, level=paragraph.level)
    yield from loose


def _before(a: Corners, b: Corners) -> bool:
    """Whether a is read before b: it begins above it, in the same column."""
    return a[1] < b[1] and a[0] < b[2] and b[0] < a[2]


def _within(a: Corners, b: Corners) -> bool:
    return a[0] >= b[0] - 2 and a[1] >= b[1] - 4 and a[2] <= b[2] + 2 and a[3] <= b[3] + 4


def _shares(box: Corners, page: dict[str, Any]) -> Corners:
    width, height = page["width"] or 1.0, page["height"] or 1.0
    x0, x1 = (round(min(max(x / width, 0.0), 1.0), 4) for x in (box[0], box[2]))
    y0, y1 = (round(min(max(y / height, 0.0), 1.0), 4) for y in (box[1], box[3]))
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)
