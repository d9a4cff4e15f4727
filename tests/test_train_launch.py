"""Several processes train what one would: DDP, FSDP and ZeRO-3, signals, errors of a rank, SageMaker, sharded checkpoints."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from train_kit import moderation_version

from curation.errors import InputError, NotFound
from train.config import RunSettings
from train.data import Version
from train.launch import Place, needed, place
from train.runs import Run
from train.strategy import BUILT_IN, KNOWN, load_strategy, strategy_options

ROOT = Path(__file__).parent.parent
STEPS = 10
TOLERANCE = 1e-4  # of a loss of about 7 nats: sums in another order
SMALL = [
    "recipe=tiny", "lora.rank=4", "lora.targets=[q_proj,down_proj]", f"max_steps={STEPS}", "max_length=128", "log_every=1",
    "save_every=4", "group_by_length=false", "report_to=[none]",
]  # fmt: skip
FSDP_ON_CPU = """
import os
if "RANK" in os.environ:  # accelerate knows no FSDP on a CPU; torch does
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType
    inner = PartialState.__init__
    def patched(self, *args, **kwargs):
        inner(self, *args, **kwargs)
        if self._shared_state["distributed_type"] == DistributedType.MULTI_CPU:
            self._shared_state["distributed_type"] = DistributedType.MULTI_XPU
    PartialState.__init__ = patched
"""


def started(home: Path, *words: str, path: Sequence[Path] = (), **variables: str) -> "subprocess.Popen[str]":
    python_path = os.pathsep.join(map(str, (*path, ROOT)))
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=home,
        env={**os.environ, "PYTHONPATH": python_path, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The exit code and standard error."""
    _, errors = process.communicate(timeout=200)
    return process.returncode, errors


def train(home: Path, name: str, *words: str, **how: Any) -> "subprocess.Popen[str]":
    return started(home, "-m", "train.cli", "run", "dataset=moderation/1", *SMALL, f"name={name}", *words, **how)


def losses(run: Run) -> dict[int, float]:
    return {line["step"]: line["loss"] for line in run.metrics() if "loss" in line}


def adapter(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "adapter_model.safetensors")


