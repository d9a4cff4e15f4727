"""`synth judge`: a model scores examples by a rubric.

Each judgement is asked through the durable `ask`, so what was answered is never asked again. A judge that fails says `unscored` and why;
the next run asks it afresh, and what it says then counts, as the last word of an author does.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from curation.agreement import Agreement
from curation.config import Selector
from curation.errors import InputError, RequestRejected, TilthError, TransientError
from curation.journal import open_store
from curation.records import (
    EXAMPLE,
    Completion,
    Decision,
    Finish,
    Malformed,
    Request,
    Verdict,
    canonical_json,
    content_id,
    now,
)
from curation.selection import EXAMPLES, nothing_selected, where
from curation.store import Store
from curation.tables import AnyExample, malformed_row, utc, verdict_row
from synth.ask import Known, answers_about
from synth.config import JudgeSettings
from synth.confirm import confirm
from synth.ledger import Stopped
from synth.pricing import Price
from synth.progress import Progress
from synth.providers import connect
from synth.providers.base import Usage
from synth.rubrics import Judgement, Rubric, load_rubric
from synth.session import Session, price_of, session
from synth.tally import Tally, Traffic
from synth.verdicts import Judge, Word, agreements, judge_of, last_words

BLOCK = 1024  # examples that are read at once
TRIES = 2  # an answer that cannot be read is asked for once more
SAMPLE = 20  # examples, or earlier answers, that an expected cost rests on
SALVAGE_ROUNDS = 2  # how often examples that got no answer are tried again when all others are done

_CHOSEN = f"""
WITH said AS (
    SELECT example, arg_max(decision, (made_at, id)) AS decision, count(*) FILTER (decision = 'unscored') AS failures
    FROM verdicts WHERE author = ? AND version = ? GROUP BY example
)
SELECT chosen.id, coalesce(said.decision, 'unscored') <> 'unscored', coalesce(failures, 0)
FROM ({EXAMPLES}) AS chosen LEFT JOIN said ON said.example = chosen.id
WHERE {{condition}} AND ({{standing}} OR said.example IS NOT NULL)
ORDER BY md5(chosen.id || ?) LIMIT ?
"""  # what this judge spoke of stays selected, whatever its verdict did to the status: the same command means the same examples

_STANDING = """
    id IN (SELECT example FROM verdicts WHERE author LIKE 'human:%') OR id NOT IN (
        SELECT example FROM (
            SELECT example, arg_max(decision, (made_at, id)) AS decision FROM verdicts
            WHERE author LIKE 'check:%' GROUP BY example, author
        ) WHERE decision = 'drop'
    )
"""  # what no check dropped, so that all judges hear the same; and what people dropped, or nobody could see whether a judge agrees

_BODIES = """
SELECT examples.id, body, any_value(made_with.about) FROM examples LEFT JOIN (
    SELECT origins.example, arg_max(prompts.body ->> '$.description', prompts.made_at) AS about
    FROM origins JOIN prompts ON prompts.name = origins.prompt WHERE origins.example IN (SELECT unnest($ids))
    GROUP BY origins.example
) AS made_with ON made_with.example = examples.id
WHERE examples.id IN (SELECT unnest($ids)) GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class Chosen:
    id: str
    judged: bool
    failures: int  # how often this judge said `unscored` of it


@dataclass(frozen=True, slots=True)
class Report:
    """What a judge said of the selected examples, in this run and before."""

    run: str
    by: str
    words: list[Word]
    agreements: dict[str, Agreement]  # what was compared -> how well it agrees
    traffic: Traffic
    stopped: str | None

    @property
    def complete(self) -> bool:
        return all(word.decision is not None for word in self.words)


