"""Preferences: which of two answers to one question is the better one, given as such or read out of reviews.

A review prefers what a person kept to what a person dropped, where both answer the same question: the same request to an
assistant, or, for a post that a prompt wrote, the same prompt, language and value of every axis. What checks dropped is no
preference: it is mostly text that cannot be read. Each dropped example is used once, so that no rejected text is in two splits.
"""

from collections import defaultdict
from collections.abc import Iterable

import pyarrow as pa

from curation.errors import InputError
from curation.records import EXAMPLE, LANGUAGE_NAMES, QA, Dialogue, Moderation, Preference, Safety, canonical_json
from curation.store import Store
from curation.tables import AnyExample

Pairs = dict[str, dict[str, object]]  # id of the preferred example -> its prompt, chosen and rejected

_DROPPED_BY_PERSON = """
SELECT id FROM examples JOIN status ON example = id WHERE status = 'dropped' AND id IN (
    SELECT example FROM (
        SELECT example, arg_max(decision, (made_at, id)) AS word FROM verdicts
        WHERE author LIKE 'human:%' GROUP BY example, author
    ) WHERE word = 'drop'
)
"""
_BODIES = """
SELECT examples.id, body, first.prompt, first.axes FROM examples LEFT JOIN (
    SELECT example, arg_min(prompt, id) AS prompt, arg_min(axes, id) AS axes FROM origins
    WHERE kind = 'generated' AND example IN (SELECT unnest($ids)) GROUP BY example
) AS first ON first.example = examples.id WHERE examples.id IN (SELECT unnest($ids)) ORDER BY examples.id
"""


def find(store: Store, examples: pa.Table) -> Pairs:
    """The preferences among examples (`id`, `status`, `label`, `category`, `severity`, sorted by id).

    Raises:
        InputError: there is none.
    """
    rows = {row["id"]: row for row in examples.select(["id", "status", "label", "category", "severity"]).to_pylist()}
    rejected: dict[str, list[str]] = defaultdict(list)
    for _, key, answer in _questions(store, (identity for (identity,) in store.rows(_DROPPED_BY_PERSON))):
        rejected[key].append(answer)
    pairs: Pairs = {}
    waiting = {key: iter(answers) for key, answers in rejected.items()}
    for example, key, answer in _questions(store, rows):
        row = rows[example.id]
        if isinstance(example, Preference):
            pairs[example.id] = {"prompt": example.prompt, "chosen": example.chosen, "rejected": example.rejected}
        elif row["status"] == "kept" and (other := next(waiting.get(key, iter(())), None)) is not None:
            asked = _asked(example, key, row)
            pairs[example.id] = {"prompt": asked, "chosen": answer, "rejected": other}
    if not pairs:
        raise InputError(
            f"none of the {len(rows):,} examples is a preference: review some of one prompt, keeping the better and dropping the "
            "worse, or import task=preference"
        )
    return pairs


def _questions(store: Store, ids: Iterable[str]) -> Iterable[tuple[AnyExample, str, str]]:
    """Each example that answers a question, sorted by id, with a key of the question and the answer."""
    for _, body, prompt, axes in store.rows(_BODIES, {"ids": list(ids)}):
        example = EXAMPLE.validate_json(body)
        match example:
            case Moderation():
                if prompt is not None:
                    yield example, canonical_json([prompt, example.language, axes]), example.content
            case Safety():
                yield example, canonical_json([example.language, example.prompt]), example.response
            case QA():
                yield example, canonical_json([example.language, example.question]), example.answer
            case Dialogue():
                *before, last = ([turn.role, turn.content] for turn in example.turns)
                if before and last[0] == "assistant":
                    yield example, canonical_json([example.language, before]), last[1]
            case Preference():
                yield example, "", ""


def _asked(example: AnyExample, key: str, labels: dict[str, object]) -> str:
    """The question in words. A post's is said in short: what stood in the request asked for several at once."""
    import json

    match example:
        case Moderation():
            cell = ", ".join(f"{axis} {value}" for axis, value in json.loads(json.loads(key)[2] or "{}").items())
            language = LANGUAGE_NAMES.get(example.language, example.language)
            wanted = f"{labels['label']} (category {labels['category']}, severity {labels['severity']})"
            return f"Write a {example.surface} in {language} that is {wanted}: {cell}."
        case Safety() | Preference():
            return example.prompt
        case QA():
            return example.question
        case Dialogue():
            return "\n\n".join(turn.content for turn in example.turns[:-1])
