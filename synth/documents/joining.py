"""Lines of text as one: a space between words, none between characters of a script that writes without."""

import re
import unicodedata
from collections.abc import Iterable

_UNSPACED = re.compile("[\u2e80-\u303f\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff65\u201c\u201d]")
_ODD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff\u00ad\u200b\ufeff]")
_SPACES = re.compile(r"[^\S\n]+")


def joined(lines: Iterable[str]) -> str:
    text = ""
    for line in (cleaned(line) for line in lines):
        if text and line and not (_UNSPACED.match(text[-1]) and _UNSPACED.match(line[0])):
            text += " "
        text += line
    return text


def cleaned(text: str) -> str:
    """One line: no control characters, each space one plain space, letters composed."""
    return unicodedata.normalize("NFC", _SPACES.sub(" ", _ODD.sub("", text)).replace("\n", " ")).strip()
