"""A translation that can be undone: word by word into letters of the other script, so that the way back gives the source.

English is the hub. A text that the way there did not make (real Chinese, say) is spelt out in made-up words and restored likewise.
"""

import html as html_entities
import random
import re
from collections.abc import Callable
from functools import lru_cache

_WORD = re.compile(r"[A-Za-z']+")
_LETTERS = "abcdefghijklmnopqrstuvwxyz'"
_CASES = (str.lower, str.capitalize, str.upper)
_PAIR = len(_LETTERS) + 1  # the one more stands for no letter
_CJK = "".join(bytes((0xB0 + place // 94, 0xA1 + place % 94)).decode("gb2312") for place in range(4 * _PAIR * _PAIR))
_CJK_AT = {char: place for place, char in enumerate(_CJK)}
_CJK_RUN = re.compile(r"[\u4e00-\u9fff]+")
_TAMIL = [
    consonant + vowel
    for vowel in ("", "\u0bbe", "\u0bbf", "\u0bc1", "\u0bc7")
    for consonant in "\u0b95\u0b99\u0b9a\u0b9e\u0b9f\u0ba3\u0ba4\u0ba8\u0baa\u0bae\u0baf\u0bb0\u0bb2\u0bb5\u0bb4\u0bb3\u0bb1\u0ba9"
]
_TAMIL_OF = dict(zip("abcdefghijklmnopqrstuvwxyz'ABCDEFGHIJKLMNOPQRSTUVWXYZ", _TAMIL, strict=False))
_LETTER_OF = {syllable: letter for letter, syllable in _TAMIL_OF.items()}
_TAMIL_RUN = re.compile(r"[\u0b80-\u0bff]+")
_SYLLABLE = re.compile(r"[\u0b95-\u0bb9][\u0bbe\u0bbf\u0bc1\u0bc7]?|.", re.S)
_MALAY = {
    "the": "itu", "and": "dan", "a": "sebuah", "is": "ialah", "in": "dalam", "at": "di", "to": "ke", "of": "daripada", "for": "untuk",
    "on": "pada", "we": "kami", "i": "saya", "you": "awak", "it": "ia", "that": "bahawa", "this": "ini", "was": "adalah", "are": "merupakan",
    "with": "dengan", "not": "tidak", "has": "mempunyai", "have": "telah", "they": "mereka", "he": "dia", "my": "milik", "your": "kamu",
    "but": "tetapi", "so": "jadi", "from": "dari", "who": "siapa", "what": "apa", "no": "bukan", "or": "atau", "if": "jika", "then": "kemudian",
    "people": "orang", "house": "rumah", "home": "pulang", "time": "masa", "day": "hari", "market": "pasar", "market's": "pasarnya",
    "work": "kerja", "new": "baharu", "old": "lama", "good": "baik", "bad": "buruk", "all": "semua", "one": "satu", "two": "dua",
    "will": "akan", "can": "boleh", "more": "lebih", "very": "sangat", "go": "pergi", "come": "datang", "eat": "makan", "buy": "beli",
}  # fmt: skip
_FROM_MALAY = {malay: english for english, malay in _MALAY.items()}
_KEPT = re.compile(
    r"<span\b[^>]*\btranslate\s*=\s*[\"']?no[\"']?[^>]*>.*?</span>|<[^>]+>|\u27e6.*?\u27e7|\u27ea.*?\u27eb|\u3018.*?\u3019|\u2983.*?\u2984",
    re.S | re.I,
)
_SPAN = re.compile(r"<span\b[^>]*\btranslate\s*=\s*[\"']?no|[\u27e6\u27ea\u3018\u2983]", re.I)


def translate(text: str, source: str, target: str, *, html: bool = False) -> str:
    """The text in another language; what stands in `<span translate="no">`, tags and marked brackets stays as it is."""
    out, place = [], 0
    for kept in _KEPT.finditer(text):
        out += [_piece(text[place : kept.start()], source, target, html), kept[0]]
        place = kept.end()
    return "".join([*out, _piece(text[place:], source, target, html)])


def without_a_span(text: str) -> str | None:
    """The text without its first protected span; None where it has none."""
    for kept in _KEPT.finditer(text):
        if _SPAN.match(kept[0]):
            return text[: kept.start()] + text[kept.end() :]
    return None


def guess(text: str) -> str:
    """The language of a text by its script."""
    if _CJK_RUN.search(text):
        return "zh-CN"
    return "ta" if _TAMIL_RUN.search(text) else "en"


def _piece(text: str, source: str, target: str, html: bool) -> str:
    if not text.strip():
        return text
    if not html:
        return _into(_from(text, _base(source)), _base(target))
    done = _into(_from(html_entities.unescape(text), _base(source)), _base(target))
    return html_entities.escape(done).replace("&#x27;", "&#39;")


def _base(code: str) -> str:
    return code.partition("-")[0].lower()


def _into(english: str, target: str) -> str:
    match target:
        case "en":
            return english
        case "zh":
            return re.sub(
                r"(?<=[\u4e00-\u9fff]) (?=[\u4e00-\u9fff])", "", _WORD.sub(lambda word: _to_chinese(word[0]), english)
            )
        case "ta":
            return _WORD.sub(lambda word: _to_tamil(word[0]), english)
        case "ms":
            return _WORD.sub(_cased(lambda word: _MALAY.get(word) or _affixed(word, "pe", "an")), english)
    return _WORD.sub(_cased(lambda word: _affixed(word, "lo", "")), english)


def _from(text: str, source: str) -> str:
    match source:
        case "en":
            return text
        case "zh":
            return _CJK_RUN.sub(lambda run: _from_chinese(run[0]), text)
        case "ta":
            return _TAMIL_RUN.sub(lambda run: _from_tamil(run[0]), text)
        case "ms":
            return _WORD.sub(_cased(lambda word: _FROM_MALAY.get(word) or _bared(word, "pe", "an")), text)
    return _WORD.sub(_cased(lambda word: _bared(word, "lo", "")), text)


def _cased(change: Callable[[str], str]) -> Callable[["re.Match[str]"], str]:
    """A change of lower-case words, for words of any plain case; other words stay."""

    def changed(match: "re.Match[str]") -> str:
        word = match[0]
        for case in _CASES:
            if case(word) == word:
                return case(change(word.lower()))
        return word

    return changed


def _affixed(word: str, before: str, after: str) -> str:
    return word[1:] if len(word) > 1 and word.startswith("x") else f"{before}{word}{after}"


def _bared(word: str, before: str, after: str) -> str:
    if word.startswith(before) and word.endswith(after) and len(word) > len(before) + len(after):
        return word[len(before) : len(word) - len(after)]
    return f"x{word}"


@lru_cache(maxsize=50_000)
def _to_chinese(word: str) -> str:
    if (spelt := _unspelt(word, "Xz", 4, 0x4E00)) is not None:
        return spelt
    case = next((place for place, case in enumerate(_CASES) if case(word) == word), None)
    if case is None:
        return word
    places = [_LETTERS.index(letter) + 1 for letter in word.lower()] + [0]
    pairs = [places[start] * _PAIR + places[start + 1] for start in range(0, len(word), 2)]
    return "".join(_CJK[pair + (0 if number else 1 + case) * _PAIR * _PAIR] for number, pair in enumerate(pairs))


def _from_chinese(run: str) -> str:
    words: list[tuple[int, str]] = []
    for char in run:
        place = _CJK_AT.get(char)
        if place is None:
            return _spelt(run, "Xz", 4, 0x4E00)
        kind, pair = divmod(place, _PAIR * _PAIR)
        first, second = divmod(pair, _PAIR)
        letters = "".join(_LETTERS[at - 1] for at in (first, second) if at)
        if kind:
            words.append((kind - 1, letters))
        elif words:
            words[-1] = (words[-1][0], words[-1][1] + letters)
        else:
            return _spelt(run, "Xz", 4, 0x4E00)
    cased = [_CASES[case](letters) for case, letters in words]
    return " ".join(cased) if "".join(map(_to_chinese, cased)) == run else _spelt(run, "Xz", 4, 0x4E00)


def _to_tamil(word: str) -> str:
    spelt = _unspelt(word, "Xq", 2, 0x0B80)
    return "".join(map(_TAMIL_OF.__getitem__, word)) if spelt is None else spelt


def _from_tamil(run: str) -> str:
    letters = [_LETTER_OF.get(syllable) for syllable in _SYLLABLE.findall(run)]
    return _spelt(run, "Xq", 2, 0x0B80) if None in letters else "".join(letter for letter in letters if letter)


def _spelt(run: str, mark: str, length: int, base: int) -> str:
    """Any text of a script as one made-up word."""
    spelt = []
    for char in run:
        number, letters = ord(char) - base, ""
        for _ in range(length):
            number, at = divmod(number, 26)
            letters += _LETTERS[at]
        spelt.append(letters)
    return mark + "".join(spelt)


def _unspelt(word: str, mark: str, length: int, base: int) -> str | None:
    rest = word[len(mark) :]
    if not word.startswith(mark) or not rest or len(rest) % length or "'" in rest:
        return None
    found = []
    for start in range(0, len(rest), length):
        letters = rest[start : start + length]
        found.append(chr(base + sum(_LETTERS.index(letter) * 26**place for place, letter in enumerate(letters))))
    return "".join(found)


def another(text: str, dice: random.Random) -> str:
    """A sentence that has nothing to do with the text."""
    from .prose import text as sentences

    return sentences("en", dice, 1 + len(text) // 120)
