"""The conformance check: silent on what conforms, and six kinds of planted faults are found, each laid to its turn."""

import random
from collections import Counter
from collections.abc import Callable
from functools import lru_cache

import pytest

from curation.checks import CONFORMANCE, run_checks
from curation.conformance import Kind, conformance
from curation.courses import flaws
from curation.documents import Outline
from curation.records import QA, Decision, Dialogue, Turn
from synth.cases import Visit, case
from tests.sop_kit import NAMES, outline

CASES = 40  # of each SOP


@lru_cache(maxsize=512)
def way(name: str, place: int) -> tuple[Visit, ...]:
    return case(outline(name), place, seed=3, salt=name)


def says(sop: Outline, *steps: str) -> str:
    """Words for a turn that cites these steps."""
    return " ".join(sop.step[name].text if name in sop.step else name for name in steps)


def clean(name: str, place: int) -> Dialogue:
    """A dialogue of the plainest kind, written without the offline provider: a turn a step, asked for and told one by one."""
    sop = outline(name)
    turns = [Turn(role="user", content="I need help.")]
    for visit in way(name, place):
        step = visit.step
        asks = [*step.evidence, *([step.id] if visit.fact is not None else [])]
        if asks:
            turns.append(
                Turn(role="assistant", content=says(sop, step.id), cites=(step.id,), annotation={"asks": asks})
            )
            gives = [one for one in step.evidence if one not in visit.lacks]
            told = {"gives": gives, "lacks": list(visit.lacks)} | (
                {"facts": {step.id: visit.fact}} if visit.fact is not None else {}
            )
            words = " ".join(sop.wanted[one].text for one in step.evidence)
            turns.append(Turn(role="user", content=f"Here. {words}", annotation={k: v for k, v in told.items() if v}))
        if visit.taken:
            turns.append(Turn(role="assistant", content=says(sop, step.id), cites=(step.id,)))
            if visit.step.kind != "outcome":
                turns.append(Turn(role="user", content="All right."))
    return of(sop, turns)


def of(sop: Outline, turns: list[Turn], language: str | None = None) -> Dialogue:
    return Dialogue(language=language or sop.language, turns=tuple(turns), scenario="x", outline=sop.id)


DIALOGUES = [(name, place) for name in NAMES for place in range(CASES)]


def test_the_outlines_of_the_shipped_sops_are_sound() -> None:
    for name in NAMES:
        assert list(flaws(outline(name))) == []


def test_clean_dialogues_conform() -> None:
    steps: Counter[str] = Counter()
    for name, place in DIALOGUES:
        found = conformance(clean(name, place), outline(name))
        assert (found.faults, found.score, found.blind) == ((), 1.0, False), (name, place, found.faults)
        steps.update(f"{name} {visit.step.id}" for visit in way(name, place))
    assert len(steps) == sum(len(outline(name).steps) for name in NAMES)  # every step of every SOP was walked


# -- planting: each gives the spoilt dialogue and the turns that are at fault; None where a dialogue has no place for it -----

Planted = tuple[Dialogue, set[int]]


def doing(dialogue: Dialogue) -> list[int]:
    """Places of turns that do a step, and do not ask."""
    return [at for at, turn in enumerate(dialogue.turns) if turn.role == "assistant" and not turn.annotation]


def blocks(dialogue: Dialogue) -> list[list[Turn]]:
    """The turns about each step, with the customer's answers; the opening is a block of its own."""
    found = [[dialogue.turns[0]]]
    for turn in dialogue.turns[1:]:
        if turn.cites and turn.cites != next((one.cites for one in found[-1] if one.cites), None):
            found.append([])
        found[-1].append(turn)
    return found


def order(sop: Outline, dialogue: Dialogue, dice: random.Random) -> Planted | None:
    """Two steps that follow each other change places."""
    parts = blocks(dialogue)
    if len(parts) < 4:
        return None
    at = dice.randrange(1, len(parts) - 2)
    parts[at], parts[at + 1] = parts[at + 1], parts[at]
    return of(sop, [turn for part in parts for turn in part]), {sum(map(len, parts[:at])) + 1}


