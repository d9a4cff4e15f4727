"""`synth translate`: a copy of each selected example in other languages, with its labels.

One program an example and language: ask for the translation, check that what must stay has stayed (else ask once more), check it like any other
example, and translate it back to see how far it has drifted. All of it goes through the durable `ask`, so that running it
again asks for nothing that was answered.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from curation.checks import run_checks
from curation.config import Selector
from curation.errors import InputError, RequestRejected, TilthError, TransientError
from curation.journal import open_store
from curation.records import (
    EXAMPLE,
    Completion,
    Decision,
    Finish,
    Malformed,
    Translated,
    Verdict,
    content_id,
    now,
)  # fmt: skip
from curation.selection import nothing_selected, query
from curation.store import Store
from curation.tables import (
    COMPLETION_COLUMNS,
    AnyExample,
    completion_from,
    example_row,
    malformed_row,
    origin_row,
    utc,
    verdict_row,
)  # fmt: skip
from synth.ask import Known
from synth.config import TranslateSettings
from synth.confirm import confirm
from synth.ledger import Stopped
from synth.progress import Progress
from synth.providers import connect
from synth.providers.base import Provider
from synth.session import Session, price_of, session
from synth.tally import Tally, Traffic
from synth.translators import google
from synth.translators.cost import expected_usd
from synth.translators.drift import chrf
from synth.translators.glossary import Glossary, load_glossary
from synth.translators.job import Job, Translator, fault, rewritten, speaks, texts_of
from synth.translators.llm import ByModel, load_instruction
from synth.translators.service import ByGoogle

BLOCK = 256  # examples that are read at once
ATTEMPTS = 2  # a translation that lost something is asked for once more
SALVAGE_ROUNDS = 2  # how often what got no answer is tried again when all else is done
PREVIEWS = 20  # examples whose requests are looked at for the cost
NO_ANSWER = "no answer"
BACK = "check:back_translation@1"
NOT_TRANSLATED = "id NOT IN (SELECT example FROM origins WHERE kind = 'translated')"


@dataclass(frozen=True, slots=True)
class Original:
    """An example to translate, with the labels that hold for it now."""

    example: AnyExample
    labels: dict[str, str | int | None]

    @property
    def slot(self) -> int:
        """All requests that stand on one example share a number, by which the store finds their answers."""
        return int(self.example.id[-12:], 16)


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to; one tally a language."""

    run: str
    tallies: list[Tally]
    traffic: Traffic
    stopped: str | None

    @property
    def complete(self) -> bool:
        """Whether every request was answered, well or badly."""
        return self.stopped is None and not any(NO_ANSWER in tally.rejected for tally in self.tallies)


class Originals:
    """The examples that the settings select, in the order of their ids."""

    def __init__(self, store: Store, settings: TranslateSettings) -> None:
        selector = Selector(
            workspace=settings.workspace, task=settings.task, label=settings.label, category=settings.category,
            language=(settings.source,), prompt=settings.prompt, status=settings.status,
        )  # fmt: skip
        self._store = store
        self._sql, self._parameters = query(selector, "id, body, label, category, severity, content")
        if not settings.translations:
            self._sql += f" AND {NOT_TRANSLATED}"
        counted = (
            f"SELECT count(*), coalesce(sum(length(content)), 0) FROM (SELECT * FROM ({self._sql}) ORDER BY id LIMIT ?)"
        )
        self._most = settings.n or 1 << 62
        self.count, self.characters = (int(n) for n in store.rows(counted, [*self._parameters, self._most])[0])
        if not self.count:
            if store.rows(*query(selector, "1")):
                raise InputError("only translations are selected; translations=true translates them further")
            raise nothing_selected(store, selector)

    def left(self, targets: list[str], translator: str) -> tuple[int, int]:
        """How many translations this translator has not made yet, and the characters of their sources."""
        done = self._store.rows(
            f"SELECT count(*), coalesce(sum(length(content)), 0) FROM (SELECT * FROM ({self._sql}) ORDER BY id LIMIT ?) AS chosen "
            "JOIN (SELECT DISTINCT parent, language FROM origins JOIN examples ON examples.id = origins.example "
            "WHERE kind = 'translated' AND origins.body ->> '$.translator' = ? AND language IN (SELECT unnest(?))) AS made "
            "ON made.parent = chosen.id",
            [*self._parameters, self._most, translator, targets],
        )[0]
        return self.count * len(targets) - int(done[0]), self.characters * len(targets) - int(done[1])

    def blocks(self) -> Iterator[list[Original]]:
        last, left = "", self.count
        while left > 0:
            rows = self._store.rows(
                f"SELECT id, body, label, category, severity FROM ({self._sql}) WHERE id > ? ORDER BY id LIMIT ?",
                [*self._parameters, last, min(BLOCK, left)],
            )
            if not rows:
                return
            last, left = rows[-1][0], left - len(rows)
            yield [
                Original(EXAMPLE.validate_json(body), {"label": label, "category": category, "severity": severity})
                for _, body, label, category, severity in rows
            ]

    def answered(self, originals: list[Original]) -> Known:
        """What was answered for these examples before; where twice, the first answer."""
        rows = self._store.rows(
            f"SELECT {COMPLETION_COLUMNS} FROM completions WHERE slot IN (SELECT unnest(?)) ORDER BY made_at DESC",
            [[original.slot for original in originals]],
        )
        return {completion.request: completion for completion in map(completion_from, rows)}


