"""What the user of `synth` can set. Declared here, read once, passed on frozen."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from curation.config import Statuses, Words, one_or_many
from curation.settings import Settings
from synth.providers.offline import OfflineSettings

Values = Annotated[tuple[str | int, ...], BeforeValidator(one_or_many)]
Retries = Annotated[tuple[Literal["malformed", "refusal"], ...], BeforeValidator(one_or_many)]


class CorpusChoice(BaseModel):
    """A user's own corpus in the place of a graph's first."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: Path
    """A JSONL, CSV or Parquet file."""
    columns: dict[str, str] = {}
    """Which column has which field, where the names differ: corpus.columns.name=title."""


class LibrarySettings(Settings):
    prompts_dir: Path | None = None
    """A folder of prompt files that is searched before ./prompts and the built-in library."""


class PromptSettings(LibrarySettings):
    prompt: str
    """A prompt's name, or the path of its YAML file."""


class ShowSettings(PromptSettings):
    samples: int = Field(default=3, ge=0, le=100)
    """How many offline examples to draw per language; of dialogues, how many in all."""
    plot: Path | None = None
    """Where to draw a dialogue graph (PNG, SVG or PDF); <workspace>/graphs/NAME.png, if not given."""


class CoverageSettings(PromptSettings):
    n: int = Field(default=10, ge=1)
    """How many of the thinnest transitions to list."""
    plot: Path | None = None
    """Where to draw how often each state was visited; <workspace>/graphs/NAME_coverage.png, if not given."""


class CopySettings(PromptSettings):
    to: Path = Path("prompts")
    """The folder to put the copy in."""


class CheckSettings(LibrarySettings):
    prompt: Words = ()
    """Prompts to check; all that can be found, if none is named."""


class AskSettings(LibrarySettings):
    """How models are asked; shared by all commands that ask."""

    @property
    def also_asked(self) -> tuple[str, ...]:
        """Models that are asked beside `model`."""
        return ()

    provider: str = "offline"
    """Who answers: offline (the prompts' own grammars, no key), anthropic, together, openai (any compatible server), transformers."""
    model: str | None = None
    """The model's name; every provider but offline needs one."""
    mode: Literal["live", "batch"] = "live"
    """live asks one request at a time; batch hands over thousands at once, cheaper, answered within a day."""
    base_url: str | None = None
    """Another server that speaks the provider's protocol, e.g. http://localhost:8000/v1."""
    max_tokens: int = Field(default=4096, ge=1)
    """The longest answer, in tokens (thinking included)."""
    temperature: float | None = Field(default=None, ge=0, le=2)
    """Sampling temperature, where the provider still has one."""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """Nucleus sampling, where the provider still has it."""
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    """How hard the model should think, where it can."""
    structured: bool | None = None
    """Hold the model to a JSON schema; if not given, wherever the model is known to take one."""
    timeout_s: float = Field(default=180, gt=0)
    """How long to wait for one answer."""
    concurrency: int = Field(default=64, ge=1, le=4096)
    """Requests in flight at most; fewer while the provider says it is too much."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """A limit of yours on requests a minute; the provider's own are found by themselves."""
    tokens_per_minute: int | None = Field(default=None, ge=1)
    """A limit of yours on input and output tokens a minute."""
    retries: int = Field(default=5, ge=0, le=100)
    """How often a request is sent again when the provider fails for now; rate limits do not count."""
    max_requests: int | None = Field(default=None, ge=1)
    """Stop after so many requests, answered before or now (3 times what a faultless run needs, if not given)."""
    max_usd: float | None = Field(default=None, gt=0)
    """Never spend more in all, requests in flight and earlier answers included."""
    confirm_usd: float = Field(default=1.0, ge=0)
    """Ask before a run that may cost more, or an unknown sum."""
    yes: bool = False
    """Go ahead without asking."""
    pricing: Path | None = None
    """A price table that overrides the built-in one; ./pricing.yaml, if there is one."""
    poll_s: float = Field(default=30, gt=0, le=3600)
    """How often to ask how a batch stands."""
    gather_s: float = Field(default=1, ge=0, le=600)
    """A batch is handed over when no request was added for so long."""
    offline: OfflineSettings = OfflineSettings()
    """How the offline provider behaves."""


