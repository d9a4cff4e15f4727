"""`train eval`: what a trained model gets right and wrong on a split, beside what costs nothing, and what it got wrong.

An evaluation is a folder: report.json, README.md, predictions.parquet, errors.jsonl and pictures. errors.jsonl goes back:
`curate import evaluation=` puts it in the review queue, `synth run targets=evaluation:` writes more of the same.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from curation.errors import InputError, WorkspaceError
from curation.records import content_id
from train import harness
from train.config import EvalSettings
from train.data import Version, label_of, open_version, rows
from train.eval_dialogue import evaluate_dialogue, holds_dialogues
from train.eval_moderation import evaluate_moderation
from train.eval_rows import Row, drawn, write_questions
from train.eval_safety import evaluate_safety
from train.runs import code_version, environment
from train.show_eval import markdown
from train.subjects import Subject, load_subject

TASKS = {"moderation": {"allowed", "disallowed"}, "safety": {"comply", "refuse"}}
MEASURED = {"moderation": evaluate_moderation, "safety": evaluate_safety, "dialogue": evaluate_dialogue}


@dataclass(frozen=True, slots=True)
class Outcome:
    """An evaluation, as it is on disk."""

    folder: Path
    report: dict[str, Any]


def evaluate(settings: EvalSettings, say: Callable[[str], None] = lambda _: None) -> Outcome:
    """Evaluate a model on a split of a version.

    Raises:
        NotFound: no such run, version or split.
        InputError: the rows have no labels to measure by, or a file cannot be used.
        WorkspaceError: the evaluation cannot be written.
    """
    version = open_version(settings.dataset, settings.workspace)
    chosen = drawn(rows(version, settings.split).to_list(), settings.n, settings.seed)
    task = _task(chosen, version, settings.split)
    subject = load_subject(settings.run, settings.runs_dir, base=settings.base, batch_size=settings.batch_size)
    say(f"{subject.name} on {version.title}, split {settings.split}: {len(chosen):,} rows, task {task}")
    identity = _identity(subject, version, settings)
    report: dict[str, Any] = {
        "id": identity, "run": subject.name, "weights": subject.digest, "task": task,
        "dataset": {"name": version.name, "number": version.number, "digest": version.digest, "split": settings.split},
        "rows": len(chosen), "seed": settings.seed, "resamples": settings.resamples,
        "at": datetime.now(UTC).isoformat(timespec="seconds"), "code": code_version(), "environment": environment(),
    }  # fmt: skip
    with _scratch(settings.evaluations_dir / identity) as folder:
        if task != "dialogue":  # whose answers.jsonl has the history of each turn
            write_questions(folder, chosen)
        report |= MEASURED[task](subject, version, chosen, settings, folder)
        report["utility"] = harness.utility(subject, settings)
        report["earlier"] = _earlier(settings.evaluations_dir, report)
        (folder / "report.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        (folder / "README.md").write_text(markdown(report), encoding="utf-8")
    return Outcome(settings.evaluations_dir / identity, report)


def _task(chosen: Sequence[Row], version: Version, split: str) -> str:
    if not chosen:
        raise InputError(f"{version.title}: split {split!r} is empty; name another with split=")
    if holds_dialogues(version, chosen):
        return "dialogue"
    labels = {label_of(row) for row in chosen}
    for task, known in TASKS.items():
        if labels <= known:
            return task
    odd = sorted(map(str, labels))[:4]
    raise InputError(
        f"{version.title}, split {split!r}: labels {', '.join(odd)} are not of one task that can be evaluated; "
        "export with task=moderation, task=safety or task=dialogue"
    )


def _identity(subject: Subject, version: Version, settings: EvalSettings) -> str:
    """A name to read, and a hash of all that can change the outcome."""
    fields = {
        "n",
        "seed",
        "threshold",
        "resamples",
        "high_loss",
        "predictions",
        "judge_scores",
        "max_new_tokens",
        "answers",
        "tolerance",
        "tasks",
    }
    options = settings.model_dump(mode="json", include=fields)
    digest = content_id("ev", [subject.name, subject.digest, version.digest, settings.split, options])[4:10]
    title = version.title.replace("@", "-")
    return f"{subject.name}-on-{title}-{settings.split}-{digest}"


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder to build in, which takes the place of `home` when all is there."""
    scratch = home.with_name(f".{home.name}-{os.getpid()}")
    try:
        scratch.mkdir(parents=True)
        yield scratch
        shutil.rmtree(home, ignore_errors=True)
        scratch.rename(home)
    except OSError as error:
        if isinstance(error, WorkspaceError | InputError):
            raise
        raise WorkspaceError(
            f"{home}: cannot be written: {error.strerror or error}; make room, or choose another evaluations_dir"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _earlier(folder: Path, report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Evaluations of the same rows of the same version, newest first, and by how much this one is better."""
    found = []
    for path in folder.glob("*/report.json"):
        try:
            other = json.loads(path.read_text(encoding="utf-8"))
            same = all(other[key] == report[key] for key in ("dataset", "task", "rows"))
            if not same or other["id"] == report["id"] or path.parent.name != other["id"]:
                continue
            ours, theirs = (one["models"]["trained"]["measures"] for one in (report, other))
            found.append(
                {"id": other["id"], "run": other["run"], "at": other["at"], "difference": _differences(ours, theirs)}
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not a report of ours
    return sorted(found, key=lambda one: str(one["at"]), reverse=True)


def _differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        name: ours[name]["value"] - theirs[name]["value"]
        if ours[name]["value"] is not None and theirs.get(name, {}).get("value") is not None
        else None
        for name in ours
    }
