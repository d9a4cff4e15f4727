"""What the store knows of a plan: a sample of its answers, and how far its places are."""

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from curation.records import Completion, Finish, Request
from curation.store import Store
from curation.tables import COMPLETION_COLUMNS, completion_from
from synth.dialogue_prompt import GraphPrompt
from synth.forecast import Observation
from synth.plan import Plan, Slot
from synth.pricing import Price
from synth.programs import PROGRAMS
from synth.programs.base import Ask, Asking, Produced
from synth.providers.base import Provider

PLACES = 120  # answered places of the plan that are looked at
OTHERS = 200  # answers of other plans of the same prompt and model

_ANSWERED = """
WITH mine AS (
    SELECT DISTINCT slot FROM requests SEMI JOIN completions ON completions.request = requests.id
    WHERE prompt_id = $prompt AND list_contains($models, requests.model) AND provider = $provider AND attempt = 0
        AND slot < $size
)
SELECT slot, (SELECT count(*) FROM mine) FROM mine ORDER BY hash(slot) LIMIT $most
"""
_ANSWERS = f"""
SELECT requests.variables, requests.sampling, requests.slot, requests.attempt,
    EXISTS (SELECT 1 FROM batch_members WHERE batch_members.request = requests.id) AS batched,
    {", ".join(f"completions.{name}" for name in COMPLETION_COLUMNS.split(", "))}
FROM requests JOIN completions ON completions.request = requests.id
WHERE prompt_id = $prompt AND list_contains($models, requests.model) AND provider = $provider
"""


@dataclass(slots=True)
class Sample:
    """Answers to go by, and where the plan's places stand."""

    observations: list[Observation] = field(default_factory=list)
    places: dict[tuple[str, int, int], float] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)  # requests that were observed
    answered: int = 0  # places of the plan that were asked before, at a reckoning


