"""The journal: what `append(durable=True)` took is never lost, by whatever death, and failures are heard of."""

import fcntl
import json
import os
import resource
import signal
import subprocess
import threading
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from synth_kit import FORKS

from curation import journal
from curation.errors import WorkspaceError
from curation.journal import Writer, recover
from curation.records import Decision, Edited, Moderation, Verdict, now
from curation.store import Store
from curation.tables import example_row, origin_row, verdict_row

WHEN = datetime(2026, 11, 21, 12, 30, 15, 250_000)


def run_row(name: str) -> tuple[str, tuple[Any, ...]]:
    return "runs", (f"rn1_{name}", "{}", "0.1.0", WHEN)


def said(number: int, reason: str = "") -> tuple[str, tuple[Any, ...]]:
    return verdict_row(Verdict(example=f"ex1_{number}", by="human:ann", decision=Decision.KEEP, reason=reason))


def stored(workspace: Path, table: str = "runs") -> list[str]:
    return [row[0] for row in Store(workspace).rows(f"SELECT id FROM {table} ORDER BY id")]


def journals(workspace: Path) -> list[Path]:
    return sorted(workspace.glob("journal/*"))


# -- the quiet way -----------------------------------------------------------------------------------------------


def test_rows_are_committed_on_leaving_and_the_journal_is_gone(workspace: Path) -> None:
    with Writer(Store(workspace)) as writer:
        writer.append([run_row("a"), said(1)], durable=True)
        writer.append([run_row("b")])
        (path,) = journals(workspace)
        assert path.read_text().count("\n") == 2, "only what is durable is in the journal"
    assert stored(workspace) == ["rn1_a", "rn1_b"]
    assert Store(workspace).rows("SELECT made_at FROM runs") == [(WHEN,), (WHEN,)]
    assert not journals(workspace)


def test_rows_are_committed_while_the_writer_is_open(workspace: Path) -> None:
    with Writer(Store(workspace)) as writer:
        writer.append([run_row("a")], durable=True)
        for _ in range(200):
            if stored(workspace):
                break
            time.sleep(0.02)
        assert stored(workspace) == ["rn1_a"]
        time.sleep(0.05)
        assert not journals(workspace)
        writer.append([run_row("b")], durable=True)
        assert len(journals(workspace)) == 1


def test_flush_waits_for_what_was_appended(workspace: Path) -> None:
    with Writer(Store(workspace)) as writer:
        writer.flush()
        for name in "abc":
            writer.append([run_row(name)])
            writer.flush()
            assert f"rn1_{name}" in stored(workspace)


