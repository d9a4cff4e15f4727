"""`synth batches`: what is at the providers, cancelling it, and fetching what is done."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from curation.errors import InputError, NotFound, ProviderError, TilthError
from curation.journal import Writer, open_store
from curation.records import now
from curation.store import Store
from synth import batch_log
from synth.batch_log import Event, Logged
from synth.config import AskSettings, BatchesSettings
from synth.courier import Courier
from synth.ledger import Ledger
from synth.pricing import load_prices
from synth.progress import dollars, duration
from synth.providers import connect
from synth.providers.base import Batches, BatchState, Provider
from synth.tally import Traffic

CANCELLING_S = 10  # how long to wait for a cancelled batch to end
SHORT = 12  # characters of an id that are shown


@dataclass(frozen=True, slots=True)
class Seen:
    """A batch, and how it stands."""

    batch: Logged
    state: BatchState | None = None  # None: nobody was asked
    unasked: str = ""  # why an open batch's provider could not say

    @property
    def words(self) -> str:
        last = str(self.batch.last or "not handed over")
        if not self.batch.open:
            return last
        if self.state is None:
            return f"{last} (last known)"
        done = "" if self.state.done is None or self.state.ended else f", {self.state.done:,} done"
        return f"{self.state.words}{done}" + (", to be fetched" if self.state.ended else "")


def batches_command(settings: BatchesSettings) -> int:
    if sum(map(bool, (settings.cancel, settings.fetch, settings.forget))) > 1:
        raise InputError("cancel, fetch and forget: give one of them; a cancelled batch is fetched anyway")
    store = open_store(settings.workspace)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    known = batch_log.batches(store)
    if settings.cancel:
        return asyncio.run(_cancel(_named(known, settings.cancel), store, settings, console))
    if settings.fetch:
        chosen = [one for one in known if one.open] if settings.fetch == "all" else [_named(known, settings.fetch)]
        return asyncio.run(_fetch(chosen, store, settings, console))
    if settings.forget:
        return _forget(_named(known, settings.forget), store, console)
    seen = asyncio.run(_look(known, store, settings))
    if settings.as_json:
        print(json.dumps([_described(one) for one in seen]))
    elif seen:
        _show(seen, console)
    else:
        console.print("No batches. `synth run mode=batch` hands requests over in batches.")
    return 0


def _named(known: Sequence[Logged], name: str) -> Logged:
    """The batch whose id, ours or the provider's, begins like that."""
    found = [one for one in known if one.id.startswith(name) or (one.external or "").startswith(name)]
    exact = [one for one in found if name in (one.id, one.external)]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if not found:
        raise NotFound(f"no batch {name!r}; `synth batches` lists them")
    some = ", ".join(one.id[:20] for one in found[:3])
    raise InputError(f"batch {name!r}: more than one begins like that: {some}; give more of it")


def _external(batch: Logged) -> str:
    if batch.external is None:
        raise ProviderError(
            f"batch {batch.id[:SHORT]} was not handed over, or nobody heard its id; fetch={batch.id[:SHORT]} finds out"
        )
    return batch.external


# -- asking the providers ----------------------------------------------------------------------------------------


class _Service:
    """The batch service that some batches are at."""

    def __init__(self, batch: Logged, store: Store, settings: BatchesSettings) -> None:
        rows = store.rows("SELECT settings FROM runs WHERE id = ?", [batch.run])
        asked = json.loads(rows[0][0]) if rows else {}
        self.price = load_prices(settings.pricing).of(batch.provider, batch.model)
        self.provider: Provider = connect(
            AskSettings(
                workspace=settings.workspace, provider=batch.provider, model=batch.model, mode="batch",
                base_url=settings.base_url or asked.get("base_url"), timeout_s=settings.timeout_s,
            ),
            assets=settings.workspace / "assets", price=self.price,
        )  # fmt: skip
        if self.provider.batches is None:
            raise InputError(f"provider {batch.provider!r} has no batches")
        self.batches: Batches = self.provider.batches

    async def state(self, batch: Logged) -> BatchState:
        return await self.batches.state(_external(batch))


@asynccontextmanager
async def _service(batch: Logged, store: Store, settings: BatchesSettings) -> AsyncIterator[_Service]:
    service = _Service(batch, store, settings)
    try:
        yield service
    finally:
        await service.provider.close()


async def _look(known: Sequence[Logged], store: Store, settings: BatchesSettings) -> list[Seen]:
    found = []
    for batch in known:
        state, unasked = None, ""
        if batch.open:
            try:
                async with _service(batch, store, settings) as service:
                    state = await service.state(batch)
            except TilthError as error:
                unasked = str(error)
        found.append(Seen(batch, state, unasked))
    return found