def furthest(one: Path, other: Path) -> float:
    a, b = adapter(one), adapter(other)
    assert a.keys() == b.keys()
    assert len(a) == 8
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a version and the run of a single process that the others are held against."""
    folder = tmp_path_factory.mktemp("launch")
    version: Version = moderation_version(folder / "moderation")
    assert version.splits["train"] == 48
    code, errors = finished(train(folder, "one", "batch_size=8"))
    assert code == 0, errors
    assert losses(Run.open("one", folder / "runs"))[STEPS] < losses(Run.open("one", folder / "runs"))[1] - 0.1
    return folder


# -- processes ---------------------------------------------------------------------------------------------------


def test_ddp_stopped_and_resumed_gives_the_curve_of_one_process(home: Path) -> None:
    process = train(home, "ddp", "batch_size=4", "processes=2", "max_steps=10")
    metrics = home / "runs/ddp/metrics.jsonl"
    deadline = time.monotonic() + 150
    while not (metrics.is_file() and metrics.read_text().count("\n") >= 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    code, errors = finished(process)
    run = Run.open("ddp", home / "runs")
    outran = run.record.status == "done"
    if not outran:
        assert code == 143, errors
        assert errors.count("train: ") == 1
        assert "with a checkpoint" in errors
        assert run.record.status == "killed"
        stopped_at = max(losses(run))
        assert (run.checkpoints / f"checkpoint-{stopped_at}").is_dir()
        code, errors = finished(train(home, "ddp", "batch_size=4", "processes=2", "resume=true"))
        assert code == 0, errors
        assert f"resuming ddp at step {stopped_at}" in errors
        assert errors.count("step 10/10 · loss") == 1  # one process prints
    alone, both = (losses(Run.open(name, home / "runs")) for name in ("one", "ddp"))
    assert both == pytest.approx(alone, abs=TOLERANCE)
    assert furthest(home / "runs/one/adapter", home / "runs/ddp/adapter") < TOLERANCE
    if outran:
        pytest.skip("the curves agree, but the run had ended before the signal reached it: nothing was resumed")


def test_fsdp_gives_the_curve_of_one_process_and_its_shards_the_same_adapter(home: Path) -> None:
    from train.consolidate import consolidate

    shim = home / "shim"
    shim.mkdir()
    (shim / "sitecustomize.py").write_text(FSDP_ON_CPU)
    code, errors = finished(train(home, "fsdp", "batch_size=4", "processes=2", "strategy=fsdp", path=[shim]))
    assert code == 0, errors
    alone, run = Run.open("one", home / "runs"), Run.open("fsdp", home / "runs")
    assert losses(run) == pytest.approx(losses(alone), abs=TOLERANCE)
    assert furthest(alone.adapter, run.adapter) < TOLERANCE

    shards = run.checkpoints / f"checkpoint-{STEPS}" / "pytorch_model_fsdp_0"
    assert len(list(shards.glob("*.distcp"))) == 2
    assert consolidate(run, home / "whole") == 8
    assert furthest(run.adapter, home / "whole") == 0
    written, final = (json.loads((at / "adapter_config.json").read_text()) for at in (home / "whole", run.adapter))
    for config in (written, final):
        config["target_modules"].sort()
        config["base_model_name_or_path"] = str(home / config["base_model_name_or_path"])
    assert written == final
    assert _logits(home, home / "whole") == pytest.approx(_logits(home, run.adapter), abs=1e-6)

    consolidate(run, home / "earlier", step=8)
    assert furthest(run.adapter, home / "earlier") > TOLERANCE
    with pytest.raises(InputError, match="there is something already"):
        consolidate(run, home / "whole")
    with pytest.raises(NotFound, match="steps: 8, 10"):
        consolidate(run, home / "none", step=99)
    with pytest.raises(InputError, match="not a sharded FSDP checkpoint"):
        consolidate(alone, home / "none")


def _logits(home: Path, folder: Path) -> list[float]:
    """As plain transformers and PEFT compute them."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = AutoModelForCausalLM.from_pretrained(home / "runs/fsdp/base", dtype=torch.float32)
    with torch.no_grad():
        found: list[float] = (
            PeftModel.from_pretrained(base, folder).eval()(torch.tensor([[5, 9, 200]])).logits[0, -1].tolist()
        )
    return found


def test_fsdp_is_refused_where_it_would_silently_be_ddp(home: Path) -> None:
    code, errors = finished(train(home, "refused", "processes=2", "strategy=fsdp"))
    assert code == 2
    last = errors.strip().splitlines()[-1]
    assert last.startswith("train: rank ")
    assert "of 2: strategy=fsdp needs GPUs" in last
    assert "Traceback" not in errors
    assert Run.open("refused", home / "runs").record.status == "failed"


