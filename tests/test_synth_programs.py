"""Programs of several requests: each answer is used once, whatever fails or is killed between them."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from curation.errors import TransientError
from curation.records import Completion, Finish, Message, Request
from curation.store import Store
from synth import programs
from synth.choice import plans
from synth.config import EstimateSettings, RunSettings
from synth.estimate import estimate
from synth.plan import Slot
from synth.programs import single
from synth.programs.base import Ask, Asking, Produced
from synth.progress import Progress
from synth.prompts import Prompt, read
from synth.providers.base import SERVER, Answer
from synth.providers.offline import Offline
from synth.run import run
from tests.synth_kit import WAITS, write


class TwoStep(Prompt):
    """Asks for an idea, and then for the items, with the idea in the question."""

    @property
    def requests_each(self) -> int:  # type: ignore[override]
        return 2

    def offline_answer(self, request: Request) -> str:
        if len(request.messages) == 1:
            return f"idea {request.slot}"
        return super().offline_answer(request)


async def two_steps(prompt: Prompt, slot: Slot, attempt: int, count: int, *, asking: Asking, ask: Ask) -> Produced:
    question = Message(role="user", content=f"An idea, please, for {slot.number}.")
    variables = {"language": slot.language, "per_request": count, **slot.axes}
    idea = await ask(asking.request(prompt, slot, attempt, messages=[question], variables=variables))
    assert idea.text == f"idea {slot.number}"

    async def with_idea(request: Request) -> Completion:
        messages = (Message(role="user", content=idea.text), *request.messages)
        return await ask(request.model_copy(update={"messages": messages}))

    return await single.produce(prompt, slot, attempt, count, asking=asking, ask=with_idea)


@pytest.fixture
def prompt(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(programs.PROGRAMS, "single", two_steps)
    monkeypatch.setattr("synth.prompts.Prompt", TwoStep)
    return write("two", WAITS, workspace.parent)


def asked(monkeypatch: pytest.MonkeyPatch, failing: set[int] = frozenset(), times: int = 1) -> Counter[str]:  # type: ignore[assignment]
    """Count what the offline provider is asked; the second request of these slots fails so often first."""
    counted: Counter[str] = Counter()
    left = dict.fromkeys(failing, times)
    answer = Offline.answer

    async def counting(self: Offline, request: Request) -> Answer:
        if len(request.messages) > 1 and left.get(request.slot):
            left[request.slot] -= 1
            raise TransientError("gone for now", kind=SERVER)
        counted[request.id] += 1
        return await answer(self, request)

    monkeypatch.setattr(Offline, "answer", counting)
    return counted


def settings(prompt: Path, workspace: Path, **more: Any) -> RunSettings:
    return RunSettings(prompt=(str(prompt),), workspace=workspace, language=("en",), **more)


def test_an_attempt_asks_in_turn_and_a_replay_asks_nothing(
    prompt: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = asked(monkeypatch)
    per_request = read(prompt).per_request
    report = run(settings(prompt, workspace, n=4 * per_request), Progress())
    assert report.complete
    assert (len(counted), set(counted.values())) == (2 * 4, {1})
    counted.clear()
    again = run(settings(prompt, workspace, n=4 * per_request), Progress())
    assert again.complete
    assert again.traffic.replayed == 8
    assert not counted


def test_what_fails_in_the_middle_of_an_attempt_does_not_ask_its_beginning_again(
    prompt: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = asked(monkeypatch, failing={1, 2})
    report = run(settings(prompt, workspace, n=4 * read(prompt).per_request, retries=0), Progress())
    assert report.complete
    assert set(counted.values()) == {1}


def test_a_run_that_stopped_in_the_middle_of_attempts_goes_on_there(
    prompt: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = asked(monkeypatch)
    n = 6 * read(prompt).per_request
    first = run(settings(prompt, workspace, n=n, max_requests=7, concurrency=1), Progress())
    assert first.stopped is not None
    assert sum(counted.values()) == 7
    second = run(settings(prompt, workspace, n=n), Progress())
    assert second.complete
    assert (len(counted), set(counted.values())) == (12, {1})
    rows = Store(workspace).rows("SELECT count(*), count(DISTINCT request) FROM completions")
    assert rows == [(12, 12)]


def test_attempts_that_are_used_up_leave_the_place_short(
    prompt: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nonsense(_: Offline, request: Request) -> Answer:
        idea = len(request.messages) == 1
        return Answer(f"idea {request.slot}" if idea else "No list today.", Finish.STOP, model="offline")

    monkeypatch.setattr(Offline, "answer", nonsense)
    report = run(settings(prompt, workspace, n=5, max_attempts=2), Progress())
    assert not report.complete
    assert report.traffic.asked == 4
    assert report.tallies[0].rejected["malformed"] == 2


def test_an_estimate_counts_all_requests_of_an_attempt(prompt: Path, workspace: Path) -> None:
    n = 40 * read(prompt).per_request
    (plan,) = plans(settings(prompt, workspace, n=n))
    found = estimate(
        plan,
        EstimateSettings(prompt=(str(prompt),), workspace=workspace, n=n, previews=8),
    )
    assert found.requests == 80
    assert 80 <= found.to_ask.expected < 100


def test_the_order_of_timing_changes_nothing(prompt: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n = 8 * read(prompt).per_request
    run(settings(prompt, workspace, n=n), Progress())
    one = Store(workspace).rows("SELECT id FROM examples ORDER BY id")
    answer = Offline.answer

    async def slow(self: Offline, request: Request) -> Answer:
        await asyncio.sleep(0.001 * (request.slot * 7 % 5))
        return await answer(self, request)

    monkeypatch.setattr(Offline, "answer", slow)
    other = workspace.parent / "other"
    run(settings(prompt, other, n=n, concurrency=3), Progress())
    assert Store(other).rows("SELECT id FROM examples ORDER BY id") == one
