"""Anthropic's Messages: what a request may hold, and what comes back."""

import base64
import binascii
import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from PIL import Image as Picture

from .faults import Bucket, Config
from .ledger import Usage
from .model import IMAGE_TOKENS, Asked, Reply, Said

MOST_BODY = 32 * 1024 * 1024
_FIELDS = frozenset({
    "cache_control", "container", "diagnostics", "inference_geo", "max_tokens", "messages", "metadata", "model",
    "output_config", "service_tier", "speed", "stop_sequences", "stream", "system", "thinking", "tool_choice", "tools",
})  # fmt: skip
_KINDS = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 529: "overloaded_error",
}  # fmt: skip
_STOPS = {"end": "end_turn", "length": "max_tokens", "refusal": "refusal", "filter": "refusal"}
_MEDIA = ("image/jpeg", "image/png", "image/gif", "image/webp")
MOST_IMAGE, MOST_PX = 5 * 1024 * 1024, 8000
MOST_IMAGES, CROWD, CROWD_PX = 100, 20, 2000  # of a request; with more than CROWD of them, each has to be smaller


class Invalid(Exception):
    """What is wrong with a request, in Anthropic's words."""


def error(status: int, message: str, headers: dict[str, str] | None = None) -> Reply:
    identity = _id("req", message)
    body = {"type": "error", "error": {"type": _KINDS[status], "message": message}, "request_id": identity}
    return Reply(status, body, {"request-id": identity, **(headers or {})})


def unauthorized(headers: Mapping[str, str]) -> Reply | None:
    key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    if not key:
        return error(401, "x-api-key header is required")
    if key == "wrong":
        return error(401, "invalid x-api-key")
    if "anthropic-version" not in headers:
        return error(400, "anthropic-version: header is required")
    return None


def too_large() -> Reply:
    return error(413, "Request exceeds the maximum size")


def invalid(message: str) -> Reply:
    return error(400, message)


def rate_limited(after_s: float | None, config: Config) -> Reply:
    headers = {} if after_s is None else {"retry-after": f"{after_s:.3g}"}
    return error(429, "This request would exceed your organization's rate limit.", headers)


def overloaded() -> Reply:
    return error(529, "Overloaded")


def server_error() -> Reply:
    return error(500, "Internal server error")


def no_credit(config: Config) -> Reply:
    message = "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."
    return error(int(config.anthropic_credit), message)


def read(body: Any, config: Config) -> Asked | Reply:
    """The request, or the error that it gets."""
    try:
        asked = _read(body, config)
    except Invalid as problem:
        return error(400, str(problem))
    if body["model"] == "no-such-model":
        return error(404, f"model: {body['model']}")
    if asked.tokens > config.context_tokens:
        return error(400, f"prompt is too long: {asked.tokens} tokens > {config.context_tokens} maximum")
    return asked


def _read(body: Any, config: Config, *, counting: bool = False) -> Asked:
    if not isinstance(body, dict):
        raise Invalid("Input should be a valid dictionary")
    for name in ("model", "messages") if counting else ("model", "max_tokens", "messages"):
        if name not in body:
            raise Invalid(f"{name}: Field required")
    for name in body:
        if name not in _FIELDS:
            raise Invalid(f"{name}: Extra inputs are not permitted")
    if not isinstance(body["model"], str) or not body["model"]:
        raise Invalid("model: Input should be a valid string")
    most = body.get("max_tokens", 1)
    if not isinstance(most, int) or isinstance(most, bool):
        raise Invalid("max_tokens: Input should be a valid integer")
    if most < 1:
        raise Invalid("max_tokens: Input should be greater than or equal to 1")
    if body.get("stream"):
        raise Invalid("stream: this server does not stream")
    _check_small_fields(body)
    messages = body["messages"]
    if not isinstance(messages, list):
        raise Invalid("messages: Input should be a valid list")
    if not messages:
        raise Invalid("messages: at least one message is required")
    reader = _Reader()
    system = body.get("system")
    if system is not None:
        reader.take(system, "system", only_text=True)
    system_text = reader.flush()
    for place, message in enumerate(messages):
        where = f"messages.{place}"
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise Invalid(f"{where}.role: Input should be 'user' or 'assistant'")
        if set(message) - {"role", "content"}:
            raise Invalid(f"{where}.{min(set(message) - {'role', 'content'})}: Extra inputs are not permitted")
        if not message.get("content"):
            raise Invalid(
                f"{where}: all messages must have non-empty content except for the optional final assistant message"
            )
        reader.take(message["content"], f"{where}.content")
    if body.get("cache_control"):
        reader.mark()
    reader.check_images()
    schema = _schema(body.get("output_config"))
    return Asked(
        system_text, reader.flush(), reader.images, most, schema, repeated=reader.images - len(reader.sums),
        prefixes=tuple(prefix for prefix in reader.prefixes if prefix[1] >= config.cache_min_tokens),
    )  # fmt: skip


