"""OpenAI, and any server that speaks its chat completions: vLLM, llama.cpp, Ollama, a served model of one's own."""

import os
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curation.errors import InputError
from synth.plan import Plan
from synth.providers.base import BatchState
from synth.providers.calls import CONNECT_S, KEEPALIVE_S, SPARE_CONNECTIONS, Calls, key_from, model_from, server, told
from synth.providers.chat_batches import ChatBatches, Job
from synth.providers.chat_shape import MOST_IMAGE_BYTES, Chat, ChatBody
from synth.providers.failures import NO_KEY, Service
from synth.providers.images import Images, Together

if TYPE_CHECKING:
    from synth.config import AskSettings
    from synth.pricing import Price

try:
    import httpx2
    import openai
except ImportError as error:
    raise InputError("provider=openai needs the openai package: pip install 'tilth[openai]'") from error

KEY_ENV, KEYS_AT, HOST = "OPENAI_API_KEY", "https://platform.openai.com/api-keys", "https://api.openai.com/v1"
EXAMPLE = "gpt-6-luna"
MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000  # of a batch
TOGETHER = Together(
    most=500, most_bytes=50_000_000
)  # of a request to OpenAI itself; other servers have limits of their own
_ENDED = ("completed", "failed", "expired", "cancelled")


def connect(settings: "AskSettings", plans: Sequence[Plan], assets: Path | None, price: "Price | None") -> Chat:  # noqa: ARG001
    """The provider, ready to answer.

    Raises:
        InputError: no model, or no key where one is needed.
    """
    model = model_from(settings, EXAMPLE)
    url = server(settings, "OPENAI_BASE_URL", HOST, versioned=True)
    host = urlsplit(url).hostname or ""
    own = host == "openai.com" or host.endswith(".openai.com")
    key = key_from(KEY_ENV, keys_at=KEYS_AT) if own else os.environ.get(KEY_ENV, "").strip() or NO_KEY
    timeout = httpx2.Timeout(settings.timeout_s, connect=min(CONNECT_S, settings.timeout_s), pool=None)
    most = settings.concurrency + SPARE_CONNECTIONS
    client = openai.AsyncOpenAI(
        api_key=key, base_url=url, max_retries=0, timeout=timeout,
        http_client=openai.DefaultAioHttpClient(
            timeout=timeout,
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=KEEPALIVE_S),
        ),
    )  # fmt: skip
    service = Service("openai", urlsplit(url).netloc, model, KEY_ENV, key, KEYS_AT if own else "")
    calls = Calls(
        client, service, response=httpx2.Response, failures=(openai.OpenAIError, httpx2.HTTPError), timeout_s=settings.timeout_s, unset=openai.NOT_GIVEN,
        pricing=settings.pricing
    )  # fmt: skip
    # OpenAI's newer models refuse max_tokens; other servers know no other name.
    limit_name = "max_completion_tokens" if own else "max_tokens"
    images = Images(assets, most_bytes=MOST_IMAGE_BYTES, together=TOGETHER if own else None)
    body = ChatBody(images, strict=True, limit_name=limit_name)
    batches = None
    if own or settings.mode == "batch":
        desk = OpenAIDesk(client)
        batches = ChatBatches(calls, body, desk, most_requests=MOST_REQUESTS, most_bytes=MOST_BYTES, whole_lines=True)
    structured = (
        (price is None or price.structured is not False) if settings.structured is None else settings.structured
    )
    return Chat(calls, body, settings, structured=structured, batches=batches)


class OpenAIDesk:
    """OpenAI's files and batches."""

    def __init__(self, client: openai.AsyncOpenAI) -> None:
        self._client = client

    async def upload(self, path: Path) -> str:
        with path.open("rb") as file:
            return told((await self._client.files.create(file=(path.name, file), purpose="batch")).id)

    async def create(self, file_id: str, tag: str) -> str:
        made = await self._client.batches.create(
            input_file_id=file_id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"tilth": tag}
        )
        return told(made.id)

    async def job(self, external_id: str) -> Job:
        return _job(await self._client.batches.retrieve(external_id))

    async def jobs(self, since: datetime) -> AsyncIterator[Job]:
        async for batch in self._client.batches.list(limit=100):  # newest first
            if batch.created_at < int(since.timestamp()):
                break
            yield _job(batch)

    async def tags(self, jobs: Sequence[Job]) -> list[str | None]:
        names: list[str | None] = []
        for job in jobs:
            names.append(job.tag or await self._file_name(job.input_file))
        return names

    async def _file_name(self, file_id: str) -> str | None:
        """For servers that keep no metadata."""
        try:
            return (await self._client.files.retrieve(file_id)).filename.removesuffix(".jsonl")
        except openai.NotFoundError:
            return None

    async def content(self, file_id: str) -> AsyncIterator[bytes]:
        async with self._client.files.with_streaming_response.content(file_id) as response:
            async for chunk in response.iter_bytes():
                yield chunk

    async def cancel(self, external_id: str) -> None:
        await self._client.batches.cancel(external_id)


def _job(batch: Any) -> Job:
    counts = batch.request_counts
    failure = None
    if batch.status == "failed":
        said = [error.message for error in (batch.errors and batch.errors.data) or () if error.message]
        failure = "; ".join(said[:3]) or "no reason given"
    state = BatchState(
        batch.status in _ENDED, told(batch.status), done=counts and counts.completed + counts.failed, failure=failure
    )
    return Job(
        id=told(batch.id), created_at=datetime.fromtimestamp(batch.created_at, UTC), state=state,
        tag=(batch.metadata or {}).get("tilth"), input_file=batch.input_file_id,
        files=tuple(file for file in (batch.output_file_id, batch.error_file_id) if file),
    )  # fmt: skip
