"""A DOCX as HTML, with the numbers that Word prints and the file does not hold. Runs in the reader process only.

Word keeps `4.2` not in the text but in the numbering of its styles (ECMA-376 part 1, 17.9), and procedures live by those numbers, which is why
this is read here: the libraries that turn DOCX into HTML leave them out. Entities are refused and nothing that a part points to is followed.
"""

import html
import io
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, ParseError, XMLParser

from synth.documents.limits import MOST_INFLATED, MOST_TEXT_BYTES
from synth.documents.refusal import Refused
from synth.documents.sanitise import Clean, image_tag

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_V = "{urn:schemas-microsoft-com:vml}"
MOST_PARTS = 10_000
DEEPEST = 200  # elements
MOST_SPAN = 100
_OTHERS = (("xl/", "a workbook"), ("ppt/", "slides"), ("mimetype", "an OpenDocument or EPUB file"))
_BULLETS = {"bullet", "none", None}


@dataclass(slots=True)
class _Level:
    format: str | None = None
    text: str = ""
    start: int = 1


@dataclass(slots=True)
class _Style:
    name: str = ""
    based_on: str | None = None
    outline: int | None = None  # of a heading, from 0
    numbering: tuple[str, int] | None = None


@dataclass(slots=True)
class _Part:
    """What the paragraphs of the document share."""

    styles: dict[str, _Style] = field(default_factory=dict)
    levels: dict[str, dict[int, _Level]] = field(default_factory=dict)  # numId -> level -> how it counts
    lists: dict[str, str] = field(default_factory=dict)  # numId -> the list that it counts in
    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)  # relationship -> data
    remote: set[str] = field(default_factory=set)  # relationships that lead out of the file
    used: dict[str, bytes] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)


def from_docx(data: bytes) -> Clean:
    """The document's text as HTML.

    Raises:
        Refused: no DOCX, damaged, or larger inside than it may be.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
            if len(parts) > MOST_PARTS or sum(part.file_size for part in parts) > MOST_INFLATED:
                raise Refused("unpacks to far more than a document holds; save it as PDF")
            return _body(archive, {part.filename for part in parts})
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        reason = (
            "encrypted; save a copy without a password"
            if "encrypted" in str(error)
            else "a damaged DOCX; save it again"
        )
        raise Refused(reason) from error


def _body(archive: zipfile.ZipFile, names: set[str]) -> Clean:
    if "word/document.xml" not in names:
        kind = next((what for start, what in _OTHERS if any(name.startswith(start) for name in names)), "a ZIP archive")
        raise Refused(f"{kind}, no DOCX; save it as PDF")
    shared = _Part()
    if "word/styles.xml" in names:
        shared.styles = dict(_styles(_xml(archive, "word/styles.xml")))
    if "word/numbering.xml" in names:
        _numbering(_xml(archive, "word/numbering.xml"), shared)
    if "word/_rels/document.xml.rels" in names:
        _images(archive, names, shared)
    if any("vbaProject" in name for name in names):
        shared.left_out.add("macros")
    if any(name.startswith("word/embeddings/") for name in names):
        shared.left_out.add("embedded objects")
    root = _xml(archive, "word/document.xml")
    inside = root.find(f"{_W}body")
    made = "".join(_blocks(inside, shared, 0)) if inside is not None else ""
    return Clean(made, "", shared.used, shared.left_out)


class _Careful:
    """An XML tree that grows no deeper and no larger than a document's."""

    def __init__(self) -> None:
        self._stack: list[Element] = []
        self._root: Element | None = None

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._stack) >= DEEPEST:
            raise Refused("nested too deeply; save it as PDF")
        one = Element(tag, attributes)
        if self._stack:
            self._stack[-1].append(one)
        else:
            self._root = one
        self._stack.append(one)

    def end(self, tag: str) -> None:
        self._stack.pop()

    def data(self, text: str) -> None:
        if self._stack and self._stack[-1].tag == f"{_W}t":
            self._stack[-1].text = (self._stack[-1].text or "") + text

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise Refused("its XML declares entities, which no DOCX needs; save it again")

    def close(self) -> Element:
        if self._root is None:
            raise Refused("a damaged DOCX; save it again")
        return self._root


def _xml(archive: zipfile.ZipFile, name: str) -> Element:
    with archive.open(name) as file:
        data = file.read(MOST_TEXT_BYTES + 1)
    if len(data) > MOST_TEXT_BYTES:
        raise Refused(f"more than {MOST_TEXT_BYTES / 1e6:,.0f} MB of text in it; split it")
    parser = XMLParser(target=_Careful())
    try:
        parser.feed(data)
        root: Element = parser.close()
    except ParseError as error:
        raise Refused(f"a damaged DOCX ({name}: {error}); save it again") from error
    return root


