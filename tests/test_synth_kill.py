"""`kill -9` at any moment loses nothing that was answered, asks nothing twice, and the same command goes on from there."""

import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

from synth_kit import FORKS, TABLES, column, contents, filled, ids, narrow, start, write

from curation.journal import Writer
from curation.records import Request
from curation.store import Row
from curation.tables import COMPLETION_COLUMNS
from synth.providers.base import Answer
from synth.providers.offline import Offline

KILLS = 30
COMMAND = {
    "n": 300, "max_requests": 5000, "concurrency": 4, "retries": 20,
    "offline": {"latency_ms": 120, "fault_rate": 0.15},
}  # fmt: skip


def logged_run(folder: Path) -> None:
    """The command, in a process of its own that logs every answer when it comes and when it is in the journal."""
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    answer, append = Offline.answer, Writer.append

    async def logged_answer(self: Offline, request: Request) -> Answer:
        answered = await answer(self, request)
        os.write(log, f"came {request.id}\n".encode())
        return answered

    def logged_append(self: Writer, rows: list[tuple[str, Row]], *, durable: bool = False) -> None:
        append(self, rows, durable=durable)
        for table, row in rows:
            if table == "completions":
                os.write(log, f"kept {row[1]}\n".encode())

    Offline.answer, Writer.append = logged_answer, logged_append  # type: ignore[method-assign,assignment]
    os.chdir(folder)
    filled(Path("workspace"), "crowded.yaml", **COMMAND)


def log_of(folder: Path) -> list[list[str]]:
    path = folder / "log"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_lines(folder: Path, count: int) -> None:
    for _ in range(3000):
        if len(log_of(folder)) >= count:
            return
        time.sleep(0.005)
    raise AssertionError("the run stands still")


def kill_between(pid: int, folder: Path) -> None:
    """kill -9, but not in the microseconds between an answer's coming and its being written down: an answer that is
    lost there was not received as far as anybody can tell, and would count as asked twice here."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        time.sleep(0.005)
        said = Counter(line[0] for line in log_of(folder))
        if said["came"] == said["kept"]:
            os.kill(pid, signal.SIGKILL)
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.001)


def test_kills_lose_nothing_and_ask_nothing_twice(workspace: Path) -> None:
    folder = workspace.parent
    write("crowded", narrow(700))
    undisturbed = workspace.with_name("undisturbed")
    filled(undisturbed, "crowded.yaml", **{**COMMAND, "offline": {"latency_ms": 0, "fault_rate": 0.15}})
    moments = random.Random(20261121)
    progress = []
    for kill in range(KILLS):
        process = FORKS.Process(target=logged_run, args=(folder,))
        process.start()
        if kill % 3:  # well under way, whatever the machine; else at its start
            wait_for_lines(folder, len(log_of(folder)) + moments.randint(1, 6))
        time.sleep(moments.uniform(0, 0.1 if kill % 3 else 0.5))
        assert process.is_alive(), "the run is too short to be killed so often"
        assert process.pid is not None
        kill_between(process.pid, folder)
        process.join()
        assert process.exitcode == -signal.SIGKILL
        progress.append(len(log_of(folder)))
    process = FORKS.Process(target=logged_run, args=(folder,))
    process.start()
    process.join()
    assert process.exitcode == 0
    assert len(set(progress)) >= KILLS * 2 // 3
    print("log lines at each kill:", progress, "and at the end:", len(log_of(folder)))
    assert progress[-1] < len(log_of(folder)), "the last run had nothing left to do"

    asked = Counter(request for what, request in log_of(folder) if what == "came")
    assert max(asked.values()) == 1, "an answer that had been received was asked for again"
    assert set(asked) == ids(workspace, "requests") == set(column(workspace, "SELECT request FROM completions"))
    assert len(asked) == len(ids(workspace, "completions"))
    assert contents(workspace) == contents(undisturbed)
    for table in TABLES:
        ids(workspace, table)
    verdicts = column(workspace, "SELECT (example, author, version, decision) FROM verdicts")
    assert len(verdicts) == len({str(verdict) for verdict in verdicts})
    assert not list(workspace.glob("journal/*"))
    assert column(
        workspace, f"SELECT count(*) FROM (SELECT {COMPLETION_COLUMNS} FROM completions WHERE run IS NULL)"
    ) == [0]


def test_the_console_command_survives_kills_too(workspace: Path) -> None:
    write("waits")
    words = ("run", "prompt=waits.yaml", "n=200", "workspace=workspace", "concurrency=8", "offline.latency_ms=200")
    for wait_s in (0.4, 1.0, 1.4):
        process = start(workspace.parent, *words)
        time.sleep(wait_s)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = start(workspace.parent, *words)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "200" in out
    undisturbed = workspace.with_name("undisturbed")
    filled(undisturbed, n=200)
    assert contents(workspace) == contents(undisturbed)
