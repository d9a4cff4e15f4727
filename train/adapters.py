"""Trained adapters as material: found by run or folder, checked, and written where nothing was before."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.errors import InputError, NotFound, WorkspaceError
from train import base
from train.runs import Base, Run, share


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter on disk, in PEFT's layout."""

    name: str  # the run's id, else the folder as it was given
    folder: Path
    run: Run | None
    config: dict[str, Any]  # adapter_config.json
    base: Base

    @property
    def lineage(self) -> dict[str, Any]:
        """What a child's record says about it."""
        found: dict[str, Any] = {"adapter": self.name, "base": self.base.model_dump()}
        if self.run:
            record = self.run.record
            found |= {
                "run": self.run.id,
                "dataset": record.dataset_title,
                "digest": record.digest,
                "recipe": record.recipe,
            }
        return found


def open_adapter(reference: str | Path, runs_dir: Path, base_folder: str | None = None) -> Adapter:
    """The adapter of a run (id, its beginning, folder) or in a PEFT folder.

    Raises:
        NotFound: no such run or folder.
        InputError: there is no adapter in it, or its configuration cannot be read.
    """
    folder, run = Path(reference), None
    if (folder / "run.json").is_file():
        run = Run.open(folder)
    elif folder.name == "adapter" and (folder.parent / "run.json").is_file():
        run = Run.open(folder.parent)
    elif not folder.is_dir():
        run = Run.open(reference, runs_dir)
    folder = run.adapter if run else folder
    path = folder / "adapter_config.json"
    if not path.is_file():
        raise InputError(_without(reference, run))
    try:
        config = dict(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as PEFT's configuration: {error}") from error
    return Adapter(run.id if run else str(reference), folder, run, config, _base(config, run, base_folder))


def _without(reference: str | Path, run: Run | None) -> str:
    if run is None:
        return f"{reference}: no adapter_config.json in it; give a run, or a folder that PEFT wrote"
    if run.model.is_dir():
        return f"run {run.id} trained every weight (recipe {run.record.recipe}): it has a model and no adapter"
    return f"run {run.id} ({run.record.status_now}) has no adapter yet; go on with it: resume=true"


def _base(config: dict[str, Any], run: Run | None, base_folder: str | None) -> Base:
    if run and run.record.base:
        return run.record.base
    source = base_folder or str(config.get("base_model_name_or_path") or "")
    if not source:
        raise InputError("adapter_config.json names no base model; say where it is: base=FOLDER")
    digest = base.folder_digest(Path(source)) if Path(source).is_dir() else None
    return Base(name=source, revision=config.get("revision"), digest=digest)


def check_same_base(adapters: Sequence[Adapter]) -> None:
    """Refuse adapters that were trained on different models.

    Raises:
        InputError: names the two, and in what their bases differ.
    """
    first = adapters[0]
    for other in adapters[1:]:
        ours, theirs = first.base, other.base
        if ours.digest and theirs.digest:
            same = ours.digest == theirs.digest  # folders may have been moved
        else:
            same = ours.name == theirs.name and (
                not ours.revision or not theirs.revision or ours.revision == theirs.revision
            )
        if not same:
            raise InputError(
                f"{first.name} and {other.name} have different bases ({_said(ours)}; {_said(theirs)}), so their weights "
                "do not add up; train both with the same model=..."
            )


def _said(base: Base) -> str:
    pinned = base.revision or base.digest
    return base.name + (f" {pinned[:12]}" if pinned else "")


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """A scratch folder to write to, which becomes `folder` at the end; nothing is left behind if anything fails.

    Raises:
        InputError: `folder` is there and holds something.
        WorkspaceError: it cannot be written, e.g. as the disk is full.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; choose another folder, or take it away")
    scratch = folder.with_name(f".{folder.name}-{os.getpid()}")
    try:
        scratch.mkdir(parents=True)
        yield scratch
        share(scratch)
        scratch.replace(folder)
    except Exception as error:
        if (reason := _unwritable(error)) is None:
            raise
        raise WorkspaceError(f"{folder}: cannot be written: {reason}; make room or choose another folder") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unwritable(error: Exception) -> str | None:
    """safetensors and torch report a full disk as errors of their own."""
    if isinstance(error, InputError | NotFound):
        return None
    if isinstance(error, OSError) and error.errno is not None:
        return os.strerror(error.errno)
    text = str(error)
    return os.strerror(errno.ENOSPC) if "No space left" in text or "PytorchStreamWriter failed" in text else None
