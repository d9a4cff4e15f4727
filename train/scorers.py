"""What scores texts: a language model by its label tokens, or a classifier by its head; whichever an adapter is of."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from curation.errors import InputError, NotFound
from train.config import PredictSettings
from train.runs import Run
from train.scoring import Score, Scorer, longest, shortened

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST_TOKENS = 4096  # of a prompt, where max_length is not given


class Scores(Protocol):
    """Anything that scores texts, one score a text, in order."""

    def score(self, texts: Sequence[str]) -> list[Score]: ...


def open_scorer(settings: PredictSettings) -> Scores:
    """The scorer of a run, a PEFT folder or a whole model, on the GPU if there is one.

    Raises:
        NotFound: there is no such run, folder or model.
        InputError: it cannot be loaded, or cannot score.
    """
    import torch
    from transformers.utils import logging as library

    words: Any = library
    words.set_verbosity_error()
    words.disable_progress_bar()
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    if settings.threads:
        torch.set_num_threads(settings.threads)
    policy = _policy(settings.policy)
    folder = _classifier(settings)
    if folder is not None:
        from train.classifier import load_classifier

        for name in ("policy", "model", "quantization"):
            if getattr(settings, name) is not None:
                raise InputError(f"{name}: {settings.adapter!r} is a classifier, which takes none; leave it out")
        model, tokenizer = load_classifier(folder)
        return Classifier(_placed(model), tokenizer, settings)
    from train.base import load_for_inference

    model, tokenizer, _ = load_for_inference(
        settings.adapter,
        runs_dir=settings.runs_dir,
        base=settings.model,
        precision=settings.precision,
        quantization=settings.quantization,
    )
    return Scorer(
        _placed(model), tokenizer, policy=policy, max_length=settings.max_length or min(MOST_TOKENS, longest(model)),
        batch_size=settings.batch_size, batch_tokens=settings.batch_tokens, share_prefix=settings.share_prefix,
    )  # fmt: skip


def _placed(model: "PreTrainedModel") -> "PreTrainedModel":
    import torch

    quantised = getattr(model, "is_quantized", False) or getattr(model, "quantization_method", None)
    if torch.cuda.is_available() and not quantised:
        placed: Any = model
        placed.to("cuda")
    return model


def _policy(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error
    except OSError as error:
        raise InputError(f"policy={path}: cannot be read: {error.strerror}") from error


def _classifier(settings: PredictSettings) -> Path | None:
    """The folder of the classifier that `adapter` names, if it names one."""
    folder = Path(settings.adapter)
    if not folder.is_dir() or (folder / "run.json").is_file():
        try:
            run = Run.open(settings.adapter, settings.runs_dir)
        except NotFound:
            return None
        folder = run.adapter if run.adapter.is_dir() else run.model
    adapter, config = _json(folder / "adapter_config.json"), _json(folder / "config.json")
    names = [str(name) for name in config.get("architectures") or ()]
    is_one = adapter.get("task_type") == "SEQ_CLS" or any(name.endswith("ForSequenceClassification") for name in names)
    return folder if is_one else None


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Classifier:
    """Scores texts by a classifier's head."""

    def __init__(
        self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", settings: PredictSettings
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._batch_size = settings.batch_size
        room = min(longest(model), int(tokenizer.model_max_length))
        self._max_length = min(settings.max_length or room, room)

    def score(self, texts: Sequence[str]) -> list[Score]:
        """One score a text, in order."""
        from train.classifier import probabilities

        sized = [shortened(text, 4 * self._max_length) for text in texts]
        found = probabilities(
            self.model, self.tokenizer, sized, batch_size=self._batch_size, max_length=self._max_length
        )
        return [
            Score(float(probability), None, self._is_cut(text))
            if text.strip()
            else Score(None, reason="the text is empty")
            for probability, text in zip(found, sized, strict=True)
        ]

    def _is_cut(self, text: str) -> bool:
        return len(text) > self._max_length // 4 and len(self.tokenizer(text)["input_ids"]) > self._max_length
