"""The provider that needs no key, no server and no model: it expands the prompt's own grammar.

It answers in the format a model is asked for, so its answers take the same way through parsing and checks. The same
request always gets the same answer. `latency_ms` and `fault_rate` make it behave like a service on a bad day: of the faulty
requests, half fail for now (a busy signal on the first tries), the rest are answered cut off, refused, or in prose.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from curation.errors import InputError, TransientError
from curation.records import Finish, Request
from synth.plan import Plan
from synth.providers.base import OVERLOADED, Answer

if TYPE_CHECKING:
    from synth.config import AskSettings
    from synth.pricing import Price
    from synth.programs.base import AnyPrompt


class OfflineSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    latency_ms: float = Field(default=0, ge=0, le=600_000)
    """Simulated time to answer; each answer takes 0.5 to 1.5 times this."""
    fault_rate: float = Field(default=0, ge=0, le=1)
    """Share of requests that go wrong in some way."""


def connect(settings: "AskSettings", plans: Sequence[Plan], assets: Path | None, price: "Price | None") -> "Offline":  # noqa: ARG001
    """The offline provider, with the grammars of these plans."""
    if settings.mode == "batch":
        raise InputError("mode=batch: provider=offline answers at once and has no batches; leave mode out")
    return Offline(settings.offline, plans)


class Offline:
    name = "offline"
    batches = None

    def __init__(self, settings: OfflineSettings, plans: Sequence[Plan]) -> None:
        self._settings = settings
        for plan in plans:
            for language in plan.languages:
                if language not in plan.prompt.offline_languages:
                    has = ",".join(plan.prompt.offline_languages)
                    raise InputError(
                        f"{plan.prompt.path}: prompt {plan.prompt.name!r} has no offline grammar for {language!r}; add "
                        f"offline.{language}" + (f", or choose language=[{has}]" if has else "")
                    )
        self._prompts = {plan.prompt.fingerprint: plan.prompt for plan in plans}
        self._tries: dict[str, int] = {}

    def model(self, prompt: "AnyPrompt") -> str:
        return prompt.grammar_fingerprint

    def sampling(self) -> dict[str, str | int | float]:
        return {"fault_rate": self._settings.fault_rate} if self._settings.fault_rate else {}

    def structured(self) -> bool:
        return False

    async def close(self) -> None:
        pass

    async def answer(self, request: Request) -> Answer:
        luck = int.from_bytes(hashlib.blake2b(request.id.encode(), digest_size=8).digest(), "little") / 2**64
        if self._settings.latency_ms:
            spread = 0.5 + (luck * 7919) % 1  # its own digits: slow answers should not be the faulty ones
            await asyncio.sleep(self._settings.latency_ms / 1000 * spread)
        whole = self._prompts[request.prompt_id].offline_answer(request)
        if luck < self._settings.fault_rate:
            return self._gone_wrong(request, whole, luck / self._settings.fault_rate)
        return self._answered(whole, Finish.STOP)

    def _gone_wrong(self, request: Request, whole: str, kind: float) -> Answer:
        if kind < 0.5:
            tries = self._tries[request.id] = self._tries.get(request.id, 0) + 1
            if tries <= 1 + (kind < 0.2):
                raise TransientError("offline: simulated busy signal", kind=OVERLOADED)
            del self._tries[request.id]
            return self._answered(whole, Finish.STOP)
        if kind < 0.7:
            return self._answered(whole[: len(whole) * 2 // 3], Finish.LENGTH)
        if kind < 0.85:
            return self._answered("I'm sorry, but I can't help with that.", Finish.REFUSAL)
        return self._answered("Here is what I would write about that, in general terms.", Finish.STOP)

    def _answered(self, text: str, finish: Finish) -> Answer:
        return Answer(text, finish, model="offline")
