"""`train quantize`: GPTQ on the conversations of a dataset version, and what it cost in perplexity.

The result is in compressed-tensors' layout: transformers loads it where `compressed-tensors` is installed, vLLM as it is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import InputError
from train import base
from train.adapters import fresh
from train.config import QuantizeSettings
from train.data import Version, chat, open_version, rows
from train.encode import fit, render
from train.measuring import spread
from train.merge import merged
from train.runs import Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a quantisation came to."""

    folder: Path
    source: str
    layers: int  # linear modules in integers
    share: float  # of the model's parameters
    error: float  # mean relative squared error of the layers' outputs
    perplexity: tuple[float, float]  # before, after, a token
    bytes: tuple[int, int]  # of the weights, before (in `dtype`) and after (on disk)


def quantize(settings: QuantizeSettings, progress: Callable[[int, int], None]) -> Outcome:
    """Quantise, write, load what was written with plain transformers, and measure that.

    Args:
        progress: called with (layers done, layers).

    Raises:
        NotFound: no such run, model, dataset or split.
        InputError: neither or both of run and model; `group_size` fits no layer; compressed-tensors is missing.
        WorkspaceError: the folder cannot be written.
    """
    from train import gptq, packed

    if (settings.run is None) == (settings.model is None):
        raise InputError("give run=ID or model=FOLDER" + ("" if settings.run is None else ", not both"))
    _check_reader()
    version = open_version(settings.calibration, settings.workspace)
    rows(version, settings.split), rows(version, settings.evaluate)
    with fresh(_target(settings)) as scratch:
        model, tokenizer, source = _whole(settings)
        calibration = conversations(version, settings.split, tokenizer, settings.n, settings.max_length)
        held_out = conversations(version, settings.evaluate, tokenizer, settings.n, settings.max_length)
        before = perplexity(model, held_out)
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        done = gptq.quantize_model(
            model, calibration, bits=settings.bits, group_size=settings.group_size, progress=progress
        )
        packed.save(
            model, done, scratch, bits=settings.bits, group_size=settings.group_size, shard_size=settings.shard_size
        )
        tokenizer.save_pretrained(scratch)
        del model
        outcome = Outcome(
            folder=_target(settings),
            source=source,
            layers=len(done),
            share=sum(sizes[f"{name}.weight"] for name in done) / sum(sizes.values()),
            error=sum(one.error for one in done.values()) / len(done),
            perplexity=(before, perplexity(_reloaded(scratch, settings.dtype), held_out)),
            bytes=(
                sum(sizes.values()) * (2 if settings.dtype == "bf16" else 4),
                sum(path.stat().st_size for path in scratch.glob("*.safetensors")),
            ),
        )
        (scratch / "README.md").write_text(_card(outcome, settings, version), encoding="utf-8")
    return outcome


def _check_reader() -> None:
    from importlib.util import find_spec

    if find_spec("compressed_tensors") is None:
        raise InputError("reading quantised weights needs compressed-tensors; pip install 'tilth[train]'")


def _target(settings: QuantizeSettings) -> Path:
    if settings.to:
        return settings.to
    if settings.run is None:
        raise InputError("say where the quantised model goes: to=FOLDER")
    if (Path(settings.run) / "adapter_config.json").is_file():
        raise InputError(f"{settings.run} is no run's folder; say where the quantised model goes: to=FOLDER")
    return Run.open(settings.run, settings.runs_dir).folder / "quantized"


def _whole(settings: QuantizeSettings) -> "tuple[Any, PreTrainedTokenizerBase, str]":
    """The model to quantise, its tokenizer, and where it comes from."""
    whole = _whole_run(settings) if settings.run else settings.model
    if whole is None:
        assert settings.run
        made = merged(settings.run, runs_dir=settings.runs_dir, dtype=settings.dtype, base_folder=settings.base)
        return made.model, made.tokenizer, f"{made.adapter.name}, merged into {made.adapter.base.name}"
    reference = str(whole)
    model, tokenizer, what = base.load_for_inference(
        reference, runs_dir=settings.runs_dir, precision=settings.dtype, quantization="none"
    )
    if hasattr(model, "peft_config"):
        raise InputError(f"model={reference} is an adapter; give it as run={reference}")
    if getattr(model.config, "quantization_config", None) is not None:
        raise InputError(f"model={reference} is quantised already")
    return model, tokenizer, what.name


def _whole_run(settings: QuantizeSettings) -> Path | None:
    """The folder of a run that trained every weight."""
    if (Path(str(settings.run)) / "adapter_config.json").is_file():
        return None
    run = Run.open(str(settings.run), settings.runs_dir)
    return run.folder if run.model.is_dir() else None


def conversations(
    version: Version, split: str, tokenizer: "PreTrainedTokenizerBase", n: int, max_length: int
) -> list[list[int]]:
    """Up to n conversations of a split, spread over it evenly, as token ids."""
    ids = [render(tokenizer, fit(chat(row), tokenizer, max_length))[:max_length] for row in spread(version, split, n)]
    return [one for one in ids if len(one) > 1]


def perplexity(model: Any, held_out: Sequence[Sequence[int]]) -> float:
    """exp of the mean negative log-likelihood of every token but each row's first."""
    import torch

    total, tokens = 0.0, 0
    with torch.no_grad():
        for row in held_out:
            ids = torch.tensor([list(row)], device=model.device)
            scores = model(input_ids=ids, use_cache=False).logits[0, :-1].float()
            total += float(torch.nn.functional.cross_entropy(scores, ids[0, 1:], reduction="sum"))
            tokens += len(row) - 1
    return math.exp(total / tokens)


def _reloaded(folder: Path, dtype: base.Precision) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    kind = torch.bfloat16 if dtype == "bf16" else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=kind)
    return model.eval()


def _card(outcome: Outcome, settings: QuantizeSettings, version: Version) -> str:
    before, after = outcome.perplexity
    large, small = outcome.bytes
    return (
        f"---\nbase_model: {outcome.source}\ntags: [tilth, gptq, compressed-tensors]\n---\n\n# {outcome.folder.name}\n\n"
        f"GPTQ (arXiv:2210.17323), {settings.bits} bits in groups of {settings.group_size}, of {outcome.source}.\n"
        "Loads in transformers with compressed-tensors installed.\n\n"
        "| | before | after |\n|---|---|---|\n"
        f"| perplexity on {version.title}, split {settings.evaluate} | {before:.4f} | {after:.4f} |\n"
        f"| weights, MB | {large / 1e6:,.2f} ({settings.dtype}) | {small / 1e6:,.2f} |\n\n"
        f"- calibrated on {version.title}, split {settings.split}, at most {settings.n} conversations of at most "
        f"{settings.max_length} tokens; manifest sha256 `{version.digest}`\n"
        f"- {outcome.layers} linear layers in integers, {outcome.share:.0%} of the parameters; embeddings and head as they were\n"
        f"- mean relative squared error of a layer's output: {outcome.error:.2g}\n"
    )
