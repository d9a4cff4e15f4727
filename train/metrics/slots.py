"""Slots of a dialogue's notes compared: texts by tokens, numbers within a tolerance, lists as sets."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

INTENT = "intent"
TOLERANCE = 1e-6  # relative, of numbers


def slots_of(note: Mapping[str, Any] | None) -> dict[str, Any]:
    """The slots of a note, by name; a slot without a value says nothing."""
    return {name: value for name, value in (note or {}).items() if name != INTENT and value not in (None, [], {})}


def exact_counts(
    wanted: Mapping[str, Any], heard: Mapping[str, Any] | None, tolerance: float = TOLERANCE
) -> tuple[int, int, int]:
    """Slots that are the same, that the model noted, and that are there to be noted."""
    there, noted = slots_of(wanted), slots_of(heard)
    same = sum(name in noted and same_value(value, noted[name], tolerance) for name, value in there.items())
    return same, len(noted), len(there)


def same_value(true: object, noted: object, tolerance: float = TOLERANCE) -> bool:
    """Whether two values mean the same: numbers within the tolerance, lists as sets, texts but for case and spaces."""
    if isinstance(true, list):
        return _as_set(true) == _as_set(noted)
    if (number := _number(true)) is not None and not isinstance(true, str):
        other = _number(noted)
        return other is not None and math.isclose(number, other, rel_tol=tolerance, abs_tol=1e-12)
    return _plain(true) == _plain(noted)


def token_scores(
    wanted: Mapping[str, Any], heard: Mapping[str, Any] | None, tolerance: float = TOLERANCE
) -> tuple[float, float, float]:
    """Precision, recall and F1 of a turn's slots as SynTOD has them: of each slot that is there, then their mean.

    A text is compared by its tokens, with repeats; a list by its members; a number is right or wrong. A slot that the model left out
    has 0, one that it made up does not count here (it does in `exact_counts`).
    """
    noted = slots_of(heard)
    scores = [_slot_scores(value, noted.get(name), tolerance) for name, value in slots_of(wanted).items()]
    means = np.mean(scores, axis=0)
    return float(means[0]), float(means[1]), float(means[2])


def _slot_scores(true: object, noted: object, tolerance: float) -> tuple[float, float, float]:
    if noted is None:
        return 0.0, 0.0, 0.0
    if isinstance(true, list):
        return _overlap(Counter(_as_set(true)), Counter(_as_set(noted)))
    if isinstance(true, str) and isinstance(noted, str | int | float):
        if same_value(true, noted):
            return 1.0, 1.0, 1.0
        return _overlap(Counter(tokens(true)), Counter(tokens(str(noted))))
    right = float(same_value(true, noted, tolerance))
    return right, right, right


def _overlap(true: Counter[str], noted: Counter[str]) -> tuple[float, float, float]:
    same = (true & noted).total()
    if not same:
        return 0.0, 0.0, 0.0
    precision, recall = same / noted.total(), same / true.total()
    return precision, recall, 2 * precision * recall / (precision + recall)


def tokens(text: str) -> list[str]:
    """Words in small letters without punctuation; of Chinese and Japanese, which have no spaces, characters.

    Not a model's own subwords, which SynTOD takes: the same answer is to have the same score whichever model gave it.
    """
    found: list[str] = []
    word = ""
    for char in unicodedata.normalize("NFKC", text).casefold():
        if _ALONE.match(char):
            found += [word, char] if word else [char]
            word = ""
        elif unicodedata.category(char)[0] in "LMN":
            word += char
        elif word:
            found.append(word)
            word = ""
    return [*found, word] if word else found


_ALONE = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def _as_set(value: object) -> frozenset[str]:
    return frozenset(_plain(one) for one in (value if isinstance(value, list) else [value]))


def _plain(value: object) -> str:
    number = None if isinstance(value, str) else _number(value)
    text = f"{number:g}" if number is not None else str(value)
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _number(value: object) -> float | None:
    """A number, also one written as text (as models do); truth values are none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
