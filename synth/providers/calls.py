"""Calls through an SDK's client, for live requests and batches alike, with its errors translated.

Bodies go out as bytes and come back as plain JSON, through the `post` that the SDKs have for endpoints without a method of
their own: the typed methods check every field against their unions on the way out and in, which costs as much as the
request, and hide the headers. Authentication, headers, timeouts and errors are the SDK's all the same.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from curation.errors import InputError, ProviderError, TilthError
from synth.pricing import load_prices
from synth.providers.failures import Service, cut_off, failure, is_unknown_model, unknown_model

if TYPE_CHECKING:
    from synth.config import AskSettings

CONNECT_S = 30.0
KEEPALIVE_S = (
    4.0  # less than the 5 s after which common servers close: a connection closed in our face may lose a paid answer
)
SPARE_CONNECTIONS = 16  # for batches, beside the requests in flight
_PIECE = 256 * 1024
_MODELS_S = 10.0


class Calls:
    """A client of an SDK.

    Args:
        client: the SDK's asynchronous client, its own retries off.
        response: the class of raw responses of the HTTP library that the SDK is built on.
        failures: what the SDK and that library raise.
        pricing: the user's price table, which knows names of models.
        unset: the SDK's own word for an option that is not given.
        prefix: what paths start with, where the base_url does not have it.
    """

    def __init__(
        self, client: Any, service: Service, *, response: type, failures: tuple[type[Exception], ...], timeout_s: float,
        unset: Any, prefix: str = "", pricing: Path | None = None,
    ) -> None:  # fmt: skip
        self.client = client
        self.service = service
        self._response = response
        self._unset = unset
        self._failures: tuple[type[Exception], ...] = (*failures, TimeoutError, OSError)
        self._unlisted: tuple[type[Exception], ...] = (*self._failures, ValueError)
        self._timeout_s = timeout_s
        self._prefix = prefix
        self._pricing = pricing
        self._asking = asyncio.Lock()
        self._models: list[str] | None = None

    async def post(
        self, path: str, body: bytes, *, headers: dict[str, str] | None = None, timeout_s: float | None = None
    ) -> tuple[dict[str, Any], Any]:
        """The JSON object that is answered, and the response's headers.

        Raises:
            ProviderError: see `synth.providers.base.Provider.answer`.
        """
        sent = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
        limit_s = timeout_s or self._timeout_s
        options = {  # all of them given: the SDKs take long to make up what is left out
            "headers": sent, "params": {}, "max_retries": 0, "timeout": limit_s, "post_parser": self._unset,
            "idempotency_key": sent.get("Idempotency-Key", "none"),
        }  # fmt: skip
        try:
            async with asyncio.timeout(limit_s):
                response = await self.client.post(
                    self._prefix + path, cast_to=self._response, content=_content(body), options=options
                )
        except self._failures as error:
            raise await self._explained(error) from error
        return self._read(response.content), response.headers

    @contextmanager
    def translating(self) -> Iterator[None]:
        """What the SDK raises in here comes out as one of Tilth's errors."""
        try:
            yield
        except TilthError:
            raise
        except self._failures as error:
            raise failure(error, self.service) from error
        except (ValueError, TypeError, AttributeError) as error:  # the SDKs hand on what is no JSON, or another shape
            raise cut_off(self.service, "something else than it was asked for") from error

    async def models(self) -> list[str]:
        """The names of the models that the server has, or, if it does not tell, that the price table knows."""
        async with self._asking:
            if self._models is None:
                try:
                    async with asyncio.timeout(_MODELS_S):
                        response = await self.client.get(self._prefix + "/models", cast_to=self._response)
                    listed = json.loads(response.content)
                except self._unlisted:
                    listed = []
                found = listed.get("data") if isinstance(listed, dict) else listed
                rows = found if isinstance(found, list) else []
                named = [str(row["id"]) for row in rows if isinstance(row, dict) and "id" in row]
                priced = load_prices(self._pricing).table.get(self.service.name, {})
                self._models = named or [name for name in priced if name != "*"]
        return self._models

    async def close(self) -> None:
        await self.client.close()

    async def _explained(self, error: Exception) -> ProviderError:
        if is_unknown_model(error, self.service):
            return unknown_model(self.service, await self.models())
        return failure(error, self.service)

    def _read(self, content: bytes) -> dict[str, Any]:
        try:
            body = json.loads(content)
        except ValueError as error:
            raise cut_off(self.service, "a body that is not JSON") from error
        if not isinstance(body, dict):
            raise cut_off(self.service, "JSON that is no answer")
        return body


def told(value: object) -> str:
    """A word that an SDK's answer must have; what the server left out is None there.

    Raises:
        ValueError: it is not there.
    """
    if isinstance(value, str) and value:
        return value
    raise ValueError(f"expected a word, got {value!r}")


def encoded(value: object) -> bytes:
    """JSON, as small as it gets: text that is not Latin takes half the bytes that escapes would."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


async def lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The lines of a stream, without their ends. Only a line feed ends one: JSON may hold other line separators as they are."""
    kept: list[bytes] = []
    async for chunk in chunks:
        first, *others = chunk.split(b"\n")
        kept.append(first)
        for other in others:
            if line := b"".join(kept):
                yield line
            kept = [other]
    if line := b"".join(kept):
        yield line


def key_from(env: str, *, keys_at: str) -> str:
    """The key in an environment variable.

    Raises:
        InputError: it is not set.
    """
    if key := os.environ.get(env, "").strip():
        return key
    raise InputError(f"{env} is not set; get a key at {keys_at}, then: export {env}=...")


def model_from(settings: "AskSettings", example: str) -> str:
    """The model that the settings name.

    Raises:
        InputError: they name none.
    """
    if settings.model:
        return settings.model
    raise InputError(f"provider={settings.provider} needs a model, e.g. model={example}")


def server(settings: "AskSettings", env: str, default: str, *, versioned: bool) -> str:
    """The base URL to use: the settings', the environment's, or the provider's own.

    Args:
        versioned: whether the SDK wants the `/v1` in it; if not, one that the user wrote is taken off.

    Raises:
        InputError: it is not a URL.
    """
    name, url = "base_url", settings.base_url
    if not url:
        name, url = env, os.environ.get(env) or default
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise InputError(f"{name}={url}: not a URL; write it whole, e.g. http://localhost:8000/v1")
    url = url.rstrip("/")
    return url if versioned else url.removesuffix("/v1")


def _content(body: bytes) -> Any:
    """Bytes, or if they are many, pieces of them: the transport would copy all at once, and warn that it blocks the loop."""
    return body if len(body) <= 1_000_000 else _pieces(body)


async def _pieces(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), _PIECE):
        yield bytes(view[start : start + _PIECE])