async def _cancel(batch: Logged, store: Store, settings: BatchesSettings, console: Console) -> int:
    name = f"batch {batch.id[:SHORT]}"
    if not batch.open:
        console.print(f"{name}: nothing to cancel, it is {batch.last}")
        return 1
    async with _service(batch, store, settings) as service:
        state = await service.state(batch)
        if not state.ended:
            await service.batches.cancel(_external(batch))
            with Writer(store) as writer:
                batch_log.record(writer, batch.id, Event.CANCELLED)
            console.print(f"{name}: cancelled; what was done before is kept and fetched")
        for _ in range(CANCELLING_S):
            if state.ended:
                break
            await asyncio.sleep(1)
            state = await service.state(batch)
    if state.ended:
        return await _fetch([batch], store, settings, console)
    console.print(f"{name}: {state.words}. Next:  synth batches fetch={batch.id[:SHORT]}")
    return 0


def _forget(batch: Logged, store: Store, console: Console) -> int:
    if not batch.open:
        console.print(f"batch {batch.id[:SHORT]}: {batch.last} already")
        return 1
    with store.hold(batch.run, "the run that handed the batch over"), Writer(store) as writer:
        batch_log.record(writer, batch.id, Event.ABANDONED, forgotten=True)
    console.print(f"batch {batch.id[:SHORT]}: forgotten; the next run asks for what it has no answer to")
    return 0


async def _fetch(chosen: Sequence[Logged], store: Store, settings: BatchesSettings, console: Console) -> int:
    """A run that polls the same batch meanwhile does no harm: both keep the same rows, under the same ids."""
    running = 0
    with Writer(store) as writer:
        for batch in chosen:
            name = f"batch {batch.id[:SHORT]}"
            if not batch.open:
                console.print(f"{name}: {batch.last} already")
                continue
            async with _service(batch, store, settings) as service:
                ledger = Ledger(writer, Traffic(), run=batch.run, price=service.price, max_tokens=1)
                courier = Courier(
                    service.provider,
                    service.batches,
                    store,
                    writer,
                    ledger,
                    run=batch.run,
                    poll_s=1,
                    note=console.print,
                )
                state = await service.state(batch) if batch.external else None
                if state is not None and not state.ended:
                    running += 1
                    done = "" if state.done is None else f", {state.done:,} of {batch.requests:,} done"
                    console.print(f"{name}: {state.words}{done}; there is nothing to fetch before it ends")
                    continue
                taken = await courier.adopt(batch)
                await courier.recover(taken)
                await courier.follow(taken)
    if not chosen:
        console.print("Nothing to fetch: no batch is open.")
    elif running < len(chosen):
        console.print("Next:  run the same command as before; it reads these answers back and asks for the rest")
    return 0


# -- showing -----------------------------------------------------------------------------------------------------


def _described(seen: Seen) -> dict[str, Any]:
    batch = seen.batch
    return {
        "id": batch.id, "provider": batch.provider, "model": batch.model, "requests": batch.requests, "open": batch.open,
        "state": seen.state.words if seen.state else batch.last, "ended": seen.state.ended if seen.state else not batch.open,
        "done": seen.state.done if seen.state else None, "asked": seen.state is not None, "unasked": seen.unasked or None,
        "age_s": round((now() - batch.made_at).total_seconds(), 1), "cost_usd": batch.outcome.get("cost_usd"),
        "at_most_usd": batch.worst_usd if batch.open else None, "outcome": batch.outcome, "external": batch.external,
        "run": batch.run,
    }  # fmt: skip


def _show(found: Sequence[Seen], console: Console) -> None:
    grid = [
        (
            one.batch.id[:SHORT], f"{one.batch.requests:,} requests", one.words, _cost(one.batch),
            f"{duration((now() - one.batch.made_at).total_seconds())} old",
        )
        for one in found
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    for one, cells in zip(found, grid, strict=True):
        console.print("  ".join(map(str.ljust, cells, widths)).rstrip())
        there = one.batch.external or "no id heard"
        console.print(f"{'':{SHORT}}  {one.batch.provider} {one.batch.model}: {there}")
    for reason in dict.fromkeys(one.unasked for one in found if one.unasked):
        console.print(f"last known: {reason}")
    if waiting := [one for one in found if one.batch.open]:
        console.print(
            f"{len(waiting)} open. Next:  synth batches fetch=all · synth batches cancel={waiting[0].batch.id[:SHORT]} · the command "
            "that made them goes on with them"
        )


def _cost(batch: Logged) -> str:
    if batch.open:
        return "unknown" if batch.worst_usd is None else f"at most {dollars(batch.worst_usd)}"
    if batch.last is not Event.FETCHED:
        return "none"
    cost = batch.outcome.get("cost_usd")
    return "unknown" if cost is None else dollars(cost)
