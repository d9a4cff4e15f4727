"""A version's dialogues: their notes (intent, slots, citations), the prompts that ask a model for each, and how oasst text is learnt."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from curation.annotated import CITES, INTENT, Markers, Segment, closing, line, opening, segments
from train.data import Turn, Version, chat, tools_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

BEGUN = (
    f'{{"{INTENT}":"'  # a note is begun for the model, as SynTOD's inference does; it goes on with the intent's name
)
FORMATS = ("messages", "oasst", "tool-calls")


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model goes on from."""

    head: str | tuple[Turn, ...]  # what stays when the oldest turns have to go: text, or messages
    turns: tuple[str, ...] | tuple[Turn, ...]  # the pieces of the text, or the messages, so far
    begun: str  # the beginning of what it is to write
    tools: tuple[dict[str, Any], ...] = ()

    def ids(self, tokenizer: "PreTrainedTokenizerBase", room: int) -> list[int]:
        """Token ids, at most `room`: the oldest turns go first; what one turn leaves too long loses its beginning."""
        for first in range(max(len(self.turns), 1)):
            found = self._encoded(tokenizer, first)
            if len(found) <= room:
                return found
        return found[-room:]

    def _encoded(self, tokenizer: "PreTrainedTokenizerBase", first: int) -> list[int]:
        if isinstance(self.head, str):
            text = "".join((self.head, *map(str, self.turns[first:]), self.begun))
            ids: list[int] = tokenizer(text)["input_ids"]
            return ids[:-1] if ids and ids[-1] == tokenizer.eos_token_id else ids
        messages: list[Any] = [*self.head, *self.turns[first:]]
        options: dict[str, Any] = {"tools": list(self.tools)} if self.tools else {}
        rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options)
        return list(tokenizer(f"{rendered}{self.begun}", add_special_tokens=False)["input_ids"])


@dataclass(frozen=True, slots=True)
class Pair:
    """A turn of the assistant: what it was to note and to say, and the prompts that ask for each with the true history."""

    example: str  # id of the dialogue
    turn: int  # its place among what user and assistant say, from 1
    row: Mapping[str, Any]
    history: tuple[tuple[str, str], ...]  # (role, text) of all before, without notes
    wanted: dict[str, Any] | None = None  # the true note: intent and slots
    noting: Prompt | None = None
    answer: str | None = None  # the true answer; None: nothing is said here, as something is looked up first
    cites: tuple[str, ...] = ()
    answering: Prompt | None = None

    @property
    def id(self) -> str:
        return f"{self.example}#{self.turn}"


def pairs(version: Version, row: Mapping[str, Any]) -> list[Pair]:
    """The assistant's turns of a row that has its annotations, in order."""
    if version.format == "oasst":
        return list(_of_text(row, markers_of(version)))
    return list(_of_messages(row))


def markers_of(version: Version) -> Markers:
    return Markers(**version.options.get("markers", {}))


def _of_messages(row: Mapping[str, Any]) -> Iterator[Pair]:
    turns = chat(row)
    tools = tuple(tools_of(row))
    heads = tuple(turns[:1]) if turns[0]["role"] == "system" else ()
    history: list[tuple[str, str]] = []
    waiting: dict[str, Any] = {}  # of a pair whose note was written before something was looked up
    for at in range(len(heads), len(turns)):
        message, before = turns[at], tuple(turns[len(heads) : at])
        if message["role"] != "assistant":
            history.append((message["role"], message["content"]))
            continue
        note, said = opening(message["content"] or "")
        if note is not None:
            waiting = {"wanted": note, "noting": Prompt(heads, before, BEGUN, tools)}
        if not said.strip() and (note is not None or message.get("tool_calls")):
            continue
        answer, cites = closing(said)
        begun = "" if note is None else f"{line(note)}\n"
        yield Pair(
            str(row["id"]), _turn(history), row, tuple(history), answer=answer.strip(), cites=tuple(cites or ()),
            answering=Prompt(heads, before, begun, tools), **waiting,
        )  # fmt: skip
        history.append(("assistant", answer.strip()))
        waiting = {}
    if waiting:
        yield Pair(str(row["id"]), _turn(history), row, tuple(history), **waiting)


def _of_text(row: Mapping[str, Any], markers: Markers) -> Iterator[Pair]:
    text = str(row["text"])
    found = segments(text, markers)
    head = text[: found[0].begin] if found else text
    chunks = tuple(text[one.begin : other.begin] for one, other in pairwise(found))
    history: list[tuple[str, str]] = []
    waiting: dict[str, Any] = {}
    for at, one in enumerate(found):
        if one.role == "user" and one.note and one.noted:
            asked = (*chunks[:at], text[one.begin : one.noted].rstrip())
            waiting = {"wanted": one.note, "noting": Prompt(head, asked, f" {BEGUN}")}
        if one.role != "assistant":
            history.append((one.role, one.content))
            continue
        answering = Prompt(head, chunks[:at], markers.assistant)
        cites = tuple(map(str, (one.note or {}).get(CITES, ())))
        yield Pair(
            str(row["id"]), _turn(history), row, tuple(history), answer=one.content, cites=cites, answering=answering,
            **waiting,
        )  # fmt: skip
        history.append(("assistant", one.content))
        waiting = {}
    if waiting:
        yield Pair(str(row["id"]), _turn(history), row, tuple(history), **waiting)


