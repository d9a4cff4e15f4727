"""GRPO: answers are drawn in groups, scored by the recipe's rewards, and better than the group's mean is made likelier.

Source: Shao et al. 2024 (arXiv:2402.03300), over TRL's GRPOTrainer, which draws with transformers in this process.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any

import torch
from trl import GRPOConfig, GRPOTrainer

from curation.errors import InputError
from curation.records import MODERATOR
from train import plots
from train.arguments import lora_config, trainer_options
from train.base import load_base
from train.config import RunSettings
from train.data import Turn, Version, chat, rows
from train.encode import fit, render
from train.interrupts import Interrupts
from train.loop import evaluated, run_trainer, save
from train.progress import Report
from train.recipes import Recipe
from train.resume import SamePrecision
from train.rewards import Reward, Tally, resolve, text_of
from train.runs import Run

HELD_OUT = 64  # prompts of the validation split that are answered and scored at the end

_FORM = (
    "First reason in a few sentences, then answer, in exactly this form:\n"
    "<reasoning>\n...\n</reasoning>\n<answer>\n...\n</answer>"
)
MODERATE = (
    "You moderate posts, memes and marketplace listings. Name in your reasoning the policy that is at issue. The answer is one "
    'JSON object: {"label": "allowed" or "disallowed", "category": ..., "severity": 0 to 3}.\n' + _FORM
)
REPLY = (
    "You are a helpful assistant that refuses what would harm people, and only that. The answer is your reply.\n"
    + _FORM
)


def train(
    run: Run, recipe: Recipe, version: Version, settings: RunSettings, interrupts: Interrupts | None = None
) -> dict[str, float]:
    """Train `recipe` on the prompts of the version's train split; the rewards of held-out prompts at the end.

    Writes run.adapter (PEFT layout) or run.model, with the tokenizer beside it, and rewards.png.

    Returns:
        reward (weighted sum, of the last logged steps), reward/NAME, unscored/NAME (completions, of all steps), eval_reward,
        train_loss, steps, tokens, seconds.

    Raises:
        InputError: the data, the model or the rewards cannot be used, or the batch does not hold whole groups.
        Stopped: the user stopped it; a checkpoint was saved.
    """
    from transformers import set_seed

    assert recipe.model is not None
    rewards = resolve(recipe.rewards)
    _check_groups(recipe, settings.processes)
    model, tokenizer, base = load_base(recipe.model, recipe, version, seed=settings.seed, folder=run.folder / "base")
    run.update(base=base)

    learnt = prompts(version, "train", tokenizer, recipe.max_length)
    held_out = (
        prompts(version, "validation", tokenizer, recipe.max_length) if version.splits.get("validation") else None
    )
    run.update(data={"examples": len(learnt), "used": len(learnt)})

    report = Report(run, interrupts or Interrupts())
    tally = Tally()
    options: dict[str, Any] = trainer_options(run, recipe, settings) | {
        "include_num_input_tokens_seen": "no",  # the trainer counts the tokens that it draws itself
        "num_generations": recipe.num_generations,
        "per_device_eval_batch_size": recipe.batch_size * recipe.accumulate,
        "max_completion_length": recipe.max_completion,
        "temperature": recipe.temperature,
        "beta": recipe.beta or 0.0,
        "reward_weights": [weight for _, weight in rewards.values()],
        "disable_dropout": True,
    }
    set_seed(settings.seed)  # before the adapters get their first weights
    trainer = _Trainer(
        model=model,
        reward_funcs=[_asked_by_trl(name, reward, tally) for name, (reward, _) in rewards.items()],
        args=GRPOConfig(**options),
        train_dataset=learnt,
        eval_dataset=held_out if recipe.eval_every else None,
        processing_class=tokenizer,
        peft_config=lora_config(recipe),
    )
    metrics = run_trainer(trainer, run, settings, report)
    lines = [line for line in run.metrics() if "loss" in line]
    metrics["tokens"] = float(trainer.state.num_input_tokens_seen)
    for name in ("reward", *(f"reward/{name}" for name in rewards)):
        if (value := run.last(name)) is not None:
            metrics[name] = float(value)
    metrics |= {f"unscored/{name}": sum(line.get(f"unscored/{name}", 0) for line in lines) for name in rewards}
    if held_out:
        some = held_out.select(range(min(HELD_OUT, len(held_out))))
        metrics["eval_reward"] = evaluated(trainer, recipe, some)["eval_reward"]
    save(trainer, run, recipe)
    if run.writes:
        weights = {name: weight for name, (_, weight) in rewards.items()}
        plots.rewards(run.folder / "rewards.png", lines, weights, f"{run.id}: rewards on {version.title}")
        if unscored := tally.line():
            report.console.print(f"unscored in this process, and in no mean: {unscored}", soft_wrap=True)
    return metrics


def prompts(version: Version, split: str, tokenizer: Any, max_length: int) -> Any:
    """A split as what GRPO asks: `prompt`, the conversation without its last answer, and `row`, what rewards may look at.

    The user's text is cut so that a prompt has at most `max_length` tokens.
    """
    import datasets

    found = [
        {"prompt": _cut(_question(row), tokenizer, max_length), "row": _plain(row)} for row in rows(version, split)
    ]
    return datasets.Dataset.from_list(found)


def _question(row: Mapping[str, Any]) -> list[Turn]:
    turns = chat(row)[:-1]
    if turns and turns[0]["role"] == "system":
        first, turns = turns[0]["content"], turns[1:]
        system = MODERATE if first == MODERATOR else f"{first}\n\n{_FORM}"
    else:
        system = REPLY
    return [{"role": "system", "content": system}, *turns]


def _cut(turns: list[Turn], tokenizer: Any, max_length: int) -> list[Turn]:
    return fit(turns, tokenizer, max_length) if len(render(tokenizer, turns, ask=True)) > max_length else turns


def _plain(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if isinstance(value, str | int | float | None)}


def _check_groups(recipe: Recipe, processes: int) -> None:
    drawn = recipe.batch_size * recipe.accumulate * processes
    if drawn % recipe.num_generations:
        raise InputError(
            f"a step draws {drawn:,} answers (batch_size {recipe.batch_size} x accumulate {recipe.accumulate} x processes "
            f"{processes}), which is not a multiple of num_generations={recipe.num_generations}; change one of them"
        )


def _asked_by_trl(name: str, reward: Reward, tally: Tally) -> Callable[..., list[float | None]]:
    """A reward in TRL's signature: lists of completions and of the dataset's columns, None for unscored."""

    def ask(completions: Sequence[Any], row: Sequence[Mapping[str, Any]], **_: Any) -> list[float | None]:
        return [tally.score(name, reward, text_of(one), own) for one, own in zip(completions, row, strict=True)]

    ask.__name__ = name
    return ask


class _Trainer(SamePrecision, GRPOTrainer):
    """GRPOTrainer that keeps an unscored reward from counting as 0.

    TRL leaves a completion out that no reward scored, but where only some did, its sum takes the others for 0, which puts
    the completion under its group. Here it gets that reward's mean over the group, which moves it neither way. What is
    logged stays the mean over the scored ones, and their number is logged beside it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._scored: dict[str, list[torch.Tensor]] = defaultdict(
            list
        )  # mode -> (completions, functions), NaN: unscored

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        scored: torch.Tensor = super()._calculate_rewards(*args, **kwargs)
        mode = self._mode()
        self._scored[mode].append(scored.detach().cpu())
        group = self.num_generations if mode == "train" else self.num_generations_eval
        return neutral(scored, int(group or self.num_generations or 1))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        mode = self._mode()
        if batches := self._scored.pop(mode, []):
            scored = torch.cat(batches)
            for name, values in zip(self.reward_func_names, scored.T, strict=True):
                unscored = int(values.isnan().sum())
                if unscored < len(values):
                    self._metrics[mode][f"rewards/{name}/mean"] = [values.nanmean().item()]
                else:  # trackers can draw nothing, and say so each time
                    for which in ("mean", "std"):
                        self._metrics[mode].pop(f"rewards/{name}/{which}", None)
                logs[f"unscored/{name}" if mode == "train" else f"eval_unscored/{name}"] = unscored
        super().log(logs, start_time)

    def _mode(self) -> str:
        model: Any = self.model
        return "train" if model.training else "eval"


def neutral(scored: torch.Tensor, group: int) -> torch.Tensor:
    """Rewards (completions, functions) where each NaN is that function's mean over the completion's group.

    What nothing of the group or no function at all scored stays NaN.
    """
    grouped = scored.view(-1, group, scored.shape[1])
    filled = torch.where(grouped.isnan(), grouped.nanmean(dim=1, keepdim=True), grouped)
    filled[grouped.isnan().all(dim=2)] = nan
    return filled.view_as(scored)
