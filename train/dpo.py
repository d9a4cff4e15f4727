"""DPO: the chosen answer is made likelier than the rejected one, measured against the base model.

Source: Rafailov et al. 2023 (arXiv:2305.18290), over TRL's DPOTrainer. With adapters the base itself is the reference.
"""

from typing import Any

from curation.errors import InputError
from train.arguments import lora_config, trainer_options
from train.base import load_base
from train.config import RunSettings
from train.data import Turn, Version, rows
from train.encode import fit
from train.interrupts import Interrupts
from train.loop import evaluated, run_trainer, save
from train.progress import Report
from train.recipes import Recipe
from train.resume import SamePrecision
from train.runs import Run

BETA = 0.1
LOGGED = {"rewards/margins": "margin", "rewards/accuracies": "accuracy"}


def train(
    run: Run, recipe: Recipe, version: Version, settings: RunSettings, interrupts: Interrupts | None = None
) -> dict[str, float]:
    """Train `recipe` on the version's preferences; evaluate on its validation split, where it has one.

    Writes run.adapter (PEFT layout) or run.model, with the tokenizer beside it.

    Returns:
        train_loss, margin (beta times the log-ratio of chosen over rejected, less the base's; nats), accuracy (share of
        pairs whose margin is positive), each of the last logged steps, eval_loss, eval_margin, eval_accuracy, steps, seconds.

    Raises:
        InputError: the version holds no preferences, or the model cannot be used.
        Stopped: the user stopped it; a checkpoint was saved.
    """
    from transformers import set_seed
    from trl import DPOConfig, DPOTrainer

    assert recipe.model is not None
    if version.format != "preference":
        raise InputError(
            f"{version.title} is exported as {version.format}, and dpo learns from preferences; "
            f"export it again: curate export {version.name} format=preference"
        )
    model, tokenizer, base = load_base(recipe.model, recipe, version, seed=settings.seed, folder=run.folder / "base")
    run.update(base=base)

    learnt, cut = preferences(version, "train", tokenizer, recipe.max_length)
    held_out = (
        preferences(version, "validation", tokenizer, recipe.max_length)[0]
        if version.splits.get("validation")
        else None
    )
    run.update(data={"examples": len(learnt), "used": len(learnt), "cut": cut})

    report = Report(run, interrupts or Interrupts())
    options: dict[str, Any] = trainer_options(run, recipe, settings) | {
        "max_length": recipe.max_length,
        "beta": BETA if recipe.beta is None else recipe.beta,
        "disable_dropout": True,
    }

    class Trainer(SamePrecision, DPOTrainer):
        pass

    set_seed(settings.seed)  # before the adapters get their first weights
    trainer = Trainer(
        model=model,
        args=DPOConfig(**options),
        train_dataset=learnt,
        eval_dataset=held_out if recipe.eval_every else None,
        processing_class=tokenizer,
        peft_config=lora_config(recipe),
    )
    metrics = run_trainer(trainer, run, settings, report)
    metrics |= {name: float(value) for key, name in LOGGED.items() if (value := run.last(key)) is not None}
    if held_out:
        measured = evaluated(trainer, recipe, _prepared(trainer, held_out))
        metrics |= {"eval_loss": measured["eval_loss"]}
        metrics |= {f"eval_{name}": measured[f"eval_{key}"] for key, name in LOGGED.items()}
    save(trainer, run, recipe)
    return metrics


def _prepared(trainer: Any, held_out: Any) -> Any:
    """TRL tokenises only the datasets that its trainer was built with."""
    if trainer.eval_dataset is not None:
        return trainer.eval_dataset
    return trainer._prepare_dataset(held_out, trainer.processing_class, trainer.args, "eval")


def preferences(version: Version, split: str, tokenizer: Any, max_length: int) -> tuple[Any, int]:
    """A split as `prompt`, `chosen` and `rejected` conversations, and how many were cut.

    The prompt is cut, the longer answer staying whole, so that a pair's conversations have at most `max_length` tokens.
    """
    import datasets

    pairs, cut = [], 0
    for row in rows(version, split):
        asked: Turn = {"role": "user", "content": row["prompt"]}
        longer = max(row["chosen"], row["rejected"], key=len)
        fitted = fit([asked, {"role": "assistant", "content": longer}], tokenizer, max_length)[0]
        cut += fitted != asked
        answers = ({"role": "assistant", "content": row[name]} for name in ("chosen", "rejected"))
        chosen, rejected = ([answer] for answer in answers)
        pairs.append({"prompt": [fitted], "chosen": chosen, "rejected": rejected})
    return datasets.Dataset.from_list(pairs), cut
