"""Is a text in the language it is said to be in? Scripts first, then small word lists, then a language model.

Texts here are short, informal and code-mixed: Singlish, bahasa rojak, Chinese with English words, Tamil written in
Latin letters. Mixing is not an error, so the question is never "which language is this" but "is there too little of
the declared one, and clearly another". `py3langid`, limited to the languages of the word lists, only confirms what
the lists say of Malay and English; it is loaded on first use and most texts never reach it.
"""

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Protocol

from curation.wordlists import COMMON, SHARED

_RANGES = {
    "Latin": "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff",
    "Han": "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "Kana": "\u3041-\u3096\u30a1-\u30fa\u31f0-\u31ff\uff66-\uff6f\uff71-\uff9d",
    "Hangul": "\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3",
    "Tamil": "\u0b80-\u0bff",
    "Arabic": "\u0620-\u064a\u066e-\u06d3\u0750-\u077f",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Telugu": "\u0c00-\u0c7f",
    "Kannada": "\u0c80-\u0cff",
    "Malayalam": "\u0d00-\u0d7f",
    "Sinhala": "\u0d80-\u0dff",
    "Thai": "\u0e00-\u0e4e",
    "Burmese": "\u1000-\u109f",
    "Khmer": "\u1780-\u17ff",
    "Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff",
    "Hebrew": "\u0590-\u05ff",
}
_LATIN = [
    "en",
    "ms",
    "id",
    "tl",
    "vi",
    "fr",
    "de",
    "es",
    "pt",
    "it",
    "nl",
    "sv",
    "da",
    "fi",
    "pl",
    "cs",
    "hu",
    "ro",
    "tr",
]
_HOME: dict[str, tuple[str, ...]] = {
    "zh": ("Han",), "ta": ("Tamil",), "ja": ("Kana", "Han"), "ko": ("Hangul",), "ar": ("Arabic",),
    "fa": ("Arabic",), "ur": ("Arabic",), "hi": ("Devanagari",), "mr": ("Devanagari",), "ne": ("Devanagari",),
    "bn": ("Bengali",), "te": ("Telugu",), "kn": ("Kannada",), "ml": ("Malayalam",), "si": ("Sinhala",),
    "th": ("Thai",), "my": ("Burmese",), "km": ("Khmer",), "ru": ("Cyrillic",), "uk": ("Cyrillic",),
    "bg": ("Cyrillic",), "el": ("Greek",), "he": ("Hebrew",), **dict.fromkeys(_LATIN, ("Latin",)),
}  # fmt: skip
# A script that one language of the four owns names that language; the others only name themselves.
_NAMED = {"Han": "zh", "Tamil": "ta", "Kana": "ja"}
# One ideograph or syllable block carries about as much as three letters of an alphabet.
_WEIGHT = {"Han": 3, "Kana": 3, "Hangul": 3}

_RUNS = {name: re.compile(f"[{chars}]+") for name, chars in _RANGES.items()}
_RARE = re.compile(
    "[" + "".join(chars for name, chars in _RANGES.items() if name not in ("Latin", "Han", "Tamil")) + "]"
)
_NOISY = re.compile(r"[`@#<&]|\]\(|http|www\.")
_NOISE = re.compile(  # each part starts with a literal, which lets the engine skip ahead
    r"```.*?(?:```|\Z)|`[^`\n]*`"  # code
    r"|https?://[^\s\u3000-\u9fff]+|www\.[^\s\u3000-\u9fff]+|\]\([^()\s]*\)"  # addresses and link targets
    r"|@[A-Za-z0-9_][A-Za-z0-9_.]*|@[^\W_]\w{0,20}|#[A-Za-z0-9_][A-Za-z0-9_.]*|#[^\W_]\w{0,20}#?"  # mentions, hashtags
    r"|##{0,5}[ \t][^\n]*"  # Markdown headings may be English in any language
    r"|</?[A-Za-z][^<>]{0,80}>|&[a-z]{2,6};",
    re.DOTALL,
)
_EMAIL = re.compile(r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9.-]+")
_WORD = re.compile(rf"[{_RANGES['Latin']}]+(?:['\u2019][A-Za-z]+)?")
_STRETCH = re.compile(r"(.)\1{2,}")

