"""What the server saw and would bill: the other side of every count that a client makes."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from .faults import Config


@dataclass(frozen=True, slots=True)
class Usage:
    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0
    characters: int = 0

    def usd(self, config: Config, *, batch: bool = False) -> float:
        millionths = (
            self.input * config.usd_input + self.output * config.usd_output + self.cache_read * config.usd_cache_read
            + self.cache_write * config.usd_cache_write + self.characters * config.usd_characters
        )  # fmt: skip
        return millionths / 1e6 * (config.batch_share if batch else 1)


@dataclass(slots=True)
class Key:
    """One request of a client, however often it was sent."""

    tries: int = 0
    paid: int = 0
    answered: int = 0


class Ledger:
    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.bodies: dict[str, int] = {}  # how often the same body was paid for, whatever its key
        self.by_status: Counter[int] = Counter()
        self.by_fault: Counter[str] = Counter()
        self.requests = self.in_flight = self.max_in_flight = 0
        self.answered = self.paid = self.abandoned = self.throttled = 0
        self.images = self.images_repeated = 0  # of valid requests
        self.usd = 0.0
        self.input_tokens = self.output_tokens = self.cache_read_tokens = self.cache_write_tokens = self.characters = 0
        self.batches_submitted = self.batch_twice = self.rows_paid = 0
        self.batch_row_sets: set[str] = set()

    def key(self, name: str) -> Key:
        if (key := self.keys.get(name)) is None:
            key = self.keys[name] = Key()
        return key

    def pay(self, key: Key, body: str, usage: Usage, config: Config, *, whole: bool, batch: bool = False) -> None:
        """Bill one answer; `whole` where it also reaches the client as it should."""
        key.paid += 1
        self.paid += 1
        self.bodies[body] = self.bodies.get(body, 0) + 1
        if whole:
            key.answered += 1
            self.answered += 1
        self.usd += usage.usd(config, batch=batch)
        self.input_tokens += usage.input
        self.output_tokens += usage.output
        self.cache_read_tokens += usage.cache_read
        self.cache_write_tokens += usage.cache_write
        self.characters += usage.characters
        self.rows_paid += batch

    def stats(self) -> dict[str, Any]:
        keys = self.keys.values()
        return {
            "requests": self.requests,
            "by_status": {str(status): count for status, count in sorted(self.by_status.items())},
            "by_fault": dict(sorted(self.by_fault.items())),
            "answered": self.answered,
            "paid": self.paid,
            "abandoned": self.abandoned,
            "throttled": self.throttled,
            "images": self.images,
            "images_repeated": self.images_repeated,
            "usd": self.usd,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cache_read_tokens": self.cache_read_tokens,
            "cache_write_tokens": self.cache_write_tokens,
            "characters": self.characters,
            "keys_seen": len(self.keys),
            "paid_twice": sum(key.paid > 1 for key in keys),
            "answered_twice": sum(key.answered > 1 for key in keys),
            "bodies_paid_twice": sum(times - 1 for times in self.bodies.values()),
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "batches_submitted": self.batches_submitted,
            "batch_twice": self.batch_twice,
            "rows_paid": self.rows_paid,
        }
