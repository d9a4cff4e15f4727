"""The durable ask: what was answered is read back, what comes is on disk at once, and faults are retried within bounds."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from curation.errors import InputError, ProviderError, RequestRejected, TransientError
from curation.journal import Writer
from curation.records import Completion, Finish, Message, Request, now
from curation.store import Store
from curation.tables import completion_row, request_row
from synth import ask
from synth.ask import Engine, Limits, answered_slots, answers
from synth.ledger import Ledger, Stopped
from synth.pricing import Price
from synth.prompts import Prompt
from synth.providers.base import RATE_LIMIT, Answer, Usage
from synth.tally import Traffic


def request(slot: int = 0, attempt: int = 0, **fields: Any) -> Request:
    body = {
        "prompt": "p", "prompt_id": "pr1_0", "variables": {}, "messages": (Message(role="user", content="Write."),),
        "provider": "scripted", "model": "m",
    }  # fmt: skip
    return Request(**{**body, **fields}, slot=slot, attempt=attempt)


class Scripted:
    """Answers after so many busy signals, and notes what it saw."""

    name = "scripted"
    batches = None

    def __init__(
        self, busy: int = 0, wait_s: float = 0, retry_after_s: float | None = None, kind: str = "busy",
        maybe_paid: bool = False, **answer: Any,
    ) -> None:  # fmt: skip
        self.seen: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self._busy, self._wait_s = busy, wait_s
        self._fault = {"kind": kind, "retry_after_s": retry_after_s, "maybe_paid": maybe_paid}
        self._answer = {"finish": Finish.STOP, **answer}

    def model(self, prompt: Prompt) -> str:
        return "m"

    def sampling(self) -> dict[str, str | int | float]:
        return {}

    def structured(self) -> bool:
        return False

    async def close(self) -> None:
        pass

    async def answer(self, request: Request) -> Answer:
        self.seen[request.id] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._wait_s)
        self.at_once -= 1
        if self.seen[request.id] <= self._busy:
            raise TransientError("busy", **self._fault)
        return Answer(f"answer to {request.slot}", **self._answer)


def with_engine(
    workspace: Path, provider: Any, job: Callable[[Engine], Coroutine[Any, Any, Any]], *, price: Price | None = None,
    max_usd: float | None = None, spent_usd: float = 0.0, **limits: Any,
) -> Engine:  # fmt: skip
    async def whole() -> None:
        engine.open()
        await job(engine)
        await engine.close()

    with Writer(Store(workspace)) as writer:
        ledger = Ledger(
            writer, Traffic(), run="rn1_0", price=price, max_tokens=100, max_usd=max_usd, spent_usd=spent_usd
        )
        engine = Engine(provider, ledger, Limits(**{"concurrency": 8, "retries": 3, "timeout_s": 30, **limits}))
        asyncio.run(whole())
    return engine


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "FIRST_BACKOFF_S", 0.001)


# -- once --------------------------------------------------------------------------------------------------------


def test_a_known_answer_is_read_back_and_taken_out(workspace: Path) -> None:
    stored = Completion(request=request().id, text="from before")
    known = {request().id: stored, "rq1_other": stored}
    provider = Scripted()

    async def job(engine: Engine) -> None:
        assert await engine.ask(request(), known) is stored
        assert set(known) == {"rq1_other"}
        assert (await engine.ask(request(1), known)).text == "answer to 1"

    engine = with_engine(workspace, provider, job)
    assert (engine.traffic.replayed, engine.traffic.asked) == (1, 1)
    assert set(provider.seen) == {request(1).id}


def test_an_answer_is_on_disk_before_the_caller_has_it(workspace: Path) -> None:
    async def job(engine: Engine) -> None:
        await engine.ask(request(7), {})
        (path,) = workspace.glob("journal/*.jsonl")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert [line[0] for line in lines] == ["requests", "completions"]
        assert lines[1][2] == request(7).id

    with_engine(workspace, Scripted(), job)
    assert Store(workspace).rows("SELECT request, run, slot, text FROM completions") == [
        (request(7).id, "rn1_0", 7, "answer to 7")
    ]


def test_what_an_answer_cost_is_counted_and_stored(workspace: Path) -> None:
    async def job(engine: Engine) -> None:
        for slot in range(3):
            await engine.ask(request(slot), {})

    usage = Usage(input_tokens=100_000, output_tokens=4, cache_read_tokens=50_000, cache_write_tokens=50_000)
    answer = {"usage": usage, "raw": {"id": 1}, "model": "m-1"}
    price = Price(input=2, output=50_000, cache_read=0.2, cache_write=2.5)
    each = 0.2 + 0.2 + 0.01 + 0.125
    priced = with_engine(workspace, Scripted(**answer), job, price=price)
    assert (priced.traffic.cost_usd, priced.traffic.unpriced) == (pytest.approx(3 * each), 0)
    assert (priced.traffic.input_tokens, priced.traffic.output_tokens) == (600_000, 12)
    assert priced.traffic.finishes == {"stop": 3}
    assert priced.traffic.in_flight == 0
    rows = Store(workspace).rows("SELECT DISTINCT cost_usd, input_tokens, output_tokens, raw, model FROM completions")
    assert rows == [(pytest.approx(each), 200_000, 4, '{"id":1}', "m-1")]
    unknown = with_engine(workspace.with_name("other"), Scripted(finish=Finish.FILTER, **answer), job)
    assert (unknown.traffic.cost_usd, unknown.traffic.unpriced) == (0.0, 3)
    assert unknown.traffic.finishes == {"filter": 3}
    assert column_of(workspace.with_name("other"), "SELECT DISTINCT cost_usd FROM completions") == [None]


def column_of(workspace: Path, sql: str) -> list[Any]:
    return [row[0] for row in Store(workspace).rows(sql)]


def test_half_a_surrogate_pair_in_an_answer_is_replaced(workspace: Path) -> None:
    class Torn(Scripted):
        async def answer(self, request: Request) -> Answer:
            return Answer("half an emoji: \ud83d", Finish.STOP)

    async def job(engine: Engine) -> None:
        assert (await engine.ask(request(), {})).text == "half an emoji: ?"

    with_engine(workspace, Torn(), job)
    assert column_of(workspace, "SELECT text FROM completions") == ["half an emoji: ?"]


# -- bounds ------------------------------------------------------------------------------------------------------


def test_no_more_than_the_concurrency_is_in_flight(workspace: Path) -> None:
    provider = Scripted(wait_s=0.01)

    async def job(engine: Engine) -> None:
        await asyncio.gather(*(engine.ask(request(slot), {}) for slot in range(30)))

    engine = with_engine(workspace, provider, job, concurrency=7)
    assert provider.most_at_once == 7
    assert engine.traffic.asked == 30


def test_max_requests_counts_replayed_ones_and_lets_known_answers_through(workspace: Path) -> None:
    provider = Scripted()

    async def job(engine: Engine) -> None:
        await engine.ask(request(0), {request(0).id: Completion(request=request(0).id, text="x")})
        await engine.ask(request(1), {})
        await engine.ask(request(2), {})
        with pytest.raises(Stopped, match="max_requests=3 is used up"):
            await engine.ask(request(3), {})
        await engine.ask(request(4), {request(4).id: Completion(request=request(4).id, text="x")})

    engine = with_engine(workspace, provider, job, max_requests=3)
    assert sum(provider.seen.values()) == 2
    assert str(engine.stopped) == "max_requests=3 is used up"


def test_stop_lets_what_is_in_flight_finish_and_refuses_the_rest(workspace: Path) -> None:
    provider = Scripted(wait_s=0.05)

    async def job(engine: Engine) -> None:
        asked = [asyncio.create_task(engine.ask(request(slot), {})) for slot in range(5)]
        await asyncio.sleep(0.01)
        engine.stop(Stopped("first"))
        engine.stop(Stopped("second"))
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result) for result in results] == [Completion] * 2 + [Stopped] * 3
        assert {str(result) for result in results[2:]} == {"first"}

    engine = with_engine(workspace, provider, job, concurrency=2)
    assert engine.traffic.asked == len(Store(workspace).rows("SELECT 1 FROM completions")) == 2


# -- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("busy", [0, 1, 3])
def test_a_busy_provider_is_asked_again(workspace: Path, busy: int) -> None:
    provider = Scripted(busy=busy)

    async def job(engine: Engine) -> None:
        assert (await engine.ask(request(), {})).text == "answer to 0"

    engine = with_engine(workspace, provider, job, retries=3)
    assert provider.seen[request().id] == busy + 1
    assert (engine.traffic.asked, engine.traffic.retries, engine.traffic.failed) == (1, busy, 0)
    assert len(Store(workspace).rows("SELECT 1 FROM completions")) == 1


def test_after_all_retries_the_fault_is_the_callers(workspace: Path) -> None:
    provider = Scripted(busy=99)

    async def job(engine: Engine) -> None:
        with pytest.raises(TransientError, match="busy"):
            await engine.ask(request(), {})

    engine = with_engine(workspace, provider, job, retries=2)
    assert provider.seen[request().id] == 3
    assert (engine.traffic.retries, engine.traffic.failed, engine.traffic.in_flight) == (2, 1, 0)
    assert engine.stopped is None


def test_retry_after_is_kept_to(workspace: Path) -> None:
    async def job(engine: Engine) -> None:
        began = time.monotonic()
        await engine.ask(request(), {})
        assert 0.2 <= time.monotonic() - began < 1

    with_engine(workspace, Scripted(busy=2, retry_after_s=0.1), job)


def test_waiting_times_grow_and_end(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    async def wait_for(waiting: Coroutine[Any, Any, Any], seconds: float) -> None:
        waiting.close()
        waited.append(seconds)
        raise TimeoutError

    async def job(engine: Engine) -> None:
        engine._jitter = type("Most", (), {"uniform": staticmethod(lambda low, high: high)})()  # type: ignore[assignment]
        await engine.ask(request(), {})

    monkeypatch.setattr(ask, "FIRST_BACKOFF_S", 0.2)
    monkeypatch.setattr("synth.ask.asyncio.wait_for", wait_for)
    with_engine(workspace, Scripted(busy=9), job, retries=9)
    assert waited == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]


def test_a_rate_limit_costs_no_retry_and_is_waited_out(workspace: Path) -> None:
    provider = Scripted(busy=6, kind=RATE_LIMIT, retry_after_s=0.02)

    async def job(engine: Engine) -> None:
        assert (await engine.ask(request(), {})).text == "answer to 0"

    engine = with_engine(workspace, provider, job, retries=0)
    assert (engine.traffic.retries, engine.traffic.throttled, engine.traffic.faults) == (0, 6, {RATE_LIMIT: 6})
    assert (engine.traffic.asked, engine.traffic.answered) == (1, 1)


def test_a_provider_that_says_too_much_for_too_long_is_given_up(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask, "PATIENCE_S", 0.2)

    async def job(engine: Engine) -> None:
        with pytest.raises(TransientError, match="busy"):
            await engine.ask(request(), {})

    with_engine(workspace, Scripted(busy=10**6, kind=RATE_LIMIT, retry_after_s=0.01), job)


def test_a_slow_answer_is_a_timeout_and_may_have_been_paid(workspace: Path) -> None:
    price = Price(input=1, output=10)

    async def job(engine: Engine) -> None:
        with pytest.raises(TransientError, match=r"no answer in 0\.05 s"):
            await engine.ask(request(), {})

    engine = with_engine(workspace, Scripted(wait_s=5), job, timeout_s=0.05, retries=1, price=price)
    assert (engine.traffic.faults, engine.traffic.lost) == ({"timeout": 2}, 2)
    worst = (6 + 1000 + 100 * 10) / 1e6
    assert engine.traffic.lost_usd == pytest.approx(2 * worst)
    assert column_of(workspace, "SELECT cost_usd FROM losses WHERE reason = 'timeout'") == [pytest.approx(worst)] * 2


def test_when_nothing_was_ever_answered_the_run_is_stopped(workspace: Path) -> None:
    class Refuses(Scripted):
        async def answer(self, request: Request) -> Answer:
            self.seen[request.id] += 1
            raise RequestRejected("the prompt is too long")

    async def job(engine: Engine) -> None:
        results = await asyncio.gather(*(engine.ask(request(slot), {}) for slot in range(200)), return_exceptions=True)
        assert {type(result) for result in results} == {RequestRejected, Stopped}

    provider = Refuses()
    engine = with_engine(workspace, provider, job)
    assert isinstance(engine.stopped, ProviderError)
    assert str(engine.stopped) == "the prompt is too long"
    assert 20 <= sum(provider.seen.values()) < 40


# -- money -------------------------------------------------------------------------------------------------------

CHEAP = Price(input=1, output=10)  # a request of ours costs 0.00201 at most and 0.00101 in truth
USED = {"usage": Usage(input_tokens=10, output_tokens=100)}


def test_max_usd_is_never_passed_and_nearly_used_up(workspace: Path) -> None:
    provider = Scripted(wait_s=0.002, **USED)

    async def job(engine: Engine) -> None:
        results = await asyncio.gather(*(engine.ask(request(slot), {}) for slot in range(200)), return_exceptions=True)
        assert {type(result) for result in results} == {Completion, Stopped}

    engine = with_engine(workspace, provider, job, price=CHEAP, max_usd=0.05, concurrency=64)
    spent = sum(provider.seen.values()) * 0.00101
    assert 0.045 < spent <= 0.05
    assert engine.traffic.cost_usd == pytest.approx(spent)
    assert "max_usd=0.05 is used up" in str(engine.stopped)
    assert provider.most_at_once <= 0.05 / 0.00201


def test_what_earlier_runs_spent_counts(workspace: Path) -> None:
    async def job(engine: Engine) -> None:
        await engine.ask(request(0), {})
        with pytest.raises(Stopped, match="max_usd"):
            await engine.ask(request(1), {})

    with_engine(workspace, Scripted(**USED), job, price=CHEAP, max_usd=0.05, spent_usd=0.0475)


def test_an_answer_that_never_came_is_reckoned_at_its_worst(workspace: Path) -> None:
    provider = Scripted(busy=10**6, maybe_paid=True)

    async def job(engine: Engine) -> None:
        with pytest.raises(Stopped, match="max_usd"):
            await engine.ask(request(0), {})

    with_engine(workspace, provider, job, price=CHEAP, max_usd=0.0101, retries=100)
    assert sum(provider.seen.values()) == 5


def test_a_limit_on_money_needs_a_price(workspace: Path) -> None:
    with pytest.raises(InputError, match=r"price of this model is not known; add it to pricing\.yaml"):
        with_engine(workspace, Scripted(), lambda engine: asyncio.sleep(0), max_usd=1.0)


def test_a_stop_ends_the_retries(workspace: Path) -> None:
    provider = Scripted(busy=99, wait_s=0.02)

    async def job(engine: Engine) -> None:
        task = asyncio.create_task(engine.ask(request(), {}))
        await asyncio.sleep(0.05)
        engine.stop(Stopped("enough"))
        with pytest.raises((Stopped, TransientError)):
            await task

    with_engine(workspace, provider, job, retries=1000)
    assert provider.seen[request().id] < 20


def test_a_providers_refusal_for_good_is_the_callers(workspace: Path) -> None:
    class Wrong(Scripted):
        async def answer(self, request: Request) -> Answer:
            self.seen[request.id] += 1
            raise ProviderError("no such model")

    provider = Wrong()

    async def job(engine: Engine) -> None:
        with pytest.raises(ProviderError, match="no such model"):
            await engine.ask(request(), {})

    with_engine(workspace, provider, job)
    assert provider.seen[request().id] == 1


def test_a_cancelled_ask_frees_its_slot(workspace: Path) -> None:
    async def job(engine: Engine) -> None:
        task = asyncio.create_task(engine.ask(request(0), {}))
        await asyncio.sleep(0.01)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        assert engine.traffic.in_flight == 0
        await asyncio.wait_for(engine.ask(request(1), {}), 5)

    with_engine(workspace, Scripted(wait_s=0.05), job, concurrency=1)


# -- reading back ------------------------------------------------------------------------------------------------


def put(store: Store, asked: Request, text: str) -> None:
    answer = Completion(request=asked.id, text=text, at=now())
    rows = [request_row(asked, answer.at), completion_row(answer, run="rn1_0", slot=asked.slot)]
    with store.write() as connection:
        for table, row in rows:
            store.insert(connection, table, [row])


def test_stored_answers_come_by_slot_of_this_prompt_and_model(workspace: Path) -> None:
    store = Store(workspace)
    for slot in (0, 3, 4, 9):
        put(store, request(slot), f"slot {slot}")
    put(store, request(3, 1), "slot 3 again")
    put(store, request(3, model="other"), "other model")
    put(store, request(4, prompt_id="pr1_other"), "other prompt")
    found = answers(store, "pr1_0", "m", 3, 8)
    assert {slot: {answer.text for answer in known.values()} for slot, known in found.items()} == {
        3: {"slot 3", "slot 3 again"},
        4: {"slot 4"},
    }
    assert found[4][request(4).id].request == request(4).id


def test_of_two_answers_to_one_request_the_first_stands(workspace: Path) -> None:
    store = Store(workspace)
    put(store, request(), "first")
    put(store, request(), "second")
    assert answers(store, "pr1_0", "m", 0, 0)[0][request().id].text == "first"


def test_answered_slots_is_one_more_than_the_highest(workspace: Path) -> None:
    store = Store(workspace)
    assert answered_slots(store, "pr1_0", "m") == 0
    put(store, request(41), "x")
    assert answered_slots(store, "pr1_0", "m") == 42
    assert answered_slots(store, "pr1_0", "other") == 0
