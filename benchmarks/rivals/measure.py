"""One case as a process of its own: its wall time, CPU and memory, and what the loopback server saw meanwhile."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from fakeprovider import Spawned
from rivals.job import Job

HERE = Path(__file__).resolve().parent
TICKS = os.sysconf("SC_CLK_TCK")
LOOK_EVERY_S = 0.1
QUIET = {  # nothing leaves this machine, and no rival writes a line for each request
    "TELEMETRY_ENABLED": "false", "NEMO_TELEMETRY_ENABLED": "false", "HF_HUB_OFFLINE": "1", "OPENAI_API_KEY": "any",
    "CURATOR_DISABLE_RICH_DISPLAY": "1", "DISTILABEL_LOG_LEVEL": "WARNING", "NO_PROXY": "127.0.0.1",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    name: str
    script: str  # in this folder
    how: str = ""  # of several ways that the script knows
    python: str = sys.executable
    bare: str = ""  # the case of the same SDK and transport in a bare loop
    resumes: bool = False  # whether it keeps anything that a second command could go on from


@dataclass(frozen=True)
class Outcome:
    wall_s: float = 0
    cpu_s: float = 0
    rss_mb: float = 0
    rows: int = 0
    usable: int = 0
    server_cpu_s: float = 0
    failure: str = ""  # why there is no result, if there is none


class Running:
    """The process group of a case."""

    def __init__(self, case: Case, server: Spawned, n: int, in_flight: int, folder: Path) -> None:
        self._folder = folder
        self._server = server
        self._server_cpu_s = cpu_s(server.pid)
        (folder / "done.json").unlink(missing_ok=True)
        job = Job(case.how, server.url, n, in_flight, str(folder))
        path = os.pathsep.join((str(HERE), str(HERE.parent.parent))) if case.python == sys.executable else str(HERE)
        with (folder / "said.txt").open("ab") as said:
            self._process = subprocess.Popen(
                [case.python, str(HERE / case.script), json.dumps(asdict(job))],
                env={**os.environ, "PYTHONPATH": path, "HOME": str(folder), **QUIET},
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip

    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """kill -9 to all of the group, and wait until they are gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def outcome(self, timeout_s: float) -> Outcome:
        """What it came to when it ended, or was ended after `timeout_s`."""
        give_up, rss_mb = time.monotonic() + timeout_s, 0.0
        while self.alive() and time.monotonic() < give_up:
            rss_mb = max(rss_mb, high_water_mb(self._process.pid))
            time.sleep(LOOK_EVERY_S)
        late = self.alive()
        self.kill()
        if late:
            return Outcome(rss_mb=rss_mb, failure=f"no end after {timeout_s:.0f} s")
        done = self._folder / "done.json"
        if not done.exists():
            said = (self._folder / "said.txt").read_text(errors="replace").strip().splitlines()
            return Outcome(rss_mb=rss_mb, failure=said[-1][:160] if said else "ended without a word")
        used_s = cpu_s(self._server.pid) - self._server_cpu_s
        return Outcome(**json.loads(done.read_text()), rss_mb=rss_mb, server_cpu_s=used_s)


def high_water_mb(session: int) -> float:
    """The highest memory of each living process of a session so far, summed."""
    found = 0
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if int((path / "stat").read_text().rpartition(")")[2].split()[3]) == session:
                found += int((path / "status").read_text().partition("VmHWM:")[2].split()[0])
        except (OSError, IndexError, ValueError):
            continue  # it ended meanwhile
    return found / 1024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
