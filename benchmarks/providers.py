"""Ours with each SDK, the SDKs in a bare loop, and three rivals, all asking one loopback server, in one run.

    python benchmarks/providers.py --install            # the rivals, each in a venv of its own; once
    python benchmarks/providers.py [--parts speed,slow,faults,kill,memory] [--cases tilth,bare] [--runs 3]

Each case is a process of its own; the server is another, and sleeps the latency. Wall time is compared with the limit, n / in flight x
latency; wall and CPU are those of the work, all imports done; memory is the highest of each process, summed. All ask for the
same answers over the same messages, the rivals over the OpenAI endpoint. Parts:

    speed    n requests of --latency-ms: wall time, CPU and memory, the median of --runs
    slow     the same at --slow-ms
    faults   --rows rows with 20 % of faults of nine kinds: rows that came out, and those of them that hold what was asked for
    kill     kill -9 when half is answered, then the same command again: answers that were paid for twice
    memory   ours with 2,000 and with 20,000 requests that take no time

Equal latencies make waves: all answers of a wave come at once, and what it takes to handle them is added to each. --jitter spreads
them as in life; the limit is then that of a client that takes no time.

Aims at 256 in flight: at most 1.3 x the limit at 500 ms and 98 % of it at 5 s, CPU at most 1.2 x that of the same SDK and
transport in a bare loop, as much memory for 20,000 as for 2,000, all rows under faults, no stored answer paid twice.
"""

import argparse
import heapq
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from fakeprovider import FakeProvider, Spawned  # noqa: E402
from near_dedup import machine  # noqa: E402
from rivals.install import RIVALS, install, missing  # noqa: E402
from rivals.measure import Case, Outcome, Running  # noqa: E402

from curation.store import Store  # noqa: E402

FAULTS = {
    "rate_limit": 0.02, "rate_limit_after": 0.02, "overloaded": 0.02, "server_error": 0.04, "reset": 0.02,
    "malformed": 0.02, "refusal": 0.02, "content_filter": 0.02, "max_tokens": 0.02,
}  # fmt: skip
MOST_AT_500_MS, LEAST_AT_5_S, MOST_CPU, MOST_GROWTH_MB = 1.3, 0.98, 1.2, 25
SDKS = ("anthropic", "together", "openai")


def cases(venvs: Path) -> list[Case]:
    found = [Case("bare aiohttp", "bare.py", "aiohttp")]
    for sdk in SDKS:
        found.append(Case(f"bare {sdk}", "bare.py", sdk))
        found.append(Case(f"bare {sdk}+aiohttp", "bare.py", f"{sdk}-aiohttp"))
    for how in ("engine", "program"):
        for sdk in SDKS:
            found.append(
                Case(f"tilth {how} {sdk}", "tilth.py", f"{how}-{sdk}", bare=f"bare {sdk}+aiohttp", resumes=True)
            )
    for name in RIVALS:
        python = venvs / name / "bin" / "python"
        script = f"{name.replace('-', '_')}_runner.py"
        found.append(Case(name, script, python=str(python), resumes=True))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2048, help="a multiple of --in-flight: a last wave waits in full")
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--latency-ms", type=float, default=500)
    parser.add_argument("--slow-ms", type=float, default=5000)
    parser.add_argument(
        "--jitter",
        type=float,
        default=0,
        help="latencies from 1 - this to 1 + this times as long, in `speed` and `slow`",
    )
    parser.add_argument("--kill-ms", type=float, default=2000, help="slow enough that no answer waits to be read")
    parser.add_argument("--rows", type=int, default=10_000, help="rows wanted under faults")
    parser.add_argument("--runs", type=int, default=3, help="runs of each case of `speed`; the median is shown")
    parser.add_argument("--parts", default="speed,slow,faults,kill,memory")
    parser.add_argument("--cases", default="", help="only cases whose names hold one of these words")
    parser.add_argument("--venvs", type=Path, default=Path(tempfile.gettempdir()) / "tilth-rivals")
    parser.add_argument("--install", action="store_true", help="make the rivals' venvs, and do nothing else")
    options = parser.parse_args()
    if options.install:
        for name, rival in RIVALS.items():
            print(
                f"{rival.requirements[0]}: {install(options.venvs / name, rival) or options.venvs / name}", flush=True
            )
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no case outlives this
    words = options.cases.split(",")
    chosen = [case for case in cases(options.venvs) if any(word in case.name for word in words)]
    print(f"machine: {machine()}; load {os.getloadavg()[0]:.1f}")
    for part in options.parts.split(","):
        PARTS[part](chosen, options)


