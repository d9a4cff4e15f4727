"""An evaluation of a trained model, read back: what it got wrong goes into the review queue.

`train eval` leaves a folder with `report.json` and `errors.jsonl`; this is all that comes back from training.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from rich.console import Console

from curation.config import ImportSettings
from curation.errors import InputError, NotFound, did_you_mean
from curation.journal import open_store
from curation.records import Decision, Record, Verdict, canonical_json
from curation.settings import describe
from curation.tables import verdict_row

EVALUATIONS = Path("evaluations")  # where `train eval` puts them, if it is not told otherwise


class Mistake(Record):
    """A line of `errors.jsonl`: an example that the model gets wrong, or barely right."""

    id: str = Field(min_length=1)
    why: str = Field(min_length=1)  # misclassified, high loss, harmful answer, ...
    said: str  # the model's answer in words
    label: str | None = None
    probability: float | None = Field(default=None, ge=0, le=1)  # P(disallowed)
    loss: float | None = Field(default=None, ge=0)
    language: str
    category: str | None = None
    severity: int | None = None
    prompt: str | None = None  # the prompt it was generated with
    turns: tuple[int, ...] = ()  # of a dialogue: which turns, from 1


@dataclass(frozen=True, slots=True)
class Evaluation:
    """An evaluation's folder: its id, and what was wrong."""

    id: str
    folder: Path
    mistakes: tuple[Mistake, ...]


def read(name: Path) -> Evaluation:
    """The evaluation that a folder, or the beginning of the name of one in ./evaluations, stands for.

    Raises:
        InputError: there is none, or more than one, or it cannot be read.
    """
    folder = _folder(name)
    path = folder / "report.json"
    try:
        identity = json.loads(path.read_text(encoding="utf-8"))["id"]
        if not isinstance(identity, str) or not identity:
            raise TypeError
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}; name a folder that `train eval` made") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the report of an evaluation; run `train eval` again") from error
    return Evaluation(identity, folder, tuple(_mistakes(folder / "errors.jsonl")))


def lines(path: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """The lines of one of an evaluation's JSONL files, each of which has these fields.

    Raises:
        InputError: it is not there, as the evaluation is of another kind, or cannot be read.
    """
    try:
        found = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    except FileNotFoundError:
        raise InputError(
            f"{path}: not there; this evaluation has none, or was made by an older version: run `train eval` again"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read; run `train eval` again ({error})") from error
    for number, line in enumerate(found, 1):
        if not isinstance(line, dict) or not all(line.get(field) is not None for field in fields):
            raise InputError(f"{path}:{number}: expected an object with {', '.join(fields)}; run `train eval` again")
    return found


def _folder(name: Path) -> Path:
    if name.is_dir():
        return name
    there = sorted(path.name for path in EVALUATIONS.iterdir() if path.is_dir()) if EVALUATIONS.is_dir() else []
    found = [one for one in there if one.startswith(str(name))]
    if not found:
        raise NotFound(
            f"evaluation {str(name)!r}: no such folder, nor one in ./{EVALUATIONS}.{did_you_mean(str(name), there)}"
        )
    if len(found) > 1 and str(name) not in found:
        raise InputError(
            f"evaluation {str(name)!r}: more than one begins like that: {', '.join(found[:3])}; give more of it"
        )
    return EVALUATIONS / (str(name) if str(name) in found else found[0])


def _mistakes(path: Path) -> Iterator[Mistake]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read; run `train eval` again ({error})") from error
    for number, line in enumerate(lines, 1):
        if line:
            try:
                yield Mistake.model_validate_json(line)
            except ValidationError as error:
                raise InputError(f"{path}:{number}: {describe(error, Mistake)}") from error


@dataclass(frozen=True, slots=True)
class Flagged:
    """What became of an evaluation's mistakes."""

    evaluation: str
    mistakes: int
    new: int  # flags that were appended now
    there: int  # flagged by this evaluation before
    settled: int  # of all: a person has spoken of the example, whose word stands
    unknown: int  # not in this store, so refused


def flag(settings: ImportSettings, name: Path) -> Flagged:
    """Flag every mistake of an evaluation for review; doing so again changes nothing.

    Raises:
        InputError: the evaluation cannot be read, or the store knows none of its examples.
    """
    evaluation = read(name)
    store = open_store(settings.workspace)
    settled: dict[str, bool] = dict(
        store.rows(
            "SELECT example, bool_or(author LIKE 'human:%' AND decision <> 'retract') FROM "
            "(SELECT examples.id AS example, coalesce(author, '') AS author, coalesce(decision, '') AS decision FROM examples "
            "LEFT JOIN verdicts ON verdicts.example = examples.id) WHERE example IN (SELECT unnest(?)) GROUP BY example",
            [[mistake.id for mistake in evaluation.mistakes]],
        )
    )
    known = [mistake for mistake in evaluation.mistakes if mistake.id in settled]
    if evaluation.mistakes and not known:
        raise InputError(
            f"{evaluation.folder}: none of its {len(evaluation.mistakes):,} examples is in {store.path}; "
            "name the workspace that the dataset was exported from with workspace=FOLDER"
        )
    rows = [verdict_row(_verdict(evaluation.id, mistake), once=True)[1] for mistake in known]
    with store.write() as connection:
        new = store.insert(connection, "verdicts", rows)
    return Flagged(
        evaluation.id, len(evaluation.mistakes), new, len(known) - new, sum(settled[mistake.id] for mistake in known),
        len(evaluation.mistakes) - len(known),
    )  # fmt: skip


def _verdict(evaluation: str, mistake: Mistake) -> Verdict:
    label = f"; the label is {mistake.label}" if mistake.label else ""
    return Verdict(
        example=mistake.id, by=f"check:evaluation@{evaluation}", decision=Decision.FLAG,
        reason=f"{mistake.why}: the model says {mistake.said}{label}", score=mistake.loss,
    )  # fmt: skip


def flag_command(settings: ImportSettings, name: Path) -> int:
    """`curate import evaluation=...`"""
    done = flag(settings, name)
    if settings.as_json:
        print(canonical_json({field: getattr(done, field) for field in Flagged.__slots__}))
        return 0
    say = Console(highlight=False, markup=False, soft_wrap=True).print
    say(f"{done.evaluation}: {done.mistakes:,} mistakes, {done.new:,} flagged now, {done.there:,} flagged before")
    if done.settled:
        say(f"{done.settled:,} of them keep the status that a person gave them")
    if done.unknown:
        say(f"{done.unknown:,} refused: their ids are not in this workspace")
    where = "" if str(settings.workspace) == "workspace" else f" workspace={settings.workspace}"
    say(f"Next:  curate ls status=flagged{where}\n       synth run targets=evaluation:{name} n=200{where}")
    return 0