def _check_small_fields(body: dict[str, Any]) -> None:
    metadata = body.get("metadata")
    if metadata is not None and (not isinstance(metadata, dict) or set(metadata) - {"user_id"}):
        raise Invalid("metadata: Extra inputs are not permitted")
    stops = body.get("stop_sequences")
    if stops is not None and not (
        isinstance(stops, list) and all(isinstance(stop, str) and stop.strip() for stop in stops)
    ):
        raise Invalid("stop_sequences: each stop sequence must contain non-whitespace")
    if body.get("service_tier", "auto") not in ("auto", "standard_only"):
        raise Invalid("service_tier: Input should be 'auto' or 'standard_only'")


class _Reader:
    """Gathers the text of blocks, counts images, and notes the prefixes that are marked for the cache."""

    def __init__(self) -> None:
        self.images = self.widest = 0
        self.sums: set[bytes] = set()
        self.prefixes: list[tuple[str, int]] = []
        self._parts: list[str] = []
        self._hash = blake2b(digest_size=12)
        self._bytes = self._marks = 0

    def flush(self) -> str:
        text, self._parts = "\n".join(self._parts), []
        return text

    def take(self, content: Any, where: str, *, only_text: bool = False) -> None:
        if isinstance(content, str):
            self._text(content)
            return
        if not isinstance(content, list):
            raise Invalid(f"{where}: Input should be a valid string or list")
        for place, block in enumerate(content):
            self._block(block, f"{where}.{place}", only_text)

    def _block(self, block: Any, where: str, only_text: bool) -> None:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            if not isinstance(block.get("text"), str):
                raise Invalid(f"{where}.text.text: Field required")
            if not block["text"].strip():
                raise Invalid(f"{where}: text content blocks must contain non-whitespace text")
            self._text(block["text"])
        elif kind == "image" and not only_text:
            self._image(block.get("source"), f"{where}.image.source")
        else:
            wanted = "'text'" if only_text else "'text', 'image'"
            raise Invalid(
                f"{where}: Input tag {kind!r} found using 'type' does not match any of the expected tags: {wanted}"
            )
        if extra := set(block) - {"type", "text", "source", "cache_control", "citations"}:
            raise Invalid(f"{where}.{kind}.{min(extra)}: Extra inputs are not permitted")
        if (cache := block.get("cache_control")) is not None:
            if (
                not isinstance(cache, dict)
                or cache.get("type") != "ephemeral"
                or cache.get("ttl", "5m") not in ("5m", "1h")
            ):
                raise Invalid(f"{where}.cache_control.type: Input should be 'ephemeral'")
            self.mark()

    def mark(self) -> None:
        self._marks += 1
        if self._marks > 4:
            raise Invalid(f"A maximum of 4 blocks with cache_control may be provided. Found {self._marks}.")
        self.prefixes.append((self._hash.hexdigest(), -(-self._bytes // 4) + self.images * IMAGE_TOKENS))

    def _text(self, text: str) -> None:
        data = text.encode(errors="replace")
        self._hash.update(data + b"\0")
        self._bytes += len(data)
        self._parts.append(text)

    def _image(self, source: Any, where: str) -> None:
        if not isinstance(source, dict) or source.get("type") != "base64":
            raise Invalid(f"{where}: Input should be a base64 source")
        if source.get("media_type") not in _MEDIA:
            raise Invalid(f"{where}.base64.media_type: Input should be {', '.join(map(repr, _MEDIA))}")
        try:
            data = base64.b64decode(source.get("data") or "", validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise Invalid(f"{where}.base64.data: Invalid base64 data") from None
        if len(data) > MOST_IMAGE:
            raise Invalid(f"{where}.base64: image exceeds 5 MB maximum: {len(data)} bytes > {MOST_IMAGE} bytes")
        if media_type(data) != source["media_type"]:
            raise Invalid(f"{where}.base64.data: Could not process image")
        if (size := _size(data)) is None:
            raise Invalid(f"{where}.base64.data: Could not process image")
        self.widest = max(self.widest, *size)
        self._hash.update(data)
        self.sums.add(blake2b(data, digest_size=12).digest())
        self.images += 1

    def check_images(self) -> None:
        """The limits on all images of a request together."""
        if self.images > MOST_IMAGES:
            raise Invalid(f"messages: too many images: {self.images} > {MOST_IMAGES}")
        most = CROWD_PX if self.images > CROWD else MOST_PX
        if self.widest > most:
            many = " for many-image requests" if self.images > CROWD else ""
            raise Invalid(
                f"messages: At least one of the image dimensions exceed max allowed size{many}: {most} pixels"
            )


def _size(data: bytes) -> tuple[int, int] | None:
    """Width and height; None where the data are no image."""
    try:
        with Picture.open(io.BytesIO(data)) as picture:
            return picture.size
    except (OSError, SyntaxError, ValueError):
        return None


def media_type(data: bytes) -> str | None:
    """What the first bytes of an image say that it is."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if data.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "image/gif"
    return "image/webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else None


def _schema(output_config: Any) -> dict[str, Any] | None:
    if output_config is None:
        return None
    if not isinstance(output_config, dict):
        raise Invalid("output_config: Input should be a valid dictionary")
    if extra := set(output_config) - {"format", "effort", "task_budget"}:
        raise Invalid(f"output_config.{min(extra)}: Extra inputs are not permitted")
    wanted = output_config.get("format")
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        raise Invalid("output_config.format.type: Input should be 'json_schema'")
    if not isinstance(wanted.get("schema"), dict):
        raise Invalid("output_config.format.schema: Field required")
    if extra := set(wanted) - {"type", "schema"}:
        raise Invalid(f"output_config.format.{min(extra)}: Extra inputs are not permitted")
    if problem := unclosed(wanted["schema"], "output_config.format.schema"):
        raise Invalid(problem)
    schema: dict[str, Any] = wanted["schema"]
    return schema


_UNSUPPORTED = {
    "integer": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
    "string": ("minLength", "maxLength"),
    "array": ("maxItems",),
}  # fmt: skip


def unclosed(schema: Any, where: str) -> str | None:
    """What makes a schema unfit for Anthropic's structured output."""
    if isinstance(schema, list):
        return next((found for each in schema if (found := unclosed(each, where))), None)
    if not isinstance(schema, dict):
        return None
    kind = schema.get("type")
    if kind == "object" and schema.get("additionalProperties") is not False:
        return f"{where}: For 'object' type, 'additionalProperties' must be explicitly set to false"
    if isinstance(kind, str):
        for name in _UNSUPPORTED.get(kind, ()):
            if name in schema:
                return f"{where}: For '{kind}' type, property '{name}' is not supported"
    if kind == "array" and schema.get("minItems", 0) not in (0, 1):
        return f"{where}: For 'array' type, 'minItems' values other than 0 or 1 are not supported"
    inner = [*schema.get("properties", {}).values(), *schema.get("$defs", {}).values(), schema.get("items")]
    return unclosed([*inner, schema.get("anyOf"), schema.get("allOf")], where)


class Cache:
    """Which prefixes were seen before."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def usage(self, model: str, asked: Asked, output: int) -> Usage:
        if not asked.prefixes:
            return Usage(asked.tokens, output)
        read = max((size for name, size in asked.prefixes if (model, name) in self._seen), default=0)
        longest = max(size for _, size in asked.prefixes)
        self._seen.update((model, name) for name, _ in asked.prefixes)
        return Usage(max(0, asked.tokens - longest), output, read, longest - read)


def payload(body: dict[str, Any], key: str, said: Said, usage: Usage, *, batch: bool = False) -> dict[str, Any]:
    """The Message; for the same key the same id."""
    refused = said.stop in ("refusal", "filter")
    details = {"type": "refusal", "category": "general_harms" if said.stop == "filter" else None, "explanation": None}
    return {
        "id": _id("msg", key), "type": "message", "role": "assistant", "model": body["model"],
        "content": [{"type": "text", "text": said.text}] if said.text else [],
        "stop_reason": _STOPS[said.stop], "stop_sequence": None, "stop_details": details if refused else None,
        "usage": {
            "input_tokens": usage.input, "output_tokens": usage.output,
            "cache_creation_input_tokens": usage.cache_write, "cache_read_input_tokens": usage.cache_read,
            "cache_creation": {"ephemeral_5m_input_tokens": usage.cache_write, "ephemeral_1h_input_tokens": 0},
            "service_tier": "batch" if batch else "standard",
        },
    }  # fmt: skip


def count_tokens(body: Any, config: Config) -> Reply:
    try:
        return Reply(200, {"input_tokens": _read(body, config, counting=True).tokens})
    except Invalid as problem:
        return error(400, str(problem))


def limit_headers(key: str, requests: Bucket | None, inputs: Bucket | None) -> dict[str, str]:
    headers = {"request-id": _id("req", key)}
    for name, bucket in (
        ("requests", requests),
        ("tokens", inputs),
        ("input-tokens", inputs),
        ("output-tokens", inputs),
    ):
        if bucket is not None:
            reset = datetime.now(UTC) + timedelta(seconds=bucket.reset_s())
            headers[f"anthropic-ratelimit-{name}-limit"] = str(int(bucket.per_minute))
            headers[f"anthropic-ratelimit-{name}-remaining"] = str(int(bucket.level))
            headers[f"anthropic-ratelimit-{name}-reset"] = reset.isoformat(timespec="milliseconds").replace(
                "+00:00", "Z"
            )
    return headers


def _id(kind: str, key: str) -> str:
    return f"{kind}_01{blake2b(key.encode(errors='replace'), digest_size=11).hexdigest()}"
