"""What the user of `curate` can set. Declared here, read once, passed on frozen."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from curation.annotated import Markers
from curation.settings import Settings


def one_or_many(value: object) -> object:
    """`prompt=a` means the same as `prompt=[a]`."""
    return value if isinstance(value, list | tuple) else (value,)


def _as_written(value: object) -> object:
    """The settings' grammar reads `1` and `true` as a number and a truth value; here they are words."""
    return str(value).lower() if isinstance(value, bool | int | float) else value


Word = Annotated[str, BeforeValidator(_as_written)]
Words = Annotated[tuple[str, ...], BeforeValidator(one_or_many)]
Status = Literal["kept", "passed", "new", "unscored", "flagged", "dropped"]
Statuses = Annotated[tuple[Status, ...], BeforeValidator(one_or_many)]


class Selector(Settings):
    """Which examples a command is about. Empty means all."""

    task: Words = ()
    """Tasks: moderation, dialogue, preference, safety, qa."""
    label: Words = ()
    """Labels, e.g. allowed."""
    category: Words = ()
    """Categories, e.g. [race,religion]."""
    language: Words = ()
    """Languages, e.g. [en,zh]."""
    prompt: Words = ()
    """Prompts that the examples were generated with."""
    status: Statuses = ()
    """kept or dropped or flagged by a person; passed, flagged, unscored or dropped by the checks; new."""


class ImportSettings(Settings):
    path: Path | None = None
    """A JSONL, CSV or Parquet file, or the folder of a Hugging Face dataset."""
    evaluation: Path | None = None
    """Instead of a file: an evaluation's folder or id; what the model got wrong there is flagged for review."""
    task: Literal["moderation", "dialogue", "preference", "safety", "qa"] = "moderation"
    """What the rows are examples of."""
    columns: dict[str, Word] = {}
    """Which column holds which field: columns.text=body columns.label=is_bad."""
    values: dict[str, dict[Word, Word]] = {}
    """What a column's values mean: values.label.1=disallowed values.label.0=allowed."""
    constants: dict[str, Word] = {}
    """Fields that are the same for all rows: constants.language=en constants.category=spam."""
    split: Words = ()
    """Which splits of a dataset folder; all, if none is named."""
    encoding: str = "utf-8"
    """The text encoding of a CSV or JSONL file."""
    skip_bad: bool = False
    """Take the good rows and list the bad ones, instead of refusing the file."""
    limit: int | None = Field(default=None, ge=1)
    """Read only so many rows."""


class ListSettings(Selector):
    n: int = Field(default=20, ge=1, le=100_000)
    """How many examples to list."""
    text: str = ""
    """Only examples whose text contains this (case does not matter)."""


class ShowSettings(Settings):
    id: str
    """An id, or its unique beginning."""


class StatsSettings(Selector):
    axis: str | None = None
    """Also count the values of one axis of the prompts, e.g. topic."""
    plot: Path | None = None
    """Where to draw the coverage heat map (PNG); <workspace>/coverage.png, if not given."""


class ChecksSettings(Selector):
    only: Words = ()
    """Checks to run; all, if none is named."""


class AgreementSettings(Selector):
    on: Literal["decision", "label", "category", "severity"] = "decision"
    """What the tables by label, category, language, pair and judge compare; the first table has all four."""
    resamples: int = Field(default=1000, ge=0, le=100_000)
    """Bootstrap resamples for the 95 % intervals; 0 leaves them out."""
    seed: int = 0
    """Of the resamples."""
    idle_s: float = Field(default=120, gt=0)
    """A longer gap between two decisions of one person, in seconds, is a break and no working time."""


class DedupSettings(Selector):
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Jaccard similarity from which two texts are near-duplicates."""
    n: int = Field(default=10, ge=0, le=10_000)
    """How many of the pairs to print."""


class SplitSettings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    train: float = Field(default=0.8, ge=0, le=1)
    """Share of the training split."""
    validation: float = Field(default=0.1, ge=0, le=1)
    """Share of the validation split."""
    test: float = Field(default=0.1, ge=0, le=1)
    """Share of the test split."""


class ExportSettings(Selector):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    """The dataset's name; each export of something new is its next numbered version."""
    status: Statuses = ("kept", "passed")
    """Which examples may go in, by status."""
    format: Literal["text-classification", "messages", "oasst", "tool-calls", "prompt-completion", "preference"] = (
        "text-classification"
    )
    """The columns: text and labels; chat messages; one text with a marker before each turn; chat messages with calls of functions; a
    prompt and its completion; a prompt with a chosen and a rejected answer."""
    annotations: bool | None = None
    """Keep intent, slots and citations of dialogues as JSON in the text, for the model to learn (messages, tool-calls; oasst does
    unless this is false)."""
    markers: Markers = Markers()
    """With format=oasst."""
    preamble: str | None = None
    """What a dialogue opens with; {scenario} and {intents} are filled in. Made up where annotations are kept, if not given."""
    jsonl: bool = False
    """Write each split also as JSON lines, jsonl/SPLIT.jsonl, without empty fields and with arguments of calls as objects."""
    threshold: float = Field(default=0.8, gt=0, le=1)
    """Near-duplicates from this Jaccard similarity on are left out, but one."""
    dedup: Literal["near", "exact", "none"] = "near"
    """Which twins to leave out."""
    split: SplitSettings = SplitSettings()
    """The shares of the splits; twins and translations stay in one split."""
    seed: int = 0
    """Another seed deals the splits differently."""
    licence: str = "other"
    """The licence to state in the dataset card, as the Hub spells it, e.g. cc-by-4.0."""


class VersionsSettings(Settings):
    name: str | None = None
    """One version, NAME@N, or NAME for its latest; all, if not given."""
    check: bool = False
    """Hash every file and say which are not as they were exported."""


class VersionDiffSettings(Settings):
    versions: Words
    """Two versions, e.g. [moderation@1,moderation@2]; one name compares its last two."""
    n: int = Field(default=20, ge=0, le=1_000_000)
    """How many of the examples to list."""
