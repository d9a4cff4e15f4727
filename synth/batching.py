"""Batch mode behind `ask`: requests are gathered into batches, and whoever asked waits until the result is on disk.

A batch goes out when no request was added for a while, or when it is as large as the provider takes. What came back without an answer
goes into the next one. Batches of runs that were interrupted or killed are picked up: a request that is in one waits for its result.
"""

import asyncio
import copy
from collections import deque
from collections.abc import Callable, Sequence

from curation.errors import InputError, ProviderError, RequestRejected, TilthError, WorkspaceError
from curation.journal import Writer
from curation.records import Completion, Request
from curation.store import Store
from synth import batch_log
from synth.batch_log import Logged
from synth.courier import Batch, Courier, Row
from synth.ledger import Ledger, Stopped
from synth.providers.base import Provider

REFUSALS = (
    40  # batches in a row that are refused, halves of halves included, before the provider's word is taken for all
)
BREATH = 500  # requests that are weighed before others have a turn


class BatchDesk:
    """Gathers what programs ask into batches, and gives them the results.

    Args:
        run: id of the run that asks.
        poll_s: how often to ask how a batch stands.
        gather_s: a batch goes out when no request was added for so long.
        note: tells the user, in a line.

    Raises:
        InputError: the provider has no batches.
    """

    def __init__(
        self, provider: Provider, store: Store, writer: Writer, ledger: Ledger, *, run: str, poll_s: float, gather_s: float,
        note: Callable[[str], None],
    ) -> None:  # fmt: skip
        if provider.batches is None:
            raise InputError(
                f"mode=batch: provider {provider.name!r} has no batches; leave it out, or use anthropic or together"
            )
        self._provider = provider
        self._service = provider.batches
        self._courier = Courier(
            provider, provider.batches, store, writer, ledger, run=run, poll_s=poll_s, note=note
        )  # fmt: skip
        self._store = store
        self._ledger = ledger
        self._run = run
        self._gather_s = gather_s
        self._note = note
        self._waiting: dict[str, Row] = {}  # everything that was asked and has no answer
        self._arrived: deque[Row] = deque()  # of that, what nobody has looked at
        self._gathered: deque[Row] = deque()  # and what the next batches are made of
        self._weight = 0  # bytes gathered
        self._following: set[Batch] = set()
        self._elsewhere: dict[str, Logged | Batch] = {}  # request -> the batch of an earlier run that it is in
        self._models: set[str] = set()
        self._refused = 0
        self._told = False
        self._news = asyncio.Event()
        self._failure: Exception | None = None
        self._group = asyncio.TaskGroup()

    async def ask(self, request: Request) -> Completion:
        """The answer to a request, once it is on disk.

        Raises:
            RequestRejected: the provider will not take it.
            TransientError: it came back from several batches without an answer.
            ProviderError: the provider will take nothing.
            Stopped: no more batches are handed over, or the next may cost more than is left.
        """
        if self._failure is not None:
            raise _another(self._failure)
        row = self._waiting.get(request.id)
        if row is None:
            row = self._waiting[request.id] = Row(request, asyncio.get_running_loop().create_future())
            self._arrived.append(row)
            self._news.set()
        try:
            return await row.answer
        finally:
            self._waiting.pop(request.id, None)

    def stop(self) -> None:
        """Hand nothing more over. Whoever waits gets `Stopped`; what is at the provider stays there, and is kept if it comes in time."""
        left = [batch for batch in self._following if batch.external is not None and batch.left]
        if left and not self._told:
            self._told = True
            self._note(
                f"{sum(len(batch.left) for batch in left):,} requests in {len(left)} batches go on at {self._provider.name}: the same "
                "command picks their answers up, or `synth batches fetch=all`; `synth batches` lists and cancels them"
            )
        self._fail(self._failure or Stopped("no more batches are handed over"))

    async def serve(self) -> None:
        """Gather, hand over, poll and fetch, until cancelled, or until the provider fails for good."""
        with self._store.hold(self._run, f"run {self._run}"):  # as long as it is held, its batches are not orphans
            try:
                async with self._group:
                    while True:
                        await self._gather()
                        await self._dispatch()
            except* TilthError as errors:
                self._fail(_first(errors))
            except* Exception as errors:
                self._fail(_first(errors))
                raise
            finally:
                self._fail(Stopped("batches are not followed any more"))

    def _fail(self, reason: Exception) -> None:
        self._failure = self._failure or reason
        self._arrived.clear()
        self._gathered.clear()
        for row in list(self._waiting.values()):
            row.settle(_another(self._failure))

    # -- gathering -----------------------------------------------------------------------------------------------

    async def _gather(self) -> None:
        """Until there is a batch full of requests, or no more came for a while."""
        await self._news.wait()
        while True:
            self._news.clear()
            await self._look_at_arrived()
            if len(self._gathered) >= self._service.most_requests or self._weight >= self._service.most_bytes:
                return
            try:
                async with asyncio.timeout(self._gather_s):
                    await self._news.wait()
            except TimeoutError:
                return

    async def _look_at_arrived(self) -> None:
        seen = 0
        while self._arrived:
            row = self._arrived.popleft()
            if row.request.model not in self._models:
                self._models.add(row.request.model)
                await self._pick_up(row.request.model)
            if self._weigh(row) and not await self._in_an_earlier_batch(row):
                self._gathered.append(row)
                self._weight += row.weight
            seen += 1
            if seen % BREATH == 0:
                await asyncio.sleep(0)

    def _weigh(self, row: Row) -> bool:
        try:
            row.weight = self._service.weigh(row.request)
            if row.weight > self._service.most_bytes:
                raise RequestRejected(
                    f"{self._provider.name}: a request of {row.weight:,} bytes is larger than a whole batch may be "
                    f"({self._service.most_bytes:,} bytes)"
                )
        except TilthError as error:
            row.settle(error)
            return False
        row.worst_usd = self._ledger.worst_usd(row.request, batch=True) or 0.0
        return True

    # -- handing over --------------------------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        """Hand over what fits into one batch and can be paid for."""
        rows, worst_usd = self._next()
        if rows:
            await self._hand_over(rows, await self._ledger.reserve(worst_usd))
            if self._gathered:
                self._news.set()
        elif self._gathered and not self._following:
            worst_usd = self._gathered[0].worst_usd
            stopped = Stopped(
                f"max_usd is used up: the next request may cost ${worst_usd:.4f}, and less than that is left"
            )
            while self._gathered:
                self._gathered.popleft().settle(stopped)
            self._weight = 0

    def _next(self) -> tuple[list[Row], float]:
        rows: list[Row] = []
        weight, worst_usd = 0, 0.0
        while self._gathered and len(rows) < self._service.most_requests:
            row = self._gathered[0]
            if row.answer.done():  # whoever asked is gone
                self._weight -= self._gathered.popleft().weight
                continue
            if weight + row.weight > self._service.most_bytes:
                break
            if not self._ledger.affordable(worst_usd + row.worst_usd):
                break
            rows.append(self._gathered.popleft())
            weight, worst_usd = weight + row.weight, worst_usd + row.worst_usd
        self._weight -= weight
        return rows, worst_usd

    async def _hand_over(self, rows: Sequence[Row], reserved_usd: float) -> None:
        """One batch; if it is refused, its halves: one bad request must not throw away the others."""
        try:
            batch = await self._courier.hand_over(rows, reserved_usd)
        except RequestRejected as error:
            self._refused += 1
            if self._refused == REFUSALS:
                raise ProviderError(str(error)) from error
            half = len(rows) // 2
            if not half:
                rows[0].settle(error)
            for some in (rows[:half], rows[half:]) if half else ():
                await self._hand_over(some, self._ledger.owe(sum(row.worst_usd for row in some)))
        else:
            self._refused = 0
            if batch.open:
                self._follow(batch)

    # -- waiting -------------------------------------------------------------------------------------------------

    def _follow(self, batch: Batch) -> None:
        self._following.add(batch)
        self._group.create_task(self._bring_back(batch))

    async def _bring_back(self, batch: Batch) -> None:
        try:
            await self._courier.recover(batch)
            await self._courier.follow(batch)
        except ProviderError as error:
            if batch.rows:
                raise
            batch.failure = error
            self._note(f"{batch.name} of an earlier run is left alone: {error}")
            return
        finally:
            self._following.discard(batch)
            self._news.set()
        for identity in batch.members:
            if self._elsewhere.get(identity) is batch:
                del self._elsewhere[identity]
        for row in reversed(batch.again):
            self._gathered.appendleft(row)
            self._weight += row.weight
        if batch.again:
            self._news.set()

    # -- batches of earlier runs ---------------------------------------------------------------------------------

    async def _pick_up(self, model: str) -> None:
        """Take over what runs that are no more left at the provider, before anything else is handed over. The batches of
        runs that are alive are left to them, unless one of our requests turns out to be in one."""
        for logged in await asyncio.to_thread(
            batch_log.open_batches, self._store, provider=self._provider.name, model=model
        ):
            if self._is_alive(logged.run):
                members = await asyncio.to_thread(batch_log.members, self._store, logged.id)
                self._elsewhere |= dict.fromkeys(members.all, logged)
            else:
                batch = await self._take_over(logged)
                await self._courier.recover(batch)
                self._follow(batch)

    def _is_alive(self, run: str) -> bool:
        try:
            with self._store.hold(run, f"run {run}"):
                return False
        except WorkspaceError:
            return True

    async def _take_over(self, logged: Logged) -> Batch:
        batch = await self._courier.adopt(logged)
        self._elsewhere |= dict.fromkeys(batch.members, batch)
        self._note(
            f"{batch.name} of an earlier run: {len(batch.left):,} of its {len(batch.members):,} answers are still to come"
        )
        return batch

    async def _in_an_earlier_batch(self, row: Row) -> bool:
        where = self._elsewhere.get(row.request.id)
        if isinstance(where, Logged):
            where = await self._take_over(where)
            self._follow(where)
        if where is None or not where.open or row.request.id not in where.left:
            return False
        if where.failure is not None:
            row.settle(_another(where.failure))
        else:
            where.rows[row.request.id] = row
        return True


def _first(errors: BaseExceptionGroup[Exception]) -> Exception:
    found: BaseException = errors
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    assert isinstance(found, Exception)
    return found


def _another(error: Exception) -> Exception:
    """The same error for each who waits: one that all share would grow by the traceback of each."""
    return copy.copy(error).with_traceback(None) if isinstance(error, TilthError) else error
