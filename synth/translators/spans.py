"""What a translation must carry over as it stands: addresses, handles, hashtags, emoji, numbers with a unit, code, names.

A text is cut into pieces, some of which are kept. A translator is shown which, and its translation is then checked: every kept
piece must be there exactly as often as in the source.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text. `kind` says what is kept: url, email, mention, hashtag, emoji, blank, amount, phone, code, name, term."""

    text: str
    kind: str = ""

    @property
    def kept(self) -> bool:
        return bool(self.kind)


@dataclass(frozen=True)
class Wording:
    """What the user fixed for one pair of languages: names that stay, and terms with their one translation."""

    keep: Sequence[str] = ()
    terms: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def names(self) -> "re.Pattern[str] | None":
        return _any_of([re.escape(name) for name in self.keep], self.keep)

    @cached_property
    def phrases(self) -> "re.Pattern[str] | None":
        """Terms in any case; those in Latin letters also with the ending of a plural."""
        return _any_of([f"{re.escape(term)}{'(?:e?s)?' if term.isascii() else ''}" for term in self.terms], self.terms)

    def term(self, found: str) -> str:
        """The translation of a stretch that `phrases` matched."""
        folded = {term.casefold(): translation for term, translation in self.terms.items()}
        word = found.casefold()
        return next(folded[form] for form in (word, word.removesuffix("s"), word.removesuffix("es")) if form in folded)


def _any_of(patterns: Sequence[str], words: Sequence[str] | Mapping[str, str]) -> "re.Pattern[str] | None":
    if not patterns:
        return None
    longest_first = [
        pattern for _, pattern in sorted(zip(words, patterns, strict=True), key=lambda pair: -len(pair[0]))
    ]
    return re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(longest_first)})(?![A-Za-z0-9])", re.IGNORECASE)


NO_WORDING = Wording()

# -- patterns: edges are spelt out, as \b sees none between a Latin letter and a Chinese one ----------------------------

_PICTURE = (
    "[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u23ff\u24c2\u25aa-\u25fe\u2600-\u27bf\u2934\u2935"
    "\u2b05-\u2b55\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_TONE = "[\ufe0e\ufe0f]?[\U0001f3fb-\U0001f3ff]?[\ufe0e\ufe0f]?"
EMOJI = re.compile(
    "[0-9#*]\ufe0f?\u20e3|[\U0001f1e6-\U0001f1ff]{2}|\U0001f3f4[\U000e0020-\U000e007e]+\U000e007f"
    f"|{_PICTURE}{_TONE}(?:\u200d{_PICTURE}{_TONE})*"
)
_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_ADDRESS = r"[^\s<>\"'`|\u0b80-\u0bff\u3000-\u9fff\uac00-\ud7a3\uff00-\uffef\U0001f000-\U0001faff]"
_ENDINGS = "(?:com|net|org|edu|gov)(?:\\.[a-z]{2})?|info|biz|xyz|site|online|shop|store|click|app|io|gg|sg|cn|hk"
_WORDY = "co|me|ly|my|in|to|tv|cc|ai|id|uk|link|dev"  # endings that are words too: "good.my mum" is no address
_URL = re.compile(
    rf"(?:h(?:tt|xx)ps?://|(?<![A-Za-z0-9.@-])www\.){_ADDRESS}+"
    r"|(?<![A-Za-z0-9.@_-])(?:[A-Za-z0-9-]{1,63}(?:\.|\[\.\]))+"
    rf"(?:(?:{_ENDINGS})(?:/{_ADDRESS}*)?|(?:{_WORDY})/{_ADDRESS}*)(?![A-Za-z0-9@])(?!\.[A-Za-z0-9])"
)
_EMAIL = re.compile(
    r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}(?![A-Za-z0-9])"
)
_TAG = (
    "(?:[A-Za-z0-9_]|[^\\x00-\\xbf\\s\u2000-\u200b\u2010-\u2bff\u3000-\u303f\uff00-\uffef\ufe0f\U0001f000-\U0001faff])"
)
_MENTION = re.compile(rf"(?<![A-Za-z0-9_@/.])@(?:[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*|{_TAG}+)")
_HASHTAG = re.compile(rf"(?<![A-Za-z0-9_&/#])[#\uff03]{_TAG}+#?")
_BLANK = re.compile(
    r"\{\{[^{}\n]{1,60}\}\}|\$?\{[A-Za-z_][A-Za-z0-9_ .-]{0,40}\}|%\([a-z_]+\)[sd]|%[sd](?![A-Za-z])|\[[A-Z][A-Z_ ]{1,30}\]"
    r"|</?[A-Za-z][^<>\n]{0,80}>|(?<![A-Za-z0-9:]):[a-z][a-z0-9_+-]{1,30}:"
)
_NUMBER = r"[0-9]+(?:,[0-9]{2,3})*(?:\.[0-9]+)?"
_AMOUNT = re.compile(
    rf"(?<![A-Za-z])(?:S\$|US\$|RM|SGD|MYR|USD|INR|Rs\.?|[$\u20ac\u00a3\u00a5\u20b9])[ \u00a0]?{_NUMBER}(?:[kKmM]|mil|bn)?(?![A-Za-z0-9])"
    rf"|(?<![A-Za-z0-9.,]){_NUMBER}[ \u00a0]?(?:SGD|MYR|USD|RM|%|kg|mg|ml|km|cm|mm|GB|MB|TB|kWh|mAh|[kMG]?Hz|\u00b0[CF])(?![A-Za-z0-9])"
)
_PHONE = re.compile(r"(?<![A-Za-z0-9.,$+-])\+?\(?[0-9](?:[ ()-]{0,2}[0-9]){6,14}(?![A-Za-z0-9])")
_CLOSING = ".,;:!?*_~'\""

