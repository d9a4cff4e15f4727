"""What every command that asks models opens: the store, its writer, the provider, the ledger and the engine; and how it is interrupted."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from curation.errors import InputError
from curation.journal import Writer, recover
from curation.records import canonical_json, content_id, now
from curation.store import Store
from curation.tables import utc
from synth import batch_log
from synth.ask import Engine, Limits
from synth.config import AskSettings
from synth.ledger import Ledger, Stopped
from synth.plan import Plan
from synth.pricing import Price, load_prices
from synth.progress import Progress
from synth.providers import connect
from synth.providers.base import Provider
from synth.tally import Tally, Traffic

SPENT = """
WITH mine AS (SELECT DISTINCT id FROM requests WHERE list_contains($models, model) AND list_contains($prompts, prompt_id))
SELECT coalesce((SELECT sum(cost_usd) FROM completions SEMI JOIN mine ON completions.request = mine.id), 0)
    + coalesce((SELECT sum(cost_usd) FROM losses SEMI JOIN mine ON losses.request = mine.id), 0)
"""


@dataclass(frozen=True, slots=True)
class Session:
    """Open while a command asks models; made by `session`."""

    run: str  # id of this run, in the store's table of runs
    store: Store
    writer: Writer
    provider: Provider
    model: str
    price: Price | None
    engine: Engine
    progress: Progress

    def work(self, whole: Callable[[], Awaitable[None]], tallies: Sequence[Tally]) -> None:
        """Run a coroutine to its end, showing progress. Ctrl-C or SIGTERM lets what is in flight finish; again stops at once."""
        with self.progress.watch(tallies, self.engine.traffic):
            try:
                asyncio.run(self._work(whole))
            except asyncio.CancelledError:
                self.engine.stop(Stopped("interrupted twice: what was in flight is asked again next time"))

    async def _work(self, whole: Callable[[], Awaitable[None]]) -> None:
        task = asyncio.current_task()
        assert task is not None
        draining = False

        def interrupted() -> None:
            nonlocal draining
            if draining:
                task.cancel()
                return
            draining = True
            if not self.engine.in_batches:
                self.progress.note(
                    f"stopping: {self.engine.traffic.in_flight} answers in flight will be kept; Ctrl-C again stops at once"
                )
            self.engine.stop(Stopped("interrupted"))

        loop = asyncio.get_running_loop()
        for signalled in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signalled, interrupted)
        self.engine.open()
        try:
            await whole()
        finally:
            await self.engine.close()

    @property
    def stopped(self) -> str | None:
        """Why it ended before everything was asked.

        Raises:
            TilthError: the provider, or the store, failed for good.
        """
        stopped = self.engine.stopped
        if stopped is not None and not isinstance(stopped, Stopped):
            raise stopped
        return None if stopped is None else str(stopped)


@contextmanager
def session(
    settings: AskSettings, progress: Progress, *, hold: Mapping[str, str], plans: Sequence[Plan] = (),
    spent_on: Sequence[str] = (), max_requests: int | None = None, provider: Provider | None = None,
    tallies: Sequence[Tally] = (),
) -> Iterator[Session]:  # fmt: skip
    """Open what a run needs, as the only process that asks the same.

    Args:
        hold: names of locks, with what is done under each, in words.
        plans: what the offline provider will be asked.
        spent_on: fingerprints of prompts whose earlier answers count towards `max_usd`.
        max_requests: bound on requests, if the settings give none.
        provider: a provider that is connected already, instead of the one that the settings name.
        tallies: counted while it goes on; kept in the store with the traffic when it ends.

    Raises:
        InputError: a setting, model or key that cannot be used.
        WorkspaceError: the store cannot be written, or another process is at it.
    """
    store = Store(settings.workspace)
    price = price_of(settings, provider.name if provider else settings.provider, settings.model)
    provider = provider or connect(settings, plans=plans, assets=settings.workspace / "assets", price=price)
    others = {name: price_of(settings, provider.name, name) for name in settings.also_asked}
    model = settings.model or (provider.model(plans[0].prompt) if plans else "")
    described = canonical_json(settings.model_dump(mode="json", exclude={"workspace", "as_json"}))
    started = now()
    run = content_id("rn", [described, started.isoformat()])
    traffic = Traffic()
    with contextlib.ExitStack() as held:
        for name, what in hold.items():
            held.enter_context(store.hold(name, what))
        writer = held.enter_context(Writer(store))
        if settings.mode == "live":
            for name in (model, *others):
                _refuse_what_is_in_batches(store, spent_on, provider.name, name)
        writer.append([("runs", (run, described, version("tilth"), utc(started)))], durable=True)
        spent = (
            store.rows(SPENT, {"models": [model, *others], "prompts": list(spent_on)})[0][0]
            if settings.max_usd
            else 0.0
        )
        ledger = Ledger(
            writer,
            traffic,
            run=run,
            price=price,
            max_tokens=settings.max_tokens,
            max_usd=settings.max_usd,
            spent_usd=spent,
            others=others,
        )
        desk = None
        if settings.mode == "batch":
            from synth.batching import BatchDesk

            desk = BatchDesk(
                provider, store, writer, ledger, run=run, poll_s=settings.poll_s, gather_s=settings.gather_s,
                note=progress.note,
            )  # fmt: skip
        limits = Limits(
            settings.concurrency, settings.retries, settings.timeout_s, settings.max_requests or max_requests,
            settings.requests_per_minute, settings.tokens_per_minute,
        )  # fmt: skip
        engine = Engine(provider, ledger, limits, desk=desk)
        yield Session(run, store, writer, provider, model, price, engine, progress)
        event: dict[str, Any] = {
            "tallies": [asdict(tally) for tally in tallies], "traffic": asdict(traffic),
            "stopped": None if engine.stopped is None else str(engine.stopped),
        }  # fmt: skip
        ended = now()
        row = (content_id("ev", [run, ended.isoformat()]), run, "ended", canonical_json(event), utc(ended))
        writer.append([("run_events", row)], durable=True)


def _refuse_what_is_in_batches(store: Store, prompts: Sequence[str], provider: str, model: str) -> None:
    """A live run would pay a second time for what a batch is about to answer."""
    batches = [one.id for one in batch_log.open_batches(store, provider=provider, model=model)]
    if not batches:
        return
    held = store.rows(
        "SELECT count(*) FROM requests SEMI JOIN (SELECT request AS id FROM batch_members SEMI JOIN "
        "(SELECT unnest($batches) AS batch) USING (batch)) USING (id) WHERE list_contains($prompts, prompt_id)",
        {"batches": batches, "prompts": list(prompts)},
    )[0][0]
    if held:
        raise InputError(
            f"{held:,} of these requests are in batches at {provider}; go on with mode=batch, or see `synth batches`, which "
            "fetches and cancels them"
        )


def price_of(settings: AskSettings, provider: str, model: str | None) -> Price | None:
    """What is known of the price of the model that the settings name."""
    return load_prices(settings.pricing).of(provider, model or "")


def prices_of(settings: AskSettings, provider: str, model: str | None) -> dict[str, Price | None]:
    """What is known of the prices of all models that are asked: `model`, and those beside it."""
    table = load_prices(settings.pricing)
    return {name: table.of(provider, name) for name in (model or "", *settings.also_asked)}


def existing_store(settings: AskSettings) -> Store | None:
    """The workspace's store, with what killed processes left behind; None if there is no store yet."""
    if not (settings.workspace / "tilth.duckdb").is_file():
        return None
    store = Store(settings.workspace, create=False)
    recover(store)
    return store
