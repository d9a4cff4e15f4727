"""`train ls` and `train diff`: looking at runs."""

import json
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.library import Broken
from train.config import DiffSettings, ListSettings
from train.recipes import load_all
from train.runs import Run, list_runs

SHOWN = ("eval_loss", "train_loss", "eval_auroc", "reward")  # of a run's numbers, in `train ls`


def ls_command(settings: ListSettings) -> int:
    runs = [run for run in list_runs(settings.runs_dir) if settings.status in (None, run.record.status_now)]
    recipes = load_all()
    if settings.as_json:
        listed = [run.record.model_dump(mode="json") | {"status": run.record.status_now} for run in runs]
        print(json.dumps({"runs": listed, "recipes": [recipe.name for recipe in recipes]}, ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False)
    if runs:
        table = _table("run", "dataset", "base", "status", "started", "numbers")
        for run in runs:
            record = run.record
            table.add_row(
                run.id,
                record.dataset_title,
                record.model,
                record.status_now,
                f"{record.started:%Y-%m-%d %H:%M}",
                ", ".join(f"{name} {record.metrics[name]:.4g}" for name in SHOWN if name in record.metrics),
            )
        console.print(table)
    else:
        console.print(f"no runs in {settings.runs_dir}")
    table = _table("recipe", "loss", "description")
    for recipe in recipes:
        if isinstance(recipe, Broken):
            table.add_row(recipe.name, "broken", recipe.error, style="red")
        else:
            table.add_row(recipe.name, recipe.loss, recipe.description)
    console.print()
    console.print(table)
    last = f"train show {runs[-1].id}" if runs else "train show qlora"
    console.print(f"\nNext:  {last}   ·   train run dataset=NAME recipe=qlora model=tiny", soft_wrap=True)
    return 0


def diff_command(settings: DiffSettings) -> int:
    first, second = (Run.open(reference, settings.runs_dir) for reference in settings.runs)
    settings_of, metrics_of = differing(facts(first), facts(second)), differing(numbers(first), numbers(second))
    if settings.as_json:
        print(
            json.dumps(
                {"runs": [first.id, second.id], "settings": settings_of, "metrics": metrics_of}, ensure_ascii=False
            )
        )
        return 0
    console = Console(highlight=False, markup=False)
    for title, pairs in (("settings", settings_of), ("metrics", metrics_of)):
        if not pairs:
            console.print(f"{title}: the same")
            continue
        table = _table(title, first.id, second.id, "change")
        for key, (old, new) in pairs.items():
            both = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (old, new))
            table.add_row(key, _shown(old), _shown(new), f"{new - old:+.4g}" if both else "")
        console.print(table)
    return 0


def facts(run: Run) -> dict[str, Any]:
    """What a run was made of, nested keys dotted."""
    record = run.record
    found: dict[str, Any] = {"dataset": record.dataset_title, "dataset sha256": record.digest[:12], "code": record.code}
    if record.base:
        found |= {"base": record.base.name, "base revision": record.base.revision, "base sha256": record.base.digest}
    config = run.config
    found |= _flat(config["recipe"], "") | _flat({k: v for k, v in config["settings"].items() if k != "dataset"}, "")
    return found | {f"environment.{name}": value for name, value in record.environment.items()}


def _flat(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in values.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def numbers(run: Run) -> dict[str, Any]:
    return {"status": run.record.status_now, **run.record.metrics}


def differing(one: dict[str, Any], other: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    keys = list(dict.fromkeys((*one, *other)))
    return {key: (one.get(key), other.get(key)) for key in keys if one.get(key) != other.get(key)}


def _shown(value: Any) -> str:
    return "none" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _table(*names: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, no_wrap=name not in ("numbers", "description"))
    return table
