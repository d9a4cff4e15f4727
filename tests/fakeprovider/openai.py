"""The chat completions of OpenAI and of Together: one shape, differing details."""

import base64
import binascii
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal

from .anthropic import media_type
from .faults import Bucket, Config
from .ledger import Usage
from .model import Asked, Reply, Said

MOST_BODY = 32 * 1024 * 1024
_SHARED = frozenset({
    "model", "messages", "max_tokens", "temperature", "top_p", "n", "stop", "stream", "seed", "response_format", "tools",
    "tool_choice", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "reasoning_effort",
})  # fmt: skip
_OPENAI = _SHARED | {
    "max_completion_tokens", "top_logprobs", "user", "service_tier", "store", "metadata", "stream_options", "modalities",
    "parallel_tool_calls", "prediction", "safety_identifier", "prompt_cache_key", "verbosity", "web_search_options",
}  # fmt: skip
_TOGETHER = _SHARED | {
    "top_k", "min_p", "repetition_penalty", "echo", "safety_model", "context_length_exceeded_behavior", "reasoning",
    "chat_template_kwargs", "compliance", "function_call",
}  # fmt: skip
MOST_IMAGE, MOST_IMAGES, MOST_IMAGES_BYTES = 20 * 2**20, 500, 50_000_000  # the last two are OpenAI's alone
_DATA_URL = re.compile(r"data:(image/(?:png|jpeg|gif|webp));base64,")
_STOPS = {"end": "stop", "length": "length", "refusal": "stop", "filter": "content_filter"}


