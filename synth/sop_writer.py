"""How the offline provider writes for an SOP: the case's way as turns, in phrases of the prompt's grammar.

What the SOP says is never made up. In the SOP's own language its steps are spoken (`synth.spoken`); in another they are quoted in “ ” as they stand, as
somebody does who serves customers in one language by a procedure in another. What the offline provider cannot do is translate a procedure.
"""

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curation.courses import Fact
from curation.documents import Outline, Step
from synth.cases import Visit
from synth.grammar import Voice
from synth.spoken import addressed, as_customer, instruction, spoken

OTHER = frozenset({"otherwise", "否则"})
REFERRED = 0.4  # of the agent's turns, where steps are spoken of
MOST_AT_ONCE = 3  # sentences of the agent before the customer has a word
_DETERMINED = re.compile(r"(?:an?|the|my|your|one|two|three|four|five|six|any|all|\d+)\b", re.IGNORECASE)
_OR = {"en": " or ", "zh": "，或者", "ms": " atau ", "ta": " அல்லது "}
_LETTERS = "abcdefgh"
_JOIN = {"zh": ""}
_SAID = {"ask": "inquire"}  # forms whose names mean something else among the phrases


@dataclass(slots=True)
class Writer:
    """Writes one dialogue.

    Args:
        voice: the prompt's phrases in the dialogue's language; `say` draws one.
    """

    voice: Voice
    outline: Outline
    language: str
    citing: bool  # whether the agent names steps and pages in so many words, now and then
    dice: random.Random
    turns: list[dict[str, Any]] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    facts: dict[str, Fact] = field(default_factory=dict)
    _words: list[str] = field(default_factory=list)
    _cites: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether the SOP is written in the dialogue's language."""
        return self.outline.language.partition("-")[0] == self.language

    def quoted(self, text: str) -> str:
        """Words of the SOP, as they can stand in a sentence of the dialogue's language."""
        text = " ".join(text.split()).strip(" .。;；")
        return _small(text) if self.same else f"“{text}”"

    def named(self, evidence: Sequence[str]) -> str:
        """Kinds of evidence, to stand in a sentence."""
        texts = [self.quoted(self.outline.wanted[name].text) for name in evidence]
        if self.same and self.language == "en":
            texts = [text if _DETERMINED.match(text) else f"the {text}" for text in texts]
        return listed(texts, self.language)

    # -- turns ---------------------------------------------------------------------------------------------------

    def user(self, *words: str, **annotation: Any) -> None:
        self._turn("user", words, {name: value for name, value in annotation.items() if value})

    def tool(self, found: Mapping[str, Any], **annotation: Any) -> None:
        kept = {name: value for name, value in annotation.items() if value}
        self.turns.append({"role": "tool", "content": json.dumps(found, ensure_ascii=False), **kept})

    def add(self, step: Step | str, *words: str) -> None:
        """Something to say in the agent's next turn, resting on a step."""
        name = step if isinstance(step, str) else step.id
        if name not in self._cites:
            self._cites.append(name)
        self._words += [word for word in words if word]

    def agent(self, *words: str, asks: Sequence[str] = ()) -> None:
        """The agent's turn: what was added, and these words."""
        said = [*self._words, *(word for word in words if word)]
        cites, self._words, self._cites = self._cites, [], []
        if self.citing and cites and self.dice.random() < REFERRED:
            said.append(self._reference(cites[-1]))
        self._turn("assistant", said, {"cites": cites, **({"asks": list(asks)} if asks else {})})

    def _turn(self, role: str, words: Sequence[str], more: Mapping[str, Any]) -> None:
        text = _JOIN.get(self.language, " ").join(word for word in words if word)
        self.turns.append({"role": role, "content": text, **more})

    def _reference(self, step: str) -> str:
        return self.voice.say("reference", step=step, page=self.outline.step[step].place.page)

    # -- a case --------------------------------------------------------------------------------------------------

    def follow(self, visits: Sequence[Visit]) -> None:
        """Go the whole way, asking for what each step wants when it is due."""
        for at, visit in enumerate(visits):
            self.visit(visit, visits[at + 1] if at + 1 < len(visits) else None)

    def visit(self, visit: Visit, following: Visit | None) -> None:
        step = visit.step
        if step.when is not None:
            self.find_out(visit)
            if not visit.taken:
                self.add(step, self.voice.say("skip", condition=self.quoted(step.when)))
                return
        early = self._asked_here(step, following) if step.kind == "action" and following is not None else []
        if step.kind != "outcome":
            theirs_now = any(
                self.outline.wanted[name].held_by == "customer" for name in step.evidence if name not in self.seen
            )
            self.do(step, asking=bool(early) or (step.kind == "action" and theirs_now))
        wanted = [name for name in step.evidence if name not in self.seen]
        theirs = [name for name in wanted if self.outline.wanted[name].held_by == "customer" or name in visit.lacks]
        records = [name for name in wanted if name not in theirs]
        if theirs:
            self._evidence_from_customer(step, theirs, visit.lacks)
        if records:
            self._look_up(step, records, visit.fact if step.branches and step.answered_by == "record" else None)
        if early := [name for name in early if name not in self.seen]:
            self._evidence_from_customer(step, early, ())
        if step.branches:
            if step.id not in self.facts or self.facts[step.id] != visit.fact:
                self.find_out(visit)
            self.decide(step, visit.fact)
        elif step.kind == "outcome":
            self.add(step, self.voice.say("end", outcome=self.quoted(step.text)))

    def _asked_here(self, step: Step, following: Visit) -> list[str]:
        """Evidence that the next step wants and this one tells the agent to ask for."""
        if not self._puts_a_question(step):
            return []
        return [
            name for name in following.step.evidence
            if name not in self.seen and name not in following.lacks and self.outline.wanted[name].held_by == "customer"
        ]  # fmt: skip

    def _puts_a_question(self, step: Step) -> bool:
        return any(one.form in ("ask", "want", "please") for one in spoken(step.text, self.outline.language))

    def do(self, step: Step, *, asking: bool = False) -> None:
        """Say what the agent does for a step, and let the customer answer where that is a question.

        Args:
            asking: the question is put right after this, by the name of the evidence that it asks for.
        """
        if len(self._words) >= MOST_AT_ONCE and step.id not in self._cites:
            self.agent()
            self.user(self.voice.say("aside"))
        if self.same:
            said = [
                self.voice.say(_SAID.get(one.form, one.form), text=one.text)
                for one in spoken(step.text, self.language) if not (asking and one.form in ("want", "please"))
            ]  # fmt: skip
        else:
            said = [self.voice.say("quote", text=self.quoted(text))] if (text := instruction(step.text)) else []
        if not said and not asking and step.kind == "action":
            said = [self.voice.say("quietly", step=step.id)]
        self.add(step, *said)
        if self._puts_a_question(step) and not asking and said:
            self.agent()
            self.user(self.voice.say("note"))
            self.add(step)

    def _evidence_from_customer(self, step: Step, names: Sequence[str], lacks: Sequence[str]) -> None:
        self.add(step, self.voice.say("ask", evidence=self.named(names)))
        self.agent(asks=names)
        given = [name for name in names if name not in lacks]
        words = []
        if given:
            words.append(self.voice.say("give", evidence=self.attached(given)))
        if missing := [name for name in names if name in lacks]:
            words.append(self.voice.say("lack", evidence=self.named(missing)))
        self.user(*words, gives=given, lacks=missing)
        self.seen.update(names)
        self.add(step)

    def attached(self, names: Sequence[str]) -> str:
        return " ".join(f"📎 {' '.join(self.outline.wanted[name].text.split())}" for name in names)

    def _look_up(self, step: Step, names: Sequence[str], fact: Fact | None) -> None:
        self.add(step, self.voice.say("look", evidence=self.named(names)))
        self.agent(asks=[*names, *([step.id] if fact is not None else [])])
        found: dict[str, Any] = {"records": [self.outline.wanted[name].text for name in names]}
        self._record(step, fact, found, gives=list(names))
        self.seen.update(names)

    def _record(self, step: Step, fact: Fact | None, found: dict[str, Any], **annotation: Any) -> None:
        if fact is not None:
            self.facts[step.id] = fact
            annotation["facts"] = {step.id: fact}
            found["found"] = self._finding(step, fact)
        self.tool(found, **annotation)
        self.add(step)

    def _finding(self, step: Step, fact: Fact) -> str | dict[str, bool]:
        if fact in OTHER:
            return {branch.when: False for branch in step.branches if branch.when not in OTHER}
        return fact if isinstance(fact, str) else {step.when or "": fact}

    def find_out(self, visit: Visit) -> None:
        """Have the customer, or a record, say which condition holds."""
        step, fact = visit.step, visit.fact
        assert fact is not None
        if step.answered_by == "record":
            self.add(step, self.voice.say("check", condition=self.conditions(step)))
            self.agent(asks=[step.id])
            self._record(step, fact, {"step": step.id})
            return
        options = self.question(step)
        self.agent(asks=[step.id])
        if len(options) == 1:
            yes = fact is True or fact == options[0]
            words = as_customer(options[0], self.language) if self.same else self.quoted(options[0])
            self.user(self.voice.say("yes" if yes else "no", condition=words), facts={step.id: fact})
        elif fact in options:
            words = as_customer(str(fact), self.language) if self.same else self.quoted(str(fact))
            self.user(
                self.voice.say("pick", letter=_LETTERS[options.index(str(fact))], condition=words),
                facts={step.id: fact},
            )
        else:
            self.user(self.voice.say("none"), facts={step.id: fact})
        self.facts[step.id] = fact
        self.add(step)

    def question(self, step: Step) -> list[str]:
        """Ask the customer which condition of a step holds; the conditions."""
        options = [branch.when for branch in step.branches if branch.when not in OTHER] or [step.when or ""]
        if len(options) == 1:
            self.add(step, self.voice.say("is_it_so", condition=self._to_customer(options[0])))
        else:
            shown = "; ".join(f"({_LETTERS[at]}) {self._to_customer(one)}" for at, one in enumerate(options))
            self.add(step, self.voice.say("which", options=shown))
        return options

    def none_of(self, step: Step) -> str:
        """The case in which no branch but `otherwise` is right, in words."""
        return {
            "en": "none of this holds: {}",
            "zh": "以下都不成立：{}",
            "ms": "tiada satu pun benar: {}",
            "ta": "இவை எதுவும் இல்லை: {}",
        }[self.language].format(self.conditions(step))

    def conditions(self, step: Step) -> str:
        options = [branch.when for branch in step.branches if branch.when not in OTHER] or [step.when or ""]
        return _OR.get(self.language, " / ").join(self.quoted(one) for one in options)

    def _to_customer(self, condition: str) -> str:
        return addressed(condition, self.language) if self.same else self.quoted(condition)

    def decide(self, step: Step, fact: Fact | None) -> None:
        to = next((branch.to for branch in step.branches if branch.when == fact), step.id)
        if fact in OTHER:
            self.add(step, self.voice.say("decide_not", condition=self.conditions(step), step=step.id, to=to))
        else:
            words = self._to_customer(str(fact))
            self.add(step, self.voice.say("decide", condition=words, step=step.id, to=to))


def _small(text: str) -> str:
    """A text that goes on a sentence: no capital, unless it is a name or an abbreviation."""
    return text[0].lower() + text[1:] if len(text) > 1 and text[0].isupper() and not text[1].isupper() else text


def listed(texts: Sequence[str], language: str) -> str:
    return ("、" if language == "zh" else "; ").join(texts)


def first_sentence(text: str) -> str:
    text = " ".join(text.split())
    for end in ("。", ". "):
        if (place := text.find(end)) > 0:
            return text[: place + 1].strip(" .。")
    return text.strip(" .。")
