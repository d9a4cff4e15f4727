"""How many requests may be in flight, and how fast they may follow each other.

In-flight requests follow additive increase, multiplicative decrease (Chiu and Jain 1989): the first 429 of a burst takes a quarter off, and
successes add one at a time. A burst is what was under way when the limit went down; its other 429s change nothing more. Where
429s are few, as strays in a long night are, successes bring all of it back at once. An overloaded server (529, 503) is not our doing, and
counts like a 429 only when it says so several times in a row. `retry-after` holds back the request that met it, and everybody when
429s are many; rate-limit headers that say that nothing is left hold back everybody; so do bursts with no success between them.
"""

import asyncio
import random
from collections import deque
from dataclasses import dataclass

from curation.errors import TilthError
from synth.providers.base import Headroom
from synth.tally import Traffic

DECREASE = 0.75
SUCCESSES_FOR_ONE_MORE = 10
MANY = 0.1  # 429s among the last 50 outcomes or so; fewer are strays
MEMORY = 0.02  # weight of the newest outcome in that share
OVERLOADS_THAT_COUNT = 3  # in a row
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0


class _Pace:
    """A token bucket: so many a minute, a few seconds' worth at once."""

    def __init__(self, per_minute: int, now: float) -> None:
        self._rate = per_minute / 60
        self._most = max(1.0, per_minute / 20)
        self._level = self._most
        self._at = now

    def wait_s(self, amount: float, now: float) -> float:
        """How long until `amount` may pass; 0 if it may now. More than fits at once passes when the bucket is full."""
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now
        return max(0.0, (min(amount, self._most) - self._level) / self._rate)

    def take(self, amount: float) -> None:
        self._level -= amount


@dataclass(slots=True)
class Slot:
    """One place in flight."""

    burst: int
    tokens: float  # that were reckoned with


class Limiter:
    """Hands out places in flight, first come, first served.

    Args:
        most: places at most, whatever the provider bears.
        requests_per_minute, tokens_per_minute: the user's own limits; None for none.
    """

    def __init__(
        self,
        most: int,
        traffic: Traffic,
        *,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
    ) -> None:
        now = asyncio.get_running_loop().time()
        self._most = most
        self._limit = float(most)
        self._traffic = traffic
        self._waiting: deque[tuple[float, asyncio.Future[Slot]]] = deque()
        self._busy = 0
        self._come_back_to = float(most)
        self._share = 0.0  # of 429s
        self._burst = self._bursts_in_a_row = self._overloads_in_a_row = 0
        self._not_before = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._requests = _Pace(requests_per_minute, now) if requests_per_minute else None
        self._tokens = _Pace(tokens_per_minute, now) if tokens_per_minute else None
        self._jitter = random.Random()
        traffic.at_once = most

    async def enter(self, tokens: float = 0.0) -> Slot:
        """A place in flight, once there is one; `tokens` is how many the request is expected to take."""
        if not self._waiting and self._wait_s(tokens) == 0:
            return self._take(tokens)
        place: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        self._waiting.append((tokens, place))
        self._wake()
        try:
            return await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave(place.result())
            raise

    def leave(self, slot: Slot, *, tokens: float | None = None) -> None:
        """Give a place back. `tokens` is how many the request really took."""
        self._busy -= 1
        self._traffic.in_flight = self._busy
        if self._tokens is not None and tokens is not None:
            self._tokens.take(tokens - slot.tokens)
        self._wake()

    def succeeded(self, headroom: Headroom | None) -> None:
        self._bursts_in_a_row = self._overloads_in_a_row = 0
        self._share *= 1 - MEMORY
        if self._limit < self._most:
            step = 1.0 if self._limit < self._come_back_to else 1 / SUCCESSES_FOR_ONE_MORE
            self._limit = min(self._most, self._limit + step)
            self._traffic.at_once = int(self._limit)
        if headroom is not None and headroom.reset_s and (headroom.requests == 0 or headroom.tokens == 0):
            self._hold(headroom.reset_s)

    def overloaded(self, slot: Slot, retry_after_s: float | None) -> None:
        """The provider said that it has too much to do, whoever's it is."""
        self._overloads_in_a_row += 1
        if retry_after_s is not None:
            self._hold(retry_after_s)
        elif self._overloads_in_a_row >= OVERLOADS_THAT_COUNT:
            self.throttled(slot, None)

    def throttled(self, slot: Slot, retry_after_s: float | None) -> None:
        """The provider said that we ask too much."""
        self._share += MEMORY * (1 - self._share)
        many = self._share >= MANY
        if slot.burst == self._burst:
            self._burst += 1
            self._bursts_in_a_row += 1
            met, self._limit = self._limit, max(1.0, self._limit * DECREASE)
            self._come_back_to = self._limit if many else met
            self._traffic.at_once = int(self._limit)
        if many:
            self._come_back_to = min(self._come_back_to, self._limit)
        if retry_after_s is not None:
            if many:
                self._hold(retry_after_s)
        elif self._bursts_in_a_row > 1:  # nothing got through since the last one: a word for everybody
            longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(self._bursts_in_a_row - 2, 10))
            self._hold(self._jitter.uniform(longest / 4, longest))

    def turn_away(self, reason: TilthError) -> None:
        """Whoever still waits for a place gets none."""
        while self._waiting:
            _, place = self._waiting.popleft()
            if not place.done():
                place.set_exception(reason)

    def _hold(self, seconds: float) -> None:
        self._not_before = max(self._not_before, asyncio.get_running_loop().time() + seconds)

    def _wait_s(self, tokens: float) -> float | None:
        """Seconds until the next request may go, None if that is when another comes back."""
        if self._busy >= int(self._limit):
            return None
        now = asyncio.get_running_loop().time()
        waits = [self._not_before - now]
        if self._requests is not None:
            waits.append(self._requests.wait_s(1, now))
        if self._tokens is not None:
            waits.append(self._tokens.wait_s(tokens, now))
        return max(0.0, *waits)

    def _take(self, tokens: float) -> Slot:
        self._busy += 1
        self._traffic.in_flight = self._busy
        if self._requests is not None:
            self._requests.take(1)
        if self._tokens is not None:
            self._tokens.take(tokens)
        return Slot(self._burst, tokens)

    def _wake(self) -> None:
        """Let go whoever may; come back when the next may."""
        while self._waiting:
            tokens, place = self._waiting[0]
            if place.done():  # cancelled
                self._waiting.popleft()
                continue
            wait_s = self._wait_s(tokens)
            if wait_s is None:
                return
            if wait_s > 0:
                if self._timer is not None:
                    self._timer.cancel()
                self._timer = asyncio.get_running_loop().call_later(wait_s, self._wake)
                return
            self._waiting.popleft()
            place.set_result(self._take(tokens))
