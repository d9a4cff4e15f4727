"""DPO on a tiny random model: the margin grows, adapters load anywhere, kill and resume agree."""

from pathlib import Path
from typing import Any

import pytest
import torch
from train_kit import Dies, moderation_version, settings, write_version

import train.run
from curation.errors import InputError
from train.base import load_for_inference
from train.data import Version
from train.dpo import preferences
from train.run import run_command
from train.runs import Run
from train.tiny import tiny_tokenizer

LORA = {"rank": 8, "alpha": 16.0}
SMALL = {"recipe": "dpo", "optimiser": "adamw_torch", "precision": "fp32", "quantization": "none", "batch_size": 8}

NF4 = {"quantization": "nf4", "precision": "bf16", "optimiser": "paged_adamw_8bit"}


def _version(home: Path, train: int = 24, held_out: int = 8) -> Version:
    """Questions whose polite answer is chosen over the rude one."""

    def rows(start: int, n: int) -> list[dict[str, Any]]:
        things = ("bus", "rice", "rain", "lift", "exam")
        return [
            {
                "prompt": f"What do you say of the {things[i % 5]} at {i} o'clock?",
                "chosen": f"Thank you for asking, the {things[i % 5]} is lovely.",
                "rejected": f"Who cares about the {things[i % 5]}, go away.",
            }
            for i in range(start, start + n)
        ]

    return write_version(home, {"train": rows(0, train), "validation": rows(train, held_out)}, format="preference")


def _run(tmp_path: Path, version: Version, **given: Any) -> Run:
    assert run_command(settings(tmp_path, version, **{**SMALL, "accumulate": 1, "lora": LORA, **given})) == 0
    return Run.open(given["name"], tmp_path / "runs")


def test_chosen_answers_become_likelier_than_rejected_ones(tmp_path: Path) -> None:
    version = _version(tmp_path / "manners")
    run = _run(tmp_path, version, name="learns", learning_rate=1e-2, max_steps=15, gradient_checkpointing=False)
    lines = [line for line in run.metrics() if "loss" in line]
    assert len(lines) == 15
    assert lines[0]["rewards/margins"] == pytest.approx(0, abs=1e-5)  # at the start the model is the reference
    assert lines[0]["loss"] == pytest.approx(0.6931, abs=1e-3)  # log 2
    final = run.record.metrics
    assert final["train_loss"] < 0.4
    assert final["margin"] > 0.5
    assert final["accuracy"] == 1.0
    assert final["eval_accuracy"] == 1.0  # of questions that were not learnt from
    assert final["eval_margin"] > 0.3
    assert 0 < final["eval_loss"] < 0.6


def test_an_nf4_adapter_loads_with_equal_logits_in_plain_peft(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    version = _version(tmp_path / "manners", held_out=4)
    run = _run(
        tmp_path, version, name="nf4", learning_rate=1e-2, max_steps=3, quantization="nf4", precision="bf16",
        optimiser="paged_adamw_8bit", eval_every=2,
    )  # fmt: skip
    assert [line["step"] for line in run.metrics() if "eval_loss" in line][:1] == [2]
    plain = AutoModelForCausalLM.from_pretrained(run.folder / "base", dtype=torch.float32)
    plain = PeftModel.from_pretrained(plain, run.adapter).eval()
    ours, tokenizer, _ = load_for_inference(run.folder, precision="fp32", quantization="none")
    ids = tokenizer("the bus is lovely", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = plain(ids).logits
        torch.testing.assert_close(ours(ids).logits.float(), expected, atol=1e-5, rtol=1e-5)
        with plain.disable_adapter():
            assert not torch.equal(plain(ids).logits, expected)  # the adapter does something


def test_a_whole_model_is_trained_against_a_copy_of_itself(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    version = _version(tmp_path / "manners", held_out=0)
    run = _run(tmp_path, version, name="whole", lora=None, learning_rate=3e-3, max_steps=4, schedule="constant")
    lines = [line for line in run.metrics() if "loss" in line]
    assert lines[0]["rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert lines[-1]["rewards/margins"] > 0.1
    model = AutoModelForCausalLM.from_pretrained(run.model)
    base = AutoModelForCausalLM.from_pretrained(run.folder / "base")
    assert not torch.equal(model.lm_head.weight, base.lm_head.weight)


def test_killed_and_resumed_gives_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 4 bits, with an 8-bit optimiser, as the recipe has it; fp32 is tested with sft and the classifier."""
    from safetensors.torch import load_file

    version = _version(tmp_path / "manners", held_out=0)
    words = {"learning_rate": 1e-2, "max_steps": 4, "save_every": 2, **NF4}
    whole = _run(tmp_path, version, name="whole", **words)
    with monkeypatch.context() as patched:
        patched.setattr(train.run, "Interrupts", Dies)
        with pytest.raises(train.run.Stopped):
            _run(tmp_path, version, name="cut", **words)
    cut = Run.open("cut", tmp_path / "runs")
    assert [path.name for path in cut.checkpoints.glob("checkpoint-*")] == ["checkpoint-2"]
    resumed = _run(tmp_path, version, name="cut", resume=True, **words)
    one, other = (load_file(run.adapter / "adapter_model.safetensors") for run in (whole, resumed))
    for key in one:
        torch.testing.assert_close(one[key], other[key], atol=0, rtol=0)
    losses = [[line["loss"] for line in run.metrics() if "loss" in line] for run in (whole, resumed)]
    assert len(losses[0]) == 4
    assert losses[0] == losses[1]


def test_a_long_prompt_is_cut_and_the_answers_stay(tmp_path: Path) -> None:
    row = {"prompt": "the bus and the lift " * 200, "chosen": "It is late, and I am sorry.", "rejected": "So what."}
    version = write_version(tmp_path / "long", {"train": [row]}, format="preference")
    found, cut = preferences(version, "train", tiny_tokenizer(version), 100)
    assert cut == 1
    (only,) = found
    assert only["chosen"] == [{"role": "assistant", "content": row["chosen"]}]
    assert only["rejected"] == [{"role": "assistant", "content": row["rejected"]}]
    assert 20 < len(only["prompt"][0]["content"]) < len(row["prompt"])


def test_another_format_is_refused_with_the_command_that_helps(tmp_path: Path) -> None:
    version = moderation_version(tmp_path / "posts", train=4, held_out=0)
    with pytest.raises(InputError, match="curate export posts format=preference"):
        _run(tmp_path, version, name="wrong")