def _turn(history: Sequence[tuple[str, str]]) -> int:
    return sum(role in ("user", "assistant") for role, _ in history) + 1


# -- what a model wrote --------------------------------------------------------------------------------------------


def heard_note(text: str) -> dict[str, Any] | None:
    """The note that a model went on to write from `BEGUN`; None if it is none."""
    return opening(BEGUN + text)[0]


def heard_answer(text: str, markers: Markers | None) -> tuple[str, tuple[str, ...]]:
    """The answer that a model wrote, and what it cites. `markers` are given for oasst text, which goes on with the next turn."""
    if markers is None:
        answer, cites = closing(text)
        return answer.strip(), tuple(cites or ())
    whole = segments(f"{markers.assistant}{text}", markers)[0]
    return whole.content, tuple(map(str, (whole.note or {}).get(CITES, ())))


# -- how oasst text is learnt --------------------------------------------------------------------------------------


def encode_text(
    tokenizer: "PreTrainedTokenizerBase", text: str, markers: Markers, max_length: int, *, notes_only: bool = True
) -> tuple[list[tuple[list[int], list[bool]]], int]:
    """Token ids and which of them are learnt: the notes, the assistant's answers, and the marker that ends each.

    A text of more than `max_length` tokens becomes several, each with the text's opening and the turns before it as far as they fit;
    every turn is learnt once.

    Args:
        notes_only: false learns every token.

    Returns:
        The examples, and the tokens of the whole text.
    """
    found: Any = tokenizer(text, return_offsets_mapping=True)
    ids, places = list(found["input_ids"]), list(found["offset_mapping"])
    turns = segments(text, markers)
    spans = _learnt(text, turns, markers)
    learnt = [not notes_only or any(start < end <= stop for start, stop in spans) for _, end in places]
    if ids and ids[-1] != tokenizer.eos_token_id:
        ids.append(int(tokenizer.eos_token_id))
        learnt.append(not notes_only or (bool(spans) and spans[-1][1] >= len(text)))
        places.append((len(text), len(text)))
    if len(ids) <= max_length or not turns:
        return [(ids[:max_length], learnt[:max_length])], len(ids)
    # a space that belongs to a marker's first token begins the turn
    begins = [next(at for at, (_, end) in enumerate(places) if end > turn.begin) for turn in turns]
    head, ends = begins[0], [*begins[1:], len(ids)]
    starts = [turn.role == "user" for turn in turns]
    parts = []
    for first, fresh, last in windows(
        [end - at for at, end in zip(begins, ends, strict=True)], head, max_length, starts
    ):
        low, high = begins[first], ends[last - 1]
        own = [*range(head), *range(low, high)]
        taught = [learnt[at] and (at >= begins[fresh]) for at in own]
        parts.append(([ids[at] for at in own][:max_length], taught[:max_length]))
    return parts, len(ids)


def _learnt(text: str, turns: Sequence[Segment], markers: Markers) -> list[tuple[int, int]]:
    """(start, stop) of what the model is to write; the space before a first word is its first token's."""
    found = []
    for at, one in enumerate(turns):
        stop = turns[at + 1].begin + len(markers.roles[turns[at + 1].role]) if at + 1 < len(turns) else len(text)
        if one.role == "assistant":
            found.append((one.begin + len(markers.assistant), stop))
        elif one.noted:
            found.append((one.noted - 1, stop))
    return found


def windows(sizes: Sequence[int], head: int, room: int, starts: Sequence[bool]) -> list[tuple[int, int, int]]:
    """How turns are shared out when they do not fit together.

    Args:
        sizes: (n,) tokens of each turn.
        head: tokens that every part begins with.
        room: tokens of a part.
        starts: (n,) whether a part may begin with this turn.

    Returns:
        (first, fresh, last) of each part: the turns from `first` up to `last` are in it, those before `fresh` are known from an
        earlier part. About half of a part is such history, where there is any.
    """
    found = []
    first = fresh = 0
    while fresh < len(sizes):
        used, last = head + sum(sizes[first:fresh]), fresh
        while last < len(sizes) and (last == fresh or used + sizes[last] <= room):
            used += sizes[last]
            last += 1
        found.append((first, fresh, last))
        fresh = last
        if fresh < len(sizes):
            fitting = [
                at for at in range(first, fresh + 1)
                if starts[at] and sum(sizes[at:fresh]) <= (room - head) // 2
                and head + sum(sizes[at : fresh + 1]) <= room
            ]  # fmt: skip
            first = fitting[0] if fitting else fresh
    return found


def described(history: Sequence[tuple[str, str]]) -> str:
    """A conversation as text, one JSON object a turn, as judges read it."""
    return "\n".join(json.dumps({"role": role, "content": text}, ensure_ascii=False) for role, text in history)
