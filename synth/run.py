"""`synth run`: fill the plan of each prompt with accepted examples.

Every slot is a program over the durable `ask`, all run at once, and the outcome does not depend on their timing. Two slots may
come up with the same text; it then belongs to the lower slot, and a slot that loses one asks again. Claims only ever
move down, so there is one fixed point whatever the order (deferred acceptance: Gale and Shapley 1962).
"""

import asyncio
import contextlib
import signal
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from itertools import islice

from curation.errors import TilthError, TransientError
from curation.journal import Writer
from curation.records import Decision, Finish, canonical_json, content_id, now
from curation.store import Store
from curation.tables import TableRow, example_row, malformed_row, origin_row, utc, verdict_row
from synth.ask import Engine, Known, Stopped, answered_slots, answers
from synth.choice import plans
from synth.config import RunSettings
from synth.plan import Plan, Slot
from synth.programs.single import Candidate, Produced, produce
from synth.progress import Progress
from synth.prompts import Prompt
from synth.providers import connect
from synth.providers.base import Provider
from synth.tally import Tally, Traffic

BLOCK = 1024  # slots whose stored answers are read back at once


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to."""

    run: str
    tallies: list[Tally]
    traffic: Traffic
    stopped: str | None

    @property
    def complete(self) -> bool:
        return all(tally.accepted >= tally.wanted for tally in self.tallies)


def run(settings: RunSettings, progress: Progress) -> Report:
    """Run prompts until each has its `n` accepted examples, or a limit says stop.

    Raises:
        InputError: a setting, prompt or provider that cannot be used.
        ProviderError: the provider failed for good; what it answered before is stored.
        WorkspaceError: the store cannot be written; what was answered is in the journal.
    """
    chosen = plans(settings)
    provider = connect(settings.provider, plans=chosen, offline=settings.offline)
    store = Store(settings.workspace)
    started = now()
    described = canonical_json(settings.model_dump(mode="json", exclude={"workspace", "as_json"}))
    identity = content_id("rn", [described, started.isoformat()])
    with contextlib.ExitStack() as held:
        for plan in chosen:
            name = content_id("pl", [plan.prompt.fingerprint, provider.model(plan.prompt), plan.seed])
            held.enter_context(
                store.hold(name, f"a run of prompt {plan.prompt.name!r} with provider {provider.name!r}")
            )
        writer = held.enter_context(Writer(store))
        writer.append([("runs", (identity, described, version("tilth"), utc(started)))], durable=True)
        writer.append([_prompt_row(plan.prompt) for plan in chosen], durable=True)
        engine = Engine(
            provider, writer, run=identity, concurrency=settings.concurrency, retries=settings.retries,
            max_requests=settings.max_requests or 3 * sum(plan.size for plan in chosen) + 10,
        )  # fmt: skip
        fillings = [Filling(plan, engine, provider, store, writer, settings.max_attempts) for plan in chosen]
        tallies = [filling.tally for filling in fillings]
        if not settings.as_json:
            progress.note(_headline(chosen, settings))
        with progress.watch(tallies, engine.traffic):
            try:
                asyncio.run(_fill_all(fillings, engine, progress, window=4 * settings.concurrency))
            except asyncio.CancelledError:
                engine.stop(Stopped("interrupted twice: what was in flight is asked again next time"))
        stopped = None if engine.stopped is None else str(engine.stopped)
        event = {"tallies": [asdict(tally) for tally in tallies], "traffic": asdict(engine.traffic), "stopped": stopped}
        ended = now()
        row = (content_id("ev", [identity, ended.isoformat()]), identity, "ended", canonical_json(event), utc(ended))
        writer.append([("run_events", row)], durable=True)
    if engine.stopped is not None and not isinstance(engine.stopped, Stopped):
        raise engine.stopped
    return Report(identity, tallies, engine.traffic, stopped)


def _headline(chosen: Sequence[Plan], settings: RunSettings) -> str:
    names = chosen[0].prompt.name if len(chosen) == 1 else f"{len(chosen)} prompts"
    total, requests = sum(plan.n for plan in chosen), sum(plan.size for plan in chosen)
    return f"{names}: {total:,} examples in {requests:,} requests, provider {settings.provider}, workspace {settings.workspace}"


async def _fill_all(fillings: "Sequence[Filling]", engine: Engine, progress: Progress, *, window: int) -> None:
    loop, whole = asyncio.get_running_loop(), asyncio.current_task()
    assert whole is not None
    draining = False

    def interrupted() -> None:
        nonlocal draining
        if draining:
            whole.cancel()
        else:
            draining = True
            engine.stop(Stopped("interrupted"))
            progress.note(
                f"stopping: {engine.traffic.in_flight} answers in flight will be kept; Ctrl-C again stops at once"
            )

    for signalled in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signalled, interrupted)
    open_slots = asyncio.Semaphore(window)
    async with asyncio.TaskGroup() as group:
        for filling in fillings:
            filling.group = group
            slots = filling.plan.slots()
            while block := list(islice(slots, BLOCK)):
                known = await asyncio.to_thread(filling.known, block[0].number, block[-1].number)
                for slot in block:
                    await open_slots.acquire()
                    if engine.stopped is not None:
                        return
                    task = group.create_task(filling.fill(slot, known.pop(slot.number, {})))
                    task.add_done_callback(lambda _: open_slots.release())


class Filling:
    """Fills the plan of one prompt."""

    def __init__(
        self, plan: Plan, engine: Engine, provider: Provider, store: Store, writer: Writer, max_attempts: int
    ) -> None:
        self.plan = plan
        self.tally = Tally(plan.prompt.name, plan.n)
        self.group: asyncio.TaskGroup | None = None
        self._engine = engine
        self._store = store
        self._writer = writer
        self._max_attempts = max_attempts
        self._model = provider.model(plan.prompt)
        self._produce = partial(
            produce, plan.prompt, provider=provider.name, model=self._model,
            sampling={"seed": plan.seed, **provider.sampling()},
        )  # fmt: skip
        self._answered = answered_slots(store, plan.prompt.fingerprint, self._model)
        self._owner: dict[int, int] = {}  # text -> the lowest slot that came up with it
        self._places: dict[int, Place] = {}  # of slots that are at work, or did not get all they want from one answer
        self._short: set[int] = set()

    def known(self, first: int, last: int) -> dict[int, Known]:
        """The stored answers of slots `first` to `last`."""
        if first >= self._answered:
            return {}
        return answers(self._store, self.plan.prompt.fingerprint, self._model, first, last)

    async def fill(self, slot: Slot, known: Known) -> None:
        """Ask until the slot owns as many texts as it wants."""
        place = self._places[slot.number] = Place(known)
        await self._go_on(slot, place)

    async def _go_on(self, slot: Slot, place: "Place") -> None:
        """Each attempt asks for what the slot's own answers lack, not for what it lost to other slots: so what is asked
        does not depend on timing."""
        self._short.discard(slot.number)
        try:
            while not self._full(slot, place):
                if place.attempts == self._max_attempts:
                    self._short.add(slot.number)
                    return
                count = max(1, self.plan.per_request - place.usable)
                ask = partial(self._engine.ask, known=place.known)
                produced = await self._produce(slot, place.attempts, count, ask=ask)
                place.attempts += 1
                usable = sum(candidate.dropped_by is None for candidate in produced.candidates)
                place.usable = min(place.usable + usable, self.plan.per_request)
                place.spare = tuple(produced.candidates)
                self._note_unusable(produced)
        except Stopped:
            pass
        except TransientError as error:
            self.tally.reject(f"no answer: {error}")
        except TilthError as error:
            self._engine.stop(error)
        finally:
            place.busy = False
            if place == self._usual(slot):
                del self._places[slot.number]
            self.tally.short = len(self._short)

    def _usual(self, slot: Slot) -> "Place":
        """How nearly every slot ends; not kept, so that a plan of millions fits in memory."""
        return Place({}, attempts=1, usable=self.plan.per_request, owned=slot.want, busy=False)

    def _full(self, slot: Slot, place: "Place") -> bool:
        """Take what the last answer has to give, as long as the slot wants it."""
        rows: list[TableRow] = []
        taken = 0
        for candidate in place.spare:
            if place.owned >= slot.want:
                break
            taken += 1
            if candidate.dropped_by is not None:
                self.tally.reject(candidate.dropped_by)
                rows += _rows(candidate)
            else:
                rows += self._claim(slot.number, place, candidate)
        place.spare = place.spare[taken:]
        if rows:
            self._writer.append(rows)
        if place.owned < slot.want:
            return False
        self.tally.reject("surplus", len(place.spare))
        return True

    def _note_unusable(self, produced: Produced) -> None:
        self.tally.reject("malformed", len(produced.malformed))
        if produced.finish in (Finish.REFUSAL, Finish.FILTER):
            self.tally.reject(str(produced.finish))
        if produced.malformed:
            self._writer.append([malformed_row(malformed) for malformed in produced.malformed])

    def _claim(self, slot: int, place: "Place", candidate: Candidate) -> list[TableRow]:
        text = int(candidate.example.id[-16:], 16)
        owner = self._owner.get(text)
        if owner is not None:
            self.tally.reject("duplicate")
            if owner <= slot:
                return [_origin_row(candidate)]
        self._owner[text] = slot
        place.owned += 1
        if owner is not None:
            self._lose(owner)
            return [_origin_row(candidate)]
        self.tally.accepted += 1
        self.tally.flagged += any(verdict.decision is Decision.FLAG for verdict in candidate.verdicts)
        return _rows(candidate)

    def _lose(self, number: int) -> None:
        """A lower slot came up with the same text: this one is short of one, and goes on if it had finished."""
        place = self._places.get(number)
        if place is None:
            place = self._places[number] = self._usual(self.plan.slot(number))
        place.owned -= 1
        if not place.busy and self.group is not None:
            place.busy = True
            self.tally.reject("surplus", -len(place.spare))
            self.group.create_task(self._go_on(self.plan.slot(number), place))


@dataclass(slots=True)
class Place:
    """How far a slot has come: it goes on from there when a lower slot takes a text from it."""

    known: Known  # stored answers of attempts to come
    attempts: int = 0
    usable: int = 0  # texts among the slot's own answers that no check drops, `per_request` at most
    owned: int = 0
    spare: tuple[Candidate, ...] = ()  # what the last answer gave beyond the slot's want
    busy: bool = True


def _rows(candidate: Candidate) -> list[TableRow]:
    verdicts = [verdict_row(verdict, once=True) for verdict in candidate.verdicts]
    return [example_row(candidate.example, candidate.verdicts[0].at), _origin_row(candidate), *verdicts]


def _origin_row(candidate: Candidate) -> TableRow:
    return origin_row(candidate.example.id, candidate.origin, candidate.verdicts[0].at)


def _prompt_row(prompt: Prompt) -> TableRow:
    body = canonical_json(prompt.model_dump(mode="json", exclude={"offline", "path"}))
    return "prompts", (prompt.fingerprint, prompt.name, body, utc(now()))
