"""Places in flight: never too many, fewer after a 429, everybody held back by `retry-after`, none lost."""

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import Any

import pytest

from curation.errors import TilthError
from synth.limiter import Limiter
from synth.providers.base import Headroom
from synth.tally import Traffic


def run(whole: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(whole, 30))


def test_never_more_than_allowed_and_everybody_gets_a_place() -> None:
    async def whole() -> None:
        traffic = Traffic()
        limiter = Limiter(7, traffic)
        busy = most = done = 0

        async def one() -> None:
            nonlocal busy, most, done
            slot = await limiter.enter()
            busy += 1
            most = max(most, busy)
            assert busy <= traffic.in_flight <= 7
            await asyncio.sleep(0.001)
            busy -= 1
            done += 1
            limiter.leave(slot)

        await asyncio.gather(*(one() for _ in range(200)))
        assert (most, done, traffic.in_flight) == (7, 200, 0)

    run(whole())


def test_one_burst_of_429s_takes_a_quarter_off_once_and_successes_bring_it_back() -> None:
    async def whole() -> None:
        traffic = Traffic()
        limiter = Limiter(100, traffic)
        slots = [await limiter.enter() for _ in range(100)]
        for slot in slots[:40]:
            limiter.throttled(slot, retry_after_s=0)
        assert traffic.at_once == 75
        for slot in slots:
            limiter.leave(slot)
        again = await limiter.enter()
        limiter.throttled(again, retry_after_s=0)  # a new burst
        assert traffic.at_once == 56
        limiter.leave(again)
        for _ in range(100):
            limiter.succeeded(None)
        assert traffic.at_once in (65, 66)  # a tenth each
        for _ in range(3000):
            limiter.succeeded(None)
        assert traffic.at_once == 100

    run(whole())


def test_a_stray_429_takes_a_quarter_off_that_comes_back_at_once() -> None:
    async def whole() -> None:
        traffic = Traffic()
        limiter = Limiter(100, traffic)
        slots = [await limiter.enter() for _ in range(100)]
        limiter.throttled(slots[0], retry_after_s=30)
        assert traffic.at_once == 75
        for slot in slots[1:40]:
            limiter.succeeded(None)
            limiter.leave(slot)
        assert traffic.at_once == 100
        limiter.leave(await asyncio.wait_for(limiter.enter(), 1))  # nobody else waits for its retry-after

    run(whole())


def test_stray_429s_and_529s_cost_little() -> None:
    """One request in a hundred meets a 429 and one in twenty a 529 that are no fault of ours."""

    async def whole() -> None:
        traffic = Traffic()
        limiter = Limiter(256, traffic)
        luck = random.Random(1)
        seen = []
        slots = [await limiter.enter() for _ in range(256)]
        for _ in range(8000):
            slot, drawn = slots.pop(0), luck.random()
            if drawn < 0.01:
                limiter.throttled(slot, None)
            elif drawn < 0.06:
                limiter.overloaded(slot, None)
            else:
                limiter.succeeded(None)
            limiter.leave(slot)
            while traffic.in_flight < traffic.at_once:
                slots.append(limiter._take(0))
            seen.append(traffic.at_once)
        assert sum(seen[2000:]) / len(seen[2000:]) > 180

    run(whole())


def test_a_server_that_does_nothing_but_say_overloaded_is_asked_less() -> None:
    async def whole() -> None:
        traffic = Traffic()
        limiter = Limiter(100, traffic)
        slots = [await limiter.enter() for _ in range(100)]
        for slot in slots:
            limiter.overloaded(slot, None)
        assert traffic.at_once == 75

    run(whole())


def test_retry_after_holds_back_everybody_when_429s_are_many() -> None:
    async def whole() -> None:
        limiter = Limiter(10, Traffic())
        slot = await limiter.enter()
        for _ in range(8):
            limiter.throttled(slot, retry_after_s=0.3)
        limiter.leave(slot)
        began = time.monotonic()
        limiter.leave(await limiter.enter())
        assert time.monotonic() - began >= 0.29

    run(whole())


