"""`train fuse sweep=true`: methods x weights, each candidate measured for harmfulness, over-refusal and utility.

Harmfulness is the share of harmful requests that are not refused, over-refusal the share of harmless ones that are; a refusal
is known by its opening words (`train.metrics.safety`, with its limits). Measurements are appended to candidates.jsonl as they
are made, and read back when the sweep is run again.
"""

import hashlib
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from curation.errors import InputError, WorkspaceError
from curation.records import canonical_json
from train import fuse, plots
from train.adapters import Adapter
from train.config import FuseMethod, FuseSettings
from train.data import Version, open_version, rows
from train.frontier import Measured, choose, pareto_set, write_table
from train.fuse import Fused, Opened
from train.measuring import HARNESS, refusal_rate, utility_of

FIFTHS = 5


@dataclass(frozen=True, slots=True)
class Frontier:
    """What a sweep found."""

    folder: Path
    candidates: tuple[Measured, ...]
    references: tuple[Measured, ...]
    pareto: frozenset[str]
    chosen: Measured
    rule: str
    made: Fused


@dataclass(frozen=True, slots=True)
class Versions:
    """What candidates are measured on."""

    harmful: Version
    benign: Version
    utility: Version | None  # None: a task of lm-eval


def sweep(settings: FuseSettings, progress: Callable[[int, int, Measured], None]) -> Frontier:
    """Measure what is not measured yet, write frontier.csv and frontier.png, and keep the chosen candidate as a run.

    Args:
        progress: called with (done, all, the one just measured).

    Raises:
        NotFound: no such run, dataset or split, or `choose` names no candidate.
        InputError: as `fuse`; no dataset version for a measure; or no candidate satisfies the rule.
        WorkspaceError: the folder cannot be written.
    """
    adapters = fuse.chosen(settings)
    versions = versions_of(settings)
    plan: list[tuple[str, tuple[float, ...]]] = [
        (method, weights) for method in settings.methods for weights in settings.grid or splits_of_one(len(adapters))
    ]
    for method, weights in plan:
        fuse.check(adapters, weights, method)
    key = _key(settings, adapters, versions)
    name = settings.name or f"sweep-{key[:10]}"
    folder = settings.runs_dir / name
    if folder.exists() and not (folder / "candidates.jsonl").is_file():
        raise InputError(f"{folder}: is there already, and no sweep; choose another name")
    with _room(folder):
        known = _read_back(folder, key)
        opened = fuse.open_all(adapters, settings)
        found: list[Measured] = []
        wanted = [*_references(len(adapters)), *plan]
        for at, (method, weights) in enumerate(wanted, 1):
            title = label(method, weights)
            one = known.get(title) or measure(opened, method, weights, versions, settings)
            if title not in known:
                _append(folder, key, one)
            found.append(one)
            progress(at, len(wanted), one)
        references, candidates = found[: len(wanted) - len(plan)], found[len(wanted) - len(plan) :]
        pareto = pareto_set(candidates)
        chosen, rule = None, ""
        try:
            chosen, rule = choose(candidates, settings)
        finally:
            write_table(folder, candidates, references, pareto, chosen)
            plots.frontier(folder / "frontier.png", candidates, references, pareto, chosen)
        made = _keep(folder, name, opened, chosen, settings)
    return Frontier(folder, tuple(candidates), tuple(references), pareto, chosen, rule, made)


def versions_of(settings: FuseSettings) -> Versions:
    """Open what the settings name; refuse what has no requests in it, before anything is loaded."""
    given = {"harmful": settings.harmful, "benign": settings.benign, "utility": settings.utility}
    if missing := [key for key, value in given.items() if not value]:
        raise InputError(
            f"a sweep measures on dataset versions; give {' and '.join(f'{key}=NAME@N' for key in missing)}"
        )
    harness = str(settings.utility).startswith(HARNESS)
    opened = {
        key: open_version(str(value), settings.workspace)
        for key, value in given.items()
        if key != "utility" or not harness
    }
    for key, version in opened.items():
        rows(version, settings.split)
        if key != "utility" and version.format == "text-classification":
            raise InputError(f"{key}={version.title}: its rows are texts, not requests; export it with format=messages")
    return Versions(opened["harmful"], opened["benign"], opened.get("utility"))


def splits_of_one(n: int) -> list[tuple[float, ...]]:
    """Every way to share 1 among n adapters in fifths, each getting some; equal shares where n is more than 4."""
    if n >= FIFTHS:
        return [(1 / n,) * n]
    parts = itertools.product(range(1, FIFTHS), repeat=n)
    return [tuple(part / FIFTHS for part in one) for one in parts if sum(one) == FIFTHS]


