"""Dialogues as exported: chat messages, tool calls, and one text after SynTOD; each with or without what its turns are annotated with."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.annotated import CITES, INTENT, Markers, Spoken, line, wanted, written
from curation.config import ExportSettings
from curation.errors import InputError
from curation.records import EXAMPLE, Dialogue

PREAMBLE = (
    "Conversation between a human and an AI assistant ({scenario}). Before it answers, the assistant notes what the human wants "
    "as one line of JSON: the intent, then the slots. Intents: {intents}."
)
PREAMBLE_OF_CITATIONS = "Conversation between a human and an AI assistant ({scenario}). Below each answer the assistant notes as JSON what it rests on."
SEARCH = "search"  # the name of a function, where no intent says what was called


@dataclass(frozen=True, slots=True)
class Layout:
    """What the rows of one version have in common."""

    annotations: bool = False
    markers: Markers = field(default_factory=Markers)
    preamble: str = ""
    intents: Mapping[str, list[str]] = field(default_factory=dict)  # scenario -> names, sorted
    tools: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)  # scenario -> schemas of functions

    def opening(self, dialogue: Dialogue) -> str:
        """What a dialogue opens with: who speaks, and which intents there are."""
        intents = ", ".join(self.intents.get(dialogue.scenario, ()))
        text = self.preamble or (PREAMBLE if intents else PREAMBLE_OF_CITATIONS) * self.annotations
        return text.replace("{scenario}", dialogue.scenario.replace("_", " ")).replace("{intents}", intents)


def layout(settings: ExportSettings, bodies: Iterable[str]) -> Layout:
    """The layout of a version, which lists the intents and functions of all its dialogues.

    Raises:
        InputError: annotations are asked for, and no dialogue has any.
    """
    given = settings.annotations
    annotations = settings.format == "oasst" if given is None else given
    if not (annotations or settings.format in ("oasst", "tool-calls")):
        return Layout()
    intents: dict[str, set[str]] = defaultdict(set)
    calls: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
    cited = False
    for body in bodies:
        example = EXAMPLE.validate_json(body)
        if isinstance(example, Dialogue):
            for turn in example.turns:
                if turn.annotation and (intent := turn.annotation.get(INTENT)):
                    intents[example.scenario].add(str(intent))
                cited = cited or bool(turn.cites)
            for call in _calls(example):
                calls[example.scenario][call.name].append(call.arguments)
    if annotations and not intents and not cited:
        if given:
            raise InputError(
                "annotations=true: none of the selected examples is a dialogue whose turns have an intent or citations; "
                "leave it out, or select others, e.g. task=dialogue"
            )
        annotations = False
    tools = {
        scenario: [_schema(name, own[name]) for name in sorted(own)] for scenario, own in sorted(calls.items())
    }  # fmt: skip
    named = {scenario: sorted(own) for scenario, own in sorted(intents.items())}
    return Layout(annotations, settings.markers, settings.preamble or "", named, tools)


# -- chat ----------------------------------------------------------------------------------------------------------


def messages(dialogue: Dialogue, layout: Layout, *, calling: bool = False) -> list[dict[str, Any]]:
    """The turns as `role` and `content`.

    With annotations a system message says so; the assistant's message begins with the note of what the user wants, and ends with that
    of what it cites. Where something is looked up in between, the note is a message of its own.

    Args:
        calling: write each lookup as OpenAI and chat templates have it: an assistant's message with `tool_calls`, `arguments` as JSON
            text, and a `tool` message with what was found.
    """
    opening, turns = layout.opening(dialogue), list(dialogue.turns)
    if opening and turns[0].role == "system":
        opening = f"{opening}\n\n{turns.pop(0).content}"
    found = [_turn("system", opening)] if opening else []
    note: dict[str, Any] | None = None  # what the user wants, and the assistant has not noted yet
    calls = _calls(dialogue)
    for turn in turns:
        message = _turn(turn.role, turn.content)
        if calling and turn.role == "tool":
            call = next(calls)
            found.append({**_turn("assistant", line(note) if note else ""), "tool_calls": [call.described]})
            message |= {"tool_call_id": call.id, "name": call.name}
        elif turn.role == "assistant" and layout.annotations:
            cites = [line({CITES: list(turn.cites)})] if turn.cites else []
            message["content"] = "\n".join([*([line(note)] if note else []), turn.content, *cites])
        elif note:
            found.append(_turn("assistant", line(note)))
        note = wanted(turn.annotation) if turn.role == "user" and layout.annotations else None
        found.append(message)
    return [*found, _turn("assistant", line(note))] if note else found


def tools(dialogue: Dialogue, layout: Layout) -> str:
    """The functions that an assistant in this scenario may call, as the JSON text of a list of schemas."""
    return json.dumps(layout.tools.get(dialogue.scenario, []), ensure_ascii=False)


def _turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


# -- functions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Call:
    id: str
    name: str
    arguments: dict[str, Any]

    @property
    def described(self) -> dict[str, Any]:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": line(self.arguments)}}


def _calls(dialogue: Dialogue) -> Iterator[_Call]:
    """The lookup behind each tool turn: called by the user's intent, with the query that the turn's annotation has, else the slots."""
    asked: Mapping[str, Any] = {}
    made = 0
    for turn in dialogue.turns:
        said = turn.annotation or {}
        if turn.role == "user":
            asked = said
        elif turn.role == "tool":
            made += 1
            name = str(said.get("tool") or asked.get(INTENT) or SEARCH)
            query = said.get("query", asked.get("slots"))
            arguments = query if isinstance(query, dict) else {} if query is None else {"query": query}
            # nine letters and digits, as some templates insist
            yield _Call(f"call{made:05}", re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64], dict(arguments))


def _schema(name: str, arguments: list[dict[str, Any]]) -> dict[str, Any]:
    """A function as JSON schema; an argument that every call has is required."""
    kinds: dict[str, list[Any]] = defaultdict(list)
    for one in arguments:
        for key, value in one.items():
            kinds[key].append(value)
    parameters = {
        "type": "object",
        "properties": {key: _kind(values) for key, values in sorted(kinds.items())},
        "required": sorted(key for key, values in kinds.items() if len(values) == len(arguments)),
    }
    about = name.replace("_", " ").capitalize()
    return {"type": "function", "function": {"name": name, "description": f"{about}.", "parameters": parameters}}


def _kind(values: Sequence[Any]) -> dict[str, Any]:
    if all(isinstance(value, list) for value in values):
        return {"type": "array", "items": _kind([one for value in values for one in value])}
    for name, kind in (("boolean", bool), ("integer", int), ("number", int | float), ("object", dict)):
        if values and all(
            isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) for value in values
        ):
            return {"type": name}
    return {"type": "string"}


# -- one text ------------------------------------------------------------------------------------------------------


def oasst(dialogue: Dialogue, layout: Layout) -> str:
    """The whole dialogue as SynTOD trains on it: markers for the roles, notes behind the turns that they speak of."""
    turns = []
    for turn in dialogue.turns:
        note: Mapping[str, Any] | None = None
        if layout.annotations and turn.role == "user":
            note = wanted(turn.annotation)
        elif layout.annotations and turn.role == "assistant" and turn.cites:
            note = {CITES: list(turn.cites)}
        turns.append(Spoken(turn.role, turn.content, note))
    return written(layout.opening(dialogue), turns, layout.markers)
