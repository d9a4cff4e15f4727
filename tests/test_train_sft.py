"""`train run` with the sft recipes, for real on a tiny model, and what plain transformers and PEFT make of the outcome."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from train_kit import moderation_version, settings

from curation.errors import InputError
from train.base import keep_unpacked, load_base, load_for_inference
from train.data import Version, chat, rows
from train.encode import render
from train.recipes import load
from train.run import run_command
from train.runs import Run


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return moderation_version(tmp_path_factory.mktemp("datasets") / "mod")


def trained(tmp_path: Path, version: Version, **given: Any) -> Run:
    assert run_command(settings(tmp_path, version, name="r", **given)) == 0
    return Run.open("r", tmp_path / "runs")


def losses(run: Run) -> list[float]:
    return [line["loss"] for line in run.metrics() if "loss" in line]


def batch(version: Version, tokenizer: Any) -> torch.Tensor:
    return torch.tensor([render(tokenizer, chat(rows(version, "test")[0])[:-1], ask=True)])


def test_a_qlora_adapter_loads_in_plain_peft_with_equal_logits(tmp_path: Path, version: Version) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    run = trained(tmp_path, version, recipe="qlora", learning_rate=5e-3, lora={"rank": 4})
    assert {"README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= {
        path.name for path in run.adapter.iterdir()
    }
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in run.adapter.iterdir()), "others cannot read the weights"
    assert [line["step"] for line in run.metrics() if "eval_auroc" in line] == [0, 6]
    assert (run.folder / "learning.png").stat().st_size > 5_000
    assert losses(run)[-1] < losses(run)[0] - 0.1
    config = json.loads((run.adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str((run.folder / "base").resolve())

    ours, tokenizer, base = load_for_inference("r", runs_dir=tmp_path / "runs")
    four_bit = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    plain_base = AutoModelForCausalLM.from_pretrained(
        config["base_model_name_or_path"], quantization_config=four_bit, dtype=torch.bfloat16
    )
    keep_unpacked(plain_base)  # the two ways of multiplying on a CPU differ by rounding
    plain = PeftModel.from_pretrained(plain_base, run.adapter).eval()
    ids = batch(version, AutoTokenizer.from_pretrained(run.adapter))
    assert torch.equal(ids, batch(version, tokenizer))
    with torch.no_grad():
        torch.testing.assert_close(ours(input_ids=ids).logits, plain(input_ids=ids).logits, atol=0, rtol=0)
        untouched = plain_base
        with plain.disable_adapter():
            without = untouched(input_ids=ids).logits
        assert float((without - plain(input_ids=ids).logits).abs().max()) > 0.01
    assert base == run.record.base.model_copy(update={"name": base.name})  # the same digest


def test_a_lora_adapter_in_fp32_loads_with_equal_logits(tmp_path: Path, version: Version) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    run = trained(
        tmp_path, version, recipe="lora", precision="fp32", learning_rate=5e-3, lora={"rank": 4, "whole": ["lm_head"]}
    )
    ours, tokenizer, _ = load_for_inference(run.adapter)
    plain = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(run.folder / "base"), run.adapter).eval()
    ids = batch(version, tokenizer)
    with torch.no_grad():
        torch.testing.assert_close(ours(input_ids=ids).logits, plain(input_ids=ids).logits, atol=1e-6, rtol=0)
    assert losses(run)[-1] < losses(run)[0] - 0.1


def test_a_full_model_loads_as_is_and_learns(tmp_path: Path, version: Version) -> None:
    from transformers import AutoModelForCausalLM

    run = trained(tmp_path, version, max_steps=20, eval_every=10, learning_rate=1e-2)
    ours, tokenizer, _ = load_for_inference(run.folder)
    plain = AutoModelForCausalLM.from_pretrained(run.model)
    ids = batch(version, tokenizer)
    with torch.no_grad():
        torch.testing.assert_close(ours(input_ids=ids).logits, plain(input_ids=ids).logits, atol=1e-6, rtol=0)
    assert losses(run)[0] > 4
    assert run.record.metrics["train_loss"] < 1.5
    assert run.record.metrics["eval_loss"] < 1.5
    evaluated = [line for line in run.metrics() if "eval_loss" in line]
    assert [line["step"] for line in evaluated] == [10, 20]


def test_a_run_says_what_it_was(tmp_path: Path, version: Version, capsys: pytest.CaptureFixture[str]) -> None:
    run = trained(tmp_path, version, report_to=("tensorboard",))
    out, err = capsys.readouterr()
    assert "a smoke path, no result" in err
    assert "48 examples" in err
    assert "ETA" in err
    assert "train show r" in out
    record = run.record
    assert (record.status, record.digest, record.dataset_title) == ("done", version.digest, "mod@1")
    assert record.environment.keys() >= {"python", "torch", "transformers", "peft", "trl"}
    assert record.base.digest is not None
    assert record.metrics.keys() >= {"train_loss", "eval_loss", "steps", "tokens", "seconds"}
    assert record.data["examples"] == record.data["used"] == 48
    lines = [line for line in run.metrics() if "loss" in line]
    assert lines[0].keys() >= {"step", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_s", "memory_mb"}
    assert lines[0]["memory_mb"] > 50
    assert json.loads((run.folder / "data.json").read_text())["histogram"]["counts"]
    card = (run.folder / "README.md").read_text()
    assert "**This is a smoke run.**" in card
    assert version.digest in card
    assert record.base.digest in card
    assert record.code in card
    assert (run.folder / "loss.png").stat().st_size > 5_000
    assert list((run.folder / "tensorboard").glob("events*"))
    assert run.config["recipe"]["max_steps"] == 6


def test_packing_group_by_length_and_plain_batches_all_learn(tmp_path: Path, version: Version) -> None:
    found = {}
    for name, how in {
        "packed": {"packing": True, "batch_size": 2},
        "grouped": {"group_by_length": True},
        "plain": {},
    }.items():
        shape = {"group_by_length": False, "packing": False, **how}
        run_command(settings(tmp_path, version, name=name, max_steps=10, max_length=256, learning_rate=6e-3, **shape))
        found[name] = Run.open(name, tmp_path / "runs")
    assert found["packed"].record.data["rows"] < 24
    assert found["plain"].record.data["rows"] == 48
    for run in found.values():
        assert losses(run)[0] > 4
        assert run.record.metrics["eval_loss"] < 3.5


def test_the_4_bit_gradients_stay_right_after_an_evaluation(tmp_path: Path, version: Version) -> None:
    """On CPUs with AVX512-BF16 an evaluation would repack the weights; every later gradient would be wrong."""
    import bitsandbytes as bnb

    model, tokenizer, _ = load_base("tiny", load("qlora"), version, seed=0, folder=tmp_path / "base")
    layers = [module for module in model.modules() if isinstance(module, bnb.nn.Linear4bit)]
    assert len(layers) == 14
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    assert layers[0].weight.quant_state.nested  # double quantisation
    ids = batch(version, tokenizer)

    def gradient() -> torch.Tensor:
        embedded = model.get_input_embeddings()(ids).detach().requires_grad_(True)
        model.train()(inputs_embeds=embedded, use_cache=False).logits.float().logsumexp(-1).sum().backward()
        assert embedded.grad is not None
        return embedded.grad.float()

    before = gradient()
    with torch.no_grad():
        model.eval()(input_ids=ids)
    torch.testing.assert_close(gradient(), before, atol=0, rtol=0)


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path: Path, version: Version) -> None:
    from safetensors.torch import load_file

    weights = {}
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        words = {
            "recipe": "lora",
            "lora": {"rank": 2},
            "precision": "fp32",
            "gradient_checkpointing": False,
            "max_steps": 2,
        }
        run_command(settings(tmp_path, version, name=name, seed=seed, batch_size=4, accumulate=1, **words))
        weights[name] = load_file(tmp_path / "runs" / name / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(weights["a"][key], weights["b"][key]) for key in weights["a"])
    assert not all(torch.equal(weights["a"][key], weights["c"][key]) for key in weights["a"])


def test_what_cannot_be_loaded_is_one_line(tmp_path: Path, version: Version) -> None:
    for model, complaint in (
        ("nobody/nothing-here", "not to be had from the hub"),
        (str(version.folder), "cannot be loaded as a causal language model"),
    ):
        with pytest.raises(InputError, match=complaint) as caught:
            run_command(settings(tmp_path, version, model=model))
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="names no model"):
        run_command(settings(tmp_path, version, recipe="lora", model=None))
    assert {run.record.status for run in map(Run.open, (tmp_path / "runs").iterdir())} == {"failed"}
