"""One request from its bytes to its answer: limits, faults, latency, and what is billed."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Protocol

from aiohttp import web

from . import anthropic
from .faults import LASTING, TRANSIENT, Bucket, Config, chance, draw, passing
from .ledger import Ledger, Usage
from .model import Asked, Reply, speak
from .openai import Chat


class TooLarge(Exception):
    pass


class Manners(Protocol):
    """How a protocol says what is wrong."""

    def unauthorized(self, headers: Mapping[str, str]) -> Reply | None: ...
    def too_large(self) -> Reply: ...
    def rate_limited(self, after_s: float | None, config: Config) -> Reply: ...
    def overloaded(self) -> Reply: ...
    def server_error(self) -> Reply: ...
    def no_credit(self, config: Config) -> Reply: ...
    def limit_headers(self, key: str, requests: Bucket | None, inputs: Bucket | None) -> dict[str, str]: ...


class AnthropicDialect:
    """Anthropic's Messages in the shape of `Chat`."""

    name = "anthropic"
    error = staticmethod(anthropic.error)
    unauthorized = staticmethod(anthropic.unauthorized)
    too_large = staticmethod(anthropic.too_large)
    invalid = staticmethod(anthropic.invalid)
    rate_limited = staticmethod(anthropic.rate_limited)
    overloaded = staticmethod(anthropic.overloaded)
    server_error = staticmethod(anthropic.server_error)
    no_credit = staticmethod(anthropic.no_credit)
    read = staticmethod(anthropic.read)
    payload = staticmethod(anthropic.payload)
    limit_headers = staticmethod(anthropic.limit_headers)


Dialect = AnthropicDialect | Chat
ANTHROPIC = AnthropicDialect()


class Provider:
    """The state that all protocols share."""

    def __init__(self, config: Config) -> None:
        self.url = ""
        self.in_model = 0
        self.apply(config)
        self.forget()

    def apply(self, config: Config) -> None:
        self.config = config
        self.requests_bucket = None if config.rate_per_minute is None else Bucket(config.rate_per_minute, config.burst)
        self.tokens_bucket = None if config.tokens_per_minute is None else Bucket(config.tokens_per_minute, None)

    def forget(self) -> None:
        self.ledger = Ledger()
        self.cache = anthropic.Cache()
        self.unnamed: dict[str, int] = {}

    def spent(self) -> bool:
        return self.config.credit_usd is not None and self.ledger.usd >= self.config.credit_usd

    def refused(self, dialect: Manners, tokens: int) -> Reply | None:
        """The answer to a request that comes too fast, or when the credit is used up."""
        if self.spent():
            return dialect.no_credit(self.config)
        if self.config.most_in_flight is not None and self.in_model >= self.config.most_in_flight:
            self.ledger.throttled += 1
            return dialect.rate_limited(None, self.config)
        for bucket, amount in ((self.requests_bucket, 1), (self.tokens_bucket, tokens)):
            if bucket is not None and (wait_s := bucket.take(amount)) > 0:
                self.ledger.throttled += 1
                return dialect.rate_limited(wait_s, self.config)
        return None

    def name_of(self, request: web.BaseRequest, body: str) -> str:
        """The request's key: what the client calls it, else its body and how often that was answered."""
        if given := request.headers.get("idempotency-key"):
            return given
        return f"{body}:{self.unnamed.get(body, 0)}"

    def usage(self, dialect: Dialect, model: str, asked: Asked, output: int) -> Usage:
        if isinstance(dialect, Chat):
            return dialect.usage(asked, output)
        return self.cache.usage(model, asked, output)


async def read_body(request: web.BaseRequest, most: int) -> bytes:
    if (request.content_length or 0) > most:
        raise TooLarge
    parts, size = [], 0
    async for part in request.content.iter_any():
        size += len(part)
        if size > most:
            raise TooLarge
        parts.append(part)
    return b"".join(parts)


Produced = tuple[dict[str, Any] | Reply, Usage, Sequence[str]]  # the answer, what is billed for it, lasting faults met


async def chat(provider: Provider, dialect: Dialect, request: web.BaseRequest) -> web.StreamResponse:
    """One live request to a language model."""
    raw = await checked_body(provider, dialect, request)
    if isinstance(raw, web.Response):
        return raw
    try:
        body = json.loads(raw)
    except ValueError:
        return send(provider, dialect.invalid("The request body is not valid JSON."))
    asked = dialect.read(body, provider.config)
    if isinstance(asked, Reply):
        return send(provider, asked)
    provider.ledger.images += asked.images
    provider.ledger.images_repeated += asked.repeated
    return await meet(
        provider, dialect, request, raw, asked.tokens, lambda name: generate(provider, dialect, name, body, asked)
    )