class RunSettings(AskSettings):
    prompt: Words = ()
    """Prompts to run: a name, a path, or a list of them."""
    suite: str | None = None
    """A suite file that names prompts and their counts, instead of `prompt` and `n`."""
    targets: str | None = None
    """Write around what a model gets wrong, instead of `prompt`: evaluation:FOLDER. `n` is then the sum over all prompts."""
    n: int = Field(default=100, ge=1, le=100_000_000)
    """How many accepted examples to have of each prompt."""
    language: Words = ()
    """Languages to write in; each prompt's own list, if none is given."""
    documents: Words = ()
    """What prompts on SOPs rest on: names of rendered documents, files, or folders of them."""
    axes: dict[str, Values] = {}
    """Keep to some values of an axis: axes.topic=[food,school]."""
    per_request: int | None = Field(default=None, ge=1, le=50)
    """Examples to ask for at once, instead of each prompt's own number."""
    seed: int = 0
    """Another seed deals the grid in another order and gives other examples."""
    max_attempts: int = Field(default=6, ge=1, le=100)
    """How often one place of the plan is asked before it is left short."""
    models: Words = ()
    """Several models to write dialogues along a graph, dealt evenly; model=[a,b] is the same."""
    user_model: str | None = None
    """Another model to play the user in dialogues along a graph."""
    graph: str | None = None
    """Another graph for dialogues; none asks for each dialogue at once, without a graph, to compare."""
    steer: bool | None = None
    """Pull the walks over a graph to transitions that were seldom taken."""
    corpus: CorpusChoice | None = None
    """Your own documents for a graph: corpus.path=shop.csv corpus.columns.name=title."""
    retriever: Literal["bm25", "dense"] | None = None
    """How a graph searches its documents: bm25, by words, or dense, by the vectors of an encoder."""
    embedder: str | None = None
    """The encoder of retriever=dense: a folder, or a hub id."""
    retry: Retries = ()
    """Ask again, beyond max_attempts, where answers were malformed, or refused: retry=malformed."""

    @model_validator(mode="before")
    @classmethod
    def _several_models(cls, given: dict[str, object]) -> dict[str, object]:
        model = given.get("model")
        if isinstance(model, list | tuple):
            given = {**given, "model": model[0] if model else None, "models": [*model]}
        elif given.get("models") and model is None:
            models = given["models"]
            given = {**given, "model": models[0] if isinstance(models, list | tuple) else models}
        return given

    @property
    def also_asked(self) -> tuple[str, ...]:
        others = (*self.models, *((self.user_model,) if self.user_model else ()))
        return tuple(name for name in dict.fromkeys(others) if name != self.model)


class EstimateSettings(RunSettings):
    previews: int = Field(default=5, ge=0, le=1000)
    """How many requests of each prompt to try first; a paid answer is kept, and the run does not ask for it again."""


