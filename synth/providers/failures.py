"""What an SDK raises, said in Tilth's own errors: failed for now, failed for this request, or failed for good.

The SDKs of Anthropic, Together and OpenAI come from one generator: an error has a `status_code`, a `response` and a `body`,
or, if no response came, the cause below it.
"""

import asyncio
import json
import os
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from curation.errors import ProviderError, RequestRejected, TransientError, did_you_mean
from curation.records import Finish
from synth.providers.base import CONNECTION, CUT_OFF, EXPIRED, OVERLOADED, RATE_LIMIT, SERVER, TIMEOUT, Answer
from synth.providers.limits import retry_after_s

NO_KEY = "none"  # sent where the server needs none, as the SDK must send something
LONGEST_WORDS = 300  # of a provider's own message
_NO_HEADERS: Mapping[str, str] = {}
_CREDIT = re.compile(
    r"credit balance is too low|insufficient_quota|exceeded your current quota|credit limit|api usage limits", re.I
)
_CONTEXT = re.compile(
    r"prompt is too long|context[ _](length|window|size)|maximum context|max_new_tokens|too many (input )?tokens", re.I
)
_FILTERED = re.compile(r"content[ _]filter|content management policy", re.I)
_SCHEMA = re.compile(r"schema|response_format|output_config|output_format|grammar|structured output", re.I)
_IMAGE = re.compile(r"\bimages?\b", re.I)
_STATUS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "rate_limit_exceeded": 429,
    "api_error": 500, "server_error": 500, "timeout_error": 504, "overloaded_error": 529,
}  # fmt: skip  # where only the error's type is known


class Filtered(RequestRejected):
    """The provider took the request and withheld the answer: an outcome, in the guise of an error."""


@dataclass(frozen=True, slots=True)
class Service:
    """Who is asked, as messages name it. The key is there to be struck out of them."""

    name: str
    host: str
    model: str
    key_env: str
    key: str = field(repr=False)
    keys_at: str = ""


def status_failure(
    status: int, body: object, service: Service, headers: Mapping[str, str] = _NO_HEADERS
) -> ProviderError:
    """What an HTTP error status, or a batch row that carries one, means."""
    codes, words = _said(body)
    words = _shortened(words, service)
    coded = f"{' '.join(codes)} {words}"
    who = service.name
    tail = f": {words}" if words else ""
    if status == 402 or _CREDIT.search(coded):
        return ProviderError(
            f"{who}: the account's credit is used up; add some and run the same command again: what was answered is kept{tail}"
        )
    if not {"batch_expired", "batch_cancelled", "batch_canceled"}.isdisjoint(codes):
        return TransientError(f"{who}: not answered before the batch ended", kind=EXPIRED)
    wait = retry_after_s(headers, or_reset=status == 429)
    if status == 429:
        return TransientError(f"{who}: rate limit{tail}", kind=RATE_LIMIT, retry_after_s=wait)
    if status in (503, 529):
        return TransientError(f"{who}: overloaded ({status}){tail}", kind=OVERLOADED, retry_after_s=wait)
    if status in (408, 409) or status >= 500:
        late = status in (504, 524)  # a gateway gave up waiting; the model did not
        return TransientError(f"{who}: server error {status}{tail}", kind=SERVER, retry_after_s=wait, maybe_paid=late)
    if status in (401, 403):
        if service.key == NO_KEY:
            return ProviderError(
                f"{who}: {service.host} wants a key; export {service.key_env}=... with the one that it knows"
            )
        where = f"; get one at {service.keys_at}" if service.keys_at else ""
        why = tail if status == 403 else ""  # some quote the key with a 401
        return ProviderError(f"{who}: the key in {service.key_env} was refused by {service.host}{where}{why}")
    if _no_model(status, codes, words, service):
        return unknown_model(service, [])
    if status == 404:
        return ProviderError(f"{who}: {service.host} does not know what was asked for (404); is base_url right?{tail}")
    if status in (400, 413, 422):
        if _FILTERED.search(coded):
            return Filtered(f"{who}: {words}")
        return RequestRejected(f"{who}: {_rejected(status, coded, words)}")
    return ProviderError(f"{who}: {service.host} answered {status}{tail}")


def row_failure(error: object, service: Service) -> ProviderError:
    """What the error of one row of a batch means."""
    codes, _ = _said(error)
    known = [int(code) if code.isdecimal() else _STATUS.get(code) for code in codes]
    return status_failure(next((status for status in known if status), 500), error, service)


