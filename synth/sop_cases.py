"""What an SOP prompt tells a model of the case it has to write about, and where in it the question lies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from curation.documents import Outline, Step
from synth.cases import Visit
from synth.plan import Slot


@dataclass(frozen=True, slots=True)
class Stop:
    """Where a case stands: the step that waits, the ways gone before it, and what it waits for."""

    before: tuple[Visit, ...]
    visit: Visit
    asks: tuple[str, ...]  # ids of evidence, or of the step whose answer is wanted; () at an end

    @property
    def step(self) -> Step:
        return self.visit.step


def told(
    writes: str, visits: Sequence[Visit], outline: Outline, slot: Slot, pick: Callable[[int], int]
) -> dict[str, object]:
    """The case as JSON for the model."""
    if writes == "dialogue":
        return {"way": _way(visits)}
    if writes == "understanding":
        found = topic(outline, str(slot.axes["about"]), pick)
        return {"about": slot.axes["about"], "steps": [step.id for step in found]}
    wanted = "any" if writes == "robustness" else str(slot.axes["stops"])
    stop = stop_of(visits, outline, wanted, pick)
    shown = evidence_before(stop, outline)
    return {
        "done": _way(stop.before), "shown": shown, "waits_at": stop.step.id, "asks": list(stop.asks),
    }  # fmt: skip


def _way(visits: Sequence[Visit]) -> list[dict[str, object]]:
    way = []
    for visit in visits:
        one: dict[str, object] = {"step": visit.step.id}
        if visit.fact is not None:
            one["holds"] = visit.fact
        if visit.lacks:
            one["lacks"] = list(visit.lacks)
        way.append(one)
    return way


def stop_of(visits: Sequence[Visit], outline: Outline, wanted: str, pick: Callable[[int], int]) -> Stop:
    """One of the places where a case may stand: before evidence has come, before an answer is known, or at its end.

    Args:
        wanted: `evidence`, `answer`, `end`, or `any` of the first two; where the way has no such place, the end.
        pick: deals one of so many.
    """
    found: list[Stop] = []
    for at, visit in enumerate(visits):
        step, before = visit.step, tuple(visits[:at])
        if any(one.step.id == step.id for one in before):
            break  # a loop: what is asked again was known before
        known = {name for one in before for name in one.step.evidence}
        missing = tuple(name for name in step.evidence if name not in known)
        conditional = step.when is not None
        if missing and not conditional and wanted in ("evidence", "any"):
            found.append(Stop(before, visit, missing))
        if visit.fact is not None and (conditional or not visit.lacks) and wanted in ("answer", "any"):
            found.append(Stop(before, visit, (step.id,)))
    if wanted == "any":  # to hold out is harder where the customer is the one who has to come up with something
        theirs = [stop for stop in found if _theirs(stop, outline)]
        found = theirs or found
    if not found:
        return Stop(tuple(visits[:-1]), visits[-1], ())
    return found[pick(len(found))]


def _theirs(stop: Stop, outline: Outline) -> bool:
    if stop.asks == (stop.step.id,):
        return stop.step.answered_by == "customer"
    return all(outline.wanted[name].held_by == "customer" for name in stop.asks)


def evidence_before(stop: Stop, outline: Outline) -> list[str]:
    """The evidence that is at hand when the case stands there."""
    before = [name for one in stop.before if one.taken for name in one.step.evidence if name not in one.lacks]
    here = [name for name in stop.step.evidence if name not in stop.asks] if stop.visit.taken or stop.asks else []
    return [name for name in outline.wanted if name in (*before, *here)]


def lacking_before(stop: Stop) -> list[str]:
    return [name for one in stop.before for name in one.lacks]


def topic(outline: Outline, about: str, pick: Callable[[int], int]) -> tuple[Step, ...]:
    """The steps that a question of a kind is about; any step that has one after it, where the SOP has none of the kind."""
    steps = outline.steps
    pairs = [
        (step, outline.step[after])
        for step in steps
        if step.kind == "action" and (after := step.then or outline.following(step))
    ]
    if about == "evidence":
        found = [(step,) for step in steps if step.evidence]
    elif about == "branch":
        found = [(step, outline.step[branch.to]) for step in steps for branch in step.branches]  # type: ignore[misc]
    elif about == "condition":
        found = [(step,) for step in steps if step.when is not None]
    elif about == "place":
        found = [(step,) for step in steps]
    else:
        found = pairs  # type: ignore[assignment]
    found = found or pairs or [(steps[0],)]  # type: ignore[assignment]
    return found[pick(len(found))]
