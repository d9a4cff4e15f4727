"""What an evaluation asks: a trained model, its base, or somebody's predictions in a file."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curation.errors import InputError
from train.base import identify, load_for_inference
from train.classifier import load_classifier, probabilities
from train.encode import fit, render
from train.runs import Run
from train.scoring import scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Chances = NDArray[np.float64]  # (n,), P(disallowed); nan where there is none


@dataclass(slots=True)
class Subject:
    """A trained model, loaded."""

    name: str
    digest: str  # of the trained weights
    run: Run | None
    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    is_classifier: bool
    batch_size: int
    base_folder: Path | None  # of a model that was trained whole: what it was before

    def chances(self, texts: Sequence[str]) -> Chances:
        """P(disallowed) of each text."""
        if self.is_classifier:
            return probabilities(self.model, self.tokenizer, texts, batch_size=self.batch_size)
        return scores(self.model, self.tokenizer, texts, batch_size=self.batch_size)

    def answers(self, conversations: Sequence[Sequence[Mapping[str, str]]], max_new_tokens: int) -> list[str]:
        """What the model says to each conversation, the likeliest token each time.

        Raises:
            InputError: it is a classifier, which says nothing.
        """
        if self.is_classifier:
            raise InputError(
                f"{self.name} is a classifier and answers nothing; evaluate it on a version of task moderation"
            )
        return generate(self.model, self.tokenizer, conversations, max_new_tokens)

    @contextmanager
    def as_base(self) -> Iterator["Subject | str"]:
        """The same model without what was trained; or why there is none."""
        if self.is_classifier:
            yield "its base has no head that says allowed or disallowed"
        elif hasattr(self.model, "disable_adapter"):
            model: Any = self.model
            with model.disable_adapter():
                yield self
        elif self.base_folder is None:
            yield "what it was before the training is not known here"
        else:
            model, tokenizer, _ = load_for_inference(self.base_folder)
            yield Subject("base", "", None, model, tokenizer, False, self.batch_size, None)


def load_subject(reference: str, runs_dir: Path, *, base: str | None, batch_size: int) -> Subject:
    """The model of a run, or in a folder.

    Raises:
        NotFound: there is no such run or folder.
        InputError: it holds no trained model.
    """
    folder = Path(reference)
    run = None
    if not _holds_model(folder):
        run = Run.open(reference, runs_dir)
        folder = run.adapter if run.adapter.is_dir() else run.model
        if not folder.is_dir():
            raise InputError(
                f"run {run.id} ({run.record.status_now}) has no trained model yet; go on with it: resume=true"
            )
    name = run.id if run else folder.resolve().name
    if _is_classifier(folder):
        model, tokenizer = load_classifier(folder)
        classifier = True
    else:
        model, tokenizer, _ = load_for_inference(run.folder if run else folder, base=base)
        classifier = False
    digest = identify(name, str(folder), model).digest or ""
    return Subject(name, digest, run, model, tokenizer, classifier, batch_size, _before(run))


def _holds_model(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file() or (folder / "config.json").is_file()


def _is_classifier(folder: Path) -> bool:
    for name, key in (("adapter_config.json", "task_type"), ("config.json", "architectures")):
        if (folder / name).is_file():
            value = str(json.loads((folder / name).read_text(encoding="utf-8")).get(key))
            return "SEQ_CLS" in value or "ForSequenceClassification" in value
    return False


def _before(run: Run | None) -> Path | None:
    if run is None:
        return None
    if (run.folder / "base" / "config.json").is_file():
        return run.folder / "base"
    return Path(run.record.base.name) if run.record.base and Path(run.record.base.name).is_dir() else None


def generate(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    conversations: Sequence[Sequence[Mapping[str, str]]],
    max_new_tokens: int,
    batch_size: int = 16,
) -> list[str]:
    """Greedy answers, one a conversation; prompts of like length share a batch, padded on the left."""
    import torch

    from train.scoring import longest

    room = max(16, longest(model) - max_new_tokens)
    prompts = [
        render(tokenizer, fit([dict(turn) for turn in turns], tokenizer, room), ask=True) for turns in conversations
    ]
    found = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at]))
    pad = tokenizer.pad_token_id or 0
    for low in range(0, len(order), batch_size):
        own = order[low : low + batch_size]
        width = max(len(prompts[at]) for at in own)
        ids = torch.tensor([[pad] * (width - len(prompts[at])) + prompts[at] for at in own], device=model.device)
        mask = torch.tensor(
            [[0] * (width - len(prompts[at])) + [1] * len(prompts[at]) for at in own], device=model.device
        )
        any_model: Any = model
        with torch.inference_mode():
            said = any_model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=pad
            )
        for at, answer in zip(own, tokenizer.batch_decode(said[:, width:], skip_special_tokens=True), strict=True):
            found[at] = answer.strip()
    return found


def from_file(path: Path, ids: Sequence[str]) -> Chances:
    """P(disallowed) that a file of `id` and `probability`, or `id` and `label`, holds for these ids; nan where it has none.

    Raises:
        InputError: it cannot be read, or says nothing of any of the ids.
    """
    said: dict[str, float] = {}
    for number, row in enumerate(read_rows(path), 1):
        probability, label = row.get("probability"), row.get("label")
        try:
            if probability not in (None, ""):
                value = float(str(probability))
                if not 0 <= value <= 1:
                    raise ValueError
            elif label in ("allowed", "disallowed"):
                value = float(label == "disallowed")
            elif label in (None, ""):
                continue  # whoever made the file could not say
            else:
                raise ValueError
            said[str(row["id"])] = value
        except (KeyError, ValueError) as error:
            raise InputError(
                f"{path}, row {number}: needs an id, and a probability from 0 to 1 or a label allowed or disallowed"
            ) from error
    if ids and not said.keys() & set(ids):
        raise InputError(f"{path}: holds none of the {len(ids):,} ids that are evaluated")
    return np.array([said.get(identity, np.nan) for identity in ids])


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file, or of a JSONL file of any other name.

    Raises:
        InputError: unreadable, or a line is not a JSON object.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            if path.suffix.lower() == ".csv":
                return list(csv.DictReader(file))
            lines = file.read().split("\n")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}:{number}: broken JSON") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: expected a JSON object")
            rows.append(row)
    return rows