def failure(error: BaseException, service: Service) -> ProviderError:
    """What an exception of an SDK, or of the HTTP library below it, means."""
    if isinstance(status := getattr(error, "status_code", None), int):
        return status_failure(status, getattr(error, "body", None), service, error.response.headers)  # type: ignore[attr-defined]
    who, host = service.name, service.host
    for cause in _causes(error):
        reason = _shortened(_reason(cause), service)
        match cause:
            case aiohttp.ConnectionTimeoutError():
                return TransientError(f"{who}: {host} did not take the connection in time", kind=TIMEOUT)
            case aiohttp.ClientConnectorDNSError() | socket.gaierror():
                return TransientError(f"{who}: no host {host}; is the network up, and base_url right?", kind=CONNECTION)
            case aiohttp.ClientConnectorError() | ConnectionRefusedError() | ssl.SSLError():
                return TransientError(
                    f"{who}: cannot reach {host} ({reason}); is it running, and base_url right?", kind=CONNECTION
                )
            case asyncio.TimeoutError():
                return TransientError(f"{who}: no answer from {host} within timeout_s", kind=TIMEOUT, maybe_paid=True)
            case aiohttp.ClientPayloadError():
                return TransientError(f"{who}: the answer from {host} was cut off", kind=CUT_OFF, maybe_paid=True)
            case aiohttp.InvalidURL():
                return ProviderError(f"{who}: base_url is not a URL: {reason}")
            case aiohttp.ClientError() | OSError():
                return TransientError(
                    f"{who}: {host} closed the connection ({reason})", kind=CONNECTION, maybe_paid=True
                )
    reason = _shortened(_reason(error), service)
    return TransientError(f"{who}: {reason}", kind=CONNECTION, maybe_paid=True)


def filtered_answer(filtered: Filtered) -> Answer:
    """The answer that the provider withheld."""
    return Answer("", Finish.FILTER, raw={"stop_reason": "content_filter", "error": str(filtered)})


def unknown_model(service: Service, known: list[str]) -> ProviderError:
    return ProviderError(
        f"{service.name}: {service.host} has no model {service.model!r}.{did_you_mean(service.model, known)}"
    )


def is_unknown_model(error: BaseException, service: Service) -> bool:
    """Whether an exception says that there is no such model."""
    status = getattr(error, "status_code", None)
    return isinstance(status, int) and _no_model(status, *_said(getattr(error, "body", None)), service)


def cut_off(service: Service, what: str) -> TransientError:
    return TransientError(f"{service.name}: {service.host} sent {what}", kind=CUT_OFF, maybe_paid=True)


def _no_model(status: int, codes: tuple[str, ...], words: str, service: Service) -> bool:
    if status == 404 and ("model" in words.lower() or service.model in words):
        return True
    return status in (400, 404) and not {"model_not_found", "model_not_available"}.isdisjoint(codes)


def _rejected(status: int, coded: str, words: str) -> str:
    if _CONTEXT.search(coded):
        return f"the prompt is over the model's context; shorten the prompt, or choose another model: {words}"
    if _SCHEMA.search(coded):
        return f"the model does not take this JSON schema; structured=false leaves it out: {words}"
    if _IMAGE.search(words):
        return f"an image was not taken; render it smaller, or choose a model that sees images: {words}"
    if status == 413:
        return f"the request is too large; shorten the prompt, or render its images smaller: {words}"
    return f"the request was not taken: {words or status}"


def _said(body: object) -> tuple[tuple[str, ...], str]:
    """An error's code and type, and its message, from any of the shapes that providers use."""
    if isinstance(body, bytes | str):
        try:
            body = json.loads(body)
        except ValueError:
            return (), re.sub(r"<[^>]*>", " ", str(body))
    while isinstance(body, Mapping) and isinstance(body.get("error"), Mapping):
        body = body["error"]
    if not isinstance(body, Mapping):
        return (), str(body or "")
    shape: Mapping[str, Any] = body
    words = shape.get("message") or shape.get("error") or shape.get("detail") or ""
    codes = tuple(str(shape[name]) for name in ("code", "type") if shape.get(name))
    return codes, words if isinstance(words, str) else json.dumps(words)


def _shortened(words: str, service: Service) -> str:
    """On one line, not long, and without the key."""
    if service.key and len(service.key) > 4:
        words = words.replace(service.key, "...")
    words = " ".join(words.split())
    return words if len(words) <= LONGEST_WORDS else words[:LONGEST_WORDS] + " ..."


def _reason(error: BaseException) -> str:
    number = getattr(error, "errno", None)
    return os.strerror(number) if isinstance(number, int) and number > 0 else str(error) or type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it came from, the innermost of the HTTP library's own first."""
    chain: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and now not in chain:
        chain.append(now)
        now = now.__cause__ or now.__context__
    yield from (one for one in chain if isinstance(one, aiohttp.ClientError))
    yield from (one for one in reversed(chain) if isinstance(one, OSError | TimeoutError))
