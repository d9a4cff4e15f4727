"""The `train` command."""

import sys

from curation.commands import Command, main

COMMANDS = {
    "run": Command(
        "Train a recipe on a dataset version; resume=true goes on where a run was killed.",
        "train.config:RunSettings", "train.run:run_command", "dataset",
        "train run dataset=moderation@1 recipe=qlora model=tiny",
    ),
    "eval": Command(
        "Measure a trained model on a split, beside its base and the majority; list what it gets wrong.",
        "train.config:EvalSettings", "train.show_eval:eval_command", "run",
        "train eval qlora-2026 dataset=moderation@1 split=test",
    ),
    "ls": Command("List runs and recipes.", "train.config:ListSettings", "train.show_runs:ls_command"),
    "show": Command(
        "Show a run, or a recipe with its estimated memory and time.",
        "train.config:ShowSettings", "train.show_recipe:show_command", "what",
        "train show qlora model=Qwen/Qwen3-8B dataset=moderation device=h100",
    ),
    "diff": Command(
        "Show what differs between two runs: settings and metrics.",
        "train.config:DiffSettings", "train.show_runs:diff_command", "runs", "train diff runs=[qlora-2026,lora-2026]",
    ),
    "cp": Command(
        "Copy a recipe into your own folder to edit it.",
        "train.config:CopySettings", "train.show_recipe:cp_command", "recipe", "train cp qlora to=recipes",
    ),
    "fuse": Command(
        "Add adapters up with weights, or sweep over methods and weights.",
        "train.config:FuseSettings", "train.show_adapters:fuse_command", None,
        "train fuse task=qlora-2026 safety=refuse-2026 weights=[0.6,0.4]",
    ),
    "merge": Command(
        "Merge an adapter into its base: a whole model.",
        "train.config:MergeSettings", "train.show_adapters:merge_command", "run", "train merge qlora-2026 to=merged",
    ),
    "quantize": Command(
        "Quantise a model to 4 bits by GPTQ, calibrated on a dataset version.",
        "train.config:QuantizeSettings", "train.show_adapters:quantize_command", "run",
        "train quantize qlora-2026 calibration=moderation",
    ),
    "consolidate": Command(
        "Write the adapter of a sharded FSDP checkpoint, of a run that was killed.",
        "train.config:ConsolidateSettings", "train.consolidate:consolidate_command", "run",
        "train consolidate run=big to=big-adapter",
    ),
    "predict": Command(
        "Score CSV rows from standard input, or serve=true over HTTP: P(disallowed) of each.",
        "train.config:PredictSettings", "train.show_predict:predict_command", "adapter",
        "train predict adapter=qlora-2026 < in.csv > out.csv",
    ),
}  # fmt: skip


def app() -> None:
    """Entry point of the console script."""
    sys.exit(main("train", "Train on exported dataset versions, and measure, fuse and serve what comes out.", COMMANDS))


if __name__ == "__main__":
    app()
