"""One batch's way: written down, handed over, polled, its results kept. A process may die at any point of it.

Whatever is done to the outside is written down before (what will be handed over) and after (what the provider called it); what a process
died in between is settled by asking the provider. Results are kept one by one, so a batch that ended can be fetched again
by whoever comes next, and by two at once: an answer's id is a hash of it, and the second copy adds nothing.
"""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import count as count_from
from typing import TypeVar

from curation.errors import ProviderError, TransientError, WorkspaceError
from curation.journal import Writer
from curation.records import Completion, Request, now
from curation.store import Store
from synth import batch_log
from synth.batch_log import Event, Logged
from synth.ledger import Ledger
from synth.providers.base import OVERLOADED, RATE_LIMIT, SERVER, Answer, Batches, Provider
from synth.tally import count

Result = TypeVar("Result")
ROUNDS = 5  # batches that a request may come back from without an answer
SUBMISSIONS = 5  # attempts to hand a batch over; being told that it is too much does not count
FIRST_WAIT_S = 8.0
PATIENCE = 12  # times in a row that a provider may fail to say how a batch stands; over an hour, as the waits grow
LONGEST_WAIT_S = 600.0
LATE_S = 15.0  # how long after its process died a batch may still show up at the provider
RESULTS = 250  # results that are kept before their askers go on


@dataclass(slots=True, eq=False)
class Row:
    """A request that somebody waits for, on its way through batches."""

    request: Request
    answer: asyncio.Future[Completion]
    weight: int = 0  # bytes
    worst_usd: float = 0.0
    rounds: int = 0
    failed: bool = False  # it was in a batch that came to nothing as a whole

    def settle(self, outcome: Completion | BaseException) -> None:
        if self.answer.done():  # whoever asked was told to stop, or is gone
            return
        if isinstance(outcome, BaseException):
            self.answer.set_exception(outcome)
        else:
            self.answer.set_result(outcome)


@dataclass(slots=True, eq=False)
class Batch:
    id: str
    run: str
    made_at: datetime
    left: set[str]  # requests whose outcome is not known
    rows: dict[str, Row]  # those of them that somebody waits for
    members: frozenset[str]
    reserved_usd: float = 0.0
    external: str | None = None
    found: bool = False
    doubtful: bool = False  # it may have reached the provider, who gave us no id
    open: bool = True
    answered: int = 0
    rejected: int = 0
    cost_usd: float | None = 0.0
    failure: ProviderError | None = None  # why nobody follows it
    again: list[Row] = field(default_factory=list)  # what came back without an answer

    @property
    def name(self) -> str:
        return f"batch {self.id[:12]}"


