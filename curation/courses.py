"""The ways through an outline: which step comes next, given what is known of a case."""

from collections import deque
from collections.abc import Iterator, Mapping

from curation.documents import Outline, Step

Fact = str | bool
Facts = Mapping[str, Fact]  # decision -> the `when` of the branch that holds; step with a condition -> whether it holds


def valid_facts(outline: Outline, step: str) -> tuple[Fact, ...]:
    """What can be said of a step: the words of its branches, or whether its condition holds; nothing for other steps."""
    known = outline.step.get(step)
    if known is None:
        return ()
    if known.branches:
        return tuple(branch.when for branch in known.branches)
    return (True, False) if known.when else ()


def undecided(step: Step, facts: Facts) -> bool:
    """Whether what the step turns on is not known yet."""
    return bool(step.branches or step.when) and step.id not in facts


def ways_on(outline: Outline, step: Step, facts: Facts, *, skipping: bool = False) -> list[str]:
    """The steps that may come after this one: one, none at an end, or several where a decision's answer is not known.

    Args:
        skipping: the step is not taken, as its condition does not hold; so too where the facts say so.
    """
    skipping = skipping or (step.when is not None and facts.get(step.id) is False)
    if step.kind == "outcome" and not skipping and (step.when is None or step.id in facts):
        return []
    if step.branches and not skipping:
        fact = facts.get(step.id)
        return list(dict.fromkeys(branch.to for branch in step.branches if fact is None or branch.when == fact))
    following = outline.following(step)
    to = step.then if step.then and not skipping else following
    ways = [to, following] if step.when is not None and step.id not in facts else [to]
    return list(dict.fromkeys(way for way in ways if way is not None))


def entered(outline: Outline, ways: list[str], facts: Facts) -> list[str]:
    """The same ways with the steps left out whose condition is known not to hold."""
    found: dict[str, None] = {}
    for way in ways:
        at: str | None = way
        while at is not None and outline.step[at].when and facts.get(at) is False:
            at = outline.following(outline.step[at])
        if at is not None:
            found[at] = None
    return list(found)


def expected(outline: Outline, at: str | None, facts: Facts) -> list[str]:
    """The steps that may be taken after `at`; the first ones if that is None."""
    ways = [outline.steps[0].id] if at is None else ways_on(outline, outline.step[at], facts)
    return entered(outline, ways, facts)


def between(outline: Outline, at: str | None, to: str, facts: Facts) -> list[str] | None:
    """The steps that lie between two on the shortest way that the facts allow; None if there is no such way.

    Steps with a condition nobody knows of lie on the way: whether they apply has to be asked.
    """
    queue: deque[tuple[str, tuple[str, ...]]] = deque((way, ()) for way in expected(outline, at, facts))
    seen: set[str] = set()
    while queue:
        step, before = queue.popleft()
        if step == to:
            return list(before)
        if step not in seen:
            seen.add(step)
            queue.extend((way, (*before, step)) for way in expected(outline, step, facts))
    return None


def reachable(outline: Outline, start: str) -> set[str]:
    """Every step that can come at or after `start`, whatever the case."""
    found, left = {start}, [start]
    while left:
        step = outline.step[left.pop()]
        for way in ways_on(outline, step, {}):
            if way not in found:
                found.add(way)
                left.append(way)
    return found


def to_the_end(outline: Outline) -> dict[str, int]:
    """step -> the fewest steps from it to an end. Steps that no way leads on from to an end are left out."""
    before: dict[str, list[str]] = {}
    ends: list[str] = []
    for step in outline.steps:
        ways = ways_on(outline, step, {})
        if not ways:
            ends.append(step.id)
        for way in ways:
            before.setdefault(way, []).append(step.id)
    found = dict.fromkeys(ends, 0)
    queue = deque(ends)
    while queue:
        step_id = queue.popleft()
        for earlier in before.get(step_id, ()):
            if earlier not in found:
                found[earlier] = found[step_id] + 1
                queue.append(earlier)
    return found


def flaws(outline: Outline) -> Iterator[str]:
    """What makes an outline odd, though it can be read: steps that nothing leads to, ways that never end."""
    there = reachable(outline, outline.steps[0].id)
    for step in outline.steps:
        if step.id not in there:
            yield f"step {step.id}: nothing leads to it"
    ending = to_the_end(outline)
    for step in outline.steps:
        if step.id in there and step.id not in ending:
            yield f"step {step.id}: no way leads from it to an end"
    used = {wanted for step in outline.steps for wanted in step.evidence}
    for one in outline.evidence:
        if one.id not in used:
            yield f"evidence {one.id}: no step wants it"
