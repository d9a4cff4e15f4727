"""The store: opened by many processes at once, upgraded on opening, clear about what is wrong with it, and the status fold."""

import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synth_kit import FORKS

from curation import migrations, store
from curation.errors import InputError, NotFound, WorkspaceError
from curation.records import Decision, Moderation, Verdict
from curation.store import Store
from curation.tables import example_row, verdict_row

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def prompt_rows(*names: str) -> list[tuple[Any, ...]]:
    return [(f"pr1_{name}", name, "{}", datetime(2026, 11, 21)) for name in names]


def put(workspace: Path, *names: str) -> int:
    at = Store(workspace)
    with at.write() as connection:
        return at.insert(connection, "prompts", prompt_rows(*names))


def names(workspace: Path) -> list[str]:
    return [row[0] for row in Store(workspace).rows("SELECT name FROM prompts ORDER BY name")]


# -- opening -----------------------------------------------------------------------------------------------------


def test_a_store_is_made_where_none_is_and_only_then(workspace: Path) -> None:
    with pytest.raises(WorkspaceError, match=r"no store there; make one with `synth run prompt=general_ok n=100`"):
        Store(workspace, create=False)
    assert not workspace.exists()
    Store(workspace / "deep" / "down")
    assert (workspace / "deep/down/tilth.duckdb").is_file()
    Store(workspace / "deep" / "down", create=False)


def test_nothing_is_open_between_calls(workspace: Path) -> None:
    put(workspace, "a")
    with duckdb.connect(str(workspace / "tilth.duckdb")) as foreign:
        assert foreign.sql("SELECT name FROM prompts").fetchall() == [("a",)]


def test_an_exception_undoes_the_whole_transaction(workspace: Path) -> None:
    put(workspace, "a")
    at = Store(workspace)
    with pytest.raises(InputError, match="changed my mind"), at.write() as connection:  # noqa: PT012
        at.insert(connection, "prompts", prompt_rows("b"))
        raise InputError("changed my mind")
    assert names(workspace) == ["a"]


def test_readers_cannot_write(workspace: Path) -> None:
    with pytest.raises(duckdb.Error, match="read-only"), Store(workspace).read() as connection:
        connection.execute("DELETE FROM prompts")


def test_a_mistake_in_a_query_stays_a_mistake_in_a_query(workspace: Path) -> None:
    with pytest.raises(duckdb.ParserException):
        Store(workspace).rows("SELEC 1")


def test_rows_with_a_known_id_are_passed_over(workspace: Path) -> None:
    assert put(workspace, "a", "b", "a") == 2
    assert put(workspace, "b", "c") == 1
    assert put(workspace) == 0
    assert names(workspace) == ["a", "b", "c"]


def test_an_origin_of_an_example_that_is_not_kept_is_passed_over(workspace: Path) -> None:
    at = Store(workspace)
    post = Moderation(language="en", text="Rice is dear.", label="allowed")
    body = ("generated", None, None, None, None, None, None, None, "{}", datetime(2026, 11, 21))
    with at.write() as connection:
        at.insert(connection, "examples", [example_row(post, NOON)[1]])
        assert at.insert(connection, "origins", [("or1_a", post.id, *body), ("or1_b", "ex1_gone", *body)]) == 1


@settings(max_examples=12, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1, max_size=20, unique=True))
def test_any_text_goes_in_and_comes_out(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder), *texts)
        assert sorted(names(Path(folder))) == sorted(texts)


# -- the schema --------------------------------------------------------------------------------------------------


