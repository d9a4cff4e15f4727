"""`synth run`: fill the plan of each prompt with accepted examples.

Every slot is a program over the durable `ask`, all run at once, and the outcome does not depend on their timing. Two slots may
come up with the same text; it then belongs to the lower slot, and a slot that loses one asks again. Claims only ever
move down, so there is one fixed point whatever the order (deferred acceptance: Gale and Shapley 1962).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from curation.assets import keep
from curation.errors import RequestRejected, TilthError, TransientError
from curation.journal import Writer
from curation.records import Completion, Decision, Finish, Request, content_id, now
from curation.store import Store
from curation.tables import TableRow, example_row, malformed_row, origin_row, utc, verdict_row
from synth.ask import Engine, Known, answered_slots, answers
from synth.choice import plans
from synth.config import RunSettings
from synth.dialogue_prompt import GraphPrompt
from synth.ledger import Stopped
from synth.plan import Plan, Slot
from synth.programs import PROGRAMS
from synth.programs.base import AnyPrompt, Asking, Candidate, Produced
from synth.progress import Progress
from synth.session import Session, session
from synth.tally import Tally, Traffic

BLOCK = 1024  # slots whose stored answers are read back at once
SALVAGE_ROUNDS = 2  # how often slots that got no answer are tried again when all others are done


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


def run(settings: RunSettings, progress: Progress, chosen: Sequence[Plan] | None = None) -> Report:
    """Run prompts until each has its `n` accepted examples, or a limit says stop.

    Args:
        chosen: the plans of these settings, if they are made already.

    Raises:
        InputError: a setting, prompt or provider that cannot be used.
        ProviderError: the provider failed for good; what it answered before is stored.
        WorkspaceError: the store cannot be written; what was answered is in the journal.
    """
    chosen = plans(settings) if chosen is None else chosen
    tallies = [Tally(plan.prompt.name, plan.n) for plan in chosen]
    with session(
        settings, progress, hold=locks(chosen, settings), plans=chosen, tallies=tallies,
        spent_on=[plan.prompt.fingerprint for plan in chosen], max_requests=3 * sum(plan.requests for plan in chosen) + 10,
    ) as opened:  # fmt: skip
        keep_prompts(opened, chosen)
        fillings = [Filling(plan, opened, settings, tally) for plan, tally in zip(chosen, tallies, strict=True)]
        if not settings.as_json:
            progress.note(_headline(chosen, settings))
        batches = opened.provider.batches if settings.mode == "batch" else None
        window = batches.most_requests if batches else 4 * settings.concurrency
        opened.work(lambda: _fill_all(fillings, opened.engine, progress, window=window), tallies)
    return Report(opened.run, tallies, opened.engine.traffic, opened.stopped)


def locks(chosen: Sequence[Plan], settings: RunSettings) -> dict[str, str]:
    """What nobody else may do meanwhile: two processes on one plan would pay for the same answers."""
    return {
        content_id(
            "pl", [plan.prompt.fingerprint, settings.provider, settings.model, *settings.also_asked, plan.seed]
        ): (f"a run of prompt {plan.prompt.name!r} with provider {settings.provider!r}")
        for plan in chosen
    }


def keep_prompts(opened: Session, chosen: Sequence[Plan]) -> None:
    """Write down what will be asked: the prompts' words, and their images."""
    rows = [_prompt_row(plan.prompt) for plan in chosen]
    images = {sha256: path for plan in chosen for sha256, path in plan.prompt.image_files.items()}
    rows += [keep(opened.store.workspace / "assets", sha256, path) for sha256, path in images.items()]
    opened.writer.append(rows, durable=True)


def _headline(chosen: Sequence[Plan], settings: RunSettings) -> str:
    names = chosen[0].prompt.name if len(chosen) == 1 else f"{len(chosen)} prompts"
    total, requests = sum(plan.n for plan in chosen), sum(plan.requests for plan in chosen)
    models = ", ".join(name for name in (settings.model, *settings.also_asked) if name)
    who = f"{settings.provider} {models}" if models else settings.provider
    how = " in batches" if settings.mode == "batch" else ""
    said = f"{names}: {total:,} examples in {requests:,} requests{how}, provider {who}, workspace {settings.workspace}"
    for plan in chosen:
        if isinstance(plan.prompt, GraphPrompt) and plan.prompt.plot.document and plan.prompt.outline is None:
            document = plan.prompt.plot.document
            said += (
                f"\n{plan.prompt.name} follows the SOP {document!r}, which this workspace does not have: its citations have no pages, and "
                f"check:conformance nothing to check. documents=.../{document}.pdf takes it in"
            )
    if settings.mode == "batch" and (rounds := max(plan.prompt.requests_each for plan in chosen)) > 1:
        said += (
            f"\nEach turn waits for the one before: about {rounds} rounds of batches, one after the other, each answered "
            "within a day and mostly much sooner. graph=none asks for each dialogue at once"
        )
    return said


async def _fill_all(fillings: "Sequence[Filling]", engine: Engine, progress: Progress, *, window: int) -> None:
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
    for _ in range(SALVAGE_ROUNDS):
        left = sum(len(filling.unanswered) for filling in fillings)
        if not left or engine.stopped is not None:
            break
        progress.note(f"asking once more for {left:,} places of the plan that got no answer")
        async with asyncio.TaskGroup() as group:
            for filling in fillings:
                filling.salvage(group)
    engine.give_up_if_in_vain()


