"""One process of a launch: `python -m train.worker SETTINGS FOLDER` under torchrun's agent.

What goes wrong is left in FOLDER as rank-N.json for the command that started the processes, which prints one line.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path

from curation.errors import TilthError
from train.config import RunSettings
from train.run import run_command
from train.runs import rank


def main(words: str, folder: Path) -> int:
    """Train as the settings (JSON) say; returns the exit code."""
    settings = RunSettings.model_validate_json(words)
    try:
        _meet(settings)
        code = run_command(settings)
        _part()
        return code
    except TilthError as error:
        _leave(folder, str(error), error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        _leave(folder, "interrupted", 130)
        return 130
    except Exception as error:  # the agent would print pages of it
        log = folder / f"rank-{rank()}.log"
        with log.open("w", encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
        first = next(iter(str(error).strip().splitlines()), "")
        _leave(folder, f"unexpected {type(error).__name__}: {first}; details in {log}", 1)
        return 1


def _meet(settings: RunSettings) -> None:
    """DeepSpeed must open the process group itself, before transformers asks for the number of processes."""
    if settings.strategy != "zero3":
        return
    import deepspeed
    import torch

    deepspeed.init_distributed(dist_backend="nccl" if torch.cuda.is_available() else "gloo")


def _part() -> None:
    """Nobody leaves before all are done, or the one that waits for it aborts."""
    from torch import distributed

    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def _leave(folder: Path, line: str, exit_code: int) -> None:
    said = {"rank": rank(), "line": " ".join(line.split()), "exit_code": exit_code, "at": time.time()}
    (folder / f"rank-{rank()}.json").write_text(json.dumps(said), encoding="utf-8")
    sys.stderr.flush()


if __name__ == "__main__":
    code = main(sys.argv[1], Path(sys.argv[2]))
    sys.stdout.flush()
    if code:
        os._exit(code)  # a process group that lost a member can hang at the interpreter's end
