"""Batches behind every protocol: rows in, a while, rows out, each with an outcome of its own."""

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from .faults import BATCHES, ROWS, ROWS_LASTING, draw, passing
from .ledger import Usage
from .live import Dialect, Provider, generate
from .model import Asked, Reply

State = Literal["succeeded", "errored", "invalid", "expired", "canceled"]


@dataclass(frozen=True, slots=True)
class Row:
    custom_id: str
    body: dict[str, Any]
    asked: Asked | Reply


@dataclass(frozen=True, slots=True)
class Outcome:
    custom_id: str
    state: State
    payload: Any = None  # the answer, or the Reply that says what was wrong


@dataclass(slots=True)
class Batch:
    id: str
    rows: Sequence[Row]
    batch_s: float
    fails: bool
    extra: dict[str, Any] = field(default_factory=dict)  # what the protocol wants to say of it
    created_at: float = field(default_factory=time.time)
    cancelled_at: float | None = None
    ended_at: float | None = None
    outcomes: list[Outcome] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    def count(self, state: State) -> int:
        return sum(outcome.state == state for outcome in self.outcomes)


class Batches:
    """All batches of one protocol, oldest first."""

    def __init__(self, provider: Provider, dialect: Dialect, prefix: str) -> None:
        self._provider, self._dialect, self._prefix = provider, dialect, prefix
        self.all: dict[str, Batch] = {}
        self._failures: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, rows: Sequence[Row], **extra: Any) -> Batch:
        provider = self._provider
        ledger = provider.ledger
        names = "\n".join(sorted(row.custom_id for row in rows))
        rows_hash = blake2b(names.encode(), digest_size=12).hexdigest()
        ledger.batches_submitted += 1
        ledger.batch_twice += rows_hash in ledger.batch_row_sets
        ledger.batch_row_sets.add(rows_hash)
        fails = passing(provider.config, BATCHES, rows_hash, self._failures.get(rows_hash, 0)) is not None
        self._failures[rows_hash] = self._failures.get(rows_hash, 0) + 1
        if fails:
            ledger.by_fault["batch_failed"] += 1
        identity = f"{self._prefix}{blake2b(f'{rows_hash}{len(self.all)}'.encode(), digest_size=12).hexdigest()}"
        batch = self.all[identity] = Batch(identity, rows, provider.config.batch_s, fails, extra)
        task = asyncio.get_running_loop().create_task(self._work(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return batch

    def cancel(self, batch: Batch) -> None:
        if batch.ended_at is None and batch.cancelled_at is None:
            batch.cancelled_at = time.time()
            batch.cancelled.set()

    def forget(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.all.clear()
        self._failures.clear()

    async def _work(self, batch: Batch) -> None:
        """Answers the rows when the batch's time is over; of a cancelled batch those whose turn had come."""
        began = time.monotonic()
        if batch.batch_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(batch.cancelled.wait(), batch.batch_s)
        done = len(batch.rows)
        if batch.cancelled.is_set():
            await asyncio.sleep(0.05)  # it is "canceling" for a moment
            done = int(done * min(1.0, (time.monotonic() - began) / max(batch.batch_s, 1e-9)))
        outcomes = []
        for place, row in enumerate(batch.rows):
            outcomes.append(self._outcome(row, batch.fails) if place < done else Outcome(row.custom_id, "canceled"))
            if place % 100 == 99:
                await asyncio.sleep(0)
        random.Random(batch.id).shuffle(outcomes)
        batch.outcomes = outcomes
        batch.ended_at = time.time()

    def _outcome(self, row: Row, fails: bool) -> Outcome:
        provider, name = self._provider, row.custom_id
        config, ledger = provider.config, provider.ledger
        if isinstance(row.asked, Reply):
            return Outcome(name, "invalid", row.asked)
        if fails:
            return Outcome(name, "errored", self._dialect.server_error())
        key = ledger.key(name)
        fault = passing(config, ROWS, name, key.tries) or draw(config, ROWS_LASTING, "rows", name)
        key.tries += 1
        if fault is not None:
            ledger.by_fault[fault] += 1
        match fault:
            case "row_expired":
                return Outcome(name, "expired")
            case "row_errored":
                return Outcome(name, "errored", self._dialect.server_error())
            case "row_invalid":
                return Outcome(name, "invalid", self._dialect.invalid("messages: this row is not valid"))
        payload, usage, lasting = generate(provider, self._dialect, name, row.body, row.asked, batch=True)
        ledger.by_fault.update(lasting)
        if isinstance(payload, Reply):
            return Outcome(name, "invalid", payload)
        self._pay(name, usage)
        return Outcome(name, "succeeded", payload)

    def _pay(self, name: str, usage: Usage) -> None:
        ledger = self._provider.ledger
        ledger.pay(ledger.key(name), name, usage, self._provider.config, whole=True, batch=True)
