"""What a run counts while it goes on."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Traffic:
    """What went over the wire, counted as it happens."""

    asked: int = 0  # requests that a provider was asked, each once however often it was sent
    answered: int = 0
    replayed: int = 0
    in_flight: int = 0
    at_once: int = 0  # how many the provider is believed to bear at once
    retries: int = 0
    throttled: int = 0  # times that a provider said it is too much
    failed: int = 0  # requests left without an answer
    lost: int = 0  # attempts that may be on the bill although no answer came
    batches: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    lost_usd: float = 0.0  # at most; not in cost_usd
    unpriced: int = 0  # answers whose price is not known
    finishes: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)  # kind of TransientError -> how often


def count(counts: dict[str, int], what: str) -> None:
    counts[what] = counts.get(what, 0) + 1


@dataclass(slots=True)
class Tally:
    """How one prompt of a run stands."""

    prompt: str
    wanted: int
    accepted: int = 0
    flagged: int = 0
    short: int = 0  # slots that were given up
    unanswered: int = 0  # slots that got no answer, and
    no_answer: str | None = None  # why one of them got none
    rejection: str | None = None  # what the provider said of the first request it would not take
    rejected: dict[str, int] = field(default_factory=dict)  # reason -> how many

    def reject(self, reason: str, count: int = 1) -> None:
        total = self.rejected.pop(reason, 0) + count
        if total:
            self.rejected[reason] = total
