"""Conversations as token ids and labels: what is learnt from, what is cut, and how long the examples are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from curation.errors import InputError
from train.data import Turn, Version, chat, rows, tools_of
from train.dialogues import encode_text, markers_of, windows
from train.prefix import common

if TYPE_CHECKING:
    import datasets
    import torch
    from transformers import PreTrainedTokenizerBase

IGNORED = -100  # the label of a token that is not learnt from
BINS = 10


@dataclass(frozen=True, slots=True)
class Encoded:
    """A split as a model reads it, and what became of its examples."""

    dataset: "datasets.Dataset"  # input_ids, labels, length
    lengths: list[int]  # tokens of each example before it was cut
    cut: int  # examples whose text was cut to max_length
    dropped: int  # examples with nothing left to learn from
    mask: str  # which tokens are learnt from, in words

    def facts(self, max_length: int) -> dict[str, Any]:
        """For data.json: counts, tokens, and the histogram of lengths."""
        edges, counts = histogram(self.lengths, max_length)
        learnt = sum(label != IGNORED for row in self.dataset["labels"] for label in row)
        return {
            "examples": len(self.lengths),
            "used": len(self.dataset),
            "cut": self.cut,
            "dropped": self.dropped,
            "tokens": sum(self.dataset["length"]),
            "learnt_tokens": learnt,
            "longest": max(self.lengths, default=0),
            "mask": self.mask,
            "histogram": {"edges": edges, "counts": counts},
        }


def teaching_template(tokenizer: "PreTrainedTokenizerBase", *, assistant_only: bool) -> tuple[str | None, str]:
    """The chat template to encode with (None: the tokenizer's own, without a mask), and the mask in words.

    In this order: the tokenizer's own template where it marks `{% generation %}`, TRL's marked copy of it where TRL knows
    the model family, else no marks: then the last answer alone is learnt, as what follows the rendered prompt.
    """
    own = str(tokenizer.chat_template)
    if not assistant_only:
        return None, "every token"
    if re.search(r"\{%-?\s*generation", own):
        return own, "assistant turns, by the tokenizer's {% generation %} marks"
    from trl.chat_template_utils import get_training_chat_template

    try:
        return get_training_chat_template(tokenizer), "assistant turns, by TRL's marked copy of the template"
    except ValueError:
        return None, "the last assistant turn: what follows the prompt (the template has no {% generation %} marks)"


def encode(
    version: Version, split: str, tokenizer: "PreTrainedTokenizerBase", max_length: int, *, assistant_only: bool = True
) -> Encoded:
    """A split as token ids and labels, every row at most `max_length` tokens.

    Raises:
        NotFound: no such split.
        InputError: no example of the split leaves anything to learn from.
    """
    import datasets

    template, mask = teaching_template(tokenizer, assistant_only=assistant_only)
    kept: dict[str, list[Any]] = {"input_ids": [], "labels": [], "length": []}
    lengths, cut, dropped = [], 0, 0
    markers = markers_of(version) if version.format == "oasst" else None
    if markers and assistant_only:
        mask = "notes and the assistant's turns, each with the marker behind it"
    for row in rows(version, split):
        if markers:
            parts, length = encode_text(tokenizer, row["text"], markers, max_length, notes_only=assistant_only)
            found = [(ids, _labels(ids, learnt)) for ids, learnt in parts]
        else:
            found, length = _conversation(tokenizer, row, template, max_length, assistant_only=assistant_only)
        lengths.append(length)
        cut += length > max_length
        found = [(ids, labels) for ids, labels in found if any(label != IGNORED for label in labels)]
        dropped += not found
        for ids, labels in found:
            kept["input_ids"].append(ids)
            kept["labels"].append(labels)
            kept["length"].append(len(ids))
    if not kept["length"]:
        raise InputError(
            f"{version.title}, split {split!r}: no example leaves an answer to learn within {max_length} tokens; "
            "give a larger max_length"
        )
    return Encoded(datasets.Dataset.from_dict(kept), lengths, cut, dropped, mask)


_Learnt = tuple[list[int], list[int]]  # token ids, labels


def _conversation(
    tokenizer: "PreTrainedTokenizerBase",
    row: Mapping[str, Any],
    template: str | None,
    max_length: int,
    *,
    assistant_only: bool,
) -> tuple[list[_Learnt], int]:
    """A row as examples that fit, and its whole length: cut in the user's text, or, where the assistant speaks often, shared out."""

    def example(turns: Sequence[Turn]) -> _Learnt:
        return _example(tokenizer, turns, template, tools, assistant_only=assistant_only)

    turns, tools = chat(row), tools_of(row)
    whole = example(turns)
    length = len(whole[0])
    if length <= max_length:
        return [whole], length
    if sum(turn["role"] == "assistant" for turn in turns) < 2:
        ids, labels = example(fit(turns, tokenizer, max_length))
        return [(ids[:max_length], labels[:max_length])], length
    head, rest = (turns[:1], turns[1:]) if turns[0]["role"] == "system" else ([], turns)
    reach = [
        len(render(tokenizer, [*head, *rest[:at]], tools=tools)) if head or at else 0 for at in range(len(rest) + 1)
    ]
    sizes = [max(0, later - earlier) for earlier, later in pairwise(reach)]
    found = []
    for first, fresh, last in windows(sizes, reach[0], max_length, [turn["role"] == "user" for turn in rest]):
        ids, labels = example([*head, *rest[first:last]])
        known = common(ids, render(tokenizer, [*head, *rest[first:fresh]], tools=tools)) if fresh > first else 0
        found.append((ids[:max_length], [IGNORED] * min(known, max_length) + labels[known:max_length]))
    return found, length


def _labels(ids: Sequence[int], learnt: Sequence[bool]) -> list[int]:
    return [token if bit else IGNORED for token, bit in zip(ids, learnt, strict=True)]


def _example(
    tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Turn], template: str | None, tools: list[dict[str, Any]], *,
    assistant_only: bool,
) -> _Learnt:  # fmt: skip
    if template is not None:
        options: dict[str, Any] = {"tools": tools} if tools else {}
        found: Any = tokenizer.apply_chat_template(
            list(turns), chat_template=template, return_dict=True, return_assistant_tokens_mask=True, **options
        )
        return list(found["input_ids"]), _labels(found["input_ids"], found["assistant_masks"])
    ids = render(tokenizer, turns, tools=tools)
    known = common(ids, render(tokenizer, turns[:-1], ask=True, tools=tools)) if assistant_only else 0
    return ids, [IGNORED] * known + ids[known:]


