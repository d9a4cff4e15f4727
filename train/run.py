"""`train run`: a recipe and a dataset version become a run."""

import errno
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from curation.errors import InputError, NotFound, TilthError, WorkspaceError
from train import card
from train.arguments import quieten
from train.config import RunSettings
from train.data import Version, open_version
from train.interrupts import Interrupts, Stopped
from train.launch import launch, needed
from train.recipes import Recipe, load
from train.runs import Run, duration, list_runs, new_id, processes, rank

LOSSES = {"sft": "train.sft", "grpo": "train.grpo", "dpo": "train.dpo", "classifier": "train.classifier"}
# of the settings, in config.yaml
KEPT = {"dataset", "recipe", "seed", "processes", "strategy", "report_to", "workspace"}


def run_command(settings: RunSettings) -> int:
    recipe = load(settings.recipe, settings.overrides())
    if recipe.model is None and recipe.encoder is None:
        raise InputError(
            f"recipe {recipe.name!r} names no model; give model=HUB_ID, a folder, or model=tiny (a random small one)"
        )
    version = open_version(settings.dataset, settings.workspace)
    if version.format == "oasst" and recipe.loss != "sft":
        raise InputError(
            f"{version.title} is exported as oasst, one text a dialogue, and {recipe.name!r} ({recipe.loss}) learns from messages; "
            "export it with format=messages"
        )
    if needed(settings):
        begun = _unfinished(settings, recipe, version).id if settings.resume else settings.name
        return launch(settings, begun or new_id(recipe.name))
    run = _opened(settings, recipe, version)
    say = _Say(settings, run)
    smoke = " (random and small: a smoke path, no result)" if recipe.model == "tiny" else ""
    base = recipe.model or recipe.encoder
    say(f"{recipe.name} on {version.title} ({version.digest[:12]}), base {base}{smoke} · run {run.id}")
    quieten()
    interrupts = Interrupts()
    with interrupts.listen(), _recorded(run, settings):
        metrics = import_module(LOSSES[recipe.loss]).train(run, recipe, version, settings, interrupts)
        if run.writes:
            run.finish("done", metrics)
            card.write(run, recipe)
    if settings.as_json and run.writes:
        print(json.dumps({"id": run.id, "folder": str(run.folder), "metrics": metrics}))
    numbers = ", ".join(f"{name} {value:,.4g}" for name, value in metrics.items() if name != "seconds")
    say(f"{numbers} · {duration(metrics.get('seconds', 0))}\n{run.folder}", out=True)
    say(f"Next:  train show {run.id}\n       train eval run={run.id} dataset={version.title} split=test", out=True)
    return 0


class _Say:
    """Lines for people: on standard error while it trains, the result on standard output; nothing in ranks above 0."""

    def __init__(self, settings: RunSettings, run: Run) -> None:
        self.quiet = settings.as_json or not run.writes
        self.writes = run.writes

    def __call__(self, text: str, *, out: bool = False) -> None:
        if self.writes and not (out and self.quiet):
            print(text, file=sys.stdout if out else sys.stderr, flush=True)


def _opened(settings: RunSettings, recipe: Recipe, version: Version) -> Run:
    if not settings.resume:
        return Run.create(
            settings.runs_dir,
            recipe,
            version,
            seed=settings.seed,
            settings=settings.model_dump(mode="json", include=KEPT),
            name=settings.name,
        )
    run = _unfinished(settings, recipe, version)
    differing = _differing(run, recipe, version, settings.seed)
    if differing:
        raise InputError(f"run {run.id} was begun with {differing}; a resumed run keeps its settings")
    if run.record.status_now == "done":
        raise InputError(f"run {run.id} is done; there is nothing to resume")
    if run.record.status_now == "running" and processes() == 1:
        raise InputError(f"run {run.id} is still running (process {run.record.process} on {run.record.host})")
    run.writes = rank() == 0
    checkpoint = run.last_checkpoint()
    at = int(checkpoint.rpartition("-")[2]) if checkpoint else 0
    if run.writes:
        run.rewind(at)
        run.reopen()
        print(f"resuming {run.id} at step {at:,}", file=sys.stderr)
    return run


def _unfinished(settings: RunSettings, recipe: Recipe, version: Version) -> Run:
    if settings.name:
        return Run.open(settings.name, settings.runs_dir)
    for run in reversed(list_runs(settings.runs_dir)):
        if run.record.status_now in ("killed", "failed") and not _differing(run, recipe, version, settings.seed):
            return run
    raise NotFound(
        f"no unfinished run of recipe {recipe.name!r} on {version.title} with these settings in {settings.runs_dir}; "
        "name it (name=...), or start one without resume"
    )


def _differing(run: Run, recipe: Recipe, version: Version, seed: int) -> str:
    """What a run was begun with that is otherwise now, in words."""
    then, today = run.config["recipe"], recipe.model_dump(mode="json")
    pairs = {key: (then.get(key), today[key]) for key in today if key != "description"}
    pairs |= {"dataset digest": (run.record.digest[:12], version.digest[:12]), "seed": (run.record.seed, seed)}
    return ", ".join(f"{key}={old} (now {new})" for key, (old, new) in pairs.items() if old != new)


@contextmanager
def _recorded(run: Run, settings: RunSettings) -> Iterator[None]:
    """However the training ends, the run says how; what the libraries raise is put in one line."""
    again = f"train run dataset={settings.dataset} recipe={settings.recipe} ... name={run.id} resume=true"
    try:
        yield
    except Stopped as stopped:
        _finish(run, "killed", str(stopped))
        raise Stopped(f"{stopped}; go on with the same words and: name={run.id} resume=true") from None
    except KeyboardInterrupt:
        _finish(run, "killed", "interrupted")
        at = "from its last checkpoint" if run.last_checkpoint() else "from the start, as there is no checkpoint yet"
        raise Stopped(f"interrupted; go on {at}: {again}") from None
    except Exception as error:
        translated = _translated(error, run)
        _finish(run, "failed", str(translated or error).split("\n", 1)[0])
        if translated is None:
            raise
        raise translated from error


def _finish(run: Run, status: Any, error: str) -> None:
    try:
        run.finish(status, error=error)
    except WorkspaceError:
        print(
            f"{run.folder}: run.json cannot be written", file=sys.stderr
        )  # the disk is full: the first error says why


def _translated(error: Exception, run: Run) -> TilthError | None:
    """The error in our words, None if it is one that nobody foresaw."""
    import torch

    text = str(error)
    if isinstance(error, TilthError):
        return error
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in text:
        return InputError(
            "out of memory; try a smaller batch_size (with a larger accumulate), a smaller max_length, "
            "gradient_checkpointing=true, or recipe=qlora"
        )
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    if full or "No space left" in text or "PytorchStreamWriter failed" in text:
        return WorkspaceError(
            f"{run.folder}: cannot be written: the disk is full; make room, then: name={run.id} resume=true"
        )
    if isinstance(error, ImportError):
        return InputError(
            f"a library is missing: {text.splitlines()[0]}; pip install 'tilth[train]', or change report_to"
        )
    return None
