"""A run's README.md: where the model comes from, how it was trained, and its numbers; and the plot of its loss."""

from typing import Any

import yaml

from train import plots
from train.recipes import Recipe
from train.runs import Run, share

SMOKE = (
    "**This is a smoke run.** Its base (`model=tiny`) is a random small model made on the spot. It shows that training runs "
    "from end to end, and says nothing about how a real model would do.\n"
)


def write(run: Run, recipe: Recipe) -> None:
    """Write loss.png and README.md, the latter also beside the weights."""
    plotted = plot_loss(run)
    text = render(run, recipe, plotted=plotted)
    run.write("README.md", text)
    for folder in (run.adapter, run.model):
        if folder.is_dir():
            (folder / "README.md").write_text(text.replace("![loss](loss.png)\n", ""), encoding="utf-8")
    for folder in (run.adapter, run.model, run.folder / "base"):
        share(folder)


def render(run: Run, recipe: Recipe, *, plotted: bool) -> str:
    record = run.record
    base = record.base.name if record.base else record.model
    front: dict[str, Any] = {"base_model": base, "tags": ["tilth", recipe.loss], "datasets": [record.dataset]}
    if recipe.lora:
        front["library_name"] = "peft"
    lineage = {
        "dataset": f"{record.dataset_title}, manifest sha256 `{record.digest}`",
        "base": _base(record),
        "recipe": f"{recipe.name} ({recipe.loss}{_weights(recipe)})",
        "seed": str(record.seed),
        "code": record.code,
        "environment": ", ".join(f"{name} {value}" for name, value in record.environment.items()),
        "run": f"{record.id}, started {record.started:%Y-%m-%d %H:%M} UTC",
    }
    parts = [f"---\n{yaml.safe_dump(front, sort_keys=False).strip()}\n---\n", f"# {record.id}\n"]
    parts += [SMOKE] if recipe.model == "tiny" else []
    parts += [
        _table(("", "lineage"), lineage),
        _table(("measured", "value"), {k: f"{v:,.6g}" for k, v in record.metrics.items()}),
    ]
    parts += ["![loss](loss.png)\n"] if plotted else []
    data = {key.replace("_", " "): f"{v:,}" if isinstance(v, int) else str(v) for key, v in record.data.items()}
    parts += [_table(("training data", ""), data)] if data else []
    parts += [f"## Load it\n\nFrom this run's folder:\n\n```python\n{_loading(recipe, base)}\n```\n"]
    parts += [f"## Recipe\n\n```yaml\n{yaml.safe_dump(recipe.model_dump(mode='json'), sort_keys=False)}```\n"]
    return "\n".join(parts)


def _base(record: Any) -> str:
    if record.base is None:
        return str(record.model)
    pinned = [f"revision `{record.base.revision}`"] if record.base.revision else []
    pinned += [f"sha256 `{record.base.digest}`"] if record.base.digest else []
    return ", ".join([record.base.name, *pinned])


def _weights(recipe: Recipe) -> str:
    if recipe.lora is None:
        return ", all weights"
    held = ", base in 4 bits (NF4)" if recipe.quantization == "nf4" else ""
    return f", LoRA of rank {recipe.lora.rank}{held}"


def _table(head: tuple[str, str], rows: dict[str, str]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|", *(f"| {key} | {value} |" for key, value in rows.items())]
    return "\n".join(lines) + "\n"


def _loading(recipe: Recipe, base: str) -> str:
    if recipe.loss == "classifier":
        kind, folder = ("AutoPeftModel", "adapter") if recipe.lora else ("AutoModel", "model")
        library = "peft" if recipe.lora else "transformers"
        return (
            f"from {library} import {kind}ForSequenceClassification\nfrom transformers import AutoTokenizer\n\n"
            f'model = {kind}ForSequenceClassification.from_pretrained("{folder}").eval()\n'
            f'tokenizer = AutoTokenizer.from_pretrained("{folder}")\n'
            'batch = tokenizer(["Lunch was good"], truncation=True, return_tensors="pt")\n'
            "allowed, disallowed = model(**batch).logits.softmax(-1)[0].tolist()"
        )
    if recipe.lora is None:
        return 'from transformers import AutoModelForCausalLM\n\nmodel = AutoModelForCausalLM.from_pretrained("model")'
    source = "base" if recipe.model == "tiny" else base
    return (
        "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained("{source}"), "adapter")'
    )


UNITS = {"sft": "nats a token", "dpo": "nats a pair", "classifier": "nats a text", "grpo": "policy loss"}


def plot_loss(run: Run) -> bool:
    """Draw loss.png from metrics.jsonl; False if there is nothing to draw."""
    lines = run.metrics()
    names = {"loss": "training", "eval_loss": "validation"}
    curves = {name: [(m["step"], m[key]) for m in lines if key in m] for key, name in names.items()}
    if not run.writes or not curves["training"]:
        return False
    title = f"{run.id}: {run.record.recipe} on {run.record.dataset_title}"
    plots.loss(run.folder / "loss.png", curves, title, UNITS.get(run.record.loss, "loss"))
    return True
