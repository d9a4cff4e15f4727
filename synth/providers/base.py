"""What a provider is: something that answers one request at a time, as often at once as the engine lets it."""

from dataclasses import dataclass, field
from typing import Any, Protocol

from curation.records import Finish, Request
from synth.prompts import Prompt


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    finish: Finish
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None  # None: unknown
    model: str = ""  # what the provider says answered
    raw: dict[str, Any] = field(default_factory=dict)


class Provider(Protocol):
    name: str

    def model(self, prompt: Prompt) -> str:
        """The model that will answer this prompt; part of a request's identity."""
        ...

    def sampling(self) -> dict[str, str | int | float]:
        """What else can change an answer; part of a request's identity."""
        ...

    async def answer(self, request: Request) -> Answer:
        """Answer once.

        Raises:
            TransientError: the same request may succeed later.
            ProviderError: it never will.
        """
        ...
