"""Cases for an SOP: what is true of one, dealt so that every branch comes up equally often, and the way it takes."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from curation.courses import Fact, to_the_end, valid_facts, ways_on
from curation.documents import Outline, Step
from curation.wording import content_words, shown
from synth.plan import dealt

MOST_STEPS = 200


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

    Each decision and each condition has a deck of its own answers, dealt over and over, so that any run of cases covers the answers of each
    evenly. Where a way comes back to a decision, the next answer holds, and at last the one that is nearest to an end.
    """
    ending = to_the_end(outline)
    visits: list[Visit] = []
    times: Counter[str] = Counter()
    at: str | None = outline.steps[0].id
    while at is not None and len(visits) < MOST_STEPS:
        step = outline.step[at]
        fact = _fact(outline, step, place, times[at], ending, seed=seed, salt=salt)
        times[at] += 1
        visits.append(Visit(step, fact, lacking(outline, step, fact)))
        known = {at: fact} if fact is not None else {}
        at = next(iter(ways_on(outline, step, known)), None)
    return tuple(visits)


def _fact(
    outline: Outline, step: Step, place: int, time: int, ending: Mapping[str, int], *, seed: int, salt: str
) -> Fact | None:
    known = valid_facts(outline, step.id)
    if not known:
        return None
    if time >= len(known):
        far = len(outline.steps)
        return min(
            known, key=lambda fact: min((ending.get(way, far) for way in ways_on(outline, step, {step.id: fact})), default=0)
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
