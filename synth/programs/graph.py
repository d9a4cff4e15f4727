"""A walk over a dialogue graph, played turn by turn: each turn, and each search query, is a question to a model.

The walk, the documents and the slots are drawn beforehand from the seed and the place of the plan, so annotations are right by
construction; what a model answers are words. A turn that cannot be read is kept as `Malformed` and asked for again with the reason; when
it comes back wrong too often, the attempt ends there, and the dialogue is begun anew.
"""

import json
import random
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from curation.checks import run_checks
from curation.records import Completion, Dialogue, Finish, Generated, Malformed, Message, Turn
from synth import parse
from synth.dialogue_prompt import FIELDS, WHOLE, GraphPrompt, details
from synth.plan import Slot
from synth.programs.base import Ask, Asking, Candidate, Produced, Value
from synth.scene import Need, play

TRIES = 3  # of a turn
_DIGITS = re.compile(r"\d+(?:[.,]\d+)?")
_SPEAKER = re.compile(r"\s*(?:user|assistant|system|customer|agent)\s*[:：]", re.IGNORECASE)


async def produce(prompt: GraphPrompt, slot: Slot, attempt: int, count: int, *, asking: Asking, ask: Ask) -> Produced:  # noqa: ARG001
    """One dialogue."""
    if prompt.baseline:
        return await _at_once(prompt, slot, attempt, asking=asking, ask=ask)
    walk = prompt.walker(asking.seed).walk(slot.number)
    rng = random.Random(f"{prompt.name}/{asking.seed}/{slot.number}/{attempt}")
    scene = play(prompt.plot, prompt.corpora, walk, slot.language, rng, prompt.embedder)
    text: str | None = None
    completion: Completion | None = None
    malformed: list[Malformed] = []
    while True:
        try:
            need = next(scene) if text is None else scene.send(text)
        except StopIteration as ended:
            assert completion is not None  # a walk has a turn
            return Produced(Finish.STOP, [_candidate(prompt, slot, ended.value, asking, completion)], malformed)
        text, why = None, ""
        for _ in range(TRIES):
            completion = said = await ask(
                asking.request(
                    prompt, slot, attempt, messages=prompt.messages(need, slot.language, slot.axes, why),
                    model=_model(prompt, slot, need), variables=_variables(slot, need.kind, need),
                    output_schema=_schema(need.kind) if asking.structured else None,
                )
            )  # fmt: skip
            if said.finish in (Finish.REFUSAL, Finish.FILTER):
                return Produced(said.finish, [], malformed)
            text, wrong = _read(said, need)
            if wrong is None:
                break
            malformed.append(wrong)
            why = f"{why}{', ' if why else ''}{wrong.reason.partition(': ')[2]}"  # each time other words, so another request
        if text is None:
            return Produced(said.finish, [], malformed)


def _model(prompt: GraphPrompt, slot: Slot, need: Need) -> str | None:
    if need.kind == "user" and prompt.user_model is not None:
        return prompt.user_model
    model = slot.axes.get("model")
    return None if model is None else str(model)


def _variables(slot: Slot, kind: str, need: Need | None = None) -> dict[str, Value]:
    given: dict[str, Value] = {"language": slot.language, "per_request": 1, "role": kind, **slot.axes}
    if need is not None:
        given |= {**need.variables, "state": need.state, "visit": need.visit}
        if kind == "query":
            given["details"] = details(need)
    return given


def _schema(kind: str) -> dict[str, Any]:
    fields = FIELDS.get(kind, WHOLE)
    item = {
        "type": "object", "properties": {name: {"type": "string", "description": about} for name, about in fields.items()},
        "required": list(fields), "additionalProperties": False,
    }  # fmt: skip
    return {
        "type": "object", "properties": {"items": {"type": "array", "items": item}}, "required": ["items"],
        "additionalProperties": False,
    }  # fmt: skip


