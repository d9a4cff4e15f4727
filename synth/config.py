"""What the user of `synth` can set. Declared here, read once, passed on frozen."""

from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, Field

from curation.config import Words, one_or_many
from curation.settings import Settings
from synth.providers.offline import OfflineSettings

Values = Annotated[tuple[str | int, ...], BeforeValidator(one_or_many)]


class LibrarySettings(Settings):
    prompts_dir: Path | None = None
    """A folder of prompt files that is searched before ./prompts and the built-in library."""


class PromptSettings(LibrarySettings):
    prompt: str
    """A prompt's name, or the path of its YAML file."""


class ShowSettings(PromptSettings):
    samples: int = Field(default=3, ge=0, le=100)
    """How many offline examples to draw per language."""


class CopySettings(PromptSettings):
    to: Path = Path("prompts")
    """The folder to put the copy in."""


class CheckSettings(LibrarySettings):
    prompt: Words = ()
    """Prompts to check; all that can be found, if none is named."""


class RunSettings(LibrarySettings):
    prompt: Words = ()
    """The prompts to run: a name, a path, or a list of them."""
    suite: str | None = None
    """A suite file that names prompts and their counts, instead of `prompt` and `n`."""
    n: int = Field(default=100, ge=1, le=100_000_000)
    """How many accepted examples to have of each prompt."""
    provider: str = "offline"
    """Who answers: offline (the prompts' own grammars, no key)."""
    language: Words = ()
    """Languages to write in; each prompt's own list, if none is given."""
    axes: dict[str, Values] = {}
    """Keep to some values of an axis: axes.topic=[food,school]."""
    per_request: int | None = Field(default=None, ge=1, le=50)
    """Examples to ask for at once, instead of each prompt's own number."""
    seed: int = 0
    """Another seed deals the grid in another order and gives other examples."""
    concurrency: int = Field(default=64, ge=1, le=4096)
    """Requests in flight at once."""
    max_requests: int | None = Field(default=None, ge=1)
    """Stop after so many requests, answered before or now (3 times what a faultless run needs, if not given)."""
    max_attempts: int = Field(default=6, ge=1, le=100)
    """How often one place of the plan is asked before it is left short."""
    retries: int = Field(default=5, ge=0, le=100)
    """How often a request is sent again when the provider fails for now."""
    offline: OfflineSettings = OfflineSettings()
    """How the offline provider behaves."""


class EstimateSettings(RunSettings):
    previews: int = Field(default=5, ge=1, le=1000)
    """How many requests of each prompt to try, offline, for the share that is accepted."""
