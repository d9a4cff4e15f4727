"""The same training as a SageMaker job: `python -m train.sagemaker` is the container's entry point.

SageMaker says in variables what `train run` takes in words:

    SM_CHANNEL_DATASET (or _TRAINING, _TRAIN)  the dataset version's folder
    SM_CHANNEL_MODEL                           the base model's folder, where there is that channel
    SM_HPS                                     hyperparameters: keys of `train run`
    SM_NUM_GPUS                                processes
    SM_HOSTS, SM_CURRENT_HOST                  nodes, node_rank and master
    SM_MODEL_DIR                               where what was trained goes
    /opt/ml/checkpoints                        the runs, where the job has a checkpoint folder: after a spot interruption
                                               the same job goes on
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from curation.commands import Command, main
from curation.errors import InputError, WorkspaceError
from curation.settings import Settings, load
from train.config import RunSettings
from train.launch import PORT
from train.run import run_command
from train.runs import Run

CHECKPOINTS = Path("/opt/ml/checkpoints")
CHANNELS = ("DATASET", "TRAINING", "TRAIN")


def settings(environ: Mapping[str, str], checkpoints: Path = CHECKPOINTS) -> RunSettings:
    """The settings of `train run` that a job's variables stand for; its hyperparameters win.

    Raises:
        InputError: a variable is missing or cannot be read, or a hyperparameter is no key of `train run`.
    """
    dataset = next((environ[f"SM_CHANNEL_{name}"] for name in CHANNELS if environ.get(f"SM_CHANNEL_{name}")), None)
    if dataset is None:
        raise InputError(
            "SM_CHANNEL_DATASET is not set; give the job an input channel `dataset` with a version's folder"
        )
    hosts = _json(environ, "SM_HOSTS", [])
    given = _json(environ, "SM_HPS", {})
    found: dict[str, Any] = {
        "dataset": dataset,
        "name": _job(environ),
        "processes": max(1, int(environ.get("SM_NUM_GPUS") or 1)),
        "runs_dir": str(checkpoints if checkpoints.is_dir() else Path(environ.get("SM_OUTPUT_DATA_DIR") or "runs")),
    }
    if environ.get("SM_CHANNEL_MODEL"):
        found["model"] = environ["SM_CHANNEL_MODEL"]
    if len(hosts) > 1:
        here = environ.get("SM_CURRENT_HOST", "")
        if here not in hosts:
            raise InputError(f"SM_CURRENT_HOST={here!r} is none of SM_HOSTS={hosts}")
        found |= {"nodes": len(hosts), "node_rank": sorted(hosts).index(here), "master": f"{min(hosts)}:{PORT}"}
    words = [f"{key}={json.dumps(value)}" for key, value in found.items()]
    words += [f"{key}={_word(value)}" for key, value in given.items() if not key.startswith("sagemaker_")]
    read = load(RunSettings, words, environ={})
    assert read.name is not None
    begun = read.runs_dir / read.name / "run.json"
    return read.model_copy(update={"resume": True}) if begun.is_file() else read


def _json(environ: Mapping[str, str], name: str, otherwise: Any) -> Any:
    try:
        value = json.loads(environ.get(name) or "null")
    except ValueError as error:
        raise InputError(f"{name}={environ[name]!r} is not JSON") from error
    if value is not None and not isinstance(value, type(otherwise)):
        raise InputError(f"{name}={environ[name]!r}: expected a JSON {'list' if otherwise == [] else 'object'}")
    return otherwise if value is None else value


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _job(environ: Mapping[str, str]) -> str:
    """The job's name, the same on each of its machines and after an interruption."""
    return str(environ.get("TRAINING_JOB_NAME") or _json(environ, "SM_TRAINING_ENV", {}).get("job_name") or "job")


def train_command(_: Settings) -> int:
    """Train, then put what was trained, its card and its configuration into SM_MODEL_DIR."""
    wanted = settings(os.environ)
    interface = os.environ.get("SM_NETWORK_INTERFACE_NAME")
    if interface:
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
    assert wanted.name is not None
    if _is_to_train(wanted):
        code = run_command(wanted)
        if code:
            return code
    if not wanted.node_rank:
        deliver(Run.open(wanted.runs_dir / wanted.name), Path(os.environ.get("SM_MODEL_DIR") or "/opt/ml/model"))
    return 0


def _is_to_train(wanted: RunSettings) -> bool:
    """Not where a job was interrupted after the last step. A run that says it is running died with the machine before."""
    if not wanted.resume:
        return True
    run = Run.open(wanted.runs_dir / str(wanted.name))
    if run.record.status == "running" and not wanted.node_rank:
        run.finish("killed", error="the job was interrupted")
    return run.record.status != "done"


def deliver(run: Run, to: Path) -> None:
    """Copy a run's adapter (or model), card, record and configuration into the folder that SageMaker uploads.

    Raises:
        WorkspaceError: the folder cannot be written.
    """
    try:
        shutil.copytree(run.adapter if run.adapter.is_dir() else run.model, to, dirs_exist_ok=True)
        for name in ("README.md", "run.json", "config.yaml", "metrics.jsonl"):
            shutil.copy2(run.folder / name, to / name)
    except (OSError, shutil.Error) as error:
        raise WorkspaceError(f"{to}: cannot be written: {error}") from error
    print(f"run {run.id} delivered to {to}")


COMMANDS = {
    "train": Command("Train as the job's variables say.", "curation.settings:Settings", "train.sagemaker:train_command"),
}  # fmt: skip

if __name__ == "__main__":
    sys.exit(main("python -m train.sagemaker", "Train as SageMaker's variables say.", COMMANDS, ["train"]))
