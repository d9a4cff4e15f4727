"""Whether a language model learns to moderate while it trains: AUROC on held-out texts, from before the first step on."""

# ruff: noqa: ARG002  (a callback is called with all of it)

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from train import plots
from train.data import Version, label_of, rows
from train.metrics import moderation
from train.progress import Report
from train.runs import Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase, TrainerControl, TrainerState, TrainingArguments

LABELS = {"allowed", "disallowed"}


class AurocCallback(TrainerCallback):
    """Scores validation texts before the first step, at each evaluation and after the last step: `eval_auroc` in metrics.jsonl, and
    learning.png."""

    def __init__(
        self, report: Report, texts: list[str], labels: list[bool], tokenizer: "PreTrainedTokenizerBase"
    ) -> None:
        self._report = report
        self._texts = texts
        self._labels = labels
        self._tokenizer = tokenizer
        self._at = -1

    def on_train_begin(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **given: Any
    ) -> None:
        if state.global_step == 0:
            self._measure(state, given["model"])

    def on_evaluate(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **given: Any
    ) -> None:
        self._measure(state, given["model"])

    def on_train_end(
        self, args: "TrainingArguments", state: "TrainerState", control: "TrainerControl", **given: Any
    ) -> None:
        self._measure(state, given["model"])
        draw_learning(self._report.run)

    def _measure(self, state: "TrainerState", model: Any) -> None:
        from train.scoring import scores

        if state.global_step == self._at or not self._report.run.writes:
            return
        self._at = state.global_step
        training = model.training
        model.eval()
        try:
            chances = scores(model, self._tokenizer, self._texts)
        finally:
            model.train(training)
        found = moderation.measure(self._labels, chances, 0.5, resamples=0)["auroc"].value
        if found is not None:
            self._report.note(state, eval_auroc=found)


def auroc_callback(
    report: Report, version: Version, tokenizer: "PreTrainedTokenizerBase", most: int = 200
) -> AurocCallback | None:
    """The callback over at most `most` validation rows; None where they are not about moderation, or one class is missing.

    Not for models in shards (FSDP, ZeRO-3): one process alone cannot run them.
    """
    from train.classifier import text_of

    if not version.splits.get("validation"):
        return None
    held_out = rows(version, "validation")
    chosen = [held_out[at] for at in range(0, len(held_out), -(-len(held_out) // most))]
    labels = [label_of(row) for row in chosen]
    if set(labels) != LABELS:
        return None
    return AurocCallback(
        report, [text_of(row) for row in chosen], [label == "disallowed" for label in labels], tokenizer
    )


def draw_learning(run: Run) -> None:
    """learning.png from the run's metrics, where they hold AUROCs."""
    points = {int(line["step"]): float(line["eval_auroc"]) for line in run.metrics() if "eval_auroc" in line}
    if run.writes and points:
        plots.learning(
            run.folder / "learning.png", sorted(points.items()), f"{run.record.recipe} on {run.record.dataset_title}"
        )
