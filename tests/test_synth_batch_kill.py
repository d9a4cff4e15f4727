"""`kill -9` at any moment of a run in batch mode: no batch is handed over twice or forgotten, and no row is paid twice."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fakeprovider import FakeProvider
from synth_kit import FORKS, column, contents, filled, ids, write

from curation.records import Completion, Request
from curation.store import Store
from synth import batch_log, courier
from synth.ledger import Ledger
from synth.providers import anthropic, chat_batches, together
from synth.providers.base import Answer

KILLS = {"anthropic": 20, "together": 6}
MODELS = {"anthropic": "claude-haiku-4-5", "together": "meta-llama/Llama-3.3-70B-Instruct-Turbo"}
FORKS.set_forkserver_preload(["synth_kit", "pytest", "synth.providers.anthropic", "synth.providers.together"])
STEPS = ("start", "gathered", "written", "arrived", "heard", "kept")


def run_in_batches(workspace: Path, name: str, url: str, n: int) -> None:
    report = filled(
        workspace, n=n, mode="batch", provider=name, model=MODELS[name], base_url=url, poll_s=0.05, gather_s=0.05, yes=True,
        max_requests=10_000,
    )  # fmt: skip
    assert report.complete, report
    assert report.traffic.in_flight == 0


def logged_run(folder: Path, name: str, url: str, n: int) -> None:
    """The run, in a process of its own that says how far it is, and takes small batches with a moment between all steps."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    service: Any = anthropic.MessageBatches if name == "anthropic" else chat_batches.ChatBatches
    submit, hand_over, got, keep = service.submit, courier.Courier.hand_over, courier.Courier._got, Ledger.keep

    def say(step: str) -> None:
        os.write(log, f"{step}\n".encode())

    async def slow_hand_over(self: courier.Courier, rows: Sequence[courier.Row], reserved_usd: float) -> courier.Batch:
        say("gathered")
        return await hand_over(self, rows, reserved_usd)

    async def slow_submit(self: Any, tag: str, requests: Sequence[Request]) -> Any:
        say("written")
        await asyncio.sleep(0.03)
        made = await submit(self, tag, requests)
        say("arrived")
        await asyncio.sleep(0.03)
        return made

    def said_got(self: courier.Courier, batch: courier.Batch, external: str, *, found: bool = False) -> None:
        got(self, batch, external, found=found)
        say("found" if found else "heard")

    def said_keep(self: Ledger, request: Request, answer: Answer, **details: Any) -> Completion:
        completion = keep(self, request, answer, **details)
        say("kept")
        time.sleep(0.002)
        return completion

    service.submit, courier.Courier.hand_over, courier.Courier._got = slow_submit, slow_hand_over, said_got  # type: ignore[method-assign]
    Ledger.keep = said_keep  # type: ignore[method-assign]
    courier.LATE_S = 0.5
    anthropic.MessageBatches.most_requests = together.MOST_REQUESTS = 12  # so that a run is many batches
    os.environ[f"{name.upper()}_API_KEY"] = "sk-test"
    os.chdir(folder)
    say("start")
    run_in_batches(Path("workspace"), name, url, n)


def steps(folder: Path) -> list[str]:
    path = folder / "log"
    return path.read_text().split() if path.exists() else []


def wait_for(folder: Path, step: str, after: int, process: Any) -> None:
    for _ in range(4000):
        if step in steps(folder)[after:]:
            return
        assert process.is_alive(), "the run is too short to be killed so often"
        time.sleep(0.002)
    raise AssertionError("the run stands still")


@pytest.mark.parametrize("name", KILLS)
def test_kills_hand_nothing_over_twice_and_forget_nothing(
    workspace: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, moments = workspace.parent, random.Random(20261121)
    monkeypatch.setenv(f"{name.upper()}_API_KEY", "sk-test")
    write("waits")
    n = 45 * KILLS[name]
    with FakeProvider.spawn(batch_s=0.3) as server:
        url = server.anthropic_url if name == "anthropic" else server.together_url
        last: list[str] = []
        for kill in range(KILLS[name]):
            before = len(steps(folder))
            process = FORKS.Process(target=logged_run, args=(folder, name, url, n))
            process.start()
            step = STEPS[kill % len(STEPS)]
            wait_for(folder, step, before, process)
            if step != "arrived":  # its name is heard next
                time.sleep(moments.uniform(0, 0.06 if kill % 4 else 0.5))
            assert process.is_alive(), "the run is too short to be killed so often"
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            last.append(steps(folder)[-1])
        before = len(steps(folder))
        process = FORKS.Process(target=logged_run, args=(folder, name, url, n))
        process.start()
        process.join()
        assert process.exitcode == 0
        seen = server.stats()
    said = steps(folder)
    print("last steps before each kill:", last, "found:", said.count("found"), "batches:", seen["batches_submitted"])
    assert "kept" in said[before:], "the last run had nothing left to do"
    assert len(set(last)) >= 4, "kills must hit different steps"
    assert said.count("found") >= 1, "no batch lost its name: nothing was tested there"

    assert seen["batch_twice"] == 0, "a batch was handed over twice"
    assert seen["paid_twice"] == seen["bodies_paid_twice"] == 0, "a row was paid twice"
    assert seen["rows_paid"] == len(ids(workspace, "completions")) == len(ids(workspace, "requests"))
    known = batch_log.batches(Store(workspace))
    assert not [one for one in known if one.open], "a batch was forgotten"
    there = [one.external for one in known if one.external]
    assert len(there) == len(set(there)) == seen["batches_submitted"]
    if name == "anthropic":  # the server's prices are those of this model
        assert sum(column(workspace, "SELECT cost_usd FROM completions")) == pytest.approx(seen["usd"])
    assert not list(workspace.glob("journal/*"))

    undisturbed = workspace.with_name("undisturbed")
    with FakeProvider(batch_s=0) as server:
        url = server.anthropic_url if name == "anthropic" else server.together_url
        run_in_batches(undisturbed, name, url, n)
    assert contents(workspace) == contents(undisturbed)