def test_a_lone_429_without_retry_after_holds_back_nobody_else() -> None:
    async def whole() -> None:
        limiter = Limiter(10, Traffic())
        slots = [await limiter.enter() for _ in range(2)]
        limiter.throttled(slots[0], retry_after_s=None)
        limiter.succeeded(None)
        began = time.monotonic()
        limiter.leave(slots[0])
        limiter.leave(slots[1])
        slot = await limiter.enter()
        limiter.throttled(slot, retry_after_s=None)
        limiter.leave(slot)
        limiter.leave(await limiter.enter())
        assert time.monotonic() - began < 0.2

    run(whole())


def test_without_retry_after_the_pauses_grow_when_nothing_gets_through() -> None:
    async def whole() -> None:
        limiter = Limiter(10, Traffic())
        waited = []
        for _ in range(4):
            slot = await limiter.enter()
            limiter.throttled(slot, retry_after_s=None)
            limiter.leave(slot)
            began = time.monotonic()
            slot = await limiter.enter()
            waited.append(time.monotonic() - began)
            limiter.leave(slot)
        assert all(least <= wait for least, wait in zip((0, 0.12, 0.24, 0.49), waited, strict=True)), waited

    run(whole())


def test_headers_that_say_nothing_is_left_hold_back_until_the_reset() -> None:
    async def whole() -> None:
        limiter = Limiter(10, Traffic())
        slot = await limiter.enter()
        limiter.succeeded(Headroom(requests=0, tokens=1000, reset_s=0.25))
        limiter.leave(slot)
        began = time.monotonic()
        limiter.leave(await limiter.enter())
        assert time.monotonic() - began >= 0.24
        limiter.succeeded(Headroom(requests=5, tokens=5, reset_s=60))
        began = time.monotonic()
        limiter.leave(await limiter.enter())
        assert time.monotonic() - began < 0.2

    run(whole())


@pytest.mark.parametrize("limits", [{"requests_per_minute": 1200}, {"tokens_per_minute": 120_000}], ids=str)
def test_a_rate_is_kept(limits: dict[str, int]) -> None:
    async def whole() -> None:
        limiter = Limiter(50, Traffic(), **limits)
        began = time.monotonic()

        async def one() -> None:
            limiter.leave(await limiter.enter(tokens=100), tokens=100)

        await asyncio.gather(*(one() for _ in range(90)))
        took = time.monotonic() - began
        assert took >= (90 - 60 - 1) / 20, took  # 20 a second, three seconds' worth at once

    run(whole())


def test_tokens_are_settled_when_they_are_known() -> None:
    async def whole() -> None:
        limiter = Limiter(50, Traffic(), tokens_per_minute=60_000)  # 1,000 a second, 3,000 at once
        limiter.leave(await limiter.enter(tokens=0), tokens=3500)
        began = time.monotonic()
        limiter.leave(await limiter.enter(tokens=100), tokens=100)
        assert time.monotonic() - began >= 0.55

    run(whole())


def test_whoever_is_cancelled_takes_no_place_along() -> None:
    async def whole() -> None:
        traffic = Traffic()
        limiter = Limiter(3, traffic)
        luck = random.Random(5)

        async def one() -> None:
            slot = await limiter.enter()
            try:
                await asyncio.sleep(luck.random() / 200)
            finally:
                limiter.leave(slot)

        tasks = [asyncio.ensure_future(one()) for _ in range(300)]
        for task in tasks:
            if luck.random() < 0.5:
                await asyncio.sleep(luck.random() / 500)
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert traffic.in_flight == 0
        slots = [await limiter.enter() for _ in range(3)]
        assert traffic.in_flight == len(slots) == 3

    run(whole())


def test_those_who_wait_are_turned_away_when_it_is_over() -> None:
    async def whole() -> None:
        limiter = Limiter(1, Traffic())
        slot = await limiter.enter()
        waiting = asyncio.ensure_future(limiter.enter())
        await asyncio.sleep(0)
        limiter.turn_away(TilthError("it is over"))
        with pytest.raises(TilthError, match="it is over"):
            await waiting
        limiter.leave(slot)

    run(whole())