async def checked_body(provider: Provider, dialect: Manners, request: web.BaseRequest) -> bytes | web.Response:
    """The body of a request that may come in, or the error that it gets."""
    try:
        raw = await read_body(request, anthropic.MOST_BODY)
    except TooLarge:
        return send(provider, dialect.too_large())
    denied = dialect.unauthorized(request.headers)
    return raw if denied is None else send(provider, denied)


async def meet(
    provider: Provider, dialect: Manners, request: web.BaseRequest, raw: bytes, tokens: int, produce: Callable[[str], Produced]
) -> web.StreamResponse:  # fmt: skip
    """A valid request, answered once or met by its fault."""
    config, ledger = provider.config, provider.ledger
    if (refused := provider.refused(dialect, tokens)) is not None:
        return send(provider, refused)
    body_hash = blake2b(raw, digest_size=12).hexdigest()
    name = provider.name_of(request, body_hash)
    key = ledger.key(name)
    fault = passing(config, TRANSIENT, name, key.tries)
    key.tries += 1
    if fault is not None:
        ledger.by_fault[fault] += 1
    if fault in ("rate_limit", "rate_limit_after"):
        return send(provider, dialect.rate_limited(0.2 if fault == "rate_limit_after" else None, config))
    if fault is None or fault == "slow":
        provider.unnamed[body_hash] = provider.unnamed.get(body_hash, 0) + 1  # the next of the same body is another
    provider.in_model += 1
    try:
        await think(config, name, fault)
    finally:
        provider.in_model -= 1
    match fault:
        case "overloaded":
            return send(provider, dialect.overloaded())
        case "server_error":
            return send(provider, dialect.server_error())
        case "reset":
            return hang_up(provider, request)
    payload, usage, lasting = produce(name)
    if request.transport is None or request.transport.is_closing():
        ledger.abandoned += 1
        if config.bill_abandoned:
            ledger.pay(key, body_hash, usage, config, whole=False)
        return web.Response(status=499)
    ledger.by_fault.update(lasting)
    if isinstance(payload, Reply):
        return send(provider, payload)
    ledger.pay(key, body_hash, usage, config, whole=fault not in ("cut_off", "wrong_json"))
    ledger.by_status[200] += 1
    data = json.dumps(payload, ensure_ascii=False).encode(errors="surrogatepass")
    headers = dialect.limit_headers(name, provider.requests_bucket, provider.tokens_bucket)
    if fault == "cut_off":
        return await cut_off(request, data, headers)
    if fault == "wrong_json":
        data = b"<html><body><h1>200 OK</h1>" + data[: len(data) // 3]
    return web.Response(body=data, content_type="application/json", headers=headers)


def generate(
    provider: Provider, dialect: Dialect, name: str, body: dict[str, Any], asked: Asked, *, batch: bool = False
) -> Produced:
    """The answer of a language model to a valid request."""
    config = provider.config
    lasting = draw(config, LASTING, "lasting", name)
    met = () if lasting is None else (lasting,)
    if lasting == "content_filter" and config.filter_as_400 and not isinstance(dialect, Chat):
        return dialect.error(400, "Output blocked by content filtering policy"), Usage(), met
    said, more = speak(config, name, asked, lasting)
    usage = provider.usage(dialect, body["model"], asked, said.tokens)
    if isinstance(dialect, Chat):
        return dialect.payload(body, name, said, usage), usage, (*met, *more)
    return dialect.payload(body, name, said, usage, batch=batch), usage, (*met, *more)


async def think(config: Config, name: str, fault: str | None) -> None:
    """The time that the model takes."""
    latency_s = config.latency_ms / 1000
    if config.latency_jitter:
        latency_s *= 1 + config.latency_jitter * (2 * chance(config, "latency", name) - 1)
    if fault == "slow":
        latency_s += config.slow_s
    if latency_s > 0:
        await asyncio.sleep(latency_s)


def send(provider: Provider, reply: Reply) -> web.Response:
    provider.ledger.by_status[reply.status] += 1
    data = json.dumps(reply.payload, ensure_ascii=False).encode(errors="surrogatepass")
    return web.Response(status=reply.status, body=data, content_type="application/json", headers=reply.headers)


def hang_up(provider: Provider, request: web.BaseRequest) -> web.Response:
    provider.ledger.by_status[0] += 1
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=499)


async def cut_off(request: web.BaseRequest, data: bytes, headers: dict[str, str]) -> web.StreamResponse:
    """Half a body of a promised length, then the end of the connection."""
    response = web.StreamResponse(headers={**headers, "Content-Type": "application/json"})
    response.content_length = len(data)
    await response.prepare(request)
    await response.write(data[: len(data) // 2])
    if request.transport is not None:
        request.transport.close()
    return response
