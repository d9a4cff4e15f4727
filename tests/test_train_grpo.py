"""GRPO on a tiny random model: rewards rise, unscored stays unscored, kill and resume agree, adapters load anywhere."""

from pathlib import Path
from typing import Any

import pytest
import torch
from train_kit import Dies, moderation_rows, moderation_version, settings, write_version

import train.run
from curation.errors import InputError, NotFound
from train import plots
from train.base import load_for_inference
from train.grpo import MODERATE, REPLY, neutral, prompts
from train.run import run_command
from train.runs import Run
from train.tiny import tiny_tokenizer

NAN = float("nan")
SMALL = {"recipe": "grpo", "max_completion": 12, "num_generations": 4, "optimiser": "adamw_torch", "precision": "fp32"}
LORA = {"rank": 4, "alpha": 8.0, "targets": "all-linear", "whole": ("lm_head",)}
NF4 = {"quantization": "nf4", "precision": "bf16", "optimiser": "paged_adamw_8bit"}
OWN = """
def letters(completion, row):
    return sum("a" <= one <= "z" for one in completion) / max(1, len(completion))
def fussy(completion, row):
    if row["label"] == "allowed":
        raise ValueError("cannot judge " + row["category"])
    return 1.0
"""


@pytest.fixture(autouse=True)
def _own_rewards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "grpo_own_rewards.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def _run(tmp_path: Path, version: Any, **given: Any) -> Run:
    words = {**SMALL, "batch_size": 8, "accumulate": 1, "quantization": "none", "max_steps": 2, **given}
    assert run_command(settings(tmp_path, version, **words)) == 0
    return Run.open(given["name"], tmp_path / "runs")


def test_the_mean_reward_rises(tmp_path: Path) -> None:
    version = moderation_version(tmp_path / "posts", train=16, held_out=4)
    rewards = {"grpo_own_rewards:letters": 1.0, "grpo_own_rewards:fussy": 0.5, "cited_policy": 0.25}
    run = _run(
        tmp_path, version, name="rise", rewards=rewards, lora=None, learning_rate=5e-3, max_steps=20, batch_size=16,
        schedule="constant", gradient_checkpointing=False, max_completion=8,
    )  # fmt: skip
    lines = [line for line in run.metrics() if "loss" in line]
    letters = [line["reward/grpo_own_rewards:letters"] for line in lines]
    first, last = sum(letters[:5]) / 5, sum(letters[-5:]) / 5
    assert last > first + 0.15, (first, last)
    assert run.record.metrics["eval_reward"] > 0
    # what raised is unscored: counted, in no mean, and named once
    assert all(line.get("reward/grpo_own_rewards:fussy") in (1.0, None) for line in lines)
    assert run.record.metrics["unscored/grpo_own_rewards:fussy"] == sum(
        line["unscored/grpo_own_rewards:fussy"] for line in lines
    )
    assert 0 < run.record.metrics["unscored/grpo_own_rewards:fussy"] < 20 * 16
    assert run.record.metrics["unscored/grpo_own_rewards:letters"] == 0
    assert (run.folder / "rewards.png").read_bytes().startswith(b"\x89PNG")
    assert (run.model / "model.safetensors").is_file()
    assert (run.model / "tokenizer_config.json").is_file()


