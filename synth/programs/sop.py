"""One request, one example that rests on an SOP: a dialogue over its outline, or a question about it."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from curation.checks import run_checks
from curation.courses import Fact
from curation.documents import Outline
from curation.records import QA, Completion, Dialogue, Finish, Generated, Malformed, Turn
from synth import tolerant
from synth.plan import Slot
from synth.programs.base import Ask, Asking, Candidate, Produced
from synth.sop_cases import told
from synth.sop_prompts import Bound


async def produce(prompt: Bound, slot: Slot, attempt: int, count: int, *, asking: Asking, ask: Ask) -> Produced:  # noqa: ARG001
    """Deal a case, ask for what is to be written about it, read the answer, and hold it against the outline."""
    grounding = prompt.groundings[str(slot.axes["document"])]
    visits = prompt.case(slot.axes, slot.language, slot.number, asking.seed)
    pick = prompt.pick(slot.axes, slot.language, slot.number, asking.seed)
    case = told(prompt.writes, visits, grounding.outline, slot, pick)
    request = asking.request(
        prompt, slot, attempt, messages=prompt.messages(slot.language, slot.axes, grounding, case),
        variables={"language": slot.language, "per_request": 1, **slot.axes},
        output_schema=prompt.output_schema() if asking.structured else None,
    )  # fmt: skip
    completion = await ask(request)
    if completion.finish in (Finish.REFUSAL, Finish.FILTER):
        return Produced(completion.finish, [], [])
    shown = tuple(image for image, _ in grounding.shown) if slot.axes["pages"] == "image" else ()
    example = read(
        completion, prompt.task, slot.language, grounding.outline, scenario=grounding.document.name, images=shown
    )
    if isinstance(example, str):
        return Produced(completion.finish, [], [Malformed(completion=completion.id, position=None, reason=example)])
    origin = Generated(
        completion=completion.id, position=0, prompt=prompt.name, axes=slot.axes, provider=request.provider,
        model=completion.model or request.model,
    )  # fmt: skip
    verdicts = run_checks(example, outlines={grounding.outline.id: grounding.outline})
    return Produced(completion.finish, [Candidate(example, origin, verdicts)], [])


# -- reading -----------------------------------------------------------------------------------------------------


class _Fact(BaseModel):
    model_config = ConfigDict(extra="forbid")
    step: str
    holds: str | bool


class _Told(BaseModel):
    model_config = ConfigDict(extra="forbid")
    cites: tuple[str, ...] = ()
    asks: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    facts: dict[str, str | bool] | tuple[_Fact, ...] = ()

    def annotation(self, outline: Outline, names: Sequence[str]) -> dict[str, Any] | None:
        found: dict[str, Any] = {
            name: list(value) for name in ("asks", "gives", "lacks") if name in names and (value := getattr(self, name))
        }
        facts = self.facts if isinstance(self.facts, dict) else {one.step: one.holds for one in self.facts}
        if facts and "facts" in names:
            found["facts"] = {step: _fact(outline, step, holds) for step, holds in facts.items()}
        return found or None


class _Turn(_Told):
    role: str
    content: str


class _Dialogue(BaseModel):
    model_config = ConfigDict(extra="forbid")
    turns: tuple[_Turn, ...]


class _Question(_Told):
    question: str
    answer: str


def _fact(outline: Outline, step: str, holds: str | bool) -> Fact:
    """`true` and `false` of a step with a condition are truth values, however they were written."""
    one = outline.step.get(step)
    if one is not None and one.when is not None and isinstance(holds, str):
        return {"true": True, "false": False}.get(holds.strip().lower(), holds)
    return holds


def read(
    completion: Completion, task: str, language: str, outline: Outline, *, scenario: str, images: tuple[str, ...]
) -> Dialogue | QA | str:
    """The example in an answer, or why there is none. A dialogue is read whole or not at all: half of one would end too early."""
    found = tolerant.only_object(completion.text, "turns" if task == "dialogue" else "question")
    if isinstance(found, str):
        return f"{found}, as it reached max_tokens" if completion.finish is Finish.LENGTH else found
    case = ("gives", "lacks", "facts")
    try:
        if task == "qa":
            asked = _Question.model_validate(found)
            note = asked.annotation(outline, (*case, "asks"))
            return QA(
                language=language, question=asked.question, answer=asked.answer, cites=asked.cites, outline=outline.id,
                annotation=note, images=images,
            )  # fmt: skip
        turns = tuple(
            Turn(
                role=turn.role, content=turn.content, cites=turn.cites if turn.role == "assistant" else (),
                annotation=turn.annotation(outline, ("asks",) if turn.role == "assistant" else case),
            )
            for turn in _Dialogue.model_validate(found).turns
        )  # fmt: skip
        return Dialogue(language=language, turns=turns, scenario=scenario, outline=outline.id, images=images)
    except ValidationError as error:
        first = error.errors()[0]
        return f"not a {task} example: {'.'.join(map(str, first['loc']))}: {first['msg']}"
