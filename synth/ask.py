"""The durable `ask`: what was answered before is read back, what was not is asked once and on disk before the caller goes on.

Concurrency, retries and limits live here and in no program. A slot is taken only while the provider is working.
"""

import asyncio
import random
import time

from curation.errors import TilthError, TransientError
from curation.journal import Writer
from curation.records import Completion, Request, now
from curation.store import Store
from curation.tables import COMPLETION_COLUMNS, completion_from, completion_row, request_row
from synth.providers.base import Provider
from synth.tally import Traffic

Known = dict[str, Completion]  # by request id; an answer is taken out when it is read back
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.2, 30.0


class Stopped(TilthError):
    """No more requests are made: a limit was met, the user said stop, or the provider failed for good."""


class Engine:
    """Asks a provider on behalf of all programs of a run.

    Args:
        max_requests: bound on requests of the run, replayed ones included; None for no bound.
        retries: how often a request is sent again after a `TransientError`.
    """

    def __init__(
        self,
        provider: Provider,
        writer: Writer,
        *,
        run: str,
        concurrency: int,
        retries: int,
        max_requests: int | None = None,
    ) -> None:
        self.traffic = Traffic()
        self.stopped: TilthError | None = None
        self._provider = provider
        self._writer = writer
        self._run = run
        self._slots = asyncio.Semaphore(concurrency)
        self._retries = retries
        self._max_requests = max_requests
        self._jitter = random.Random()

    def stop(self, reason: TilthError) -> None:
        """Let what is in flight finish and refuse the rest; the first reason stands."""
        self.stopped = self.stopped or reason

    async def ask(self, request: Request, known: Known) -> Completion:
        """The answer to a request.

        Raises:
            Stopped: no more requests are made.
            TransientError: the provider still failed after all retries.
            ProviderError: the provider will never answer this.
        """
        if (completion := known.pop(request.id, None)) is not None:
            self.traffic.replayed += 1
            return completion
        async with self._slots:
            self._may_ask()
            self.traffic.asked += 1
            self.traffic.in_flight += 1
            try:
                return await self._ask_provider(request)
            finally:
                self.traffic.in_flight -= 1

    def _may_ask(self) -> None:
        if self._max_requests is not None and self.traffic.asked + self.traffic.replayed >= self._max_requests:
            self.stop(Stopped(f"max_requests={self._max_requests} is used up"))
        if self.stopped is not None:
            raise Stopped(str(self.stopped))

    async def _ask_provider(self, request: Request) -> Completion:
        for attempt in range(self._retries + 1):
            began = time.monotonic()
            try:
                answer = await self._provider.answer(request)
            except TransientError as error:
                if self.stopped is not None:
                    raise Stopped(str(self.stopped)) from error
                if attempt == self._retries:
                    self.traffic.failed += 1
                    raise
                self.traffic.retries += 1
                await asyncio.sleep(self._backoff(attempt, error.retry_after_s))
                continue
            completion = Completion(
                request=request.id, text=answer.text, finish=answer.finish, input_tokens=answer.input_tokens,
                output_tokens=answer.output_tokens, cost_usd=answer.cost_usd, latency_s=time.monotonic() - began,
                model=answer.model, raw=answer.raw, at=now(),
            )  # fmt: skip
            rows = [request_row(request, completion.at), completion_row(completion, run=self._run, slot=request.slot)]
            self._writer.append(rows, durable=True)  # no await since the answer came: it cannot get lost between
            self._count(completion)
            return completion
        raise AssertionError("the last attempt returns or raises")

    def _backoff(self, attempt: int, retry_after_s: float | None) -> float:
        longest = min(LONGEST_BACKOFF_S, FIRST_BACKOFF_S * 2**attempt)
        return retry_after_s if retry_after_s is not None else self._jitter.uniform(0, longest)

    def _count(self, completion: Completion) -> None:
        traffic = self.traffic
        traffic.input_tokens += completion.input_tokens
        traffic.output_tokens += completion.output_tokens
        finish = str(completion.finish)
        traffic.finishes[finish] = traffic.finishes.get(finish, 0) + 1
        if completion.cost_usd is None:
            traffic.unpriced += 1
        else:
            traffic.cost_usd += completion.cost_usd


def answered_slots(store: Store, prompt_id: str, model: str) -> int:
    """One more than the highest slot of this plan that was ever answered; 0 for a fresh plan."""
    rows = store.rows("SELECT max(slot) FROM requests WHERE prompt_id = ? AND model = ?", [prompt_id, model])
    return 0 if rows[0][0] is None else int(rows[0][0]) + 1


def answers(store: Store, prompt_id: str, model: str, first: int, last: int) -> dict[int, Known]:
    """What was answered for slots `first` to `last` (both included): slot -> request id -> completion.

    Where a request was answered twice (two processes, before either was stored), the first answer stands.
    """
    columns = ", ".join(f"completions.{name}" for name in COMPLETION_COLUMNS.split(", "))
    rows = store.rows(
        f"SELECT requests.slot, {columns} FROM completions JOIN requests ON requests.id = completions.request "
        "WHERE completions.slot BETWEEN $first AND $last AND requests.slot BETWEEN $first AND $last "
        "AND requests.prompt_id = $prompt AND requests.model = $model ORDER BY completions.made_at DESC",
        {"first": first, "last": last, "prompt": prompt_id, "model": model},
    )
    found: dict[int, Known] = {}
    for slot, *row in rows:
        completion = completion_from(row)
        found.setdefault(slot, {})[completion.request] = completion
    return found