def test_a_rank_that_is_killed_is_named(home: Path) -> None:
    process = train(home, "shot", "processes=2", "max_steps=5000")
    deadline = time.monotonic() + 150
    while len(children := _children(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    ranks = {_variable(child, "RANK"): child for child in children}
    os.kill(ranks["1"], signal.SIGKILL)
    code, errors = finished(process)
    assert code == 137
    assert "train: rank 1 of 2 was killed by SIGKILL (out of memory?)" in errors
    assert not _children(process.pid)


def _children(process: int) -> list[int]:
    found = Path(f"/proc/{process}/task/{process}/children")
    pids = [int(word) for word in found.read_text().split()] if found.is_file() else []
    return [pid for pid in pids if _variable(pid, "RANK") is not None]


def _variable(process: int, name: str) -> str | None:
    try:
        variables = Path(f"/proc/{process}/environ").read_bytes().decode().split("\0")
    except OSError:
        return None
    return next((one.partition("=")[2] for one in variables if one.startswith(f"{name}=")), None)


# -- ZeRO-3 ------------------------------------------------------------------------------------------------------


def test_zero3_is_a_configuration_that_deepspeed_takes() -> None:
    runtime = pytest.importorskip(
        "deepspeed.runtime.config", reason="DeepSpeed is not installed: pip install 'tilth[deepspeed]'"
    )
    config = load_strategy("zero3")
    filled = {key: 1 if value == "auto" else value for key, value in config.items()}
    filled["train_batch_size"] = filled["train_micro_batch_size_per_gpu"] = 1
    filled["bf16"] = {"enabled": True}
    zero = {key: 1000 if value == "auto" else value for key, value in config["zero_optimization"].items()}
    read = runtime.DeepSpeedConfig({**filled, "zero_optimization": zero})
    assert read.zero_optimization_stage == 3
    assert read.zero_config.gather_16bit_weights_on_model_save


def test_zero3_gives_the_curve_of_one_process(home: Path) -> None:
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install 'tilth[deepspeed]'")
    if shutil.which("ninja") is None or shutil.which("c++") is None:
        pytest.skip("DeepSpeed builds its CPU collectives with ninja and a C++ compiler, which are not here")
    code, errors = finished(train(home, "zero3", "batch_size=4", "processes=2", "strategy=zero3"))
    assert code == 0, errors
    alone, run = Run.open("one", home / "runs"), Run.open("zero3", home / "runs")
    assert losses(run) == pytest.approx(losses(alone), abs=TOLERANCE)
    assert furthest(alone.adapter, run.adapter) < TOLERANCE


def test_without_deepspeed_zero3_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.launch.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'tilth\[deepspeed\]'"):
        needed(RunSettings(dataset="d", processes=2, strategy="zero3"))


# -- configurations ----------------------------------------------------------------------------------------------


def test_every_strategy_has_a_file_and_every_file_is_read() -> None:
    assert sorted(path.stem for path in BUILT_IN.iterdir()) == sorted(KNOWN) == ["ddp", "fsdp", "zero3"]
    for name in ("ddp", "fsdp", "zero3"):
        assert load_strategy(name)


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("fsdp", "version: 2\nreshard_after_foward: true", "Did you mean 'reshard_after_forward'"),
        ("fsdp", "version: 2\nmin_num_params: true", "min_num_params: wrong type, got True"),
        ("fsdp", "version: 1", "version: must be 2"),
        ("zero3", "zero_optimization: {stage: 2}", "must be 3"),
        ("ddp", "ddp_timeout: soon", "ddp_timeout: wrong type, got 'soon'"),
    ],
)
def test_a_wrong_file_is_named(
    name: Any, text: str, complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("distributed").mkdir()
    Path(f"distributed/{name}.yaml").write_text(text)
    with pytest.raises(InputError, match=rf"^distributed/{name}\.yaml: .*{complaint}"):
        load_strategy(name)


def test_one_process_shares_with_nobody() -> None:
    assert strategy_options("ddp", {}, processes=1) == {}
    assert strategy_options("fsdp", {"gradient_checkpointing": True}, processes=2)["fsdp_config"][
        "activation_checkpointing"
    ]
    with pytest.raises(InputError, match="give optimiser=adamw_torch"):
        strategy_options("fsdp", {"optim": "paged_adamw_8bit"}, processes=2)
    with pytest.raises(InputError, match="give processes=2"):
        needed(RunSettings(dataset="d", strategy="fsdp"))


# -- several machines --------------------------------------------------------------------------------------------


def test_the_place_of_a_machine_comes_from_settings_or_the_usual_variables() -> None:
    assert place(RunSettings(dataset="d"), {}) == Place(1, 0, "")
    said = RunSettings(dataset="d", name="x", nodes=2, node_rank=1, master="a:1234")
    assert place(said, {"NNODES": "4", "NODE_RANK": "0", "MASTER_ADDR": "b"}) == Place(2, 1, "a:1234")
    variables = {"NNODES": "4", "NODE_RANK": "3", "MASTER_ADDR": "b", "MASTER_PORT": "99"}
    assert place(RunSettings(dataset="d", name="x"), variables) == Place(4, 3, "b:99")
    assert place(RunSettings(dataset="d", name="x", nodes=2, master="c"), {"SLURM_NODEID": "1"}) == Place(
        2, 1, "c:29500"
    )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"name": "x", "nodes": 2, "master": "a"}, "give node_rank=0 to 1"),
        ({"name": "x", "nodes": 2, "node_rank": 2, "master": "a"}, "give node_rank=0 to 1"),
        ({"name": "x", "nodes": 2, "node_rank": 0}, "give master=HOST:PORT"),
        ({"nodes": 2, "node_rank": 0, "master": "a"}, "give name="),
    ],
)
def test_an_incomplete_place_is_refused(given: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        place(RunSettings(dataset="d", **given), {})


def test_two_machines_meet(home: Path) -> None:
    """Two commands on this machine stand for two machines."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = ["batch_size=4", "nodes=2", f"master=127.0.0.1:{port}", "max_steps=2"]
    machines = [train(home, "two", *words, f"node_rank={rank}") for rank in (0, 1)]
    for code, errors in map(finished, machines):
        assert code == 0, errors
    both, alone = (losses(Run.open(name, home / "runs")) for name in ("two", "one"))
    assert both[1] == pytest.approx(alone[1], abs=TOLERANCE)


# -- SageMaker ---------------------------------------------------------------------------------------------------


def test_a_sagemaker_job_leaves_its_adapter_in_the_model_folder(home: Path) -> None:
    hyperparameters = {
        "recipe": "tiny", "lora.rank": "4", "max_steps": 2, "max_length": 128, "report_to": "[none]", "save_every": 1,
        "runs_dir": "checkpoints", "sagemaker_program": "train.sagemaker",
    }  # fmt: skip
    job = {
        "SM_CHANNEL_DATASET": str(home / "moderation/1"),
        "SM_MODEL_DIR": str(home / "model"),
        "SM_NUM_GPUS": "0",
        "SM_HOSTS": '["algo-1"]',
        "SM_CURRENT_HOST": "algo-1",
        "SM_HPS": json.dumps(hyperparameters),
        "TRAINING_JOB_NAME": "moderation-2026",
    }
    code, errors = finished(started(home, "-m", "train.sagemaker", **job))
    assert code == 0, errors
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "run.json", "README.md"} <= {
        path.name for path in (home / "model").iterdir()
    }
    assert Run.open(home / "checkpoints/moderation-2026").record.status == "done"


def test_sagemaker_variables_are_settings(tmp_path: Path) -> None:
    from train.sagemaker import settings

    job = {
        "SM_CHANNEL_TRAINING": "/data", "SM_CHANNEL_MODEL": "/base", "SM_NUM_GPUS": "8", "SM_HOSTS": '["algo-2", "algo-1"]',
        "SM_CURRENT_HOST": "algo-2", "SM_HPS": '{"learning_rate": 0.001, "lora.rank": "16", "strategy": "fsdp"}',
        "SM_TRAINING_ENV": '{"job_name": "2026"}',
    }  # fmt: skip
    read = settings(job, tmp_path)
    assert (read.dataset, read.model, read.processes, read.strategy) == ("/data", "/base", 8, "fsdp")
    assert (read.nodes, read.node_rank, read.master) == (2, 1, "algo-1:29500")
    assert (read.name, read.runs_dir, read.resume) == ("2026", tmp_path, False)
    assert read.overrides() == {"model": "/base", "learning_rate": 0.001, "lora": {"rank": 16}}
    (tmp_path / "2026").mkdir()
    (tmp_path / "2026/run.json").write_text("{}")
    assert settings(job, tmp_path).resume  # after a spot interruption


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({}, "SM_CHANNEL_DATASET is not set"),
        ({"SM_CHANNEL_TRAIN": "/d", "SM_HPS": "{"}, "SM_HPS='{' is not JSON"),
        ({"SM_CHANNEL_TRAIN": "/d", "SM_HPS": "[1]"}, "SM_HPS.*expected a JSON object"),
        ({"SM_CHANNEL_TRAIN": "/d", "SM_HPS": '{"learning_rat": 1}'}, "Did you mean 'learning_rate'"),
        ({"SM_CHANNEL_TRAIN": "/d", "SM_HOSTS": '["a", "b"]', "SM_CURRENT_HOST": "c"}, "'c' is none of"),
    ],
)
def test_a_wrong_sagemaker_variable_is_named(variables: dict[str, str], complaint: str, tmp_path: Path) -> None:
    from train.sagemaker import settings

    with pytest.raises(InputError, match=complaint):
        settings(variables, tmp_path)
