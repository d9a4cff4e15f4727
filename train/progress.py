"""Watching a training run: metrics.jsonl always, a live bar on a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from transformers import PrinterCallback, TrainerCallback

from train.interrupts import Interrupts, Stopped
from train.runs import Run, duration
from train.strategy import agreed, check_strategy

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

SKIPPED = {"num_tokens", "num_input_tokens_seen", "total_flos", "train_loss", "train_runtime"}
EVALUATED = (
    "eval_loss",
    "eval_reward",
    "eval_auroc",
    "eval_rewards/accuracies",
)  # shown of an evaluation; GRPO's loss says nothing


class Report(TrainerCallback):
    """Writes what the Trainer logs to the run, shows it, and stops where the user asked for it."""

    def __init__(self, run: Run, interrupts: Interrupts, console: Console | None = None) -> None:
        self.run = run
        self.interrupts = interrupts
        self.console = console or Console(stderr=True, markup=False, highlight=False)
        self.stopped_at: int | None = None
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._began = self._logged = time.monotonic()
        self._first = self._tokens = 0

    def watch(self, trainer: "Trainer", report_to: Sequence[str] = ()) -> None:
        """Take the place of the Trainer's own printing; with `tensorboard` in `report_to`, draw in runs/<id>/tensorboard."""
        check_strategy(trainer.args)
        trainer.remove_callback(PrinterCallback)
        if "tensorboard" in report_to and self.run.writes:
            from torch.utils.tensorboard import SummaryWriter
            from transformers.integrations.integration_utils import TensorBoardCallback

            writer = SummaryWriter(str(self.run.folder / "tensorboard"))
            trainer.add_callback(TensorBoardCallback(writer))  # type: ignore[no-untyped-call]
        trainer.add_callback(self)

    def on_train_begin(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **_: Any
    ) -> None:
        check_strategy(args)
        self._began = self._logged = time.monotonic()
        self._first, self._tokens = state.global_step, state.num_input_tokens_seen
        if self.run.writes and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[said]}"),
                console=self.console, transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task("training", total=state.max_steps, completed=state.global_step, said="")

    def on_step_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **_: Any
    ) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=state.global_step)
        if agreed(self.interrupts.asked) and state.global_step < state.max_steps:
            self.stopped_at = state.global_step
            control.should_save = control.should_training_stop = True

    def on_log(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        values = {_key(key): value for key, value in (logs or {}).items() if key not in SKIPPED}
        if not self.run.writes or not any(key == "loss" or key.startswith("eval_") for key in values):
            return
        if "loss" in values:
            now = time.monotonic()
            fresh = state.num_input_tokens_seen - self._tokens
            values |= {
                "tokens": state.num_input_tokens_seen,
                "tokens_per_s": round(fresh / max(now - self._logged, 1e-9), 1),
            }
            self._logged, self._tokens = now, state.num_input_tokens_seen
        self.run.log(step=state.global_step, **values, memory_mb=round(memory_mb()))
        line = self._line(state, values)
        if self._bar is not None and self._task is not None and "loss" in values:
            self._bar.update(self._task, said=line)
        else:
            self.console.print(f"step {state.global_step:,}/{state.max_steps:,} · {line}", soft_wrap=True)

    def on_train_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **_: Any
    ) -> None:
        self.close()

    def note(self, state: "TrainerState", **values: float) -> None:
        """Log and show what a callback measured."""
        if self.run.writes:
            self.run.log(step=state.global_step, **values)
            self.console.print(
                f"step {state.global_step:,}/{state.max_steps:,} · {self._line(state, values)}", soft_wrap=True
            )

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def check(self) -> None:
        """Raises Stopped if the training ended because the user asked for it."""
        if self.stopped_at is not None:
            raise Stopped(f"stopped at step {self.stopped_at:,}, with a checkpoint")

    def _line(self, state: "TrainerState", values: dict[str, Any]) -> str:
        if "loss" not in values:
            shown = [key for key in EVALUATED if key in values and not (key == "eval_loss" and "eval_reward" in values)]
            return " · ".join(f"{key} {_short(values[key])}" for key in shown)
        seconds = time.monotonic() - self._began
        done = state.global_step - self._first
        left = duration((state.max_steps - state.global_step) * seconds / done) if done else "unknown"
        device = "GPU" if _on_gpu() else "memory"
        reward = f" · reward {_short(values['reward'])}" if "reward" in values else ""
        return (
            f"loss {_short(values['loss'])}{reward} · {values['tokens_per_s']:,.0f} tokens/s · "
            f"{device} {memory_mb() / 1024:.1f} GB · ETA {left}"
        )


def _key(key: str) -> str:
    """GRPO's `rewards/brevity/mean` is `reward/brevity` in a run's metrics."""
    parts = key.split("/")
    return f"reward/{parts[1]}" if parts[0] == "rewards" and parts[-1] == "mean" else key


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def memory_mb() -> float:
    """The most memory held so far, in MiB: of the GPU where there is one, else of this process."""
    import resource

    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10
