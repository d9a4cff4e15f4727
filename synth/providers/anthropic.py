"""Claude models, through Anthropic's own SDK: live over Messages, in bulk over Message Batches."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anthropic
import httpx2

from curation.errors import InputError, ProviderError, TransientError
from curation.records import Finish, Message, Request
from synth.plan import Plan
from synth.programs.base import AnyPrompt
from synth.providers.base import EXPIRED, Answer, Batches, BatchState, Usage
from synth.providers.calls import (
    CONNECT_S,
    KEEPALIVE_S,
    SPARE_CONNECTIONS,
    Calls,
    encoded,
    key_from,
    lines,
    model_from,
    server,
    told,
)  # fmt: skip
from synth.providers.failures import Filtered, Service, cut_off, filtered_answer, row_failure
from synth.providers.images import Image, Images, Together
from synth.providers.limits import headroom

if TYPE_CHECKING:
    from synth.config import AskSettings
    from synth.pricing import Price

KEY_ENV, KEYS_AT, HOST = "ANTHROPIC_API_KEY", "https://platform.claude.com", "https://api.anthropic.com"
EXAMPLE = "claude-haiku-5-5"
MOST_IMAGE_BYTES, MOST_IMAGE_PX = 5 * 2**20, 8000
TOGETHER = Together(most=100, most_bytes=31_000_000, crowd=20, crowd_px=2000)
# Models with more than 200k tokens of context take 600 images. A request may have 32 MB, text included.
CACHED_FROM_BYTES = 4096  # about 1,024 tokens: shorter prefixes are never cached
BATCH_SUBMIT_S = 900.0
CLOCKS = timedelta(seconds=60)  # how far our clock may be off Anthropic's
_FINISH = {
    "max_tokens": Finish.LENGTH, "model_context_window_exceeded": Finish.LENGTH, "refusal": Finish.REFUSAL,
}  # fmt: skip


def connect(
    settings: "AskSettings", plans: Sequence[Plan], assets: Path | None, price: "Price | None"  # noqa: ARG001
) -> "Anthropic":  # fmt: skip
    """The provider, ready to answer.

    Raises:
        InputError: no model, no key, or a setting that Claude models do not take.
    """
    model = model_from(settings, EXAMPLE)
    for name in ("temperature", "top_p"):
        if getattr(settings, name) is not None:
            raise InputError(
                f"{name}: today's Claude models take none; variety comes from the prompt's axes, so leave it out"
            )
    key = key_from(KEY_ENV, keys_at=KEYS_AT)
    url = server(settings, "ANTHROPIC_BASE_URL", HOST, versioned=False)
    timeout = httpx2.Timeout(settings.timeout_s, connect=min(CONNECT_S, settings.timeout_s), pool=None)
    most = settings.concurrency + SPARE_CONNECTIONS
    client = anthropic.AsyncAnthropic(
        api_key=key, base_url=url, max_retries=0, timeout=timeout, open_telemetry=False,
        http_client=anthropic.DefaultAioHttpClient(
            timeout=timeout,
            limits=httpx2.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=KEEPALIVE_S),
        ),
    )  # fmt: skip
    calls = Calls(
        client, Service("anthropic", urlsplit(url).netloc, model, KEY_ENV, key, KEYS_AT), response=httpx2.Response,
        failures=(anthropic.AnthropicError, httpx2.HTTPError), timeout_s=settings.timeout_s, unset=anthropic.NOT_GIVEN,
        pricing=settings.pricing, prefix="/v1",
    )  # fmt: skip
    images = Images(assets, most_bytes=MOST_IMAGE_BYTES, encoded=True, most_px=MOST_IMAGE_PX, together=TOGETHER)
    known = price is None or price.structured is not False
    return Anthropic(calls, images, settings, structured=known if settings.structured is None else settings.structured)


class Anthropic:
    name = "anthropic"

    def __init__(self, calls: Calls, images: Images, settings: "AskSettings", *, structured: bool) -> None:
        self.batches: Batches | None = MessageBatches(calls, images)
        self._calls = calls
        self._images = images
        self._settings = settings
        self._structured = structured

    def model(self, prompt: AnyPrompt) -> str:  # noqa: ARG002
        return self._calls.service.model

    def sampling(self) -> dict[str, str | int | float]:
        effort = {"effort": self._settings.effort} if self._settings.effort else {}
        return {"max_tokens": self._settings.max_tokens, **effort}

    def structured(self) -> bool:
        return self._structured

    async def answer(self, request: Request) -> Answer:
        try:
            body, headers = await self._calls.post(
                "/messages", encoded(_params(request, self._images)), headers={"Idempotency-Key": request.id}
            )
        except Filtered as filtered:
            return filtered_answer(filtered)
        return read_message(body, self._calls.service, headers)

    async def close(self) -> None:
        await self._calls.close()


class MessageBatches:
    """Message Batches: half the price, answered within a day."""

    most_requests = 100_000
    most_bytes = 256_000_000 - 64  # the brackets around the requests

    def __init__(self, calls: Calls, images: Images) -> None:
        self._calls = calls
        self._images = images

    def weigh(self, request: Request) -> int:
        return len(self._entry(request)) + 1

    async def submit(self, tag: str, requests: Sequence[Request]) -> str:
        body = await asyncio.to_thread(self._body, requests)
        made, _ = await self._calls.post(
            "/messages/batches", body, headers={"Idempotency-Key": tag}, timeout_s=BATCH_SUBMIT_S
        )
        if "id" not in made:
            raise cut_off(self._calls.service, "a batch without an id")
        return str(made["id"])

    async def find(self, tag: str, count: int, since: datetime, taken: Sequence[str]) -> list[str]:  # noqa: ARG002
        found = []
        with self._calls.translating():
            async for batch in self._calls.client.messages.batches.list(limit=100):  # newest first
                if batch.created_at < since - CLOCKS:
                    break
                if batch.id not in taken and sum(_counts(batch)) == count:
                    found.append(batch.id)
        return found

    async def state(self, external_id: str) -> BatchState:
        with self._calls.translating():
            batch = await self._calls.client.messages.batches.retrieve(external_id)
            status = told(batch.processing_status)
            counts = _counts(batch)
        gone = status == "ended" and batch.results_url is None
        failure = "its results are no longer kept" if gone else None
        return BatchState(status == "ended", status, done=sum(counts) - counts[0], failure=failure)

    async def results(self, external_id: str) -> AsyncIterator[tuple[str, Answer | ProviderError]]:
        # The SDK's own decoder reads 64 bytes at a time; its streamed response lets us read what comes.
        with self._calls.translating():
            streamed = self._calls.client.messages.batches.with_streaming_response.results(external_id)
            async with streamed as response:
                async for line in lines(response.iter_bytes()):
                    yield read_row(line, self._calls.service)

    async def cancel(self, external_id: str) -> None:
        with self._calls.translating():
            await self._calls.client.messages.batches.cancel(external_id)

    def _entry(self, request: Request) -> bytes:
        return encoded({"custom_id": request.id, "params": _params(request, self._images)})

    def _body(self, requests: Sequence[Request]) -> bytes:
        return b'{"requests":[' + b",".join(self._entry(request) for request in requests) + b"]}"


def _counts(batch: Any) -> tuple[int, ...]:
    counts = batch.request_counts
    return counts.processing, counts.succeeded, counts.errored, counts.canceled, counts.expired


def _params(request: Request, images: Images) -> dict[str, Any]:
    """The body of a Messages request.

    Raises:
        RequestRejected: an image cannot be sent.
    """
    params: dict[str, Any] = {"model": request.model, "max_tokens": request.sampling["max_tokens"]}
    if system := "\n\n".join(message.content for message in request.messages if message.role == "system"):
        block: dict[str, Any] = {"type": "text", "text": system}
        if len(system.encode(errors="replace")) >= CACHED_FROM_BYTES:
            block["cache_control"] = {"type": "ephemeral"}
        params["system"] = [block]
    names = list(dict.fromkeys(name for message in request.messages for name in message.images))
    shown = dict(zip(names, images.of(names), strict=True))
    params["messages"] = [_turn(message, shown) for message in request.messages if message.role != "system"]
    output: dict[str, Any] = {}
    if "effort" in request.sampling:
        output["effort"] = request.sampling["effort"]
    if request.output_schema is not None:
        output["format"] = {"type": "json_schema", "schema": request.output_schema}
    if output:
        params["output_config"] = output
    return params


def _turn(message: Message, left: dict[str, Image]) -> dict[str, Any]:
    """A message, with those of its images that no earlier one has shown; they are taken out of `left`.

    The last image ends a prefix that the provider caches: requests on the same pages are alike up to there.
    """
    blocks: list[dict[str, Any]] = [
        {"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": image.data}}
        for name in message.images
        if (image := left.pop(name, None)) is not None
    ]
    if not blocks:
        return {"role": message.role, "content": message.content}
    if not left:
        blocks[-1]["cache_control"] = {"type": "ephemeral"}
    if message.content:
        blocks.append({"type": "text", "text": message.content})
    return {"role": message.role, "content": blocks}


def read_message(body: Mapping[str, Any], service: Service, headers: Mapping[str, str] | None = None) -> Answer:
    """What a message says; thinking is no part of it.

    Raises:
        TransientError: it is no message.
    """
    content = body.get("content")
    if not isinstance(content, list):
        raise cut_off(service, "JSON without content")
    text = "".join(str(block.get("text") or "") for block in content if block.get("type") == "text")
    reason = str(body.get("stop_reason") or "end_turn")
    usage = body.get("usage") or {}
    raw = {"id": (headers or {}).get("request-id") or body.get("id"), "stop_reason": reason, "usage": usage}
    if details := body.get("stop_details"):
        raw["stop_details"] = details
    return Answer(
        text, _FINISH.get(reason, Finish.STOP), _usage(usage), str(body.get("model") or ""), raw,
        headroom(headers) if headers else None,
    )  # fmt: skip


def read_row(line: bytes, service: Service) -> tuple[str, Answer | ProviderError]:
    """Request id and outcome of one line of a batch's results."""
    try:
        row = json.loads(line)
        request_id, result = str(row["custom_id"]), row["result"]
        kind = result["type"]
    except (ValueError, KeyError, TypeError) as error:
        raise cut_off(service, "a batch result that is not JSON") from error
    if kind == "succeeded":
        try:
            return request_id, read_message(result.get("message") or {}, service)
        except ProviderError as failed:
            return request_id, failed
    if kind in ("expired", "canceled"):
        return request_id, TransientError(f"{service.name}: {kind} before it was answered", kind=EXPIRED)
    failure = row_failure(result.get("error"), service)
    return request_id, filtered_answer(failure) if isinstance(failure, Filtered) else failure


def _usage(usage: Mapping[str, Any]) -> Usage:
    return Usage(
        input_tokens=int(usage.get("input_tokens") or 0),
        output_tokens=int(usage.get("output_tokens") or 0),
        cache_read_tokens=int(usage.get("cache_read_input_tokens") or 0),
        cache_write_tokens=int(usage.get("cache_creation_input_tokens") or 0),
    )
