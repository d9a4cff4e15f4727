"""Whether a text shows what another says: by the words of both, in any script."""

import re
import unicodedata
from functools import lru_cache
from itertools import pairwise

_WORDS = re.compile(r"[^\W_]+")
_WIDE = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]+")
_NUMBER = re.compile(r"(?<![\w.])\d[\d,.]*\d|(?<![\w.])\d(?!\w)")
_SMALL = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "been",
        "before",
        "by",
        "can",
        "do",
        "does",
        "for",
        "from",
        "has",
        "have",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "must",
        "no",
        "not",
        "of",
        "on",
        "or",
        "out",
        "please",
        "so",
        "step",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "this",
        "to",
        "until",
        "up",
        "use",
        "was",
        "were",
        "what",
        "when",
        "which",
        "who",
        "will",
        "with",
        "yes",
        "you",
        "your",
    ]
)
_SMALL_WIDE = frozenset("的了和与或在是否有不为请其及并则若如果这那一个后前中上下对由从到")


@lru_cache(maxsize=4096)
def content_words(text: str) -> frozenset[str]:
    """The words that carry a text's meaning: stems of Latin words, pairs of ideographs, words of other scripts."""
    found: set[str] = set()
    for word in _WORDS.findall(unicodedata.normalize("NFKC", text).casefold()):
        if _WIDE.search(word):
            for run in _WIDE.findall(word):
                kept = [char for char in run if char not in _SMALL_WIDE]
                found.update(a + b for a, b in pairwise(kept))
                found.update(kept if len(kept) == 1 else ())
        elif word not in _SMALL and not word.isdecimal() and len(word) > 1:
            found.add(word[:5] if word.isascii() else word)
    return frozenset(found)


def shown(text: str, of: str) -> float:
    """The share of the words of `of` that `text` has, 0 to 1; 1 where `of` has none to look for."""
    wanted = content_words(of)
    return len(wanted & content_words(text)) / len(wanted) if wanted else 1.0


def numbers(text: str) -> set[str]:
    """The numbers of two digits or more in a text, without their grouping marks."""
    plain = unicodedata.normalize("NFKC", text)
    return {one for found in _NUMBER.findall(plain) if len(one := re.sub(r"[,.]", "", found)) > 1}