class Courier:
    """Takes batches to a provider and brings back the results.

    Args:
        run: whose answers they are.
        poll_s: how often to ask how a batch stands.
    """

    def __init__(
        self, provider: Provider, service: Batches, store: Store, writer: Writer, ledger: Ledger, *, run: str,
        poll_s: float, note: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._provider = provider
        self._service = service
        self._store = store
        self._writer = writer
        self._ledger = ledger
        self._run = run
        self._poll_s = poll_s
        self._note = note
        self._heard = False  # a word of the provider

    # -- there ---------------------------------------------------------------------------------------------------

    async def hand_over(self, rows: Sequence[Row], reserved_usd: float) -> Batch:
        """Submit requests as one batch. It is closed if the provider refused it, or if nothing was left to ask.

        Raises:
            RequestRejected: the provider will not take it, whoever of them is to blame.
            ProviderError: it will take none.
        """
        batch = Batch("", self._run, now(), set(), {}, frozenset(), reserved_usd)
        try:
            rows = await self._not_answered(rows)
            if rows:
                await self._submit(batch, rows)
            else:
                batch.open = False
        except BaseException:
            if batch.id and not batch.doubtful and batch.external is None:
                self.close(batch, Event.ABANDONED)
            raise
        finally:
            if batch.external is None:
                self._release(batch)
        return batch

    async def _not_answered(self, rows: Sequence[Row]) -> list[Row]:
        """Another process may have fetched an answer since it was looked for."""
        stored = await asyncio.to_thread(batch_log.answers, self._store, [row.request.id for row in rows])
        for row in rows:
            if row.request.id in stored:
                row.settle(stored[row.request.id])
        return [row for row in rows if not row.answer.done()]

    async def _submit(self, batch: Batch, rows: Sequence[Row]) -> None:
        requests = [row.request for row in rows]
        worst = None if self._ledger.worst_usd(requests[0], batch=True) is None else sum(row.worst_usd for row in rows)
        batch.id = await asyncio.to_thread(
            batch_log.intend, self._writer, requests, run=self._run, worst_usd=worst, at=batch.made_at
        )
        batch.members = frozenset(request.id for request in requests)
        batch.rows = {row.request.id: row for row in rows}
        tries = failures = 0
        while batch.external is None:
            batch.doubtful = True
            try:
                await self._submitted(batch, asyncio.ensure_future(self._service.submit(batch.id, requests)))
            except TransientError as error:
                tries += 1
                failures += error.kind not in (RATE_LIMIT, OVERLOADED)
                batch.doubtful = error.maybe_paid or error.kind == SERVER
                await self._put_off(error, tries, failures == SUBMISSIONS)
                if batch.doubtful:
                    await self._look_for(batch)
            except ProviderError:
                batch.doubtful = False
                raise
        self._board(batch, batch.members)
        self._ledger.traffic.batches += 1
        self._note(f"{batch.name}: {len(requests):,} requests handed over to {self._provider.name} as {batch.external}")

    async def _submitted(self, batch: Batch, submission: asyncio.Future[str]) -> None:
        """Told to stop, first hear what the provider calls the batch; told twice, do not."""
        try:
            self._got(batch, await asyncio.shield(submission))
        except asyncio.CancelledError:
            with contextlib.suppress(ProviderError):
                self._got(batch, await submission)
            raise

    def _got(self, batch: Batch, external: str, *, found: bool = False) -> None:
        batch.external, batch.found, self._heard = external, found, True
        batch_log.record(
            self._writer, batch.id, Event.SUBMITTED, external=external, **({"found": True} if found else {})
        )

    def _board(self, batch: Batch, requests: frozenset[str]) -> None:
        """Count these requests as in flight."""
        batch.left = set(requests)
        self._ledger.traffic.in_flight += len(requests)

    # -- lost and found ------------------------------------------------------------------------------------------

    async def adopt(self, logged: Logged) -> Batch:
        """Take over a batch that another process wrote down."""
        members = await asyncio.to_thread(batch_log.members, self._store, logged.id)
        batch = Batch(
            logged.id, logged.run, logged.made_at, set(), {}, members.all, self._ledger.owe(logged.worst_usd),
            logged.external, logged.found, answered=members.answered, cost_usd=members.cost_usd,
        )  # fmt: skip
        self._board(batch, members.left)
        return batch

    async def recover(self, batch: Batch) -> None:
        """Find out whether a batch that was about to be handed over ever was; it is closed if not."""
        while batch.external is None and batch.open:
            with contextlib.ExitStack() as held:
                try:
                    held.enter_context(self._store.hold(batch.run, "handing over a batch"))
                except WorkspaceError:  # it is only just being handed over
                    await asyncio.sleep(self._poll_s)
                    await self._read_again(batch)
                    continue
                await self._look_for(batch)
                if batch.external is None:
                    self._note(f"{batch.name} of {len(batch.left):,} requests never reached {self._provider.name}")
                    self.close(batch, Event.ABANDONED)

    async def _read_again(self, batch: Batch) -> None:
        known = {one.id: one for one in await asyncio.to_thread(batch_log.batches, self._store)}[batch.id]
        batch.external, batch.found = known.external, known.found
        if not known.open:
            self._leave(batch)

    async def _look_for(self, batch: Batch) -> None:
        while True:
            await asyncio.to_thread(self._writer.flush)
            taken = await asyncio.to_thread(batch_log.taken, self._store, self._provider.name)
            candidates = await self._patiently(
                partial(self._service.find, batch.id, len(batch.members), batch.made_at, taken)
            )
            if candidates:
                self._note(f"{batch.name} was found at {self._provider.name} as {candidates[0]}")
                self._got(batch, candidates[0], found=True)
                return
            late = LATE_S - (now() - batch.made_at).total_seconds()
            if late <= 0:
                return
            await asyncio.sleep(min(late, 1.0))

    # -- and back ------------------------------------------------------------------------------------------------

    async def follow(self, batch: Batch) -> None:
        """Wait until a batch ended and keep its results; it is closed then, and `again` is what has no answer.

        Raises:
            ProviderError: the provider will not say how it stands, or its requests failed as a whole twice.
        """
        while batch.open and batch.external is not None:
            failure = await self._until_ended(batch, batch.external)
            if failure and not batch.found:
                self._fail(batch, failure)
            elif failure or not await self._patiently(partial(self._fetch, batch)):
                self._note(f"{batch.name} is not {batch.external}, {failure or 'whose results are of other requests'}")
                batch.external = None
                await self._look_for(batch)
                if batch.external is None:
                    self.close(batch, Event.ABANDONED)

    async def _until_ended(self, batch: Batch, external: str) -> str | None:
        try:
            while not (state := await self._patiently(partial(self._service.state, external))).ended:
                await asyncio.sleep(self._poll_s)
        except ProviderError as error:
            if batch.run == self._run:
                raise
            raise ProviderError(
                f"{error} (asked for {batch.name} of an earlier run, {external}; if it is lost, `synth batches "
                f"forget={batch.id[:12]}` has its requests asked again)"
            ) from error
        return state.failure

    def _fail(self, batch: Batch, failure: str) -> None:
        twice = any(row.failed for row in batch.rows.values())
        for row in batch.rows.values():
            row.failed = True
        self.close(batch, Event.FAILED, reason=failure)
        self._note(f"{batch.name} failed as a whole: {failure}")
        if twice:
            raise ProviderError(f"{self._provider.name}: two batches in a row failed as a whole: {failure}")

    async def _fetch(self, batch: Batch) -> bool:
        """Keep results as they stream in; False if they are not of this batch."""
        assert batch.external is not None
        async with contextlib.aclosing(_some(self._service.results(batch.external), RESULTS)) as chunks:
            async for chunk in chunks:
                if batch.found and any(request not in batch.members for request, _ in chunk):
                    return False
                self._keep(batch, dict(chunk), await self._requests(batch, [request for request, _ in chunk]))
        missing = TransientError(
            f"{self._provider.name}: a batch ended without a result for the request", kind="no result"
        )
        self._keep(batch, dict.fromkeys(batch.left, missing), {})
        if batch.open:
            self._finish(batch)
        return True

    async def _requests(self, batch: Batch, wanted: Sequence[str]) -> dict[str, Request]:
        """The requests themselves: from those who wait for them, or read back."""
        here = {identity: batch.rows[identity].request for identity in wanted if identity in batch.rows}
        absent = [identity for identity in wanted if identity in batch.left and identity not in here]
        if not absent:
            return here
        return here | await asyncio.to_thread(batch_log.requests, self._store, absent)

    def _keep(self, batch: Batch, outcomes: dict[str, Answer | ProviderError], requests: dict[str, Request]) -> None:
        """No await in here: when somebody goes on with the last result, the batch is written down as fetched."""
        settled: list[tuple[Row, Completion | ProviderError]] = []
        for identity, outcome in outcomes.items():
            if identity not in batch.left:
                continue  # kept before, by us or by a process that died
            row = batch.rows.get(identity)
            if isinstance(outcome, Answer):
                completion = self._ledger.keep(requests[identity], outcome, batch=True)
                cost = completion.cost_usd
                batch.cost_usd = None if cost is None or batch.cost_usd is None else batch.cost_usd + cost
                batch.answered += 1
                if row:
                    settled.append((row, completion))
            elif isinstance(outcome, TransientError):
                count(self._ledger.traffic.faults, outcome.kind)
                if row and row.rounds + 1 < ROUNDS:
                    row.rounds += 1
                    batch.again.append(row)
                    self._ledger.traffic.retries += 1
                elif row:
                    settled.append((row, outcome))
            else:
                batch.rejected += 1
                if row:
                    settled.append((row, outcome))
            batch.left.discard(identity)
            self._ledger.traffic.in_flight -= 1
        if not batch.left and batch.open:
            self._finish(batch)
        for row, result in settled:
            row.settle(result)

    def _finish(self, batch: Batch) -> None:
        unanswered = len(batch.members) - batch.answered - batch.rejected
        counts = {"answered": batch.answered, "unanswered": unanswered, "rejected": batch.rejected}
        self.close(batch, Event.FETCHED, **counts, cost_usd=batch.cost_usd)
        cost = "cost unknown" if batch.cost_usd is None else f"${batch.cost_usd:,.4f}"
        said = ", ".join(f"{count:,} {what}" for what, count in counts.items() if count or what == "answered")
        self._note(f"{batch.name} ended: {said}, {cost}")

    def close(self, batch: Batch, event: Event, **body: object) -> None:
        """Write down that nothing more will come of a batch; whom it owes an answer is in `again`."""
        batch_log.record(self._writer, batch.id, event, **body)
        self._leave(batch)

    def _leave(self, batch: Batch) -> None:
        batch.open = False
        batch.again += [row for identity, row in batch.rows.items() if identity in batch.left]
        self._ledger.traffic.in_flight -= len(batch.left)
        self._release(batch)

    def _release(self, batch: Batch) -> None:
        self._ledger.release(batch.reserved_usd)
        batch.reserved_usd = 0.0

    async def _patiently(self, ask: Callable[[], Awaitable[Result]]) -> Result:
        """The provider's word, however long it takes: a batch goes on without us. Who never said a word is not waited for so long."""
        for tries in count_from(1):
            try:
                result = await ask()
                self._heard = True
                return result
            except TransientError as error:
                await self._put_off(error, tries, tries == (PATIENCE if self._heard else SUBMISSIONS))
        raise AssertionError("it counts to no end")

    async def _put_off(self, error: TransientError, tries: int, give_up: bool) -> None:
        count(self._ledger.traffic.faults, error.kind)
        if give_up:
            raise ProviderError(
                f"{error} ({tries} attempts; what is at the provider goes on there, and the same command picks it up)"
            ) from error
        if tries == 2:
            self._note(f"{error}; trying again")
        longest = LONGEST_WAIT_S if self._heard else FIRST_WAIT_S
        await asyncio.sleep(max(error.retry_after_s or 0.0, min(self._poll_s * 2 ** (tries - 1), longest)))


async def _some(results: AsyncIterator[Result], size: int) -> AsyncGenerator[list[Result], None]:
    chunk: list[Result] = []
    try:
        async for result in results:
            chunk.append(result)
            if len(chunk) == size:
                yield chunk
                chunk = []
        if chunk:
            yield chunk
    finally:
        if isinstance(results, AsyncGenerator):  # it holds a connection
            await results.aclose()
