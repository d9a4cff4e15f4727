"""What stands on a page, as MuPDF sees it: lines of text, ruled tables, figures and shaded boxes. Runs in the reader process only."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pymupdf

from synth.documents.joining import joined
from synth.documents.ocr import DPI, MOST_PX
from synth.documents.rules import Grid, Segment, grids

Corners = tuple[float, float, float, float]
MOST_DRAWINGS = 4000  # beyond that a page is a map or a plan, and its lines rule no tables
FLAGS = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_MEDIABOX_CLIP | pymupdf.TEXT_CID_FOR_UNKNOWN_UNICODE
THIN = 2.6  # points; a narrower rectangle is a line


@dataclass(frozen=True, slots=True)
class Line:
    text: str
    box: Corners  # points, from the top left corner
    size: float  # of most of its letters, points
    bold: bool
    block: int  # lines that MuPDF takes for one paragraph have the same


@dataclass(frozen=True, slots=True)
class Table:
    box: Corners
    cells: list[list[str]]


@dataclass(frozen=True, slots=True)
class Figure:
    box: Corners
    text: str


@dataclass(slots=True)
class Marks:
    width: float  # points
    height: float
    lines: list[Line] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    shades: list[Corners] = field(default_factory=list)  # boxes with a ground of their own
    recognised: bool = False  # its text was read off an image

    def plain(self) -> dict[str, Any]:
        return asdict(self)


def marks(page: pymupdf.Page, ocr: str = "", tessdata: str = "") -> Marks:
    """Everything on the page. Text inside a table or a figure belongs to that, and is in no line.

    Args:
        ocr: languages to recognise where the page has images and no text; none, if not given.
        tessdata: the folder that has Tesseract's data of them.
    """
    found = Marks(float(page.rect.width), float(page.rect.height))
    text = page.get_textpage(flags=FLAGS)
    words: list[tuple[Any, ...]] = text.extractWORDS()
    if ocr and not words and page.get_image_info():
        dpi = int(min(DPI, MOST_PX * 72 / max(page.rect.width, page.rect.height)))
        text = page.get_textpage_ocr(flags=FLAGS, language=ocr, dpi=dpi, full=True, tessdata=tessdata)
        words = text.extractWORDS()
        found.recognised = bool(words)
    drawings = page.get_cdrawings() if words or page.rect else []
    busy = len(drawings) > MOST_DRAWINGS
    ruled = [] if busy else grids(_segments(drawings))
    for grid in ruled:
        cells = _cells(grid, words)
        if any(any(row) for row in cells):
            found.tables.append(Table(grid.box, cells))
    left = [one for one in drawings if not any(_inside(one["rect"], grid.box, 1.5) for grid in ruled)]
    clusters = [] if busy else _clusters(one["rect"] for one in left)
    for box, count in clusters:
        if count >= 5 and box[2] - box[0] > 60 and box[3] - box[1] > 40:
            found.figures.append(Figure(box, _text_in(box, words)))
        elif count <= 4 and _shaded(box, left):
            found.shades.append(box)
    if busy:
        box = _around([one["rect"] for one in drawings], found)
        found.figures.append(Figure(box, ""))
    for image in page.get_image_info():
        box = _clipped(image["bbox"], found)
        if box[2] - box[0] > 24 and box[3] - box[1] > 24 and not any(_inside(box, one.box, 2) for one in found.figures):
            found.figures.append(Figure(box, ""))
    taken = [one.box for one in found.tables] + [one.box for one in found.figures if one.text]
    found.lines = [
        line for line in _lines(text.extractDICT()) if not any(_inside_mostly(line.box, box) for box in taken)
    ]
    return found


def _lines(page: dict[str, Any]) -> Iterable[Line]:
    for number, block in enumerate(page["blocks"]):
        for line in block.get("lines", ()):
            spans = [span for span in line["spans"] if span["text"].strip()]
            if not spans:
                continue
            letters = [
                (len(span["text"]), span["size"], bool(span["flags"] & 16) or "Bold" in span["font"]) for span in spans
            ]
            total = sum(count for count, _, _ in letters)
            size = max(letters)[1]
            # a CJK fallback font has no bold cut: a heading is bold where its first span is
            bold = sum(count for count, _, heavy in letters if heavy) * 2 > total
            heavy_start = letters[0][2] and all(
                heavy or "Fallback" in span["font"] for (_, _, heavy), span in zip(letters, spans, strict=True)
            )
            text = "".join(span["text"] for span in line["spans"])
            yield Line(text.strip(), tuple(line["bbox"]), round(float(size), 1), bold or heavy_start, number)


# -- rules ---------------------------------------------------------------------------------------------------------


def _segments(drawings: Sequence[dict[str, Any]]) -> list[Segment]:
    found: list[Segment] = []
    for drawing in drawings:
        stroked = "s" in drawing["type"]
        for item in drawing["items"]:
            if item[0] == "l":
                (x0, y0), (x1, y1) = item[1], item[2]
                if abs(y1 - y0) < 0.7 or abs(x1 - x0) < 0.7:
                    found.append(Segment(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
            elif item[0] == "re":
                x0, y0, x1, y1 = item[1]
                if x1 - x0 <= THIN or y1 - y0 <= THIN:
                    found.append(Segment.thin(x0, y0, x1, y1))
                elif stroked:
                    found += Segment.frame(x0, y0, x1, y1)
    return found


def _cells(grid: Grid, words: Sequence[tuple[Any, ...]]) -> list[list[str]]:
    """The text of each cell; a merged cell's stands in its first place, the others are empty."""
    held: dict[tuple[int, int], list[tuple[Any, ...]]] = {}
    for word in words:
        place = grid.owner((word[0] + word[2]) / 2, (word[1] + word[3]) / 2)
        if place is not None:
            held.setdefault(place, []).append(word)
    return [[_said(held.get((row, column), ())) for column in range(grid.columns)] for row in range(grid.rows)]


