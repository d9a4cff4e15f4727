"""Records as rows of the store's tables, and back."""

import hashlib
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from curation.records import (
    QA,
    Completion,
    Dialogue,
    Edited,
    Finish,
    Generated,
    Imported,
    Malformed,
    Moderation,
    Preference,
    Request,
    Safety,
    Translated,
    Verdict,
    canonical_json,
    content_id,
    hashed,
    normalised,
    now,
)
from curation.store import Row

AnyExample = Moderation | Dialogue | Preference | Safety | QA
AnyOrigin = Generated | Imported | Edited | Translated
TableRow = tuple[str, Row]


def utc(at: datetime) -> datetime:
    """The store keeps naive UTC."""
    return at.astimezone(UTC).replace(tzinfo=None) if at.tzinfo else at


def text_hash(text: str) -> int:
    """A 64-bit hash of the normalised text: equal for texts a reader would call the same."""
    return int.from_bytes(hashlib.blake2b(normalised(text).encode(), digest_size=8).digest(), "little")


def request_row(request: Request, at: datetime) -> TableRow:
    messages = canonical_json([message.model_dump(mode="json", exclude_defaults=True) for message in request.messages])
    return "requests", (
        request.id, request.prompt, request.prompt_id, canonical_json(request.variables), messages, request.provider,
        request.model, canonical_json(request.sampling), request.slot, request.attempt, utc(at),
        canonical_json(request.output_schema) if request.output_schema else None,
    )  # fmt: skip


REQUEST_COLUMNS = "prompt, prompt_id, variables, messages, provider, model, sampling, slot, attempt, output_schema"


def request_from(row: Sequence[Any]) -> Request:
    """The request in a row of `REQUEST_COLUMNS`."""
    prompt, prompt_id, variables, messages, provider, model, sampling, slot, attempt, schema = row
    return Request(
        prompt=prompt, prompt_id=prompt_id, variables=json.loads(variables), messages=json.loads(messages),
        provider=provider, model=model, sampling=json.loads(sampling), slot=slot, attempt=attempt,
        output_schema=json.loads(schema) if schema else None,
    )  # fmt: skip


def completion_row(completion: Completion, *, run: str, slot: int) -> TableRow:
    return "completions", (
        completion.id, completion.request, run, completion.text, str(completion.finish), completion.input_tokens,
        completion.output_tokens, completion.cost_usd, completion.latency_s, completion.model,
        canonical_json(completion.raw), slot, utc(completion.at),
    )  # fmt: skip


COMPLETION_COLUMNS = "request, text, finish, input_tokens, output_tokens, cost_usd, latency_s, model, raw, made_at"


def completion_from(row: Sequence[Any]) -> Completion:
    """The completion in a row of `COMPLETION_COLUMNS`."""
    request, text, finish, tokens_in, tokens_out, cost, latency, model, raw, at = row
    return Completion(
        request=request, text=text, finish=Finish(finish), input_tokens=tokens_in, output_tokens=tokens_out, cost_usd=cost,
        latency_s=latency, model=model, raw=json.loads(raw), at=at,
    )  # fmt: skip


def malformed_row(malformed: Malformed) -> TableRow:
    identity = content_id("mf", [malformed.completion, malformed.position])
    return "malformed", (identity, malformed.completion, malformed.position, malformed.reason, utc(now()))


def example_row(example: AnyExample, at: datetime) -> TableRow:
    labels, content = example.labels, example.content
    return "examples", (
        example.id, example.task, example.language, labels.get("label"), labels.get("category"), labels.get("severity"),
        example.body, content, text_hash(content), utc(at),
    )  # fmt: skip


def origin_row(example: str, origin: AnyOrigin, at: datetime) -> TableRow:
    several = isinstance(origin, Generated) and origin.before
    body = canonical_json(origin.model_dump(mode="json", exclude=None if several else {"before"}))
    generated = origin if isinstance(origin, Generated) else None
    return "origins", (
        hashed("or", f'["{example}",{canonical_json(body)}]'), example, origin.kind,
        generated and generated.prompt, generated and generated.provider, generated and generated.model,
        canonical_json(generated.axes) if generated else None,
        origin.completion if isinstance(origin, Generated | Translated) else None,
        origin.parent if isinstance(origin, Edited | Translated) else None,
        origin.path if isinstance(origin, Imported) else None, body, utc(at),
    )  # fmt: skip


def verdict_row(verdict: Verdict, *, once: bool = False) -> TableRow:
    """The row of a verdict. With `once` its id leaves out when it was said, so that a replay that comes to the same
    verdict adds nothing."""
    author, version = verdict.by, ""
    if not author.startswith("human:"):  # a person's name may be an e-mail address
        author, _, version = author.partition("@")
    identity = content_id("vd", verdict.model_dump(mode="json", exclude={"at"} if once else None))
    return "verdicts", (
        identity, verdict.example, author, version, str(verdict.decision), verdict.reason, verdict.score,
        canonical_json(verdict.labels) if verdict.labels is not None else None, utc(verdict.at),
    )  # fmt: skip
