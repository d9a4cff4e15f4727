"""Hostile and broken documents: each is read or refused, soon, in little memory, with one line, and nothing is fetched or run."""

import os
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pytest

from curation.shelf import documents
from curation.store import Store
from synth.config import RenderingSettings
from synth.documents.load import Outcome, render
from tests.hostile_documents import CANARY, CASES, write_all

PAGE_S, OPEN_S = 1.5, 2.25
MOST_MEMORY = 2 << 30


@dataclass(frozen=True, slots=True)
class Ordeal:
    outcomes: dict[str, Outcome]
    store: Store
    seconds: float
    memory: int  # bytes, the most that any one process had
    called: list[tuple[str, int]]  # who connected to the port that the documents name


@pytest.fixture(scope="module")
def port() -> Iterator[tuple[int, list[tuple[str, int]]]]:
    called: list[tuple[str, int]] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        done = threading.Event()

        def listen() -> None:
            while not done.is_set():
                try:
                    connection, who = server.accept()
                except TimeoutError:
                    continue
                called.append(who)
                connection.close()

        thread = threading.Thread(target=listen)
        thread.start()
        yield server.getsockname()[1], called
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def ordeal(tmp_path_factory: pytest.TempPathFactory, port: tuple[int, list[tuple[str, int]]]) -> Ordeal:
    folder = tmp_path_factory.mktemp("hostile")
    paths = write_all(folder / "documents", port[0])
    # in a process of its own, so that the memory is that of these readers and not of other tests' children
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        outcomes, took, memory = alone.submit(rendered, paths, folder / "workspace").result()
    return Ordeal({one.path.name: one for one in outcomes}, Store(folder / "workspace"), took, memory, port[1])


def rendered(paths: list[Path], workspace: Path) -> tuple[list[Outcome], float, int]:
    began = time.monotonic()
    outcomes = render(paths, RenderingSettings(workspace=workspace, page_s=PAGE_S, workers=2))
    took = time.monotonic() - began
    # not RUSAGE_SELF: that begins with what the process had that started this one
    own = int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
    return outcomes, took, max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) * 1024


def test_there_are_enough_cases(ordeal: Ordeal) -> None:
    assert len(CASES) >= 100
    assert set(ordeal.outcomes) == set(CASES)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_document_is_read_or_refused_with_one_line(ordeal: Ordeal, name: str) -> None:
    one = ordeal.outcomes[name]
    if name.startswith("read-"):
        assert one.refused is None
    elif name.startswith("refuse-"):
        assert one.refused
    if one.refused is None:
        assert one.document is not None
        assert one.document.pages
        for page in one.document.pages:
            assert (ordeal.store.workspace / "assets" / page.image).is_file()
            assert max(page.width, page.height) <= 1568
    else:
        assert one.document is None
        assert "\n" not in one.refused
        assert 5 <= len(one.refused) <= 300
        assert "Traceback" not in one.refused
        assert not re.search(r"code=\d|\w(?:Error|Exception)\b|Fz[A-Z]", one.refused)  # what people can do nothing with
        assert str(ordeal.store.workspace.parent) not in one.refused


def test_what_can_be_read_is_stored_and_nothing_else(ordeal: Ordeal) -> None:
    read = {one.document.id for one in ordeal.outcomes.values() if one.document is not None}
    assert {one.id for one in documents(ordeal.store)} == read
    images = {page.image for one in documents(ordeal.store) for page in one.pages}
    assert {path.name for path in (ordeal.store.workspace / "assets").iterdir()} == images
    assert not (ordeal.store.workspace / "rendering").exists()


def test_time_and_memory_are_bounded(ordeal: Ordeal) -> None:
    assert ordeal.seconds < (PAGE_S + OPEN_S) * len(CASES) / 2
    assert ordeal.memory < MOST_MEMORY


def test_nothing_is_fetched_or_run(ordeal: Ordeal) -> None:
    assert ordeal.called == []
    assert not Path("/tmp", CANARY).exists()
    assert not list(ordeal.store.workspace.parent.rglob(f"*{CANARY}*"))


def test_words_of_a_document_are_not_lost_for_what_else_it_holds(ordeal: Ordeal) -> None:
    for name in (
        "read-launch.pdf",
        "read-file-attached.pdf",
        "read-remote-image.html",
        "read-script.html",
        "read-junk-before.pdf",
    ):
        document = ordeal.outcomes[name].document
        assert document is not None
        assert "1.1 Ask" in document.pages[0].text, name


def test_files_that_are_none(tmp_path: Path) -> None:
    folder = tmp_path / "sops"
    folder.mkdir()
    for name in (
        "1.1 \u200bodd\u202e name; rm -rf $(x) & 'q' \"p\".txt",
        "两步.md",
        "-dash.txt",
        "new\nline.txt",
        "." * 60 + ".md",
        "ø" * 100 + ".txt",
    ):
        (folder / name).write_text(f"1.1 Ask for the number of {len(name)}.\n", encoding="utf-8")
    (folder / "loop.pdf").symlink_to(folder / "loop.pdf")
    (folder / "a.pdf").symlink_to(folder / "b.pdf")
    (folder / "b.pdf").symlink_to(folder / "a.pdf")
    (folder / "round").symlink_to(folder)
    os.mkfifo(folder / "pipe.pdf")
    (folder / "folder.pdf").mkdir()
    (folder / "hole.pdf").write_bytes(b"")
    os.truncate(folder / "hole.pdf", 5_000_000_000)
    began = time.monotonic()
    outcomes = render([folder], RenderingSettings(workspace=tmp_path / "workspace", page_s=PAGE_S, workers=1))
    assert time.monotonic() - began < 30
    read = [one for one in outcomes if one.document is not None]
    assert len(read) >= 5
    assert all("\n" not in str(one.refused) for one in outcomes)
    assert [one.path.name for one in outcomes if one.refused] == ["hole.pdf"]
