"""Utility by the language model evaluation harness (EleutherAI lm-eval), on local tasks: no data is downloaded."""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from curation.errors import InputError, did_you_mean
from train.config import EvalSettings

if TYPE_CHECKING:
    from train.subjects import Subject


def utility(subject: "Subject", settings: EvalSettings) -> dict[str, Any]:
    """Results of `settings.tasks`.

    Returns:
        `{"skipped": why}`, or `{"tasks": {NAME: {metric: value, metric + "_stderr": value}}}`.

    Raises:
        InputError: a task is not there, or cannot be run without a network.
    """
    if not settings.tasks:
        return {"skipped": "no tasks were named; tasks=[NAME] tasks_dir=FOLDER"}
    if subject.is_classifier:
        return {"skipped": "a classifier has no general abilities to measure"}
    if find_spec("lm_eval") is None:
        return {"skipped": "the harness is not installed; pip install 'tilth[harness]'"}
    if settings.tasks_dir is not None and not settings.tasks_dir.is_dir():
        raise InputError(f"tasks_dir={settings.tasks_dir}: no such folder")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # before the harness reads it: a task must not fetch anything
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    tasks = TaskManager(include_path=str(settings.tasks_dir) if settings.tasks_dir else None)
    for name in settings.tasks:
        if name not in tasks.all_tasks:
            raise InputError(f"tasks={name}: the harness has no such task.{did_you_mean(name, tasks.all_tasks)}")
    try:
        found: Any = simple_evaluate(
            model=HFLM(pretrained=subject.model, tokenizer=subject.tokenizer, batch_size=8),
            tasks=list(settings.tasks), task_manager=tasks, bootstrap_iters=0, random_seed=settings.seed, verbosity="ERROR",
        )  # fmt: skip
    except (OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(
            f"tasks={list(settings.tasks)}: cannot be run: {reason}; tasks and their data must be local"
        ) from error
    return {"tasks": {name: _numbers(values) for name, values in found["results"].items()}}


def _numbers(values: dict[str, Any]) -> dict[str, float]:
    """`acc,none` is `acc`."""
    return {key.removesuffix(",none"): float(value) for key, value in values.items() if isinstance(value, int | float)}
