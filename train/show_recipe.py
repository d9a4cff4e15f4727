"""`train show` of a recipe or a run, and `train cp`."""

import json
import shutil

import yaml
from rich.console import Console
from rich.table import Table

from curation import library
from curation.errors import InputError, NotFound, WorkspaceError
from train.config import CopySettings, ShowSettings
from train.data import chat, open_version, rows
from train.estimate import DEVICES, GB, Estimate, estimate, shape_of
from train.recipes import Recipe, folders, load
from train.runs import Run, duration

BYTES_A_TOKEN = 3.5  # of UTF-8 text, for a token count without the model's tokenizer
SAMPLE = 2_000


def show_command(settings: ShowSettings) -> int:
    known = library.entries(folders())
    if settings.what in known or settings.what.endswith((".yaml", ".yml")):
        return _show_recipe(settings)
    try:
        run = Run.open(settings.what, settings.runs_dir)
    except NotFound as error:
        raise NotFound(f"{error} (Recipes: {', '.join(known)}.)") from error
    return _show_run(run, as_json=settings.as_json)


def _show_recipe(settings: ShowSettings) -> int:
    recipe = load(settings.what, settings.overrides())
    path = library.find(settings.what, folders(), kind="recipe").path
    found = _estimated(settings, recipe) if recipe.model and recipe.loss != "classifier" else None
    if settings.as_json:
        numbers = None if found is None else {
            "bytes": found.memory, "total_bytes": found.total, "trained": found.trained, "tokens": found.tokens,
            "seconds": found.seconds, "device": found.device,
        }  # fmt: skip
        print(json.dumps({"recipe": recipe.model_dump(mode="json"), "path": str(path), "estimate": numbers}))
        return 0
    console = Console(highlight=False, markup=False)
    console.print(f"{recipe.name} · {path}", style="bold", soft_wrap=True)
    console.print(
        yaml.safe_dump(recipe.model_dump(mode="json", exclude={"name"}), sort_keys=False).strip(), soft_wrap=True
    )
    if found is None:
        console.print("\nno estimate: give model=..., and dataset=... for the time")
        return 0
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("\nmemory a device, estimated")
    table.add_column("", justify="right")
    for name, size in found.memory.items():
        table.add_row(name, _size(size))
    table.add_row("in all", _size(found.total), style="bold")
    console.print(table)
    console.print(f"{found.trained:,} parameters are trained")
    if found.seconds is None or found.tokens is None:
        console.print("time: give dataset=... to estimate it")
    else:
        speed = settings.tflops or DEVICES[found.device] / 1e12
        about = f"about {duration(found.seconds)} for {found.tokens:,.0f} tokens"
        console.print(f"time: {about} on {found.device} at {speed:,.3g} TFLOP/s sustained")
    return 0


def _size(size: float) -> str:
    return f"{size / GB:,.1f} GB" if size >= GB / 2 else f"{size / 2**20:,.1f} MB"


def _estimated(settings: ShowSettings, recipe: Recipe) -> Estimate:
    assert recipe.model is not None
    tokens = count = None
    if settings.dataset:
        version = open_version(settings.dataset, settings.workspace)
        train = rows(version, "train")
        count = len(train)
        sample = train.select(range(0, count, max(1, count // SAMPLE)))
        sizes = [sum(len(turn["content"].encode()) + 12 for turn in chat(row)) for row in sample]
        lengths = [min(size / BYTES_A_TOKEN, recipe.max_length) for size in sizes]
        tokens = sum(lengths) / max(1, len(lengths)) * count
    flops = settings.tflops * 1e12 if settings.tflops else None
    shape = shape_of(recipe.model, recipe.revision)
    return estimate(recipe, shape, tokens_an_epoch=tokens, rows=count, device=settings.device, flops=flops)


def _show_run(run: Run, *, as_json: bool) -> int:
    record = run.record
    if as_json:
        facts = record.model_dump(mode="json") | {"status": record.status_now}
        print(
            json.dumps({"folder": str(run.folder), **facts, **run.config, "curve": run.metrics()}, ensure_ascii=False)
        )
        return 0
    console = Console(highlight=False, markup=False)
    console.print(f"{run.id} · {record.status_now}", style="bold", soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    smoke = " (random and small: a smoke path, no result)" if record.model == "tiny" else ""
    table.add_row("dataset", f"{record.dataset_title}, sha256 {record.digest}")
    table.add_row("base", f"{record.model}{smoke}")
    if record.base:
        table.add_row(
            "",
            " ".join(f"{k} {v}" for k, v in (("revision", record.base.revision), ("sha256", record.base.digest)) if v),
        )
    table.add_row("recipe", f"{record.recipe} ({record.loss}), seed {record.seed}")
    table.add_row("code", record.code)
    table.add_row("started", f"{record.started:%Y-%m-%d %H:%M:%S} UTC")
    if record.ended:
        table.add_row("took", duration((record.ended - record.started).total_seconds()))
    if record.error:
        table.add_row("error", record.error)
    for name, value in record.metrics.items():
        table.add_row(name, f"{value:,.6g}")
    for name, value in record.data.items():
        table.add_row(name.replace("_", " "), f"{value:,}" if isinstance(value, int) else str(value))
    console.print(table)
    lines = [line for line in run.metrics() if "loss" in line]
    if len(lines) > 1:
        console.print(
            f"loss  {_spark([line['loss'] for line in lines])}  {lines[0]['loss']:.4g} to {lines[-1]['loss']:.4g}"
        )
    console.print(f"{run.folder}", soft_wrap=True)
    if record.status_now in ("killed", "failed"):
        console.print(f"Next:  the same `train run` command with name={run.id} resume=true", soft_wrap=True)
    return 0


def _spark(values: list[float], width: int = 40) -> str:
    """A curve in one line of text."""
    step = max(1, -(-len(values) // width))
    points = values[::step]
    low, high = min(points), max(points)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (value - low) / (high - low or 1))] for value in points)


def cp_command(settings: CopySettings) -> int:
    entry = library.find(settings.recipe, folders(), kind="recipe")
    target = settings.to / f"{entry.name}.yaml"
    if target.exists():
        raise InputError(f"{target}: there is a file already; choose another folder with to=...")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(entry.path, target)
    except OSError as error:
        raise WorkspaceError(f"{target}: cannot be written: {error.strerror}") from error
    print(f"{target}\nNext:  edit it, then: train run dataset=NAME recipe={target}")
    return 0
