"""The engine against what `concurrency / latency` allows, beside a bare asyncio loop, in one run.

    python benchmarks/engine.py [--n 20000] [--in-flight 256] [--latency-ms 500]

The provider sleeps the latency to the millisecond and returns one short item. Wall time is compared with the limit,
n / in flight x latency; CPU is that of the whole process, the thread that commits included, once everything is
loaded. Aims: at least 95 % of the limit, at most 0.5 CPU-s per 1,000 requests.

    bare     a semaphore, the provider and json.loads: no journal, no store, nothing kept
    engine   `Engine.ask` with journal and store; the answer is parsed by json.loads
    program  `synth run`: prompts rendered, answers parsed, checked, claimed and stored (for information)
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from near_dedup import machine
from rich.console import Console

from curation.journal import Writer
from curation.records import Finish, Message, Request
from curation.store import Store
from synth.ask import Engine, Limits
from synth.config import RunSettings
from synth.ledger import Ledger
from synth.pricing import Price
from synth.progress import Progress
from synth.prompts import Prompt
from synth.providers.base import Answer, Usage
from synth.run import run
from synth.tally import Traffic

LEAST_SHARE, MOST_CPU_S = 0.95, 0.5


@dataclass(frozen=True)
class Sleeper:
    """Answers after exactly so long, with one item that no other slot gets."""

    latency_s: float
    name: str = "sleeper"
    batches: None = None

    def model(self, prompt: Prompt) -> str:  # noqa: ARG002
        return "sleeper-1"

    def sampling(self) -> dict[str, str | int | float]:
        return {}

    def structured(self) -> bool:
        return False

    async def close(self) -> None:
        pass

    async def answer(self, request: Request) -> Answer:
        await asyncio.sleep(self.latency_s)
        text = f"The queue at stall {request.slot} was long today, but the noodles were worth the wait again."
        return Answer(json.dumps([{"text": text}]), Finish.STOP, Usage(input_tokens=400, output_tokens=25))


def request(slot: int) -> Request:
    messages = (Message(role="system", content="You write posts. " * 20), Message(role="user", content="Write one."))
    return Request(
        prompt="bench", prompt_id="pr1_bench", variables={"language": "en", "per_request": 1}, messages=messages,
        provider="sleeper", model="sleeper-1", slot=slot,
    )  # fmt: skip


def bare(n: int, in_flight: int, provider: Sleeper) -> None:
    async def one(slots: asyncio.Semaphore, slot: int) -> object:
        async with slots:
            answer = await provider.answer(requests[slot])
        return json.loads(answer.text)

    async def everything() -> None:
        slots = asyncio.Semaphore(in_flight)
        await asyncio.gather(*(one(slots, slot) for slot in range(n)))

    requests = [Request.model_construct(slot=slot) for slot in range(n)]
    asyncio.run(everything())


def engine(n: int, in_flight: int, provider: Sleeper) -> None:
    async def one(asking: Engine, slot: int) -> object:
        completion = await asking.ask(request(slot), {})
        return json.loads(completion.text)

    async def everything(asking: Engine) -> None:
        asking.open()
        await asyncio.gather(*(one(asking, slot) for slot in range(n)))
        await asking.close()

    with tempfile.TemporaryDirectory() as folder, Writer(Store(Path(folder))) as writer:
        ledger = Ledger(writer, Traffic(), run="rn1_bench", price=Price(input=1, output=5), max_tokens=4096)
        asyncio.run(everything(Engine(provider, ledger, Limits(in_flight, retries=5, timeout_s=60))))


def program(n: int, in_flight: int, provider: Sleeper) -> None:
    with tempfile.TemporaryDirectory() as folder, patch("synth.session.connect", return_value=provider):
        settings = RunSettings(
            workspace=Path(folder), prompt=("general_ok",), language=("en",), per_request=1, n=n, concurrency=in_flight
        )
        report = run(settings, Progress(Console(quiet=True)))
    assert report.complete, report


def measured(
    case: Callable[[int, int, Sleeper], None], n: int, in_flight: int, latency_s: float
) -> tuple[float, float]:
    """Wall and CPU seconds of one case, everything loaded."""
    case(64, in_flight, Sleeper(0))
    wall, cpu = time.perf_counter(), time.process_time()
    case(n, in_flight, Sleeper(latency_s))
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--latency-ms", type=float, default=500)
    options = parser.parse_args()
    latency_s = options.latency_ms / 1000
    limit = options.n / options.in_flight * latency_s
    print(f"machine: {machine()}")
    print(
        f"{options.n:,} requests of {options.latency_ms:g} ms, {options.in_flight} in flight: limit {limit:.2f} s\n",
        flush=True,
    )
    print("| case | wall s | of the limit | CPU-s per 1,000 | x bare |\n|---|---|---|---|---|")
    bare_cpu = 0.0
    for case in (bare, engine, program):
        wall, cpu = measured(case, options.n, options.in_flight, latency_s)
        bare_cpu = bare_cpu or cpu
        share = limit / wall
        print(
            f"| {case.__name__} | {wall:.2f} | {share:.1%} | {cpu * 1000 / options.n:.3f} | {cpu / bare_cpu:.1f} |",
            flush=True,
        )
        if case is engine:
            verdict = (share >= LEAST_SHARE, cpu * 1000 / options.n <= MOST_CPU_S)
    print(
        f"\naims for the engine: at least {LEAST_SHARE:.0%} of the limit: {_met(verdict[0])}; "
        f"at most {MOST_CPU_S} CPU-s per 1,000: {_met(verdict[1])}"
    )


def _met(aim: bool) -> str:
    return "met" if aim else "MISSED"


if __name__ == "__main__":
    main()
