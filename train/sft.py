"""Supervised fine-tuning: the next-token loss on the assistant's turns, over TRL's SFTTrainer."""

import json
from typing import Any

from train.arguments import lora_config, trainer_options
from train.base import load_base
from train.config import RunSettings
from train.data import Version
from train.encode import PackedCollator, bars, encode, packed
from train.interrupts import Interrupts
from train.learning import auroc_callback
from train.loop import evaluated, run_trainer, save
from train.progress import Report
from train.recipes import Recipe
from train.resume import SamePrecision
from train.runs import Run


def train(
    run: Run, recipe: Recipe, version: Version, settings: RunSettings, interrupts: Interrupts | None = None
) -> dict[str, float]:
    """Train `recipe` on the version's train split; evaluate on its validation split, where it has one.

    Writes run.adapter (PEFT layout) or run.model, with the tokenizer beside it, and data.json.

    Returns:
        train_loss (of the last logged steps), eval_loss (nats a token, mean over batches), eval_auroc (of moderation, in one
        process), steps, tokens, seconds.

    Raises:
        InputError: the data or the model cannot be used.
        Stopped: the user stopped it; a checkpoint was saved.
    """
    from transformers import set_seed
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

    assert recipe.model is not None
    model, tokenizer, base = load_base(recipe.model, recipe, version, seed=settings.seed, folder=run.folder / "base")
    run.update(base=base)

    learnt = encode(version, "train", tokenizer, recipe.max_length, assistant_only=recipe.assistant_only)
    held_out = None
    if version.splits.get("validation"):
        held_out = encode(version, "validation", tokenizer, recipe.max_length, assistant_only=recipe.assistant_only)
    rows = packed(learnt.dataset, recipe.max_length) if recipe.packing else learnt.dataset
    facts = learnt.facts(recipe.max_length) | {"rows": len(rows)}
    run.update(data={key: value for key, value in facts.items() if key != "histogram"})
    run.write("data.json", json.dumps(facts, indent=1) + "\n")

    report = Report(run, interrupts or Interrupts())
    _say(report, facts)
    options: dict[str, Any] = trainer_options(run, recipe, settings) | {
        "max_length": None,  # encode() has cut, so that answers stay whole
        "packing": False,  # packed() has packed
        "dataset_kwargs": {"skip_prepare_dataset": True},
        "train_sampling_strategy": "group_by_length" if recipe.group_by_length else "random",
        "remove_unused_columns": not recipe.packing,
    }

    class Trainer(SamePrecision, SFTTrainer):
        pass

    set_seed(settings.seed)  # before the adapters get their first weights
    trainer = Trainer(
        model=model,
        args=SFTConfig(**options),
        train_dataset=rows,
        eval_dataset=held_out.dataset if held_out and recipe.eval_every else None,
        processing_class=tokenizer,
        peft_config=lora_config(recipe),
        data_collator=PackedCollator(tokenizer.pad_token_id) if recipe.packing else None,
    )
    if settings.processes == 1 and (learning := auroc_callback(report, version, tokenizer)):
        trainer.add_callback(learning)
    metrics = run_trainer(trainer, run, settings, report)
    metrics["tokens"] = float(trainer.state.num_input_tokens_seen)
    if held_out:
        metrics["eval_loss"] = evaluated(trainer, recipe, held_out.dataset)["eval_loss"]
    if (auroc := run.last("eval_auroc")) is not None:
        metrics["eval_auroc"] = auroc
    save(trainer, run, recipe)
    return metrics


def _say(report: Report, facts: dict[str, Any]) -> None:
    if not report.run.writes:
        return
    left_out = f", {facts['dropped']:,} without an answer left out" if facts["dropped"] else ""
    packing = f", packed into {facts['rows']:,} rows" if facts["rows"] != facts["used"] else ""
    report.console.print(
        f"{facts['used']:,} examples, {facts['tokens']:,} tokens, {facts['learnt_tokens']:,} of them learnt{packing}; "
        f"{facts['cut']:,} cut to fit{left_out}\nlearnt: {facts['mask']}\ntokens an example (longest {facts['longest']:,}):",
        soft_wrap=True,
    )
    for bar in bars(**facts["histogram"]):
        report.console.print(bar, soft_wrap=True)
