"""Runs that were started from the app: each is a `synth run` of its own that outlives it, with its words and log in `<workspace>/jobs`.

A job holds a file lock that it inherited, so that whether it still runs is known without trusting a process id that may be another's.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from curation.errors import WorkspaceError

TAIL = 4000  # bytes of a log that are shown
_SYNTH = (sys.executable, "-c", "from synth.cli import app; app()")


@dataclass(frozen=True, slots=True)
class Job:
    """One `synth` command that the app started."""

    folder: Path
    words: tuple[str, ...]
    pid: int

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def running(self) -> bool:
        return not _free(self.folder / "lock")

    def log(self) -> str:
        """The end of what it printed."""
        path = self.folder / "log"
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            return file.read().decode("utf-8", "replace")

    def last_line(self) -> str:
        """What it printed last: how far it is, or why it ended."""
        said = self.log().partition("\nNext:")[0]  # the page's buttons say what comes next
        return next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")

    def stop(self) -> None:
        """As Ctrl-C does: what is in flight is let finish and kept; a second time, it stops at once."""
        if self.running:
            with suppress(ProcessLookupError):  # it ended just now
                os.kill(self.pid, signal.SIGINT)


def start(workspace: Path, words: Sequence[str]) -> Job:
    """Run `synth words...` on this workspace, in the current folder, going on when the app ends.

    Raises:
        WorkspaceError: the workspace cannot be written.
    """
    folder = workspace / "jobs" / f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    whole = (*words, f"workspace={workspace}")
    try:
        folder.mkdir(parents=True)
        with (folder / "lock").open("w") as lock, (folder / "log").open("wb") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            process = subprocess.Popen(
                [*_SYNTH, *whole], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()], start_new_session=True,
            )  # fmt: skip
        fresh = folder / "job.json.new"
        fresh.write_text(json.dumps({"words": whole, "pid": process.pid}), encoding="utf-8")
        fresh.replace(folder / "job.json")
    except OSError as error:
        raise WorkspaceError(f"{folder}: the run cannot be started: {error.strerror or error}") from error
    _reap.append(process)
    return Job(folder, whole, process.pid)


_reap: list[subprocess.Popen[bytes]] = []  # of this process; without a wait each would stay a zombie


def jobs(workspace: Path, n: int = 10) -> list[Job]:
    """The latest jobs of a workspace, the newest first."""
    _reap[:] = [process for process in _reap if process.poll() is None]
    found = []
    for path in sorted((workspace / "jobs").glob("*/job.json"), reverse=True)[:n]:
        with suppress(OSError, ValueError, KeyError, TypeError):  # a file that somebody else put there is no job
            said = json.loads(path.read_text(encoding="utf-8"))
            found.append(Job(path.parent, tuple(map(str, said["words"])), int(said["pid"])))
    return found


def _free(path: Path) -> bool:
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
