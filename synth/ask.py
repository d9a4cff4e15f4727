"""The durable `ask`: what was answered before is read back, what was not is asked once and on disk before the caller goes on.

Concurrency, rate limits, retries, budget and batches live behind it and in no program. Four things are kept apart: transport failures (a
few jittered retries), rate limits (waited out, they cost no retry), answers cut off or unreadable (the program asks for the
rest), and refusals (an outcome, kept and counted). A place in flight is taken only while the provider is working.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from curation.errors import ProviderError, RequestRejected, TilthError, TransientError
from curation.records import Completion, Request
from curation.store import Store
from curation.tables import COMPLETION_COLUMNS, completion_from
from synth.ledger import Ledger, Stopped
from synth.limiter import Limiter
from synth.providers.base import OVERLOADED, RATE_LIMIT, TIMEOUT, Answer, Provider
from synth.tally import Traffic, count

if TYPE_CHECKING:
    from synth.batching import BatchDesk

Known = dict[str, Completion]  # by request id; an answer is taken out when it is read back
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.2, 30.0
PATIENCE_S = 900.0  # how long a provider may say "too much" to everything before a request is given up for now
HOPELESS = 20  # failed requests that stop a run which has had no answer at all


@dataclass(frozen=True, slots=True)
class Limits:
    """How hard a provider may be asked."""

    concurrency: int
    retries: int
    timeout_s: float
    max_requests: int | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


class Engine:
    """Asks a provider on behalf of all programs of a run; lives in one event loop, between `open` and `close`."""

    def __init__(self, provider: Provider, ledger: Ledger, limits: Limits, *, desk: "BatchDesk | None" = None) -> None:
        self.traffic: Traffic = ledger.traffic
        self.stopped: TilthError | None = None
        self._provider = provider
        self._ledger = ledger
        self._limits = limits
        self._desk = desk
        self._limiter: Limiter | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._last_answer = 0.0
        self._in_vain = 0
        self._last_failure: ProviderError | None = None
        self._jitter = random.Random()

    @property
    def in_batches(self) -> bool:
        """Whether requests are handed over in batches."""
        return self._desk is not None

    def open(self) -> None:
        self._limiter = Limiter(
            self._limits.concurrency, self.traffic, requests_per_minute=self._limits.requests_per_minute,
            tokens_per_minute=self._limits.tokens_per_minute,
        )  # fmt: skip
        self._last_answer = time.monotonic()
        if self._desk is not None:
            self._serving = asyncio.get_running_loop().create_task(self._desk.serve())

    async def close(self) -> None:
        if self._serving is not None:
            self._serving.cancel()
            await asyncio.gather(self._serving, return_exceptions=True)
        await self._provider.close()

    def stop(self, reason: TilthError) -> None:
        """Let what is in flight finish and refuse the rest; the first reason stands."""
        if self.stopped is None:
            self.stopped = reason
            self._stopping.set()
            if self._limiter is not None:
                self._limiter.turn_away(Stopped(str(reason)))
            if self._desk is not None:
                self._desk.stop()

    async def ask(self, request: Request, known: Known) -> Completion:
        """The answer to a request.

        Raises:
            Stopped: no more requests are made.
            TransientError: the provider still failed after all retries.
            RequestRejected: the provider will never answer this.
            ProviderError: it will never answer anything.
        """
        if (completion := known.pop(request.id, None)) is not None:
            self.traffic.replayed += 1
            return completion
        self._may_ask()
        try:
            if self._desk is not None:
                self.traffic.asked += 1
                completion = await self._desk.ask(request)
            else:
                completion = await self._ask_live(request)
        except Stopped as stopped:
            self.stop(stopped)
            raise
        except (TransientError, RequestRejected) as error:
            self.traffic.failed += 1
            self._in_vain += 1
            self._last_failure = error
            self.give_up_if_in_vain(HOPELESS)
            raise
        return completion

    def _may_ask(self) -> None:
        most = self._limits.max_requests
        if most is not None and self.traffic.asked + self.traffic.replayed >= most:
            self.stop(Stopped(f"max_requests={most} is used up"))
        if self.stopped is not None:
            raise Stopped(str(self.stopped))

    def give_up_if_in_vain(self, enough: int = 1) -> None:
        """A host that is not there, a schema that no request gets past: when `enough` requests failed and none was ever
        answered, stop with that, rather than fail fifty thousand times."""
        answered = self.traffic.answered + self.traffic.replayed
        if not answered and self._in_vain >= enough and self._last_failure is not None:
            self.stop(ProviderError(str(self._last_failure)))

    async def _ask_live(self, request: Request) -> Completion:
        failures = throttled = 0
        began, first = time.monotonic(), True
        while True:
            try:
                completion = await self._send(request, first=first)
                await asyncio.sleep(0)  # other answers that have come are written down before this one is made use of
                return completion
            except TransientError as error:
                first = False
                count(self.traffic.faults, error.kind)
                if self.stopped is not None:
                    raise Stopped(str(self.stopped)) from error
                if error.kind == RATE_LIMIT:
                    throttled += 1
                    self.traffic.throttled += 1
                    if time.monotonic() - max(began, self._last_answer) > PATIENCE_S:
                        raise
                    await self._back_off(throttled, error.retry_after_s)
                    continue
                failures += 1
                if failures > self._limits.retries:
                    raise
                self.traffic.retries += 1
                await self._back_off(failures, error.retry_after_s)

    async def _send(self, request: Request, *, first: bool) -> Completion:
        assert self._limiter is not None, "the engine was not opened"
        worst = self._ledger.worst_usd(request)
        slot = await self._limiter.enter(self._ledger.usual_tokens)
        reserved, tokens = 0.0, None
        try:
            reserved = await self._ledger.reserve(worst)
            if first:
                self._may_ask()
                self.traffic.asked += 1
            elif self.stopped is not None:
                raise Stopped(str(self.stopped))
            began = time.monotonic()
            answer = await self._answer(request)
            completion = self._ledger.keep(request, answer, latency_s=time.monotonic() - began)
            self._last_answer = time.monotonic()
            tokens = completion.input_tokens + completion.output_tokens
            self._limiter.succeeded(answer.headroom)
            return completion
        except TransientError as error:
            if error.kind == RATE_LIMIT:
                self._limiter.throttled(slot, error.retry_after_s)
            elif error.kind == OVERLOADED:
                self._limiter.overloaded(slot, error.retry_after_s)
            if error.maybe_paid:
                self._ledger.lose(request, error.kind)
            raise
        finally:
            self._ledger.release(reserved)
            self._limiter.leave(slot, tokens=tokens)

    async def _answer(self, request: Request) -> Answer:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await self._provider.answer(request)
        except TimeoutError as error:
            raise TransientError(
                f"{self._provider.name}: no answer in {self._limits.timeout_s:g} s (timeout_s)",
                kind=TIMEOUT,
                maybe_paid=True,
            ) from error

    async def _back_off(self, failures: int, retry_after_s: float | None) -> None:
        longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2 ** (failures - 1))
        seconds = retry_after_s if retry_after_s is not None else self._jitter.uniform(0, longest)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


def answered_slots(store: Store, prompt_id: str, models: Sequence[str]) -> int:
    """One more than the highest slot of this plan that was ever answered; 0 for a fresh plan."""
    rows = store.rows(
        "SELECT max(slot) FROM requests WHERE prompt_id = ? AND list_contains(?, model)", [prompt_id, list(models)]
    )
    return 0 if rows[0][0] is None else int(rows[0][0]) + 1


def answers_about(store: Store, prompt_id: str, model: str, examples: Sequence[str]) -> dict[str, Known]:
    """What was answered about these examples, which the requests name in their variables: example -> request id -> completion.

    Where one was answered twice, the first answer stands.
    """
    columns = ", ".join(f"completions.{name}" for name in COMPLETION_COLUMNS.split(", "))
    rows = store.rows(
        f"SELECT requests.variables ->> '$.example' AS example, {columns} "
        "FROM completions JOIN requests ON requests.id = completions.request "
        "WHERE requests.prompt_id = ? AND requests.model = ? AND example IN (SELECT unnest(?)) "
        "ORDER BY completions.made_at DESC",
        [prompt_id, model, list(examples)],
    )
    found: dict[str, Known] = {}
    for example, *row in rows:
        completion = completion_from(row)
        found.setdefault(example, {})[completion.request] = completion
    return found


def answers(store: Store, prompt_id: str, models: Sequence[str], first: int, last: int) -> dict[int, Known]:
    """What was answered for slots `first` to `last` (both included): slot -> request id -> completion.

    Where a request was answered twice (two processes, before either was stored), the first answer stands.
    """
    columns = ", ".join(f"completions.{name}" for name in COMPLETION_COLUMNS.split(", "))
    rows = store.rows(
        f"SELECT requests.slot, {columns} FROM completions JOIN requests ON requests.id = completions.request "
        "WHERE completions.slot BETWEEN $first AND $last AND requests.slot BETWEEN $first AND $last "
        "AND requests.prompt_id = $prompt AND list_contains($models, requests.model) ORDER BY completions.made_at DESC",
        {"first": first, "last": last, "prompt": prompt_id, "models": list(models)},
    )
    found: dict[int, Known] = {}
    for slot, *row in rows:
        completion = completion_from(row)
        found.setdefault(slot, {})[completion.request] = completion
    return found