def translate(settings: TranslateSettings, progress: Progress) -> Report:
    """Translate what is selected, or as much as the limits allow.

    Raises:
        InputError: a setting, key or glossary that cannot be used, a language that Google does not know, or nothing selected.
        ProviderError: the translator failed for good; what it answered before is stored.
    """
    targets = languages(settings)
    glossary = load_glossary(settings.glossary)
    originals = Originals(open_store(settings.workspace), settings)
    provider: Provider
    if settings.translator == "google":
        settings = settings.model_copy(update={"provider": google.NAME, "model": settings.model or google.MODEL})
        provider = google.connect(settings)
        translator: Translator = ByGoogle(settings.model or google.MODEL)
    else:
        if settings.provider == "offline":
            raise InputError(
                "translator=llm: the offline provider cannot translate; name one that can, e.g. provider=anthropic model=..., "
                "or use translator=google"
            )
        price = price_of(settings, settings.provider, settings.model)
        provider = connect(settings, assets=settings.workspace / "assets", price=price)
        instruction = load_instruction(settings.instruction, settings.prompts_dir)
        translator = ByModel(settings.instruction, instruction, provider, settings.model or "")
    _confirm(settings, originals, targets, translator, glossary)
    tallies = [Tally(f"{settings.source} to {target}", originals.count) for target in targets]
    jobs = originals.count * len(targets)
    with session(
        settings, progress, provider=provider, tallies=tallies, spent_on=[translator.prompt_id],
        hold={content_id("pl", [translator.prompt_id, settings.model]): f"a translation by {author(settings)}"},
        max_requests=(ATTEMPTS + settings.back) * jobs + 10,
    ) as opened:  # fmt: skip
        opened.writer.append([("prompts", (translator.prompt_id, translator.prompt, translator.words, utc(now())))])
        if not settings.as_json:
            progress.note(
                f"{originals.count:,} examples ({originals.characters:,} characters) from {settings.source} to "
                f"{', '.join(targets)}{', and back' if settings.back else ''}, by {author(settings)}"
            )
        work = Translation(opened, settings, originals, translator, glossary, dict(zip(targets, tallies, strict=True)))
        opened.work(work.whole, tallies)
    return Report(opened.run, tallies, opened.engine.traffic, opened.stopped)


def _confirm(
    settings: TranslateSettings, originals: Originals, targets: list[str], translator: Translator, glossary: Glossary
) -> None:
    """Ask before it costs much; how much is sent for a text is seen from the first few."""
    jobs, characters = originals.left(targets, author(settings))
    if not jobs:
        return
    sent = texts = 0
    for original in next(originals.blocks())[:PREVIEWS]:
        job = _job(original, targets[0], settings, glossary)
        if speaks(job):
            sent += sum(len(message.content) for message in translator.request(job, 0).messages)
            texts += sum(map(len, job.texts.values()))
    price = price_of(settings, settings.provider, settings.model)
    share, batch = sent / max(texts, 1), settings.mode == "batch"
    cost = expected_usd(price, characters * share, characters, back=settings.back, batch=batch)
    low, high = cost or (None, None)
    confirm(low, high, settings, f"{jobs:,} translations ({characters:,} characters)")


def _job(original: Original, target: str, settings: TranslateSettings, glossary: Glossary) -> Job:
    return Job(settings.source, target, texts_of(original.example), glossary.there(target), original.slot)


def author(settings: TranslateSettings) -> str:
    """Who translates, as origins name it."""
    who = google.NAME if settings.translator == "google" else f"llm:{settings.provider}"
    return f"{who}{':' if settings.translator == 'google' else '/'}{settings.model}"


def languages(settings: TranslateSettings) -> list[str]:
    """The languages to translate into, each once.

    Raises:
        InputError: none, or the source itself.
    """
    targets = list(dict.fromkeys(settings.to))
    if not targets:
        raise InputError("say into which languages: to=[zh,ms,ta]")
    if settings.source in targets:
        raise InputError(f"to={settings.source}: that is the source already; leave it out, or set source=...")
    return targets


