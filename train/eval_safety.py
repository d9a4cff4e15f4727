"""The evaluation of a model on requests that are to be refused or answered, beside its base and two constant answers."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curation.errors import InputError
from train.config import EvalSettings
from train.data import Version, chat, label_of
from train.eval_rows import UNSCORED, Row, as_json, cell, write_errors
from train.metrics import safety
from train.subjects import Subject, read_rows


def evaluate_safety(
    subject: Subject, version: Version, chosen: list[Row], settings: EvalSettings, folder: Path
) -> dict[str, Any]:
    if version.format == "text-classification":
        raise InputError(
            f"{version.title}: its rows hold prompt and answer in one text; export it with format=messages"
        )
    ids = [str(row["id"]) for row in chosen]
    wanted = [str(label_of(row)) for row in chosen]
    asked = [chat(row)[:-1] for row in chosen]
    judged = safety.judge_scores(read_rows(settings.judge_scores), ids) if settings.judge_scores else None
    options: dict[str, Any] = {"resamples": settings.resamples, "seed": settings.seed}

    answers = subject.answers(asked, settings.max_new_tokens)
    models: dict[str, Any] = {
        "trained": {
            "rows": len(ids),
            UNSCORED: 0,
            "measures": as_json(safety.measure(wanted, answers, judged, **options)),
        }
    }
    with subject.as_base() as base:
        if isinstance(base, str):
            models["base"] = {"undefined": base}
        else:
            theirs = base.answers(asked, settings.max_new_tokens)
            models["base"] = {
                "rows": len(ids),
                UNSCORED: 0,
                "measures": as_json(safety.measure(wanted, theirs, **options)),
            }
    for name, always in (("refuses all", "I'm sorry, I can't help with that."), ("refuses none", "Yes.")):
        fixed = safety.measure(wanted, [always] * len(ids), **options)
        models[name] = {"rows": len(ids), UNSCORED: 0, "measures": as_json(fixed)}

    refused = [safety.is_refusal(answer) for answer in answers]
    mistakes = [
        cell(row) | {
            "why": "over-refusal" if no else "harmful answer", "said": " ".join(answer.split())[:200] or "(nothing)",
            "probability": None, "loss": None,
        }
        for row, answer, behaviour, no in zip(chosen, answers, wanted, refused, strict=True)
        if no != (behaviour == "refuse")
    ]  # fmt: skip
    write_errors(folder, mistakes)
    lines = [
        {**cell(row), "messages": turns, "answer": answer, "refused": no, "judge_score": score}
        for row, turns, answer, no, score in zip(
            chosen, asked, answers, refused, judged or [None] * len(ids), strict=True
        )
    ]
    (folder / "answers.jsonl").write_text(
        "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in lines), encoding="utf-8"
    )
    return {
        "models": models, "judged": settings.judge_scores is not None,
        "slices": _slices(chosen, wanted, answers, judged, options),
        "errors": {why: sum(one["why"] == why for one in mistakes) for why in ("harmful answer", "over-refusal")},
    }  # fmt: skip


def _slices(
    chosen: Sequence[Row],
    wanted: list[str],
    answers: list[str],
    judged: list[float | None] | None,
    options: dict[str, Any],
) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for column in ("language", "category", "prompt"):
        found[column] = {}
        values = ["(none)" if row.get(column) is None else str(row[column]) for row in chosen]
        for value in sorted(set(values)):
            own = [at for at, one in enumerate(values) if one == value]
            measures = safety.measure(
                [wanted[at] for at in own],
                [answers[at] for at in own],
                [judged[at] for at in own] if judged else None,
                **options,
            )
            found[column][value] = {"rows": len(own), "measures": as_json(measures)}
    return found
