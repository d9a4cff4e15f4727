"""Batch mode: real SDKs against a loopback server that speaks both protocols, with whatever can happen to a batch."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakeprovider import FakeProvider

from curation.commands import main
from curation.errors import InputError, ProviderError, RequestRejected, TransientError
from curation.journal import Writer
from curation.records import Completion, Message, Request, canonical_json, content_id, now
from curation.store import Store
from curation.tables import utc
from synth import batch_log, batching, courier
from synth.batch_log import Event
from synth.batching import BatchDesk
from synth.cli import COMMANDS
from synth.config import AskSettings
from synth.ledger import Ledger, Stopped
from synth.pricing import Price
from synth.providers import connect
from synth.tally import Traffic

MODELS = {"anthropic": "claude-haiku-4-5", "together": "meta-llama/Llama-3.3-70B-Instruct-Turbo"}
BOTH = pytest.mark.parametrize("name", MODELS)
PRICE = Price(input=1.0, output=5.0, cache_read=0.1, cache_write=1.25, batch=0.5)  # as the server reckons
Outcome = Completion | BaseException
Script = Callable[[BatchDesk, Any], Awaitable[Any]]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in MODELS:
        monkeypatch.setenv(f"{provider.upper()}_API_KEY", "sk-test")
    monkeypatch.setattr(courier, "LATE_S", 0.3)


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    with FakeProvider(batch_s=0.1) as running:
        yield running


def url_of(server: FakeProvider, name: str) -> str:
    return server.anthropic_url if name == "anthropic" else server.together_url


def questions(
    count: int, name: str, *, first: int = 0, words: str = "Write a post on waiting for bus"
) -> list[Request]:
    return [
        Request(
            prompt="waits", prompt_id="pr1_waits", variables={"number": slot},
            messages=(Message(role="user", content=f"{words} {slot}."),), provider=name, model=MODELS[name],
            sampling={"max_tokens": 60}, slot=slot,
        )
        for slot in range(first, first + count)
    ]  # fmt: skip


@dataclass
class Played:
    """What a run in batch mode came to."""

    result: Any = None
    traffic: Traffic = field(default_factory=Traffic)
    notes: list[str] = field(default_factory=list)
    run: str = ""


def play(
    workspace: Path, server: FakeProvider, name: str, script: Script, *, max_usd: float | None = None, spent: float = 0.0,
    gather_s: float = 0.05, cancels: int = 1,
) -> Played:  # fmt: skip
    """Open a desk, let a script ask, and close it again, as a run does."""
    played = Played()
    store = Store(workspace)
    settings = AskSettings(
        workspace=workspace, provider=name, model=MODELS[name], mode="batch", base_url=url_of(server, name)
    )
    described = canonical_json(settings.model_dump(mode="json", exclude={"workspace"}))
    played.run = content_id("rn", [described, now().isoformat()])

    async def opened(writer: Writer) -> None:
        provider = connect(settings, price=PRICE)
        ledger = Ledger(
            writer, played.traffic, run=played.run, price=PRICE, max_tokens=60, max_usd=max_usd, spent_usd=spent
        )
        desk = BatchDesk(
            provider, store, writer, ledger, run=played.run, poll_s=0.03, gather_s=gather_s, note=played.notes.append
        )
        serving = asyncio.create_task(desk.serve())
        try:
            async with asyncio.timeout(30):
                played.result = await script(desk, provider.batches)
        finally:
            for _ in range(cancels):
                serving.cancel()
                await asyncio.sleep(0.02)
            await asyncio.gather(serving, return_exceptions=True)
            await provider.close()

    with Writer(store) as writer:
        writer.append([("runs", (played.run, described, "test", utc(now())))], durable=True)
        asyncio.run(opened(writer))
    return played


async def ask_all(desk: BatchDesk, requests: Sequence[Request]) -> list[Outcome]:
    return await asyncio.gather(*(desk.ask(request) for request in requests), return_exceptions=True)


def asking(requests: Sequence[Request]) -> Script:
    async def script(desk: BatchDesk, service: Any) -> list[Outcome]:
        return await ask_all(desk, requests)

    return script


def hanging(requests: Sequence[Request], *, reach: bool) -> Script:
    """Die while a batch is handed over: before or after the provider took it."""

    async def script(desk: BatchDesk, service: Any) -> None:
        submit, handed = service.submit, asyncio.Event()

        async def hangs(tag: str, some: Sequence[Request]) -> str:
            if reach:
                await submit(tag, some)
            handed.set()
            await asyncio.sleep(60)
            raise AssertionError

        service.submit = hangs
        asking = asyncio.gather(*(desk.ask(request) for request in requests), return_exceptions=True)
        await handed.wait()
        asking.cancel()

    return script


def stored(workspace: Path) -> dict[str, str]:
    """Request -> text of its answer; each must be there once."""
    rows = Store(workspace, create=False).rows("SELECT request, text FROM completions")
    assert len(rows) == len({request for request, _ in rows}), "an answer is stored twice"
    return dict(rows)


def known(workspace: Path) -> list[batch_log.Logged]:
    return batch_log.batches(Store(workspace, create=False))


def good(outcomes: Sequence[Outcome]) -> list[Completion]:
    assert all(isinstance(outcome, Completion) for outcome in outcomes), outcomes
    return [outcome for outcome in outcomes if isinstance(outcome, Completion)]


# -- gathering ---------------------------------------------------------------------------------------------------


@BOTH
def test_programs_that_ask_in_waves_are_gathered(workspace: Path, server: FakeProvider, name: str) -> None:
    first, second = questions(30, name), questions(20, name, first=30)

    async def waves(desk: BatchDesk, service: Any) -> list[Outcome]:
        return await ask_all(desk, first) + await ask_all(desk, second)

    played = play(workspace, server, name, waves)
    answers = good(played.result)
    assert [answer.request for answer in answers] == [request.id for request in first + second]
    assert all(answer.text and answer.cost_usd for answer in answers)
    assert stored(workspace) == {answer.request: answer.text for answer in answers}
    seen = server.stats()
    assert (seen["batches_submitted"], seen["rows_paid"], seen["paid_twice"]) == (2, 50, 0)
    assert played.traffic.cost_usd == pytest.approx(seen["usd"], rel=1e-6), "the discount is in the cost"
    assert (played.traffic.batches, played.traffic.in_flight, played.traffic.answered) == (2, 0, 50)
    assert [(one.requests, one.last) for one in known(workspace)] == [(30, Event.FETCHED), (20, Event.FETCHED)]
    assert sum(one.outcome["cost_usd"] for one in known(workspace)) == pytest.approx(seen["usd"], rel=1e-6)
    assert sum("handed over" in note for note in played.notes) == sum("ended" in note for note in played.notes) == 2


def test_a_trickle_is_one_batch(workspace: Path, server: FakeProvider) -> None:
    async def trickle(desk: BatchDesk, service: Any) -> list[Outcome]:
        asked = []
        for request in questions(6, "anthropic"):
            asked.append(asyncio.create_task(desk.ask(request)))
            await asyncio.sleep(0.1)
        return await asyncio.gather(*asked)

    good(play(workspace, server, "anthropic", trickle, gather_s=1.5).result)
    assert server.stats()["batches_submitted"] == 1


@BOTH
def test_batches_keep_to_the_providers_limits(workspace: Path, server: FakeProvider, name: str) -> None:
    requests = questions(25, name)
    sizes: list[tuple[int, int]] = []

    async def limited(desk: BatchDesk, service: Any) -> list[Outcome]:
        service.most_requests = 10
        service.most_bytes = 7 * service.weigh(requests[20])
        submit = service.submit

        async def measured(tag: str, some: Sequence[Request]) -> Any:
            sizes.append((len(some), sum(map(service.weigh, some))))
            return await submit(tag, some)

        service.submit = measured
        small = await ask_all(desk, requests)
        service.most_bytes = 10**9
        return small + await ask_all(desk, questions(25, name, first=100))

    good(play(workspace, server, name, limited).result)
    assert [count for count, _ in sizes] == [7, 7, 7, 4, 10, 10, 5]
    assert server.stats()["rows_paid"] == 50


def test_a_request_that_no_batch_can_hold_is_rejected(workspace: Path, server: FakeProvider) -> None:
    async def limited(desk: BatchDesk, service: Any) -> list[Outcome]:
        service.most_bytes = 600
        return await ask_all(desk, [*questions(1, "anthropic"), *questions(1, "anthropic", first=1, words="x" * 600)])

    small, large = play(workspace, server, "anthropic", limited).result
    assert isinstance(small, Completion)
    assert isinstance(large, RequestRejected)
    assert "600 bytes" in str(large)


def test_a_provider_without_batches_says_so(workspace: Path) -> None:
    provider = connect(AskSettings(provider="offline"))
    store = Store(workspace)
    writer = Writer(store)
    ledger = Ledger(writer, Traffic(), run="rn1_0", price=None, max_tokens=9)
    with pytest.raises(InputError, match="'offline' has no batches"):
        BatchDesk(provider, store, writer, ledger, run="rn1_0", poll_s=1, gather_s=1, note=print)


# -- rows that come back without an answer -----------------------------------------------------------------------


@BOTH
def test_expired_and_errored_rows_go_into_the_next_batch(workspace: Path, name: str) -> None:
    faults = {"row_expired": 0.2, "row_errored": 0.2, "row_invalid": 0.1, "content_filter": 0.1}
    with FakeProvider(batch_s=0.05, faults=faults) as server:
        requests = questions(60, name)
        played = play(workspace, server, name, asking(requests))
        seen = server.stats()
    rejected = [outcome for outcome in played.result if isinstance(outcome, RequestRejected)]
    answers = good([outcome for outcome in played.result if not isinstance(outcome, RequestRejected)])
    assert len(rejected) == seen["by_fault"]["row_invalid"] > 0
    assert len(answers) == seen["rows_paid"] == 60 - len(rejected)
    assert seen["paid_twice"] == 0
    assert seen["batches_submitted"] in (2, 3)
    again = seen["by_fault"]["row_expired"] + seen["by_fault"]["row_errored"]
    assert sum(played.traffic.faults.values()) == played.traffic.retries == again > 0
    assert played.traffic.faults["expired"] == seen["by_fault"]["row_expired"]
    withheld = played.traffic.finishes.get("refusal", 0) + played.traffic.finishes.get("filter", 0)
    assert withheld == seen["by_fault"]["content_filter"] > 0, "it is an answer"
    assert set(stored(workspace)) == {answer.request for answer in answers}


def test_a_row_that_never_gets_an_answer_is_given_up(workspace: Path) -> None:
    with FakeProvider(batch_s=0.02, faults={"row_errored": 0.3}, stubborn=99) as server:
        played = play(workspace, server, "anthropic", asking(questions(20, "anthropic")))
        seen = server.stats()
    lost = [outcome for outcome in played.result if isinstance(outcome, TransientError)]
    assert 0 < len(lost) < 20
    good([outcome for outcome in played.result if not isinstance(outcome, TransientError)])
    assert seen["batches_submitted"] == courier.ROUNDS
    assert seen["by_fault"]["row_errored"] == courier.ROUNDS * len(lost)


def test_a_batch_that_fails_as_a_whole_is_handed_over_once_more(workspace: Path) -> None:
    with FakeProvider(batch_s=0.02, faults={"batch_failed": 1}, stubborn=1) as server:
        played = play(workspace, server, "together", asking(questions(12, "together")))
        good(played.result)
        assert server.stats()["batches_submitted"] == 2
    assert [one.last for one in known(workspace)] == [Event.FAILED, Event.FETCHED]
    assert any("failed as a whole" in note for note in played.notes)


def test_a_batch_that_fails_twice_ends_the_run(workspace: Path) -> None:
    with FakeProvider(batch_s=0.02, faults={"batch_failed": 1}, stubborn=9) as server:
        played = play(workspace, server, "together", asking(questions(12, "together")))
        assert server.stats()["batches_submitted"] == 2
    assert all(type(outcome) is ProviderError for outcome in played.result)
    assert "failed as a whole" in str(played.result[0])
    assert stored(workspace) == {}


def test_one_bad_request_does_not_throw_away_the_batch(workspace: Path, server: FakeProvider) -> None:
    requests = questions(30, "anthropic")

    async def touchy(desk: BatchDesk, service: Any) -> list[Outcome]:
        submit = service.submit

        async def refuses(tag: str, some: Sequence[Request]) -> Any:
            if requests[11] in some:
                raise RequestRejected("anthropic: the request was not taken: requests.11")
            return await submit(tag, some)

        service.submit = refuses
        return await ask_all(desk, requests)

    result = play(workspace, server, "anthropic", touchy).result
    assert isinstance(result.pop(11), RequestRejected)
    good(result)
    assert server.stats()["rows_paid"] == 29
    assert {one.last for one in known(workspace)} == {Event.FETCHED, Event.ABANDONED}


# -- providers that fail -----------------------------------------------------------------------------------------


@BOTH
def test_a_refused_key_ends_it_in_one_line(
    workspace: Path, server: FakeProvider, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{name.upper()}_API_KEY", "wrong")
    played = play(workspace, server, name, asking(questions(5, name)))
    assert all(
        type(outcome) is ProviderError and f"{name.upper()}_API_KEY" in str(outcome) for outcome in played.result
    )
    monkeypatch.setenv(f"{name.upper()}_API_KEY", "right")
    good(play(workspace, server, name, asking(questions(5, name))).result)
    assert server.stats()["batches_submitted"] == 1


def test_requests_that_are_all_refused_end_it(workspace: Path, server: FakeProvider) -> None:
    submissions = []

    async def refused(desk: BatchDesk, service: Any) -> list[Outcome]:
        async def refuses(tag: str, some: Sequence[Request]) -> Any:
            submissions.append(tag)
            raise RequestRejected(f"anthropic: the request was not taken: {len(some)} requests")

        service.submit = refuses
        return await ask_all(desk, questions(300, "anthropic"))

    played = play(workspace, server, "anthropic", refused)
    assert len(submissions) == batching.REFUSALS
    assert any(type(outcome) is ProviderError for outcome in played.result)
    assert all(isinstance(outcome, ProviderError) for outcome in played.result)


@BOTH
def test_a_host_that_is_not_there_is_said_soon(
    workspace: Path, server: FakeProvider, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere: Any = SimpleNamespace(anthropic_url="http://127.0.0.1:9", together_url="http://127.0.0.1:9/v1")
    played = play(workspace, nowhere, name, asking(questions(5, name)))
    assert all(type(outcome) is ProviderError and "127.0.0.1:9" in str(outcome) for outcome in played.result)
    assert f"{courier.SUBMISSIONS} attempts" in str(played.result[0])
    assert played.traffic.faults == {"connection": courier.SUBMISSIONS}
    leave(workspace, server, name, questions(5, name))
    played = play(workspace, nowhere, name, asking(questions(5, name)))
    assert all(type(outcome) is ProviderError and "127.0.0.1:9" in str(outcome) for outcome in played.result)
    good(play(workspace, server, name, asking(questions(5, name))).result)
    assert server.stats()["rows_paid"] == 5


def test_a_provider_that_falls_silent_is_waited_for(
    workspace: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "LONGEST_WAIT_S", 0.05)

    async def silent(desk: BatchDesk, service: Any) -> list[Outcome]:
        state, polls = service.state, iter(range(99))

        async def fails(external: str) -> Any:
            if next(polls) < most:
                raise TransientError("anthropic: no answer", kind="timeout")
            return await state(external)

        service.state = fails
        return await ask_all(desk, questions(5, "anthropic"))

    most = courier.PATIENCE
    lost = play(workspace, server, "anthropic", silent)
    assert all("the same command picks it up" in str(outcome) for outcome in lost.result)
    most = courier.PATIENCE - 1
    good(play(workspace, server, "anthropic", asking(questions(5, "anthropic"))).result)
    played = play(workspace.with_name("other"), server, "anthropic", silent)
    good(played.result)
    assert any("trying again" in note for note in played.notes)


def test_a_submission_that_may_have_arrived_is_looked_for_before_it_is_repeated(
    workspace: Path, server: FakeProvider
) -> None:
    async def cut(desk: BatchDesk, service: Any) -> list[Outcome]:
        submit, times = service.submit, iter((1, 2))

        async def breaks(tag: str, some: Sequence[Request]) -> Any:
            made = await submit(tag, some)
            if next(times) == 1:
                raise TransientError("anthropic: closed the connection", kind="connection", maybe_paid=True)
            return made

        service.submit = breaks
        return await ask_all(desk, questions(9, "anthropic"))

    played = play(workspace, server, "anthropic", cut)
    good(played.result)
    assert server.stats()["batches_submitted"] == 1
    assert played.traffic.faults == {"connection": 1}


def test_polls_and_downloads_that_fail_are_repeated(workspace: Path, server: FakeProvider) -> None:
    requests = questions(600, "anthropic")

    async def shaky(desk: BatchDesk, service: Any) -> list[Outcome]:
        state, results = service.state, service.results
        polls, downloads = iter(range(99)), iter(range(99))

        async def fails(external: str) -> Any:
            if next(polls) in (0, 1, 3):
                raise TransientError("anthropic: overloaded", kind="overloaded")
            return await state(external)

        async def breaks_off(external: str) -> Any:
            torn = next(downloads) == 0
            count = 0
            async for one in results(external):
                yield one
                count += 1
                if torn and count == 400:
                    raise TransientError("anthropic: the answer was cut off", kind="cut-off body")

        service.state, service.results = fails, breaks_off
        return await ask_all(desk, requests)

    played = play(workspace, server, "anthropic", shaky)
    good(played.result)
    assert played.traffic.faults["cut-off body"] == 1
    assert played.traffic.faults["overloaded"] == 3
    assert played.traffic.answered == 600 == len(stored(workspace))
    assert played.traffic.cost_usd == pytest.approx(server.stats()["usd"], rel=1e-6)


# -- money -------------------------------------------------------------------------------------------------------


@BOTH
def test_max_usd_is_never_passed_and_nearly_reached(workspace: Path, server: FakeProvider, name: str) -> None:
    played = play(workspace, server, name, asking(questions(400, name)), max_usd=0.01)
    stopped = [outcome for outcome in played.result if isinstance(outcome, Stopped)]
    answers = good([outcome for outcome in played.result if not isinstance(outcome, Stopped)])
    seen = server.stats()
    assert "max_usd" in str(stopped[0])
    assert 0.008 < seen["usd"] <= 0.01
    assert len(answers) == seen["rows_paid"] > 30
    assert seen["batches_submitted"] > 3, "what came in cheaper than it might is spent on the next batch"
    again = play(workspace, server, name, asking(questions(400, name, first=500)), max_usd=0.01, spent=seen["usd"])
    assert all(isinstance(outcome, Stopped) for outcome in again.result)
    assert server.stats()["rows_paid"] == len(answers)


def test_what_is_at_the_provider_counts_towards_max_usd(workspace: Path) -> None:
    with FakeProvider(batch_s=2) as server:
        requests = questions(8, "anthropic")

        leave(workspace, server, "anthropic", requests, max_usd=0.0065)
        new = questions(8, "anthropic", first=50)
        played = play(workspace, server, "anthropic", asking(new), max_usd=0.0065)
        good(played.result)
        assert server.stats()["usd"] <= 0.0065
        assert set(stored(workspace)) == {request.id for request in requests + new}
    said = Store(workspace).rows("SELECT kind FROM batch_events ORDER BY made_at")
    assert len(said) >= 4
    assert said == [("submitted",), ("fetched",)] * (len(said) // 2), "the new ones wait for what the old ones cost"


# -- stopping, dying, going on -----------------------------------------------------------------------------------


@BOTH
def test_an_interrupted_run_leaves_its_batch_to_the_next(workspace: Path, name: str) -> None:
    with FakeProvider(batch_s=2) as server:
        requests = questions(20, name)

        async def interrupted(desk: BatchDesk, service: Any) -> list[Outcome]:
            asking = asyncio.gather(*(desk.ask(request) for request in requests), return_exceptions=True)
            while not any(one.external for one in known(workspace)):
                await asyncio.sleep(0.05)
            late = asyncio.create_task(desk.ask(questions(1, name, first=99)[0]))
            await asyncio.sleep(0)
            desk.stop()
            began = time.monotonic()
            outcomes = [*await asking, *await asyncio.gather(late, return_exceptions=True)]
            assert time.monotonic() - began < 0.5, "it waits for nothing"
            with pytest.raises(Stopped):
                await desk.ask(requests[0])
            return outcomes

        played = play(workspace, server, name, interrupted)
        assert all(isinstance(outcome, Stopped) for outcome in played.result)
        assert any("synth batches fetch=all" in note and "20 requests" in note for note in played.notes)
        assert [one.last for one in known(workspace)] == [Event.SUBMITTED]
        again = play(workspace, server, name, asking(requests))
        good(again.result)
        assert any("20 of its 20 answers are still to come" in note for note in again.notes)
        seen = server.stats()
    assert (seen["batches_submitted"], seen["rows_paid"]) == (1, 20)
    assert len(stored(workspace)) == 20


def test_stopping_while_a_batch_is_handed_over_waits_for_its_name(workspace: Path, server: FakeProvider) -> None:
    async def interrupted(desk: BatchDesk, service: Any) -> None:
        submit, began = service.submit, asyncio.Event()

        async def slow(tag: str, some: Sequence[Request]) -> Any:
            began.set()
            await asyncio.sleep(0.2)
            return await submit(tag, some)

        service.submit = slow
        asking = asyncio.gather(*(desk.ask(request) for request in questions(4, "anthropic")), return_exceptions=True)
        await began.wait()
        desk.stop()
        assert all(isinstance(outcome, Stopped) for outcome in await asking)

    play(workspace, server, "anthropic", interrupted)
    (batch,) = known(workspace)
    assert batch.last is Event.SUBMITTED
    assert batch.external


@BOTH
def test_a_batch_whose_name_nobody_heard_is_found(workspace: Path, server: FakeProvider, name: str) -> None:
    requests = questions(15, name)
    play(workspace, server, name, hanging(requests, reach=True), cancels=2)
    (orphan,) = known(workspace)
    assert (orphan.last, orphan.external) == (None, None)
    played = play(workspace, server, name, asking(requests))
    good(played.result)
    seen = server.stats()
    assert (seen["batches_submitted"], seen["rows_paid"]) == (1, 15)
    (found,) = known(workspace)
    assert found.found
    assert found.last is Event.FETCHED
    assert any("was found" in note for note in played.notes)


@BOTH
def test_a_batch_that_never_arrived_is_asked_again(workspace: Path, server: FakeProvider, name: str) -> None:
    requests = questions(15, name)
    play(workspace, server, name, hanging(requests, reach=False), cancels=2)
    played = play(workspace, server, name, asking(requests))
    good(played.result)
    seen = server.stats()
    assert (seen["batches_submitted"], seen["rows_paid"]) == (1, 15)
    assert [one.last for one in known(workspace)] == [Event.ABANDONED, Event.FETCHED]


def test_a_strangers_batch_of_the_same_size_is_not_taken_for_ours(workspace: Path, server: FakeProvider) -> None:
    """Anthropic keeps no names: only the results tell whose a batch is."""
    requests = questions(15, "anthropic")
    play(workspace, server, "anthropic", hanging(requests, reach=True), cancels=2)
    for number in range(2):  # made later, so it looks likelier
        elsewhere = workspace.with_name(f"elsewhere{number}")
        good(play(elsewhere, server, "anthropic", asking(questions(15, "anthropic", first=100 + 50 * number))).result)
    played = play(workspace, server, "anthropic", asking(requests))
    assert {answer.request for answer in good(played.result)} == {request.id for request in requests}
    assert server.stats()["batches_submitted"] == 3
    assert server.stats()["paid_twice"] == 0
    assert sum("whose results are of other requests" in note for note in played.notes) == 2
    assert set(stored(workspace)) == {request.id for request in requests}


def test_only_strangers_batches_means_that_ours_never_arrived(workspace: Path, server: FakeProvider) -> None:
    requests = questions(15, "anthropic")
    play(workspace, server, "anthropic", hanging(requests, reach=False), cancels=2)
    elsewhere = workspace.with_name("elsewhere")
    good(play(elsewhere, server, "anthropic", asking(questions(15, "anthropic", first=100))).result)
    good(play(workspace, server, "anthropic", asking(requests)).result)
    assert server.stats()["rows_paid"] == 30
    assert set(stored(workspace)) == {request.id for request in requests}


def test_half_fetched_results_are_not_stored_or_asked_twice(
    workspace: Path, server: FakeProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(courier, "RESULTS", 10)
    requests = questions(30, "together")

    async def dies(desk: BatchDesk, service: Any) -> None:
        results, reached = service.results, asyncio.Event()

        async def breaks_off(external: str) -> Any:
            count = 0
            async for one in results(external):
                count += 1
                if count == 21:
                    reached.set()
                    await asyncio.sleep(60)
                yield one

        service.results = breaks_off
        asking = asyncio.gather(*(desk.ask(request) for request in requests), return_exceptions=True)
        await reached.wait()
        asking.cancel()

    play(workspace, server, "together", dies)
    half = stored(workspace)
    assert len(half) == 20
    played = play(workspace, server, "together", asking(requests))  # all of them: it need not know what is stored
    good(played.result)
    assert played.traffic.answered == 10
    assert {one.text for one in played.result} >= set(half.values())
    assert (server.stats()["batches_submitted"], server.stats()["rows_paid"]) == (1, 30)
    (batch,) = known(workspace)
    assert batch.outcome["answered"] == 30
    assert batch.outcome["cost_usd"] == pytest.approx(server.stats()["usd"], rel=1e-6)


def test_results_that_nobody_waits_for_are_kept(workspace: Path, server: FakeProvider) -> None:
    requests = questions(12, "anthropic")
    play(workspace, server, "anthropic", hanging(requests, reach=True), cancels=2)

    async def asks_for_another(desk: BatchDesk, service: Any) -> Completion:
        answer = await desk.ask(questions(1, "anthropic", first=77)[0])
        while len(known(workspace)) < 2 or any(one.open for one in known(workspace)):
            await asyncio.sleep(0.05)
        return answer

    play(workspace, server, "anthropic", asks_for_another)
    rows = Store(workspace).rows(
        "SELECT requests.slot, completions.slot, text FROM completions JOIN requests ON requests.id = request "
        "WHERE requests.slot < 77"
    )
    assert len(rows) == 12
    assert all(slot == kept_slot and text for slot, kept_slot, text in rows)


def test_a_batch_of_a_run_that_is_alive_is_left_to_it(workspace: Path, server: FakeProvider) -> None:
    """Two runs at once, of different plans: the second must not take the first's half-handed-over batch for an orphan."""
    requests = questions(6, "anthropic")

    async def both(desk: BatchDesk, service: Any) -> list[Completion]:
        submit, handed, on = service.submit, asyncio.Event(), asyncio.Event()

        async def slow(tag: str, some: Sequence[Request]) -> Any:
            handed.set()
            await on.wait()
            return await submit(tag, some)

        service.submit = slow
        asking = asyncio.gather(*(desk.ask(request) for request in requests))
        await handed.wait()
        try:
            while not any(one.last is None for one in known(workspace)):  # others see it when it is committed
                await asyncio.sleep(0.05)
            other = await asyncio.to_thread(
                play, workspace, server, "anthropic", lambda desk, _: ask_all(desk, questions(6, "anthropic", first=50))
            )
            good(other.result)
            assert any(one.last is None for one in known(workspace)), "it is still being handed over"
        finally:
            on.set()  # a desk that is closed waits for what it is handing over
        return await asking

    good(play(workspace, server, "anthropic", both).result)
    assert server.stats()["batches_submitted"] == 2
    assert {one.last for one in known(workspace)} == {Event.FETCHED}


