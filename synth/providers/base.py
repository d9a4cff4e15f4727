"""What a provider is: something that answers one request at a time, as often at once as the engine lets it; some also take
thousands at once and answer within a day (`Batches`)."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from curation.errors import ProviderError
from curation.records import Finish, Request

if TYPE_CHECKING:
    from synth.programs.base import AnyPrompt

RATE_LIMIT, OVERLOADED, SERVER, TIMEOUT, CONNECTION, CUT_OFF, EXPIRED = (
    "rate limit", "overloaded", "server error", "timeout", "connection", "cut-off body", "expired",
)  # fmt: skip  # kinds of TransientError
OVERHEAD_TOKENS, IMAGE_TOKENS = 1_000, 8_192  # bounds on what a provider adds to a request, and on one image


@dataclass(frozen=True, slots=True)
class Usage:
    """What an answer is billed for. The four kinds of tokens do not overlap."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    characters: int = 0  # of a translation service


@dataclass(frozen=True, slots=True)
class Headroom:
    """What the provider's rate-limit headers say is left; None where they say nothing."""

    requests: int | None = None
    tokens: int | None = None
    reset_s: float | None = None  # until what is used up is there again


@dataclass(frozen=True, slots=True)
class Answer:
    text: str
    finish: Finish
    usage: Usage = Usage()
    model: str = ""  # what the provider says answered
    raw: dict[str, Any] = field(default_factory=dict)
    headroom: Headroom | None = None


class Provider(Protocol):
    name: str
    batches: "Batches | None"
    """The provider's batch service, if it has one."""

    def model(self, prompt: "AnyPrompt") -> str:
        """The model that will answer this prompt; part of a request's identity."""
        ...

    def sampling(self) -> dict[str, str | int | float]:
        """What else can change an answer; part of a request's identity."""
        ...

    def structured(self) -> bool:
        """Whether requests should carry a JSON schema that the provider holds its model to."""
        ...

    async def answer(self, request: Request) -> Answer:
        """Answer once; no retries of its own.

        Raises:
            TransientError: the same request may succeed later.
            RequestRejected: this request never will, others may.
            ProviderError: none will.
        """
        ...

    async def close(self) -> None:
        """Let go of connections; called in the event loop that `answer` ran in."""
        ...


@dataclass(frozen=True, slots=True)
class BatchState:
    ended: bool  # nothing more will be answered: results can be fetched
    words: str  # the provider's own word for where it stands
    done: int | None = None  # requests that were worked off, where the provider tells
    failure: str | None = None  # why the batch as a whole came to nothing


class Batches(Protocol):
    """A provider's batch service. A request goes in under its own id, and its result comes out under it."""

    most_requests: int
    most_bytes: int

    def weigh(self, request: Request) -> int:
        """Bytes that the request takes in a batch."""
        ...

    async def submit(self, tag: str, requests: Sequence[Request]) -> str:
        """The provider's id of a new batch. `tag` is our name for it, which `find` knows it by."""
        ...

    async def find(self, tag: str, count: int, since: datetime, taken: Sequence[str]) -> list[str]:
        """Ids of batches that may be the one submitted under `tag` by a process that died before it heard the id; likeliest
        first. None of `taken`, of another size than `count`, or made before `since`. Where the provider does not keep
        tags, the results' request ids must tell."""
        ...

    async def state(self, external_id: str) -> BatchState: ...

    def results(self, external_id: str) -> AsyncIterator[tuple[str, Answer | ProviderError]]:
        """Request id and outcome of each request of a batch that ended, as they stream in. A `TransientError` means that
        the request can go into another batch (it expired, was cancelled, or failed on the provider's side)."""
        ...

    async def cancel(self, external_id: str) -> None: ...


def most_tokens(request: Request, max_tokens: int) -> tuple[int, int]:
    """Bounds on the input and output tokens of a request. A byte-level tokenizer never makes more tokens than bytes."""
    size = sum(len(message.content.encode(errors="replace")) for message in request.messages)
    images = sum(len(message.images) for message in request.messages)
    schema = len(str(request.output_schema)) if request.output_schema else 0
    return size + schema + OVERHEAD_TOKENS + images * IMAGE_TOKENS, max_tokens