def skipped(sop: Outline, dialogue: Dialogue, dice: random.Random) -> Planted | None:
    """All turns about one step go; a step at the end would only make the dialogue shorter."""
    steps = list(dict.fromkeys(turn.cites[0] for turn in dialogue.turns if turn.cites))[:-1]
    if not steps:
        return None
    gone = dice.choice(steps)
    kept: list[Turn] = []
    at = None
    drop_answer = False
    for turn in dialogue.turns:
        if turn.cites == (gone,):
            drop_answer = True
            at = at or len(kept) + 1
            continue
        if turn.role == "user" and drop_answer:
            drop_answer = False
            continue
        drop_answer = False
        kept.append(turn)
    return of(sop, kept), {at or 0}


def evidence(sop: Outline, dialogue: Dialogue, dice: random.Random) -> Planted | None:
    """What the customer showed was never shown."""
    turns = list(dialogue.turns)
    giving = [
        at for at, turn in enumerate(turns)
        if turn.role == "user" and (note := turn.annotation or {}).get("gives") and False not in note.get("facts", {}).values()
    ]  # fmt: skip
    if not giving:
        return None
    at = dice.choice(giving)
    told = {name: value for name, value in (turns[at].annotation or {}).items() if name != "gives"}
    turns[at] = turns[at].model_copy(update={"content": "Later.", "annotation": told or None})
    return of(sop, turns), {at + 2, at + 3, at + 4}


def invented(sop: Outline, dialogue: Dialogue, dice: random.Random) -> Planted | None:
    """A turn that rests on no step, on one that is not there, or asks for what the SOP does not know."""
    turns = list(dialogue.turns)
    at = dice.choice(doing(dialogue))
    fresh = dice.choice((
        Turn(role="assistant", content="Please pay a fee of five dollars first."),
        Turn(role="assistant", content="Step 99 wants a fee.", cites=("99",)),
        Turn(role="assistant", content=says(sop, *turns[at].cites), cites=turns[at].cites, annotation={"asks": ["E99"]}),
    ))  # fmt: skip
    turns[at + 1 : at + 1] = [Turn(role="user", content="And now?"), fresh, Turn(role="user", content="Fine.")]
    if at + 4 >= len(turns):  # it should not be the open question that a dialogue may end with
        turns.append(Turn(role="assistant", content=says(sop, *turns[at].cites), cites=turns[at].cites))
    return of(sop, turns), {at + 3}


def other_way(sop: Outline, dialogue: Dialogue, dice: random.Random, *, to_outcome: bool) -> Planted | None:
    """What is known at a decision is turned round, and the agent goes on as before."""
    turns = list(dialogue.turns)
    found = []
    for at, turn in enumerate(turns):
        for step, fact in ((turn.annotation or {}).get("facts") or {}).items():
            taken = next((branch.to for branch in sop.step[step].branches if branch.when == fact), None)
            for branch in sop.step[step].branches:
                if taken is not None and branch.to != taken and (sop.step[taken].kind == "outcome") == to_outcome:
                    found.append((at, step, branch.when))
    if not found:
        return None
    at, step, fact = dice.choice(found)
    told = {**(turns[at].annotation or {}), "facts": {step: fact}}
    turns[at] = turns[at].model_copy(update={"annotation": told})
    return of(sop, turns), {at + 2, at + 3, at + 4}


def branch(sop: Outline, dialogue: Dialogue, dice: random.Random) -> Planted | None:
    return other_way(sop, dialogue, dice, to_outcome=False)


def outcome(sop: Outline, dialogue: Dialogue, dice: random.Random) -> Planted | None:
    """It ends with an outcome of another way, or before there is any."""
    turns = list(dialogue.turns)
    last = turns[-1].cites[0]
    others = [step.id for step in sop.steps if step.kind == "outcome" and step.id != last]
    if dice.random() < 0.3 and len(turns) > 3 and turns[-3].cites and not turns[-3].annotation:
        return of(sop, turns[:-2]), {len(turns) - 2}
    wrong = dice.choice(others)
    turns[-1] = turns[-1].model_copy(update={"cites": (wrong,), "content": says(sop, wrong)})
    return of(sop, turns), {len(turns)}


PLANTS: dict[Kind, Callable[[Outline, Dialogue, random.Random], Planted | None]] = {
    Kind.ORDER: order, Kind.SKIPPED: skipped, Kind.EVIDENCE: evidence, Kind.INVENTED: invented, Kind.BRANCH: branch,
    Kind.OUTCOME: outcome,
}  # fmt: skip