@dataclass(frozen=True)
class Asked:
    """What a provider would be asked for a plan, and what its answers cost."""

    plan: Plan
    provider: Provider
    model: str
    prices: Mapping[str, Price | None]  # of each model that is asked; None: not known
    max_attempts: int

    @cached_property
    def shares(self) -> dict[str, float]:
        """Model -> which share of the requests it answers."""
        prompt = self.plan.prompt
        if not isinstance(prompt, GraphPrompt):
            return {self.model: 1.0}
        users = prompt.users_share if prompt.user_model is not None else 0.0
        dealt = tuple(map(str, self.plan.axes.get("model", (self.model,))))
        found = {name: (1 - users) / len(dealt) for name in dealt}
        if prompt.user_model is not None and users:
            found[prompt.user_model] = found.get(prompt.user_model, 0.0) + users
        return found

    @property
    def unpriced(self) -> str | None:
        """A model whose price is not known, if there is one."""
        return next((name for name in self.shares if self.prices.get(name) is None), None)

    def mean_usd(self, input_tokens: float, output_tokens: float) -> float:
        """US dollars of a request with so many tokens, over all models by their shares; 0 where a price is not known."""
        return sum(
            share * (input_tokens * price.input + output_tokens * price.output) / 1e6
            for name, share in self.shares.items()
            if (price := self.prices.get(name)) is not None
        )

    @cached_property
    def batch_share(self) -> float | None:
        """Which share of the live price a batch pays, over all models; None where one has no batches, or no known price."""
        shares = [(share, price) for name, share in self.shares.items() if (price := self.prices.get(name))]
        if self.provider.batches is None or self.unpriced or any(price.batch is None for _, price in shares):
            return None
        whole = sum(share * (price.input + price.output) for share, price in shares)
        paid = sum(share * (price.input + price.output) * (price.batch or 1.0) for share, price in shares)
        return paid / whole if whole else 1.0

    async def produce(self, slot: Slot, attempt: int, count: int, ask: Ask) -> Produced:
        """One attempt, as a run would make it."""
        plan = self.plan
        asking = Asking(self.provider, self.model, plan.seed)
        return await PROGRAMS[plan.prompt.program](plan.prompt, slot, attempt, count, asking=asking, ask=ask)

    def first(self, slot: Slot, attempt: int = 0, count: int | None = None) -> Request:
        """The request that an attempt begins with."""

        async def ask(request: Request) -> Completion:
            raise _Asked(request)

        try:
            asyncio.run(self.produce(slot, attempt, count or self.plan.per_request, ask))
        except _Asked as asked:
            return asked.request
        raise AssertionError(f"program {self.plan.prompt.program!r} asks nothing")

    async def observe(
        self, slot: Slot, attempt: int, count: int, ask: Ask, *, batched: Collection[str] = ()
    ) -> Observation:
        """Make an attempt, and read its answers as a run would. `batched`: ids of requests that a batch answered."""
        kept: list[Completion] = []
        models: list[str] = []

        async def keeping(request: Request) -> Completion:
            kept.append(await ask(request))
            models.append(request.model)
            return kept[-1]

        produced = await self.produce(slot, attempt, count, keeping)
        costs = [
            self._usd(one, self.prices.get(model), batched=one.request in batched)
            for one, model in zip(kept, models, strict=True)
        ]
        return Observation(
            language=slot.language, count=count,
            usable=sum(candidate.dropped_by is None for candidate in produced.candidates),
            input_tokens=sum(one.input_tokens for one in kept), output_tokens=sum(one.output_tokens for one in kept),
            usd=sum(usd for usd, _ in costs), output_usd=sum(output for _, output in costs),
            latency_s=sum(one.latency_s for one in kept if one.request not in batched),
            refused=kept[-1].finish in (Finish.REFUSAL, Finish.FILTER), requests=len(kept),
        )  # fmt: skip

    @staticmethod
    def _usd(completion: Completion, price: Price | None, *, batched: bool) -> tuple[float, float]:
        """What an answer costs when it is asked live, and the part of it that its own length makes."""
        if price is None:
            return 0.0, 0.0
        share = price.batch or 1.0 if batched else 1.0
        output = completion.output_tokens * price.output / 1e6
        if completion.cost_usd is None:
            return completion.input_tokens * price.input / 1e6 + output, output
        return completion.cost_usd / share, min(output, completion.cost_usd / share)


class _Asked(Exception):
    def __init__(self, request: Request) -> None:
        self.request = request


class Unanswered(Exception):
    """The store has no answer to a request."""


def stored(asked: Asked, store: Store | None) -> Sample:
    """The sample that the store has; empty, and all places open, if there is none."""
    sample = Sample()
    if store is not None:
        asyncio.run(_fill(sample, asked, store))
    _open_places(sample, asked)
    return sample


async def _fill(sample: Sample, asked: Asked, store: Store) -> None:
    plan = asked.plan
    keys = {"prompt": plan.prompt.fingerprint, "models": list(asked.shares), "provider": asked.provider.name}
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
    if len(sample.observations) < OTHERS // 2 and plan.prompt.requests_each == 1:
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
    batched = {request for request, (_, in_batch) in known.items() if in_batch}
    usable = attempts = 0
    while usable < min(wanted, slot.want) or not attempts:
        used: set[str] = set()
        try:
            seen = await asked.observe(
                slot, attempts, max(1, wanted - usable), _answering(known, used), batched=batched
            )  # fmt: skip
        except Unanswered:
            break
        sample.used |= used
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
    request = completion.request

    async def ask(_: Request) -> Completion:
        return completion

    seen = await asked.observe(slot, attempt, count, ask, batched=(request,) if batched else ())
    sample.observations.append(seen)


def _answering(known: Mapping[str, tuple[Completion, bool]], used: set[str]) -> Ask:
    async def ask(request: Request) -> Completion:
        if request.id not in known:
            raise Unanswered
        used.add(request.id)
        return known[request.id][0]

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