def _read(completion: Completion, need: Need) -> tuple[str | None, Malformed | None]:
    """The words of a turn, or why they cannot be used."""
    fields = FIELDS[need.kind]
    parsed = parse.items(completion.text, fields)
    if parsed.malformed or len(parsed.items) != 1:
        position, reason = (
            parsed.malformed[0] if parsed.malformed else (None, f"{len(parsed.items)} items, one was wanted")
        )
        return None, Malformed(completion=completion.id, position=position, reason=f"{need.kind} turn: {reason}")
    text = parsed.items[0][1][next(iter(fields))]
    if _SPEAKER.match(text):
        return None, Malformed(completion=completion.id, position=0, reason=f"{need.kind} turn: names its speaker")
    if need.kind == "user" and (missing := _unsaid(text, need.slots)):
        return None, Malformed(completion=completion.id, position=0, reason=f"user turn: does not say {missing}")
    return text, None


def _unsaid(text: str, slots: Mapping[str, Any]) -> str | None:
    """A number that a user's turn should have said and did not; words may be put in many ways, numbers may not."""
    digits = {float(found.replace(",", ".")) for found in _DIGITS.findall(unicodedata.normalize("NFKC", text))}
    return next(
        (
            f"{name} {value}"
            for name, value in slots.items()
            if isinstance(value, int | float) and float(value) not in digits
        ),
        None,
    )


def _candidate(prompt: GraphPrompt, slot: Slot, turns: list[Turn], asking: Asking, completion: Completion) -> Candidate:
    outline = prompt.outline
    example = Dialogue(
        language=slot.language, scenario=prompt.plot.name, turns=tuple(turns), outline=outline.id if outline else None
    )
    axes = dict(slot.axes)
    if prompt.user_model is not None:
        axes["user_model"] = prompt.user_model
    origin = Generated(
        completion=completion.id, position=0, prompt=prompt.name, axes=axes, provider=asking.provider.name,
        model=completion.model or asking.model,
    )  # fmt: skip
    outlines = {outline.id: outline} if outline else None
    return Candidate(example, origin, run_checks(example, outlines=outlines))


# -- the baseline ------------------------------------------------------------------------------------------------


async def _at_once(prompt: GraphPrompt, slot: Slot, attempt: int, *, asking: Asking, ask: Ask) -> Produced:
    """The whole dialogue in one answer, annotated by the model itself."""
    messages: tuple[Message, ...] = prompt.whole(slot.language, slot.axes, f"{asking.seed}/{slot.number}")
    model = slot.axes.get("model")
    completion = await ask(
        asking.request(
            prompt, slot, attempt, messages=messages, variables=_variables(slot, "whole"),
            output_schema=_schema("whole") if asking.structured else None, model=None if model is None else str(model),
        )
    )  # fmt: skip
    if completion.finish in (Finish.REFUSAL, Finish.FILTER):
        return Produced(completion.finish, [], [])
    parsed = parse.items(completion.text, WHOLE)
    malformed = [Malformed(completion=completion.id, position=at, reason=why) for at, why in parsed.malformed]
    turns: list[Turn] = []
    for position, item in parsed.items if not malformed else ():
        turn = _annotated(prompt, item, len(turns))
        if isinstance(turn, str):
            malformed.append(Malformed(completion=completion.id, position=position, reason=turn))
            break
        turns.append(turn)
    if malformed or not turns:
        return Produced(completion.finish, [], malformed)
    return Produced(completion.finish, [_candidate(prompt, slot, turns, asking, completion)], [])


def _annotated(prompt: GraphPrompt, item: Mapping[str, str], place: int) -> Turn | str:
    """One message of a dialogue that was asked for whole, or what is wrong with it."""
    who, name = item["who"].casefold(), item["state"]
    state = prompt.plot.states.get(name)
    if who != ("user", "system")[place % 2]:
        return f"message {place + 1} is the {who}'s; user and system take turns, the user first"
    if state is None or state.who != who:
        return f"{name!r} is no state of the {who}'s"
    if who == "system":
        return Turn(role="assistant", content=item["text"], annotation={"state": name, "action": state.act or name})
    try:
        slots = json.loads(item["slots"])
    except ValueError:
        slots = None
    if not isinstance(slots, dict):
        return "slots are no JSON object"
    return Turn(
        role="user", content=item["text"], annotation={"state": name, "intent": state.act or name, "slots": slots}
    )
