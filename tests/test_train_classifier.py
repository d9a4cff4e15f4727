"""The classifier recipe: it learns, plain libraries load what it leaves, and it resumes to the same weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import train_kit as kit
from transformers import AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification

from curation.errors import InputError, NotFound
from train import card, classifier, recipes
from train.data import Version, rows
from train.interrupts import Interrupts, Stopped
from train.runs import Run

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed in v6:FutureWarning")
SMALL = {"recipe": "classifier", "model": None, "max_steps": None, "max_length": 64, "log_every": 10}


def trained(
    tmp_path: Path, version: Version, interrupts: Interrupts | None = None, run: Run | None = None, **given: Any
) -> tuple[Run, Any]:
    settings = kit.settings(tmp_path, version, **{**SMALL, **given})
    recipe = recipes.load(
        "classifier", {key: value for key, value in settings.overrides().items() if value is not None or key == "lora"}
    )
    run = run or Run.create(tmp_path / "runs", recipe, version, seed=settings.seed)
    return run, classifier.train(run, recipe, version, settings, interrupts)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return kit.moderation_version(tmp_path_factory.mktemp("data") / "posts", train=160, held_out=40)


@pytest.fixture(scope="module")
def scratch_run(tmp_path_factory: pytest.TempPathFactory, version: Version) -> tuple[Run, Any]:
    return trained(tmp_path_factory.mktemp("scratch"), version, epochs=8, eval_every=10)


def texts(version: Version, split: str = "test") -> list[str]:
    return [classifier.text_of(row) for row in rows(version, split)]


def test_from_scratch_it_learns_its_version(scratch_run: tuple[Run, Any]) -> None:
    run, metrics = scratch_run
    course = [line["eval_auroc"] for line in run.metrics() if "eval_auroc" in line]
    assert course[0] < 0.8, "random weights know the labels already"
    assert metrics["eval_auroc"] == course[-1] >= 0.95
    assert (run.folder / "learning.png").stat().st_size > 5_000
    assert run.record.base is not None
    assert run.record.base.name == "tiny"
    assert run.record.data["allowed"] == run.record.data["disallowed"] == 80


def test_plain_transformers_loads_it_with_equal_logits(scratch_run: tuple[Run, Any], version: Version) -> None:
    run, _ = scratch_run
    plain, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(run.model),
        AutoTokenizer.from_pretrained(run.model),
    )
    assert plain.config.id2label == {0: "allowed", 1: "disallowed"}
    ours = classifier.probabilities(*classifier.load_classifier(run.model), texts(version), batch_size=7)
    with torch.no_grad():
        alone = [
            plain.eval()(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0, 1].item()
            for text in texts(version)
        ]
    np.testing.assert_allclose(ours, alone, atol=1e-5)
    labels = [row["label"] == "disallowed" for row in rows(version, "test")]
    assert ((ours > 0.5) == labels).mean() > 0.9


def test_the_card_says_how_to_load_it_and_anybody_may_read_the_weights(
    scratch_run: tuple[Run, Any], version: Version
) -> None:
    run, _ = scratch_run
    card.write(run, run.recipe())
    found = kit.run_snippet(run)
    assert found["disallowed"] == pytest.approx(
        classifier.probabilities(found["model"], found["tokenizer"], ["Lunch was good"])[0]
    )
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in run.model.iterdir())


def test_long_texts_are_cut_where_they_were_cut_in_training(scratch_run: tuple[Run, Any]) -> None:
    model, tokenizer = classifier.load_classifier(scratch_run[0].model)
    assert tokenizer.model_max_length == 64
    text = "the casino near the odds " * 30
    assert classifier.probabilities(model, tokenizer, [text]) == pytest.approx(
        classifier.probabilities(model, tokenizer, [text + "the library and lunch in the garden " * 1000])
    )


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, version: Version) -> Path:
    """A random BERT without a head, as a pretrained encoder comes."""
    folder = tmp_path_factory.mktemp("encoder")
    _, tokenizer = classifier.tiny_encoder(version, 0)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64
    )
    BertForSequenceClassification(config).bert.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_adapters_on_an_encoder_load_in_plain_peft(tmp_path: Path, version: Version, encoder: Path) -> None:
    run, metrics = trained(
        tmp_path,
        version,
        model=str(encoder),
        lora={"rank": 8, "alpha": 16},
        learning_rate=1e-2,
        epochs=8,
        word_dropout=0,
    )
    assert metrics["eval_auroc"] > 0.9
    config = json.loads((run.adapter / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_CLS"
    assert "classifier" in config["modules_to_save"]
    assert not run.model.exists()
    assert run.record.base is not None
    assert run.record.base.digest

    from peft import AutoPeftModelForSequenceClassification

    plain = AutoPeftModelForSequenceClassification.from_pretrained(run.adapter).eval()
    tokenizer = AutoTokenizer.from_pretrained(run.adapter)
    ours = classifier.probabilities(*classifier.load_classifier(run.adapter), texts(version))
    with torch.no_grad():
        alone = [
            plain(**tokenizer(text, return_tensors="pt")).logits.softmax(-1)[0, 1].item() for text in texts(version)
        ]
    np.testing.assert_allclose(ours, alone, atol=1e-5)
    before = BertForSequenceClassification.from_pretrained(encoder, num_labels=2).bert.state_dict()
    after = plain.get_base_model().bert.state_dict()
    frozen = {name.replace(".base_layer", ""): weight for name, weight in after.items() if "lora_" not in name}
    same = [name for name in before if name in frozen and torch.equal(before[name], frozen[name])]
    assert len(same) >= len(before) - 4  # all but the pooler, which is trained whole or as it was


class AskedAt(Interrupts):
    """A user who stops after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    @property
    def asked(self) -> bool:
        self.left -= 1
        return self.left < 0

    @asked.setter
    def asked(self, value: bool) -> None:
        raise AssertionError


