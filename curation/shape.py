"""The form of an example: its texts, what in it contradicts the rest, and how long a text is to a reader."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from curation.records import QA, Dialogue, Example, Moderation, Preference, Safety


def parts(example: Example) -> Iterator[tuple[str, str]]:
    """Every text of an example with where it stands: `text`, `title`, `turn 2 (user)`, `chosen`."""
    match example:
        case Moderation():
            yield "text", example.text
            if example.title is not None:
                yield "title", example.title
            if example.caption is not None:
                yield "caption", example.caption
        case Dialogue():
            for number, turn in enumerate(example.turns, 1):
                yield f"turn {number} ({turn.role})", turn.content
        case Preference():
            yield from (("prompt", example.prompt), ("chosen", example.chosen), ("rejected", example.rejected))
        case Safety():
            yield from (("prompt", example.prompt), ("response", example.response))
        case QA():
            yield from (("question", example.question), ("answer", example.answer))


def faults(example: Example) -> list[str]:
    """What makes an example useless: blank or broken texts, labels that contradict each other, turns out of order."""
    wrong = []
    for where, text in parts(example):
        if not text.strip():
            wrong.append(f"{where} is blank")
        if match := _BROKEN.search(text):
            wrong.append(f"{where} has U+{ord(match[0]):04X} at {match.start()}")
    if isinstance(example, Moderation):
        wrong += _moderation_faults(example)
    elif isinstance(example, Dialogue):
        wrong += _dialogue_faults(example)
    elif isinstance(example, Preference) and example.chosen.strip() == example.rejected.strip():
        wrong.append("chosen and rejected are the same")
    return wrong


def oddities(example: Example) -> list[str]:
    """What is unusual in a well-formed example and may be a mistake."""
    if not isinstance(example, Dialogue):
        return []
    roles = [turn.role for turn in example.turns]
    odd = [] if "assistant" in roles else ["no assistant turn"]
    for number in range(1, len(roles)):
        if roles[number] == roles[number - 1] and roles[number] in ("user", "assistant"):
            odd.append(f"turns {number} and {number + 1} are both {roles[number]}")
    return odd


# Tab, line feed and carriage return are text; U+FFFD and the noncharacters are what is left of bytes read wrongly.
_BROKEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffd-\uffff]")


def _moderation_faults(example: Moderation) -> Iterator[str]:
    if example.label == "allowed" and example.severity > 0:
        yield f"label is allowed but severity is {example.severity}"
    if example.label == "disallowed" and example.category == "none":
        yield "label is disallowed but category is none"
    if example.label == "disallowed" and example.severity == 0:
        yield "label is disallowed but severity is 0"
    if example.surface == "listing" and example.title is None:
        yield "a listing without title"
    if example.surface == "meme" and example.caption is None:
        yield "a meme without caption"


def _dialogue_faults(example: Dialogue) -> Iterator[str]:
    roles = [turn.role for turn in example.turns]
    spoken = [role for role in roles if role != "system"]
    if not spoken or spoken[0] != "user":
        yield f"the first turn after the system's is {spoken[0] if spoken else 'missing'}, not user"
    for number in range(1, len(roles)):
        if roles[number] == "system" and roles[number - 1] != "system":
            yield f"turn {number + 1} is a system turn in mid-dialogue"
        looked_up = "query" in (example.turns[number].annotation or {})  # by the system itself, which needs no call
        if roles[number] == "tool" and not looked_up and roles[number - 1] not in ("assistant", "tool"):
            yield f"turn {number + 1} is a tool turn that no assistant turn called"
        if number >= 2 and roles[number] in ("user", "assistant") and len(set(roles[number - 2 : number + 1])) == 1:
            yield f"turns {number - 1} to {number + 1} are all {roles[number]}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Lengths as `width` counts them; outside the inner pair is odd, outside the outer of no use."""

    least: int
    few: int
    many: int
    most: int


BOUNDS = {
    "post": Bounds(3, 8, 1_200, 3_000),
    "meme": Bounds(2, 2, 200, 500),
    "listing": Bounds(20, 60, 8_000, 20_000),
    "turn": Bounds(1, 1, 6_000, 30_000),
    "answer": Bounds(1, 1, 8_000, 40_000),
    "turns": Bounds(1, 1, 60, 200),  # of a dialogue
}
_WIDE = re.compile("[\u3041-\u30fa\u3400-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff]+")
_SUBSTANCE = re.compile("[^\\W_]|[\u2190-\u2bff\u3030\u303d\u3297\u3299\U0001f000-\U0001faff]")


def width(text: str) -> int:
    """Length in characters without outer white space, an ideograph counting as two."""
    text = text.strip()
    return len(text) if text.isascii() else len(text) + sum(map(len, _WIDE.findall(text)))


def has_substance(text: str) -> bool:
    """Whether there is a letter, a digit or an emoji."""
    return _SUBSTANCE.search(text) is not None
