"""The settings of every `train` command."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from curation.settings import Settings
from train.recipes import Knobs


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


class _Runs(Settings):
    runs_dir: Path = Path("runs")
    """The folder that holds the runs."""


class _Run(_Runs):
    dataset: str
    """The dataset version to train on: NAME (its latest), NAME@N, or a version's folder."""
    recipe: str = "qlora"
    """A recipe's name or file. Fields of the recipe may be given too; the defaults below hold where it is silent."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The run's id; made up from the recipe and the time, if not given."""
    seed: int = Field(default=0, ge=0)
    """Of the adapter's first weights, the order of the data and everything else that is drawn."""
    resume: bool = False
    """Go on from the last checkpoint of the run `name`, else of the latest unfinished run of the same settings."""
    processes: int = Field(default=1, ge=1)
    """Processes on this machine, one a GPU."""
    strategy: Literal["ddp", "fsdp", "zero3"] = "ddp"
    """How several processes share the model: whole in each (ddp), or in shards (fsdp, zero3)."""
    nodes: int | None = Field(default=None, ge=1)
    """Machines that train together; each runs this command. NNODES in the environment, if not given, else 1."""
    node_rank: int | None = Field(default=None, ge=0)
    """This machine's place among them, from 0. NODE_RANK, if not given."""
    master: str | None = None
    """HOST:PORT of machine 0. MASTER_ADDR and MASTER_PORT, if not given."""
    report_to: Annotated[tuple[str, ...], BeforeValidator(_listed)] = ("tensorboard",)
    """Trackers of transformers' Trainer: tensorboard, wandb, mlflow, ..., or none."""


class RunSettings(Knobs, _Run):
    """`train run`."""

    def overrides(self) -> dict[str, object]:
        """The fields of the recipe that were given, nested ones as far as they were given."""
        return self.model_dump(exclude_unset=True, include=set(Knobs.model_fields))


class ListSettings(_Runs):
    """`train ls`."""

    status: Literal["running", "done", "failed", "killed"] | None = None
    """Only runs of this status."""


class ShowSettings(_Runs, Knobs):
    """`train show`."""

    what: str = "qlora"
    """A recipe's name or file, or a run's id, its beginning, or its folder."""
    dataset: str | None = None
    """With a recipe: the dataset version that memory and time are estimated for."""
    device: str | None = None
    """The device to estimate for: cpu, or a GPU's name (a100, h100, l4, t4, ...); guessed if not given."""
    tflops: float | None = Field(default=None, gt=0)
    """The device's sustained speed in 1e12 operations a second, instead of the table's."""

    def overrides(self) -> dict[str, object]:
        """The fields of the recipe that were given."""
        return self.model_dump(exclude_unset=True, include=set(Knobs.model_fields))


class DiffSettings(_Runs):
    """`train diff`."""

    runs: tuple[str, str]
    """Two runs: ids, their beginnings, or folders."""


class CopySettings(Settings):
    """`train cp`."""

    recipe: str
    """The recipe to copy."""
    to: Path = Path("recipes")
    """The folder to copy it to; recipes in ./recipes are found by name."""


FuseMethod = Literal[
    "cat", "svd", "linear", "ties", "ties_svd", "dare_linear", "dare_linear_svd", "dare_ties", "dare_ties_svd",
    "magnitude_prune", "magnitude_prune_svd",
]  # fmt: skip


