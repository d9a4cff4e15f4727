"""What the model would have written: read from the request alone, and the same for the same key every time."""

import json
import random
import re
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from . import conversing, procedures, prose

_COUNT = re.compile(r"exactly (\d+) (?:objects|items|strings|posts)|\b(one|a single) object\b", re.I)
_FIELD = re.compile(r'^\s*- [`"](\w+)[`"]: ?(.*)$', re.M)
_INTO = re.compile(r"\bin (English|Chinese|Malay|Tamil)\b", re.I)
_NAMED = re.compile(r"\b(English|Chinese|Malay|Tamil)\b", re.I)
_CODE = re.compile(r"\blanguage\W{1,4}(en|zh|ms|ta)\b", re.I)
_CODES = {"english": "en", "chinese": "zh", "malay": "ms", "tamil": "ta"}
_RANGE = re.compile(r"\b(\d+(?:\.\d+)?)\s*(?:to|-|–|\.\.|and)\s*(\d+(?:\.\d+)?)\b")
_QUOTED = re.compile(r"[\"'`](\w+)[\"'`]")
_ONE_OF = re.compile(r"(?:a text: )?one of:? ([\w, /|]+)")
_MODERATES = '"label": "allowed" or "disallowed"'
_NUMERIC = re.compile(r"score|severity|rating|confidence|points")


def dice_for(seed: int, key: str, salt: str = "") -> random.Random:
    digest = blake2b(f"{seed}\0{salt}\0{key}".encode(errors="replace"), digest_size=8).digest()
    return random.Random(int.from_bytes(digest))


def language_of(text: str) -> str:
    """The language that a prompt asks for; English where it names none."""
    if (match := _INTO.search(text) or _NAMED.search(text)) is not None:
        return _CODES[match[1].lower()]
    return match[1].lower() if (match := _CODE.search(text)) is not None else "en"


def answer(
    seed: int,
    key: str,
    system: str,
    user: str,
    schema: dict[str, Any] | None,
    *,
    any_json: bool = False,
    skips: bool = False,
) -> str:
    """The text of a whole and proper answer.

    Args:
        schema: the JSON schema that the answer is held to, if any.
        any_json: the answer must be JSON, of whatever shape (`json_object`).
        skips: a step of an SOP is left out.
    """
    dice = dice_for(seed, key)
    asked = f"{user}\n{system}"
    if _MODERATES in system:
        label = dice.choice(("allowed", "disallowed"))
        return json.dumps({"label": label, "category": "none", "severity": 0 if label == "allowed" else 1})
    if (
        found := conversing.answer(
            dice, language_of(system if _NAMED.search(system) else user), user, whole=schema is not None
        )
    ) is not None:
        return found
    language = language_of(user) if _NAMED.search(user) else language_of(asked)
    if (found := procedures.answer(dice, language, system, user, whole=schema is not None, skips=skips)) is not None:
        return found
    count, fields = _wanted(user)
    if not fields:
        count, fields = _wanted(asked)
    if schema is not None:
        value = _Filler(dice, language, count or 1, schema).value(schema, "")
        return json.dumps(value, ensure_ascii=False)
    if fields:
        typed = "string fields" not in asked
        items = [_object(dice, language, fields, typed=typed) for _ in range(count or 1)]
        bare = len(items) == 1 and "JSON array" not in asked
        return json.dumps(items[0] if bare else items, ensure_ascii=False)
    if any_json:
        return json.dumps({"text": _body(dice, language)}, ensure_ascii=False)
    return _body(dice, language)


@lru_cache(maxsize=256)
def _wanted_in(asked: str) -> tuple[int | None, tuple[tuple[str, str], ...]]:
    count = _COUNT.search(asked)
    number = None if count is None else int(count[1] or 1)
    return number, tuple((match[1], match[2]) for match in _FIELD.finditer(asked))


def _wanted(asked: str) -> tuple[int | None, tuple[tuple[str, str], ...]]:
    """How many objects are asked for, and their fields with what is said about them."""
    place = asked.lower().rfind("answer with")
    return _wanted_in(asked[place:]) if place >= 0 else _wanted_in(asked)


