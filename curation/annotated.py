"""How what a dialogue's turns are annotated with stands in the text that a model learns: written by exports, read by training.

After SynTOD (Samarinas et al. 2024, arXiv:2404.14772): behind each turn of the user the model notes what is wanted, as one JSON
object with the intent first and the slots behind it, `{"intent":"search_recipe","query":"laksa"}`; then it answers. Behind an answer
stands what it rests on, `{"cites":["4.2"]}`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from curation.errors import InputError

INTENT, CITES = "intent", "cites"


class Markers(BaseModel):
    """What stands before each turn, and before a note, in `format=oasst`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    user: str = Field(default="### HUMAN:", min_length=3)
    """Before what the user says."""
    assistant: str = Field(default="### ASSISTANT:", min_length=3)
    """Before what the assistant says."""
    tool: str = Field(default="### RESULTS:", min_length=3)
    """Before what was retrieved."""
    system: str = Field(default="### SYSTEM:", min_length=3)
    """Before instructions, other than those that open the text."""
    note: str = Field(default="##", min_length=2)
    """Before the JSON of intent and slots behind the user's turn, and of citations behind the assistant's."""

    @model_validator(mode="after")
    def _told_apart(self) -> "Markers":
        roles = list(self.roles.values())
        for one in (*roles, self.note):
            if one != one.strip():
                raise ValueError(f"{one!r}: a marker neither begins nor ends with white space")
        for at, one in enumerate(roles):
            if any(other.startswith(one) for place, other in enumerate(roles) if place != at):
                raise ValueError(f"{one!r}: the markers of two roles are the same, or one begins the other")
        return self

    @property
    def roles(self) -> dict[str, str]:
        return {"user": self.user, "assistant": self.assistant, "tool": self.tool, "system": self.system}


@dataclass(frozen=True, slots=True)
class Segment:
    """A turn in an oasst text. Places count characters from the beginning of the text."""

    role: str
    content: str
    note: dict[str, Any] | None
    begin: int  # where its marker begins
    body: int  # where its content begins
    noted: int | None  # where the JSON of its note begins
    end: int  # behind its last character


# -- notes ---------------------------------------------------------------------------------------------------------


def wanted(annotation: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What a turn's annotation says that the user wants: the intent, then the slots by name; None if it names no intent.

    Raises:
        InputError: a slot is called `intent`, so that the two could not be told apart.
    """
    if not annotation or not annotation.get(INTENT):
        return None
    slots = annotation.get("slots") or {}
    if INTENT in slots:
        raise InputError("a slot is called 'intent', which is the name of the intent itself; rename the slot")
    return {INTENT: str(annotation[INTENT]), **{name: slots[name] for name in sorted(slots)}}


def line(fields: Mapping[str, Any]) -> str:
    """A note as one line of JSON."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def opening(text: str) -> tuple[dict[str, Any] | None, str]:
    """The note that a text begins with (None: there is none), and what follows it."""
    start = len(text) - len(text.lstrip())
    if not text.startswith("{", start):
        return None, text
    try:
        found, end = _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        return None, text
    if not isinstance(found, dict) or not isinstance(found.get(INTENT), str):
        return None, text
    return found, text[end:].lstrip("\n")


def closing(text: str) -> tuple[str, list[str] | None]:
    """An answer, and what its last line cites (None: the last line is no note of citations)."""
    answer, _, last = text.rstrip().rpartition("\n")
    try:
        found = json.loads(last)
    except (ValueError, RecursionError):
        return text, None
    if not isinstance(found, dict) or list(found) != [CITES] or not isinstance(found[CITES], list):
        return text, None
    return answer, [str(one) for one in found[CITES]]


_DECODER = json.JSONDecoder()


# -- one text for a whole dialogue ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spoken:
    """A turn, and the note behind it."""

    role: str
    content: str
    note: Mapping[str, Any] | None = None


def written(preamble: str, turns: Sequence[Spoken], markers: Markers) -> str:
    """The text of a dialogue. A marker that somebody says is written with a space in it, so that the text can be read back."""
    parts = [preamble.strip()] if preamble.strip() else []
    for turn in turns:
        parts.append(f"{markers.roles[turn.role]} {_plain(turn.content.strip(), markers)}".rstrip())
        if turn.note is not None:
            parts.append(f"{markers.note} {line(turn.note)}")
    return " ".join(parts)


def _plain(text: str, markers: Markers) -> str:
    for marker in markers.roles.values():
        text = text.replace(marker, f"{marker[0]} {marker[1:]}")
    return text.replace(f"{markers.note} {{", f"{markers.note[0]} {markers.note[1:]} {{")


def segments(text: str, markers: Markers) -> list[Segment]:
    """The turns of a text, in order; what stands before the first marker is nobody's."""
    role_of = {marker: role for role, marker in markers.roles.items()}
    pattern = "|".join(re.escape(marker) for marker in sorted(role_of, key=len, reverse=True))
    found = list(re.finditer(pattern, text))
    ends = [one.start() for one in found[1:]] + [len(text)]
    return [
        _segment(text, role_of[one.group()], one.start(), one.end(), end, markers)
        for one, end in zip(found, ends, strict=True)
    ]


def _segment(text: str, role: str, begin: int, behind: int, end: int, markers: Markers) -> Segment:
    end = behind + len(text[behind:end].rstrip())
    body = end - len(text[behind:end].lstrip())
    mark = f"{markers.note} {{"
    at = text.rfind(mark, behind, end)
    while at >= 0:
        noted = at + len(mark) - 1
        try:
            note = json.loads(text[noted:end])
        except (ValueError, RecursionError):
            at = text.rfind(mark, behind, at)
            continue
        if isinstance(note, dict):
            return Segment(role, text[body:at].strip(), note, begin, min(body, at), noted, end)
        break
    return Segment(role, text[body:end], None, begin, body, None, end)