def _of(one: Element | None, name: str) -> str | None:
    """The `w:val` of a child."""
    child = one.find(f"{_W}{name}") if one is not None else None
    return child.get(f"{_W}val") if child is not None else None


def _int(text: str | None, most: int = 1_000_000) -> int | None:
    return min(int(text), most) if text and text.isascii() and text.isdecimal() and len(text) < 10 else None


def _styles(root: Element) -> Iterator[tuple[str, _Style]]:
    for one in root.iter(f"{_W}style"):
        properties = one.find(f"{_W}pPr")
        style = _Style(name=(_of(one, "name") or "").casefold(), based_on=_of(one, "basedOn"))
        style.outline = _int(_of(properties, "outlineLvl"))
        if found := re.fullmatch(r"heading (\d)", style.name):
            style.outline = int(found[1]) - 1
        style.numbering = _numbered(properties)
        yield one.get(f"{_W}styleId") or "", style


def _numbered(properties: Element | None) -> tuple[str, int] | None:
    inside = properties.find(f"{_W}numPr") if properties is not None else None
    identity = _of(inside, "numId")
    return (identity, _int(_of(inside, "ilvl"), 8) or 0) if identity else None


def _numbering(root: Element, shared: _Part) -> None:
    kinds: dict[str, dict[int, _Level]] = {}
    for abstract in root.iter(f"{_W}abstractNum"):
        levels = {}
        for level in abstract.iter(f"{_W}lvl"):
            at = _int(level.get(f"{_W}ilvl"), 8) or 0
            levels[at] = _Level(_of(level, "numFmt"), _of(level, "lvlText") or "", _int(_of(level, "start")) or 1)
        kinds[abstract.get(f"{_W}abstractNumId") or ""] = levels
    for one in root.iter(f"{_W}num"):
        identity, kind = one.get(f"{_W}numId") or "", _of(one, "abstractNumId") or ""
        shared.levels[identity] = kinds.get(kind, {})
        own = one.find(f"{_W}lvlOverride") is not None
        shared.lists[identity] = f"{kind}/{identity}" if own else kind


def _images(archive: zipfile.ZipFile, names: set[str], shared: _Part) -> None:
    for one in _xml(archive, "word/_rels/document.xml.rels"):
        identity, target = one.get("Id") or "", one.get("Target") or ""
        if not (one.get("Type") or "").endswith("/image"):
            continue
        path = target.lstrip("/") if target.startswith("/") else f"word/{target}"
        if one.get("TargetMode") == "External":
            shared.remote.add(identity)
        elif path in names:
            shared.images[identity] = archive.read(path)


# -- text ----------------------------------------------------------------------------------------------------------


def _blocks(parent: Element, shared: _Part, deep: int) -> Iterator[str]:
    for one in parent:
        if one.tag == f"{_W}p":
            yield _paragraph(one, shared)
        elif one.tag == f"{_W}tbl":
            yield _table(one, shared, deep)
        elif one.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}ins", f"{_W}smartTag", f"{_W}customXml"):
            yield from _blocks(one, shared, deep)


def _paragraph(one: Element, shared: _Part) -> str:
    properties = one.find(f"{_W}pPr")
    style, outline, numbering = _styled(_of(properties, "pStyle"), shared)
    numbering = _numbered(properties) or numbering
    own_level = _int(_of(properties, "outlineLvl"))
    outline = own_level if own_level is not None and own_level < 9 else outline
    text = "".join(_runs(one, shared, plain=outline is not None or style == "title"))
    if not re.sub(r"<[^>]*>|\s", "", text) and "<img" not in text:
        return ""
    number, bullet = _label(numbering, shared)
    if bullet:
        return f"<ul><li>{text}</li></ul>"
    text = f"{html.escape(number)}\u2002{text}" if number else text
    if style == "title":
        return f"<h1>{text}</h1>"
    if outline is not None:
        tag = f"h{min(outline + 2, 6)}"  # the title is the first
        return f"<{tag}>{text}</{tag}>"
    return f"<blockquote><p>{text}</p></blockquote>" if "quote" in style else f"<p>{text}</p>"


def _styled(identity: str | None, shared: _Part) -> tuple[str, int | None, tuple[str, int] | None]:
    """Name, heading level and numbering of a style, with what it has from those that it is based on."""
    name, outline, numbering, seen = "", None, None, set[str]()
    while identity and identity not in seen and (style := shared.styles.get(identity)):
        seen.add(identity)
        name = name or style.name
        outline = style.outline if outline is None else outline
        numbering = numbering or style.numbering
        identity = style.based_on
    return name, outline if outline is not None and outline < 9 else None, numbering