_LISTS = {language: frozenset(words.split()) for language, words in COMMON.items()}
_OWNERS = Counter(word for words in _LISTS.values() for word in words)
_SHARING = frozenset(word for words in SHARED.values() for word in words.split())
_VOTE = {
    word: language
    for language, words in _LISTS.items()
    for word in words
    if _OWNERS[word] == 1 and (language == "en" or word not in _SHARING)
}
_EXCUSE = {
    language: frozenset(SHARED[language].split())
    | frozenset(SHARED["en"].split())  # Malay and Tamil words that English borrows still are Malay and Tamil
    | frozenset(word for word in words if word not in _VOTE)
    for language, words in _LISTS.items()
}
_MS_SHAPE = re.compile(
    r"(?:me(?:ng|ny|m|n|l|r)?|be[rl]|ter|pe(?:ng|ny|m|n|r)?|di|ke|se)[a-z]{3,}(?:kan|nya|lah|kah)"
    r"|(?:meng|meny|peng(?!uin)|ber[^aeinrlw])[a-z]{3,}|ke[a-z]{4,}an|(?:me|di|ke|pe)[a-z]{4,}(?:kan|nya)|[a-z]{4,}nya"
)
_TA_SHAPE = re.compile(
    r"[a-z]*(?:iruk|iruntha|irundh|irunthu|pann[aiu]|solr|sollu|vandh|vanthu|theri[yj]|mudiy|mudil|mudinj|irunju|padath)[a-z]*"
    r"|(?:kuduk|kudut|koduk|keduk|paakur|pakur|nenach|nenaik|vaang|poradh|parth|paarth|nadik|ellar|evanum|oruth)[a-z]{2,}"
    r"|[a-z]{3,}(?:kku|ukum|kkum|dhu|ndhu|nthu|radhu|thaan|dhaan|anga|inga|enga|unga|iduchu|ichu|uchu|uthu|udhu"
    r"|anum|onum|iten|itten|uten|ttanga|mbodhu|raan|aaru|duga|unum|uttu|uku|alla)"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A text that does not read as its declared language; `sure` is False where it is merely doubtful."""

    sure: bool
    detected: str  # a language code or the name of a script
    score: float  # share of the declared language, 0 to 1
    reason: str


def strip_noise(text: str) -> str:
    """The text without addresses, mentions, hashtags, code, tags and Markdown headings (kept if they are all)."""
    if not _NOISY.search(text):
        return text
    stripped = _NOISE.sub(" ", _EMAIL.sub(" ", text) if "@" in text else text)
    return stripped if _WORD.search(stripped) or not stripped.isascii() else text


def letters(text: str) -> dict[str, int]:
    """How many letters of each known script a text has; scripts that do not occur are left out."""
    if text.isascii():
        names: tuple[str, ...] = ("Latin",)
    elif _RARE.search(text):
        names = tuple(_RUNS)
    else:
        names = ("Latin", "Han", "Tamil")
    counts = {name: sum(map(len, _RUNS[name].findall(text))) for name in names}
    return {name: count for name, count in counts.items() if count}


def mismatch(text: str, declared: str) -> Mismatch | None:
    """What speaks against `declared` (a tag such as `zh` or `en-SG`) as this text's language; None where nothing does.

    A text too short to tell, or a language of unknown script, is never a mismatch.
    """
    base, *subtags = declared.split("-")
    home = _HOME.get(base)
    if home is None or "Latn" in subtags:
        return None
    text = strip_noise(text)
    found = letters(text)
    weights = {name: count * _WEIGHT.get(name, 1) for name, count in found.items()}
    total = sum(weights.values())
    if not total:
        return None
    share = sum(weights.get(name, 0) for name in home) / total
    others = {name: weight for name, weight in weights.items() if name not in home}
    rival = max(others, key=others.__getitem__) if others else ""
    if home != ("Latin",):
        if base == "zh" and (kana := found.get("Kana", 0)) >= 4 and kana >= 0.3 * (kana + found.get("Han", 0)):
            return _found("zh", "ja", share, True, f"{kana} Japanese kana")
        if share >= 0.15 or not rival:
            return None
        if rival == "Latin":
            return _by_words(text, base, share, absent=not any(name in found for name in home))
        return _by_script(base, rival, share, found[rival])
    if rival and share < 0.5:
        return _by_script(base, rival, share, found[rival])
    return _by_words(text, base, share) if base in _LISTS and "Latin" in found else None


def _found(declared: str, detected: str, score: float, sure: bool, evidence: str) -> Mismatch:
    score = round(score, 2)
    verb = "reads as" if sure else "may be"
    return Mismatch(sure, detected, score, f"declared {declared}, {verb} {detected}: {evidence} (score {score})")


def _by_script(declared: str, rival: str, share: float, count: int) -> Mismatch | None:
    enough = 2 if rival in _WEIGHT else 5
    if count < enough:
        return None
    sure = share < 0.2 and count >= 2 * enough and not (declared == "ms" and rival == "Arabic")  # Jawi is Malay
    return _found(
        declared, _NAMED.get(rival, rival), share, sure, f"{count} {rival} letters, {share:.0%} its own script"
    )


def _by_words(text: str, declared: str, share: float, absent: bool = True) -> Mismatch | None:
    words = [word.replace("\u2019", "'") for word in _WORD.findall(text.lower())]
    total = len(words)
    if total < 3:
        return None
    hits = {"en": 0, "ms": 0, "ta": 0}
    excused = 0
    excuse = _EXCUSE.get(declared, frozenset())
    for word in words:
        language = _VOTE.get(word) or (_vote(word) if len(word) <= 40 else None)
        if language:
            hits[language] += 1
        elif word in excuse:
            excused += 1
    own = hits.pop(declared, 0)
    detected = max(hits, key=hits.__getitem__)
    other = hits[detected]
    if declared not in _LISTS or declared == "ta":
        share = max(share, own / total)
    else:
        share = own / (own + other) if own + other else 0.5
    evidence = f"{other} of {total} words {detected}, {own} {declared}"
    if own * 4 >= other or own * 4 >= total:
        return None
    plain = _plenty(other, total)
    if own == 0:
        sure = plain and absent and excused * 2 <= other
    else:  # an English word or two in a Malay text are loans; a Malay word in an English one may be its register
        sure = plain and (other >= 5 * own if declared == "en" else other >= 20 * own)
    if {declared, detected} == {"en", "ms"} and total >= 3:
        if sure and (total <= 12 or 2 * other <= total):
            # what excuses an English text is Malay that Singlish borrows, and a Malay text is full of it
            sure = (declared == "en" or 4 * excused <= other) and _model_says(text, detected, 0.95)
        elif not sure and total >= 4 and _model_says(text, detected, 0.98):
            sure = plain and own == excused == 0
            plain = True
    return _found(declared, detected, share, sure, evidence) if plain else None


def _plenty(hits: int, total: int) -> bool:
    """Whether so many words of a language are more than loans and chance."""
    if total <= 5:
        return hits >= 2
    return hits >= max(3, 0.3 * total) or hits >= max(5, 0.2 * total)


def _model_says(text: str, language: str, confidence: float) -> bool:
    best, score = _model().classify(text.lower())
    return best == language and score >= confidence


class _Classifier(Protocol):
    def classify(self, text: str) -> tuple[str, float]: ...


@lru_cache(maxsize=1)
def _model() -> _Classifier:
    """py3langid limited to four languages; free choice among its hundred makes Malay Indonesian and worse."""
    langid = import_module("py3langid.langid")
    model = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)
    model.set_languages(["en", "zh", "ms", "ta"])
    classifier: _Classifier = model
    return classifier


@lru_cache(maxsize=1 << 16)
def _vote(word: str) -> str | None:
    """The language of a word that is in no list as it stands: stretched spelling, Malay affixes, Tamil endings."""
    if (plain := _STRETCH.sub(r"\1", word)) != word and (language := _VOTE.get(plain)):
        return language
    if len(word) >= 6 and word not in _SHARING:
        if _MS_SHAPE.fullmatch(word):
            return "ms"
        if _TA_SHAPE.fullmatch(word):
            return "ta"
    return None
