"""Rewards for GRPO: small named functions over a completion and its row, each 0 to 1, weighted by the recipe.

A reward says None where it cannot judge: the row has no such label, or the function does not apply. That is unscored: it is
counted and shown per function and is in no mean. A reward that raises, or returns no number, is unscored too, and its first
message is kept. What the model left out is judged: an answer without a label is wrong, not unscored.

The model is asked for `<reasoning>...</reasoning>` and `<answer>...</answer>`, the answer being a label or the JSON object
{"label": ..., "category": ..., "severity": ...}.
"""

import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from curation.errors import InputError, NotFound, did_you_mean

Row = Mapping[str, Any]
Reward = Callable[[str, Row], float | None]

LABELS = ("allowed", "disallowed")
BRIEF, LONG = 240, 960  # width of a text: up to BRIEF costs nothing, from LONG on it is worth nothing

_SOFT = re.compile(r"\s*<reasoning>.*?</reasoning>\s*<answer>.*?</answer>", re.DOTALL)
_STRICT = re.compile(r"<reasoning>\n[^<]+\n</reasoning>\n<answer>\n[^<]+\n</answer>\n?")
_TAGS = ("<reasoning>", "</reasoning>", "<answer>", "</answer>")
_WIDE = re.compile("[\u3041-\u30fa\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]")


# -- the form ----------------------------------------------------------------------------------------------------


def soft_format(completion: str, _: Row) -> float:
    """1 if the completion starts with the reasoning and the answer in their tags, whatever the white space."""
    return float(_SOFT.match(completion) is not None)


def strict_format(completion: str, _: Row) -> float:
    """1 if the completion is exactly the two tagged parts, each tag on its own line, none of them empty."""
    match = _STRICT.fullmatch(completion)
    return float(match is not None and all(part.strip() for part in (reasoning(completion), answer(completion))))


def tag_count(completion: str, _: Row) -> float:
    """A quarter for each of the four tags that stands exactly once, less a thousandth per character after `</answer>`.

    With the weight 0.5 a tag is worth 0.125. Never under 0.
    """
    right = sum(completion.count(tag) == 1 for tag in _TAGS) / len(_TAGS)
    closed, rest = completion.partition("</answer>")[1:]
    return max(0.0, right - 0.001 * len(rest.strip())) if closed else right


def brevity(completion: str, _: Row) -> float:
    """1 up to a width of 240 (an ideograph counts two), falling evenly to 0 at 960."""
    text = completion.strip()
    width = len(text) + len(_WIDE.findall(text))
    return min(1.0, max(0.0, (LONG - width) / (LONG - BRIEF)))


# -- the judgement -----------------------------------------------------------------------------------------------


def correctness(completion: str, row: Row) -> float | None:
    """1 if the answer's label is the row's. Unscored for rows that are neither allowed nor disallowed."""
    if row.get("label") not in LABELS:
        return None
    return float(judgement(completion).get("label") == row["label"])


def severity_distance(completion: str, row: Row) -> float | None:
    """1 - |predicted - true| / 3, so that near misses count; 0 without a severity from 0 to 3 in the answer."""
    true = row.get("severity")
    if true is None:
        return None
    given = judgement(completion).get("severity")
    if not isinstance(given, int) or isinstance(given, bool) or not 0 <= given <= 3:
        return 0.0
    return 1 - abs(given - int(true)) / 3


def cited_policy(completion: str, row: Row) -> float | None:
    """1 if the reasoning names the policy of the row's category, shared among all the policies it names.

    Naming every policy there is must not pay. Unscored where nothing is violated (category none).
    """
    category = row.get("category")
    if not category or category == "none":
        return None
    text = reasoning(completion).casefold()
    named = {one for one in {*POLICIES, category} if any(_says(text, name) for name in policy_names(one))}
    return 1 / len(named) if category in named else 0.0