class TranslateSettings(AskSettings):
    to: Words
    """Languages to translate into, as codes: zh, ms, ta, or any other."""
    source: str = Field(default="en", pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")
    """The language to translate from."""
    translator: Literal["google", "llm"] = "google"
    """google (Cloud Translation; `provider` says nothing then), or llm: the model that provider and model name."""
    n: int | None = Field(default=None, ge=1)
    """Translate so many examples; all that are selected, if not given."""
    task: Words = ()
    """Only examples of these tasks: moderation, dialogue, preference, safety, qa."""
    label: Words = ()
    """Only examples with these labels, e.g. disallowed."""
    category: Words = ()
    """Only examples of these categories, e.g. [race,religion]."""
    prompt: Words = ()
    """Only examples that were generated with these prompts."""
    status: Statuses = ("kept", "passed")
    """Which examples to translate, by status."""
    translations: bool = False
    """Also translate examples that are translations themselves."""
    glossary: Path | None = None
    """A YAML file: `keep` lists names that stay, `terms` fixed translations by language."""
    instruction: str = "faithful"
    """What an llm is told: a file of prompts/translate, or a path."""
    back: bool = True
    """Translate back and compare, to flag what has drifted; that doubles the cost."""
    drift: float = Field(default=0.4, ge=0, le=1)
    """Flag a translation whose way back is less like the source than this (chrF, 0 to 1)."""


class RenderingSettings(Settings):
    """How documents are rendered and what that may take."""

    dpi: int = Field(default=150, ge=36, le=600)
    """Pixels per inch of a page image, while its longest side allows."""
    longest_px: int = Field(default=1568, ge=256, le=8000)
    """The longest side of a page image; providers scale larger ones down, and refuse those above 8000."""
    most_pages: int = Field(default=500, ge=1, le=100_000)
    """Refuse longer documents."""
    most_mb: int = Field(default=100, ge=1, le=2000)
    """Refuse larger files."""
    page_s: float = Field(default=20, gt=0, le=600)
    """Refuse a document of which a page takes longer."""
    ocr: bool = False
    """Recognise the text of pages that are images alone, by Tesseract, whose language data have to be installed."""
    ocr_language: str = Field(default="eng", pattern=r"^[a-z]{3}(_[a-z]+)?(\+[a-z]{3}(_[a-z]+)?)*$")
    """The languages to recognise, as Tesseract calls them: eng+chi_sim+msa+tam."""
    workers: int | None = Field(default=None, ge=1, le=64)
    """Reader processes; one a core, up to 4, if not given."""


class RenderSettings(RenderingSettings):
    documents: Words
    """Files, folders or patterns: sops/, [a.pdf,b.docx], 'sops/**/*.pdf'."""
    sheet: bool = True
    """Draw a contact sheet of each document."""


class OutlineSettings(AskSettings):
    """`provider` and `model` say who reads the outlines; offline, they are made by rule."""

    documents: Words = ()
    """SOPs to outline: names of rendered documents, files or folders."""
    to: Path | None = None
    """A folder to write the outlines into, one YAML file a document, to edit."""
    edited: Path | None = None
    """An edited file to take back; its name is the document's."""
    by: str = Field(default="", pattern=r"^[\w.@+-]*$")
    """Who edited it; your login, if not given."""
    rule: bool = False
    """Make the outline by rule once more, though there is one. One that a person edited stands all the same."""
    images: bool = True
    """Show a model the pages as images too, and not only their text."""
    instruction: str = "sop_outline"
    """What a model is told: a file of prompts/outline, or a path."""
    max_tokens: int = Field(default=16_000, ge=1)
    """The longest answer, in tokens (thinking included)."""


class BatchesSettings(Settings):
    cancel: str | None = None
    """A batch to cancel: the beginning of its id, here or at the provider. What is done is kept."""
    fetch: str | None = None
    """A batch whose results to store, or `all` that have ended; the run that asked reads them back."""
    forget: str | None = None
    """A batch that is lost, its account or server gone: its requests are asked, and may be paid, again."""
    base_url: str | None = None
    """The server that has the batches, if it is another than the run was told."""
    pricing: Path | None = None
    """A price table that overrides the built-in one; ./pricing.yaml, if there is one."""
    timeout_s: float = Field(default=180, gt=0)
    """How long to wait for one answer of the provider."""


class AnswerSettings(AskSettings):
    evaluation: str
    """A folder that `train eval` made, or the beginning of the name of one in ./evaluations."""


class JudgeSettings(AskSettings):
    prompt: str = "judge_moderation"
    """The rubric to judge by: its name, or the path of its YAML file."""
    evaluation: str | None = None
    """Judge the answers of this evaluation's model instead of examples: a folder that `train eval` made."""
    n: int | None = Field(default=None, ge=1)
    """Judge so many of the selected examples, drawn by chance; all, if not given. Those judged before count."""
    seed: int = 0
    """Another seed draws other examples."""
    label: Words = ()
    """Only examples with these labels, e.g. disallowed."""
    category: Words = ()
    """Only examples of these categories, e.g. [race,religion]."""
    language: Words = ()
    """Only examples in these languages, e.g. [en,zh]."""
    made_with: Words = ()
    """Only examples that were generated with these prompts."""
    status: Statuses = ()
    """Which examples to judge, by status; if not given, all that no check dropped, and all that people spoke of."""
