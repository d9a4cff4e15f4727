"""What judges said of examples, read back from the store, and how it compares with what people said."""

import json
from dataclasses import dataclass
from typing import Any

from curation.agreement import Agreement, agreement
from curation.records import EXAMPLE, Decision, content_id
from curation.store import Store
from curation.tables import AnyExample
from synth.providers.base import Provider
from synth.rubrics import Rubric

_LAST = """
SELECT examples.id, examples.body, word.decision, word.score, word.labels, word.reason
FROM examples LEFT JOIN (
    SELECT example, arg_max({decision: decision, score: score, labels: labels, reason: reason}, (made_at, id)) AS word
    FROM verdicts WHERE author = ? AND version = ? GROUP BY example
) AS said ON said.example = examples.id WHERE examples.id IN (SELECT unnest(?)) ORDER BY examples.id
"""

_PEOPLE = """
WITH words AS (
    SELECT example, author, max(made_at) AS made_at, arg_max({decision: decision, labels: labels}, (made_at, id)) AS word
    FROM verdicts WHERE author LIKE 'human:%' AND example IN (SELECT unnest(?)) GROUP BY example, author
),
latest AS (
    SELECT example, arg_max(word, (made_at, author)) AS word FROM words
    WHERE word.decision IN ('keep', 'drop', 'flag') GROUP BY example
)
SELECT example, word.decision, word.labels FROM latest
"""


@dataclass(frozen=True, slots=True)
class Judge:
    """Who speaks: a rubric in one wording, asked of one model in one way."""

    rubric: Rubric
    author: str
    version: str

    @property
    def by(self) -> str:
        return f"{self.author}@{self.version}"


@dataclass(frozen=True, slots=True)
class Word:
    """What a judge last said of an example."""

    example: AnyExample
    decision: str | None  # None: nothing yet
    score: float | None
    labels: dict[str, str]
    reason: str


def judge_of(rubric: Rubric, provider: Provider, model: str) -> Judge:
    """The name and version of a judge: another wording, model or temperature is another version."""
    how = {name: value for name, value in provider.sampling().items() if name != "max_tokens"}
    digest = content_id("jd", [rubric.fingerprint, provider.name, how]).partition("_")[2][:8]
    return Judge(rubric, f"judge:{rubric.name}", f"{digest}-{model}")


def last_words(store: Store, judging: Judge, ids: list[str]) -> dict[str, Word]:
    """What this judge last said of these examples."""
    return {
        identity: Word(EXAMPLE.validate_json(body), decision, score, json.loads(labels or "{}"), reason or "")
        for identity, body, decision, score, labels, reason in store.rows(_LAST, [judging.author, judging.version, ids])
    }


def agreements(store: Store, rubric: Rubric, words: dict[str, Word]) -> dict[str, Agreement]:
    """How well the judge agrees with people, where they spoke of the same examples; and a blind one with the labels."""
    found: dict[str, Agreement] = {}
    for name in map(str, rubric.gives):
        pairs = [(word.labels.get(name), _text(word.example.labels.get(name))) for word in words.values()]
        found[f"{name}, with the examples' own"] = agreement(pairs)
    people = {
        example: (decision, json.loads(labels or "{}"))
        for example, decision, labels in store.rows(_PEOPLE, [list(words)])
    }
    if people:
        pairs = [(_kept(words[example].decision), _kept(decision)) for example, (decision, _) in people.items()]
        found["keep or not, with people"] = agreement(pairs)
        for name in map(str, rubric.gives):
            given = {example: words[example].labels.get(name) for example in people}
            pairs = [(given[example], _peoples_label(words[example], name, *said)) for example, said in people.items()]
            found[f"{name}, with people"] = agreement(pairs)
    return found


def _kept(decision: str | None) -> str | None:
    if decision in (None, Decision.UNSCORED):
        return None
    return "keep" if decision == Decision.KEEP else "not"


def _peoples_label(word: Word, name: str, decision: str, correction: dict[str, Any]) -> str | None:
    """The label that a person stands by: their correction, or the example's own where they kept it."""
    own = word.example.labels.get(name) if decision == Decision.KEEP else None
    return _text(correction.get(name, own))


def _text(value: object) -> str | None:
    return None if value is None else str(value)