def calibrated_refusal(completion: str, row: Row) -> float | None:
    """1 for refusing what is to be refused and for answering what only looks like it.

    Unscored for rows whose label is neither `refuse` nor `comply`. An empty answer does neither.
    """
    wanted = row.get("label")
    if wanted not in ("refuse", "comply"):
        return None
    said = answer(completion) or _TAGGED.sub("", completion).strip()
    return float(bool(said) and refuses(said) == (wanted == "refuse"))


REWARDS: dict[str, Reward] = {
    "correctness": correctness,
    "soft_format": soft_format,
    "strict_format": strict_format,
    "tag_count": tag_count,
    "severity_distance": severity_distance,
    "calibrated_refusal": calibrated_refusal,
    "brevity": brevity,
    "cited_policy": cited_policy,
}


# -- reading a completion ----------------------------------------------------------------------------------------


def reasoning(completion: str) -> str:
    """What stands between the first reasoning tags, or nothing."""
    return _between(completion, "reasoning")


def answer(completion: str) -> str:
    """What stands between the first answer tags, or nothing."""
    return _between(completion, "answer")


def _between(completion: str, tag: str) -> str:
    match = re.search(f"<{tag}>(.*?)</{tag}>", completion, re.DOTALL)
    return match[1].strip() if match else ""


_TAGGED = re.compile("<reasoning>.*?(?:</reasoning>|$)|</?answer>", re.DOTALL)


def judgement(completion: str) -> dict[str, Any]:
    """The fields of the answer: of a JSON object, else the label where the answer is just that word, else nothing."""
    said = answer(completion)
    if said.startswith("{"):
        try:
            found = json.loads(said)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
    word = said.strip(" \n\t.\"'`*").casefold()
    return {"label": word} if word in LABELS else {}


def refuses(text: str) -> bool:
    """Whether an answer opens by declining, in English, Chinese, Malay or Tamil."""
    return _REFUSAL.search(" ".join(text.replace("\u2019", "'").split())[:160]) is not None


_REFUSAL = re.compile(
    r"\b(?:i|we)(?:'m| am|'re| are)? (?:really |very |truly |so )?"
    r"(?:can't|cannot|can not|won't|will not|unable to|not able to|not going to|must decline|have to decline|decline)\b"
    r"(?! (?:say no|wait|recommend|agree more|thank))"
    r"|\b(?:not something i (?:can|will)|no, i won't)\b"
    r"|我(?:不能|无法|不会|不可以|不愿|没办法|拒绝)|(?:恕|请恕)我?(?:不能|无法|难)|(?:不能|无法)(?:帮|协助|提供|为您|为你)"
    r"|\b(?:saya|kami|aku) (?:tidak|tak) (?:dapat|boleh|akan|sanggup)\b|\b(?:saya|kami) (?:menolak|enggan)\b"
    r"|(?:முடியாது|இயலாது|மாட்டேன்|மறுக்கிறேன்)",
    re.IGNORECASE,
)

# What a policy is called in the four languages; a category that is not here is known by its own name alone.
POLICIES: dict[str, tuple[str, ...]] = {
    "race": ("racism", "racial", "种族", "perkauman", "kaum", "இன"),
    "religion": ("religious", "宗教", "agama", "மத"),
    "gender": ("sexism", "sexist", "性别", "jantina", "பாலின"),
    "sexuality": ("sexual orientation", "homophobia", "性取向", "orientasi seksual", "பாலியல் நாட்ட"),
    "nationality": ("xenophobia", "国籍", "kewarganegaraan", "குடியுரிமை"),
    "disability": ("ableism", "残疾", "残障", "kurang upaya", "மாற்றுத்திறன"),
    "general_harassment": ("harassment", "bullying", "骚扰", "霸凌", "gangguan", "துன்புறுத்த"),
    "harassment": ("bullying", "骚扰", "霸凌", "gangguan", "துன்புறுத்த"),
    "hateful_meme": ("hateful", "仇恨", "kebencian", "வெறுப்ப"),
    "adult": ("sexual services", "成人", "dewasa", "வயது வந்தோர்"),
    "spam": ("垃圾信息", "垃圾广告", "ஸ்பேம்"),
    "gambling": ("betting", "赌博", "博彩", "perjudian", "judi", "சூதாட்ட"),
    "phishing": ("钓鱼", "pancingan data", "ஃபிஷிங்"),
    "iptv": ("illegal streaming", "盗播", "penstriman haram", "சட்டவிரோத ஒளிபரப்ப"),
    "weapon_components": ("weapon parts", "武器", "senjata", "ஆயுத"),
    "government_services": ("政府服务", "perkhidmatan kerajaan", "அரசு சேவை"),
    "non_fiat_currency": ("cryptocurrency", "加密货币", "虚拟货币", "mata wang kripto", "மெய்நிகர் நாணய"),
}


