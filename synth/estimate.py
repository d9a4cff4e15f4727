"""What a run would ask, cost and take: from earlier answers in the store, or from a few previews.

A preview goes through the durable `ask`: its answer is kept, and the run that follows does not pay for it again. Only
the offline provider's are thrown away, as they cost nothing.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from curation.errors import TransientError
from curation.records import Completion, Request
from curation.store import Store
from synth.ask import answers
from synth.config import EstimateSettings, RunSettings
from synth.forecast import Forecast, Observation, Range, forecast
from synth.ledger import Stopped
from synth.plan import Plan, Slot
from synth.pricing import Price
from synth.progress import Progress
from synth.providers import connect
from synth.providers.base import Provider
from synth.run import keep_prompts, locks
from synth.sampling import Asked, Sample, stored
from synth.session import existing_store, price_of, prices_of, session

BATCH_S = 24 * 3600.0
BUSY_S = 0.003  # what this machine works on a request, as far as it was measured
# A guess without any answer: characters are worth between 1/5 and 1 token, by script and tokenizer; a text of a list takes
# 30 to 500 tokens; some models think first; of ten requests, up to five must be asked again.
TOKENS_PER_BYTE, TOKENS_PER_IMAGE, TOKENS_PER_TEXT, THINKING = (0.2, 0.6), (300, 3_000), (30, 500), (0, 3_000)
ASKED_AGAIN = (1.0, 1.5)
GUESSED_FROM = 8  # requests


@dataclass(frozen=True, slots=True)
class Estimate:
    prompt: str
    provider: str
    model: str  # several, joined by " + "
    unpriced: str | None  # a model whose price is not known
    examples: int
    requests: int  # of a faultless run
    stored: int  # places of the plan that were asked before
    sample: int  # answers that this rests on; 0: it is a guess
    accepted_share: float | None
    to_ask: Range  # requests that are expected to be made now
    input_tokens: Range
    output_tokens: Range
    live_usd: Range | None  # None: the price is not known
    batch_usd: Range | None  # None: that, or no batches
    live_s: Range | None  # None: not known before an answer was timed
    batch_s: float | None  # at most, for each round of batches
    previews: int  # requests that were asked for this
    previews_usd: float | None  # what they cost; in none of the above
    prices_as_of: str


def estimate(plan: Plan, settings: EstimateSettings) -> Estimate:
    """Estimate what is left of a plan, asking up to `previews` requests first if the store has not as many answers.

    Raises:
        InputError, ProviderError, WorkspaceError: as a run would.
    """
    price = price_of(settings, settings.provider, settings.model)
    provider = connect(settings, plans=[plan], assets=settings.workspace / "assets", price=price)
    model = provider.model(plan.prompt)
    prices = {model: price, **prices_of(settings, settings.provider, settings.model)}
    asked = Asked(plan, provider, model, prices, settings.max_attempts)
    sample = stored(asked, existing_store(settings))
    previews, usd, busy_s = 0, None if asked.unpriced else 0.0, BUSY_S
    missing = set(plan.languages) - {one.language for one in sample.observations}
    wanted = min(settings.previews, plan.size)
    if len(sample.observations) < wanted or (missing and wanted):
        slots = list(islice(plan.slots(), wanted))
        if settings.provider == "offline":
            began = time.process_time()
            sample.observations += asyncio.run(_previews(asked, slots, settings.concurrency))
            busy_s = (time.process_time() - began) / len(slots)
            previews = len(slots)
        else:
            previews, usd = _paid_previews(asked, slots, settings)
            sample = stored(asked, existing_store(settings))
    return _estimate(asked, sample, settings, previews=previews, previews_usd=usd, busy_s=busy_s)


def expected(
    plan: Plan, provider: Provider, prices: Mapping[str, Price | None], store: Store | None, settings: RunSettings
) -> Estimate:
    """Estimate without asking anything: from the store's answers, else a guess from the length of the messages."""
    model = provider.model(plan.prompt)
    asked = Asked(plan, provider, model, {model: prices.get(settings.model or ""), **prices}, settings.max_attempts)
    return _estimate(asked, stored(asked, store), settings, previews=0, previews_usd=0.0, busy_s=BUSY_S)


# -- previews ------------------------------------------------------------------------------------------------------


async def _previews(asked: Asked, slots: Sequence[Slot], concurrency: int) -> list[Observation]:
    free = asyncio.Semaphore(concurrency)

    async def answer(request: Request) -> Completion:
        async with free:
            while True:
                began = time.monotonic()
                try:
                    found = await asked.provider.answer(request)
                except TransientError:
                    continue  # it says so once or twice, then answers
                latency_s = time.monotonic() - began
                return Completion(
                    request=request.id,
                    text=found.text,
                    finish=found.finish,
                    model=found.model,
                    latency_s=latency_s,
                    cost_usd=0.0,
                )

    per_request = asked.plan.per_request
    return await asyncio.gather(
        *(asked.observe(slot, 0, per_request, answer) for slot in slots)
    )  # fmt: skip


