"""What the store knows of a plan: a sample of its answers, and how far its places are."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from curation.records import Completion, Finish, Request
from curation.store import Store
from curation.tables import COMPLETION_COLUMNS, completion_from
from synth.forecast import Observation
from synth.plan import Plan, Slot
from synth.pricing import Price
from synth.programs.single import produce, request_for
from synth.providers.base import Provider

PLACES = 120  # answered places of the plan that are looked at
OTHERS = 200  # answers of other plans of the same prompt and model

_ANSWERED = """
WITH mine AS (
    SELECT DISTINCT slot FROM requests SEMI JOIN completions ON completions.request = requests.id
    WHERE prompt_id = $prompt AND requests.model = $model AND provider = $provider AND attempt = 0 AND slot < $size
)
SELECT slot, (SELECT count(*) FROM mine) FROM mine ORDER BY hash(slot) LIMIT $most
"""
_ANSWERS = f"""
SELECT requests.variables, requests.sampling, requests.slot, requests.attempt,
    EXISTS (SELECT 1 FROM batch_members WHERE batch_members.request = requests.id) AS batched,
    {", ".join(f"completions.{name}" for name in COMPLETION_COLUMNS.split(", "))}
FROM requests JOIN completions ON completions.request = requests.id
WHERE prompt_id = $prompt AND requests.model = $model AND provider = $provider
"""


@dataclass(slots=True)
class Sample:
    """Answers to go by, and where the plan's places stand."""

    observations: list[Observation] = field(default_factory=list)
    places: dict[tuple[str, int, int], float] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)  # requests that were observed
    answered: int = 0  # places of the plan that were asked before, at a reckoning


@dataclass(frozen=True, slots=True)
class Asked:
    """What a provider would be asked for a plan, and what its answers cost."""

    plan: Plan
    provider: Provider
    model: str
    price: Price | None
    max_attempts: int

    def request(self, slot: Slot, attempt: int, count: int) -> Request:
        return request_for(
            self.plan.prompt, slot, attempt, count, provider=self.provider, model=self.model, seed=self.plan.seed
        )

    async def observe(
        self, slot: Slot, request: Request, ask: Callable[[Request], Awaitable[Completion]], *, batched: bool = False
    ) -> Observation:
        """Ask, and read the answer as a run would."""
        kept: list[Completion] = []

        async def asking(asked: Request) -> Completion:
            kept.append(await ask(asked))
            return kept[0]

        produced = await produce(self.plan.prompt, slot, request, ask=asking)
        completion = kept[0]
        usd, output_usd = self._usd(completion, batched=batched)
        return Observation(
            language=slot.language, count=int(request.variables["per_request"]),
            usable=sum(candidate.dropped_by is None for candidate in produced.candidates),
            input_tokens=completion.input_tokens, output_tokens=completion.output_tokens, usd=usd, output_usd=output_usd,
            latency_s=0.0 if batched else completion.latency_s,
            refused=completion.finish in (Finish.REFUSAL, Finish.FILTER),
        )  # fmt: skip

    def _usd(self, completion: Completion, *, batched: bool) -> tuple[float, float]:
        """What an answer costs when it is asked live, and the part of it that its own length makes."""
        if self.price is None:
            return 0.0, 0.0
        share = self.price.batch or 1.0 if batched else 1.0
        output = completion.output_tokens * self.price.output / 1e6
        if completion.cost_usd is None:
            return completion.input_tokens * self.price.input / 1e6 + output, output
        return completion.cost_usd / share, min(output, completion.cost_usd / share)


def stored(asked: Asked, store: Store | None) -> Sample:
    """The sample that the store has; empty, and all places open, if there is none."""
    sample = Sample()
    if store is not None:
        asyncio.run(_fill(sample, asked, store))
    _open_places(sample, asked)
    return sample


async def _fill(sample: Sample, asked: Asked, store: Store) -> None:
    plan = asked.plan
    keys = {"prompt": plan.prompt.fingerprint, "model": asked.model, "provider": asked.provider.name}
    rows = store.rows(_ANSWERED, {**keys, "size": plan.size, "most": PLACES})
    slots = [int(slot) for slot, _ in rows]
    known: dict[str, tuple[Completion, bool]] = {}
    if slots:
        mine = store.rows(_ANSWERS + " AND requests.slot IN (SELECT unnest($slots))", {**keys, "slots": slots})
        for _, _, _, _, batched, *row in mine:
            completion = completion_from(row)
            known[completion.request] = completion, batched
    looked_at = [slot for slot in slots if await _replay(sample, asked, plan.slot(slot), known)]
    if looked_at:  # of the others, an answer to another plan was found: other languages, axes or settings
        sample.answered = min(plan.size, round(int(rows[0][1]) * len(looked_at) / len(slots)))
    if len(sample.observations) < OTHERS // 2:
        others = store.rows(_ANSWERS + f" ORDER BY hash(requests.id) LIMIT {OTHERS}", keys)
        for variables, sampling, number, attempt, batched, *row in others:
            completion = completion_from(row)
            if completion.request not in sample.used:
                await _take_other(
                    sample, asked, json.loads(variables), json.loads(sampling), number, attempt, completion, batched
                )


async def _replay(sample: Sample, asked: Asked, slot: Slot, known: dict[str, tuple[Completion, bool]]) -> bool:
    """Go through the stored answers of a place as a run would; whether there was any."""
    wanted = asked.plan.per_request
    usable = attempts = 0
    while usable < min(wanted, slot.want) or not attempts:
        request = asked.request(slot, attempts, max(1, wanted - usable))
        if request.id not in known:
            break
        completion, batched = known[request.id]
        sample.used.add(request.id)
        seen = await asked.observe(slot, request, _answering(completion), batched=batched)
        sample.observations.append(seen)
        usable = min(wanted, usable + seen.usable)
        attempts += 1
    if attempts:
        place = slot.language, max(0, wanted - usable) if usable < slot.want else 0, attempts
        sample.places[place] = sample.places.get(place, 0.0) + 1
    return attempts > 0


async def _take_other(
    sample: Sample, asked: Asked, variables: dict[str, str | int], sampling: dict[str, str | int | float], number: int,
    attempt: int, completion: Completion, batched: bool,
) -> None:  # fmt: skip
    """Take an answer to another plan of the same prompt, model and settings as an example of what answers are like."""
    language, count = str(variables.pop("language")), int(variables.pop("per_request"))
    same = {name: value for name, value in sampling.items() if name != "seed"} == asked.provider.sampling()
    if language not in asked.plan.languages or not same or set(variables) != set(asked.plan.axes):
        return
    slot = Slot(number, language, variables, count)
    request = asked.request(slot, attempt, count)
    sample.observations.append(await asked.observe(slot, request, _answering(completion), batched=batched))


def _answering(completion: Completion) -> Callable[[Request], Awaitable[Completion]]:
    async def ask(_: Request) -> Completion:
        return completion

    return ask


def _open_places(sample: Sample, asked: Asked) -> None:
    """From the places that were looked at to all of the plan."""
    plan = asked.plan
    if looked_at := sum(sample.places.values()):
        for place in sample.places:
            sample.places[place] *= sample.answered / looked_at
    for lane, language in enumerate(plan.languages):
        whole = plan.size // len(plan.languages) + (lane < plan.size % len(plan.languages))
        if fresh := whole * (1 - sample.answered / plan.size):
            place = language, plan.per_request, 0
            sample.places[place] = sample.places.get(place, 0.0) + fresh