def _object(dice: random.Random, language: str, fields: tuple[tuple[str, str], ...], *, typed: bool) -> dict[str, Any]:
    names = {name for name, _ in fields}
    found = {name: _field(dice, language, name, about, names) for name, about in fields}
    return {name: _typed(value) if typed else value for name, value in found.items()}


def _typed(value: str) -> str | int | bool:
    return int(value) if value.isdecimal() else {"true": True, "false": False}.get(value, value)


def _field(dice: random.Random, language: str, name: str, about: str, names: set[str]) -> str:
    if (match := _ONE_OF.match(about)) is not None:
        choices = [word for word in re.split(r"\s*(?:,|/|\||\bor\b)\s*", match[1]) if word]
        return str(_leaning(dice, choices))
    if _NUMERIC.search(name):
        bounds = _RANGE.search(about)
        low, high = (float(bounds[1]), float(bounds[2])) if bounds else (1.0, 5.0)
        return f"{dice.uniform(low, high):.2f}" if high <= 1 else str(dice.randint(int(low), int(high)))
    if len(choices := _QUOTED.findall(about)) >= 2:
        return str(dice.choice(choices))
    return _prose(dice, "en" if " in English" in about else language, name, names)


def _leaning(dice: random.Random, choices: Sequence[Any]) -> Any:
    """A choice as judges make it: scores lean to the upper end, and most labels are found right."""
    if str(choices[0]).lower() == "true":
        return choices[dice.random() > 0.85]
    if all(str(choice).isdecimal() for choice in choices):
        return max(dice.choice(choices), dice.choice(choices))
    return dice.choice(choices)


def _prose(dice: random.Random, language: str, name: str, names: set[str]) -> str:
    if name == "title":
        return prose.title(language, dice)
    if name == "caption":
        return prose.caption(language, dice)
    if name in ("reason", "why", "explanation", "rationale"):
        return prose.text(language, dice, 1)
    if "caption" in names:
        return prose.text(language, dice, 1)  # a meme's overlay text
    return _body(dice, language, longer="title" in names)


def _body(dice: random.Random, language: str, *, longer: bool = False) -> str:
    few, many = (4, 6) if longer else (2, 4)
    return prose.text(language, dice, dice.randint(few, many))


class _Filler:
    """A value of a JSON schema."""

    def __init__(self, dice: random.Random, language: str, count: int, root: dict[str, Any]) -> None:
        self._dice, self._language, self._count, self._root = dice, language, count, root
        self._listed = False

    def value(self, schema: dict[str, Any], name: str, names: frozenset[str] = frozenset()) -> Any:
        while "$ref" in schema:
            found: Any = self._root
            for part in schema["$ref"].removeprefix("#/").split("/"):
                found = found[part]
            schema = found
        for choice in ("anyOf", "oneOf", "allOf"):
            if schema.get(choice):
                return self.value(schema[choice][0], name, names)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return _leaning(self._dice, schema["enum"])
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) else kind
        match kind:
            case "object":
                inner = schema.get("properties", {})
                return {key: self.value(part, key, frozenset(inner)) for key, part in inner.items()}
            case "array":
                return [self.value(schema.get("items", {}), name, names) for _ in range(self._length(schema))]
            case "integer" | "number":
                return self._number(schema, kind)
            case "boolean":
                return _leaning(self._dice, (True, False))
            case "null":
                return None
        return _field(self._dice, self._language, name, schema.get("description", ""), set(names))

    def _length(self, schema: dict[str, Any]) -> int:
        wanted = 2 if self._listed else self._count
        self._listed = True
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", wanted))
        return max(least, min(most, wanted))

    def _number(self, schema: dict[str, Any], kind: str) -> int | float:
        bounds = _RANGE.search(schema.get("description", ""))
        low = schema.get("minimum", float(bounds[1]) if bounds else (1 if kind == "integer" else 0))
        high = schema.get("maximum", float(bounds[2]) if bounds else (5 if kind == "integer" else 1))
        if kind == "integer":
            return self._dice.randint(int(low), int(high))
        return round(self._dice.uniform(low, high), 2)
