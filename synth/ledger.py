"""What was paid for: answers are written down before anybody sees them, and money is set aside before it is spent."""

import asyncio
from collections import deque
from collections.abc import Mapping

from curation.errors import InputError, TilthError
from curation.journal import Writer
from curation.records import Completion, Request, content_id, now
from curation.tables import completion_row, request_row, utc
from synth.pricing import Price
from synth.providers.base import Answer, most_tokens
from synth.tally import Traffic, count


class Stopped(TilthError):
    """No more requests are made: a limit was met, the user said stop, or the provider failed for good."""


class Ledger:
    """Keeps the answers of one run, counts them, and holds its spending to `max_usd`.

    Args:
        price: of the model that is asked; None if it is not known, which `max_usd` does not go with.
        others: prices of further models that the run asks, by name.
        spent_usd: what earlier runs of the same plans paid, which counts towards `max_usd`.
    """

    def __init__(
        self, writer: Writer, traffic: Traffic, *, run: str, price: Price | None, max_tokens: int,
        max_usd: float | None = None, spent_usd: float = 0.0, others: Mapping[str, Price | None] | None = None,
    ) -> None:  # fmt: skip
        self._others = dict(others or {})
        if max_usd is not None and (price is None or None in self._others.values()):
            raise InputError(
                "max_usd: the price of this model is not known; add it to pricing.yaml (docs/providers.md), or leave max_usd out"
            )
        self.traffic = traffic
        self._writer = writer
        self._run = run
        self._price = price
        self._max_tokens = max_tokens
        self._max_usd = max_usd
        self._spent = spent_usd
        self._reserved = 0.0
        self._reservations = 0  # how many make it up: a sum of floats does not come back to 0
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()

    # -- answers -------------------------------------------------------------------------------------------------

    def keep(self, request: Request, answer: Answer, *, latency_s: float = 0.0, batch: bool = False) -> Completion:
        """Write an answer down. It is on disk when this returns, and there is no await on the way: it cannot get lost."""
        usage, price = answer.usage, self._price_of(request)
        completion = Completion(
            request=request.id, text=answer.text.encode(errors="replace").decode(), finish=answer.finish,
            input_tokens=usage.input_tokens + usage.cache_read_tokens + usage.cache_write_tokens,
            output_tokens=usage.output_tokens, cost_usd=price and price.cost(usage, batch=batch),
            latency_s=latency_s, model=answer.model, raw=answer.raw, at=now(),
        )  # fmt: skip
        rows = [request_row(request, completion.at), completion_row(completion, run=self._run, slot=request.slot)]
        self._writer.append(rows, durable=True)
        self._count(completion)
        return completion

    def lose(self, request: Request, reason: str, *, batch: bool = False) -> None:
        """Write down that a request may be on the bill although its answer never came: at most what it could cost."""
        worst, at = self.worst_usd(request, batch=batch), now()
        identity = content_id("ls", [self._run, request.id, at.isoformat()])
        loss = ("losses", (identity, self._run, request.id, reason, worst, utc(at)))
        self._writer.append([request_row(request, at), loss], durable=True)
        self.traffic.lost += 1
        self.traffic.lost_usd += worst or 0.0
        self._spent += worst or 0.0

    @property
    def usual_tokens(self) -> float:
        """Tokens that an answered request took on average so far."""
        traffic = self.traffic
        return (traffic.input_tokens + traffic.output_tokens) / max(1, traffic.answered)

    def _count(self, completion: Completion) -> None:
        traffic = self.traffic
        traffic.answered += 1
        traffic.input_tokens += completion.input_tokens
        traffic.output_tokens += completion.output_tokens
        count(traffic.finishes, str(completion.finish))
        if completion.cost_usd is None:
            traffic.unpriced += 1
        else:
            traffic.cost_usd += completion.cost_usd
            self._spent += completion.cost_usd

    # -- money ---------------------------------------------------------------------------------------------------

    def worst_usd(self, request: Request, *, batch: bool = False) -> float | None:
        """What a request costs at most: every byte a token, and the longest answer. None if the price is not known."""
        if (price := self._price_of(request)) is None:
            return None
        tokens_in, tokens_out = most_tokens(request, self._max_tokens)
        return price.most(tokens_in, tokens_out, batch=batch)

    def _price_of(self, request: Request) -> Price | None:
        return self._others.get(request.model, self._price)

    def affordable(self, worst_usd: float) -> bool:
        return self._max_usd is None or self._spent + self._reserved + worst_usd <= self._max_usd

    async def reserve(self, worst_usd: float | None) -> float:
        """Set money aside for a request, waiting for others to come in cheaper than they might.

        Raises:
            Stopped: there is not enough left, whatever the others come to.
        """
        if self._max_usd is None or worst_usd is None:
            return 0.0
        if self._waiting or not self.affordable(worst_usd):
            if not self._reservations:
                raise Stopped(self._used_up(worst_usd))
            ready = asyncio.get_running_loop().create_future()
            self._waiting.append((worst_usd, ready))
            await ready  # its money was set aside by whoever let it go on
        else:
            self._take(worst_usd)
        return worst_usd

    def owe(self, worst_usd: float | None) -> float:
        """Set money aside for what a provider is working on already, whether or not there is enough."""
        if self._max_usd is None or worst_usd is None:
            return 0.0
        self._take(worst_usd)
        return worst_usd

    def release(self, reserved_usd: float) -> None:
        """Give back what was set aside; what was spent has been counted by `keep` or `lose`."""
        if reserved_usd:
            self._reservations -= 1
            self._reserved = self._reserved - reserved_usd if self._reservations else 0.0
        while self._waiting:
            worst, ready = self._waiting[0]
            if ready.done():  # cancelled
                self._waiting.popleft()
            elif self.affordable(worst):
                self._waiting.popleft()
                self._take(worst)
                ready.set_result(None)
            elif self._reservations:
                return
            else:
                self._waiting.popleft()
                ready.set_exception(Stopped(self._used_up(worst)))

    def _take(self, worst_usd: float) -> None:
        self._reserved += worst_usd
        self._reservations += 1

    def _used_up(self, worst_usd: float) -> str:
        return f"max_usd={self._max_usd:g} is used up: ${self._spent:.4f} spent, and the next request may cost ${worst_usd:.4f}"
