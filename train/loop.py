"""What every loss does alike, once its trainer is built: train, watched and resumable; measure; save."""

from typing import Any

from train.config import RunSettings
from train.progress import Report
from train.recipes import Recipe
from train.runs import Run
from train.strategy import whole_state


def run_trainer(trainer: Any, run: Run, settings: RunSettings, report: Report) -> dict[str, float]:
    """Train, from the run's last checkpoint where it is resumed.

    Returns:
        train_loss (of the last logged steps), steps, seconds.

    Raises:
        Stopped: the user stopped it; a checkpoint was saved.
    """
    report.watch(trainer, settings.report_to)
    try:
        outcome = trainer.train(resume_from_checkpoint=run.last_checkpoint() if settings.resume else None)
    finally:
        report.close()
    report.check()
    logged = run.last("loss")
    return {
        "train_loss": float(outcome.training_loss if logged is None else logged),
        "steps": float(trainer.state.global_step),
        "seconds": round(outcome.metrics["train_runtime"], 1),
    }


def evaluated(trainer: Any, recipe: Recipe, dataset: Any) -> dict[str, float]:
    """The Trainer's measures of held-out rows after the last step; where `eval_every` had them taken there, not once more."""
    last = next((line for line in reversed(trainer.state.log_history) if "eval_loss" in line), None)
    if recipe.eval_every and last and last["step"] == trainer.state.global_step:
        return dict(last)
    found: dict[str, float] = trainer.evaluate(dataset)
    return found


def save(trainer: Any, run: Run, recipe: Recipe) -> None:
    """Write run.adapter (PEFT layout) or run.model, with the tokenizer beside it; of a sharded model the whole of it."""
    whole_state()
    trainer.save_model(str(run.adapter if recipe.lora else run.model))