def test_an_nf4_adapter_loads_with_equal_logits_in_plain_peft(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    version = moderation_version(tmp_path / "posts", train=8, held_out=4)
    rewards = {"grpo_own_rewards:letters": 1.0, "grpo_own_rewards:fussy": 1.0, "calibrated_refusal": 1.0}
    lora = {"rank": 4, "alpha": 8.0}
    run = _run(
        tmp_path, version, name="nf4", rewards=rewards, quantization="nf4", lora=lora, learning_rate=1e-2,
        optimiser="paged_adamw_8bit", precision="bf16", report_to=("tensorboard",),
    )  # fmt: skip
    said = capsys.readouterr().err
    assert "failed: ValueError: cannot judge none" in said
    assert (
        "calibrated_refusal 32 of 32" in said
    )  # it judges no posts: 2 steps of 8 answers, and those of 4 held-out prompts
    assert "attempting to log" not in said, "a tracker was given something that is no number"
    assert "eval_reward" in said
    ours, tokenizer, base = load_for_inference(run.folder)
    assert run.record.base is not None
    assert base.digest == run.record.base.digest
    plain = AutoModelForCausalLM.from_pretrained(run.folder / "base", dtype=torch.float32)
    plain = PeftModel.from_pretrained(plain, run.adapter).eval()
    fp32, *_ = load_for_inference(run.folder, precision="fp32", quantization="none")
    ids = tokenizer("the casino near the jackpot", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = plain(ids).logits
        torch.testing.assert_close(fp32(ids).logits.float(), expected, atol=1e-5, rtol=1e-5)
        with plain.disable_adapter():
            assert not torch.equal(plain(ids).logits, expected)  # the adapter does something
        assert (ours(ids).logits.float() - expected).abs().mean() < 0.2 * expected.std()  # 4 bits, the same adapter


def test_killed_and_resumed_gives_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over 4 bits, with an 8-bit optimiser, as the recipe has it; fp32 is tested with sft and the classifier."""
    from safetensors.torch import load_file

    version = moderation_version(tmp_path / "posts", train=16, held_out=0)
    words = {
        "rewards": {"grpo_own_rewards:letters": 1.0},
        "lora": LORA,
        "learning_rate": 1e-2,
        "max_steps": 4,
        "save_every": 2,
        "max_completion": 8,
        **NF4,
    }
    whole = _run(tmp_path, version, name="whole", **words)
    with monkeypatch.context() as patched:
        patched.setattr(train.run, "Interrupts", Dies)
        with pytest.raises(train.run.Stopped):
            _run(tmp_path, version, name="cut", **words)
    cut = Run.open("cut", tmp_path / "runs")
    assert cut.record.status == "killed"
    assert [path.name for path in cut.checkpoints.glob("checkpoint-*")] == ["checkpoint-2"]
    resumed = _run(tmp_path, version, name="cut", resume=True, **words)
    one, other = (load_file(run.adapter / "adapter_model.safetensors") for run in (whole, resumed))
    assert one.keys() == other.keys()
    for key in one:
        torch.testing.assert_close(one[key], other[key], atol=0, rtol=0)
    rewards = [[line["reward"] for line in run.metrics() if "loss" in line] for run in (whole, resumed)]
    assert len(rewards[0]) == 4
    assert rewards[0] == rewards[1]


def test_an_unscored_reward_moves_a_completion_neither_way() -> None:
    scored = torch.tensor(
        [[1.0, 0.2], [NAN, 0.4], [0.0, NAN], [NAN, NAN], [NAN, 1.0], [NAN, 3.0], [NAN, NAN], [NAN, 2.0]]
    )
    filled = neutral(scored, 4)
    first = [[1.0, 0.2], [0.5, 0.4], [0.0, 0.3], [NAN, NAN]]  # the group's means are 0.5 and 0.3
    second = [[NAN, 1.0], [NAN, 3.0], [NAN, NAN], [NAN, 2.0]]  # a function that scored nothing of a group stays out
    torch.testing.assert_close(filled, torch.tensor([*first, *second]), equal_nan=True)


def test_prompts_ask_for_the_tags_and_keep_the_labels(tmp_path: Path) -> None:
    version = moderation_version(tmp_path / "posts", train=4, held_out=0)
    tokenizer = tiny_tokenizer(version)
    first = prompts(version, "train", tokenizer, 500)[0]
    assert [turn["role"] for turn in first["prompt"]] == ["system", "user"]
    assert first["prompt"][0]["content"] == MODERATE
    assert "<reasoning>" in MODERATE
    assert "</answer>" in MODERATE
    assert first["row"]["label"] == moderation_rows(1)[0]["label"]
    assert first["row"]["severity"] == 0
    asked = [{"role": "user", "content": "How do I boil an egg?"}, {"role": "assistant", "content": "In water."}]
    talk = {"messages": asked, "label": "comply"}
    safety = write_version(tmp_path / "safety", {"train": [talk]}, format="messages")
    (only,) = prompts(safety, "train", tokenizer, 500)
    assert [turn["content"] for turn in only["prompt"]] == [REPLY, "How do I boil an egg?"]
    assert only["row"]["label"] == "comply"


def test_a_long_prompt_is_cut_in_the_users_text(tmp_path: Path) -> None:
    row = {**moderation_rows(1)[0], "text": "the casino near the library " * 400}
    version = write_version(tmp_path / "long", {"train": [row]})
    tokenizer = tiny_tokenizer(version)
    (only,) = prompts(version, "train", tokenizer, 400)
    assert only["prompt"][0]["content"] == MODERATE
    assert 50 < len(only["prompt"][1]["content"]) < len(row["text"])


def test_what_cannot_work_is_said_before_a_model_is_loaded(tmp_path: Path) -> None:
    version = moderation_version(tmp_path / "posts", train=4, held_out=0)
    with pytest.raises(InputError, match=r"draws 6 answers .* num_generations=4"):
        _run(tmp_path, version, name="odd", batch_size=6, rewards={"brevity": 1})
    with pytest.raises(NotFound, match="Did you mean 'brevity'"):
        _run(tmp_path, version, name="unknown", rewards={"brevty": 1})
    assert Run.open("unknown", tmp_path / "runs").record.status == "failed"


def test_curves_with_gaps_are_drawn(tmp_path: Path) -> None:
    lines = [
        {"step": 1, "loss": 0.1, "reward": 1.0, "reward/brevity": None},
        {"step": 2, "loss": 0.1, "reward": 1.5, "reward/brevity": 0.5},
    ]
    plots.rewards(tmp_path / "rewards.png", lines, {"brevity": 0.1}, "gaps")
    plots.rewards(tmp_path / "none.png", [], {"brevity": 0.1}, "nothing")
    one, none = ((tmp_path / name).read_bytes() for name in ("rewards.png", "none.png"))
    assert one.startswith(b"\x89PNG")
    assert one != none