def judge(settings: JudgeSettings, progress: Progress) -> Report:
    """Judge the selected examples that this judge has not judged.

    Raises:
        InputError: a setting, rubric or provider that cannot be used, or nothing is selected.
        ProviderError: the provider failed for good; what it answered before is stored.
        WorkspaceError: the store cannot be read or written.
    """
    if settings.provider == "offline":
        raise InputError(
            "provider=offline has nothing to judge with; use provider=anthropic or together with a model, a server of yours "
            "(provider=openai base_url=http://localhost:8000/v1 model=...), or provider=transformers model=FOLDER"
        )
    rubric = load_rubric(settings.prompt, settings.prompts_dir)
    if rubric.compares:
        raise InputError(
            f"rubric {rubric.name!r} compares an answer with the true one; say which evaluation's: evaluation=FOLDER"
        )
    store = open_store(settings.workspace)
    price = price_of(settings, settings.provider, settings.model)
    provider = connect(settings, assets=settings.workspace / "assets", price=price)
    judging = judge_of(rubric, provider, settings.model or "")
    chosen = choose(store, judging, settings)
    left = [one for one in chosen if not one.judged]
    if left:
        low, high = expected_usd(store, judging, settings, price, left) or (None, None)
        confirm(low, high, settings, f"judging {len(left):,} examples")
    tally = Tally(rubric.name, len(left))
    hold = {content_id("pl", ["judge", judging.by]): f"judging by {rubric.name!r} with {settings.model!r}"}
    with session(
        settings, progress, hold=hold, spent_on=[rubric.fingerprint], max_requests=3 * len(left) + 10,
        provider=provider, tallies=[tally],
    ) as opened:  # fmt: skip
        opened.writer.append([_rubric_row(rubric)], durable=True)
        if not settings.as_json:
            before = f", {len(chosen) - len(left):,} judged before" if len(left) < len(chosen) else ""
            progress.note(
                f"{rubric.name}: {len(left):,} examples to judge{before}, provider {settings.provider} {settings.model}"
            )
        bench = Bench(judging, opened, tally)
        batches = provider.batches if settings.mode == "batch" else None
        window = batches.most_requests if batches else 4 * settings.concurrency
        opened.work(lambda: bench.hear(left, window), [tally])
    words = last_words(store, judging, [one.id for one in chosen])
    return Report(
        opened.run,
        judging.by,
        list(words.values()),
        agreements(store, rubric, words),
        opened.engine.traffic,
        opened.stopped,
    )


def choose(store: Store, judging: Judge, settings: JudgeSettings) -> list[Chosen]:
    """The selected examples, in an order that chance decides and that a larger `n` only continues."""
    selector = Selector(
        workspace=settings.workspace, task=(judging.rubric.task,), label=settings.label, category=settings.category,
        language=settings.language, prompt=settings.made_with,
    )  # fmt: skip
    condition, parameters = where(selector)
    standing, statuses = ("list_contains(?, status)", [list(settings.status)]) if settings.status else (_STANDING, [])
    given = [judging.author, judging.version, *parameters, *statuses, str(settings.seed), settings.n]
    rows = store.rows(_CHOSEN.format(condition=condition, standing=standing), given)
    if not rows:
        error = str(nothing_selected(store, selector.model_copy(update={"status": settings.status})))
        raise InputError(f"made_with{error.removeprefix('prompt')}" if error.startswith("prompt=") else error)
    return [Chosen(*row) for row in rows]


