"""One request, one list of independent examples: posts, memes, listings."""

from pydantic import ValidationError

from curation.checks import run_checks
from curation.records import EXAMPLE, Finish, Generated, Malformed
from synth import parse
from synth.plan import Slot
from synth.programs.base import Ask, Asking, Candidate, Produced
from synth.prompts import Prompt


async def produce(prompt: Prompt, slot: Slot, attempt: int, count: int, *, asking: Asking, ask: Ask) -> Produced:
    """Ask for `count` examples of the slot's cell, and read the answer."""
    request = asking.request(
        prompt, slot, attempt,
        messages=prompt.messages(slot.language, slot.axes, count, structured=asking.structured),
        variables={"language": slot.language, "per_request": count, **slot.axes},
        output_schema=prompt.output_schema() if asking.structured else None,
    )  # fmt: skip
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
