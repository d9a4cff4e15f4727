"""Evaluations and fusion sweeps as `train eval` and `train fuse sweep=true` leave them on disk, read back. Loads no model library."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from train.show_eval import DIALOGUE, MODERATION, SAFETY

MAIN = {"moderation": "auroc", "safety": "harmfulness_rate", "dialogue": "intent_accuracy"}
MEASURES: dict[str, tuple[str, ...]] = {"moderation": MODERATION, "safety": SAFETY, "dialogue": DIALOGUE}


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One evaluation: its folder, and report.json."""

    folder: Path
    report: Mapping[str, Any]

    @property
    def id(self) -> str:
        return str(self.report["id"])

    @property
    def task(self) -> str:
        return str(self.report["task"])

    @property
    def dataset(self) -> str:
        its = self.report["dataset"]
        return str(its["name"]) if its["number"] is None else f"{its['name']}@{its['number']}"

    @property
    def main(self) -> tuple[str, Mapping[str, Any]]:
        """The measure that the task is named by, and its {value, low, high} for the trained model."""
        name = MAIN[self.task]
        return name, self.report["models"]["trained"]["measures"][name]


@dataclass(frozen=True, slots=True)
class Sweep:
    """One walk over methods and weights of a fusion: frontier.csv, row by row as text."""

    folder: Path
    rows: tuple[Mapping[str, str], ...]


def list_evaluations(folder: Path) -> list[Evaluated]:
    """All readable evaluations, the newest first; what is no report of ours is passed over."""
    found = []
    for path in folder.glob("*/report.json"):
        try:
            one = Evaluated(path.parent, json.loads(path.read_text(encoding="utf-8")))
            if not path.parent.name.startswith(".") and one.id and one.dataset and one.main:
                found.append(one)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return sorted(found, key=lambda one: (str(one.report.get("at", "")), one.id), reverse=True)


def list_sweeps(runs_dir: Path) -> list[Sweep]:
    """All sweeps that have a table, by name."""
    found = []
    for path in sorted(runs_dir.glob("*/frontier.csv")):
        try:
            with path.open(encoding="utf-8", newline="") as file:
                rows = tuple(csv.DictReader(file))
        except (OSError, ValueError, csv.Error):
            continue
        if rows and {"candidate", "harmfulness", "over_refusal", "utility"} <= rows[0].keys():
            found.append(Sweep(path.parent, rows))
    return found