def _paid_previews(asked: Asked, slots: Sequence[Slot], settings: EstimateSettings) -> tuple[int, float | None]:
    """Make the first attempt at each place, live, and keep the answers; how many were asked, and what they cost."""
    plan, live = asked.plan, settings.model_copy(update={"mode": "live"})
    with session(
        live, Progress(), hold=locks([plan], live), plans=[plan], spent_on=[plan.prompt.fingerprint],
        max_requests=3 * len(slots) * plan.prompt.requests_each, provider=asked.provider,
    ) as opened:  # fmt: skip
        keep_prompts(opened, [plan])
        known = answers(opened.store, plan.prompt.fingerprint, list(asked.shares), slots[0].number, slots[-1].number)

        async def ask(slot: Slot) -> None:
            stored = known.get(slot.number, {})
            try:
                await asked.produce(slot, 0, plan.per_request, lambda request: opened.engine.ask(request, stored))
            except (Stopped, TransientError) as error:
                opened.progress.note(f"a preview got no answer: {error}")

        async def whole() -> None:
            await ask(slots[0])  # alone, so that the others find what the provider caches of it
            async with asyncio.TaskGroup() as group:
                for slot in slots[1:]:
                    group.create_task(ask(slot))

        opened.work(whole, [])
        traffic = opened.engine.traffic
        opened.stopped  # noqa: B018  (raises what ended it for good)
    return traffic.asked, None if traffic.unpriced else traffic.cost_usd + traffic.lost_usd


# -- reckoning -----------------------------------------------------------------------------------------------------


def _estimate(
    asked: Asked, sample: Sample, settings: RunSettings, *, previews: int, previews_usd: float | None, busy_s: float
) -> Estimate:
    plan, seen, priced = asked.plan, sample.observations, asked.unpriced is None
    found = (
        forecast(seen, sample.places, max_attempts=asked.max_attempts)
        if seen
        else _guess(asked, sample, settings.max_tokens)
    )
    batch = asked.batch_share
    dates = [price.as_of for name in asked.shares if (price := asked.prices.get(name)) is not None and price.as_of]
    return Estimate(
        prompt=plan.prompt.name, provider=asked.provider.name, model=" + ".join(asked.shares), unpriced=asked.unpriced, examples=plan.n,
        requests=plan.requests,
        stored=sample.answered, sample=len(seen),
        accepted_share=sum(one.share * one.count for one in seen) / sum(one.count for one in seen) if seen else None,
        to_ask=found.requests, input_tokens=found.input_tokens, output_tokens=found.output_tokens,
        live_usd=found.usd if priced else None, batch_usd=None if batch is None else found.usd.times(batch),
        live_s=_live_s(found, seen, settings, busy_s), batch_s=None if batch is None else BATCH_S,
        previews=previews, previews_usd=previews_usd, prices_as_of=min(dates, default="") if priced else "",
    )  # fmt: skip


def _live_s(found: Forecast, seen: Sequence[Observation], settings: RunSettings, busy_s: float) -> Range | None:
    """Seconds that a live run takes: as long as its slowest part, be it answers, limits or this machine."""
    timed = [one.latency_s for one in seen if one.latency_s > 0]
    if not timed:
        return None
    latency = sum(timed) / len(timed)

    def seconds(requests: float, tokens: float) -> float:
        rounds = requests / min(settings.concurrency, max(1.0, requests))
        return max(
            rounds * latency,
            requests * 60 / settings.requests_per_minute if settings.requests_per_minute else 0.0,
            tokens * 60 / settings.tokens_per_minute if settings.tokens_per_minute else 0.0,
            requests * busy_s,
        )

    tokens = found.input_tokens.plus(found.output_tokens)
    return Range(
        seconds(found.requests.low, tokens.low),
        seconds(found.requests.expected, tokens.expected),
        seconds(found.requests.high, tokens.high),
    )


def _guess(asked: Asked, sample: Sample, max_tokens: int) -> Forecast:
    """What a plan may take of which no answer is known, within wide bounds."""
    slots = list(islice(asked.plan.slots(), GUESSED_FROM))
    requests = [asked.first(slot) for slot in slots]
    size = sum(len(message.content.encode()) for request in requests for message in request.messages) / len(requests)
    images = sum(len(message.images) for request in requests for message in request.messages) / len(requests)
    number = sum(count for (_, need, _), count in sample.places.items() if need)
    bounds = []
    for side in (0, 1):
        tokens_in = size * TOKENS_PER_BYTE[side] + images * TOKENS_PER_IMAGE[side]
        tokens_out = min(max_tokens, asked.plan.per_request * TOKENS_PER_TEXT[side] + THINKING[side])
        usd = asked.mean_usd(tokens_in, tokens_out)
        again = number * ASKED_AGAIN[side] * asked.plan.prompt.requests_each
        bounds.append((again, again * tokens_in, again * tokens_out, again * usd))
    return Forecast(*(Range(low, (low * high) ** 0.5, high) for low, high in zip(*bounds, strict=True)))