def once(case: Case, server: Spawned, n: int, in_flight: int, limit_s: float, folder: Path | None = None) -> Outcome:
    """One case from its start to its end, in a new folder if none is given."""
    if why := missing(case.python):
        return Outcome(failure=why)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as fresh:
        running = Running(case, server, n, in_flight, folder or Path(fresh))
        try:
            return running.outcome(60 + 10 * limit_s)
        finally:
            running.kill()


# -- speed -----------------------------------------------------------------------------------------------------------


def speed(chosen: Sequence[Case], options: argparse.Namespace) -> None:
    pace(chosen, options, options.latency_ms / 1000, options.runs)


def slow(chosen: Sequence[Case], options: argparse.Namespace) -> None:
    pace(chosen, options, options.slow_ms / 1000, 1)


def pace(chosen: Sequence[Case], options: argparse.Namespace, latency_s: float, runs: int) -> None:
    limit_s = ideal_s(options.n, options.in_flight, latency_s, options.jitter)
    spread = f" +-{options.jitter:.0%}" if options.jitter else ""
    title(
        f"{options.n:,} requests of {latency_s:g} s{spread}, {options.in_flight} in flight: limit {limit_s:.2f} s; median of {runs}"
    )
    found: dict[str, list[Outcome]] = defaultdict(list)
    with FakeProvider.spawn(latency_s=latency_s, latency_jitter=options.jitter) as server:
        for _ in range(runs):  # rounds of all, so that a busy minute falls on all
            for case in chosen:
                server.reset()
                found[case.name].append(once(case, server, options.n, options.in_flight, limit_s))
    print(
        "| case | x limit | of the limit | CPU-s per 1,000 | x bare | peak RSS MB | rows | server CPU-s per 1,000 |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    middle = {name: typical(outcomes) for name, outcomes in found.items()}
    for case in chosen:
        done = middle[case.name]
        if done.failure:
            print(f"| {case.name} | {done.failure} |")
            continue
        bare = middle.get(case.bare)
        ratio = f"{done.cpu_s / bare.cpu_s:.2f}" if bare and bare.cpu_s else ""
        per = 1000 / options.n
        print(
            f"| {case.name} | {done.wall_s / limit_s:.2f} | {limit_s / done.wall_s:.1%} | {done.cpu_s * per:.2f} | {ratio} "
            f"| {done.rss_mb:.0f} | {done.rows:,} | {done.server_cpu_s * per:.2f} |"
        )
    ours = [case for case in chosen if case.bare and not middle[case.name].failure]
    if not ours:
        return
    if latency_s >= 5:
        share = min(limit_s / middle[case.name].wall_s for case in ours)
        aim(f"at least {LEAST_AT_5_S:.0%} of the limit", share >= LEAST_AT_5_S, f"{share:.1%}")
    else:
        times = max(middle[case.name].wall_s / limit_s for case in ours)
        aim(f"at most {MOST_AT_500_MS} x the limit", times <= MOST_AT_500_MS, f"{times:.2f}")
    for case in ours:
        if (bare := middle.get(case.bare)) and bare.cpu_s:
            ratio_of = middle[case.name].cpu_s / bare.cpu_s
            aim(f"{case.name}: CPU at most {MOST_CPU} x {case.bare}", ratio_of <= MOST_CPU, f"{ratio_of:.2f}")


def ideal_s(n: int, in_flight: int, latency_s: float, jitter: float) -> float:
    """What n requests take where all else takes no time; without jitter, n / in flight x latency."""
    if not jitter:
        return n / in_flight * latency_s
    dice = random.Random(0)
    free_at = [0.0] * in_flight
    for _ in range(n):
        heapq.heapreplace(free_at, free_at[0] + latency_s * dice.uniform(1 - jitter, 1 + jitter))
    return max(free_at)


def typical(outcomes: Sequence[Outcome]) -> Outcome:
    """The median of each figure; a failure, if any run failed."""
    if failed := [outcome for outcome in outcomes if outcome.failure]:
        return failed[0]
    figures = [field.name for field in fields(Outcome) if field.name != "failure"]
    return Outcome(**{name: median(getattr(outcome, name) for outcome in outcomes) for name in figures})


# -- faults, kills, memory ---------------------------------------------------------------------------------------------


def faults(chosen: Sequence[Case], options: argparse.Namespace) -> None:
    limit_s = options.rows / options.in_flight * options.latency_ms / 1000
    title(
        f"{options.rows:,} rows wanted, {sum(FAULTS.values()):.0%} of the requests meet a fault; {options.latency_ms:g} ms"
    )
    print("| case | rows | usable | x limit | paid | requests |\n|---|---|---|---|---|---|")
    all_of_ours = []
    with FakeProvider.spawn(latency_ms=options.latency_ms, faults=FAULTS) as server:
        for case in chosen:
            if "engine" in case.name:
                continue  # a refusal is an answer there: who asks again is the program
            server.reset()
            done = once(case, server, options.rows, options.in_flight, limit_s)
            seen = server.stats()
            if case.bare:
                all_of_ours.append(done.usable)
            if done.failure:
                print(f"| {case.name} | {done.failure} | | | {seen['paid']:,} | {seen['requests']:,} |", flush=True)
                continue
            print(
                f"| {case.name} | {done.rows:,} | {done.usable:,} | {done.wall_s / limit_s:.2f} | {seen['paid']:,} "
                f"| {seen['requests']:,} |",
                flush=True,
            )
    if all_of_ours:
        aim("all rows under faults", min(all_of_ours) >= options.rows, f"{min(all_of_ours):,} of {options.rows:,}")


def kill(chosen: Sequence[Case], options: argparse.Namespace) -> None:
    limit_s = options.n / options.in_flight * options.kill_ms / 1000
    title(f"{options.n:,} rows, kill -9 when half is answered, the same command again; {options.kill_ms:g} ms")
    print(
        "What was in flight at the kill is paid again by anybody; here the server does not bill an answer whose client was gone.\n\n"
        "| case | answered at the kill | rows in the end | paid twice | of them stored before |\n|---|---|---|---|---|"
    )
    ours = []
    # The latencies differ, so that the kill does not fall into a burst of answers that nobody has read yet.
    with FakeProvider.spawn(latency_ms=options.kill_ms, latency_jitter=0.5) as server:
        for case in chosen:
            if "engine" in case.name or not case.resumes:
                continue
            server.reset()
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
                print(f"| {case.name} | {killed(case, server, options, limit_s, Path(name), ours)} |", flush=True)
    if ours:
        aim("no stored answer is paid twice", not any(ours), f"{max(ours)}")


def killed(
    case: Case, server: Spawned, options: argparse.Namespace, limit_s: float, folder: Path, ours: list[int]
) -> str:
    """The cells of one row; the number of ours that were stored and paid twice is added to `ours`."""
    if why := missing(case.python):
        return why
    running = Running(case, server, options.n, options.in_flight, folder)
    give_up = time.monotonic() + 60 + 10 * limit_s
    while running.alive() and time.monotonic() < give_up and server.stats()["answered"] < options.n / 2:
        time.sleep(0.05)
    running.kill()
    while server.stats()["in_flight"]:
        time.sleep(0.05)
    answered = server.stats()["answered"]
    done = once(case, server, options.n, options.in_flight, limit_s, folder)
    rows = done.failure or f"{done.rows:,}"
    if not case.bare:
        return f"{answered:,} | {rows} | {server.stats()['bodies_paid_twice']:,} | "
    again = {key for key, seen in server.keys().items() if seen["paid"] > 1}
    store = Store(folder / "workspace", create=False)
    first = "SELECT request FROM completions WHERE run = (SELECT id FROM runs ORDER BY made_at LIMIT 1)"
    stored = {row[0] for row in store.rows(first)}
    ours.append(len(again & stored))
    return f"{answered:,} | {rows} | {len(again):,} | {len(again & stored)} of {len(stored):,}"


def memory(chosen: Sequence[Case], options: argparse.Namespace) -> None:
    ours = [case for case in chosen if case.bare]
    if not ours:
        return
    title("peak RSS in MB, requests that take no time")
    print("| case | 2,000 | 20,000 |\n|---|---|---|")
    growth = []
    with FakeProvider.spawn() as server:
        for case in ours:
            few, many = (memory_of(case, server, n, options.in_flight) for n in (2_000, 20_000))
            growth.append(many - few)
            print(f"| {case.name} | {few:.0f} | {many:.0f} |", flush=True)
    aim(f"at most {MOST_GROWTH_MB} MB more for 20,000", max(growth) <= MOST_GROWTH_MB, f"{max(growth):.0f} MB")


def memory_of(case: Case, server: Spawned, n: int, in_flight: int) -> float:
    server.reset()
    return once(case, server, n, in_flight, n / 100).rss_mb


def title(words: str) -> None:
    print(f"\n{words} (load {os.getloadavg()[0]:.1f})\n", flush=True)


def aim(words: str, met: bool, figure: str) -> None:
    print(f"aim: {words}: {'met' if met else 'MISSED'} ({figure})", flush=True)


PARTS = {"speed": speed, "slow": slow, "faults": faults, "kill": kill, "memory": memory}

if __name__ == "__main__":
    main()
