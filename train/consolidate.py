"""A sharded FSDP checkpoint as an adapter that PEFT, transformers and vLLM load: `train consolidate run=ID to=FOLDER`.

For a run that was killed, or a step before its last: what a finished run trained is whole already.
"""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import InputError, NotFound, WorkspaceError
from train.config import ConsolidateSettings
from train.runs import Run, share

if TYPE_CHECKING:
    import torch

SHARDS = "pytorch_model_fsdp_0"  # accelerate's name for the model's part of a checkpoint


def consolidate_command(settings: ConsolidateSettings) -> int:
    run = Run.open(settings.run, settings.runs_dir)
    written = consolidate(run, settings.to, step=settings.step)
    print(f"{written:,} tensors of run {run.id} written to {settings.to}")
    return 0


def consolidate(run: Run, to: Path, *, step: int | None = None) -> int:
    """Write the adapter that a sharded checkpoint holds, in PEFT layout, with the tokenizer where the run has one.

    Args:
        to: a folder that is not there yet, or is empty.
        step: of the checkpoint; the newest, if not given.

    Returns:
        How many tensors were written.

    Raises:
        NotFound: the run has no such checkpoint.
        InputError: the checkpoint is not sharded, or holds no adapter, or `to` is taken.
    """
    from safetensors.torch import save_file

    shards = _shards(run, step)
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to}: there is something already; give a new folder")
    tensors = {key: tensor.contiguous() for key, tensor in _whole(shards).items()}
    modules = sorted(
        {key.removeprefix("base_model.model.").partition(".lora_")[0] for key in tensors if ".lora_A" in key}
    )
    if not modules:
        raise InputError(f"{shards}: holds no adapter; go on with the run (resume=true), which writes the whole model")
    try:
        to.mkdir(parents=True, exist_ok=True)
        save_file(tensors, to / "adapter_model.safetensors", metadata={"format": "pt"})
        _config(run, modules).save_pretrained(str(to))
        _tokenizer(run, to)
        share(to)
    except OSError as error:
        raise WorkspaceError(f"{to}: cannot be written: {error.strerror or error}") from error
    return len(tensors)


def _shards(run: Run, step: int | None) -> Path:
    newest = run.last_checkpoint()
    checkpoint = run.checkpoints / f"checkpoint-{step}" if step is not None else Path(newest) if newest else None
    if checkpoint is None or not checkpoint.is_dir():
        steps = sorted(int(path.name.rpartition("-")[2]) for path in run.checkpoints.glob("checkpoint-*"))
        have = ", ".join(map(str, steps)) or "none"
        raise NotFound(f"run {run.id} has no checkpoint{f' of step {step}' if step is not None else ''}; steps: {have}")
    if not (checkpoint / SHARDS / ".metadata").is_file():
        raise InputError(
            f"{checkpoint}: not a sharded FSDP checkpoint (no {SHARDS}); other strategies' are whole as they are"
        )
    return checkpoint / SHARDS


def _whole(shards: Path) -> "dict[str, torch.Tensor]":
    """The shards put together: name to tensor, in as many bytes of memory as they have on disk."""
    import torch
    from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

    with tempfile.TemporaryDirectory(prefix="tilth-") as folder:
        path = Path(folder) / "whole.pt"
        dcp_to_torch_save(shards, path)
        loaded: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return dict(loaded["model"])


def _config(run: Run, modules: list[str]) -> Any:
    from train.arguments import lora_config

    config = lora_config(run.recipe())
    if config is None:
        raise InputError(
            f"run {run.id} trained every weight; go on with it (resume=true), which writes the whole model"
        )
    base = run.folder / "base"
    if config.target_modules == "all-linear":
        config.target_modules = modules  # PEFT writes down what that came to
    config.base_model_name_or_path = str(base) if base.is_dir() else run.record.model
    config.revision = run.record.base.revision if run.record.base else None
    config.inference_mode = True
    return config


def _tokenizer(run: Run, to: Path) -> None:
    from transformers import AutoTokenizer

    source = next(
        (path for path in (run.adapter, run.folder / "base") if (path / "tokenizer_config.json").is_file()), None
    )
    if source is not None:
        AutoTokenizer.from_pretrained(str(source)).save_pretrained(str(to))