class FuseSettings(_Runs):
    """`train fuse`."""

    task: str | None = None
    """The first adapter: a run, or a PEFT folder."""
    safety: str | None = None
    """The second adapter."""
    adapters: tuple[str, ...] = ()
    """Two or more adapters, instead of task and safety."""
    weights: tuple[float, ...] = ()
    """One weight an adapter, in their order; equal shares, if not given. Negative ones take an adapter's effect away."""
    method: FuseMethod = "cat"
    """cat is the exact weighted sum, at the sum of the ranks; svd the nearest to it of a given rank; the others prune, too."""
    density: float = Field(default=0.5, gt=0, le=1)
    """The share of each adapter that ties, dare and magnitude_prune keep."""
    rank: int | None = Field(default=None, ge=1)
    """Rank of the result of svd and *_svd; the highest of the adapters, if not given."""
    seed: int = Field(default=0, ge=0)
    """Of what dare drops."""
    name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """The id of the fused run; made up, if not given."""
    base: str | None = None
    """The base model's folder, where the one that the adapters name has moved."""
    quantization: Literal["nf4", "none"] | None = None
    """How the base is held meanwhile; as the first adapter was trained, if not given."""
    sweep: bool = False
    """Measure methods x weights on dataset versions, draw the frontier, keep the chosen candidate; run again to go on."""
    methods: tuple[FuseMethod, ...] = Field(default=("cat", "svd", "ties_svd", "dare_ties_svd"), min_length=1)
    """Of the sweep."""
    grid: tuple[tuple[float, ...], ...] = ()
    """The weights of the sweep, e.g. [[0.8,0.2],[0.5,0.5]]; every split of 1 in fifths, if not given."""
    harmful: str | None = None
    """Of the sweep: the dataset version of harmful requests, which should be refused."""
    benign: str | None = None
    """Of the sweep: the dataset version of requests that look harmful and are not, which should be answered."""
    utility: str | None = None
    """Of the sweep: the dataset version that the task is measured on (AUROC where it has labels, else P(token) of the
    answers), or lm-eval:TASK for a local task."""
    tasks_dir: Path | None = None
    """Of the sweep: the folder with the task files of lm-eval."""
    split: str = "test"
    """The split of those versions that is measured on."""
    n: int = Field(default=200, ge=1)
    """Rows of each, at most."""
    max_completion: int = Field(default=64, ge=1)
    """Tokens of an answer; a refusal shows at its beginning."""
    batch_size: int = Field(default=16, ge=1)
    """Answers that are generated together."""
    tolerance: float = Field(default=0.02, ge=0)
    """The chosen candidate's utility is within this of the best."""
    max_over_refusal: float = Field(default=0.1, ge=0, le=1)
    """The chosen candidate's over-refusal is at most this."""
    choose: str | None = None
    """Keep this candidate instead, e.g. cat:0.6,0.4 (as in frontier.csv)."""


class MergeSettings(_Runs):
    """`train merge`."""

    run: str
    """The run, or a PEFT folder."""
    to: Path
    """The folder to write the whole model to."""
    dtype: Literal["bf16", "fp32"] = "bf16"
    """Of the weights written."""
    shard_size: str = Field(default="2GB", pattern=r"^\d+(\.\d+)?(KB|MB|GB)$")
    """The most that a weight file holds."""
    onto: Literal["dequantised", "original"] | None = None
    """Over a base in 4 bits: its dequantised weights, which the adapter was trained on (default), or the original ones."""
    base: str | None = None
    """The base model's folder, where the one that the adapter names has moved."""
    quantization: Literal["nf4", "none"] | None = None
    """How the base was held in training; a run knows."""


class QuantizeSettings(_Runs):
    """`train quantize`."""

    run: str | None = None
    """The run, or a PEFT folder; its adapter is merged first."""
    model: str | None = None
    """A whole model's folder, or a hub id, instead of a run."""
    to: Path | None = None
    """The folder to write to; `quantized` in the run's, if not given."""
    bits: Literal[4, 8] = 4
    """Of a weight."""
    group_size: int = Field(default=128, ge=8)
    """Weights of a row that share a scale; must divide the widths of the layers."""
    calibration: str
    """The dataset version whose conversations the rounding is fitted to: NAME, NAME@N or a folder."""
    split: str = "train"
    """The split to calibrate on."""
    n: int = Field(default=128, ge=1)
    """Conversations to calibrate on, and to measure the perplexity on, at most."""
    max_length: int = Field(default=1024, ge=16)
    """Tokens of each, at most."""
    evaluate: str = "test"
    """The split whose perplexity is measured before and after."""
    dtype: Literal["bf16", "fp32"] = "bf16"
    """Of the weights that stay as they are, and of the scales."""
    shard_size: str = Field(default="2GB", pattern=r"^\d+(\.\d+)?(KB|MB|GB)$")
    """The most that a weight file holds."""
    base: str | None = None
    """The base model's folder, where the one that the adapter names has moved."""


