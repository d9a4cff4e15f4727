"""Open models at Together, through its own SDK: live, and in bulk over files and batches."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import httpx
import together

from curation.errors import InputError
from synth.plan import Plan
from synth.providers.base import BatchState
from synth.providers.calls import CONNECT_S, KEEPALIVE_S, SPARE_CONNECTIONS, Calls, key_from, model_from, server, told
from synth.providers.chat_batches import ChatBatches, Job
from synth.providers.chat_shape import MOST_IMAGE_BYTES, Chat, ChatBody
from synth.providers.failures import Service
from synth.providers.images import Images

if TYPE_CHECKING:
    from synth.config import AskSettings
    from synth.pricing import Price

KEY_ENV, KEYS_AT, HOST = "TOGETHER_API_KEY", "https://api.together.ai/settings/api-keys", "https://api.together.ai"
EXAMPLE = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
MOST_REQUESTS, MOST_BYTES = 50_000, 100_000_000  # of a batch
EFFORTS = ("low", "medium", "high")
_ENDED = ("COMPLETED", "FAILED", "EXPIRED", "CANCELLED")


def connect(settings: "AskSettings", plans: Sequence[Plan], assets: Path | None, price: "Price | None") -> Chat:  # noqa: ARG001
    """The provider, ready to answer.

    Raises:
        InputError: no model, no key, or a setting that Together does not take.
    """
    model = model_from(settings, EXAMPLE)
    if settings.effort and settings.effort not in EFFORTS:
        raise InputError(f"effort={settings.effort}: together takes {', '.join(EFFORTS)}")
    key = key_from(KEY_ENV, keys_at=KEYS_AT)
    url = server(settings, "TOGETHER_BASE_URL", HOST, versioned=False)
    timeout = httpx.Timeout(settings.timeout_s, connect=min(CONNECT_S, settings.timeout_s), pool=None)
    most = settings.concurrency + SPARE_CONNECTIONS
    client = together.AsyncTogether(
        api_key=key, base_url=url, max_retries=0, timeout=timeout,
        http_client=together.DefaultAioHttpClient(
            timeout=timeout,
            limits=httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=KEEPALIVE_S),
        ),
    )  # fmt: skip
    calls = Calls(
        client, Service("together", urlsplit(url).netloc, model, KEY_ENV, key, KEYS_AT), response=httpx.Response,
        failures=(together.TogetherError, httpx.HTTPError), timeout_s=settings.timeout_s, unset=together.NOT_GIVEN,
        pricing=settings.pricing, prefix="/v1",
    )  # fmt: skip
    body = ChatBody(Images(assets, most_bytes=MOST_IMAGE_BYTES), strict=False, limit_name="max_tokens")
    batches = ChatBatches(
        calls, body, TogetherDesk(client), most_requests=MOST_REQUESTS, most_bytes=MOST_BYTES, whole_lines=False
    )
    known = price is not None and price.structured is True
    structured = known if settings.structured is None else settings.structured
    return Chat(calls, body, settings, structured=structured, batches=batches)


class TogetherDesk:
    """Together's files and batches."""

    def __init__(self, client: together.AsyncTogether) -> None:
        self._client = client

    async def upload(self, path: Path) -> str:
        file = await self._client.files.upload(path, purpose="batch-api", check=False)
        return told(file.id)

    async def create(self, file_id: str, tag: str) -> str:  # noqa: ARG002  # the file's name is the tag
        made = await self._client.batches.create(endpoint="/v1/chat/completions", input_file_id=file_id)
        if made.job is None or not made.job.id:
            raise together.TogetherError(made.warning or "no batch was made")
        return made.job.id

    async def job(self, external_id: str) -> Job:
        return _job(await self._client.batches.retrieve(external_id))

    async def jobs(self, since: datetime) -> AsyncIterator[Job]:  # noqa: ARG002  # all come at once
        for job in await self._client.batches.list() or ():
            yield _job(job)

    async def tags(self, jobs: Sequence[Job]) -> list[str | None]:
        if not jobs:
            return []
        names = {file.id: file.filename for file in (await self._client.files.list()).data}
        return [names.get(job.input_file, "").removesuffix(".jsonl") or None for job in jobs]

    async def content(self, file_id: str) -> AsyncIterator[bytes]:
        async with self._client.files.with_streaming_response.content(file_id) as response:
            async for chunk in response.iter_bytes():
                yield chunk

    async def cancel(self, external_id: str) -> None:
        await self._client.batches.cancel(external_id)


def _job(job: Any) -> Job:
    status = told(job.status)
    failed = status == "FAILED" or (status in _ENDED and not (job.output_file_id or job.error_file_id) and job.error)
    words = status if job.progress is None or status in _ENDED else f"{status} ({job.progress:.0f} %)"
    state = BatchState(status in _ENDED, words, failure=(job.error or "no reason given") if failed else None)
    return Job(
        id=told(job.id), created_at=_utc(job.created_at), state=state, input_file=job.input_file_id or "",
        files=tuple(file for file in (job.output_file_id, job.error_file_id) if file),
    )  # fmt: skip


def _utc(moment: datetime | None) -> datetime:
    moment = moment or datetime.fromtimestamp(0, UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
