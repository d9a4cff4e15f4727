"""Runs on disk: kill and resume, stopping, refusals, and looking at them with ls, show, diff and cp."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from train_kit import moderation_version, settings

from curation.commands import main
from curation.errors import InputError, NotFound, WorkspaceError
from train.cli import COMMANDS
from train.config import RunSettings
from train.data import Version
from train.estimate import DEVICES, GB, Shape, estimate, shape_of
from train.recipes import BUILT_IN, Knobs, Recipe, load, load_all
from train.run import run_command
from train.runs import Run, list_runs

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Version:
    return moderation_version(tmp_path_factory.mktemp("datasets") / "mod")


def command(*words: str) -> int:
    return main("train", "", COMMANDS, list(words))


def child(tmp_path: Path, version: Version, *words: str) -> "subprocess.Popen[str]":
    fixed = ("model=tiny", "max_steps=24", "save_every=3", "log_every=1", "max_length=128", "report_to=[none]")
    given = [sys.executable, "-m", "train.cli", "run", str(version.folder), *fixed, *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        given, cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_step(run: Path, step: int, process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        if (run / "metrics.jsonl").is_file() and len((run / "metrics.jsonl").read_text().splitlines()) >= step:
            return
        time.sleep(0.01)
    raise AssertionError(f"the run ended before step {step}: {process.communicate()[1][-500:]}")


@pytest.mark.parametrize(
    ("weights", "given"),
    [
        (
            "adapter/adapter_model.safetensors",
            {"recipe": "qlora", "lora": {"rank": 4}, "batch_size": 2, "accumulate": 1},
        ),
        ("model/model.safetensors", {"recipe": "tiny", "eval_every": 5}),
    ],
)
def test_a_killed_run_resumes_to_the_same_weights(
    tmp_path: Path, version: Version, weights: str, given: dict[str, Any]
) -> None:
    """The tolerance is none: loss at every step and every weight are equal to the last bit."""
    words = [f"{key}={json.dumps(value)}" for key, value in given.items()]
    killed = child(tmp_path, version, *words, "name=killed")
    runs = tmp_path / "runs"
    wait_for_step(runs / "killed", 4 + time.time_ns() % 14, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert Run.open("killed", runs).record.status_now == "killed"
    resumed = child(tmp_path, version, *words, "resume=true")  # found by its settings
    _, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    assert "resuming killed at step" in err
    run_command(settings(tmp_path, version, name="whole", max_steps=24, save_every=3, **given))
    whole, again = Run.open("whole", runs), Run.open("killed", runs)
    for key in ("train_loss", "eval_loss", "steps", "tokens"):
        assert again.record.metrics[key] == whole.record.metrics[key], key
    kept = [[(line["step"], line["loss"]) for line in run.metrics() if "loss" in line] for run in (whole, again)]
    assert [step for step, _ in kept[1]] == list(range(1, 25))
    assert kept[0] == kept[1]
    expected, found = load_file(whole.folder / weights), load_file(again.folder / weights)
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[key], found[key]) for key in expected)


def test_ctrl_c_saves_a_checkpoint_and_says_how_to_go_on(tmp_path: Path, version: Version) -> None:
    process = child(tmp_path, version, "recipe=tiny", "name=stopped", "save_every=1000", "max_steps=400")
    wait_for_step(tmp_path / "runs" / "stopped", 3, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "with a checkpoint; once more to stop at once" in err
    assert "name=stopped resume=true" in err.splitlines()[-1]
    run = Run.open("stopped", tmp_path / "runs")
    assert run.record.status == "killed"
    step = run.metrics()[-1]["step"]
    assert run.last_checkpoint() == str(run.checkpoints / f"checkpoint-{step}")
    assert not run.model.exists()


def test_a_run_folder_is_fresh(tmp_path: Path, version: Version) -> None:
    run_command(settings(tmp_path, version, name="one", max_steps=1))
    with pytest.raises(InputError, match=r"there is a run of this name; choose another, or go on with it: resume=true"):
        run_command(settings(tmp_path, version, name="one", max_steps=1))
    with pytest.raises(InputError, match="is done; there is nothing to resume"):
        run_command(settings(tmp_path, version, name="one", max_steps=1, resume=True))
    with pytest.raises(InputError, match=r"was begun with max_steps=1 \(now 2\)"):
        run_command(settings(tmp_path, version, name="one", max_steps=2, resume=True))
    with pytest.raises(NotFound, match="no unfinished run of recipe 'tiny' on mod@1"):
        run_command(settings(tmp_path, version, max_steps=3, resume=True))


def test_a_checkpoint_cut_off_by_a_kill_is_passed_over(tmp_path: Path, version: Version) -> None:
    run_command(settings(tmp_path, version, name="one", max_steps=4, save_every=2))
    run = Run.open("one", tmp_path / "runs")
    assert run.last_checkpoint() == str(run.checkpoints / "checkpoint-4")
    (run.checkpoints / "checkpoint-4" / "trainer_state.json").unlink()
    assert run.last_checkpoint() == str(run.checkpoints / "checkpoint-2")
    with (run.folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    assert run.metrics()[-1]["step"] == 4
    run.rewind(2)
    assert max(line["step"] for line in run.metrics()) == 2


def test_a_run_is_opened_by_the_beginning_of_its_id(tmp_path: Path, version: Version) -> None:
    recipe, runs = load("tiny"), tmp_path / "runs"
    for name in ("tiny-1", "tiny-12", "other"):
        Run.create(runs, recipe, version, name=name)
    assert Run.open("oth", runs).id == "other"
    assert Run.open("tiny-1", runs).id == "tiny-1"
    assert Run.open(runs / "tiny-12").recipe() == recipe
    with pytest.raises(NotFound, match=r"'tiny' fits 2 runs: tiny-1, tiny-12"):
        Run.open("tiny", runs)
    with pytest.raises(NotFound, match=r"no run 'othr'.*Did you mean 'other'"):
        Run.open("othr", runs)
    assert [run.id for run in list_runs(runs)] == ["tiny-1", "tiny-12", "other"]
    (runs / "other" / "run.json").write_text("{}")
    with pytest.raises(InputError, match="not a run's record"):
        Run.open("other", runs)


def test_a_full_disk_is_one_line(tmp_path: Path, version: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def full(self: Path, *args: Any, **more: Any) -> Any:
        if self.name == "metrics.jsonl":
            raise OSError(28, "No space left on device")
        return real(self, *args, **more)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(WorkspaceError, match=r"cannot be written: No space left on device; make room.*resume=true"):
        run_command(settings(tmp_path, version, name="full"))
    assert Run.open("full", tmp_path / "runs").record.status == "failed"


def test_out_of_memory_is_one_line(tmp_path: Path, version: Version) -> None:
    wide = {"rank": 2**40}  # adapters of a few hundred terabytes
    with pytest.raises(InputError, match="out of memory; try a smaller batch_size"):
        run_command(settings(tmp_path, version, recipe="lora", lora=wide, name="big"))
    assert "out of memory" in str(Run.open("big", tmp_path / "runs").record.error)


def test_ls_show_and_diff(tmp_path: Path, version: Version, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for name, rate in (("slow", 1e-4), ("fast", 1e-2)):
        run_command(settings(tmp_path, version, name=name, learning_rate=rate, max_steps=3))
    capsys.readouterr()
    assert command("ls", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [(run["id"], run["status"]) for run in listed["runs"]] == [("slow", "done"), ("fast", "done")]
    assert set(listed["recipes"]) >= {"qlora", "lora", "full", "tiny", "qlora_8b", "qlora_70b"}
    assert command("ls") == 0
    assert "Next:  train show fast" in capsys.readouterr().out
    assert command("show", "fast") == 0
    shown = capsys.readouterr().out
    assert "fast · done" in shown
    assert "a smoke path, no result" in shown
    assert "loss  █" in shown
    assert command("diff", "runs=[slow,fast]", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["settings"] == {"learning_rate": [1e-4, 1e-2]}
    assert found["metrics"].keys() >= {"train_loss", "eval_loss"}
    assert "steps" not in found["metrics"]
    assert command("diff", "runs=[slow,fast]") == 0
    assert "learning_rate" in capsys.readouterr().out


def test_cp_and_a_recipe_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("cp", "qlora") == 0
    assert command("cp", "qlora") == 2
    assert "there is a file already" in capsys.readouterr().err
    own = tmp_path / "recipes" / "qlora.yaml"
    own.write_text(own.read_text().replace("rank: 16", "rank: 7"))
    assert load("qlora", {"lora": {"alpha": 3}}).lora.model_dump() == {
        "rank": 7, "alpha": 3, "dropout": 0.05, "targets": "all-linear", "whole": (),
    }  # fmt: skip
    assert load(str(BUILT_IN / "qlora.yaml")).lora.rank == 16
    own.write_text("loss: sft\nlearning_rat: 1\n")
    with pytest.raises(InputError, match=r"qlora.yaml: unknown key 'learning_rat'. Did you mean 'learning_rate'"):
        load("qlora")
    assert command("run", "dataset=x", "recipe=qlro") == 2
    assert "Did you mean 'qlora'?" in capsys.readouterr().err


def test_every_recipe_is_whole() -> None:
    recipes = load_all()
    assert len(recipes) == len(list(BUILT_IN.glob("*.yaml"))) >= 6
    for recipe in recipes:
        assert isinstance(recipe, Recipe), recipe
        assert recipe.description, recipe.name
    assert set(Knobs.model_fields) <= set(RunSettings.model_fields)
    with pytest.raises(InputError, match="quantization=nf4 holds the base in 4 bits, which cannot be trained"):
        load("qlora", {"lora": None})
    with pytest.raises(InputError, match="choose packing or group_by_length"):
        load("qlora", {"group_by_length": True})


def test_the_estimate_counts_what_the_model_has(version: Version) -> None:
    from train.tiny import tiny_model

    model, _ = tiny_model(version, 0)
    shape = shape_of("tiny")
    wider = 1536 - model.config.vocab_size  # the estimate does not train a tokenizer
    assert shape.parameters - 2 * 64 * wider == model.num_parameters()
    found = estimate(load("lora", {"lora": {"rank": 4}}), shape, tokens_an_epoch=1_000, device="cpu")
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    assert found.trained == adapted.get_nb_trainable_parameters()[0]
    assert found.memory["weights"] == shape.parameters * 2
    assert found.tokens == 3_000  # three epochs
    assert found.seconds == pytest.approx(6 * shape.parameters * 3_000 / DEVICES["cpu"])


def test_the_estimate_of_an_8b_model_is_of_the_right_size() -> None:
    """Llama-3-8B's own sizes: 8.03e9 parameters, 6.98e9 of them in linear layers."""
    shape = Shape(8_030_261_248, 6_979_321_856, 32 * (2 * 8192 + 2 * 5120 + 3 * (4096 + 14336)), 4096, 32, 128_256)
    found = estimate(load("qlora_8b"), shape, tokens_an_epoch=1e7, device="h100")
    assert 5 < found.memory["weights"] / GB < 6.5
    assert found.total / GB < 24  # what the recipe promises
    assert found.trained == 32 * shape.edges == 83_886_080
    assert found.seconds == pytest.approx(6 * shape.parameters * 2e7 / DEVICES["h100"])
    whole = estimate(load("full"), shape, tokens_an_epoch=1e7, device="h100")
    assert whole.total / GB > 110  # 16 bytes a parameter


def test_show_prints_the_recipe_with_its_estimate(version: Version, capsys: Any) -> None:
    words = ("model=tiny", f"dataset={version.folder}", "device=cpu", "lora.rank=4")
    assert command("show", "qlora", *words, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["recipe"]["lora"]["rank"] == 4
    assert found["estimate"]["total_bytes"] == sum(found["estimate"]["bytes"].values())
    assert command("show", "qlora", *words) == 0
    assert "on cpu at 0.05 TFLOP/s" in capsys.readouterr().out
    assert command("show", "qlora", "model=tiny", "device=abacus") == 2
    assert "no speed is known for device 'abacus'; give tflops=" in capsys.readouterr().err
