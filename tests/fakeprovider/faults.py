"""What the server is told to be like: pace, limits, prices, and which requests meet which fault."""

import time
from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import Any

# They hit a key on its first try or two, then it is answered.
TRANSIENT = ("rate_limit", "rate_limit_after", "overloaded", "server_error", "slow", "reset", "cut_off", "wrong_json")
LASTING = (
    "malformed",
    "refusal",
    "content_filter",
    "max_tokens",
    "off_procedure",
)  # they hit a key always: that is its answer
ROWS = ("row_expired", "row_errored")  # a batch's row on its first try or two
ROWS_LASTING = ("row_invalid",)
BATCHES = ("batch_failed",)
TRANSLATIONS = ("drift", "drop_span")  # drawn for each segment by its text
KINDS = (*TRANSIENT, *LASTING, *ROWS, *ROWS_LASTING, *BATCHES, *TRANSLATIONS)


@dataclass(frozen=True, slots=True)
class Config:
    seed: int = 0
    latency_ms: float = 0
    latency_jitter: float = 0  # share: 0.5 is half to one and a half times the latency, by key
    slow_s: float = 3.0
    faults: dict[str, float] = field(default_factory=dict)  # kind -> share of keys
    stubborn: int | None = None  # how many tries of a key a transient fault hits; None: one or two, by key
    rate_per_minute: float | None = None
    burst: float | None = None  # requests that may come at once after a pause; None: what one second brings
    tokens_per_minute: float | None = None  # of input
    most_in_flight: int | None = None
    credit_usd: float | None = None
    anthropic_credit: str = "402"  # or "400": how Anthropic says that the credit is used up
    filter_as_400: bool = False  # Anthropic: "Output blocked by content filtering policy" in place of a refusal
    bill_abandoned: bool = False  # whether an answer whose client is gone by then is paid
    context_tokens: int = 200_000
    cache_min_tokens: int = 1024  # shorter prefixes are not cached
    batch_s: float = 0
    usd_input: float = 1.0  # per million tokens, as the next four
    usd_output: float = 5.0
    usd_cache_read: float = 0.1
    usd_cache_write: float = 1.25
    usd_characters: float = 20.0  # per million characters
    batch_share: float = 0.5

    def __post_init__(self) -> None:
        for kind, share in self.faults.items():
            if kind not in KINDS:
                raise ValueError(f"faults: no kind {kind!r}; known: {', '.join(KINDS)}")
            if not 0 <= share <= 1:
                raise ValueError(f"faults.{kind}={share}: a share lies between 0 and 1")
        for kinds in (TRANSIENT, LASTING, ROWS, TRANSLATIONS):
            if sum(self.faults.get(kind, 0) for kind in kinds) > 1:
                raise ValueError(f"faults: {', '.join(kinds)} come to more than 1")

    def but(self, changes: dict[str, Any]) -> "Config":
        """This, with some settings changed; `latency_s` stands for `latency_ms / 1000`."""
        changes = dict(changes)
        if "latency_s" in changes:
            changes["latency_ms"] = 1000 * changes.pop("latency_s")
        known = {each.name for each in fields(self)}
        if unknown := sorted(set(changes) - known):
            raise ValueError(f"no setting {unknown[0]!r}; known: {', '.join(sorted(known))}")
        return replace(self, **changes)


def chance(config: Config, what: str, key: str) -> float:
    """A number in [0, 1) that is always the same for the same seed and key."""
    digest = blake2b(f"{config.seed}\0{what}\0{key}".encode(errors="replace"), digest_size=7).digest()
    return int.from_bytes(digest) / 2**56


def draw(config: Config, kinds: tuple[str, ...], what: str, key: str) -> str | None:
    """Which of these kinds of fault is this key's, if any."""
    if not config.faults:
        return None
    place = chance(config, what, key)
    for kind in kinds:
        place -= config.faults.get(kind, 0)
        if place < 0:
            return kind
    return None


def passing(config: Config, kinds: tuple[str, ...], key: str, tries: int) -> str | None:
    """The transient fault of a key that was tried so often before."""
    kind = draw(config, kinds, "passing", key)
    if kind is None:
        return None
    hits = config.stubborn if config.stubborn is not None else 1 + (chance(config, "hits", key) < 0.5)
    return kind if tries < hits else None


class Bucket:
    """A token bucket: `per_minute` flow in, at most `burst` are there at once."""

    def __init__(self, per_minute: float, burst: float | None) -> None:
        self.per_minute = per_minute
        self.burst = max(1.0, per_minute / 60 if burst is None else burst)
        self.level = self.burst
        self._at = time.monotonic()

    def take(self, amount: float) -> float:
        """Seconds to wait before asking again; 0 where the amount was taken."""
        now = time.monotonic()
        self.level = min(self.burst, self.level + (now - self._at) * self.per_minute / 60)
        self._at = now
        amount = min(amount, self.burst)
        if self.level >= amount:
            self.level -= amount
            return 0.0
        return (amount - self.level) * 60 / self.per_minute

    def reset_s(self) -> float:
        """Seconds until the bucket is full again."""
        return (self.burst - self.level) * 60 / self.per_minute
