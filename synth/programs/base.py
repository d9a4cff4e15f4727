"""What a program is: a plain async function that writes the examples of one place of the plan over a durable `ask`.

It reads top to bottom: render, ask, read the answer, maybe ask again. Its requests depend on nothing but the prompt, the
slot, the attempt and earlier answers, so that replaying it after a kill asks nothing twice.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from curation.records import Completion, Decision, Finish, Generated, Malformed, Message, Request, Verdict
from curation.tables import AnyExample
from synth.plan import Slot
from synth.providers.base import Provider

Ask = Callable[[Request], Awaitable[Completion]]
Value = str | int


class AnyPrompt(Protocol):
    """What a plan needs to know of a library file that it is made from."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def task(self) -> str: ...
    @property
    def language(self) -> tuple[str, ...]: ...
    @property
    def axes(self) -> Mapping[str, Sequence[Value]]: ...
    @property
    def per_request(self) -> int:
        """How many examples one attempt at a place of the plan should bring."""
        ...

    @property
    def program(self) -> str:
        """Which of `synth.programs.PROGRAMS` writes its examples."""
        ...

    @property
    def requests_each(self) -> int:
        """How many requests one attempt takes, as a rule."""
        ...

    @property
    def fingerprint(self) -> str:
        """Covers what can change a model's answer."""
        ...

    @property
    def grammar_fingerprint(self) -> str:
        """Covers what can change the offline provider's answer."""
        ...

    @property
    def offline_languages(self) -> Collection[str]: ...

    @property
    def image_files(self) -> Mapping[str, Path]:
        """Images that its requests may show, by the sha256 of their bytes, which have to be kept as assets."""
        ...

    def example_labels(self, axes: Mapping[str, Value]) -> Mapping[str, Value]:
        """The labels of an example of one cell, as far as the cell decides them."""
        ...

    def offline_answer(self, request: Request) -> str:
        """What the offline provider answers: in the format a model is asked for, the same for the same request."""
        ...

    def body(self) -> str:
        """What is kept of it in the store, as canonical JSON."""
        ...


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
    """What an attempt came to. An answer that could not be read yields a `Malformed` and no example."""

    finish: Finish
    candidates: list[Candidate]
    malformed: list[Malformed]


@dataclass(frozen=True, slots=True)
class Asking:
    """Who is asked, and how: the part of a request that the prompt does not decide."""

    provider: Provider
    model: str
    seed: int

    @property
    def structured(self) -> bool:
        """Whether requests should carry a JSON schema that the provider holds its model to."""
        return self.provider.structured()

    def request(
        self, prompt: AnyPrompt, slot: Slot, attempt: int, *, messages: Sequence[Message],
        variables: Mapping[str, Value], output_schema: dict[str, Any] | None = None, model: str | None = None,
    ) -> Request:  # fmt: skip
        """A request for this place of the plan; slot and attempt tell repeats of one question apart."""
        return Request(
            prompt=prompt.name, prompt_id=prompt.fingerprint, variables=dict(variables), messages=tuple(messages),
            provider=self.provider.name, model=model or self.model,
            sampling={"seed": self.seed, **self.provider.sampling()}, output_schema=output_schema, slot=slot.number,
            attempt=attempt,
        )  # fmt: skip


class Program(Protocol):
    """Writes up to `count` examples for a place of the plan.

    Raises whatever `ask` raises; what a model answered wrongly comes back as `Malformed`.
    """

    async def __call__(
        self, prompt: Any, slot: Slot, attempt: int, count: int, *, asking: Asking, ask: Ask
    ) -> Produced: ...
