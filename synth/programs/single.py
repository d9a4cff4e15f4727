"""One request, one list of independent examples: posts, memes, listings."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from pydantic import ValidationError

from curation.checks import run_checks
from curation.records import EXAMPLE, Completion, Decision, Finish, Generated, Malformed, Request, Verdict
from curation.tables import AnyExample
from synth import parse
from synth.plan import Slot
from synth.prompts import Prompt
from synth.providers.base import Provider

Ask = Callable[[Request], Awaitable[Completion]]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An example that was read out of an answer, and what the checks say of it."""

    example: AnyExample
    origin: Generated
    verdicts: list[Verdict]

    @property
    def dropped_by(self) -> str | None:
        return next((verdict.by for verdict in self.verdicts if verdict.decision is Decision.DROP), None)


@dataclass(frozen=True, slots=True)
class Produced:
    finish: Finish
    candidates: list[Candidate]
    malformed: list[Malformed]


def request_for(
    prompt: Prompt, slot: Slot, attempt: int, count: int, *, provider: Provider, model: str, seed: int
) -> Request:
    """What to ask for `count` examples of the slot's cell."""
    structured = provider.structured()
    return Request(
        prompt=prompt.name, prompt_id=prompt.fingerprint,
        variables={"language": slot.language, "per_request": count, **slot.axes},
        messages=prompt.messages(slot.language, slot.axes, count, structured=structured),
        provider=provider.name, model=model, sampling={"seed": seed, **provider.sampling()},
        output_schema=prompt.output_schema() if structured else None, slot=slot.number, attempt=attempt,
    )  # fmt: skip


async def produce(prompt: Prompt, slot: Slot, request: Request, *, ask: Ask) -> Produced:
    """Ask, and read the answer."""
    completion = await ask(request)
    if completion.finish in (Finish.REFUSAL, Finish.FILTER):
        return Produced(completion.finish, [], [])
    parsed = parse.items(completion.text, prompt.output)
    candidates: list[Candidate] = []
    malformed = [Malformed(completion=completion.id, position=at, reason=why) for at, why in parsed.malformed]
    labels = prompt.example_labels(slot.axes)
    for position, item in parsed.items:
        try:
            example = EXAMPLE.validate_python({**prompt.kind, "language": slot.language, **labels, **item})
        except ValidationError as error:
            reason = f"not a {prompt.task} example: {error.errors()[0]['loc']}: {error.errors()[0]['msg']}"
            malformed.append(Malformed(completion=completion.id, position=position, reason=reason))
            continue
        origin = Generated(
            completion=completion.id, position=position, prompt=prompt.name, axes=slot.axes, provider=request.provider,
            model=completion.model or request.model,
        )  # fmt: skip
        candidates.append(Candidate(example, origin, run_checks(example)))
    return Produced(completion.finish, candidates, malformed)