def _said(words: Sequence[tuple[Any, ...]]) -> str:
    lines: dict[tuple[int, int], list[str]] = {}
    for word in words:
        lines.setdefault((word[5], word[6]), []).append(word[4])
    return joined(" ".join(line) for line in lines.values())


def _text_in(box: Corners, words: Sequence[tuple[Any, ...]]) -> str:
    """What is written in a figure, a piece a line."""
    pieces: dict[int, list[tuple[Any, ...]]] = {}
    for word in words:
        if box[0] <= (word[0] + word[2]) / 2 <= box[2] and box[1] <= (word[1] + word[3]) / 2 <= box[3]:
            pieces.setdefault(word[5], []).append(word)
    return "\n".join(_said(piece) for piece in pieces.values())


# -- boxes ---------------------------------------------------------------------------------------------------------


def _clusters(boxes: Iterable[Sequence[float]]) -> list[tuple[Corners, int]]:
    """Drawings that touch or nearly do, as the box around them and their number."""
    near = 6.0
    found: list[tuple[Corners, int]] = []
    for one in boxes:
        box, count = (float(one[0]), float(one[1]), float(one[2]), float(one[3])), 1
        while True:
            touching = [other for other in found if _near(box, other[0], near)]
            if not touching:
                break
            for other in touching:
                found.remove(other)
                box, count = _union(box, other[0]), count + other[1]
        found.append((box, count))
    return found


def _shaded(box: Corners, drawings: Sequence[dict[str, Any]]) -> bool:
    return box[2] - box[0] > 60 and box[3] - box[1] > 10 and any(
        "f" in one["type"] and (one.get("fill") or (1, 1, 1)) != (1.0, 1.0, 1.0)
        and _inside(one["rect"], box, 0.5) and (one["rect"][2] - one["rect"][0]) * 2 > box[2] - box[0]
        for one in drawings
    )  # fmt: skip


def _near(a: Corners, b: Corners, gap: float) -> bool:
    return a[0] <= b[2] + gap and b[0] <= a[2] + gap and a[1] <= b[3] + gap and b[1] <= a[3] + gap


def _union(a: Corners, b: Corners) -> Corners:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _inside(a: Sequence[float], b: Sequence[float], slack: float) -> bool:
    return a[0] >= b[0] - slack and a[1] >= b[1] - slack and a[2] <= b[2] + slack and a[3] <= b[3] + slack


def _inside_mostly(a: Corners, b: Corners) -> bool:
    x, y = (a[0] + a[2]) / 2, (a[1] + a[3]) / 2
    return b[0] <= x <= b[2] and b[1] <= y <= b[3]


def _around(boxes: Sequence[Sequence[float]], found: Marks) -> Corners:
    return _clipped(
        (min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes)), found
    )


def _clipped(box: Sequence[float], found: Marks) -> Corners:
    x0, x1 = (min(max(float(x), 0.0), found.width) for x in (box[0], box[2]))
    y0, y1 = (min(max(float(y), 0.0), found.height) for y in (box[1], box[3]))
    return x0, y0, max(x0, x1), max(y0, y1)