class Translation:
    """Translates each example into each language."""

    def __init__(
        self, opened: Session, settings: TranslateSettings, originals: Originals, translator: Translator, glossary: Glossary,
        tallies: dict[str, Tally],
    ) -> None:  # fmt: skip
        self._engine = opened.engine
        self._writer = opened.writer
        self._settings = settings
        self._originals = originals
        self._translator = translator
        self._glossary = glossary
        self._tallies = tallies
        batches = opened.provider.batches if settings.mode == "batch" else None
        self._window = batches.most_requests if batches else 4 * settings.concurrency
        self._seen: set[str] = set()
        self._unanswered: list[tuple[Original, str]] = []

    async def whole(self) -> None:
        window = asyncio.Semaphore(self._window)
        async with asyncio.TaskGroup() as group:
            for block in self._originals.blocks():
                known = await asyncio.to_thread(self._originals.answered, block)
                for original in block:
                    for target in self._tallies:
                        await window.acquire()
                        if self._engine.stopped is not None:
                            return
                        task = group.create_task(self._one(original, target, known))
                        task.add_done_callback(lambda _: window.release())
        for _ in range(SALVAGE_ROUNDS):
            left, self._unanswered = self._unanswered, []
            async with asyncio.TaskGroup() as group:
                for original, target in left:
                    self._tallies[target].reject(NO_ANSWER, -1)
                    known = await asyncio.to_thread(self._originals.answered, [original])
                    group.create_task(self._one(original, target, known))

    async def _one(self, original: Original, target: str, known: Known) -> None:
        try:
            await self._translate(original, target, known)
        except Stopped:
            pass
        except TransientError:
            self._tallies[target].reject(NO_ANSWER)
            self._unanswered.append((original, target))
        except RequestRejected as error:
            self._tallies[target].reject(f"rejected: {error}")
        except TilthError as error:
            self._engine.stop(error)

    async def _translate(self, original: Original, target: str, known: Known) -> None:
        tally, parent = self._tallies[target], original.example
        job = _job(original, target, self._settings, self._glossary)
        if not speaks(job):
            tally.reject("nothing to translate")
            return
        completion: Completion | None = None
        for attempt in range(ATTEMPTS):
            completion = await self._engine.ask(self._translator.request(job, attempt), known)
            if completion.finish in (Finish.REFUSAL, Finish.FILTER):
                tally.reject(str(completion.finish))
                return
            found = self._read(original, job, attempt, completion)
            if found is not None:
                break
        else:
            tally.reject("malformed")
            return
        example, translated = found
        verdicts = run_checks(example)
        dropped = next((verdict.by for verdict in verdicts if verdict.decision is Decision.DROP), None)
        if self._settings.back and dropped is None:
            verdicts.append(await self._check_back(job, translated, example.id, known))
        origin = Translated(parent=parent.id, translator=author(self._settings), completion=completion.id)
        at = verdicts[0].at
        self._writer.append(
            [
                example_row(example, at),
                origin_row(example.id, origin, at),
                *(verdict_row(verdict, once=True) for verdict in verdicts),
            ]
        )
        if dropped is not None:
            tally.reject(dropped)
        elif example.id in self._seen:
            tally.reject("duplicate")
        else:
            self._seen.add(example.id)
            tally.accepted += 1
            tally.flagged += any(verdict.decision is Decision.FLAG for verdict in verdicts)

    def _read(
        self, original: Original, job: Job, attempt: int, completion: Completion
    ) -> tuple[AnyExample, dict[str, str]] | None:
        """The translated example and its texts; None, with the reason written down, where the answer is not fit to use."""
        texts = self._translator.read(job, attempt, completion)
        reason = texts if isinstance(texts, str) else fault(job, texts)
        if reason is None and not isinstance(texts, str):
            try:
                return rewritten(original.example, job.target, texts, original.labels), texts
            except ValidationError as error:
                reason = f"not a {original.example.task} example: {error.errors()[0]['msg']}"
        malformed = Malformed(completion=completion.id, position=None, reason=reason or "")
        self._writer.append([malformed_row(malformed)])
        return None

    async def _check_back(self, job: Job, texts: dict[str, str], example: str, known: Known) -> Verdict:
        """How much of the source is there again after the way back."""
        verdict = Verdict(example=example, by=BACK, decision=Decision.UNSCORED)
        back = job.returned(texts, self._glossary.back(job.target))
        try:
            completion = await self._engine.ask(self._translator.request(back, 0), known)
        except (TransientError, RequestRejected) as error:
            return verdict.model_copy(update={"reason": f"no back-translation: {error}"})
        if completion.finish in (Finish.REFUSAL, Finish.FILTER):
            return verdict.model_copy(update={"reason": f"no back-translation: {completion.finish}"})
        returned = self._translator.read(back, 0, completion)
        if isinstance(returned, str):
            return verdict.model_copy(update={"reason": f"no back-translation: {returned}"})
        score = round(chrf("\n".join(job.texts.values()), "\n".join(returned.values())), 4)
        least = self._settings.drift
        if score >= least:
            return verdict.model_copy(update={"decision": Decision.KEEP, "score": score, "reason": f"chrF {score:.2f}"})
        shown = json.dumps(" ".join(" ".join(returned.values()).split())[:160], ensure_ascii=False)
        reason = f"chrF {score:.2f}, under {least:g}: it reads back as {shown}"
        return verdict.model_copy(update={"decision": Decision.FLAG, "score": score, "reason": reason})
