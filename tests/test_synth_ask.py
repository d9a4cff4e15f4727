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

from curation.errors import ProviderError, TransientError
from curation.journal import Writer
from curation.records import Completion, Finish, Message, Request, now
from curation.store import Store
from curation.tables import completion_row, request_row
from synth import ask
from synth.ask import Engine, Stopped, answered_slots, answers
from synth.prompts import Prompt
from synth.providers.base import Answer


def request(slot: int = 0, attempt: int = 0, **fields: Any) -> Request:
    body = {
        "prompt": "p", "prompt_id": "pr1_0", "variables": {}, "messages": (Message(role="user", content="Write."),),
        "provider": "scripted", "model": "m",
    }  # fmt: skip
    return Request(**{**body, **fields}, slot=slot, attempt=attempt)


class Scripted:
    """Answers after so many busy signals, and notes what it saw."""

    name = "scripted"

    def __init__(self, busy: int = 0, wait_s: float = 0, retry_after_s: float | None = None, **answer: Any) -> None:
        self.seen: Counter[str] = Counter()
        self.at_once = self.most_at_once = 0
        self._busy, self._wait_s, self._retry_after_s = busy, wait_s, retry_after_s
        self._answer = {"finish": Finish.STOP, **answer}

    def model(self, prompt: Prompt) -> str:
        return "m"

    def sampling(self) -> dict[str, str | int | float]:
        return {}

    async def answer(self, request: Request) -> Answer:
        self.seen[request.id] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self._wait_s)
        self.at_once -= 1
        if self.seen[request.id] <= self._busy:
            raise TransientError("busy", retry_after_s=self._retry_after_s)
        return Answer(f"answer to {request.slot}", **self._answer)


def with_engine(
    workspace: Path, provider: Any, job: Callable[[Engine], Coroutine[Any, Any, Any]], **settings: Any
) -> Engine:
    with Writer(Store(workspace)) as writer:
        engine = Engine(provider, writer, run="rn1_0", **{"concurrency": 8, "retries": 3, **settings})
        asyncio.run(job(engine))
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

    priced = with_engine(
        workspace, Scripted(cost_usd=0.25, input_tokens=10, output_tokens=4, raw={"id": 1}, model="m-1"), job
    )
    assert (priced.traffic.cost_usd, priced.traffic.unpriced) == (0.75, 0)
    assert (priced.traffic.input_tokens, priced.traffic.output_tokens) == (30, 12)
    assert priced.traffic.finishes == {"stop": 3}
    assert priced.traffic.in_flight == 0
    rows = Store(workspace).rows("SELECT DISTINCT cost_usd, input_tokens, output_tokens, raw, model FROM completions")
    assert rows == [(0.25, 10, 4, '{"id":1}', "m-1")]
    unknown = with_engine(workspace.with_name("other"), Scripted(finish=Finish.FILTER), job)
    assert (unknown.traffic.cost_usd, unknown.traffic.unpriced) == (0.0, 3)
    assert unknown.traffic.finishes == {"filter": 3}


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


def test_waiting_times_grow_and_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "FIRST_BACKOFF_S", 0.2)
    engine = Engine.__new__(Engine)
    monkeypatch.setattr(
        engine, "_jitter", type("Most", (), {"uniform": staticmethod(lambda low, high: high)}), raising=False
    )
    assert [engine._backoff(attempt, None) for attempt in range(9)] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]
    assert engine._backoff(0, 7.5) == 7.5


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