class Filling:
    """Fills the plan of one prompt."""

    def __init__(self, plan: Plan, opened: Session, settings: RunSettings, tally: Tally) -> None:
        self.plan = plan
        self.tally = tally
        self.group: asyncio.TaskGroup | None = None
        self.unanswered: dict[int, str] = {}  # slot -> why
        self._engine: Engine = opened.engine
        self._store: Store = opened.store
        self._writer: Writer = opened.writer
        self._asking = Asking(opened.provider, opened.provider.model(plan.prompt), plan.seed)
        self._produce = PROGRAMS[plan.prompt.program]
        self._max_attempts = settings.max_attempts
        self._retry = settings.retry
        self._models = tuple(filter(None, (self._asking.model, settings.model, *settings.also_asked)))
        self._answered = answered_slots(opened.store, plan.prompt.fingerprint, self._models)
        self._owner: dict[int, int] = {}  # text -> the lowest slot that came up with it
        self._places: dict[int, Place] = {}  # of slots that are at work, or did not get all they want from one answer
        self._short: set[int] = set()

    def known(self, first: int, last: int) -> dict[int, Known]:
        """The stored answers of slots `first` to `last`."""
        if first >= self._answered:
            return {}
        return answers(self._store, self.plan.prompt.fingerprint, self._models, first, last)

    async def fill(self, slot: Slot, known: Known) -> None:
        """Ask until the slot owns as many texts as it wants."""
        place = self._places[slot.number] = Place(known)
        await self._go_on(slot, place)

    def salvage(self, group: asyncio.TaskGroup) -> None:
        """Go on with the slots that got no answer."""
        self.group = group
        for number in list(self.unanswered):
            place = self._places[number]
            place.busy = True
            group.create_task(self._go_on(self.plan.slot(number), place))

    async def _go_on(self, slot: Slot, place: "Place") -> None:
        """Each attempt asks for what the slot's own answers lack, not for what it lost to other slots: so what is asked
        does not depend on timing."""
        self._short.discard(slot.number)
        self.unanswered.pop(slot.number, None)
        try:
            while not self._full(slot, place):
                produced = await self._produce(
                    self.plan.prompt, slot, place.attempts, max(1, self.plan.per_request - place.usable),
                    asking=self._asking, ask=lambda request: self._ask(request, place),
                )  # fmt: skip
                place.attempts += 1
                place.forgiven += not place.asked and self._forgiven(produced)
                place.asked = False
                place.answered.clear()
                usable = sum(candidate.dropped_by is None for candidate in produced.candidates)
                place.usable = min(place.usable + usable, self.plan.per_request)
                place.spare = tuple(produced.candidates)
                self._note_unusable(produced)
        except OutOfAttempts:
            self._short.add(slot.number)
        except Stopped:
            pass
        except TransientError as error:
            self.unanswered[slot.number] = str(error)
        except RequestRejected as error:
            self.tally.reject("request rejected")
            self.tally.rejection = self.tally.rejection or str(error)
            self._short.add(slot.number)
        except TilthError as error:
            self._engine.stop(error)
        finally:
            place.busy = False
            if place == self._usual(slot):
                del self._places[slot.number]
            self.tally.short = len(self._short)
            self.tally.unanswered = len(self.unanswered)
            self.tally.no_answer = next(iter(self.unanswered.values()), None)

    async def _ask(self, request: Request, place: "Place") -> Completion:
        """The durable `ask` of one attempt, which may be begun anew where a later request of it got no answer."""
        if request.id not in place.answered:
            if request.id not in place.known:
                if place.attempts >= self._max_attempts + place.forgiven:
                    raise OutOfAttempts
                place.asked = True
            place.answered[request.id] = await self._engine.ask(request, place.known)
        return place.answered[request.id]

    def _forgiven(self, produced: Produced) -> bool:
        """Whether this earlier answer is one that the user wants to have asked for again (`retry=`)."""
        refused = produced.finish in (Finish.REFUSAL, Finish.FILTER)
        return ("malformed" in self._retry and bool(produced.malformed)) or ("refusal" in self._retry and refused)

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


class OutOfAttempts(Exception):
    """A place of the plan was asked as often as it may be."""


@dataclass(slots=True)
class Place:
    """How far a slot has come: it goes on from there when a lower slot takes a text from it."""

    known: Known  # stored answers of attempts to come
    answered: Known = field(default_factory=dict)  # answers of the attempt that is under way
    asked: bool = False  # whether any of them was asked for now
    attempts: int = 0
    forgiven: int = 0  # earlier attempts that do not count, as the user wants them made again
    usable: int = 0  # texts among the slot's own answers that no check drops, `per_request` at most
    owned: int = 0
    spare: tuple[Candidate, ...] = ()  # what the last answer gave beyond the slot's want
    busy: bool = True


def _rows(candidate: Candidate) -> list[TableRow]:
    verdicts = [verdict_row(verdict, once=True) for verdict in candidate.verdicts]
    return [example_row(candidate.example, candidate.verdicts[0].at), _origin_row(candidate), *verdicts]


def _origin_row(candidate: Candidate) -> TableRow:
    return origin_row(candidate.example.id, candidate.origin, candidate.verdicts[0].at)


def _prompt_row(prompt: AnyPrompt) -> TableRow:
    return "prompts", (prompt.fingerprint, prompt.name, prompt.body(), utc(now()))
