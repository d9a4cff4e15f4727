"""The columns of an exported row. Every format has id and language first, and the example's labels last."""

from collections.abc import Callable

import pyarrow as pa

from curation import dialogue_formats
from curation.annotated import Spoken, written
from curation.dialogue_formats import Layout
from curation.errors import InputError
from curation.records import EXAMPLE, MODERATOR, QA, Dialogue, Moderation, Preference, Safety, canonical_json
from curation.tables import AnyExample

Fields = dict[str, object]
_PLAIN = Layout()

_TEXT = pa.string()
_HEAD = [("id", _TEXT), ("language", _TEXT)]
_TAIL = [("label", _TEXT), ("category", _TEXT), ("severity", pa.int32()), ("prompt", _TEXT), ("source", _TEXT)]
_CHAT = pa.list_(pa.struct([("role", _TEXT), ("content", _TEXT)]))
_CALL = pa.struct([("id", _TEXT), ("type", _TEXT), ("function", pa.struct([("name", _TEXT), ("arguments", _TEXT)]))])
_CALLS = pa.list_(
    pa.struct(
        [("role", _TEXT), ("content", _TEXT), ("tool_calls", pa.list_(_CALL)), ("tool_call_id", _TEXT), ("name", _TEXT)]
    )
)

SCHEMAS: dict[str, pa.Schema] = {
    "text-classification": pa.schema([*_HEAD, ("text", _TEXT), ("surface", _TEXT), *_TAIL]),
    "messages": pa.schema([*_HEAD, ("messages", _CHAT), *_TAIL]),
    "oasst": pa.schema([*_HEAD, ("text", _TEXT), *_TAIL]),
    "tool-calls": pa.schema([*_HEAD, ("messages", _CALLS), ("tools", _TEXT), *_TAIL]),
    "prompt-completion": pa.schema([*_HEAD, ("prompt_text", _TEXT), ("completion", _TEXT), *_TAIL]),
    "preference": pa.schema(  # here `prompt` is the question, as trainers call it; `curate trace` says what wrote a row
        [
            *_HEAD,
            ("prompt", _TEXT),
            ("chosen", _TEXT),
            ("rejected", _TEXT),
            *(one for one in _TAIL if one[0] != "prompt"),
        ]
    ),
}


def fields(body: str, labels: Fields, format: str, layout: Layout = _PLAIN) -> Fields:
    """The format's own columns for an example; `labels` are the effective ones, a reviewer's corrections included.

    Raises:
        InputError: the format does not fit the example's task.
    """
    example = EXAMPLE.validate_json(body)
    return _MAKERS[format](example, labels, layout)


def _classification(example: AnyExample, labels: Fields, _: Layout) -> Fields:
    if not labels.get("label"):
        raise InputError(
            f"example {example.id} is a {example.task}, which has no label to classify; "
            "choose format=messages, or task=moderation"
        )
    return {"text": example.content, "surface": getattr(example, "surface", example.task)}


def _messages(example: AnyExample, labels: Fields, layout: Layout) -> Fields:
    if isinstance(example, Dialogue):
        return {"messages": dialogue_formats.messages(example, layout)}
    return {"messages": chat(example, labels)}


def _tool_calls(example: AnyExample, labels: Fields, layout: Layout) -> Fields:
    if isinstance(example, Dialogue):
        own = dialogue_formats.messages(example, layout, calling=True)
        return {"messages": own, "tools": dialogue_formats.tools(example, layout)}
    return {"messages": chat(example, labels), "tools": "[]"}


def _oasst(example: AnyExample, labels: Fields, layout: Layout) -> Fields:
    if isinstance(example, Dialogue):
        return {"text": dialogue_formats.oasst(example, layout)}
    turns = [Spoken(turn["role"], turn["content"]) for turn in chat(example, labels)]
    return {"text": written("", turns, layout.markers)}


def _completion(example: AnyExample, labels: Fields, _: Layout) -> Fields:
    *before, last = chat(example, labels)
    return {"prompt_text": "\n\n".join(turn["content"] for turn in before), "completion": last["content"]}


def _preference(example: AnyExample, _labels: Fields, _: Layout) -> Fields:
    if not isinstance(example, Preference):
        raise InputError(
            f"example {example.id} is a {example.task} without a rejected answer; review it together with others of its prompt, "
            "or choose format=messages"
        )
    return {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}


def chat(example: AnyExample, labels: Fields) -> list[dict[str, str]]:
    """An example as a conversation that ends with what a model should learn to say."""
    match example:
        case Moderation():
            answer = canonical_json({name: labels[name] for name in ("label", "category", "severity")})
            return [_turn("system", MODERATOR), _turn("user", example.content), _turn("assistant", answer)]
        case Dialogue():
            return [_turn(turn.role, turn.content) for turn in example.turns]
        case Preference():
            return [_turn("user", example.prompt), _turn("assistant", example.chosen)]
        case Safety():
            return [_turn("user", example.prompt), _turn("assistant", example.response)]
        case QA():
            return [_turn("user", example.question), _turn("assistant", example.answer)]


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


_MAKERS: dict[str, Callable[[AnyExample, Fields, Layout], Fields]] = {
    "text-classification": _classification,
    "messages": _messages,
    "oasst": _oasst,
    "tool-calls": _tool_calls,
    "prompt-completion": _completion,
    "preference": _preference,
}
