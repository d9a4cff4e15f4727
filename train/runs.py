"""Runs: a folder each, `runs/<id>/`, that says what was trained, on what, with what, and how it went.

config.yaml (settings and recipe, resolved), run.json (this record), metrics.jsonl (one JSON a line), adapter/ (PEFT layout)
or model/ (whole), checkpoints/, loss.png, README.md (card). A run of `model=tiny` also has base/.
"""

import json
import os
import platform
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from curation.errors import InputError, NotFound, WorkspaceError, did_you_mean
from train.data import Version
from train.recipes import Recipe

PATIENCE_S = 120

Status = Literal["running", "done", "failed", "killed"]


class Base(BaseModel):
    """The model that training started from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str  # a hub id, a folder, or tiny
    revision: str | None = None  # the commit on the hub
    digest: str | None = None  # of a folder: sha256 over its configuration and weights


class Record(BaseModel):
    """What run.json holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    recipe: str
    loss: str
    dataset: str
    number: int | None
    digest: str
    folder: str
    model: str
    seed: int
    base: Base | None = None
    environment: dict[str, str] = {}
    code: str = ""
    host: str = ""
    process: int = 0
    started: datetime
    ended: datetime | None = None
    status: Status = "running"
    error: str | None = None
    data: dict[str, Any] = {}  # what became of the examples: counts and lengths
    metrics: dict[str, float] = {}
    kind: Literal["trained", "fused"] = "trained"
    fused: dict[str, Any] = {}  # of a fused run: parents, weights, method

    @property
    def dataset_title(self) -> str:
        return self.dataset if self.number is None else f"{self.dataset}@{self.number}"

    @property
    def status_now(self) -> Status:
        """The status; a run whose process is gone from this machine was killed."""
        if self.status == "running" and self.host == socket.gethostname() and not _alive(self.process):
            return "killed"
        return self.status


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(slots=True)
class Run:
    """A run on disk. In a launch of several processes only rank 0 writes; `writes` says so."""

    folder: Path
    record: Record
    writes: bool = True

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def adapter(self) -> Path:
        return self.folder / "adapter"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @classmethod
    def create(
        cls,
        runs_dir: Path,
        recipe: Recipe,
        version: Version,
        *,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
        name: str | None = None,
    ) -> "Run":
        """A fresh run folder with config.yaml and run.json. In ranks above 0 of a launch nothing is written.

        Args:
            settings: of the command beside the recipe, JSON-able, for config.yaml.
            name: the id; made up of recipe and time, if not given.

        Raises:
            InputError: a run of that name is there already.
            WorkspaceError: the folder cannot be written.
        """
        record = Record(
            id=name or new_id(recipe.name),
            recipe=recipe.name,
            loss=recipe.loss,
            dataset=version.name,
            number=version.number,
            digest=version.digest,
            folder=str(version.folder),
            model=recipe.model or recipe.encoder or "",
            seed=seed,
            environment=environment(),
            code=code_version(),
            host=socket.gethostname(),
            process=os.getpid(),
            started=datetime.now(UTC),
        )
        run = cls(runs_dir / record.id, record, writes=rank() == 0)
        if not run.writes:
            run._await()
            return run
        try:
            run.folder.mkdir(parents=True)
        except FileExistsError:
            raise InputError(
                f"{run.folder}: there is a run of this name; choose another, or go on with it: resume=true"
            ) from None
        except OSError as error:
            raise WorkspaceError(f"{run.folder}: cannot be made: {error.strerror}; choose another runs_dir") from error
        config = {"settings": dict(settings or {}), "recipe": recipe.model_dump(mode="json")}
        run._write("config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
        run._save()
        return run

    @classmethod
    def open(cls, reference: str | Path, runs_dir: Path = Path("runs")) -> "Run":
        """A run by id, by the beginning of one, or by its folder.

        Raises:
            NotFound: there is no such run (names the nearest), or the beginning fits several.
            InputError: its run.json cannot be read.
        """
        folder = Path(reference)
        if not (folder / "run.json").is_file():
            known = sorted(path.parent.name for path in runs_dir.glob("*/run.json"))
            fits = [one for one in known if one.startswith(str(reference))]
            if str(reference) in known:
                fits = [str(reference)]
            if len(fits) > 1:
                raise NotFound(f"{str(reference)!r} fits {len(fits)} runs: {', '.join(fits[:6])}; write more of the id")
            if not fits:
                hint = did_you_mean(str(reference), known) or " Make one: `train run dataset=... recipe=qlora`"
                raise NotFound(f"no run {str(reference)!r} in {runs_dir}.{hint}")
            folder = runs_dir / fits[0]
        path = folder / "run.json"
        try:
            return cls(folder, Record.model_validate_json(path.read_bytes()))
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        except ValidationError as error:
            raise InputError(f"{path}: not a run's record ({error.error_count()} fields are wrong)") from error

    def _await(self) -> None:
        """Ranks above 0 go on when rank 0 has made the folder."""
        until = time.monotonic() + PATIENCE_S
        while not (self.folder / "run.json").is_file():
            if time.monotonic() > until:
                raise WorkspaceError(f"{self.folder}: not there after {PATIENCE_S} s; all machines must share runs_dir")
            time.sleep(0.05)

    @property
    def config(self) -> dict[str, Any]:
        """{"settings": ..., "recipe": ...} as they were resolved."""
        return dict(yaml.safe_load((self.folder / "config.yaml").read_text(encoding="utf-8")))

    def recipe(self) -> Recipe:
        return Recipe(**self.config["recipe"])

    def log(self, **values: float | int | str | None) -> None:
        """Append one line to metrics.jsonl: step, loss, learning_rate, tokens, tokens_per_s, grad_norm, memory_mb, eval_*."""
        if self.writes:
            try:
                with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps(values) + "\n")
            except OSError as error:
                raise self._full(error) from error

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl; the last may have been cut off by a kill, and is left out then."""
        path = self.folder / "metrics.jsonl"
        lines = path.read_text(encoding="utf-8").split("\n") if path.is_file() else []
        return [json.loads(line) for line in lines[:-1]]

    def last(self, key: str) -> Any:
        """The latest value of a metric, None if it was never logged."""
        return next((line[key] for line in reversed(self.metrics()) if line.get(key) is not None), None)

    def last_checkpoint(self) -> str | None:
        """The newest whole checkpoint. The Trainer writes trainer_state.json last, so one without it was cut off by a kill."""
        found = [path for path in self.checkpoints.glob("checkpoint-*") if (path / "trainer_state.json").is_file()]
        return str(max(found, key=_step)) if found else None

    def rewind(self, step: int) -> None:
        """Forget the metrics of later steps than the checkpoint that a resumed run goes on from."""
        kept = [line for line in self.metrics() if line.get("step", 0) <= step]
        self._write("metrics.jsonl", "".join(json.dumps(line) + "\n" for line in kept))

    def update(self, **fields: Any) -> None:
        """Change fields of the record, e.g. `base` or `data`, and write run.json."""
        self.record = self.record.model_copy(update=fields)
        self._save()

    def reopen(self) -> None:
        """A resumed run is running again, in this process."""
        self.update(
            status="running",
            error=None,
            ended=None,
            host=socket.gethostname(),
            process=os.getpid(),
            environment=environment(),
        )

    def finish(self, status: Status, metrics: Mapping[str, float] | None = None, error: str | None = None) -> None:
        """Record how the run ended."""
        kept = dict(metrics) if metrics is not None else self.record.metrics
        self.update(status=status, metrics=kept, error=error, ended=datetime.now(UTC))

    def _save(self) -> None:
        self._write("run.json", self.record.model_dump_json(indent=1) + "\n")

    def write(self, name: str, text: str) -> None:
        """Write a text file of the run, whole or not at all."""
        self._write(name, text)

    def _write(self, name: str, text: str) -> None:
        if not self.writes:
            return
        scratch = self.folder / f".{name}.part"
        try:
            scratch.write_text(text, encoding="utf-8")
            scratch.replace(self.folder / name)
        except OSError as error:
            raise self._full(error) from error

    def _full(self, error: OSError) -> WorkspaceError:
        return WorkspaceError(f"{self.folder}: cannot be written: {error.strerror}; make room, then go on: resume=true")


def _step(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


def new_id(recipe: str) -> str:
    """`qlora-20261121-093001-7f3a`: the recipe, the time in UTC, and four digits against a collision."""
    return f"{recipe}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.urandom(2).hex()}"


def list_runs(runs_dir: Path) -> list[Run]:
    """All readable runs, oldest first."""
    found = []
    for path in runs_dir.glob("*/run.json"):
        try:
            found.append(Run.open(path.parent))
        except InputError:
            continue
    return sorted(found, key=lambda run: run.record.started)


def rank() -> int:
    """This process's place in a launch (torchrun's RANK), 0 in a single process."""
    return int(os.environ.get("RANK", "0"))


def processes() -> int:
    """How many processes the launch has (torchrun's WORLD_SIZE), 1 for a single one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def environment() -> dict[str, str]:
    """Python, machine and the versions of the libraries that a result rests on."""
    from importlib.metadata import PackageNotFoundError, version

    found = {"python": platform.python_version(), "platform": platform.platform()}
    for name in ("torch", "transformers", "peft", "trl", "accelerate", "bitsandbytes", "datasets"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def code_version() -> str:
    """`tilth 0.1.0`, with the commit where it runs from a checkout."""
    import subprocess
    from importlib.metadata import version

    here = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return f"tilth {version('tilth')}"
    commit = done.stdout.strip()
    return f"tilth {version('tilth')} {commit}" if done.returncode == 0 and commit else f"tilth {version('tilth')}"


def share(folder: Path) -> None:
    """Give the files below a folder the modes that the umask allows: safetensors writes for the owner alone, which a container
    under another user, or a colleague, cannot read."""
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o666 & ~mask)


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"
