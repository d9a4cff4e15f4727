"""What every loss tells transformers' Trainer in the same words."""

import math
import os
from typing import TYPE_CHECKING, Any

from curation.errors import InputError
from train.config import RunSettings
from train.recipes import Recipe
from train.runs import Run, processes
from train.strategy import strategy_options

if TYPE_CHECKING:
    from peft import LoraConfig


def trainer_options(run: Run, recipe: Recipe, settings: RunSettings) -> dict[str, Any]:
    """Keyword arguments for TrainingArguments and its kin (SFTConfig, GRPOConfig, DPOConfig)."""
    import torch

    cpu = not torch.cuda.is_available()
    options: dict[str, Any] = {
        "output_dir": str(run.checkpoints),
        "seed": settings.seed,
        "data_seed": settings.seed,
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "per_device_train_batch_size": recipe.batch_size,
        "per_device_eval_batch_size": recipe.batch_size,
        "gradient_accumulation_steps": recipe.accumulate,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": recipe.schedule,
        "warmup_steps": recipe.warmup_ratio,  # below 1 it is a share of all steps
        "weight_decay": recipe.weight_decay,
        "max_grad_norm": recipe.max_grad_norm,
        "optim": recipe.optimiser,
        "bf16": recipe.precision == "bf16",
        "gradient_checkpointing": recipe.gradient_checkpointing,
        "use_cpu": cpu,
        "dataloader_pin_memory": not cpu,
        "logging_steps": recipe.log_every,
        "logging_first_step": True,
        "logging_nan_inf_filter": False,
        "include_num_input_tokens_seen": "non_padding",
        "save_strategy": "steps",
        "save_steps": recipe.save_every,
        "save_total_limit": recipe.keep_checkpoints,
        "eval_strategy": "steps" if recipe.eval_every else "no",
        "eval_steps": recipe.eval_every,
        # Report.watch() brings TensorBoard, as its folder can be chosen there
        "report_to": [name for name in settings.report_to if name not in ("none", "tensorboard")] or "none",
        "run_name": run.id,
        "disable_tqdm": True,
    }
    return options | strategy_options(settings.strategy, options, processes=processes())


def quieten() -> None:
    """Keep the libraries' own bars, notices and repeated advice out of ours; their errors still come through.

    To be called before they are imported: bitsandbytes prints as it is.

    Raises:
        InputError: the libraries for training are not installed.
    """
    import logging
    import warnings

    os.environ.setdefault("TQDM_DISABLE", "1")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    try:
        import datasets
        import transformers
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        raise InputError(f"{error.name} is missing; pip install 'tilth[train]'") from error

    datasets.disable_progress_bars()
    disable_progress_bars()
    transformers.utils.logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers.utils.logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for message in (".*is deprecated and will be removed in v6.*", "Paged optimizers are not supported on CPU.*"):
        warnings.filterwarnings("ignore", message)


def lora_config(recipe: Recipe, task: str = "CAUSAL_LM") -> "LoraConfig | None":
    """The recipe's adapters for PEFT; None trains every weight."""
    from peft import LoraConfig

    if recipe.lora is None:
        return None
    targets = recipe.lora.targets
    alpha = recipe.lora.alpha
    return LoraConfig(
        r=recipe.lora.rank,
        lora_alpha=int(alpha) if math.floor(alpha) == alpha else alpha,  # type: ignore[arg-type]
        lora_dropout=recipe.lora.dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        modules_to_save=list(recipe.lora.whole) or None,
        task_type=task,  # PEFT takes the name
    )