def test_flush_does_not_wait_for_what_others_append_meanwhile(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = threading.Event()
    insert_all = journal._insert_all

    def slowly(*arguments: Any) -> None:
        insert_all(*arguments)
        slow.wait(0.2)

    monkeypatch.setattr(journal, "_insert_all", slowly)
    with Writer(Store(workspace)) as writer:
        going = True

        def keep_appending() -> None:
            number = 0
            while going:
                writer.append([run_row(f"noise-{number}")])
                number += 1
                time.sleep(0.001)

        noise = threading.Thread(target=keep_appending)
        noise.start()
        time.sleep(0.1)
        began = time.monotonic()
        writer.flush()
        took = time.monotonic() - began
        going = False
        noise.join()
        slow.set()
    assert took < 3, "it waited for a quiet moment"


def test_many_threads_append_at_once(workspace: Path) -> None:
    with Writer(Store(workspace)) as writer:

        def work(who: int) -> None:
            for number in range(200):
                writer.append([run_row(f"{who}-{number}")], durable=number % 2 == 0)
                if number % 50 == 0:
                    writer.flush()

        threads = [threading.Thread(target=work, args=(who,)) for who in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(stored(workspace)) == 1600
    assert not journals(workspace)


def test_an_origin_may_come_in_the_same_commit_as_its_example(workspace: Path) -> None:
    post = Moderation(language="en", text="Rice is dear.", label="allowed")
    origin = origin_row(post.id, Edited(parent="ex1_0", by="human:ann", why="a typo"), now())
    with Writer(Store(workspace)) as writer:
        writer.append([origin, example_row(post, now())], durable=True)
    assert len(stored(workspace, "origins")) == 1


# -- death -------------------------------------------------------------------------------------------------------


def append_forever(workspace: Path, acknowledged: Path) -> None:
    log = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with Writer(Store(workspace)) as writer:
        for number in range(1_000_000):
            row = said(int(f"{os.getpid()}{number:06}"))
            writer.append([row], durable=True)
            os.write(log, f"{row[1][0]}\n".encode())


def test_kill_loses_nothing_that_was_acknowledged(workspace: Path) -> None:
    wanted: set[str] = set()
    for wait_s in (0.0, 0.05, 0.3, 0.55, 0.7, 1.1):
        acknowledged = workspace.with_name(f"acknowledged-{wait_s}")  # its own, as a kill may tear the last line
        process = FORKS.Process(target=append_forever, args=(workspace, acknowledged))
        process.start()
        while process.is_alive() and (not acknowledged.exists() or str(process.pid) not in pids_in(workspace)):
            time.sleep(0.01)
        time.sleep(wait_s)
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        wanted |= set(acknowledged.read_text().split("\n")[:-1])
    with Writer(Store(workspace)):
        pass
    kept = stored(workspace, "verdicts")
    assert len(kept) == len(set(kept))
    assert len(wanted) > 100
    assert wanted <= set(kept)
    assert not journals(workspace)


def pids_in(workspace: Path) -> set[str]:
    return {path.name.split("-")[0] for path in journals(workspace)}


def test_a_torn_last_line_is_dropped_and_the_rest_read_back(workspace: Path) -> None:
    store = Store(workspace)
    lines = [json.dumps(["runs", f"rn1_{name}", "{}", "0.1.0", {"at": WHEN.isoformat()}]) for name in "ab"]
    (store.journals / "9-0-1.jsonl").write_text("\n".join(lines) + "\n" + lines[0][:25])
    assert recover(store) == 2
    assert stored(workspace) == ["rn1_a", "rn1_b"]
    assert not journals(workspace)
    assert recover(store) == 0


def test_a_journal_that_was_committed_but_not_removed_adds_nothing(workspace: Path) -> None:
    store = Store(workspace)
    with Writer(store) as writer:
        writer.append([run_row("a"), said(1)], durable=True)
        (path,) = journals(workspace)
        twin = path.read_bytes()
    path.write_bytes(twin)
    assert recover(store) == 2
    assert stored(workspace) == ["rn1_a"]
    assert len(stored(workspace, "verdicts")) == 1


def test_an_empty_journal_of_a_process_that_died_at_once_is_removed(workspace: Path) -> None:
    store = Store(workspace)
    (store.journals / "9-0-1.jsonl").touch()
    with Writer(store):
        pass
    assert not journals(workspace)


def test_journals_are_read_back_in_the_order_they_were_written(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An origin is passed over when its example is not there yet."""
    post = Moderation(language="en", text="Rice is dear.", label="allowed")
    origin = origin_row(post.id, Edited(parent="ex1_0", by="human:ann", why="a typo"), now())
    store = Store(workspace)
    writer = Writer(store)
    for number in range(1, 12):  # what a writer does between commits, up to two figures
        writer._journal.write(
            [example_row(post, now()) if number == 9 else origin if number == 10 else run_row(str(number))]
        )
        writer._journal.rotate().release()
    assert recover(store) == 11
    assert len(stored(workspace, "origins")) == 1


def test_the_journal_of_a_live_process_is_left_alone(workspace: Path) -> None:
    store = Store(workspace)
    with Writer(store) as writer:
        writer.append([run_row("a")], durable=True)
        (path,) = journals(workspace)
        assert recover(store) == 0
        assert path.exists()


def test_a_damaged_line_is_named(workspace: Path) -> None:
    store = Store(workspace)
    path = store.journals / "9-0-1.jsonl"
    path.write_text('["runs", "rn1_a"\n')
    with pytest.raises(WorkspaceError, match=r"9-0-1\.jsonl:1: damaged .*; mend or remove the line and run this again"):
        recover(store)
    assert path.exists()


def open_and_close(workspace: Path, rounds: int) -> None:
    for number in range(rounds):
        with Writer(Store(workspace)) as writer:
            writer.append([run_row(f"{os.getpid()}-{number}")], durable=True)


def test_writers_that_come_and_go_do_not_trip_over_each_others_journals(workspace: Path) -> None:
    processes = [FORKS.Process(target=open_and_close, args=(workspace, 8)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert len(stored(workspace)) == 32
    assert not journals(workspace)


def test_recover_passes_over_a_journal_whose_owner_finishes_at_that_moment(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(workspace)
    path = store.journals / "9-0-1.jsonl"
    path.write_text(json.dumps(["runs", "rn1_a", "{}", "0.1.0", {"at": WHEN.isoformat()}]) + "\n")
    flock = fcntl.flock

    def finished_first(file: int, operation: int) -> None:
        path.unlink(missing_ok=True)  # between recover's open and its lock
        flock(file, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", finished_first)
        assert recover(store) == 0
    assert stored(workspace) == []


def test_a_journal_that_is_taken_for_a_dead_ones_is_begun_again(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(workspace)
    flock, taken = fcntl.flock, []

    def recovered_first(file: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX and not taken and (found := journals(workspace)):
            taken.extend(found)
            found[0].unlink()  # what another process' recover does between our open and our lock
        flock(file, operation)

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "flock", recovered_first)
        writer = Writer(store)
        writer._journal.write([run_row("a")])
    assert taken
    assert [path.read_text().count("rn1_a") for path in journals(workspace)] == [1]
    writer._journal.rotate().release()
    assert recover(store) == 1


# -- failure -----------------------------------------------------------------------------------------------------


def test_a_failed_commit_is_heard_of_by_whoever_appends_flushes_or_leaves(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise duckdb.Error("it broke")

    store = Store(workspace)
    with monkeypatch.context() as patched:
        patched.setattr(Store, "insert", broken)
        with pytest.raises(duckdb.Error, match="it broke"), Writer(store) as writer:  # noqa: PT012
            writer.append([run_row("a")], durable=True)
            with pytest.raises(duckdb.Error, match="it broke"):
                writer.flush()
            with pytest.raises(duckdb.Error, match="it broke"):
                writer.append([run_row("b")], durable=True)
    assert len(journals(workspace)) == 1
    with Writer(store):  # even in the process that failed
        pass
    assert stored(workspace) == ["rn1_a"]


def test_an_error_of_the_callers_own_is_not_hidden_by_a_failed_commit(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise duckdb.Error("it broke")

    monkeypatch.setattr(Store, "insert", broken)
    with pytest.raises(KeyError, match="mine"), Writer(Store(workspace)) as writer:  # noqa: PT012
        writer.append([run_row("a")], durable=True)
        raise KeyError("mine")
    assert len(journals(workspace)) == 1


def test_rows_of_the_wrong_shape_fail_loudly_and_stay_in_the_journal(workspace: Path) -> None:
    with pytest.raises(ValueError, match="zip"), Writer(Store(workspace)) as writer:
        writer.append([("runs", ("rn1_a",))], durable=True)
    assert len(journals(workspace)) == 1


def fill_up(workspace: Path, limit: int, acknowledged: Path) -> None:
    """Append under a limit on the size of files, which is a full disk to whoever writes."""
    store = Store(workspace)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    log = os.open(acknowledged, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        with Writer(store) as writer:
            for number in range(100_000):
                row = said(number, reason=os.urandom(400).hex())
                writer.append([row], durable=True)
                os.write(log, f"{row[1][0]}\n".encode())
    except WorkspaceError as error:
        Path(f"{acknowledged}.error").write_text(str(error))
        raise SystemExit(3) from None


def test_a_journal_that_cannot_grow_says_so_and_loses_nothing(workspace: Path) -> None:
    acknowledged = workspace.with_name("acknowledged")
    Store(workspace)
    limit = (workspace / "tilth.duckdb").stat().st_size + 100_000
    process = FORKS.Process(target=fill_up, args=(workspace, limit, acknowledged))
    process.start()
    process.join()
    assert process.exitcode == 3
    error = Path(f"{acknowledged}.error").read_text()
    assert "make room and run the same command again" in error or "tilth.duckdb" in error
    wanted = set(acknowledged.read_text().split())
    with Writer(Store(workspace)):
        pass
    assert set(stored(workspace, "verdicts")) == wanted
    assert len(wanted) > 50


def small_disk(folder: Path) -> bool:
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=3m", "none", str(folder)], capture_output=True, check=False
    )
    return done.returncode == 0


def test_a_full_disk_says_so_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or not small_disk(disk):
        pytest.skip("needs leave to mount a small disk")
    try:
        workspace = disk / "workspace"
        store = Store(workspace)
        wanted = []
        with pytest.raises(WorkspaceError) as caught, Writer(store) as writer:  # noqa: PT012
            for number in range(100_000):
                row = said(number, reason=os.urandom(400).hex())
                writer.append([row], durable=True)
                wanted.append(row[1][0])
                if number % 100 == 0:
                    writer.flush()
        assert "free some space" in str(caught.value) or "make room" in str(caught.value)
        assert len(wanted) > 100

        filler = disk / "filler"
        with pytest.raises(OSError, match="No space left"), filler.open("wb", buffering=0) as file:  # noqa: PT012
            while True:
                file.write(b"x" * 4096)
        with pytest.raises(WorkspaceError, match=r"the disk is full; free some space and run the same command again"):
            Store(disk / "second")
        filler.unlink()
        subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
        with Writer(store):
            pass
        assert stored(workspace, "verdicts") == sorted(wanted)
        Store(disk / "second")
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_a_write_that_is_cut_short_is_taken_back(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(workspace)
    write = os.write
    writer = Writer(store)
    writer.append([run_row("a")], durable=True)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda file, data: write(file, data[: len(data) // 2]))
        with pytest.raises(WorkspaceError, match=r"No space left on device; nothing already answered is lost"):
            writer.append([run_row("b")], durable=True)
    (path,) = journals(workspace)
    assert path.read_text().count("\n") == 1
    assert path.read_text().endswith("\n")
    with writer:
        pass
    assert stored(workspace) == ["rn1_a"]
