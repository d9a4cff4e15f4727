"""What providers say of an evaluation: their own answers to its questions (`synth answer`), for a baseline, and a judge's scores of the
model's answers (`synth judge RUBRIC evaluation=...`).

`train eval` leaves the questions and answers in the evaluation's folder; what comes of them goes into the same folder as a file that
`train eval` takes. Every answer is asked through the durable `ask`, so the same command again asks only for what is missing.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation import evaluations
from curation.errors import InputError, RequestRejected, TilthError, TransientError, WorkspaceError
from curation.records import (
    Completion,
    Dialogue,
    Finish,
    Message,
    Request,
    Safety,
    Turn,
    canonical_json,
    content_id,
    now,
)
from curation.tables import AnyExample, utc
from synth import tolerant
from synth.ask import answers_about
from synth.config import AnswerSettings, AskSettings, JudgeSettings
from synth.confirm import confirm
from synth.ledger import Stopped
from synth.pricing import Price
from synth.progress import Progress
from synth.providers import connect
from synth.providers.base import Provider, Usage
from synth.rubrics import Judgement, Rubric, load_rubric
from synth.session import Session, price_of, session
from synth.tally import Tally, Traffic

TRIES = 2  # an answer that cannot be read is asked for once more
Line = dict[str, Any]  # of a JSONL file
LABELS = ("allowed", "disallowed")


@dataclass(frozen=True, slots=True)
class Question:
    """Something to ask about a row of an evaluation."""

    id: str
    request: Callable[[int, str], Request]  # of an attempt, and why the one before could not be read
    read: Callable[[str], Line | str]  # what an answer says, or why it cannot be read


@dataclass(frozen=True, slots=True)
class Report:
    """What a model said, and where it is written."""

    file: Path
    run: str
    rows: int
    said: int
    reasons: dict[str, int]  # why rows have no answer
    mean_score: float | None
    best: int  # score, 0 where nothing is scored
    traffic: Traffic
    stopped: str | None

    @property
    def complete(self) -> bool:
        return self.stopped is None and self.said + sum(self.reasons.values()) == self.rows


def answer(settings: AnswerSettings, progress: Progress) -> Report:
    """Ask a provider's model the questions of an evaluation, word for word as the trained model was asked.

    Writes `answers-MODEL.jsonl` beside them: id, answer, and the label where it says one.

    Raises:
        InputError: the evaluation has no questions, or the provider cannot be used.
        ProviderError, WorkspaceError: as `synth run`.
    """
    folder = evaluations.read(Path(settings.evaluation)).folder
    lines = evaluations.lines(folder / "questions.jsonl", ("id", "messages"))
    prompt = content_id("pr", ["answer", 1])
    provider, price = _connected(settings)

    def question(line: Line) -> Question:
        messages = tuple(Message(role=turn["role"], content=turn["content"]) for turn in _spoken(line["messages"]))

        def request(attempt: int, _: str) -> Request:
            return _request(provider, settings, "answer", prompt, str(line["id"]), messages, None, attempt)

        return Question(str(line["id"]), request, lambda text: {"answer": text, "label": label_in(text)})

    kept = "answer", prompt, {"description": "An evaluation's own questions"}
    return _heard(
        [question(line) for line in lines],
        folder / f"answers-{_file_name(settings)}.jsonl",
        settings,
        provider,
        price,
        progress,
        kept,
    )


def judge_answers(settings: JudgeSettings, progress: Progress) -> Report:
    """Have a judge score the answers of an evaluation's model, by the mean over the rubric's criteria on its scale.

    Writes `judged-RUBRIC-MODEL.jsonl` beside them: id, score, the criteria and the reason.

    Raises:
        InputError: the evaluation holds no answers, the rubric does not fit them, or the provider cannot be used.
        ProviderError, WorkspaceError: as `synth run`.
    """
    assert settings.evaluation is not None
    folder = evaluations.read(Path(settings.evaluation)).folder
    rubric = load_rubric(settings.prompt, settings.prompts_dir)
    if rubric.task not in ("safety", "dialogue") or rubric.blind:
        raise InputError(
            f"rubric {rubric.name!r} is for {rubric.task} examples and cannot judge answers; take judge_safety, or judge_dialogue"
        )
    lines = _judged_lines(folder, rubric)
    provider, price = _connected(settings)
    schema = rubric.output_schema() if provider.structured() else None

    def question(line: Line) -> Question:
        example = _example(rubric, line)

        def request(attempt: int, why: str) -> Request:
            note = (
                f"(An earlier reply could not be read: {why}. Keep to the form above, and write nothing else.)"
                if why
                else ""
            )
            return _request(
                provider,
                settings,
                rubric.name,
                rubric.fingerprint,
                str(line["id"]),
                rubric.messages(example, "", note, line["reference"] if rubric.compares else None),
                schema,
                attempt,
            )

        return Question(str(line["id"]), request, lambda text: _scored(rubric.read(text)))

    kept = rubric.name, rubric.fingerprint, rubric.model_dump(mode="json", exclude={"path"})
    file = folder / f"judged-{rubric.name}-{_file_name(settings)}.jsonl"
    return _heard(
        [question(line) for line in lines], file, settings, provider, price, progress, kept, best=rubric.scale[1]
    )


def _judged_lines(folder: Path, rubric: Rubric) -> list[Line]:
    """The answers of an evaluation as the rubric takes them."""
    path = folder / "answers.jsonl"
    if not rubric.compares:
        return evaluations.lines(path, ("id", "messages", "answer"))
    lines = evaluations.lines(path, ("id", "history"))
    found = [line for line in lines if line.get("answer") is not None and line.get("reference")]
    if not found:
        raise InputError(f"{path}: holds no answers to compare; evaluate with answers=true")
    for line in found:
        line["messages"] = [json.loads(turn) for turn in line["history"].splitlines()]
    return found


def label_in(text: str) -> str | None:
    """The label that a moderator's answer gives; None if it gives none, or both."""
    start = text.find("{")
    if start >= 0:
        try:
            label = tolerant.read(text, start)[0].get("label")
        except (tolerant.Unreadable, AttributeError):
            label = None
        if label in LABELS:
            return str(label)
    word = text.strip().strip(".\"'").lower()
    return word if word in LABELS else None


