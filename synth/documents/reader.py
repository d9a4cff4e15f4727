"""Opening one document and looking at its pages. Runs in the reader process only: nothing here is trusted to end or to stay small."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymupdf

from synth.documents.convert import from_markdown, from_text, paged
from synth.documents.docx import from_docx
from synth.documents.joining import cleaned
from synth.documents.limits import MOST_LETTERS, MOST_LINES, MOST_PIXELS, MOST_PNG_BYTES, MOST_TEXT_BYTES, Limits
from synth.documents.marks import marks
from synth.documents.png import encoded
from synth.documents.refusal import Refused
from synth.documents.sanitise import Clean, clean
from synth.documents.wording import worded
from synth.pictures import pixels

_HTML = re.compile(
    r"\s*(?:<!--.*?-->\s*)*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE | re.DOTALL
)
_AS = {"pdf": " as PDF"}
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_OTHERS = (
    (b"\xd0\xcf\x11\xe0", "an old Office file; save it as DOCX or PDF"),
    (b"{\\rtf", "an RTF file; save it as DOCX or PDF"),
    (b"GIF8", "a GIF image; save it as PNG"),
    (b"RIFF", "not a document that is read; images are read as PNG or JPEG"),
    (b"II*\x00", "a TIFF image; save it as PNG or PDF"),
    (b"MM\x00*", "a TIFF image; save it as PNG or PDF"),
    (b"%!PS", "PostScript; save it as PDF"),
)


@dataclass(slots=True)
class Opened:
    document: pymupdf.Document
    media_type: str
    sha256: str
    title: str = ""
    notes: list[str] = field(default_factory=list)  # what a user should know of it
    scale: float | None = None  # pixels per point that an image has, which it is not drawn beyond


def opened(path: Path, limits: Limits) -> Opened:
    """Open a document by what its bytes are, whatever its name says.

    Raises:
        Refused: it cannot be read, or is beyond the limits.
    """
    with path.open("rb") as file:
        data = file.read(limits.most_bytes + 1)
    if len(data) > limits.most_bytes:
        raise Refused(f"larger than {limits.most_bytes / 1e6:,.0f} MB; split it")
    if not data.strip(b"\0 \t\r\n"):
        raise Refused("empty")
    sha256 = hashlib.sha256(data).hexdigest()
    if b"%PDF-" in data[:1024]:
        found = _pdf(data, sha256)
    elif data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        found = _image(data, sha256)
    elif data.startswith(b"PK\x03\x04"):
        found = _laid_out(from_docx(data), DOCX, sha256, limits)
    else:
        found = _text(data, sha256, path.suffix.lower(), limits)
    count = found.document.page_count
    if count < 1:
        raise Refused("damaged: it has no pages; save it again as PDF")
    if count > limits.most_pages:
        raise Refused(
            f"{count:,} pages, more than {limits.most_pages:,}; split it, or allow more with most_pages={count}"
        )
    return found


def _pdf(data: bytes, sha256: str) -> Opened:
    document = _open(data, "pdf")
    if document.needs_pass:
        raise Refused("encrypted; save a copy without a password")
    found = Opened(document, "application/pdf", sha256, cleaned((document.metadata or {}).get("title") or "")[:300])
    if document.is_repaired:
        found.notes.append("damaged, mended while reading")
    catalog = document.pdf_catalog()
    active = [
        name for name in ("OpenAction", "AA", "Names/JavaScript") if document.xref_get_key(catalog, name)[0] != "null"
    ]
    if active or b"/JavaScript" in data or b"/Launch" in data:
        found.notes.append("has scripts or actions, which are not run")
    if document.embfile_count():
        found.notes.append("has files attached, which are not opened")
    return found


def _image(data: bytes, sha256: str) -> Opened:
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    size = pixels(data)
    if size is None or not all(size):
        raise Refused(f"a damaged {kind.upper()} image; save it again")
    if size[0] * size[1] > MOST_PIXELS:
        raise Refused(f"{size[0]:,} x {size[1]:,} pixels, more than {MOST_PIXELS / 1e6:,.0f} million; scale it down")
    document = _open(data, kind)
    return Opened(
        document, f"image/{kind}", sha256, scale=max(size) / max(document[0].rect.width, document[0].rect.height, 1e-6)
    )


def _text(data: bytes, sha256: str, suffix: str, limits: Limits) -> Opened:
    for start, reason in _OTHERS:
        if data.startswith(start):
            raise Refused(reason)
    if suffix in (".pdf", ".docx", ".png", ".jpg", ".jpeg"):
        raise Refused(f"no {suffix[1:].upper()} file, whatever its name says; give it the name of what it is")
    text = _decoded(data)
    if len(data) > MOST_TEXT_BYTES:
        raise Refused(f"larger than {MOST_TEXT_BYTES / 1e6:,.0f} MB of text; split it")
    made: Clean
    if suffix in (".html", ".htm", ".xhtml") or _HTML.match(text[:4096]):
        made, kind = clean(text), "text/html"
    elif suffix in (".md", ".markdown"):
        made, kind = from_markdown(text), "text/markdown"
    else:
        made, kind = from_text(text), "text/plain"
    return _laid_out(made, kind, sha256, limits)


def _laid_out(made: Clean, kind: str, sha256: str, limits: Limits) -> Opened:
    found = Opened(_open(paged(made, limits.most_pages), "pdf"), kind, sha256, made.title)
    found.notes += [f"{what} left out" for what in sorted(made.left_out - {""})]
    return found


def _decoded(data: bytes) -> str:
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        if b"\0" in data[:4096]:
            raise Refused("not a document that is read (PDF, DOCX, HTML, Markdown, text, PNG, JPEG)") from None
        raise Refused("not UTF-8 text; save it as UTF-8") from None
    odd = sum(letter < " " and letter not in "\t\n\r\f" for letter in text[:65536])
    if odd * 50 > min(len(text), 65536):
        raise Refused("not a document that is read (PDF, DOCX, HTML, Markdown, text, PNG, JPEG)")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _open(data: bytes, kind: str) -> pymupdf.Document:
    try:
        return pymupdf.open(stream=data, filetype=kind)
    except (RuntimeError, ValueError) as error:
        raise Refused(f"damaged: {worded(error)}; save it again{_AS.get(kind, '')}") from error


# -- pages ---------------------------------------------------------------------------------------------------------


def looked_at(opened: Opened, number: int, limits: Limits) -> tuple[dict[str, Any], bytes]:
    """What stands on a page (`Marks.plain()`, and its text, and its image's size in pixels), and its image as PNG.

    Args:
        number: from 0.

    Raises:
        Refused: the page cannot be read or drawn.
    """
    try:
        page = opened.document[number]
        longest = max(page.rect.width, page.rect.height)
        if not longest > 0:
            raise Refused(f"page {number + 1} has no size; save it again as PDF")
        scale = min(opened.scale or limits.dpi / 72, limits.longest_px / longest)
        while True:
            image = page.get_pixmap(matrix=pymupdf.Matrix(scale, scale), colorspace=pymupdf.csRGB, alpha=False)
            data = encoded(image.samples_mv, image.width, image.height)
            if len(data) <= MOST_PNG_BYTES:
                break
            scale *= 0.85
        found = marks(page, limits.ocr, limits.tessdata)
    except (RuntimeError, ValueError, MemoryError) as error:
        raise Refused(f"page {number + 1} cannot be drawn: {worded(error)}; save it again as PDF") from error
    if len(found.lines) > MOST_LINES or sum(len(line.text) for line in found.lines) > MOST_LETTERS:
        raise Refused(f"page {number + 1} has more text than a page can; save it again as PDF")
    return {**found.plain(), "px": (image.width, image.height)}, data
