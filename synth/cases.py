"""Cases for an SOP: what is true of one, dealt so that every branch comes up equally often, and the way it takes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from curation.courses import Fact, to_the_end, valid_facts, ways_on
from curation.documents import Outline, Step
from curation.wording import content_words, shown
from synth.plan import dealt

MOST_STEPS = 200
MOST_WAYS = 200


@dataclass(frozen=True, slots=True)
class Visit:
    """A step on the way of a case, and what is found there."""

    step: Step
    fact: Fact | None  # of a decision or condition
    lacks: tuple[str, ...] = ()  # evidence that the customer cannot show

    @property
    def taken(self) -> bool:
        return self.fact is not False


def case(outline: Outline, place: int, *, seed: int, salt: str) -> tuple[Visit, ...]:
    """The way of case number `place`: from the first step to an end.

    Every second case takes one of the ways through the decisions, dealt from a deck of all of them, so that what lies behind many decisions
    is reached as often as what lies behind few. In the others each decision has a deck of its own answers, so that its branches are taken
    equally often. Conditions of single steps always have one. Where a way comes back to a decision, the next answer holds, and at last the
    one that is nearest to an end.
    """
    answers: dict[str, str] = {}
    if place % 2 and (ways := _ways(outline)):
        answers = dict(ways[dealt(place // 2, seed=seed, salt=salt, axis="way", size=len(ways))])
    ending = to_the_end(outline)
    visits: list[Visit] = []
    times: Counter[str] = Counter()
    at: str | None = outline.steps[0].id
    while at is not None and len(visits) < MOST_STEPS:
        step = outline.step[at]
        fact: Fact | None = answers.pop(at, None)
        if fact is None:
            fact = _fact(outline, step, place // 2, times[at], ending, seed=seed, salt=salt)
        times[at] += 1
        visits.append(Visit(step, fact, lacking(outline, step, fact)))
        known = {at: fact} if fact is not None else {}
        at = next(iter(ways_on(outline, step, known)), None)
    return tuple(visits)


@lru_cache(maxsize=256)
def _ways(outline: Outline) -> tuple[tuple[tuple[str, str], ...], ...]:
    """The answers of each way through the decisions, no decision taken twice; none, where they are too many to deal."""
    found: list[tuple[tuple[str, str], ...]] = []

    def go(at: str | None, answers: tuple[tuple[str, str], ...]) -> None:
        while at is not None and not outline.step[at].branches:
            at = next(iter(ways_on(outline, outline.step[at], {at: True})), None)
        if len(found) > MOST_WAYS:
            return
        if at is None or at in dict(answers):
            found.append(answers)
            return
        for branch in outline.step[at].branches:
            go(branch.to, (*answers, (at, branch.when)))

    go(outline.steps[0].id, ())
    return tuple(found) if len(found) <= MOST_WAYS else ()


def _fact(
    outline: Outline, step: Step, place: int, time: int, ending: Mapping[str, int], *, seed: int, salt: str
) -> Fact | None:
    known = valid_facts(outline, step.id)
    if not known:
        return None
    if time >= len(known):
        far = len(outline.steps)
        return min(
            known,
            key=lambda fact: min((ending.get(way, far) for way in ways_on(outline, step, {step.id: fact})), default=0),
        )
    return known[(dealt(place, seed=seed, salt=salt, axis=step.id, size=len(known)) + time) % len(known)]


def lacking(outline: Outline, step: Step, fact: Fact | None) -> tuple[str, ...]:
    """The evidence that cannot be there when this answer holds: another branch speaks of it, and this one does not."""
    if not isinstance(fact, str) or step.answered_by != "customer":
        return ()
    others = [branch.when for branch in step.branches if branch.when != fact]
    found = []
    for name in step.evidence:
        words = content_words(outline.wanted[name].text)
        spoken_of = any(words & content_words(other) for other in others)
        if spoken_of and not shown(fact, outline.wanted[name].text):
            found.append(name)
    return tuple(found)