_Found = tuple[int, int, str, str]  # start, end, kind, what stands there in the translation


def pieces(text: str, wording: Wording = NO_WORDING) -> tuple[Piece, ...]:
    """The text cut into what is kept and what is not. Joined, they are the text, with each term already in its translation."""
    taken: list[_Found] = []
    for found in _candidates(text, wording):
        if all(found[1] <= start or found[0] >= end for start, end, _, _ in taken):
            taken.append(found)
    cut: list[Piece] = []
    place = 0
    for start, end, kind, stands in sorted(taken):
        if start > place:
            cut.append(Piece(text[place:start]))
        cut.append(Piece(stands, kind))
        place = end
    if place < len(text):
        cut.append(Piece(text[place:]))
    return tuple(cut)


def _candidates(text: str, wording: Wording) -> Iterator[_Found]:
    """What might be kept, the surest kinds first."""
    yield from _matches("code", _CODE, text)
    for start, _, kind, found in _matches("url", _URL, text):
        address = _without_closing(found)
        yield start, start + len(address), kind, address
    for kind, pattern in (("email", _EMAIL), ("mention", _MENTION), ("hashtag", _HASHTAG)):
        yield from _matches(kind, pattern, text)
    if wording.names is not None:
        spelt = set(wording.keep)
        yield from (match for match in _matches("name", wording.names, text) if match[3] in spelt)
    if wording.phrases is not None:
        for start, end, kind, stands in _matches("term", wording.phrases, text):
            yield start, end, kind, wording.term(stands)
    for kind, pattern in _OTHERS:
        yield from _matches(kind, pattern, text)


_OTHERS = (("emoji", EMOJI), ("blank", _BLANK), ("amount", _AMOUNT), ("phone", _PHONE))


def _matches(kind: str, pattern: "re.Pattern[str]", text: str) -> Iterator[_Found]:
    yield from ((match.start(), match.end(), kind, match.group()) for match in pattern.finditer(text))


def _without_closing(address: str) -> str:
    """An address without the punctuation of the sentence around it."""
    while address and (address[-1] in _CLOSING or (address[-1] in ")]}" and not _balanced(address))):
        address = address[:-1]
    return address


def _balanced(address: str) -> bool:
    opening = {")": "(", "]": "[", "}": "{"}[address[-1]]
    return address.count(opening) >= address.count(address[-1])


# -- what came of it ---------------------------------------------------------------------------------------------


def changed(source: Sequence[Piece], translation: str) -> str | None:
    """What became of the kept pieces in a translation: the first that was lost or multiplied, in words; None if all is well."""
    whole = "".join(piece.text for piece in source)
    for piece in dict.fromkeys(piece for piece in source if piece.kept):
        wanted, found = _count(piece, whole), _count(piece, translation)
        if found < wanted:
            return f"lost span {piece.text!r} ({piece.kind}): {found} of {wanted}"
        if found > wanted and piece.kind not in ("name", "term"):  # a name may take the place of a pronoun
            return f"added span {piece.text!r} ({piece.kind}): {found} instead of {wanted}"
    return None


def _count(piece: Piece, text: str) -> int:
    if piece.kind == "emoji":
        return EMOJI.findall(text).count(piece.text)
    return len(_standing(piece).findall(text))


def _standing(piece: Piece) -> "re.Pattern[str]":
    """The piece where it is not a part of something longer: $5 is not in $5.50, nor #sg in #sgfood."""
    before = "(?<![A-Za-z0-9])" if piece.text[0].isascii() and piece.text[0].isalnum() else ""
    after = "(?![A-Za-z0-9])(?![.,][0-9])" if piece.text[-1].isascii() and piece.text[-1].isalnum() else ""
    return re.compile(before + re.escape(piece.text) + after)


def set_apart(source: Sequence[Piece], translation: str) -> str:
    """The translation with a space wherever a letter runs into an address, handle or hashtag, which would make it another."""
    for piece in dict.fromkeys(piece for piece in source if piece.kind in ("url", "email", "mention", "hashtag")):
        value = re.escape(piece.text)
        translation = re.sub(rf"(?<=[^\W_])({value})(?![A-Za-z0-9_])|({value})(?=[^\W_a-zA-Z0-9])", _apart, translation)
    return translation


def _apart(match: "re.Match[str]") -> str:
    after = match.string[match.end() : match.end() + 1]
    found = match.group()
    before = f" {found}" if match.group(1) is not None else found
    return f"{before} " if after and after.isalpha() else before


# -- showing it to a model -----------------------------------------------------------------------------------------

_MARKS = (("\u27e6", "\u27e7"), ("\u27ea", "\u27eb"), ("\u3018", "\u3019"), ("\u2983", "\u2984"))


def marks_for(texts: Sequence[str]) -> tuple[str, str] | None:
    """A pair of brackets that none of the texts holds; None if every pair is taken."""
    return next((pair for pair in _MARKS if not any(mark in text for mark in pair for text in texts)), None)


def marked(source: Sequence[Piece], marks: tuple[str, str] | None) -> str:
    """The text with brackets around what is kept; pieces that touch share a pair."""
    if marks is None:
        return "".join(piece.text for piece in source)
    shown: list[str] = []
    inside = False
    for piece in source:
        if piece.kept != inside:
            shown.append(marks[not piece.kept])
            inside = piece.kept
        shown.append(piece.text)
    return "".join(shown) + (marks[1] if inside else "")


def unmarked(text: str, marks: tuple[str, str] | None) -> str:
    return text if marks is None else text.replace(marks[0], "").replace(marks[1], "")
