"""The columns of an exported row. Every format has id and language first, and the example's labels last."""

from collections.abc import Callable

import pyarrow as pa

from curation.errors import InputError
from curation.records import EXAMPLE, MODERATOR, QA, Dialogue, Moderation, Preference, Safety, canonical_json
from curation.tables import AnyExample

Fields = dict[str, object]

_TEXT = pa.string()
_HEAD = [("id", _TEXT), ("language", _TEXT)]
_TAIL = [("label", _TEXT), ("category", _TEXT), ("severity", pa.int32()), ("prompt", _TEXT), ("source", _TEXT)]
_CHAT = pa.list_(pa.struct([("role", _TEXT), ("content", _TEXT)]))

SCHEMAS: dict[str, pa.Schema] = {
    "text-classification": pa.schema([*_HEAD, ("text", _TEXT), ("surface", _TEXT), *_TAIL]),
    "messages": pa.schema([*_HEAD, ("messages", _CHAT), *_TAIL]),
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


def fields(body: str, labels: Fields, format: str) -> Fields:
    """The format's own columns for an example; `labels` are the effective ones, a reviewer's corrections included.

    Raises:
        InputError: the format does not fit the example's task.
    """
    example = EXAMPLE.validate_json(body)
    return _MAKERS[format](example, labels)


def _classification(example: AnyExample, labels: Fields) -> Fields:
    if not labels.get("label"):
        raise InputError(
            f"example {example.id} is a {example.task}, which has no label to classify; "
            "choose format=messages, or task=moderation"
        )
    return {"text": example.content, "surface": getattr(example, "surface", example.task)}


def _messages(example: AnyExample, labels: Fields) -> Fields:
    return {"messages": chat(example, labels)}


def _completion(example: AnyExample, labels: Fields) -> Fields:
    *before, last = chat(example, labels)
    return {"prompt_text": "\n\n".join(turn["content"] for turn in before), "completion": last["content"]}


def _preference(example: AnyExample, _: Fields) -> Fields:
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


_MAKERS: dict[str, Callable[[AnyExample, Fields], Fields]] = {
    "text-classification": _classification,
    "messages": _messages,
    "prompt-completion": _completion,
    "preference": _preference,
}