def render(
    tokenizer: "PreTrainedTokenizerBase",
    turns: Sequence[Turn],
    *,
    ask: bool = False,
    tools: list[dict[str, Any]] | None = None,
) -> list[int]:
    """Token ids of a conversation; `ask` opens the assistant's turn after it."""
    options: dict[str, Any] = {"tools": tools} if tools else {}
    found: Any = tokenizer.apply_chat_template(list(turns), add_generation_prompt=ask, return_dict=True, **options)
    return list(found["input_ids"])


def fit(turns: Sequence[Turn], tokenizer: "PreTrainedTokenizerBase", max_length: int) -> list[Turn]:
    """The conversation with its longest user turn cut at the end, until all of it has at most `max_length` tokens.

    The answer stays whole. What even an empty turn leaves too long is returned so; the caller cuts its end.
    """
    found = [dict(turn) for turn in turns]
    asked = [turn for turn in found if turn["role"] == "user"]
    if not asked:
        return found
    longest = max(asked, key=lambda turn: len(turn["content"]))
    longest["content"] = longest["content"][
        : 16 * max_length
    ]  # no token is longer; a text of 1 MB is not encoded again and again
    while (over := len(render(tokenizer, found)) - max_length) > 0 and longest["content"]:
        ids: list[int] = tokenizer(longest["content"], add_special_tokens=False)["input_ids"]
        shorter = str(tokenizer.decode(ids[: max(0, len(ids) - over)]))
        longest["content"] = shorter if len(shorter) < len(longest["content"]) else longest["content"][:-over]
    return found


def packed(dataset: "datasets.Dataset", max_length: int) -> "datasets.Dataset":
    """Rows that hold several examples each: input_ids, labels, seq_lengths.

    Best-fit decreasing: no example is split, few tokens are left empty (Ding et al. 2024, arXiv:2404.10830).
    """
    from trl.data_utils import pack_dataset

    return pack_dataset(dataset.select_columns(["input_ids", "labels"]), max_length, "bfd")


class PackedCollator:
    """Packed rows, or single examples, as a batch whose position ids start again with each example.

    Attention reads the restarts and keeps examples apart. TRL's own way joins the batch into one row, whose attention
    costs batch_size times as much where flash attention is not installed; here a row stays a row.
    """

    def __init__(self, pad: int) -> None:
        self.pad = pad

    def __call__(self, examples: Sequence[Mapping[str, Any]]) -> "dict[str, torch.Tensor]":
        """input_ids, labels, position_ids, each (batch, longest row)."""
        import torch

        width = max(len(row["input_ids"]) for row in examples)
        columns: dict[str, list[list[int]]] = {"input_ids": [], "labels": [], "position_ids": []}
        for row in examples:
            spare = width - len(row["input_ids"])
            places = [
                place
                for length in (*(row.get("seq_lengths") or [len(row["input_ids"])]), spare)
                for place in range(length)
            ]
            labels = [IGNORED if place == 0 else label for label, place in zip(row["labels"], places, strict=False)]
            columns["input_ids"].append([*row["input_ids"], *[self.pad] * spare])
            columns["labels"].append([*labels, *[IGNORED] * spare])
            columns["position_ids"].append(places)
        return {name: torch.tensor(values) for name, values in columns.items()}


def histogram(lengths: Sequence[int], max_length: int) -> tuple[list[int], list[int]]:
    """Upper edges in tokens and counts; the last bin holds what is longer than `max_length`."""
    top = min(max(lengths, default=1), max_length)
    width = max(1, -(-top // BINS))
    edges = [min(width * (i + 1), max_length) for i in range(BINS) if width * i < top]
    counts = [0] * (len(edges) + 1)
    for length in lengths:
        counts[next((i for i, edge in enumerate(edges) if length <= edge), len(edges))] += 1
    return edges, counts


def bars(edges: Sequence[int], counts: Sequence[int], width: int = 40) -> Iterable[str]:
    """The histogram as lines of text."""
    most = max(counts, default=1) or 1
    names = [f"<= {edge:,}" for edge in edges] + ["longer"]
    first = next((i for i, count in enumerate(counts) if count), 0)
    for name, count in list(zip(names, counts, strict=True))[first:]:
        if name != "longer" or count:
            yield f"{name:>9}  {'█' * round(width * count / most)}{' ' if count else ''}{count:,}"
