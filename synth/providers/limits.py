"""What a provider's response headers say of its rate limits."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from synth.providers.base import Headroom

_REQUESTS = ("anthropic-ratelimit-requests-remaining", "x-ratelimit-remaining-requests", "x-ratelimit-remaining")
_TOKENS = ("anthropic-ratelimit-tokens-remaining", "x-ratelimit-remaining-tokens", "x-tokenlimit-remaining")
_REQUESTS_RESET = ("anthropic-ratelimit-requests-reset", "x-ratelimit-reset-requests", "x-ratelimit-reset")
_TOKENS_RESET = ("anthropic-ratelimit-tokens-reset", "x-ratelimit-reset-tokens", "x-tokenlimit-reset")
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?")
_PARTS_S = (3600, 60, 1, 0.001)


def headroom(headers: Mapping[str, str]) -> Headroom | None:
    """What is left of the limits on requests and tokens; None if the headers do not tell."""
    requests, tokens = _count(headers, _REQUESTS), _count(headers, _TOKENS)
    if requests is None and tokens is None:
        return None
    resets = [(requests, _seconds(headers, _REQUESTS_RESET)), (tokens, _seconds(headers, _TOKENS_RESET))]
    known = [(left, reset) for left, reset in resets if reset is not None]
    used_up = [reset for left, reset in known if left == 0]
    return Headroom(requests, tokens, max(used_up or [reset for _, reset in known], default=None))


def retry_after_s(headers: Mapping[str, str], *, or_reset: bool = False) -> float | None:
    """How long the provider asks to be left alone, in seconds; None if it does not say.

    Args:
        or_reset: if it does not ask, when its limits are said to be reset.
    """
    if (ms := headers.get("retry-after-ms")) and (found := seconds(ms)) is not None:
        return found / 1000
    if (asked := headers.get("retry-after")) and (found := seconds(asked)) is not None:
        return found
    if not or_reset:
        return None
    room = headroom(headers)
    return room.reset_s if room and 0 in (room.requests, room.tokens) else _seconds(headers, _REQUESTS_RESET[2:])


def seconds(text: str) -> float | None:
    """Seconds from now: a plain number, a duration (`6m0s`, `120ms`), or a moment (RFC 3339 or an HTTP date)."""
    text = text.strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    if text and (match := _DURATION.fullmatch(text)):
        return sum(float(part) * size for part, size in zip(match.groups(), _PARTS_S, strict=True) if part)
    for parse in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = parse(text)
        except ValueError:
            continue
        return max(0.0, ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - datetime.now(UTC)).total_seconds())
    return None


def _seconds(headers: Mapping[str, str], names: tuple[str, ...]) -> float | None:
    text = next((value for name in names if (value := headers.get(name)) is not None), None)
    return None if text is None else seconds(text)


def _count(headers: Mapping[str, str], names: tuple[str, ...]) -> int | None:
    text = next((value for name in names if (value := headers.get(name)) is not None), "")
    return int(float(text)) if re.fullmatch(r"\d+(\.\d+)?", text) else None
