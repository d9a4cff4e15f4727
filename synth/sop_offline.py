"""What the offline provider answers to an SOP prompt: the prompt's phrases around the words of the SOP itself."""

import json
import random
from typing import Any

from curation.courses import Fact
from curation.documents import Step
from curation.records import Request
from synth.cases import Visit
from synth.plan import Slot
from synth.sop_cases import Stop, evidence_before, lacking_before, stop_of, topic
from synth.sop_prompts import Bound
from synth.sop_writer import OTHER, Writer, first_sentence
from synth.spoken import instruction

VOLUNTEERED = 0.3  # how often a customer shows evidence before it is asked for


def answer(prompt: Bound, request: Request) -> str:
    """The answer to a request, as JSON; the same for the same request."""
    axes = {name: value for name, value in request.variables.items() if name not in ("language", "per_request")}
    language = str(request.variables["language"])
    slot = Slot(request.slot, language, axes, 1)
    outline = prompt.groundings[str(axes["document"])].outline
    seed = int(request.sampling["seed"])
    visits = prompt.case(axes, language, request.slot, seed)
    voice = prompt.grammars[language].voice(request.id, axes)
    dice = random.Random(request.id)
    writer = Writer(voice, outline, language, citing=axes.get("citing") == "spoken", dice=dice)
    pick = prompt.pick(axes, language, request.slot, seed)
    made: dict[str, Any]
    match prompt.writes:
        case "dialogue":
            made = {"turns": _dialogue(writer, visits, dice)}
        case "robustness":
            made = {"turns": _robustness(writer, stop_of(visits, outline, "any", pick), dice)}
        case "reasoning":
            made = _reasoning(writer, stop_of(visits, outline, str(axes["stops"]), pick))
        case "understanding":
            made = _understanding(writer, topic(outline, str(axes["about"]), pick), slot)
    return json.dumps(made, ensure_ascii=False)


# -- a whole procedure -------------------------------------------------------------------------------------------


def _dialogue(writer: Writer, visits: tuple[Visit, ...], dice: random.Random) -> list[dict[str, Any]]:
    outline, voice = writer.outline, writer.voice
    first = next((visit for visit in visits if visit.step.evidence), None)
    early = [
        name for name in (first.step.evidence if first else ())
        if outline.wanted[name].held_by == "customer" and first is not None and name not in first.lacks
    ]  # fmt: skip
    if early and dice.random() < VOLUNTEERED:
        writer.user(voice.say("open"), writer.attached(early), gives=early)
        writer.seen.update(early)
    else:
        writer.user(voice.say("open"))
    writer.add(visits[0].step, voice.say("greet"))
    writer.follow(visits)
    writer.agent()
    if dice.random() < 0.7:
        writer.user(voice.say("thanks"))
        writer.add(visits[-1].step, voice.say("bye"))
        writer.agent()
    return writer.turns


# -- holding out -------------------------------------------------------------------------------------------------


def _robustness(writer: Writer, stop: Stop, dice: random.Random) -> list[dict[str, Any]]:
    voice, outline = writer.voice, writer.outline
    writer.user(voice.say("open"))
    given, lacks = evidence_before(stop, outline), lacking_before(stop)
    facts = {visit.step.id: visit.fact for visit in stop.before if visit.fact is not None}
    notes = {
        "records": [outline.wanted[name].text for name in given],
        "found": [_finding(visit.step, visit.fact) for visit in stop.before if visit.fact is not None],
    }
    if given or facts:
        first = (*stop.before, stop.visit)[0].step
        began = instruction(first.text) or first_sentence(first.text)
        writer.add(first, voice.say("reopen", text=writer.quoted(began)))
        writer.agent(asks=given)
        writer.tool({name: found for name, found in notes.items() if found}, gives=given, lacks=lacks, facts=facts)
    for visit in stop.before:
        if visit.taken:
            writer.add(visit.step)
    writer.add(stop.step, voice.say("brief", step=stop.step.id))
    _ask(writer, stop)
    writer.user(voice.say("trouble"))
    writer.add(
        stop.step, voice.say("hold", step=stop.step.id, page=stop.step.place.page, title=writer.quoted(outline.title))
    )
    _ask(writer, stop)
    if dice.random() < 0.5:
        writer.user(voice.say("more"))
        writer.add(stop.step, voice.say("again", step=stop.step.id, page=stop.step.place.page))
        _ask(writer, stop)
    return writer.turns


def _ask(writer: Writer, stop: Stop) -> None:
    """End the agent's turn with what the waiting step needs."""
    if stop.asks and stop.asks != (stop.step.id,):
        texts = writer.named(stop.asks)
        theirs = all(writer.outline.wanted[name].held_by == "customer" for name in stop.asks)
        writer.add(stop.step, writer.voice.say("ask" if theirs else "record", evidence=texts))
    elif stop.asks:
        writer.question(stop.step)
    writer.agent(asks=stop.asks)


# -- reasoning over a case ---------------------------------------------------------------------------------------


