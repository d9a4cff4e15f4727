"""`synth render` killed or stopped half way: nothing half-written is taken for whole, no reader stays behind, and it goes on from there."""

import hashlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pymupdf
import pytest
from synth_kit import start

from curation.documents import Document
from curation.shelf import documents
from curation.store import Store
from synth.config import RenderingSettings
from synth.documents.load import render

DOCUMENTS, PAGES = 5, 5


@pytest.fixture(scope="module")
def sops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Documents of some pages, all different."""
    folder = tmp_path_factory.mktemp("sops")
    for number in range(DOCUMENTS):
        made = pymupdf.open()
        for page in range(PAGES):
            text = "\n".join(f"{page + 1}.{step} Ask for document {number * step} first." for step in range(1, 30))
            made.new_page().insert_text((50, 60), text, fontsize=11)
        made.save(folder / f"sop_{number}.pdf")
    return folder


@pytest.fixture(scope="module")
def whole(sops: Path, tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The documents of an undisturbed run."""
    made = render([sops], RenderingSettings(workspace=tmp_path_factory.mktemp("whole"), workers=2))
    found = {one.document.id for one in made if one.document}
    assert len(found) == DOCUMENTS
    return found


def sound(workspace: Path) -> list[Document]:
    """The documents of a workspace, each with all its page images, whole."""
    if not (workspace / "tilth.duckdb").is_file():
        return []
    found = documents(Store(workspace, create=False))
    for one in found:
        assert [page.number for page in one.pages] == list(range(1, PAGES + 1))
        for page in one.pages:
            image = (workspace / "assets" / page.image).read_bytes()
            assert hashlib.sha256(image).hexdigest() == page.image
    return found


def readers(of: int | None = None) -> set[int]:
    """Reader processes: those of a process, or all on this machine."""
    listed = subprocess.run(["ps", "-eww", "-o", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines() if "synth.documents.worker" in line]
    return {int(own) for own, parent, _ in rows if of is None or int(parent) == of}


@pytest.mark.parametrize(("how", "seed"), [(signal.SIGINT, 0), (signal.SIGKILL, 1), (signal.SIGKILL, 2)])
def test_stopped_half_way_it_goes_on_and_ends_as_if_undisturbed(
    sops: Path, whole: set[str], tmp_path: Path, how: signal.Signals, seed: int
) -> None:
    chance = random.Random(seed)
    workspace = tmp_path / "workspace"
    words = ("render", str(sops), f"workspace={workspace}", "workers=2", "sheet=false")
    process = start(tmp_path, *words)
    wanted = chance.randint(1, DOCUMENTS * PAGES - 6)  # pages, of whole documents or not
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        drawn = [*workspace.glob("assets/*"), *workspace.glob("rendering/*")]
        if len(drawn) >= wanted:
            break
        time.sleep(0.003)
    mine = readers(process.pid)
    assert mine
    os.killpg(process.pid, how)
    out, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130
        assert "the same command goes on from there" in err
        assert "Traceback" not in err
    else:
        assert process.returncode == -signal.SIGKILL
    for _ in range(300):
        if not readers() & mine:
            break
        time.sleep(0.02)
    assert not readers() & mine  # they end with whom they read for
    found = sound(workspace)
    assert {one.id for one in found} <= whole
    again = start(tmp_path, *words)
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert f"{DOCUMENTS - len(found)} new, {len(found)} known" in out
    assert {one.id for one in sound(workspace)} == whole
    assert not (workspace / "rendering").exists()
    named = {page.image for one in sound(workspace) for page in one.pages}
    assert {path.name for path in (workspace / "assets").iterdir()} == named  # nothing half-written lies about