class Columns(BaseModel):
    """The columns of `train predict`'s input, by the header's names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = "id"
    text: str = "text"  # the post, a meme's overlay text, a listing's body
    title: str = "title"
    caption: str = "caption"  # what a meme's picture shows
    image: str = "image"  # the picture's path, for ocr and captioner


class PredictSettings(_Runs):
    """`train predict`."""

    adapter: str
    """A run's id, its beginning, or its folder; a PEFT folder; or a whole model's folder or hub id."""
    model: str | None = None
    """The base model, where the one that the adapter names has moved."""
    precision: Literal["bf16", "fp32"] | None = None
    """The arithmetic; as the run was trained, else bf16."""
    quantization: Literal["nf4", "none"] | None = None
    """Hold the base in 4 bits (nf4); as the run was trained, else none."""
    policy: Path | None = None
    """A text file that is added to the system prompt."""
    columns: Columns = Columns()
    """The names of the columns: columns.text, columns.id, columns.title, columns.caption, columns.image."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Whether the first line names the columns; auto: it does if it has the text column's name. Without: text, or id and text."""
    max_length: int | None = Field(default=None, ge=32)
    """Tokens of a prompt; the middle of longer texts is left out. As many as the model takes, at most 4096, if not given."""
    batch_size: int = Field(default=64, ge=1)
    """Rows of a batch, at most."""
    batch_tokens: int = Field(default=4096, ge=1)
    """Tokens of a batch with its padding, at most."""
    window: int = Field(default=4000, ge=1)
    """Rows that are read, sorted by length, scored and written together."""
    share_prefix: bool = True
    """Compute what prompts begin with (system prompt, policy) once."""
    label_mass: bool = False
    """Write a third column: how likely the model is to answer with one of the two labels at all."""
    ocr: Path | None = None
    """A local image-to-text model that reads the text in pictures, where the text column is empty."""
    captioner: Path | None = None
    """A local image-to-text model that says what pictures show, where the caption column is empty."""
    threads: int | None = Field(default=None, ge=1)
    """CPU threads; as many as there are cores, if not given."""
    serve: bool = False
    """Answer over HTTP instead: POST /score, POST /v1/chat/completions, GET /health."""
    host: str = "127.0.0.1"
    """With serve=true: the address to listen at; 0.0.0.0 for every one."""
    port: int = Field(default=8000, ge=0, le=65535)
    """With serve=true: the port; 0 for a free one."""


class EvalSettings(_Runs):
    """`train eval`."""

    run: str
    """A run's id, its beginning, or its folder; or any folder with an adapter or a whole model."""
    dataset: str
    """The dataset version to evaluate on: NAME (its latest), NAME@N, or a version's folder."""
    split: str = "test"
    """The split to evaluate on."""
    n: int | None = Field(default=None, ge=1)
    """Evaluate so many rows, drawn by chance; all, if not given."""
    seed: int = Field(default=0, ge=0)
    """Of the rows that are drawn, and of the bootstrap."""
    threshold: float | None = Field(default=None, gt=0, lt=1)
    """Call a text disallowed from this probability on; if not given, where F1 is highest on the validation split."""
    resamples: int = Field(default=1000, ge=0, le=100_000)
    """Bootstrap resamples for the 95 % intervals; 0 leaves them out."""
    high_loss: float = Field(default=0.5, gt=0)
    """From this loss on (nats) a text that was called right is listed among the errors too."""
    base: str | None = None
    """The base model, where the one that the adapter names has moved."""
    predictions: dict[str, Path] = {}
    """Others to compare with: predictions.NAME=FILE, JSONL or CSV with id and either probability or label."""
    judge_scores: Path | None = None
    """A judge's file, JSONL with id and score: safety from 1 to 5, dialogues from 0 to 2.
    Training asks no provider by itself."""
    max_new_tokens: int = Field(default=96, ge=1)
    """Safety, dialogues: the longest answer, in tokens."""
    answers: bool = True
    """Dialogues: also have the model write its answers; false measures intents and slots alone."""
    tolerance: float = Field(default=1e-6, ge=0)
    """Dialogues: two numbers in slots are equal within this, relative to the larger."""
    tasks: tuple[str, ...] = ()
    """Utility: tasks of the language model evaluation harness, by name, e.g. [mmlu_local]."""
    tasks_dir: Path | None = None
    """Utility: a folder with task files (YAML) and their data."""
    batch_size: int = Field(default=64, ge=1)
    """Texts scored at once."""
    evaluations_dir: Path = Path("evaluations")
    """The folder that holds the evaluations."""


class ConsolidateSettings(_Runs):
    """`train consolidate`."""

    run: str
    """The run: its id, the beginning of one, or its folder."""
    to: Path
    """The folder to write the adapter to."""
    step: int | None = Field(default=None, ge=1)
    """The step of the checkpoint; the newest, if not given."""