def expected_usd(
    store: Store,
    judging: Judge,
    settings: JudgeSettings,
    price: Price | None,
    left: Sequence[Chosen],
) -> tuple[float, float] | None:
    """The least and the most that judging these is expected to cost in US dollars; None if the price is not known.

    It rests on what this rubric took of this model before; else on the length of what would be asked.
    """
    if price is None:
        return None
    batch = settings.mode == "batch"
    taken = (
        "SELECT count(*), avg(input_tokens), avg(output_tokens) FROM completions JOIN requests ON requests.id = request "
        "WHERE prompt_id = ? AND requests.model = ?"
    )
    times, tokens_in, tokens_out = store.rows(taken, [judging.rubric.fingerprint, settings.model])[0]
    if times >= SAMPLE:
        each = price.cost(Usage(round(tokens_in), round(tokens_out)), batch=batch)
        return len(left) * each * 0.8, len(left) * each * 1.25
    bodies = store.rows(_BODIES, {"ids": [one.id for one in left[:SAMPLE]]})
    size = 0
    for _, body, about in bodies:
        messages = judging.rubric.messages(EXAMPLE.validate_json(body), about or "")
        size += sum(len(message.content.encode(errors="replace")) for message in messages) // len(bodies)
    fewest, most = (Usage(size // bytes_, out) for bytes_, out in ((5, 40), (2, 400)))  # thinking comes on top
    return len(left) * price.cost(fewest, batch=batch), len(left) * price.cost(most, batch=batch)


class Bench:
    """Hears examples, all at once, and writes the verdicts down."""

    def __init__(self, judging: Judge, opened: Session, tally: Tally) -> None:
        self._judging = judging
        self._rubric = judging.rubric
        self._opened = opened
        self._engine = opened.engine
        self._tally = tally
        self._unheard: dict[str, tuple[Chosen, str]] = {}  # examples that got no answer, and why
        self._rejected: dict[str, str] = {}
        asked = "SELECT 1 FROM requests WHERE prompt_id = ? AND model = ? LIMIT 1"
        self._asked_before = bool(opened.store.rows(asked, [self._rubric.fingerprint, opened.model]))

    async def hear(self, chosen: Sequence[Chosen], window: int) -> None:
        """Judge these examples; what got no answer is asked again when all others are done."""
        await self._hear_all(chosen, window)
        for _ in range(SALVAGE_ROUNDS):
            if not self._unheard or self._engine.stopped is not None:
                break
            self._opened.progress.note(f"asking once more about {len(self._unheard):,} examples that got no answer")
            again = [one for one, _ in self._unheard.values()]
            self._unheard.clear()
            await self._hear_all(again, window)
        if self._engine.stopped is None:  # a run that was stopped says nothing of what it did not get to
            for example, why in self._rejected.items():
                self._say(example, Decision.UNSCORED, f"not taken by the provider: {why}")
            for example, (_, why) in self._unheard.items():
                self._say(example, Decision.UNSCORED, f"no answer: {why}")

    async def _hear_all(self, chosen: Sequence[Chosen], window: int) -> None:
        places = asyncio.Semaphore(window)
        async with asyncio.TaskGroup() as group:
            for start in range(0, len(chosen), BLOCK):
                block = chosen[start : start + BLOCK]
                ids = [one.id for one in block]
                bodies = {
                    row[0]: row[1:] for row in await asyncio.to_thread(self._opened.store.rows, _BODIES, {"ids": ids})
                }
                known: dict[str, Known] = {}
                if self._asked_before:
                    mine = self._opened.store, self._rubric.fingerprint, self._opened.model, ids
                    known = await asyncio.to_thread(answers_about, *mine)
                for one in block:
                    await places.acquire()
                    if self._engine.stopped is not None:
                        return
                    body, about = bodies[one.id]
                    hearing = self._hear(one, EXAMPLE.validate_json(body), about or "", known.get(one.id, {}))
                    group.create_task(hearing).add_done_callback(lambda _: places.release())

    async def _hear(self, chosen: Chosen, example: AnyExample, about: str, known: Known) -> None:
        why = ""
        try:
            for attempt in range(chosen.failures * TRIES, (chosen.failures + 1) * TRIES):
                completion = await self._engine.ask(self._request(example, about, why, attempt), known)
                if completion.finish in (Finish.REFUSAL, Finish.FILTER):
                    how = "refused" if completion.finish is Finish.REFUSAL else "stopped by the provider's filter"
                    self._say(chosen.id, Decision.UNSCORED, how)
                    return
                judgement = self._read(completion)
                if isinstance(judgement, Judgement):
                    decision, score = self._rubric.decide(judgement, example)
                    self._say(chosen.id, decision, judgement.reason, score, judgement.labels)
                    return
                why = judgement
            self._say(chosen.id, Decision.UNSCORED, f"cannot be read: {why}")
        except Stopped:
            pass
        except TransientError as error:
            self._unheard[chosen.id] = chosen, str(error)
        except RequestRejected as error:
            self._rejected[chosen.id] = str(error)
        except TilthError as error:
            self._engine.stop(error)

    def _request(self, example: AnyExample, about: str, why: str, attempt: int) -> Request:
        note = (
            f"(An earlier reply could not be read: {why}. Keep to the form above, and write nothing else.)"
            if why
            else ""
        )
        provider = self._opened.provider
        return Request(
            prompt=self._rubric.name, prompt_id=self._rubric.fingerprint,
            variables={"example": example.id, "language": example.language},
            messages=self._rubric.messages(example, about, note), provider=provider.name, model=self._opened.model,
            sampling=provider.sampling(), output_schema=self._rubric.output_schema() if provider.structured() else None,
            attempt=attempt,
        )  # fmt: skip

    def _read(self, completion: Completion) -> Judgement | str:
        judgement = self._rubric.read(completion.text)
        if isinstance(judgement, str):
            if completion.finish is Finish.LENGTH:
                judgement = f"{judgement}, as it reached max_tokens"
            malformed = Malformed(completion=completion.id, position=None, reason=judgement)
            self._opened.writer.append([malformed_row(malformed)])
        return judgement

    def _say(
        self,
        example: str,
        decision: Decision,
        reason: str,
        score: float | None = None,
        labels: dict[str, str] | None = None,
    ) -> None:
        verdict = Verdict(
            example=example, by=self._judging.by, decision=decision, reason=reason, score=score,
            labels=dict(labels) if labels else None,
        )  # fmt: skip
        self._opened.writer.append([verdict_row(verdict)])
        if decision is Decision.UNSCORED:
            self._tally.reject("unscored")
        else:
            self._tally.accepted += 1
            self._tally.flagged += decision is Decision.FLAG


def _rubric_row(rubric: Rubric) -> tuple[str, tuple[Any, ...]]:
    body = canonical_json(rubric.model_dump(mode="json", exclude={"path"}))
    return "prompts", (rubric.fingerprint, rubric.name, body, utc(now()))