def _label(numbering: tuple[str, int] | None, shared: _Part) -> tuple[str, bool]:
    """The number that Word prints before a paragraph, and whether it prints a bullet instead."""
    if numbering is None or numbering[0] == "0" or numbering[0] not in shared.levels:
        return "", False
    identity, at = numbering
    levels, count_in = shared.levels[identity], shared.lists[identity]
    level = levels.get(at, _Level())
    if level.format in _BULLETS:
        return "", level.format == "bullet"
    shared.counts[count_in, at] = shared.counts.get((count_in, at), level.start - 1) + 1
    for deeper in range(at + 1, 9):
        shared.counts.pop((count_in, deeper), None)

    def counted(found: re.Match[str]) -> str:
        which = int(found[1]) - 1
        one = levels.get(which, _Level())
        return _written(shared.counts.get((count_in, which), one.start), one.format)

    return re.sub(r"%([1-9])", counted, level.text)[:20].strip(), False


def _written(count: int, how: str | None) -> str:
    if how in ("lowerLetter", "upperLetter"):
        letter = chr(ord("a") + (count - 1) % 26) * min((count - 1) // 26 + 1, 3)
        return letter.upper() if how == "upperLetter" else letter
    if how in ("lowerRoman", "upperRoman"):
        made, left = "", min(count, 3999)
        for value, sign in zip(
            (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
            ["m", "cm", "d", "cd", "c", "xc", "l", "xl", "x", "ix", "v", "iv", "i"],
            strict=True,
        ):
            made += sign * (left // value)
            left %= value
        return made.upper() if how == "upperRoman" else made
    return str(count)


def _runs(one: Element, shared: _Part, *, plain: bool) -> Iterator[str]:
    for child in one:
        if child.tag == f"{_W}r":
            text = "".join(_pieces(child, shared))
            properties = child.find(f"{_W}rPr")
            bold = properties.find(f"{_W}b") if properties is not None else None
            heavy = bold is not None and bold.get(f"{_W}val") not in ("0", "false") and not plain
            hidden = properties is not None and properties.find(f"{_W}vanish") is not None
            if not hidden:
                yield f"<b>{text}</b>" if heavy and text else text
        elif child.tag in (
            f"{_W}hyperlink",
            f"{_W}ins",
            f"{_W}smartTag",
            f"{_W}sdt",
            f"{_W}sdtContent",
            f"{_W}fldSimple",
        ):
            yield from _runs(child, shared, plain=plain)


def _pieces(run: Element, shared: _Part) -> Iterator[str]:
    for piece in run:
        if piece.tag == f"{_W}t":
            yield html.escape(piece.text or "")
        elif piece.tag in (f"{_W}tab", f"{_W}noBreakHyphen"):
            yield " " if piece.tag == f"{_W}tab" else "-"
        elif piece.tag in (f"{_W}br", f"{_W}cr"):
            yield "<br/>"
        elif piece.tag in (f"{_W}drawing", f"{_W}pict"):
            for shown in (*piece.iter(f"{_A}blip"), *piece.iter(f"{_V}imagedata")):
                yield _image(shown.get(f"{_R}embed") or shown.get(f"{_R}link") or shown.get(f"{_R}id") or "", shared)


def _image(identity: str, shared: _Part) -> str:
    data = shared.images.get(identity)
    if data is None or not data.startswith((b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")):
        shared.left_out.add("linked images" if identity in shared.remote else "images that are neither PNG nor JPEG")
        return ""
    name = f"docx-{sorted(shared.images).index(identity)}"
    tag = image_tag(name, data)
    if tag is None:
        shared.left_out.add("damaged or overlarge images")
        return ""
    shared.used[name] = data
    return tag


def _table(table: Element, shared: _Part, deep: int) -> str:
    if deep > 3:
        return "".join(_blocks_of_cells(table, shared, deep))
    rows: list[
        list[tuple[int, str]]
    ] = []  # how many columns wide, content; of a vertical merge the first cell alone has content
    for row in table.findall(f"{_W}tr"):
        cells = []
        for cell in row.findall(f"{_W}tc"):
            properties = cell.find(f"{_W}tcPr")
            span = min(_int(_of(properties, "gridSpan")) or 1, MOST_SPAN)
            merged = properties.find(f"{_W}vMerge") if properties is not None else None
            goes_on = merged is not None and merged.get(f"{_W}val") != "restart"
            cells.append((span, "" if goes_on else "".join(_blocks(cell, shared, deep + 1))))
        rows.append(cells)
    made = "".join(
        "<tr>"
        + "".join(f"<td{f' colspan={chr(34)}{span}{chr(34)}' if span > 1 else ''}>{text}</td>" for span, text in row)
        + "</tr>"
        for row in rows
    )
    return f"<table>{made}</table>"


def _blocks_of_cells(table: Element, shared: _Part, deep: int) -> Iterator[str]:
    for cell in table.iter(f"{_W}tc"):
        yield from _blocks(cell, shared, deep + 1)
