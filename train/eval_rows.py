"""What the evaluations of moderation and of safety share: rows, their cells, and how numbers and errors are written."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from train.data import chat
from train.metrics.moderation import Estimate

Row = Mapping[str, Any]
UNSCORED = "unscored"


def drawn(found: list[Row], n: int | None, seed: int) -> list[Row]:
    if n is None or n >= len(found):
        return found
    chosen = np.random.default_rng(seed).choice(len(found), size=n, replace=False)
    return [found[at] for at in sorted(chosen)]


def cell(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        **{name: row.get(name) for name in ("label", "language", "category", "severity", "prompt")},
    }


def write_errors(folder: Path, mistakes: list[dict[str, Any]]) -> None:
    """The worst first."""
    ordered = sorted(mistakes, key=lambda one: (-(one["loss"] or 0.0), one["id"]))
    text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in ordered)
    (folder / "errors.jsonl").write_text(text, encoding="utf-8")


def write_questions(folder: Path, chosen: Sequence[Row]) -> None:
    """questions.jsonl: what the model was asked, for whoever is to be compared with it."""
    lines = [{**cell(row), "messages": chat(row)[:-1]} for row in chosen]
    text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines)
    (folder / "questions.jsonl").write_text(text, encoding="utf-8")


def as_json(measures: Mapping[str, Estimate]) -> dict[str, Any]:
    return {
        name: {"value": one.value, "low": one.low, "high": one.high}
        | ({"undefined": one.undefined} if one.undefined else {})
        for name, one in measures.items()
    }