class Invalid(Exception):
    def __init__(self, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param, self.code = param, code


@dataclass(frozen=True, slots=True)
class Chat:
    """One of the two dialects."""

    name: Literal["openai", "together"]

    def error(
        self,
        status: int,
        message: str,
        kind: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        body: dict[str, Any] = {"error": {"message": message, "type": kind, "param": param, "code": code}}
        if self.name == "together":
            body = {"id": _id("o", message), **body}
        return Reply(status, body, {"x-request-id": _id("req", message), **(headers or {})})

    def unauthorized(self, headers: Mapping[str, str]) -> Reply | None:
        key = headers.get("authorization", "").removeprefix("Bearer ").strip()
        if key and key != "wrong":
            return None
        if self.name == "together":
            return self.error(401, "Invalid API key provided. You can find your API key at https://api.together.ai/settings/api-keys.",
                              "invalid_request_error", code="invalid_api_key")  # fmt: skip
        words = f"Incorrect API key provided: {key}." if key else "You didn't provide an API key."
        return self.error(401, words, "invalid_request_error", code="invalid_api_key" if key else None)

    def too_large(self) -> Reply:
        return self.error(413, "Request body is too large", "invalid_request_error", code="request_too_large")

    def invalid(self, message: str) -> Reply:
        return self.error(400, message, "invalid_request_error")

    def rate_limited(self, after_s: float | None, config: Config) -> Reply:
        headers = {}
        if after_s is not None:
            headers["retry-after" if self.name == "together" else "retry-after-ms"] = (
                f"{after_s:.3g}" if self.name == "together" else str(int(after_s * 1000))
            )
        if self.name == "together":
            return self.error(429, "You have reached the rate limit specific to this model.", "rate_limit",
                              code="rate_limit_exceeded", headers=headers)  # fmt: skip
        return self.error(429, "Rate limit reached for requests. Please try again later.", "requests",
                          code="rate_limit_exceeded", headers=headers)  # fmt: skip

    def overloaded(self) -> Reply:
        if self.name == "together":
            return self.error(503, "The server is currently overloaded with other requests.", "service_unavailable")
        return self.error(503, "The engine is currently overloaded, please try again later.", "server_error")

    def server_error(self) -> Reply:
        return self.error(500, "The server had an error while processing your request.", "server_error")

    def no_credit(self, config: Config) -> Reply:
        if self.name == "together":
            return self.error(
                402, "Credit limit exceeded, please add credits to your account.", "credit_limit", code="credit_limit"
            )
        return self.error(429, "You exceeded your current quota, please check your plan and billing details.",
                          "insufficient_quota", code="insufficient_quota")  # fmt: skip

    def read(self, body: Any, config: Config) -> Asked | Reply:
        """The request, or the error that it gets."""
        try:
            asked = self._read(body)
        except Invalid as problem:
            return self.error(400, str(problem), "invalid_request_error", code=problem.code, param=problem.param)
        model = body["model"]
        if model == "no-such-model":
            words = f"The model `{model}` does not exist or you do not have access to it."
            if self.name == "together":
                words = f"Unable to access model {model}. Please visit https://api.together.ai/models to view the list of supported models."
            code = "model_not_found" if self.name == "openai" else "model_not_available"
            return self.error(404, words, "invalid_request_error", code=code)
        if asked.tokens + (0 if self.name == "openai" else asked.max_tokens) <= config.context_tokens:
            return asked
        if self.name == "openai":
            words = (
                f"This model's maximum context length is {config.context_tokens} tokens. However, your messages resulted in "
                f"{asked.tokens} tokens. Please reduce the length of the messages."
            )
            return self.error(400, words, "invalid_request_error", code="context_length_exceeded", param="messages")
        words = (
            f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {config.context_tokens}. Given: "
            f"{asked.tokens} `inputs` tokens and {asked.max_tokens} `max_new_tokens`"
        )
        return self.error(422, words, "invalid_request_error", code="invalid_request")

    def _read(self, body: Any) -> Asked:
        if not isinstance(body, dict):
            raise Invalid("We could not parse the JSON body of your request.")
        for name in ("model", "messages"):
            if not body.get(name):
                raise Invalid(f"Missing required parameter: '{name}'.", name, "missing_required_parameter")
        known = _OPENAI if self.name == "openai" else _TOGETHER
        for name in body:
            if name not in known:
                raise Invalid(f"Unrecognized request argument supplied: {name}", name)
        if body.get("stream"):
            raise Invalid("this server does not stream", "stream")
        if "max_tokens" in body and "max_completion_tokens" in body:
            raise Invalid(
                "Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.", "max_tokens"
            )
        if (body.get("n") or 1) != 1:
            raise Invalid("this server answers once: n must be 1", "n")
        most = body.get("max_completion_tokens", body.get("max_tokens"))
        most = 4096 if most is None else most
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise Invalid(f"Invalid 'max_tokens': integer below minimum value. Expected a value >= 1, but got {most} instead.",
                          "max_tokens", "integer_below_min_value")  # fmt: skip
        for name, top in (("temperature", 2), ("top_p", 1)):
            value = body.get(name)
            if value is not None and not (isinstance(value, int | float) and 0 <= value <= top):
                raise Invalid(f"Invalid '{name}': expected a value between 0 and {top}, but got {value} instead.", name)
        if body.get("seed") is not None and not isinstance(body["seed"], int):
            raise Invalid("Invalid type for 'seed': expected an integer.", "seed", "invalid_type")
        if not isinstance(body["messages"], list):
            raise Invalid("Invalid type for 'messages': expected an array of objects.", "messages", "invalid_type")
        texts: dict[str, list[str]] = {"system": [], "user": []}
        shown: list[str] = []
        for place, message in enumerate(body["messages"]):
            shown += self._message(message, f"messages[{place}]", texts)
        if self.name == "openai" and len(shown) > MOST_IMAGES:
            raise Invalid(f"Too many images: {len(shown)}, at most {MOST_IMAGES} are allowed.", "messages")
        if self.name == "openai" and sum(map(len, shown)) * 3 // 4 > MOST_IMAGES_BYTES:
            raise Invalid(f"Images take more than {MOST_IMAGES_BYTES} bytes together.", "messages")
        schema, any_json = self._format(body.get("response_format"))
        return Asked(
            "\n".join(texts["system"]),
            "\n".join(texts["user"]),
            len(shown),
            most,
            schema,
            any_json,
            repeated=len(shown) - len(set(shown)),
        )

    def _message(self, message: Any, where: str, texts: dict[str, list[str]]) -> list[str]:
        """Takes the texts of one message; returns its images."""
        if not isinstance(message, dict) or message.get("role") not in (
            "system",
            "developer",
            "user",
            "assistant",
            "tool",
        ):
            raise Invalid(f"Invalid value for '{where}.role'.", f"{where}.role", "invalid_value")
        into = texts["system" if message["role"] in ("system", "developer") else "user"]
        content = message.get("content")
        if isinstance(content, str):
            into.append(content)
            return []
        if not isinstance(content, list) or not content:
            raise Invalid(
                f"Invalid type for '{where}.content': expected a string or an array of objects.",
                f"{where}.content",
                "invalid_type",
            )
        images: list[str] = []
        for place, part in enumerate(content):
            here = f"{where}.content[{place}]"
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                into.append(part["text"])
            elif kind == "image_url" and isinstance(part.get("image_url"), dict):
                self._image(part["image_url"].get("url"), here)
                images.append(part["image_url"]["url"])
            else:
                raise Invalid(
                    f"Invalid value: '{kind}'. Supported values are: 'text' and 'image_url'.", here, "invalid_value"
                )
        return images

    def _image(self, url: Any, where: str) -> None:
        match = _DATA_URL.match(url) if isinstance(url, str) else None
        if match is None:
            raise Invalid(
                "Invalid image: only data: URLs of png, jpeg, gif or webp images are read here.",
                where,
                "invalid_image_url",
            )
        try:
            data = base64.b64decode(url[match.end() :], validate=True)
        except (binascii.Error, ValueError):
            raise Invalid("Invalid base64 image_url.", where, "invalid_base64") from None
        if len(data) > MOST_IMAGE:
            raise Invalid(
                f"Image is too large: {len(data)} bytes, at most {MOST_IMAGE} are allowed.", where, "image_too_large"
            )
        if media_type(data) is None:
            raise Invalid("You uploaded an unsupported image.", where, "image_parse_error")

    def _format(self, wanted: Any) -> tuple[dict[str, Any] | None, bool]:
        if wanted is None or (isinstance(wanted, dict) and wanted.get("type") == "text"):
            return None, False
        kind = wanted.get("type") if isinstance(wanted, dict) else None
        if kind == "json_object":
            schema = wanted.get("schema") if self.name == "together" else None
            return schema, schema is None
        if kind != "json_schema":
            raise Invalid(
                f"Invalid value: {kind!r}. Supported values are: 'text', 'json_object', and 'json_schema'.",
                "response_format.type",
            )
        given = wanted.get("json_schema")
        if not isinstance(given, dict) or not isinstance(given.get("schema"), dict):
            raise Invalid(
                "Missing required parameter: 'response_format.json_schema.schema'.",
                "response_format.json_schema",
                "missing_required_parameter",
            )
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(given.get("name", ""))):
            raise Invalid(
                "Missing required parameter: 'response_format.json_schema.name'.",
                "response_format.json_schema.name",
                "missing_required_parameter",
            )
        schema = given["schema"]
        if self.name == "openai" and given.get("strict"):
            self._strict(schema, "response_format")
            if schema.get("type") != "object":
                raise Invalid(
                    f"Invalid schema for response_format '{given['name']}': schema must have type 'object'.",
                    "response_format",
                    "invalid_json_schema",
                )
        return schema, False

    def _strict(self, schema: Any, where: str) -> None:
        """OpenAI's strict schemas close each object and require all of its properties."""
        if not isinstance(schema, dict):
            return
        if schema.get("type") == "object":
            if schema.get("additionalProperties") is not False:
                raise Invalid(
                    "Invalid schema: 'additionalProperties' is required to be supplied and to be false.",
                    where,
                    "invalid_json_schema",
                )
            if set(schema.get("required", ())) != set(schema.get("properties", {})):
                raise Invalid(
                    "Invalid schema: 'required' is required to be supplied and to include every key in properties.",
                    where,
                    "invalid_json_schema",
                )
        for inner in (
            *schema.get("properties", {}).values(),
            *schema.get("$defs", {}).values(),
            schema.get("items"),
            *schema.get("anyOf", ()),
        ):
            self._strict(inner, where)

    def usage(self, asked: Asked, output: int) -> Usage:
        return Usage(asked.tokens, output)

    def payload(self, body: dict[str, Any], key: str, said: Said, usage: Usage) -> dict[str, Any]:
        """The chat completion; for the same key the same id."""
        message: dict[str, Any] = {"role": "assistant", "content": said.text}
        stop = _STOPS[said.stop]
        if self.name == "openai":
            refused = said.stop == "refusal"
            message = {
                "role": "assistant",
                "content": None if refused else said.text,
                "refusal": said.text if refused else None,
                "annotations": [],
            }
        elif stop == "stop" and int(blake2b(key.encode(errors="replace"), digest_size=1).hexdigest(), 16) < 64:
            stop = "eos"
        choice: dict[str, Any] = {"index": 0, "message": message, "logprobs": None, "finish_reason": stop}
        answer = {
            "id": _id("chatcmpl" if self.name == "openai" else "o", key), "object": "chat.completion", "created": int(time.time()),
            "model": body["model"], "choices": [choice],
            "usage": {"prompt_tokens": usage.input, "completion_tokens": usage.output, "total_tokens": usage.input + usage.output},
        }  # fmt: skip
        if self.name == "together":
            choice["seed"] = body.get("seed")
            return {**answer, "prompt": []}
        answer["usage"]["prompt_tokens_details"] = {"cached_tokens": 0, "audio_tokens": 0}
        return {**answer, "service_tier": "default", "system_fingerprint": "fp_loopback"}

    def limit_headers(self, key: str, requests: Bucket | None, inputs: Bucket | None) -> dict[str, str]:
        headers = {"x-request-id": _id("req", key)}
        for name, bucket in (("requests", requests), ("tokens", inputs)):
            if bucket is None:
                continue
            limit, left, reset_s = str(int(bucket.per_minute)), str(int(bucket.level)), bucket.reset_s()
            if self.name == "openai":
                reset = f"{int(reset_s * 1000)}ms" if reset_s < 1 else f"{int(reset_s // 60)}m{reset_s % 60:.3f}s"
                headers[f"x-ratelimit-limit-{name}"], headers[f"x-ratelimit-remaining-{name}"] = limit, left
                headers[f"x-ratelimit-reset-{name}"] = reset
            else:
                start = "x-ratelimit" if name == "requests" else "x-tokenlimit"
                headers[f"{start}-limit"], headers[f"{start}-remaining"] = limit, left
                headers["x-ratelimit-reset"] = f"{reset_s:.3f}"
        return headers


OPENAI, TOGETHER = Chat("openai"), Chat("together")


def _id(kind: str, key: str) -> str:
    joint = "_" if kind == "req" else "-"
    return f"{kind}{joint}{blake2b(key.encode(errors='replace'), digest_size=12).hexdigest()}"
