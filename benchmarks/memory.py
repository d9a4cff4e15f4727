"""Peak memory of a planned run, beside what it held at the start and what its texts alone would take in a list.

    python benchmarks/memory.py [--n 1000000]

The whole path of `synth run` (plan, prompts, asking, parsing, checks, claims, store) with a provider that answers at
once with one item that nobody else has. Aim: under 500 MB for a million requests.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

from near_dedup import machine
from rich.console import Console

from curation.records import Finish, Request
from synth.config import RunSettings
from synth.progress import Progress
from synth.prompts import Prompt
from synth.providers.base import Answer, Usage
from synth.run import run

MOST_MB = 500


class Null:
    """Answers at once."""

    name = "null"
    batches = None

    def model(self, prompt: Prompt) -> str:  # noqa: ARG002
        return "null-1"

    def sampling(self) -> dict[str, str | int | float]:
        return {}

    def structured(self) -> bool:
        return False

    async def close(self) -> None:
        pass

    async def answer(self, request: Request) -> Answer:
        return Answer(
            json.dumps([{"text": text(request.slot)}]), Finish.STOP, Usage(input_tokens=400, output_tokens=25)
        )


def text(slot: int) -> str:
    return f"The queue at stall {slot} was long today, but the noodles were worth the wait again."


def memory_mb(kind: str) -> float:
    """`VmRSS` now or `VmHWM` at its highest, of this process."""
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{kind}:")[1].split()[0]) / 1024


def filled(n: int, folder: Path) -> float:
    """Seconds of a run of n."""
    settings = RunSettings(
        workspace=folder, prompt=("general_ok",), language=("en",), per_request=1, n=n, concurrency=256
    )
    began = time.perf_counter()
    with patch("synth.session.connect", return_value=Null()):
        report = run(settings, Progress(Console(stderr=True)))
    assert report.complete, report
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    n = parser.parse_args().n
    print(f"machine: {machine()}\n{n:,} requests of one example each", flush=True)
    start = memory_mb("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        seconds = filled(n, Path(folder))
    peak = memory_mb("VmHWM")
    plain = sum(8 + sys.getsizeof(text(slot)) for slot in range(n)) / 2**20
    print("\n| | MB | of the aim |\n|---|---|---|")
    for what, mb in (("at the start", start), ("peak", peak), ("the texts in a list", plain)):
        print(f"| {what} | {mb:.0f} | {mb / MOST_MB:.0%} |")
    print(f"\n{n / seconds:,.0f} examples/s, {seconds:.0f} s")
    print(f"aim: peak under {MOST_MB} MB: {'met' if peak < MOST_MB else 'MISSED'}")


if __name__ == "__main__":
    main()