@pytest.mark.parametrize("kind", list(Kind))
def test_every_planted_fault_is_found_at_its_turn(kind: Kind) -> None:
    planted: Counter[str] = Counter()
    for name, place in DIALOGUES:
        sop, dice = outline(name), random.Random(f"{kind}/{name}/{place}")
        made = PLANTS[kind](sop, clean(name, place), dice)
        if made is None:
            continue
        spoilt, turns = made
        found = conformance(spoilt, sop)
        assert found.score < 1.0, (name, place)
        blamed = {fault.turn for fault in found.faults if fault.kind is kind and fault.sure}
        assert blamed & turns, (name, place, turns, found.faults)
        verdict = next(v for v in run_checks(spoilt, outlines={sop.id: sop}) if v.by == CONFORMANCE)
        assert verdict.decision is Decision.DROP
        assert f"turn {min(blamed)} " in verdict.reason or len(found.faults) > 3
        planted[name] += 1
    assert set(planted) == set(NAMES)
    assert sum(planted.values()) >= 100, planted


# -- by hand -------------------------------------------------------------------------------------------------------


def test_words_that_do_not_fit_their_annotations_are_flagged() -> None:
    sop = outline("returns_abuse")
    dialogue = clean("returns_abuse", 2)
    at = doing(dialogue)[2]

    def with_words(words: str) -> Decision:
        turns = list(dialogue.turns)
        turns[at] = turns[at].model_copy(update={"content": words})
        spoilt = of(sop, turns)
        return next(v for v in run_checks(spoilt, outlines={sop.id: sop}) if v.by == CONFORMANCE).decision

    own = dialogue.turns[at].content
    assert with_words(own) is Decision.KEEP
    assert with_words(f"{own} It costs 4,750 dollars.") is Decision.FLAG
    assert with_words(f"{own} As it says: “gold members pay nothing”.") is Decision.FLAG


def test_a_dialogue_without_annotations_is_unscored_not_right() -> None:
    sop = outline("account_takeover")
    cites = [visit.step.id for visit in way("account_takeover", 4) if visit.taken]
    turns = [Turn(role="user", content="Help.")]
    for step in cites:
        turns += [Turn(role="assistant", content=says(sop, step), cites=(step,)), Turn(role="user", content="Yes.")]
    found = conformance(of(sop, turns[:-1]), sop)
    assert (found.faults, found.blind) == ((), True)
    (_, verdict) = run_checks(of(sop, turns[:-1]), outlines={sop.id: sop})
    assert verdict.decision is Decision.UNSCORED
    backwards = of(sop, [turns[0], *turns[3:5], *turns[1:3], *turns[5:-1]])
    assert any(fault.kind is Kind.ORDER for fault in conformance(backwards, sop).faults)


def test_an_outline_that_is_not_there_leaves_it_unscored() -> None:
    dialogue = clean("returns_abuse", 0)
    verdict = run_checks(dialogue, outlines={})[-1]
    assert (verdict.by, verdict.decision) == (CONFORMANCE, Decision.UNSCORED)
    assert all(verdict.by != CONFORMANCE for verdict in run_checks(dialogue))


def test_a_question_s_answer_may_stop_where_something_is_missing_and_nowhere_else() -> None:
    sop = outline("returns_abuse")

    def answered(*cites: str, **annotation: object) -> set[Kind]:
        example = QA(
            language="en",
            question="What now?",
            answer=says(sop, *cites),
            cites=cites,
            outline=sop.id,
            annotation=annotation or None,
        )
        return {fault.kind for fault in conformance(example, sop).faults if fault.sure}

    facts = {"1.2": "otherwise"}
    assert answered("1.1", "1.2", asks=["E1"]) == set()
    assert answered("1.1", "1.2", "2.1", "2.2", gives=["E1"], facts=facts, asks=["E2"]) == set()
    assert answered("1.1", "1.2", "2.1", gives=["E1"], facts=facts) == {Kind.OUTCOME}
    assert answered("1.1", "1.2", "2.1", "2.2", facts=facts, asks=["E2"]) == {Kind.EVIDENCE}
    assert Kind.SKIPPED in answered("1.1", "2.1", "2.2", gives=["E1"], facts=facts, asks=["E2"])
    assert answered("4.2") == set()  # a question about the text cites what it is about
    assert answered("42") == {Kind.INVENTED}
    assert answered() == {Kind.INVENTED}
