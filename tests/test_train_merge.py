"""`train merge`: the merged model in plain transformers gives the logits of base and adapter."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import train_kit
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from curation.errors import InputError, NotFound, WorkspaceError
from train.base import load_for_inference
from train.config import MergeSettings, RunSettings
from train.merge import difference, logits, merge
from train.run import run_command
from train.tiny import tiny_model

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")

ROWS = [list(range(3, 60)), list(range(200, 230))]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny base with a PEFT folder `a`, and runs `nf4` and `full` on it."""
    folder = tmp_path_factory.mktemp("merge")
    version = train_kit.moderation_version(folder / "workspace" / "datasets" / "mod")
    model, tokenizer = tiny_model(version, 0)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_pretrained(folder / "base")
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(model, config).save_pretrained(folder / "a")
    for name, recipe in (("nf4", "qlora"), ("full", "full")):
        fixed = {"dataset": str(version.folder), "runs_dir": folder / "runs", "report_to": ("none",), "max_length": 128}
        given: dict[str, Any] = {"recipe": recipe, "model": str(folder / "base"), "max_steps": 3, "learning_rate": 1e-2}
        assert run_command(RunSettings(**{**fixed, **given, "name": name})) == 0
    return folder


def plain(folder: Path, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return logits(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype), ROWS)


def settings(home: Path, tmp_path: Path, run: str, **given: Any) -> MergeSettings:
    fixed = {"run": run, "to": tmp_path / "merged", "runs_dir": home / "runs", "dtype": "fp32"}
    return MergeSettings(**{**fixed, **given})


def test_fp32_gives_the_logits_of_base_and_adapter(home: Path, tmp_path: Path) -> None:
    made = merge(settings(home, tmp_path, str(home / "a")))
    base = AutoModelForCausalLM.from_pretrained(home / "base", dtype=torch.float32)
    bare = logits(base, ROWS)
    theirs = logits(PeftModel.from_pretrained(base, home / "a").eval(), ROWS)
    assert difference(theirs, bare) > 0.1  # the adapter does something
    assert difference(theirs, plain(tmp_path / "merged")) < 1e-5
    assert made.onto == "original"
    assert AutoTokenizer.from_pretrained(tmp_path / "merged").chat_template
    GenerationConfig.from_pretrained(tmp_path / "merged")
    assert "relative difference" in (tmp_path / "merged" / "README.md").read_text()


def test_bf16_is_within_its_rounding_and_half_the_size(home: Path, tmp_path: Path) -> None:
    made = merge(settings(home, tmp_path, str(home / "a"), dtype="bf16", to=tmp_path / "half"))
    merge(settings(home, tmp_path, str(home / "a"), to=tmp_path / "whole"))
    assert made.difference < 0.02
    assert difference(plain(tmp_path / "whole"), plain(tmp_path / "half", torch.bfloat16)) < 0.02
    half, whole = (sum(p.stat().st_size for p in (tmp_path / n).glob("*.safetensors")) for n in ("half", "whole"))
    assert 0.45 < half / whole < 0.55


def test_over_4_bits_the_dequantised_base_is_nearer_to_what_was_trained(home: Path, tmp_path: Path) -> None:
    deq = merge(settings(home, tmp_path, "nf4", to=tmp_path / "deq"))
    original = merge(settings(home, tmp_path, "nf4", to=tmp_path / "original", onto="original"))
    model, _, _ = load_for_inference("nf4", runs_dir=home / "runs")
    trained = logits(model, ROWS)
    assert deq.onto == "dequantised"
    assert difference(trained, plain(tmp_path / "deq")) < 0.02
    assert 0.02 < difference(trained, plain(tmp_path / "original")) < 0.5
    assert deq.difference < original.difference
    assert "quantization_config" not in json.loads((tmp_path / "deq" / "config.json").read_text())
    assert "manifest sha256" in (tmp_path / "deq" / "README.md").read_text()


def test_shards_have_the_size_that_was_asked_for(home: Path, tmp_path: Path) -> None:
    merge(settings(home, tmp_path, str(home / "a"), shard_size="200KB"))
    shards = list((tmp_path / "merged").glob("*.safetensors"))
    assert len(shards) > 1
    assert max(path.stat().st_size for path in shards) < 210_000
    assert plain(tmp_path / "merged").isfinite().all()


def test_what_cannot_be_merged_is_one_line(home: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run full trained every weight .* has a model and no adapter"):
        merge(settings(home, tmp_path, "full"))
    with pytest.raises(NotFound, match=r"no run 'nf5' .* Did you mean 'nf4'"):
        merge(settings(home, tmp_path, "nf5"))
    with pytest.raises(InputError, match="leave out onto=dequantised"):
        merge(settings(home, tmp_path, str(home / "a"), onto="dequantised"))
    with pytest.raises(InputError, match="is there already"):
        merge(settings(home, tmp_path, "nf4", to=home / "base"))
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("transformers.PreTrainedModel.save_pretrained", full)
    with pytest.raises(WorkspaceError, match="merged: cannot be written: No space left on device; make room"):
        merge(settings(home, tmp_path, str(home / "a")))
    assert list(tmp_path.iterdir()) == []