def add_colour(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute("ALTER TABLE prompts ADD COLUMN colour VARCHAR DEFAULT 'blue'")


def test_an_older_store_is_upgraded_on_opening_and_keeps_its_rows(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace, "a")
    monkeypatch.setattr(store, "MIGRATIONS", (*migrations.MIGRATIONS, add_colour))
    assert Store(workspace).rows("SELECT name, colour FROM prompts") == [("a", "blue")]
    assert Store(workspace).rows("SELECT version FROM tilth_schema ORDER BY version") == [
        (number,) for number in range(1, len(migrations.MIGRATIONS) + 2)
    ]


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(workspace, "a")

    def broken(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("DROP TABLE verdicts CASCADE")
        raise RuntimeError("half way")

    with monkeypatch.context() as patched:
        patched.setattr(store, "MIGRATIONS", (*migrations.MIGRATIONS, add_colour, broken))
        with pytest.raises(RuntimeError, match="half way"):
            Store(workspace)
    assert names(workspace) == ["a"]
    assert Store(workspace).rows("SELECT count(*) FROM verdicts") == [(0,)]
    assert "colour" not in str(Store(workspace).rows("DESCRIBE prompts"))


def test_a_newer_store_is_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(store, "MIGRATIONS", (*migrations.MIGRATIONS, add_colour))
        put(workspace / "newer")
    with pytest.raises(
        WorkspaceError, match=r"written by a newer Tilth \(schema \d, this one knows \d\); upgrade with `pip"
    ):
        Store(workspace / "newer")


# -- what is wrong with it ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [0.0, 0.01, 0.5, 0.999])
def test_a_cut_off_file_is_called_damaged(workspace: Path, keep: float) -> None:
    put(workspace, "a")
    path = workspace / "tilth.duckdb"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(WorkspaceError, match=r"not a store this version can open; restore it from a backup"):
        names(workspace)


def test_a_scribbled_over_file_is_called_damaged(workspace: Path) -> None:
    put(workspace, *map(str, range(1000)))
    path = workspace / "tilth.duckdb"
    path.write_bytes(bytes(byte ^ 0x55 if at > 12_288 else byte for at, byte in enumerate(path.read_bytes())))
    with pytest.raises(WorkspaceError, match=r"not a store this version can open"):
        names(workspace)


def test_another_kind_of_file_is_called_damaged(workspace: Path) -> None:
    workspace.mkdir()
    (workspace / "tilth.duckdb").write_text("topic,text\n" * 1000)
    with pytest.raises(WorkspaceError, match=r"not a store this version can open"):
        Store(workspace)


def test_a_store_whose_making_was_cut_short_is_made_anew(workspace: Path) -> None:
    workspace.mkdir()
    (workspace / "tilth.duckdb.new").write_bytes(b"half")
    (workspace / "tilth.duckdb.new.wal").write_bytes(b"half")
    assert put(workspace, "a") == 1
    assert not list(workspace.glob("*.new*"))


def test_a_file_in_the_place_of_the_workspace_is_named(workspace: Path) -> None:
    workspace.write_text("hello")
    with pytest.raises(
        WorkspaceError, match=r"workspace '.*workspace': Not a directory; check the folder, or name another"
    ):
        Store(workspace)


def as_nobody(workspace: Path, kept: "Any") -> None:
    """Open a store as somebody whom permissions bind, which they do not root."""
    if os.geteuid() == 0:
        os.seteuid(65_534)
    try:
        Store(workspace)
        kept.put("opened")
    except Exception as error:  # the parent judges
        kept.put(f"{type(error).__name__}: {error}")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that other users may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        for path in [Path(folder), *Path(folder).rglob("*")]:
            path.chmod(0o755)


@pytest.mark.parametrize("made_before", [True, False])
def test_a_folder_that_may_not_be_written_is_named(public: Path, made_before: bool) -> None:
    workspace = public / "workspace"
    workspace.mkdir()
    if made_before:
        Store(workspace)
    for path in [*workspace.rglob("*"), workspace]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    kept = FORKS.Queue()
    process = FORKS.Process(target=as_nobody, args=(workspace, kept))
    process.start()
    said = kept.get(timeout=30)
    process.join()
    assert said == (
        f"WorkspaceError: workspace {str(workspace)!r}: Permission denied; check the folder, or name another with "
        "workspace=FOLDER"
    )


HOLDER = "import duckdb, sys, time; c = duckdb.connect(sys.argv[1]); print('held', flush=True); time.sleep(float(sys.argv[2]))"


def held(workspace: Path, seconds: float) -> "subprocess.Popen[str]":
    """Another program that has the DuckDB file open."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(workspace / "tilth.duckdb"), str(seconds)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_another_program_in_the_store_is_waited_for_and_then_named(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(workspace, "a")
    monkeypatch.setattr(store, "FOREIGN_LOCK_WAIT_S", 0.5)
    with held(workspace, 60) as process:
        for opened in (names, lambda workspace: put(workspace, "b")):
            began = time.monotonic()
            with pytest.raises(
                WorkspaceError, match=r"another program holds the store open; close it and run this again"
            ):
                opened(workspace)
            assert 0.4 < time.monotonic() - began < 5
        process.kill()
    assert names(workspace) == ["a"]


def test_another_program_that_leaves_in_time_is_no_error(workspace: Path) -> None:
    put(workspace, "a")
    with held(workspace, 0.7):
        assert put(workspace, "b") == 1
    assert names(workspace) == ["a", "b"]


# -- many at once ------------------------------------------------------------------------------------------------


def write_many(workspace: Path, who: int, count: int) -> None:
    for number in range(count):
        assert put(workspace, f"{who}-{number}") == 1


def read_many(workspace: Path, stop: Path, seen: "Any") -> None:
    counts = []
    while not stop.exists():
        counts.append(len(names(workspace)))
    seen.put(counts)


def test_many_processes_write_and_read_at_once(workspace: Path) -> None:
    stop, seen = workspace.with_name("stop"), FORKS.Queue()
    writers = [FORKS.Process(target=write_many, args=(workspace, who, 9)) for who in range(4)]
    readers = [FORKS.Process(target=read_many, args=(workspace, stop, seen)) for _ in range(3)]
    for process in (*writers, *readers):  # the store is made by whoever comes first
        process.start()
    for process in writers:
        process.join()
    stop.touch()
    for counts in (seen.get(timeout=30) for _ in readers):
        assert all(later >= earlier for earlier, later in pairwise(counts)), "a commit was seen and then was not"
    for process in readers:
        process.join()
    assert [process.exitcode for process in (*writers, *readers)] == [0] * 7
    assert sorted(names(workspace)) == sorted(f"{who}-{number}" for who in range(4) for number in range(9))


def test_a_stream_of_readers_does_not_keep_a_writer_out(workspace: Path) -> None:
    put(workspace, "a")
    stop, seen = workspace.with_name("stop"), FORKS.Queue()
    readers = [FORKS.Process(target=read_slowly, args=(workspace, stop, seen)) for _ in range(4)]
    for process in readers:
        process.start()
    for _ in readers:
        assert seen.get(timeout=30) == "reading"
    writer = FORKS.Process(target=write_many, args=(workspace, 0, 8))
    writer.start()
    writer.join(timeout=25)  # each reader is in for 0.2 s; without the gate one of the four always is
    came_through = writer.exitcode == 0
    stop.touch()
    for process in (writer, *readers):
        process.join()
    assert came_through
    assert [process.exitcode for process in readers] == [0] * 4
    assert len(names(workspace)) == 9


def read_slowly(workspace: Path, stop: Path, seen: "Any") -> None:
    told = False
    while not stop.exists():
        with Store(workspace).read() as connection:
            connection.execute("SELECT count(*) FROM prompts").fetchall()
            if not told:
                seen.put("reading")
                told = True
            time.sleep(0.2)


def test_threads_of_one_process_share_the_store(workspace: Path) -> None:
    errors: list[BaseException] = []

    def work(who: int) -> None:
        try:
            for number in range(5):
                put(workspace, f"{who}-{number}")
                names(workspace)
        except BaseException as error:  # a thread's error must reach the test
            errors.append(error)

    threads = [threading.Thread(target=work, args=(who,)) for who in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(names(workspace)) == 30


# -- hold --------------------------------------------------------------------------------------------------------


def hold_and_wait(workspace: Path, held_: "Any", go: "Any") -> None:
    with Store(workspace).hold("job", "a job"):
        held_.set()
        go.wait()


def test_hold_lets_one_process_in_and_names_it(workspace: Path) -> None:
    held_, go = FORKS.Event(), FORKS.Event()
    process = FORKS.Process(target=hold_and_wait, args=(workspace, held_, go))
    process.start()
    assert held_.wait(30)
    at = Store(workspace)
    with pytest.raises(
        WorkspaceError, match=rf"a job is going on in process {process.pid}; wait for it, or stop it first"
    ):
        at.hold("job", "a job").__enter__()
    with at.hold("other", "another job"):
        pass
    process.kill()  # its death frees the name
    process.join()
    with at.hold("job", "a job"):
        pass
    with at.hold("job", "a job"):
        pass


# -- resolve -----------------------------------------------------------------------------------------------------


def test_resolve_finds_by_a_unique_beginning(workspace: Path) -> None:
    put(workspace, "abc1", "abc2", "xyz", "xyzzy")
    at = Store(workspace)
    assert at.resolve("pr1_abc1", ["prompts"]) == ("prompts", "pr1_abc1")
    assert at.resolve("pr1_abc2", ["runs", "prompts"]) == ("prompts", "pr1_abc2")
    assert at.resolve("pr1_xyz", ["prompts"]) == ("prompts", "pr1_xyz"), "a whole id wins over longer ones"
    with pytest.raises(InputError, match=r"id 'pr1_abc': more than one thing begins like that: pr1_abc1, pr1_abc2"):
        at.resolve("pr1_abc", ["prompts"])
    for nothing in ("pr1_q", "%", "_"):
        with pytest.raises(InputError, match=r"nothing in .* begins like that; `curate ls` lists examples") as caught:
            at.resolve(nothing, ["prompts"])
        assert not isinstance(caught.value, NotFound) or caught.value.exit_code == 2


# -- the status fold ---------------------------------------------------------------------------------------------

KEEP, DROP, FLAG, UNSCORED, RETRACT = Decision.KEEP, Decision.DROP, Decision.FLAG, Decision.UNSCORED, Decision.RETRACT
CHECK, OTHER, JUDGE, ANN, BOB = "check:language@1", "check:pii@1", "judge:strict@1", "human:ann", "human:bob"

FOLDS: dict[str, tuple[list[tuple[str, Decision]], str]] = {
    "nobody said anything": ([], "new"),
    "a check passes": ([(CHECK, KEEP)], "passed"),
    "a check drops": ([(CHECK, DROP)], "dropped"),
    "a check flags": ([(CHECK, FLAG)], "flagged"),
    "a judge cannot tell": ([(JUDGE, UNSCORED)], "unscored"),
    "the strictest of the automatic ones: drop": ([(CHECK, KEEP), (OTHER, DROP), (JUDGE, FLAG)], "dropped"),
    "the strictest of the automatic ones: flag": ([(JUDGE, FLAG), (CHECK, KEEP), (OTHER, UNSCORED)], "flagged"),
    "unknown outweighs passed": ([(CHECK, KEEP), (JUDGE, UNSCORED)], "unscored"),
    "unknown does not outweigh flagged": ([(CHECK, FLAG), (JUDGE, UNSCORED)], "flagged"),
    "a check that is run again supersedes itself": ([(CHECK, DROP), (CHECK, KEEP)], "passed"),
    "a check of a later version supersedes the earlier": ([(CHECK, KEEP), ("check:language@2", DROP)], "dropped"),
    "a check run again does not supersede another": ([(CHECK, DROP), (OTHER, KEEP)], "dropped"),
    "an automatic author retracts": ([(CHECK, DROP), (CHECK, RETRACT)], "new"),
    "an automatic author retracts and another stands": ([(OTHER, FLAG), (CHECK, DROP), (CHECK, RETRACT)], "flagged"),
    "a person outweighs a check: keep": ([(CHECK, DROP), (ANN, KEEP)], "kept"),
    "a person outweighs a later check": ([(ANN, KEEP), (CHECK, DROP)], "kept"),
    "a person drops what passed": ([(CHECK, KEEP), (ANN, DROP)], "dropped"),
    "a person flags": ([(CHECK, KEEP), (ANN, FLAG)], "flagged"),
    "a person changes their mind": ([(ANN, KEEP), (ANN, DROP)], "dropped"),
    "the latest person wins": ([(ANN, KEEP), (BOB, DROP)], "dropped"),
    "the latest person wins, the other way": ([(BOB, DROP), (ANN, KEEP)], "kept"),
    "an earlier person speaks again": ([(ANN, KEEP), (BOB, DROP), (ANN, KEEP)], "kept"),
    "a person takes it back": ([(CHECK, FLAG), (ANN, KEEP), (ANN, RETRACT)], "flagged"),
    "a person takes it back and nobody else spoke": ([(ANN, KEEP), (ANN, RETRACT)], "new"),
    "a person takes it back and the other person's word stands": ([(ANN, DROP), (BOB, KEEP), (BOB, RETRACT)], "dropped"),
    "a person takes it back and says it again": ([(ANN, KEEP), (ANN, RETRACT), (ANN, KEEP)], "kept"),
    "taking back what was never said": ([(CHECK, KEEP), (ANN, RETRACT)], "passed"),
}  # fmt: skip


def posts(count: int) -> list[Moderation]:
    return [Moderation(language="en", text=f"Post number {number}.", label="allowed") for number in range(count)]


def test_the_status_of_an_example_is_a_fold_of_what_was_said(workspace: Path) -> None:
    examples = dict(zip(FOLDS, posts(len(FOLDS)), strict=True))
    verdicts = [
        verdict_row(Verdict(example=examples[case].id, by=by, decision=decision, at=NOON + timedelta(seconds=second)))[
            1
        ]
        for case, (said, _) in FOLDS.items()
        for second, (by, decision) in enumerate(said)
    ]
    at = Store(workspace)
    with at.write() as connection:
        at.insert(connection, "examples", [example_row(example, NOON)[1] for example in examples.values()])
        at.insert(connection, "verdicts", verdicts[::-1])  # what counts is when it was said, not when it was stored
    status = dict(at.rows("SELECT example, status FROM status"))
    assert {case: status[example.id] for case, example in examples.items()} == {
        case: end for case, (_, end) in FOLDS.items()
    }
    assert len(status) == len(FOLDS)


def test_a_persons_labels_stand_for_the_examples_own_as_long_as_their_word_does(workspace: Path) -> None:
    one, two, three = posts(3)
    fixed = {"label": "disallowed", "category": "spam", "severity": 1}
    said = [
        Verdict(example=one.id, by=ANN, decision=KEEP, labels=fixed, at=NOON),
        Verdict(example=two.id, by=ANN, decision=KEEP, labels=fixed, at=NOON),
        Verdict(example=two.id, by=BOB, decision=KEEP, at=NOON + timedelta(seconds=1)),
        Verdict(example=three.id, by=ANN, decision=KEEP, labels=fixed, at=NOON),
        Verdict(example=three.id, by=ANN, decision=RETRACT, at=NOON + timedelta(seconds=1)),
    ]
    at = Store(workspace)
    with at.write() as connection:
        at.insert(connection, "examples", [example_row(example, NOON)[1] for example in (one, two, three)])
        at.insert(connection, "verdicts", [verdict_row(verdict)[1] for verdict in said])
    labels = dict(at.rows("SELECT example, labels FROM status"))
    assert labels[one.id] == '{"category":"spam","label":"disallowed","severity":1}'
    assert labels[two.id] is None
    assert labels[three.id] is None


def test_the_fold_in_sql_is_the_fold_in_python(workspace: Path) -> None:
    draw = random.Random(7)
    examples = posts(1500)
    histories = [
        [(draw.choice((CHECK, OTHER, JUDGE, ANN, BOB)), draw.choice(list(Decision))) for _ in range(draw.randint(0, 7))]
        for _ in examples
    ]
    rows = [
        verdict_row(Verdict(example=example.id, by=by, decision=decision, at=NOON + timedelta(seconds=second)))[1]
        for example, said in zip(examples, histories, strict=True)
        for second, (by, decision) in enumerate(said)
    ]
    draw.shuffle(rows)
    at = Store(workspace)
    with at.write() as connection:
        at.insert(connection, "examples", [example_row(example, NOON)[1] for example in examples])
        at.insert(connection, "verdicts", rows)
    status = dict(at.rows("SELECT example, status FROM status"))
    for example, said in zip(examples, histories, strict=True):
        assert status[example.id] == folded(said), said


def folded(said: list[tuple[str, Decision]]) -> str:
    last: dict[str, Decision] = {}
    for by, decision in said:
        last.pop(by, None)
        last[by] = decision  # the order of a dict is the order of the last words
    for by, decision in reversed(last.items()):
        if by.startswith("human:") and decision in (KEEP, DROP, FLAG):
            return {KEEP: "kept", DROP: "dropped", FLAG: "flagged"}[decision]
    automatic = [decision for by, decision in last.items() if not by.startswith("human:")]
    for decision, status in ((DROP, "dropped"), (FLAG, "flagged"), (UNSCORED, "unscored"), (KEEP, "passed")):
        if decision in automatic:
            return status
    return "new"
