"""What of a text goes to a translation service, and what stays behind: line breaks, Markdown markers, table rules, fenced code.

A service keeps neither line breaks nor indents, so each line, and each cell of a table, is a segment of its own. Kept spans are shown to
it as `<span translate="no">`, or, where that did not hold, cut out as well.
"""

import html
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from synth.translators.spans import NO_WORDING, Piece, Wording, pieces

_FENCED = re.compile(r"(^[ \t]*```.*?^[ \t]*```[ \t]*$)", re.DOTALL | re.MULTILINE)
_BEGINS = re.compile(r"(?:[ \t]*(?:#{1,6}(?=[ \t])|[-*+•](?=[ \t])|[0-9]{1,3}[.)](?=[ \t])|>))*\s*")
_CELLS = re.compile(r"(\|)")
_BREAKS = re.compile(r"(\r?\n)")
_BOLD = re.compile(r"\*\*(?=[^\s*])([^*]+?)(?<=[^\s*])\*\*")
_MARKUP = re.compile(r"(<[^<>]*>)")
_NO = re.compile(r"<span\b[^>]*\btranslate\s*=\s*[\"']?no\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch that goes to the service."""

    pieces: tuple[Piece, ...]


Frame = tuple[str | Segment, ...]
"""A text as what stays behind and what is sent, in order."""


def split(text: str, wording: Wording = NO_WORDING, *, cut: bool = False) -> Frame:
    """A text's segments and what is between them.

    Args:
        cut: leave kept spans behind, so that none can get lost, at the price of the sentence around them.
    """
    parts: list[str | Segment] = []
    for number, stretch in enumerate(_FENCED.split(text)):
        if number % 2:
            parts.append(stretch)
            continue
        for line in _BREAKS.split(stretch):
            for cell in _CELLS.split(line) if line.lstrip().startswith("|") else (line,):
                parts += _cell(cell, wording, cut=cut)
    return tuple(part for part in parts if part)


def _cell(text: str, wording: Wording, *, cut: bool) -> Iterator[str | Segment]:
    begins = _BEGINS.match(text)
    place = begins.end() if begins else 0
    end = len(text.rstrip())
    if end <= place:
        yield text
        return
    yield text[:place]
    found = pieces(text[place:end], wording)
    if cut:
        for piece in found:
            yield from (piece.text,) if piece.kept else _open(piece)
    elif any(not piece.kept and _speaks(piece.text) for piece in found):
        yield Segment(found)
    else:
        yield "".join(piece.text for piece in found)
    yield text[end:]


def _open(piece: Piece) -> Iterator[str | Segment]:
    """A stretch between kept spans; the white space around it stays behind, as a service would trim it."""
    body = piece.text.strip()
    if not _speaks(body):
        yield piece.text
        return
    before = piece.text.index(body)
    yield piece.text[:before]
    yield Segment((Piece(body),))
    yield piece.text[before + len(body) :]


def _speaks(text: str) -> bool:
    return any(char.isalpha() for char in text)


def joined(frame: Frame, translations: Sequence[str]) -> str:
    """The text again, with a translation in the place of each segment."""
    given = iter(translations)
    return "".join(part if isinstance(part, str) else next(given) for part in frame)


# -- HTML --------------------------------------------------------------------------------------------------------


def needs_html(segments: Sequence[Segment]) -> bool:
    return any(piece.kept or "**" in piece.text for segment in segments for piece in segment.pieces)


def plain(segment: Segment) -> str:
    return "".join(piece.text for piece in segment.pieces)


def to_html(segment: Segment) -> str:
    """A segment for a service that takes HTML: kept pieces in `<span translate="no">`, bold as `<b>`, the rest escaped."""
    shown: list[str] = []
    inside = False
    for piece in segment.pieces:
        if piece.kept != inside:
            shown.append('<span translate="no">' if piece.kept else "</span>")
            inside = piece.kept
        escaped = html.escape(piece.text, quote=False)
        shown.append(escaped.replace("*", "&#42;") if piece.kept else escaped)
    return _BOLD.sub(r"<b>\1</b>", "".join(shown) + ("</span>" if inside else ""))


def from_html(text: str) -> str:
    """The text in a service's HTML; `from_html(to_html(segment))` is the segment."""
    shown: list[str] = []
    for part in _MARKUP.split(text):
        if not part.startswith("<"):
            shown.append(html.unescape(part))
        elif (tag := part.strip("</ >").split(" ")[0].lower()) in ("b", "strong"):
            shown.append("**")
        elif tag == "br":
            shown.append("\n")
    return "".join(shown)