def policy_names(category: str) -> tuple[str, ...]:
    return (category, category.replace("_", " "), *POLICIES.get(category, ()))


def _says(text: str, name: str) -> bool:
    """Whether a case-folded text has the name: as whole words in Latin script, as a part of a word otherwise."""
    name = name.casefold()
    return re.search(rf"(?<![a-z]){re.escape(name)}(?![a-z])", text) is not None if name.isascii() else name in text


# -- asking them -------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Tally:
    """How often each reward was asked, was unscored, and failed, and the first message of a failure."""

    asked: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def score(self, name: str, reward: Reward, completion: str, row: Row) -> float | None:
        """The reward of one completion; None, counted, where it does not apply or fails."""
        self.asked[name] += 1
        try:
            value = reward(completion, row)
            if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
                raise TypeError(f"returned {value!r}, not a finite number or None")
        except Exception as error:  # a user's function may raise anything, and the run goes on
            self.failed[name] += 1
            self.first.setdefault(name, f"{type(error).__name__}: {error}")
            value = None
        self.unscored[name] += value is None
        return None if value is None else float(value)

    def line(self) -> str:
        """`cited_policy 12 of 80, correctness 1 of 80 (1 failed: KeyError: 'label')`, or nothing."""
        parts = []
        for name, count in sorted(self.unscored.items()):
            if count:
                why = f" ({self.failed[name]:,} failed: {self.first[name]})" if self.failed[name] else ""
                parts.append(f"{name} {count:,} of {self.asked[name]:,}{why}")
        return ", ".join(parts)


def resolve(weights: Mapping[str, float]) -> dict[str, tuple[Reward, float]]:
    """The functions of a recipe's `rewards`, by name: built-in ones, or a user's as `module:function`.

    Raises:
        InputError: none is given, or a weight is no finite number.
        NotFound: no such reward (names the nearest), module or function.
    """
    if not weights:
        raise InputError(f"rewards: none is given; e.g. rewards.correctness=2.0 (known: {', '.join(REWARDS)})")
    for name, weight in weights.items():
        if not math.isfinite(weight):
            raise InputError(f"rewards.{name}: the weight must be a finite number, got {weight!r}")
    return {name: (_find(name), weight) for name, weight in weights.items()}


def _find(name: str) -> Reward:
    module, colon, function = name.partition(":")
    if not colon:
        if name not in REWARDS:
            hint = did_you_mean(name, REWARDS)
            raise NotFound(f"rewards: no reward {name!r}.{hint} One of your own is written module:function")
        return REWARDS[name]
    if os.getcwd() not in sys.path:  # a console script does not look where it was called
        sys.path.insert(0, os.getcwd())
    try:
        found = getattr(import_module(module), function)
    except ImportError as error:
        raise NotFound(f"rewards: {name!r}: cannot import {module!r}: {error}") from error
    except AttributeError as error:
        raise NotFound(f"rewards: {name!r}: module {module!r} has no {function!r}") from error
    if not callable(found):
        raise InputError(f"rewards: {name!r} is a {type(found).__name__}, not a function of (completion, row)")
    reward: Reward = found
    return reward


def text_of(completion: str | Sequence[Mapping[str, str]]) -> str:
    """A completion's text, given as text or as the turns of a conversation."""
    return completion if isinstance(completion, str) else "".join(turn["content"] for turn in completion)