# -- the command -------------------------------------------------------------------------------------------------


def synth(*words: str) -> int:
    return main("synth", "about", COMMANDS, ["batches", *words])


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    capsys.readouterr()
    assert synth("--json", *words) == 0
    return json.loads(capsys.readouterr().out)


def leave(
    workspace: Path, server: FakeProvider, name: str, requests: Sequence[Request], *, max_usd: float | None = None
) -> None:
    """Hand a batch over and go away."""

    async def leaves(desk: BatchDesk, service: Any) -> None:
        asking = asyncio.gather(*(desk.ask(request) for request in requests), return_exceptions=True)
        while server.stats()["batches_submitted"] == before:
            await asyncio.sleep(0.02)
        desk.stop()
        await asking

    before = server.stats()["batches_submitted"]
    play(workspace, server, name, leaves, max_usd=max_usd)


@BOTH
def test_batches_are_listed_and_fetched(
    workspace: Path, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert synth() == 2, "no store yet"
    Store(workspace)
    assert synth() == 0
    assert "No batches" in capsys.readouterr().out
    with FakeProvider(batch_s=4) as server:
        requests = questions(10, name)
        leave(workspace, server, name, requests)
        (one,) = listed(capsys)
        assert (one["provider"], one["model"], one["requests"], one["open"]) == (name, MODELS[name], 10, True)
        assert one["asked"] is True
        assert one["ended"] is False
        assert one["at_most_usd"] > 0
        assert one["external"] in {batch.external for batch in known(workspace)}
        assert synth("fetch=all") == 0
        assert "nothing to fetch before it ends" in capsys.readouterr().out
        assert stored(workspace) == {}
        while not listed(capsys)[0]["ended"]:
            time.sleep(0.1)
        assert synth() == 0
        shown = capsys.readouterr().out
        assert one["id"][:12] in shown
        assert one["external"] in shown
        assert "to be fetched" in shown
        assert "at most $" in shown
        with monkeypatch.context() as without:
            without.delenv(f"{name.upper()}_API_KEY")
            assert synth() == 0
            shown = capsys.readouterr().out
            assert "submitted (last known)" in shown
            assert f"{name.upper()}_API_KEY" in shown
        assert synth(f"fetch={one['external'][:-3]}") == 0
        assert "10 answered" in capsys.readouterr().out
        assert set(stored(workspace)) == {request.id for request in requests}
        (one,) = listed(capsys)
        assert (one["state"], one["open"]) == ("fetched", False)
        assert one["cost_usd"] == pytest.approx(Store(workspace).rows("SELECT sum(cost_usd) FROM completions")[0][0])
        assert synth(f"fetch={one['id'][:10]}") == 0
        assert "fetched already" in capsys.readouterr().out
        good(play(workspace, server, name, asking(requests)).result)
        assert server.stats()["batches_submitted"] == 1, "the next run reads them back"


@BOTH
def test_a_cancelled_batch_keeps_what_was_done(workspace: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with FakeProvider(batch_s=20) as server:
        requests = questions(40, name)
        leave(workspace, server, name, requests)
        time.sleep(1)
        (one,) = listed(capsys)
        assert synth(f"cancel={one['id'][:9]}") == 0
        said = capsys.readouterr().out
        done = server.stats()["rows_paid"]
        assert 0 < done < 40
        assert f"{done} answered, {40 - done} unanswered" in said
        assert len(stored(workspace)) == done
        assert [one["state"] for one in listed(capsys)] == ["fetched"]
        assert synth(f"cancel={one['id']}") == 1
        assert "nothing to cancel" in capsys.readouterr().out
        server.configure(batch_s=0.05)
        good(play(workspace, server, name, asking(requests)).result)
        seen = server.stats()
    assert (seen["rows_paid"], seen["paid_twice"], seen["batches_submitted"]) == (40, 0, 2)


def test_an_orphan_is_settled_by_fetching(
    workspace: Path, server: FakeProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    play(workspace, server, "together", hanging(questions(5, "together"), reach=True), cancels=2)
    play(workspace, server, "anthropic", hanging(questions(4, "anthropic"), reach=False), cancels=2)
    time.sleep(0.2)
    assert {one["state"] for one in listed(capsys)} == {None}
    assert synth("fetch=all") == 0
    said = capsys.readouterr().out
    assert "was found" in said
    assert "never reached anthropic" in said
    assert sorted(one["state"] for one in listed(capsys)) == ["abandoned", "fetched"]
    assert len(stored(workspace)) == 5


def test_a_batch_that_is_gone_can_be_forgotten(
    workspace: Path, server: FakeProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = questions(5, "anthropic")
    server.configure(batch_s=30)
    leave(workspace, server, "anthropic", requests)
    server.reset()
    server.configure(batch_s=0.1)
    played = play(workspace, server, "anthropic", asking(requests))
    (batch,) = known(workspace)
    assert all(f"synth batches forget={batch.id[:12]}" in str(outcome) for outcome in played.result), played.result
    other = play(workspace, server, "anthropic", asking(questions(5, "anthropic", first=50)))
    good(other.result)
    assert any("left alone" in note for note in other.notes), "it holds up nobody who does not wait for it"
    assert synth(f"forget={batch.id[:12]}") == 0
    assert synth(f"forget={batch.id[:12]}") == 1
    assert "abandoned already" in capsys.readouterr().out
    good(play(workspace, server, "anthropic", asking(requests)).result)
    assert server.stats()["rows_paid"] == 10


def test_fetching_while_a_run_polls_the_same_batch(workspace: Path) -> None:
    with FakeProvider(batch_s=2) as server:
        requests = questions(200, "anthropic")

        async def watched(desk: BatchDesk, service: Any) -> list[Completion]:
            asking = asyncio.gather(*(desk.ask(request) for request in requests))
            ends: list[int] = []
            while not asking.done():
                ends.append(await asyncio.to_thread(synth, f"workspace={workspace}", "fetch=all"))
                await asyncio.sleep(0.02)
            assert set(ends) == {0}
            assert len(ends) >= 2
            return await asking

        good(play(workspace, server, "anthropic", watched).result)
        seen = server.stats()
    assert (seen["batches_submitted"], seen["rows_paid"]) == (1, 200)
    assert len(stored(workspace)) == 200
    assert [one.last for one in known(workspace)] == [Event.FETCHED]


def test_a_name_that_means_no_batch_or_several_is_said(
    workspace: Path, server: FakeProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    for slot in (0, 50):
        good(play(workspace, server, "anthropic", asking(questions(2, "anthropic", first=slot))).result)
    for words, said in (
        (("fetch=nothing",), "no batch 'nothing'"), (("cancel=bt1_",), "more than one"),
        (("cancel=a", "fetch=b"), "one of them"),
    ):  # fmt: skip
        assert synth(*words) == 2
        assert said in capsys.readouterr().err


# -- size --------------------------------------------------------------------------------------------------------

LARGE = """
import resource, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
from test_synth_batches import questions
from curation.journal import Writer
from curation.records import now
from curation.store import Store
from synth import batch_log
requests = questions(100_000, "anthropic", words="x" * 2000)
for request in requests: request.id
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store = Store(Path("large"))
with Writer(store) as writer:
    began = time.monotonic()
    batch = batch_log.intend(writer, requests, run="rn1_0", worst_usd=None, at=now())
    took = time.monotonic() - began
members = batch_log.members(store, batch)
assert len(members.all) == len(members.left) == 100_000
assert [one.requests for one in batch_log.batches(store)] == [100_000]
some = [request.id for request in requests[:300]]
assert list(batch_log.requests(store, some)) and set(batch_log.requests(store, some)) == set(some)
print(took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_a_hundred_thousand_requests_are_written_down(workspace: Path) -> None:
    path = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
    done = subprocess.run(
        [sys.executable, "-c", LARGE.format(path=path)], cwd=workspace.parent, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seconds, megabytes = map(float, done.stdout.split())
    print(f"100,000 requests of 2 kB: {seconds:.1f} s, {megabytes:.0f} MB")
    assert seconds < 60
    assert megabytes < 800
