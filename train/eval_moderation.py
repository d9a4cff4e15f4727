"""The evaluation of a model on texts that are allowed or not, beside its base, the majority and whoever else predicted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from curation.errors import InputError
from train import plots
from train.classifier import text_of
from train.config import EvalSettings
from train.data import Version, label_of, rows
from train.eval_rows import UNSCORED, Row, as_json, cell, drawn, write_errors
from train.metrics import moderation
from train.subjects import Chances, Subject, from_file


def evaluate_moderation(
    subject: Subject, version: Version, chosen: list[Row], settings: EvalSettings, folder: Path
) -> dict[str, Any]:
    ids = [str(row["id"]) for row in chosen]
    truth = np.array([label_of(row) == "disallowed" for row in chosen])
    texts = [text_of(row) for row in chosen]
    tuning = _tuning_rows(version, settings)

    chances = subject.chances(texts)
    threshold, chosen_on = _threshold(subject, tuning, settings)
    said = {"trained": (chances, threshold, chosen_on)}
    known = (
        np.array([label_of(row) == "disallowed" for row in rows(version, "train")])
        if version.splits.get("train")
        else truth
    )
    said["majority"] = (np.full(len(ids), known.mean()), 0.5, "always the train split's likelier label")
    reasons: dict[str, str] = {}
    with subject.as_base() as base:
        if isinstance(base, str):
            reasons["base"] = base
        else:
            said["base"] = (base.chances(texts), *_threshold(base, tuning, settings))
    for name, path in settings.predictions.items():
        if name in said:
            raise InputError(f"predictions.{name}: a name of our own; choose another")
        said[name] = (from_file(path, ids), 0.5, f"predictions in {path.name}")

    models = {name: _measured(truth, *one, settings) for name, one in said.items()}
    models |= {name: {"undefined": why} for name, why in reasons.items()}
    scored = ~np.isnan(chances)
    if not scored.any():
        raise InputError(f"{subject.name}: none of the {len(ids):,} texts could be scored")
    counts = moderation.confusion(truth[scored], chances[scored], threshold)
    _draw(folder, truth, {name: one[0] for name, one in said.items() if name != "majority"}, counts, threshold)
    losses = np.full(len(ids), np.nan)
    losses[scored] = moderation.log_loss(truth[scored], chances[scored])
    _write_predictions(folder, chosen, chances, losses)
    called = chances >= threshold
    mistakes = [
        _mistake(
            chosen[at],
            "misclassified" if called[at] != truth[at] else "high loss",
            float(chances[at]),
            float(losses[at]),
        )
        for at in np.flatnonzero(scored & ((called != truth) | (losses >= settings.high_loss)))
    ]
    write_errors(folder, mistakes)
    return {
        "threshold": threshold, "models": models, "confusion": counts, "slices": _slices(chosen, truth, chances, threshold, settings),
        "errors": {why: sum(one["why"] == why for one in mistakes) for why in ("misclassified", "high loss")},
    }  # fmt: skip


def _tuning_rows(version: Version, settings: EvalSettings) -> list[Row]:
    if settings.threshold is not None or settings.split == "validation" or not version.splits.get("validation"):
        return []
    return drawn(rows(version, "validation").to_list(), settings.n, settings.seed)


def _threshold(subject: Subject, tuning: Sequence[Row], settings: EvalSettings) -> tuple[float, str]:
    """The threshold, and where it comes from; never from the rows that are evaluated."""
    if settings.threshold is not None:
        return settings.threshold, "given"
    chances = subject.chances([text_of(row) for row in tuning]) if tuning else np.zeros(0)
    truth = np.array([label_of(row) == "disallowed" for row in tuning], bool)
    scored = ~np.isnan(chances)
    best = moderation.best_threshold(truth[scored], chances[scored]) if scored.any() else None
    if best is None:
        return 0.5, "0.5, as there is no validation split with both classes"
    return best, f"highest F1 on {int(scored.sum()):,} rows of split validation"


def _measured(truth: Any, chances: Chances, threshold: float, chosen_on: str, settings: EvalSettings) -> dict[str, Any]:
    scored = ~np.isnan(chances)
    measures = moderation.measure(
        truth[scored], chances[scored], threshold, resamples=settings.resamples, seed=settings.seed
    )
    return {
        "rows": int(scored.sum()), UNSCORED: int((~scored).sum()), "threshold": threshold, "chosen_on": chosen_on,
        "measures": as_json(measures),
    }  # fmt: skip


def _slices(
    chosen: Sequence[Row], truth: Any, chances: Chances, threshold: float, settings: EvalSettings
) -> dict[str, dict[str, Any]]:
    """The trained model by language, category, severity and prompt. A category or severity of disallowed texts alone has no
    ranking of its own, so it is also ranked against all allowed texts."""
    scored = ~np.isnan(chances)
    found: dict[str, dict[str, Any]] = {}
    for column in ("language", "category", "severity", "prompt"):
        values = np.array(["" if row.get(column) is None else str(row[column]) for row in chosen], object)
        found[column] = {}
        for value in sorted(set(values)):
            own = scored & (values == value)
            if not own.any():
                continue
            against = scored & ((values == value) | ~truth)
            options: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed}
            measures = moderation.measure(truth[own], chances[own], threshold, **options)
            if column != "language" and truth[own].all():
                ranked = moderation.measure(truth[against], chances[against], threshold, **options)
                measures["auroc_against_allowed"] = ranked["auroc"]
            found[column][value or "(none)"] = {
                "rows": int(own.sum()), "disallowed": int(truth[own].sum()), "measures": as_json(measures)
            }  # fmt: skip
    return found


def _draw(folder: Path, truth: Any, chances: dict[str, Chances], counts: dict[str, int], threshold: float) -> None:
    kept = {name: (truth[~np.isnan(one)], one[~np.isnan(one)]) for name, one in chances.items()}
    curves = [(name, labels, values) for name, (labels, values) in kept.items() if labels.any() and not labels.all()]
    if curves:
        plots.roc(folder / "roc.png", curves)
    plots.reliability(folder / "reliability.png", *kept["trained"])
    plots.confusion(folder / "confusion.png", counts, threshold)


def _write_predictions(folder: Path, chosen: Sequence[Row], chances: Chances, losses: Chances) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        name: [row.get(name) for row in chosen] for name in ("label", "language", "category", "severity", "prompt")
    }
    numbers = {
        name: [None if np.isnan(v) else float(v) for v in values]
        for name, values in (("probability", chances), ("loss", losses))
    }
    text, number = pa.string(), pa.float64()
    table = pa.table(
        {
            "id": pa.array([str(row["id"]) for row in chosen], text), "probability": pa.array(numbers["probability"], number),
            "label": pa.array(columns["label"], text), "language": pa.array(columns["language"], text),
            "category": pa.array(columns["category"], text), "severity": pa.array(columns["severity"], pa.int32()),
            "prompt": pa.array(columns["prompt"], text), "loss": pa.array(numbers["loss"], number),
        }
    )  # fmt: skip
    pq.write_table(table, folder / "predictions.parquet", compression="zstd")


def _mistake(row: Row, why: str, probability: float, loss: float) -> dict[str, Any]:
    return cell(row) | {
        "why": why,
        "said": f"P(disallowed) {probability:.3f}",
        "probability": probability,
        "loss": loss,
    }