def test_a_resumed_run_ends_in_the_same_weights(tmp_path: Path, version: Version) -> None:
    fixed = {"max_steps": 8, "save_every": 100, "eval_every": None, "word_dropout": 0.3}
    whole, _ = trained(tmp_path / "whole", version, **fixed)
    given = kit.settings(tmp_path, version, **{**SMALL, **fixed}).overrides()
    run = Run.create(tmp_path / "runs", recipes.load("classifier", given), version)
    with pytest.raises(Stopped):
        trained(tmp_path, version, AskedAt(4), run=run, **fixed)
    assert str(run.last_checkpoint()).endswith("-5")
    trained(tmp_path, version, run=run, resume=True, **fixed)
    one, other = (AutoModelForSequenceClassification.from_pretrained(it.model).state_dict() for it in (whole, run))
    for name, weight in one.items():
        assert torch.equal(weight, other[name]), name


def test_messages_are_read_as_the_texts_they_ask_about(tmp_path: Path) -> None:
    row = {"messages": [
        {"role": "system", "content": "You moderate."}, {"role": "user", "content": "Hello"}, {"role": "assistant", "content": "{}"},
    ], "label": "allowed"}  # fmt: skip
    assert classifier.text_of(row) == "Hello"
    assert classifier.text_of({"text": "Plain"}) == "Plain"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"quantization": "nf4", "lora": {"rank": 4}}, "an encoder is small"),
        ({"lora": {"rank": 4}}, "random weights"),
        ({"model": "no/such-encoder"}, "no encoder 'no/such-encoder'"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, version: Version, given: dict[str, Any], said: str) -> None:
    with pytest.raises((InputError, NotFound), match=said):
        trained(tmp_path, version, **given)


def test_rows_that_are_not_moderation_are_refused(tmp_path: Path) -> None:
    good = kit.moderation_rows(8)
    other = kit.write_version(tmp_path / "other", {"train": [{**row, "label": "comply"} for row in good]})
    with pytest.raises(InputError, match="label 'comply'"):
        trained(tmp_path, other)
    one = kit.write_version(tmp_path / "one", {"train": [row for row in good if row["label"] == "allowed"]})
    with pytest.raises(InputError, match="no disallowed text to learn from"):
        trained(tmp_path / "more", one)
