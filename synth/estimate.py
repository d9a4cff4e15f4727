"""What a run would ask and take, from a few previews that are thrown away and from what the store has answered already."""

import asyncio
import time
from dataclasses import dataclass
from itertools import islice

from curation.records import Completion, Request
from curation.store import Store
from synth.ask import answered_slots
from synth.config import EstimateSettings
from synth.plan import Plan
from synth.programs.single import produce
from synth.providers import connect


@dataclass(frozen=True, slots=True)
class Estimate:
    prompt: str
    examples: int
    requests: int  # of a faultless run
    stored: int  # slots that were asked before, by this plan
    accepted_share: float
    to_ask: int  # requests that are expected to be made now
    cost_usd: float
    seconds: float


def estimate(plan: Plan, settings: EstimateSettings) -> Estimate:
    """Preview a plan's first requests. Nothing is stored."""
    provider = connect(settings.provider, plans=[plan], offline=settings.offline)
    model = provider.model(plan.prompt)

    async def ask(request: Request) -> Completion:
        answer = await provider.answer(request)
        return Completion(request=request.id, text=answer.text, finish=answer.finish, model=answer.model)

    async def preview() -> tuple[int, int, float]:
        usable = asked = 0
        began = time.monotonic()
        for slot in islice(plan.slots(), settings.previews):
            produced = await produce(
                plan.prompt, slot, 0, plan.per_request, provider=provider.name, model=model,
                sampling={"seed": plan.seed}, ask=ask,
            )  # fmt: skip
            usable += sum(candidate.dropped_by is None for candidate in produced.candidates)
            asked += 1
        return usable, asked, (time.monotonic() - began) / asked

    usable, asked, seconds_each = asyncio.run(preview())
    share = min(1.0, usable / (asked * plan.per_request))
    stored = 0
    if (settings.workspace / "tilth.duckdb").is_file():
        stored = min(plan.size, answered_slots(Store(settings.workspace, create=False), plan.prompt.fingerprint, model))
    to_ask = round((plan.size - stored) / max(share, 1 / settings.max_attempts))
    waiting = settings.offline.latency_ms / 1000 / settings.concurrency
    return Estimate(
        prompt=plan.prompt.name, examples=plan.n, requests=plan.size, stored=stored, accepted_share=share, to_ask=to_ask,
        cost_usd=0.0, seconds=to_ask * max(seconds_each - settings.offline.latency_ms / 1000, waiting),
    )  # fmt: skip
