"""Recipes: what is trained and how, one YAML file each, named like its stem.

Looked up as: an explicit path, `./recipes`, the built-in ones. A file of an earlier place shadows one of a later place.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from curation import library
from curation.errors import InputError
from curation.library import Broken
from curation.settings import describe

BUILT_IN = Path(__file__).parent / "recipes"

Loss = Literal["sft", "grpo", "dpo", "classifier"]
Optimiser = Literal[
    "adamw_torch", "adamw_torch_fused", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "adafactor", "sgd"
]


class Lora(BaseModel):
    """Low-rank adapters (Hu et al. 2021, arXiv:2106.09685): W + alpha / rank * B A, where A and B are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: tuple[str, ...] | Literal["all-linear"] = "all-linear"  # "all-linear": every linear layer but the head
    whole: tuple[str, ...] = ()  # modules trained whole beside the adapters, e.g. [lm_head]; vLLM takes none of these


class Knobs(BaseModel):
    """The fields of a recipe, which a command line may give too. The defaults hold where a recipe is silent."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    loss: Loss = "sft"
    """What is minimised: sft, grpo, dpo or classifier."""
    description: str = ""
    """One line for `train ls`."""
    model: str | None = None
    """The base model: a hub id, a folder, or `tiny` for a random small one made on the spot (a smoke path)."""
    revision: str | None = None
    """The base model's commit on the hub; the newest, if not given. A run records which it was."""
    quantization: Literal["nf4", "none"] = "none"
    """nf4: the base is held in 4 bits with double quantisation (QLoRA, arXiv:2305.14314)."""
    lora: Lora | None = None
    """Adapters: lora.rank, lora.alpha, lora.dropout, lora.targets, lora.whole; null trains every weight."""
    learning_rate: float = Field(default=2e-4, gt=0)
    """The highest learning rate of the schedule."""
    schedule: Literal["linear", "cosine", "constant", "constant_with_warmup"] = "cosine"
    """How the learning rate falls."""
    warmup_ratio: float = Field(default=0.03, ge=0, lt=1)
    """The share of all steps over which the learning rate rises."""
    epochs: float = Field(default=1.0, gt=0)
    """How often each example is seen."""
    max_steps: int | None = Field(default=None, ge=1)
    """Optimiser steps; rules out epochs where given."""
    batch_size: int = Field(default=8, ge=1)
    """Examples a step and process (packed rows, where packing is on)."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients are added up before one optimiser step."""
    max_length: int = Field(default=1024, ge=16)
    """Tokens an example may have; of longer ones the user's text is cut, so that the answer stays."""
    packing: bool = False
    """Fill rows of max_length with several examples (best-fit decreasing), kept apart by their positions."""
    group_by_length: bool = False
    """Batch examples of like length, so that less is padded; for where packing is off."""
    assistant_only: bool = True
    """Learn from the assistant's turns alone, not from the prompt."""
    gradient_checkpointing: bool = True
    """Compute activations again in the backward pass: less memory, about a third more time."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """The arithmetic of the forward pass."""
    optimiser: Optimiser = "adamw_torch"
    """An optimiser of transformers' Trainer."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    eval_every: int | None = Field(default=None, ge=1)
    """Steps between evaluations on the validation split; one at the end in any case."""
    save_every: int = Field(default=200, ge=1)
    """Steps between checkpoints."""
    log_every: int = Field(default=10, ge=1)
    """Steps between lines of metrics."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of the newest checkpoints stay on disk."""
    beta: float | None = Field(default=None, ge=0)
    """The weight of the distance to the base model (dpo, grpo)."""
    rewards: dict[str, float] = {}
    """Reward functions and their weights (grpo)."""
    num_generations: int = Field(default=8, ge=2)
    """Answers drawn for a prompt (grpo)."""
    max_completion: int = Field(default=64, ge=1)
    """Tokens of a drawn answer (grpo)."""
    temperature: float = Field(default=1.0, gt=0)
    """Of the draws (grpo)."""
    encoder: str | None = None
    """The text encoder: a hub id, a folder, tiny or minilm, where no model is given (classifier)."""
    word_dropout: float = Field(default=0.0, ge=0, lt=1)
    """The share of tokens that is hidden in each step (classifier)."""


class Recipe(Knobs):
    """A recipe as it is trained: file and overrides together."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    loss: Loss

    @model_validator(mode="after")
    def _fits_together(self) -> "Recipe":
        if self.quantization == "nf4" and self.lora is None:
            raise ValueError("quantization=nf4 holds the base in 4 bits, which cannot be trained; give lora.rank=16")
        if self.packing and self.group_by_length:
            raise ValueError("packing=true leaves nothing to group; choose packing or group_by_length")
        return self


def folders() -> list[Path]:
    """Where recipes are looked up, the first wins."""
    return [Path("recipes"), BUILT_IN] if Path("recipes").is_dir() else [BUILT_IN]


def load(name_or_path: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """A recipe with the overrides on top; those of `lora` are merged, `lora: None` takes the adapters away.

    Raises:
        NotFound: no such recipe (names the nearest).
        InputError: the file is broken, or a field is unknown or of the wrong type.
    """
    entry = library.find(name_or_path, folders(), kind="recipe")
    data = library.read_yaml(entry.path)
    for key, value in (overrides or {}).items():
        both = isinstance(value, Mapping) and isinstance(data.get(key), Mapping)
        data[key] = {**data[key], **value} if both and key != "rewards" else value
    try:
        return Recipe(**{**data, "name": entry.name})
    except ValidationError as error:
        raise InputError(f"{entry.path}: {describe(error, Recipe)}") from error


def load_all() -> list[Recipe | Broken]:
    """Every recipe that can be named; what cannot be read is listed as broken."""
    found: list[Recipe | Broken] = []
    for entry in library.entries(folders()).values():
        try:
            found.append(load(entry.name))
        except InputError as error:
            found.append(Broken(entry.name, entry.path, str(error)))
    return found
