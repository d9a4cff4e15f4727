"""`train run processes=N`: the same command again in N processes, under torchrun's agent.

Several machines run the same command with nodes=, node_rank= and master=HOST:PORT, or with the variables that
schedulers set: NNODES, NODE_RANK, MASTER_ADDR and MASTER_PORT.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curation.errors import InputError, TilthError
from train.config import RunSettings
from train.strategy import load_strategy

PORT = 29_500
PATIENCE_S = 120  # that processes have to write a checkpoint after a signal, and to end after another has failed


class RankFailed(TilthError):
    """A process of a launch failed; the exit code is its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class Place:
    """Where this machine stands in a launch."""

    nodes: int
    node_rank: int
    master: str  # HOST:PORT; empty on one machine


def place(settings: RunSettings, environ: Mapping[str, str] = os.environ) -> Place:
    """Settings first, then NNODES (PET_NNODES), NODE_RANK (PET_NODE_RANK, SLURM_NODEID), MASTER_ADDR and MASTER_PORT.

    Raises:
        InputError: there are several nodes and one of the others is missing or impossible.
    """
    nodes = settings.nodes or _number(environ, "NNODES", "PET_NNODES") or 1
    if nodes == 1:
        return Place(1, 0, "")
    rank = settings.node_rank
    if rank is None:
        rank = _number(environ, "NODE_RANK", "PET_NODE_RANK", "SLURM_NODEID")
    if rank is None or not 0 <= rank < nodes:
        raise InputError(f"nodes={nodes}: this machine's place is missing or wrong; give node_rank=0 to {nodes - 1}")
    master = settings.master or environ.get("MASTER_ADDR")
    if not master:
        raise InputError(
            f"nodes={nodes}: nobody knows where to meet; give master=HOST:PORT of node 0, the same everywhere"
        )
    if ":" not in master:
        master = f"{master}:{_number(environ, 'MASTER_PORT') or PORT}"
    if not settings.name:
        raise InputError(f"nodes={nodes}: the machines must agree on the run; give name=..., the same everywhere")
    return Place(nodes, rank, master)


def _number(environ: Mapping[str, str], *names: str) -> int | None:
    for name in names:
        if value := environ.get(name):
            if not value.isdigit():
                raise InputError(f"{name}={value!r}: expected a whole number")
            return int(value)
    return None


def needed(settings: RunSettings) -> bool:
    """Whether the command has to start processes: it asks for several and is not one of them.

    Raises:
        InputError: a sharding strategy for one process, or DeepSpeed is not installed.
    """
    if "RANK" in os.environ:
        return False
    several = settings.processes > 1 or place(settings).nodes > 1
    if settings.strategy != "ddp" and not several:
        raise InputError(f"strategy={settings.strategy} shares a model among processes; give processes=2 or more")
    if settings.strategy == "zero3" and find_spec("deepspeed") is None:
        raise InputError("strategy=zero3 needs DeepSpeed: pip install 'tilth[deepspeed]', or use strategy=fsdp")
    return several


def launch(settings: RunSettings, name: str) -> int:
    """Train in `settings.processes` processes on this machine; returns when all have ended.

    SIGINT and SIGTERM are passed on to all of them. Rank 0 prints; what the others print is kept if one fails.

    Args:
        name: the run's id, which all processes share.

    Raises:
        RankFailed: the first process that failed, with its rank, in one line.
    """
    import logging

    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    load_strategy(settings.strategy)  # a broken file is one line here, not one in every process
    here = place(settings)
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # its pages of failure are our one line
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // settings.processes)))
    words = json.dumps(settings.model_dump(mode="json", exclude_unset=True) | {"name": name})
    folder = Path(tempfile.mkdtemp(prefix="tilth-ranks-"))
    quiet = {rank: Std.ALL for rank in range(settings.processes) if here.node_rank or rank}
    config = LaunchConfig(
        min_nodes=here.nodes,
        max_nodes=here.nodes,
        nproc_per_node=settings.processes,
        run_id=name,
        rdzv_backend="static" if here.master else "c10d",
        rdzv_endpoint=here.master or "localhost:0",
        rdzv_configs={"rank": here.node_rank} if here.master else {},
        local_addr=None if here.master else "localhost",
        max_restarts=0,
        logs_specs=DefaultLogsSpecs(log_dir=str(folder), redirects=quiet),
        shutdown_timeout=PATIENCE_S,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "train.worker", words, str(folder))
    except SignalException as signalled:
        first = _first(folder)
        code = 128 + int(signalled.sigval)
        error = RankFailed(first["line"] if first else f"stopped by {signalled.sigval.name}", code)
    except ChildFailedError as failed:
        error = _explained(failed, folder, settings.processes * here.nodes)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        return 0
    if str(folder) not in str(error):
        shutil.rmtree(folder, ignore_errors=True)
    raise error


def _first(folder: Path) -> dict[str, Any] | None:
    """What the first process to fail left behind: rank, line, exit_code, at."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("rank-*.json")]
    return min(found, key=lambda one: float(one["at"]), default=None)


def _explained(failed: Any, folder: Path, processes: int) -> RankFailed:
    """`failed` is torch's ChildFailedError. A process that was killed left nothing and is named by its signal."""
    rank, failure = failed.get_first_failure()
    killed = next(((r, f) for r, f in sorted(failed.failures.items()) if f.exitcode == -9), None)
    said = _first(folder)
    if killed is not None:
        rank, failure = killed
        return RankFailed(
            f"rank {rank} of {processes} was killed by {failure.signal_name()} (out of memory?); "
            f"go on with: resume=true; logs in {folder}",
            137,
        )
    if said is None:
        return RankFailed(f"rank {rank} of {processes} ended with exit code {failure.exitcode}; logs in {folder}", 1)
    return RankFailed(f"rank {said['rank']} of {processes}: {said['line']}", int(said["exit_code"]))
