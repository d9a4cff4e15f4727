"""The model behind every protocol: what it was asked, what it answers, and how an answer can go wrong."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from . import tongues
from .answers import answer, dice_for
from .faults import TRANSLATIONS, Config, draw

IMAGE_TOKENS, FIXED_TOKENS = 1_500, 12


@dataclass(frozen=True, slots=True)
class Asked:
    """A valid request, whatever its protocol."""

    system: str
    user: str
    images: int
    max_tokens: int
    schema: dict[str, Any] | None = None
    any_json: bool = False
    repeated: int = 0  # images that the request shows more than once
    prefixes: tuple[tuple[str, int], ...] = ()  # of Anthropic's cache: fingerprint and tokens, shortest first

    @property
    def tokens(self) -> int:
        return tokens(self.system) + tokens(self.user) + self.images * IMAGE_TOKENS + FIXED_TOKENS


@dataclass(frozen=True, slots=True)
class Said:
    text: str
    stop: str  # end | length | refusal | filter
    tokens: int


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    payload: Any
    headers: dict[str, str] = field(default_factory=dict)


def tokens(text: str) -> int:
    return -(-len(text.encode(errors="replace")) // 4)


def speak(config: Config, key: str, asked: Asked, fault: str | None) -> tuple[Said, Sequence[str]]:
    """The model's answer under one of the lasting faults or none, and the faults of its translations."""
    if fault == "refusal":
        text = "I'm sorry, but I can't help with that."
        return Said(text, "refusal", tokens(text)), ()
    if fault == "content_filter":
        return Said("", "filter", 1), ()
    met: list[str] = []
    text = _translated(config, asked, met) or answer(
        config.seed,
        key,
        asked.system,
        asked.user,
        asked.schema,
        any_json=asked.any_json,
        skips=fault == "off_procedure",
    )
    if fault == "malformed":
        text = _spoilt(config, key, text)
    if fault == "max_tokens":
        text = text[: int(len(text) * dice_for(config.seed, key, "cut").uniform(0.3, 0.9))]
        return Said(text, "length", tokens(text)), met
    if (size := tokens(text)) > asked.max_tokens:
        cut = text.encode()[: 4 * asked.max_tokens].decode(errors="ignore")
        return Said(cut, "length", asked.max_tokens), met
    return Said(text, "end", size), met


def segment(config: Config, text: str, source: str, target: str, *, html: bool, met: list[str]) -> str:
    """The translation of one text, under its fault if it has one, which is added to `met`."""
    fault = draw(config, TRANSLATIONS, "segment", f"{target}\0{text}")
    if fault == "drift":
        met.append(fault)
        return tongues.translate(tongues.another(text, dice_for(config.seed, text, "drift")), "en", target, html=html)
    done = tongues.translate(text, source, target, html=html)
    if fault == "drop_span" and (without := tongues.without_a_span(done)) is not None:
        met.append(fault)
        return without
    return done


def _translated(config: Config, asked: Asked, met: list[str]) -> str | None:
    """The answer to a prompt that wants each field of a JSON object translated; None for other prompts."""
    pair = _TRANSLATE.search(asked.system) or _TRANSLATE.search(asked.user)
    place = asked.user.find("{")
    if pair is None or place < 0:
        return None
    try:
        texts, _ = json.JSONDecoder(strict=False).raw_decode(asked.user, place)
    except ValueError:
        return None
    source, target = (_CODES.get(name.lower(), name.lower()) for name in pair.groups())
    done = {name: segment(config, str(text), source, target, html=False, met=met) for name, text in texts.items()}
    return json.dumps(done, ensure_ascii=False)


_NAME = r"(English|Chinese|Malay|Tamil|[a-z]{2,3}(?:-[a-z]{2,4})?)"
_TRANSLATE = re.compile(rf"\btranslat\w+\b.{{0,100}}?\bfrom {_NAME} (?:in)?to {_NAME}\b", re.I | re.S)
_CODES = {"english": "en", "chinese": "zh", "malay": "ms", "tamil": "ta"}


def _spoilt(config: Config, key: str, text: str) -> str:
    """An answer that is not the JSON that was asked for."""
    match dice_for(config.seed, key, "spoil").randrange(4):
        case 0:
            return "Sure! Here is what I came up with, I hope that it is what you had in mind for your project."
        case 1:
            return text[: len(text) * 2 // 3]
        case 2:
            try:
                return repr(json.loads(text))
            except ValueError:
                return text
    return f"```json\n{text}\n```\nI have made sure that each of them differs. Let me know if you need more!"
