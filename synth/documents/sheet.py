"""A contact sheet: the pages of a document side by side, with what was found on them marked in colour."""

import html
from pathlib import Path

import pymupdf

from curation.documents import Document, Page

MOST_PAGES = 60  # on one sheet
WIDE, GAP, EDGE, HEAD, FOOT = 300.0, 22.0, 36.0, 84.0, 20.0  # points
GROUND, INK, GREY, RULE = "#eef1f4", "#1c2733", "#5d6b7a", "#c5ced8"
COLOURS = {
    "title": "#0b5d7a",
    "heading": "#1f7fb8",
    "step": "#2f8f5b",
    "bullet": "#7a9a2e",
    "paragraph": "#8b97a3",
    "table": "#7b4fb0",
    "figure": "#c4682a",
    "note": "#c79a17",
}


def contact_sheet(document: Document, assets: Path) -> bytes:
    """A PNG; its pages are read from the assets."""
    pages = document.pages[:MOST_PAGES]
    columns = min(len(pages), 3 if len(pages) <= 6 else 4 if len(pages) <= 12 else 6)
    scale = 1.0 if columns <= 4 else 0.72
    wide = WIDE * scale
    rows = [pages[at : at + columns] for at in range(0, len(pages), columns)]
    heights = [max(min(wide * page.height / max(page.width, 1), wide * 2) for page in row) for row in rows]
    width = max(EDGE * 2 + columns * wide + (columns - 1) * GAP, 640)
    height = HEAD + sum(heights) + len(rows) * (FOOT + GAP) + EDGE - GAP
    with pymupdf.open() as pdf:
        sheet = pdf.new_page(width=width, height=height)
        sheet.draw_rect(sheet.rect, color=None, fill=_rgb(GROUND))
        _head(sheet, document)
        top = HEAD
        for row, tall in zip(rows, heights, strict=True):
            for column, page in enumerate(row):
                left = EDGE + column * (wide + GAP)
                high = min(wide * page.height / max(page.width, 1), wide * 2)
                _page(sheet, page, assets, pymupdf.Rect(left, top, left + wide, top + high))
            top += tall + FOOT + GAP
        zoom = min(1.6, 8000 / max(width, height))
        return bytes(sheet.get_pixmap(matrix=pymupdf.Matrix(zoom, zoom), alpha=False).tobytes("png"))


def _head(sheet: pymupdf.Page, document: Document) -> None:
    right = sheet.rect.width - EDGE
    blocks = [block for page in document.pages for block in page.blocks]
    more = f", the first {MOST_PAGES} shown" if len(document.pages) > MOST_PAGES else ""
    counted = (
        f"{len(document.pages):,} page{'s' * (len(document.pages) != 1)}{more} · {len(blocks):,} blocks · {document.id}"
    )
    _write(sheet, (EDGE, 20, right, 46), html.escape(document.title[:120]), 15, INK, bold=True)
    _write(sheet, (EDGE, 44, right, 58), f"{html.escape(Path(document.path).name[:80])} · {counted}", 8.5, GREY)
    x = EDGE
    for kind, colour in COLOURS.items():
        count = sum(block.kind == kind for block in blocks)
        if not count:
            continue
        box = pymupdf.Rect(x, 63, x + 9, 72)
        sheet.draw_rect(box, color=_rgb(colour), fill=_rgb(colour), fill_opacity=0.25, width=0.8, radius=0.2)
        label = f"{kind} {count}"
        _write(sheet, (x + 13, 61, x + 120, 75), label, 8.5, GREY)
        x += 24 + pymupdf.get_text_length(label, fontsize=8.5)


def _page(sheet: pymupdf.Page, page: Page, assets: Path, place: pymupdf.Rect) -> None:
    sheet.draw_rect(place + pymupdf.Rect(1.5, 2, 1.5, 2), color=None, fill=_rgb("#000000"), fill_opacity=0.10)
    sheet.draw_rect(place, color=None, fill=(1, 1, 1))
    sheet.insert_image(place, filename=str(assets / page.image), keep_proportion=False)
    sheet.draw_rect(place, color=_rgb(RULE), width=0.6)
    for block in page.blocks:
        x0, y0, x1, y1 = block.place.box
        box = pymupdf.Rect(
            place.x0 + x0 * place.width - 1, place.y0 + y0 * place.height - 0.5, place.x0 + x1 * place.width + 1,
            place.y0 + y1 * place.height + 0.5,
        ) & place  # fmt: skip
        if box.is_empty:
            continue
        colour = _rgb(COLOURS[block.kind])
        sheet.draw_rect(box, color=colour, fill=colour, width=0.5, fill_opacity=0.10, stroke_opacity=0.7)
        sheet.draw_line(box.tl, box.bl, color=colour, width=1.6)
    _write(sheet, (place.x0, place.y1 + 4, place.x1, place.y1 + FOOT), str(page.number), 8.5, GREY, align="center")


def _write(
    sheet: pymupdf.Page, box: tuple[float, float, float, float], text: str, size: float, colour: str, *, bold: bool = False,
    align: str = "left",
) -> None:  # fmt: skip
    css = f"body {{ margin: 0; }} * {{ font-family: sans-serif; font-size: {size}pt; color: {colour}; }}"
    weight = "font-weight: bold;" if bold else ""
    sheet.insert_htmlbox(box, f'<p style="margin: 0; text-align: {align}; {weight}">{text}</p>', css=css)


def _rgb(text: str) -> tuple[float, float, float]:
    red, green, blue = bytes.fromhex(text[1:])
    return red / 255, green / 255, blue / 255