def _reasoning(writer: Writer, stop: Stop) -> dict[str, Any]:
    voice, outline = writer.voice, writer.outline
    given, lacks = evidence_before(stop, outline), lacking_before(stop)
    known = [visit for visit in stop.before if visit.fact is not None]
    if not stop.asks and stop.visit.fact is not None:
        known.append(stop.visit)
    words = [voice.say("case")]
    if given:
        words.append(voice.say("have", evidence=writer.named(given)))
    if lacks:
        words.append(voice.say("lack", evidence=writer.named(lacks)))
    words += [_known(writer, visit, "fact", "not_fact") for visit in known]
    words.append(voice.say("question"))
    lines = [voice.say("start", title=writer.quoted(outline.title))]
    cites: list[str] = []
    for visit in (*stop.before, *(() if stop.asks else (stop.visit,))):
        if not visit.taken:
            lines.append(voice.say("skip", step=visit.step.id, condition=writer.quoted(visit.step.when or "")))
            continue
        cites.append(visit.step.id)
        if visit.step.branches:
            to = next(branch.to for branch in visit.step.branches if branch.when == visit.fact)
            lines.append(_known(writer, visit, "because", "because_not", to=to))
        elif visit.step.kind == "action":
            lines.append(voice.say("done", step=visit.step.id, text=writer.quoted(first_sentence(visit.step.text))))
    if stop.step.id not in cites:
        cites.append(stop.step.id)
    place: dict[str, str | int] = {"step": stop.step.id, "page": stop.step.place.page}
    if stop.asks == (stop.step.id,):
        lines.append(voice.say("next_find", condition=writer.conditions(stop.step), **place))
    elif stop.asks:
        lines.append(voice.say("next_ask", evidence=writer.named(stop.asks), **place))
    else:
        lines.append(voice.say("next_end", outcome=writer.quoted(stop.step.text), **place))
    if writer.citing:
        lines.append(voice.say("reference", **place))
    told = {
        "gives": given,
        "lacks": lacks,
        "facts": {visit.step.id: visit.fact for visit in known},
        "asks": list(stop.asks),
    }
    question = ("" if writer.language == "zh" else " ").join(words)
    answer_text = "\n".join((lines[0], *(f"{at}. {line}" for at, line in enumerate(lines[1:], 1))))
    return {
        "question": question,
        "answer": answer_text,
        "cites": cites,
        **{name: value for name, value in told.items() if value},
    }


def _known(writer: Writer, visit: Visit, yes: str, no: str, **more: str) -> str:
    step = visit.step
    if visit.fact in OTHER or visit.fact is False:
        return writer.voice.say(no, step=step.id, condition=writer.conditions(step), **more)
    words = str(visit.fact) if isinstance(visit.fact, str) else step.when or ""
    return writer.voice.say(yes, step=step.id, condition=writer.quoted(words), **more)


def _finding(step: Step, fact: Fact | None) -> str | dict[str, bool]:
    if fact in OTHER:
        return {branch.when: False for branch in step.branches if branch.when not in OTHER}
    return fact if isinstance(fact, str) else {step.when or "": bool(fact)}


# -- questions about the text ------------------------------------------------------------------------------------


def _understanding(writer: Writer, steps: tuple[Step, ...], slot: Slot) -> dict[str, Any]:
    outline, voice = writer.outline, writer.voice
    asked, answered = steps[0], steps[-1]
    values: dict[str, str | int] = {
        "number": asked.id, "step": answered.id, "page": answered.place.page, "to": answered.id, "title": writer.quoted(outline.title),
        "text": f"“{first_sentence(answered.text)}”", "things": f"“{first_sentence(asked.text)}”",
        "condition": _condition(writer, asked, answered), "outcome": writer.quoted(answered.text),
        "evidence": writer.named(asked.evidence),
        "why": str(asked.place.page),
    }  # fmt: skip
    fits = _kind_of(steps, str(slot.axes["about"]))
    voice.axes = {**voice.axes, "about": fits}
    answer_text = voice.say("answer", **values)
    if writer.citing:
        answer_text = ("" if writer.language == "zh" else " ").join((answer_text, voice.say("reference", **values)))
    cites = list(dict.fromkeys(step.id for step in steps))
    return {"question": voice.say("question", **values), "answer": answer_text, "cites": cites}


def _kind_of(steps: tuple[Step, ...], about: str) -> str:
    """The kind of question that can be put to these steps; a document may have none of the kind that was dealt."""
    first = steps[0]
    fits = {
        "evidence": bool(first.evidence),
        "branch": bool(first.branches),
        "condition": first.when is not None,
        "place": True,
    }
    return about if fits.get(about, len(steps) > 1) else "next" if len(steps) > 1 else "place"


def _condition(writer: Writer, asked: Step, answered: Step) -> str:
    whens = [branch.when for branch in asked.branches if branch.to == answered.id]
    if not whens:
        return writer.quoted(asked.when or "")
    return writer.quoted(whens[0]) if whens[0] not in OTHER else writer.none_of(asked)
