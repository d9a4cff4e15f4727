"""What a run counts while it goes on."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Traffic:
    """What went over the wire, counted as it happens."""

    asked: int = 0
    replayed: int = 0
    in_flight: int = 0
    retries: int = 0
    failed: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    unpriced: int = 0  # answers whose price is not known
    finishes: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Tally:
    """How one prompt of a run stands."""

    prompt: str
    wanted: int
    accepted: int = 0
    flagged: int = 0
    short: int = 0  # slots that were given up
    rejected: dict[str, int] = field(default_factory=dict)  # reason -> how many

    def reject(self, reason: str, count: int = 1) -> None:
        total = self.rejected.pop(reason, 0) + count
        if total:
            self.rejected[reason] = total