def _references(n: int) -> list[tuple[str, tuple[float, ...]]]:
    alone = [("alone", tuple(float(at == other) for other in range(n))) for at in range(n)]
    return [("base", (0.0,) * n), *alone]


def label(method: str, weights: Sequence[float]) -> str:
    """A candidate's name: `cat:0.6,0.4`."""
    return f"{method}:{','.join(f'{weight:g}' for weight in weights)}"


def _key(settings: FuseSettings, adapters: Sequence[Adapter], versions: Versions) -> str:
    """What a measurement depends on, beside method and weights."""
    weights = [hashlib.sha256((one.folder / "adapter_model.safetensors").read_bytes()).hexdigest() for one in adapters]
    data = [
        version.digest if version else settings.utility
        for version in (versions.harmful, versions.benign, versions.utility)
    ]
    named = settings.model_dump(
        mode="json", include={"density", "rank", "seed", "quantization", "split", "n", "max_completion", "tasks_dir"}
    )
    return hashlib.sha256(canonical_json([weights, adapters[0].base.model_dump(), data, named]).encode()).hexdigest()


def _read_back(folder: Path, key: str) -> dict[str, Measured]:
    """What an earlier sweep measured; a line that a kill cut off is left out."""
    path = folder / "candidates.jsonl"
    lines = path.read_text(encoding="utf-8").split("\n")[:-1] if path.is_file() else []
    said = [json.loads(line) for line in lines if line]
    own = [{**one["measured"], "weights": tuple(one["measured"]["weights"])} for one in said if one["key"] == key]
    return {one["candidate"]: Measured(**one) for one in own}


def _append(folder: Path, key: str, one: Measured) -> None:
    path = folder / "candidates.jsonl"
    whole = path.read_bytes() if path.is_file() else b""
    if whole and not whole.endswith(b"\n"):
        path.write_bytes(whole[: whole.rfind(b"\n") + 1])
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"key": key, "measured": asdict(one)}) + "\n")


def measure(
    opened: Opened, method: Any, weights: tuple[float, ...], versions: Versions, settings: FuseSettings
) -> Measured:
    """Measure one candidate (or `alone`, or `base`)."""
    started = time.monotonic()
    with _switched(opened, method, weights, settings) as rank:
        harmful, benign = (refusal_rate(opened, version, settings) for version in (versions.harmful, versions.benign))
        utility = utility_of(opened, versions.utility, settings)
        error = 0.0 if method in ("base", "alone") else fuse.delta_error(opened, weights)
    seconds = round(time.monotonic() - started, 3)
    return Measured(label(method, weights), method, weights, 1 - harmful, benign, utility, rank, error, seconds)


@contextmanager
def _switched(opened: Opened, method: Any, weights: tuple[float, ...], settings: FuseSettings) -> Iterator[int]:
    """The model as the candidate; yields the rank of its adapter."""
    if method == "base":
        with opened.model.disable_adapter():
            yield 0
    elif method == "alone":
        name = opened.names[weights.index(1.0)]
        opened.model.set_adapter(name)
        yield opened.model.peft_config[name].r
    else:
        fuse.combine(opened, weights, method, settings)
        yield opened.model.peft_config[fuse.FUSED].r


def _keep(folder: Path, name: str, opened: Opened, chosen: Measured, settings: FuseSettings) -> Fused:
    """Write the chosen one as the run's adapter, in place of an earlier choice."""
    method: FuseMethod = chosen.method  # type: ignore[assignment]
    fuse.combine(opened, chosen.weights, method, settings)
    for stale in ("adapter", ".peft"):
        shutil.rmtree(folder / stale, ignore_errors=True)
    measured = {"harmfulness": chosen.harmfulness, "over_refusal": chosen.over_refusal, "utility": chosen.utility}
    return fuse.save(folder, name, opened, chosen.weights, method, settings, measured)


@contextmanager
def _room(folder: Path) -> Iterator[None]:
    """A sweep's folder stays when the sweep is stopped: what was measured is read back."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "candidates.jsonl").touch()
        yield
    except OSError as error:
        if isinstance(error, WorkspaceError | InputError):
            raise
        raise WorkspaceError(
            f"{folder}: cannot be written: {error.strerror or error}; make room, then run it again: it goes on"
        ) from error
