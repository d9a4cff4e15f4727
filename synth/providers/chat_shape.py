"""Chat completions: the shape of requests and answers that OpenAI began, and Together and most servers of open models speak."""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from curation.errors import ProviderError
from curation.records import Finish, Message, Request
from synth.programs.base import AnyPrompt
from synth.providers.base import Answer, Batches, Usage
from synth.providers.calls import Calls, encoded
from synth.providers.failures import Filtered, Service, cut_off, filtered_answer, status_failure
from synth.providers.images import Image, Images
from synth.providers.limits import headroom

if TYPE_CHECKING:
    from synth.config import AskSettings

MOST_IMAGE_BYTES = 20 * 2**20  # of one image
PATH = "/chat/completions"
_FINISH = {
    "stop": Finish.STOP, "eos": Finish.STOP, "length": Finish.LENGTH, "content_filter": Finish.FILTER,
    "refusal": Finish.REFUSAL, "error": Finish.ERROR,
}  # fmt: skip


class ChatBody:
    """Writes the body of a request.

    Args:
        strict: say that the schema is to be kept to the letter.
        limit_name: what the service calls the longest answer.
    """

    def __init__(self, images: Images, *, strict: bool, limit_name: str) -> None:
        self._images = images
        self._strict = strict
        self._limit_name = limit_name

    def of(self, request: Request) -> dict[str, Any]:
        """The body of a request.

        Raises:
            RequestRejected: an image cannot be sent.
        """
        sampling = request.sampling
        names = list(dict.fromkeys(name for message in request.messages for name in message.images))
        shown = dict(zip(names, self._images.of(names), strict=True))
        body: dict[str, Any] = {
            "model": request.model,
            "messages": [self._message(message, shown) for message in request.messages],
            self._limit_name: sampling["max_tokens"],
        }
        for name, setting in (("temperature", "temperature"), ("top_p", "top_p"), ("reasoning_effort", "effort")):
            if setting in sampling:
                body[name] = sampling[setting]
        if "seed" in sampling:
            body["seed"] = seed_of(request)
        if request.output_schema is not None:
            schema: dict[str, Any] = {"name": "answer", "schema": request.output_schema}
            if self._strict:
                schema["strict"] = True
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    @staticmethod
    def _message(message: Message, left: dict[str, Image]) -> dict[str, Any]:
        """A message, with those of its images that no earlier one has shown; they are taken out of `left`."""
        parts: list[dict[str, Any]] = [
            {"type": "image_url", "image_url": {"url": image.url}}
            for name in message.images
            if (image := left.pop(name, None)) is not None
        ]
        if not parts:
            return {"role": message.role, "content": message.content}
        if message.content:
            parts.append({"type": "text", "text": message.content})
        return {"role": message.role, "content": parts}


class Chat:
    """A provider that speaks chat completions."""

    def __init__(
        self, calls: Calls, body: ChatBody, settings: "AskSettings", *, structured: bool, batches: Batches | None
    ) -> None:
        self.name = calls.service.name
        self.batches = batches
        self._calls = calls
        self._body = body
        self._structured = structured
        self._settings = settings

    def model(self, prompt: AnyPrompt) -> str:  # noqa: ARG002
        return self._calls.service.model

    def sampling(self) -> dict[str, str | int | float]:
        asked = {
            "temperature": self._settings.temperature,
            "top_p": self._settings.top_p,
            "effort": self._settings.effort,
        }
        return {
            "max_tokens": self._settings.max_tokens,
            **{name: value for name, value in asked.items() if value is not None},
        }

    def structured(self) -> bool:
        return self._structured

    async def answer(self, request: Request) -> Answer:
        try:
            body, headers = await self._calls.post(
                PATH, encoded(self._body.of(request)), headers={"Idempotency-Key": request.id}
            )
        except Filtered as filtered:
            return filtered_answer(filtered)
        return read_answer(body, self._calls.service, headers)

    async def close(self) -> None:
        await self._calls.close()


def seed_of(request: Request) -> int:
    """A seed of the request's own: repeats of a question should differ, a replay of one should not."""
    text = f"{request.sampling['seed']}:{request.slot}:{request.attempt}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") >> 1


def read_answer(body: Mapping[str, Any], service: Service, headers: Mapping[str, str] | None = None) -> Answer:
    """What a chat completion says.

    Raises:
        ProviderError: it is none, or an error in its place.
    """
    choices = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise _no_answer(body, service)
    choice: Mapping[str, Any] = choices[0]
    message: Mapping[str, Any] = choice.get("message") or {}
    reason = str(choice.get("finish_reason") or "stop")
    finish = _FINISH.get(reason, Finish.STOP)
    text = _text(message.get("content"))
    if refusal := message.get("refusal"):
        text, finish = text or str(refusal), Finish.REFUSAL
    usage = body.get("usage") or {}
    raw = {"id": (headers or {}).get("x-request-id") or body.get("id"), "stop_reason": reason, "usage": usage}
    return Answer(
        text, finish, _usage(usage), str(body.get("model") or ""), raw, headroom(headers) if headers else None
    )


def _no_answer(body: Mapping[str, Any], service: Service) -> ProviderError:
    if error := body.get("error"):  # some servers send 200 with an error in it
        code = error.get("code") if isinstance(error, Mapping) else None
        return status_failure(code if isinstance(code, int) else 500, body, service)
    return cut_off(service, "JSON without choices")


def _text(content: object) -> str:
    """The text of a message, without the thinking that some servers leave in it."""
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, Mapping) and part.get("type") == "text"]
        content = "".join(str(part.get("text") or "") for part in parts)
    text = content if isinstance(content, str) else ""
    if text.lstrip().startswith("<think>"):
        return text.partition("</think>")[2].lstrip()
    return text


def _usage(usage: Mapping[str, Any]) -> Usage:
    details = usage.get("prompt_tokens_details") or {}
    cached = int(details.get("cached_tokens") or usage.get("cached_tokens") or 0)
    return Usage(
        input_tokens=max(0, int(usage.get("prompt_tokens") or 0) - cached),
        output_tokens=int(usage.get("completion_tokens") or 0),
        cache_read_tokens=cached,
    )
