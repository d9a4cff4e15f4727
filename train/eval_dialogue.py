"""The evaluation of a model on annotated dialogues: each turn of the assistant with its true history, beside the model's base and the
likeliest intent. After SynTOD's inference pairs: the note and the answer are asked for apart, the answer behind the true note."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation.annotated import INTENT, Markers
from curation.errors import InputError
from curation.records import content_id
from train import plots
from train.config import EvalSettings
from train.continuations import Kept, continued
from train.data import Version, rows
from train.dialogues import FORMATS, Pair, described, heard_answer, heard_note, markers_of, pairs
from train.eval_rows import UNSCORED, Row, as_json, cell
from train.metrics import dialogue
from train.metrics.dialogue import Reading
from train.subjects import Subject, read_rows

NOTE_TOKENS = 128  # of a note, at most
LENGTHS = ((0, 3), (4, 7), (8, 15), (16, 23), (24, None))  # turns before the one that is asked for


def holds_dialogues(version: Version, chosen: Sequence[Row]) -> bool:
    """Whether these rows are dialogues, which have no label.

    Raises:
        InputError: they are, and nothing in them says what the model should have understood.
    """
    if version.format not in FORMATS or any(row.get("label") is not None for row in chosen):
        return False
    if not version.options.get("annotations") or not any(
        one.noting or one.cites for row in chosen for one in pairs(version, row)
    ):
        raise InputError(
            f"{version.title}: its dialogues have no annotations (intents, slots, citations) to measure by; if those in the store "
            "have, export them with format=oasst, or format=messages annotations=true"
        )
    return True


@dataclass(frozen=True, slots=True)
class Said:
    """What a model wrote for a pair."""

    note: str
    heard: dict[str, Any] | None
    answer: str | None  # None: it was not asked for
    cited: tuple[str, ...]


def evaluate_dialogue(
    subject: Subject, version: Version, chosen: list[Row], settings: EvalSettings, folder: Path
) -> dict[str, Any]:
    if subject.is_classifier:
        raise InputError(
            f"{subject.name} is a classifier and writes nothing; evaluate it on a version of task moderation"
        )
    asked = [one for row in chosen for one in pairs(version, row)]
    scores = _relevance(settings.judge_scores, asked) if settings.judge_scores else {}
    judged = settings.judge_scores is not None

    said = _said(subject, version, asked, settings, subject.digest, "trained")
    readings = [_reading(one, own, scores.get(one.id)) for one, own in zip(asked, said, strict=True)]
    models: dict[str, Any] = {"trained": _measured(readings, said, settings, judged=judged)}
    majority = _majority(version, asked)
    if majority is not None:
        always = [Said("", {INTENT: majority}, None, ()) for _ in asked]
        models["majority"] = _measured([_reading(*both) for both in zip(asked, always, strict=True)], always, settings)
    with subject.as_base() as base:
        if isinstance(base, str):
            models["base"] = {"undefined": base}
        else:
            theirs = _said(base, version, asked, settings, f"base of {subject.digest}", "base")
            models["base"] = _measured([_reading(*both) for both in zip(asked, theirs, strict=True)], theirs, settings)

    table = dialogue.confusion(readings)
    if table:
        plots.intents(folder / "confusion.png", table)
    mistakes = _mistakes(asked, said, readings)
    text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in mistakes)
    (folder / "errors.jsonl").write_text(text, encoding="utf-8")
    lines = [json.dumps(_line(*each), ensure_ascii=False) for each in zip(asked, said, readings, strict=True)]
    (folder / "answers.jsonl").write_text("".join(f"{one}\n" for one in lines), encoding="utf-8")
    return {
        "turns": len(asked), "models": models, "judged": judged, "majority_intent": majority,
        "confusion": table, "by_intent": dialogue.by_intent(readings), "syntod": dialogue.as_syntod(readings, settings.tolerance),
        "slices": _slices(asked, said, readings, settings, judged=judged),
        "errors": dict(Counter(one["why"] for one in mistakes)) or {"misclassified intent": 0},
    }  # fmt: skip


# -- asking --------------------------------------------------------------------------------------------------------


def _said(
    subject: Subject, version: Version, asked: Sequence[Pair], settings: EvalSettings, weights: str, name: str
) -> list[Said]:
    markers = markers_of(version) if version.format == "oasst" else None
    kept = Kept(_generations(settings, version, weights))
    ends = list(markers.roles.values()) if markers else []
    options: dict[str, Any] = {"batch_size": settings.batch_size, "kept": kept}
    noting = {f"{one.id} note": one.noting for one in asked if one.noting}
    notes = continued(
        subject.model, subject.tokenizer, noting, max_new_tokens=NOTE_TOKENS, what=f"{name}: notes",
        enough=lambda text: heard_note(text) is not None, **options,
    )  # fmt: skip
    answering = {f"{one.id} answer": one.answering for one in asked if one.answering and settings.answers}
    answers = continued(
        subject.model, subject.tokenizer, answering, max_new_tokens=settings.max_new_tokens, what=f"{name}: answers",
        enough=lambda text: any(end in text for end in ends), **options,
    )  # fmt: skip
    texts = dict(zip((*noting, *answering), (*notes, *answers), strict=True))
    return [_heard(texts.get(f"{one.id} note"), texts.get(f"{one.id} answer"), markers) for one in asked]


def _generations(settings: EvalSettings, version: Version, weights: str) -> Path:
    """Where what these weights write is kept: all that can change it is in the name. Hidden, as it is no evaluation."""
    key = content_id("gn", [weights, version.digest, settings.split, settings.max_new_tokens, NOTE_TOKENS])
    return settings.evaluations_dir / ".written" / f"{key[4:]}.jsonl"


def _heard(note: str | None, answer: str | None, markers: Markers | None) -> Said:
    said, cited = heard_answer(answer, markers) if answer is not None else (None, ())
    return Said(note or "", heard_note(note) if note is not None else None, said, cited)


def _reading(asked: Pair, said: Said, relevance: float | None = None) -> Reading:
    cited = frozenset(said.cited) if said.answer is not None else None
    return Reading(asked.example, asked.wanted, said.heard, frozenset(asked.cites), cited, relevance)


def _majority(version: Version, asked: Sequence[Pair]) -> str | None:
    """The likeliest intent of the train split, else of the turns that are asked for."""
    train = (
        [one for row in rows(version, "train") for one in pairs(version, row)] if version.splits.get("train") else asked
    )
    counts = Counter(str(one.wanted[INTENT]) for one in train if one.wanted)
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


def _relevance(path: Path, asked: Sequence[Pair]) -> dict[str, float]:
    """A judge's 0 to 2 by pair; one that the judge did not score is not there.

    Raises:
        InputError: a score is out of the scale, or none of the pairs is in the file.
    """
    low, high = dialogue.RELEVANCE
    found: dict[str, float] = {}
    known = set()
    for number, row in enumerate(read_rows(path), 1):
        known.add(str(row.get("id")))
        score = row.get("score")
        if score is None:
            continue
        if isinstance(score, bool) or not isinstance(score, int | float) or not low <= score <= high:
            raise InputError(
                f"{path}, row {number}: score {score!r} is not a number from {low} to {high}; null is unscored"
            )
        found[str(row.get("id"))] = float(score)
    if not known & {one.id for one in asked}:
        raise InputError(
            f"{path}: holds none of the {len(asked):,} turns that are evaluated; their ids are in answers.jsonl"
        )
    return found


# -- telling -------------------------------------------------------------------------------------------------------


def _measured(
    readings: Sequence[Reading], said: Sequence[Said], settings: EvalSettings, *, judged: bool = False
) -> dict[str, Any]:
    noted = [one for one in readings if one.wanted]
    measures = dialogue.measure(
        readings, tolerance=settings.tolerance, resamples=settings.resamples, seed=settings.seed, judged=judged
    )
    return {
        "rows": len({one.dialogue for one in readings}), UNSCORED: sum(one.relevance is None for one in readings) if judged else 0,
        "turns": len(readings),
        "malformed": {"notes": sum(one.heard is None for one in noted), "answers": sum(one.answer == "" for one in said)},
        "measures": as_json(measures),
    }  # fmt: skip


def _slices(
    asked: Sequence[Pair], said: Sequence[Said], readings: Sequence[Reading], settings: EvalSettings, *, judged: bool
) -> dict[str, dict[str, Any]]:
    """The trained model by language, scenario, prompt, and by how many turns came before."""

    def length(one: Pair) -> str:
        low, high = next(bounds for bounds in LENGTHS if bounds[1] is None or one.turn - 1 <= bounds[1])
        return f"{low} or more" if high is None else f"{low} to {high}"

    by: dict[str, list[str]] = {
        "turns before": [length(one) for one in asked],
        **{
            name: ["(none)" if one.row.get(name) is None else str(one.row[name]) for one in asked]
            for name in ("language", "category", "prompt")
        },
    }
    found: dict[str, dict[str, Any]] = {}
    for name, values in by.items():
        order = sorted(set(values), key=lambda value: (int(value.split()[0]) if name == "turns before" else 0, value))
        found[name] = {}
        for value in order:
            own = [at for at, one in enumerate(values) if one == value]
            found[name][value] = _measured(
                [readings[at] for at in own], [said[at] for at in own], settings, judged=judged
            )
    return found


def _mistakes(asked: Sequence[Pair], said: Sequence[Said], readings: Sequence[Reading]) -> list[dict[str, Any]]:
    """One line a dialogue that the model misunderstands, those with the most wrong turns first."""
    wrong: dict[str, list[tuple[Pair, str]]] = {}
    for one, own, reading in zip(asked, said, readings, strict=True):
        if one.wanted and (own.heard is None or own.heard[INTENT] != one.wanted[INTENT]):
            called = "nothing readable" if own.heard is None else own.heard[INTENT]
            wrong.setdefault(one.example, []).append((one, f"turn {one.turn}: {called} for {one.wanted[INTENT]}"))
        elif reading.relevance == 0:
            wrong.setdefault(one.example, []).append((one, f"turn {one.turn}: an answer that is not relevant"))
    found = []
    for turns in sorted(wrong.values(), key=lambda turns: (-len(turns), turns[0][0].example)):
        intents = any("not relevant" not in what for _, what in turns)
        found.append(
            cell(turns[0][0].row) | {
                "why": "misclassified intent" if intents else "irrelevant answer", "said": "; ".join(what for _, what in turns),
                "probability": None, "loss": None, "turns": [one.turn for one, _ in turns],
            }
        )  # fmt: skip
    return found


def _line(asked: Pair, said: Said, reading: Reading) -> dict[str, Any]:
    """A line of answers.jsonl, which also is what a judge reads."""
    return {
        "id": asked.id, "example": asked.example, "turn": asked.turn, "language": asked.row.get("language"),
        "category": asked.row.get("category"), "history": described(asked.history), "wanted": asked.wanted, "heard": said.heard,
        "note": said.note if said.heard is None and asked.wanted else None, "reference": asked.answer, "answer": said.answer,
        "cites": list(asked.cites), "cited": list(said.cited), "relevance": reading.relevance,
    }  # fmt: skip