def _spoken(messages: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Providers know no tool turns of somebody else's tools: their results are shown as what the user's side hands over."""
    return [{**turn, "role": "user"} if turn["role"] == "tool" else turn for turn in messages]


def _example(rubric: Rubric, line: Line) -> AnyExample:
    messages: list[dict[str, str]] = line["messages"]
    language = str(line.get("language") or "en")
    if rubric.task == "dialogue":
        turns = [Turn(role=turn["role"], content=turn["content"]) for turn in messages]
        scenario = str(line.get("category") or "open")
        answered = Turn(role="assistant", content=line["answer"])
        return Dialogue(language=language, scenario=scenario, turns=(*turns, answered))
    behaviour = "refuse" if line.get("label") == "refuse" else "comply"
    asked = "\n\n".join(turn["content"] for turn in messages if turn["role"] != "system") or "(nothing)"
    return Safety(
        language=language, prompt=asked, response=line["answer"], behaviour=behaviour, category=line.get("category") or "none"
    )  # fmt: skip


def _scored(judgement: Judgement | str) -> Line | str:
    if isinstance(judgement, str):
        return judgement
    mean = sum(judgement.scores.values()) / len(judgement.scores)
    return {"score": round(mean, 4), "criteria": judgement.scores, "reason": judgement.reason}


def _file_name(settings: AskSettings) -> str:
    return "".join(
        sign if sign.isalnum() or sign in "._-" else "-" for sign in (settings.model or settings.provider)
    ).strip("-.")


def _connected(settings: AskSettings) -> tuple[Provider, Price | None]:
    if settings.provider == "offline":
        raise InputError(
            "provider=offline has no model to answer with; use provider=anthropic or together with a model, a server of yours "
            "(provider=openai base_url=http://localhost:8000/v1 model=...), or provider=transformers model=FOLDER"
        )
    price = price_of(settings, settings.provider, settings.model)
    return connect(settings, assets=settings.workspace / "assets", price=price), price


def _request(
    provider: Provider, settings: AskSettings, name: str, prompt: str, about: str, messages: tuple[Message, ...],
    schema: dict[str, Any] | None, attempt: int,
) -> Request:  # fmt: skip
    return Request(
        prompt=name, prompt_id=prompt, variables={"example": about}, messages=messages, provider=provider.name,
        model=settings.model or "", sampling=provider.sampling(), output_schema=schema, attempt=attempt,
    )  # fmt: skip


def _heard(
    questions: Sequence[Question], file: Path, settings: AskSettings, provider: Provider, price: Price | None,
    progress: Progress, kept: tuple[str, str, Mapping[str, Any]], best: int = 0,
) -> Report:  # fmt: skip
    name, prompt, body = kept
    hold = {content_id("pl", [name, prompt, str(settings.model)]): f"{name!r} with {settings.model!r}"}
    tally = Tally(name, len(questions))
    _confirm(questions, settings, price)
    found: dict[str, Line] = {}
    reasons: dict[str, str] = {}
    with session(
        settings, progress, hold=hold, spent_on=[prompt], max_requests=3 * TRIES * len(questions) + 10,
        provider=provider, tallies=[tally],
    ) as opened:  # fmt: skip
        opened.writer.append([("prompts", (prompt, name, canonical_json(body), utc(now())))], durable=True)
        opened.work(lambda: _ask_all(questions, opened, prompt, tally, found, reasons), [tally])
    lines = [
        {"id": one.id, **found.get(one.id, {"unscored": reasons.get(one.id, "not asked yet")})} for one in questions
    ]
    _write(file, lines)
    scores = [line["score"] for line in lines if "score" in line]
    counted: dict[str, int] = {}
    for why in reasons.values():
        counted[why] = counted.get(why, 0) + 1
    mean = sum(scores) / len(scores) if scores else None
    return Report(
        file, opened.run, len(questions), len(found), counted, mean, best, opened.engine.traffic, opened.stopped
    )


def _confirm(questions: Sequence[Question], settings: AskSettings, price: Price | None) -> None:
    low = high = None
    if price is not None:
        size = sum(len(message.content.encode()) for one in questions for message in one.request(0, "").messages)
        batch = settings.mode == "batch"
        low, high = (
            price.cost(Usage(size // bytes_, tokens * len(questions)), batch=batch)
            for bytes_, tokens in ((5, 20), (2, 400))
        )
    confirm(low, high, settings, f"{len(questions):,} questions")


async def _ask_all(
    questions: Sequence[Question], opened: Session, prompt: str, tally: Tally, found: dict[str, Line], reasons: dict[str, str],
) -> None:  # fmt: skip
    known = answers_about(opened.store, prompt, opened.model, [one.id for one in questions])
    places = asyncio.Semaphore(4096)

    async def ask(one: Question) -> None:
        why = ""
        mine = known.get(one.id, {})
        try:
            for attempt in range(TRIES):
                completion: Completion = await opened.engine.ask(one.request(attempt, why), mine)
                if completion.finish in (Finish.REFUSAL, Finish.FILTER):
                    why = "refused" if completion.finish is Finish.REFUSAL else "stopped by the provider's filter"
                    break
                said = one.read(completion.text)
                if not isinstance(said, str):
                    found[one.id] = said
                    tally.accepted += 1
                    return
                why = f"cannot be read: {said}"
            reasons[one.id] = why
            tally.reject("unscored")
        except Stopped:
            pass
        except (TransientError, RequestRejected) as error:
            reasons[one.id] = str(error)
            tally.reject("unscored")
        except TilthError as error:
            opened.engine.stop(error)

    async with asyncio.TaskGroup() as group:
        for one in questions:
            await places.acquire()
            if opened.engine.stopped is not None:
                break
            group.create_task(ask(one)).add_done_callback(lambda _: places.release())


def _write(file: Path, lines: Sequence[Line]) -> None:
    scratch = file.with_name(f".{file.name}.part")
    try:
        scratch.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
        scratch.replace(file)
    except OSError as error:
        raise WorkspaceError(
            f"{file}: cannot be written: {error.strerror}; run it again, no answer is asked twice"
        ) from error
