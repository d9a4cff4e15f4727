"""A run, a person who decides 50 times a second and somebody who looks at the figures, on one store at once.

For TILTH_CONTENTION_S seconds (15, if not set; 60 is the acceptance figure).
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from synth_kit import FORKS, TABLES, column, ids, start, write

from curation.journal import Writer
from curation.records import Decision, Verdict
from curation.store import Store
from curation.tables import verdict_row

SECONDS = float(os.environ.get("TILTH_CONTENTION_S", "15"))
PER_SECOND = 50


def decide(workspace: Path, until: float, log: Path) -> None:
    """A verdict every 20 ms on examples that are there."""
    store = Store(workspace, create=False)
    examples = [row[0] for row in store.rows("SELECT id FROM examples LIMIT 500")]
    waits = []
    with Writer(store) as writer:
        number, next_at = 0, time.monotonic()
        while time.time() < until:
            decision = (Decision.KEEP, Decision.DROP, Decision.FLAG)[number % 3]
            verdict = Verdict(example=examples[number % len(examples)], by="human:ann@example.com", decision=decision)
            began = time.monotonic()
            writer.append([verdict_row(verdict)], durable=True)
            waits.append(time.monotonic() - began)
            number += 1
            next_at += 1 / PER_SECOND
            time.sleep(max(0.0, next_at - time.monotonic()))
    log.write_text(json.dumps({"said": number, "longest_s": max(waits), "p50_s": sorted(waits)[len(waits) // 2]}))


def look(workspace: Path, until: float, log: Path) -> None:
    """The status of everything, again and again."""
    store = Store(workspace, create=False)
    looks, longest, people = 0, 0.0, 0
    while time.time() < until:
        began = time.monotonic()
        rows = store.rows("SELECT status, count(*) FROM status GROUP BY status")
        assert rows
        now = store.rows("SELECT count(*) FROM verdicts WHERE author = 'human:ann@example.com'")[0][0]
        assert now >= people, "a verdict that was there is gone"
        people = now
        looks, longest = looks + 1, max(longest, time.monotonic() - began)
        time.sleep(0.2)
    log.write_text(json.dumps({"looks": looks, "longest_s": longest}))


def test_a_run_a_person_and_figures_work_on_one_store_at_once(workspace: Path) -> None:
    write("waits")
    running = start(
        workspace.parent, "run", "prompt=waits.yaml", "n=1000000", "workspace=workspace", "concurrency=32",
        "offline.latency_ms=400", "offline.fault_rate=0.05",
    )  # fmt: skip
    for _ in range(600):
        if (workspace / "tilth.duckdb").is_file() and column(workspace, "SELECT count(*) FROM examples")[0] > 500:
            break
        time.sleep(0.1)
    until = time.time() + SECONDS
    logs = {job: workspace.with_name(f"{job.__name__}.json") for job in (decide, look)}
    others = [FORKS.Process(target=job, args=(workspace, until, log)) for job, log in logs.items()]
    for process in others:
        process.start()
    stats = []
    while time.time() < until:
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", "from curation.cli import app; app()", "stats", "--json"],
            cwd=workspace.parent, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        stats.append((json.loads(done.stdout)["examples"], time.monotonic() - began))
    for process in others:
        process.join()
    assert running.poll() is None, "the run ended early"
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)

    assert running.returncode == 130, err
    assert [process.exitcode for process in others] == [0, 0]
    assert "rror" not in err, err
    said, looked = (json.loads(log.read_text()) for log in logs.values())
    verdicts = Store(workspace).rows("SELECT count(*), count(DISTINCT id) FROM verdicts WHERE author LIKE 'human:%'")
    assert verdicts == [(said["said"], said["said"])]
    assert said["said"] > 0.5 * PER_SECOND * SECONDS
    counts = [count for count, _ in stats]
    assert counts == sorted(counts)
    assert len(stats) >= 2
    for table in TABLES:
        ids(workspace, table)
    assert not list(workspace.glob("journal/*"))
    accepted = column(workspace, "SELECT count(*) FROM examples")[0]
    print(
        f"\n{SECONDS:.0f} s: {said['said']} verdicts (p50 {said['p50_s'] * 1000:.1f} ms, longest {said['longest_s'] * 1000:.0f} ms), "
        f"{looked['looks']} looks (longest {looked['longest_s']:.2f} s), {len(stats)} stats "
        f"(longest {max(took for _, took in stats):.1f} s), {accepted} examples; {out.strip().splitlines()[-2]}"
    )
