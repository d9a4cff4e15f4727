"""The conformance check: does a dialogue keep to the SOP that it cites?

The check walks the outline anew, from the first step, and never asks how the dialogue was made. Of the dialogue it reads the steps
that the assistant's turns cite, what those turns ask for (`asks`), and what the customer's turns and the tools' results tell of the case:
evidence shown (`gives`) or not to be had (`lacks`) and which conditions hold (`facts`). A decision may turn on evidence that is
lacking, an action may not. From the outline and these facts follows which step may come next; whatever else
the assistant does is a fault, laid to the turn that does it.

What it cannot see: whether the words of a turn say what the turn's annotation says, beyond three signs that only flag. A turn in the
SOP's own language should share a word with a step that it cites, or with evidence that it claims to show; words quoted in “ ” have to stand in
the SOP or earlier in the dialogue; so do numbers of two digits or more. A false sentence beside a true citation, a wrong tone, or a turn in
another language that quotes nothing passes. It is no better than the outline: a step that the outline lacks is missed by nobody. In a dialogue
without annotations order and step names are all it can judge, which makes it `unscored`, not right.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from curation.courses import Fact, between, entered, expected, reachable, undecided, valid_facts, ways_on
from curation.documents import Outline
from curation.records import QA, Dialogue, Turn
from curation.wording import content_words, numbers, shown

NAME, VERSION = "conformance", 1
_ENUMERATED = re.compile(r"^\s*\d+[.)、]", re.MULTILINE)
_QUOTED = re.compile("“([^“”]{4,})”")


class Kind(StrEnum):
    ORDER = "order"  # steps in another order than the SOP's
    SKIPPED = "skipped"  # a step, or the question whether its condition holds, was left out
    EVIDENCE = "evidence"  # acted before what has to be seen was seen
    INVENTED = "invented"  # no step of the SOP, or words that it does not have
    BRANCH = "branch"  # the way on that belongs to another answer
    OUTCOME = "outcome"  # ends otherwise than the SOP does


@dataclass(frozen=True, slots=True)
class Fault:
    turn: int  # counted from 1
    kind: Kind
    reason: str
    step: str | None = None
    sure: bool = True  # False: only a sign, for a person to look at


@dataclass(frozen=True, slots=True)
class Conformance:
    """What the check found. `score` is the share of judgements that went well: each step that a turn cites is one, and so is each
    step that should have been cited and was not. 1.0 means no fault at all."""

    score: float
    faults: tuple[Fault, ...]
    judged: int
    blind: bool = False  # no turn says what was seen or known, so only order and names were judged


@dataclass(slots=True)
class _Walk:
    outline: Outline
    blind: bool
    at: str | None = None
    visited: list[str] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)
    facts: dict[str, Fact] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)  # step -> place of its fault
    asked: bool = False  # the last turn of the assistant's asks for something
    judged: int = 0
    faults: list[Fault] = field(default_factory=list)
    blamed: set[tuple[str, str]] = field(default_factory=set)

    def fault(self, turn: int, kind: Kind, reason: str, step: str | None = None, *, sure: bool = True) -> None:
        self.faults.append(Fault(turn, kind, reason, step, sure))

    # -- what is told of the case --------------------------------------------------------------------------------

    def told(self, number: int, annotation: Mapping[str, object]) -> None:
        for told, names in ((self.seen, annotation.get("gives")), (self.lacking, annotation.get("lacks"))):
            for name in _words(names):
                if name in self.outline.wanted:
                    told.add(name)
                else:
                    self.fault(number, Kind.INVENTED, f"speaks of {name!r}, which is no evidence that the SOP wants")
        facts = annotation.get("facts")
        for step, fact in facts.items() if isinstance(facts, Mapping) else ():
            valid = valid_facts(self.outline, step)
            if any(fact is one or (fact == one and isinstance(fact, str)) for one in valid):
                self.facts[step] = fact
            else:
                what = f"the SOP knows {', '.join(map(repr, valid))}" if valid else "nothing turns on that step"
                self.fault(number, Kind.INVENTED, f"says {fact!r} of step {step!r}; {what}", step)

    # -- what the assistant does ---------------------------------------------------------------------------------

    def acts(self, number: int, cites: Iterable[str], asks: Iterable[str], *, aside: bool = False) -> None:
        cites, asks = tuple(dict.fromkeys(cites)), set(asks)
        if aside and cites:  # answers a question about the SOP: what it cites has to exist, and moves nothing on
            for step in cites:
                self.judged += 1
                if step not in self.outline.step:
                    self.fault(number, Kind.INVENTED, f"cites step {step!r}, which the SOP does not have", step)
            return
        self.asked = bool(asks)
        for name in sorted(asks - self.outline.wanted.keys() - self.outline.step.keys()):
            self.fault(number, Kind.INVENTED, f"asks for {name!r}, which the SOP does not know")
        if not cites:
            self.judged += 1
            self.fault(number, Kind.INVENTED, "rests on no step")
        for step in cites:
            self.judged += 1
            self._cite(number, step, cites)
        if self.at is not None and self.at in cites and not self.blind:
            self._without_evidence(number, self.at, asks)
            self._against_its_condition(number, self.at, asks)

    def _cite(self, number: int, to: str, cites: tuple[str, ...]) -> None:
        if to not in self.outline.step:
            self.fault(number, Kind.INVENTED, f"cites step {to!r}, which the SOP does not have", to)
            return
        if to == self.at:
            return
        nexts = expected(self.outline, self.at, self.facts)
        if to not in nexts:
            if to in self.visited and (self.at in cites or set(nexts) & set(cites)):
                self.judged -= 1  # an earlier step, named beside the present one as its ground
                return
            if self._misplaced(number, to):
                return
        if self.at is not None:
            self._leave(number, to)
        self.at = to
        self.visited.append(to)

    def _leave(self, number: int, to: str) -> None:
        assert self.at is not None
        self._without_evidence(number, self.at, set(), leaving=True)
        step = self.outline.step[self.at]
        if undecided(step, self.facts) and not self.blind and (self.at, "undecided") not in self.blamed:
            self.blamed.add((self.at, "undecided"))
            what = "the answer to it" if step.branches else f"whether {step.when!r} holds"
            self.fault(number, Kind.SKIPPED, f"goes on to step {to} without knowing {what} (step {self.at})", self.at)

    def _against_its_condition(self, number: int, step: str, asks: set[str]) -> None:
        when = self.outline.step[step].when
        if when is None or step in asks or (step, "undecided") in self.blamed:
            return
        if self.facts.get(step) is False:
            self.fault(number, Kind.BRANCH, f"takes step {step}, though its condition {when!r} does not hold", step)
        elif step not in self.facts:
            self.blamed.add((step, "undecided"))
            self.fault(number, Kind.SKIPPED, f"acts on step {step} without knowing whether {when!r} holds", step)

    def _without_evidence(self, number: int, step: str, asks: set[str], *, leaving: bool = False) -> None:
        if self.blind or self.facts.get(step) is False:
            return
        wanted = self.outline.step[step].evidence
        if not leaving and asks & {step, *wanted}:
            return  # still gathering what the step needs
        at_hand = self.seen | self.lacking if self.outline.step[step].kind == "decision" else self.seen
        for name in wanted:
            if name in at_hand or name in asks or (step, name) in self.blamed:
                continue
            self.blamed.add((step, name))
            text = self.outline.wanted[name].text
            how = "goes on from" if leaving else "acts on"
            self.fault(number, Kind.EVIDENCE, f"{how} step {step} without {text!r} ({name})", step)

    def _misplaced(self, number: int, to: str) -> bool:
        """Say what is wrong with going to a step that is not next; whether the walk stays where it is."""
        if to in self.skipped:
            place = self.skipped.pop(to)
            earlier = self.faults[place]
            self.faults[place] = Fault(
                earlier.turn, Kind.ORDER, f"comes before step {to}, which the SOP wants first", to
            )
            self.visited.append(to)
            return True
        if to in self.visited:
            self.fault(number, Kind.ORDER, f"goes back to step {to}, from which the SOP leads on", to)
            return True
        step = self.outline.step[to]
        nexts = expected(self.outline, self.at, self.facts)
        wanted = " or ".join(nexts) or "the end"
        here = self.outline.step[self.at] if self.at is not None else None
        wrong_way = Kind.OUTCOME if step.kind == "outcome" else Kind.BRANCH
        if step.when and self.facts.get(to) is False:
            self.fault(number, Kind.BRANCH, f"takes step {to}, though its condition {step.when!r} does not hold", to)
        elif here is not None and any(branch.to == to for branch in here.branches):
            self.fault(number, wrong_way, f"goes to step {to}; what is known leads to step {wanted}", to)
        elif (left_out := between(self.outline, self.at, to, self.facts)) is not None:
            for missing in left_out:
                if self.blind and self.outline.step[missing].when:
                    continue
                self.judged += 1
                self.skipped[missing] = len(self.faults)
                self.fault(
                    number, Kind.SKIPPED, f"leaves out step {missing} ({_short(self.outline, missing)})", missing
                )
        elif step.kind == "outcome":
            self.fault(number, Kind.OUTCOME, f"ends with step {to}; what is known leads to step {wanted}", to)
        elif any(to in reachable(self.outline, way) for way in self._other_ways()):
            self.fault(number, Kind.BRANCH, f"goes to step {to}; what is known leads to step {wanted}", to)
        else:
            self.fault(number, Kind.ORDER, f"goes to step {to}, which does not come after step {self.at}", to)
        return False

    def _other_ways(self) -> list[str]:
        """Where the decisions so far would have led on another answer."""
        found = []
        for name in self.visited:
            step = self.outline.step[name]
            taken = set(entered(self.outline, ways_on(self.outline, step, self.facts), self.facts))
            found += [way for way in ways_on(self.outline, step, {}) if way not in taken]
        return found

    def ends(self, number: int) -> None:
        """The dialogue may end at an outcome, where the outline does, or with a question that is open."""
        if self.at is None or self.asked:
            return
        nexts = expected(self.outline, self.at, self.facts)
        if nexts:
            self.judged += 1
            self.fault(number, Kind.OUTCOME, f"ends at step {self.at}; step {' or '.join(nexts)} is left", self.at)


def conformance(example: Dialogue | QA, outline: Outline) -> Conformance:
    """Walk a dialogue, or the case and answer of a question, over an outline.

    The answer to a question has to cite the steps in order from the first one on where its question tells of a case (`annotation`),
    and may stop at the step that needs what is not known; without a case its citations only have to exist.
    """
    if isinstance(example, QA):
        return _of_question(example, outline)
    told = [turn.annotation for turn in example.turns if turn.role != "assistant" and turn.annotation]
    walk = _Walk(
        outline, blind=not any(note.get("gives") or note.get("facts") for note in told) and not _asking(example)
    )
    last = 0
    for number, turn in enumerate(example.turns, 1):
        if turn.role == "assistant":
            note = turn.annotation or {}
            walk.acts(number, turn.cites, _words(note.get("asks")), aside=note.get("aside") is True)
            last = number
        elif turn.role != "system":
            walk.told(number, turn.annotation or {})
    walk.ends(last)
    walk.faults += _signs(example, outline)
    return _result(walk)


def _of_question(example: QA, outline: Outline) -> Conformance:
    if example.annotation is None:
        unknown = [name for name in example.cites if name not in outline.step]
        faults = [
            Fault(2, Kind.INVENTED, f"cites step {name!r}, which the SOP does not have", name) for name in unknown
        ]
        if not example.cites:
            faults = [Fault(2, Kind.INVENTED, "rests on no step")]
        walk = _Walk(outline, blind=False, judged=max(1, len(example.cites)), faults=faults)
    else:
        asks = _words(example.annotation.get("asks"))
        walk = _Walk(outline, blind=False)
        walk.told(1, example.annotation)
        walk.acts(2, example.cites, asks)
        walk.ends(2)
    turns = (
        Turn(role="user", content=example.question),
        Turn(role="assistant", content=example.answer, cites=example.cites),
    )
    as_dialogue = Dialogue(language=example.language, turns=turns)
    walk.faults += _signs(as_dialogue, outline, example.question)
    return _result(walk)


def _result(walk: _Walk) -> Conformance:
    sure = [fault for fault in walk.faults if fault.sure]
    judged = max(1, walk.judged, len(sure))
    score = 1 - len(sure) / judged
    if walk.faults and not sure:
        score = 1 - 0.5 / judged  # signs alone: doubtful, not wrong
    faults = sorted(walk.faults, key=lambda fault: fault.turn)
    return Conformance(round(score, 4), tuple(faults), judged, walk.blind)


def _signs(example: Dialogue, outline: Outline, asked: str = "") -> list[Fault]:
    """Words of the turns that do not fit their annotations; these only flag. `asked`: what an answer need not say again."""
    found: list[Fault] = []
    same = example.language.partition("-")[0] == outline.language.partition("-")[0]
    texts = [outline.title, *(step.text for step in outline.steps), *(one.text for one in outline.evidence)]
    texts += [branch.when for step in outline.steps for branch in step.branches] + [
        step.when or "" for step in outline.steps
    ]
    known = "\n".join(texts)
    said, known_numbers = _plain(known), numbers(known)
    known_numbers |= {one for step in outline.steps for one in (*numbers(step.id), str(step.place.page))}
    cited: set[str] = set()
    for number, turn in enumerate(example.turns, 1):
        if turn.role == "assistant":
            for quote in _QUOTED.findall(turn.content):
                if _plain(quote).strip(" .。") not in said:
                    why = f"quotes “{quote[:60]}”, which stands neither in the SOP nor earlier"
                    found.append(Fault(number, Kind.INVENTED, why, sure=False))
            if fresh := sorted(numbers(_ENUMERATED.sub("", turn.content)) - known_numbers):
                why = f"names {fresh[0]}, a number neither in the SOP nor earlier"
                found.append(Fault(number, Kind.INVENTED, why, sure=False))
            steps = [_all_words(outline, name) for name in turn.cites if name in outline.step and name not in cited]
            cited.update(turn.cites)
            text = f"{asked}\n{turn.content}"
            if same and steps and not any(shown(text, words) > 0 for words in steps):
                why = f"shares no word with step {', '.join(turn.cites)}"
                found.append(Fault(number, Kind.INVENTED, why, turn.cites[0], sure=False))
        elif same and turn.annotation:
            for name in _words(turn.annotation.get("gives")):
                text = outline.wanted[name].text if name in outline.wanted else ""
                if content_words(text) and not shown(turn.content, text):
                    why = f"is said to show {text!r} ({name}), of which it has no word"
                    found.append(Fault(number, Kind.EVIDENCE, why, sure=False))
        said += "\n" + _plain(turn.content)
        known_numbers |= numbers(turn.content)
    return found


def _all_words(outline: Outline, name: str) -> str:
    step = outline.step[name]
    evidence = [outline.wanted[one].text for one in step.evidence]
    return " ".join((step.text, step.when or "", *(branch.when for branch in step.branches), *evidence))


def _asking(example: Dialogue) -> bool:
    return any(turn.annotation and turn.annotation.get("asks") for turn in example.turns if turn.role == "assistant")


def _short(outline: Outline, step: str) -> str:
    text = " ".join(outline.step[step].text.split())
    return text if len(text) <= 60 else text[:57] + "..."


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _words(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()
