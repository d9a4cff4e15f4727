"""The records that everything else passes around: frozen, hashed by content, never updated in place.

An id is `<kind><scheme>_<hex>`: a BLAKE2b-128 digest (RFC 7693) over canonical JSON, domain-separated by kind, so
that an id says what it names and a later scheme can live beside this one.
"""

import hashlib
import json
import unicodedata
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

LANGUAGE_NAMES = {"en": "English", "zh": "Chinese", "ms": "Malay", "ta": "Tamil"}

# what a model that moderates is told; exported conversations open with it, and training and scoring say the same words
MODERATOR = (
    "You moderate posts, memes and marketplace listings. Answer with one JSON object: "
    '{"label": "allowed" or "disallowed", "category": ..., "severity": 0 to 3}.'
)


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no optional white space: equal values give equal bytes."""
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))  # dumps() makes one a call


def content_id(kind: str, value: Any) -> str:
    """The id of a JSON-able value, e.g. `content_id("ex", {...})` -> `ex1_0f3c...` (28 hex digits)."""
    return hashed(kind, canonical_json(value))


def hashed(kind: str, text: str) -> str:
    """`content_id` of a value that is canonical JSON already."""
    digest = hashlib.blake2b(f"tilth:{kind}:1\0{text}".encode(errors="surrogatepass"), digest_size=14)
    return f"{kind}1_{digest.hexdigest()}"


def now() -> datetime:
    return datetime.now(UTC)


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


# -- examples ---------------------------------------------------------------------------------------------------


class _Example(Record):
    language: str = Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")
    images: tuple[str, ...] = ()  # asset sha256s

    @cached_property
    def body(self) -> str:
        """The example as canonical JSON; fields at their defaults are left out, so that a new field changes no id."""
        fields = self.model_dump(mode="json", exclude_defaults=True)
        return canonical_json({**fields, "task": self.task})  # type: ignore[attr-defined]

    @cached_property
    def id(self) -> str:
        return hashed("ex", self.body)

    @property
    def labels(self) -> dict[str, str | int]:
        """What a classifier would learn from this example; empty where the task has no label."""
        return {}

    @property
    def content(self) -> str:
        """All the text a reader sees, one field a line: what checks read and dedup compares."""
        raise NotImplementedError


class Moderation(_Example):
    """A text that somebody posted, and what a moderator says of it."""

    task: Literal["moderation"] = "moderation"
    surface: Literal["post", "meme", "listing"] = "post"
    text: str = Field(min_length=1)  # the post, the meme's overlay text, the listing's Markdown body
    title: str | None = None  # a listing's title
    caption: str | None = None  # what a meme's picture shows
    label: Literal["allowed", "disallowed"]
    category: str = Field(default="none", pattern=r"^[a-z][a-z0-9_]*$")
    severity: int = Field(default=0, ge=0, le=3)  # 0 nothing wrong, 3 the worst of its category

    @property
    def labels(self) -> dict[str, str | int]:
        return {"label": self.label, "category": self.category, "severity": self.severity}

    @property
    def content(self) -> str:
        return "\n".join(part for part in (self.title, self.text, self.caption) if part)


class Turn(Record):
    role: Literal["system", "user", "assistant", "tool"]
    content: str
    cites: tuple[str, ...] = ()  # SOP steps or retrieved documents this turn rests on
    annotation: dict[str, Any] | None = None  # intent, slots, state


class Dialogue(_Example):
    task: Literal["dialogue"] = "dialogue"
    turns: tuple[Turn, ...] = Field(min_length=1)
    scenario: str = "open"  # the SOP, graph or kind of talk it follows
    outline: str | None = None  # id of the SOP outline whose steps the turns cite

    @property
    def labels(self) -> dict[str, str | int]:
        return {"category": self.scenario}

    @property
    def content(self) -> str:
        return "\n".join(turn.content for turn in self.turns)


class Preference(_Example):
    """Two answers to one prompt, the better one first."""

    task: Literal["preference"] = "preference"
    prompt: str = Field(min_length=1)
    chosen: str
    rejected: str

    @property
    def content(self) -> str:
        return "\n".join((self.prompt, self.chosen, self.rejected))


class Safety(_Example):
    """A request to an assistant and the answer that is wanted: complying or refusing."""

    task: Literal["safety"] = "safety"
    prompt: str = Field(min_length=1)
    response: str
    behaviour: Literal["comply", "refuse"]
    category: str = "none"

    @property
    def labels(self) -> dict[str, str | int]:
        return {"label": self.behaviour, "category": self.category}

    @property
    def content(self) -> str:
        return "\n".join((self.prompt, self.response))


class QA(_Example):
    task: Literal["qa"] = "qa"
    question: str = Field(min_length=1)
    answer: str
    cites: tuple[str, ...] = ()
    outline: str | None = None  # id of the SOP outline whose steps the answer cites
    annotation: dict[str, Any] | None = None  # what the question tells of the case: evidence shown, facts

    @property
    def content(self) -> str:
        return "\n".join((self.question, self.answer))


Example = Annotated[Moderation | Dialogue | Preference | Safety | QA, Field(discriminator="task")]
EXAMPLE: TypeAdapter[Moderation | Dialogue | Preference | Safety | QA] = TypeAdapter(Example)


def normalised(text: str) -> str:
    """NFKC, case-folded, white space collapsed: two texts a reader would call the same."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


# -- where an example came from ----------------------------------------------------------------------------------


class Generated(Record):
    kind: Literal["generated"] = "generated"
    completion: str
    position: int  # which item of the completion
    before: tuple[str, ...] = ()  # the answers that it rests on besides, in order, where it took several
    prompt: str
    axes: dict[str, str | int] = {}
    provider: str
    model: str


class Imported(Record):
    kind: Literal["imported"] = "imported"
    path: str
    row: int  # counted from 1, as an editor counts lines
    sha256: str  # of the file


class Edited(Record):
    kind: Literal["edited"] = "edited"
    parent: str
    by: str
    why: str


class Translated(Record):
    kind: Literal["translated"] = "translated"
    parent: str
    translator: str
    completion: str | None = None


Origin = Annotated[Generated | Imported | Edited | Translated, Field(discriminator="kind")]
ORIGIN: TypeAdapter[Generated | Imported | Edited | Translated] = TypeAdapter(Origin)


# -- what was asked and answered ---------------------------------------------------------------------------------


class Message(Record):
    role: Literal["system", "user", "assistant"]
    content: str
    images: tuple[str, ...] = ()


class Request(Record):
    """One question to a model. Its id covers exactly what can change the answer."""

    prompt: str  # name
    prompt_id: str  # fingerprint of the prompt file's meaning
    variables: dict[str, str | int]
    messages: tuple[Message, ...]
    provider: str
    model: str
    sampling: dict[str, str | int | float] = {}
    output_schema: dict[str, Any] | None = None  # a JSON schema that the provider holds its model to
    slot: int = 0  # the place in the plan, and
    attempt: int = 0  # how often that place was asked before: they tell apart repeats of one question

    @cached_property
    def id(self) -> str:
        exclude = {"prompt"} if self.output_schema is not None else {"prompt", "output_schema"}
        return content_id("rq", self.model_dump(mode="json", exclude=exclude))


class Finish(StrEnum):
    STOP = "stop"
    LENGTH = "length"
    REFUSAL = "refusal"
    FILTER = "filter"
    ERROR = "error"


class Completion(Record):
    request: str
    text: str
    finish: Finish = Finish.STOP
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None  # None: the price is not known, which is not the same as free
    latency_s: float = 0.0
    model: str = ""  # what the provider says answered
    raw: dict[str, Any] = {}
    at: datetime = Field(default_factory=now)

    @cached_property
    def id(self) -> str:
        return content_id("cp", [self.request, self.text, self.finish, self.model])


class Malformed(Record):
    """An answer, or an item of one, that could not be read as what was asked for."""

    completion: str
    position: int | None  # None: the whole answer
    reason: str


# -- what is said of an example ----------------------------------------------------------------------------------


class Decision(StrEnum):
    KEEP = "keep"
    DROP = "drop"
    FLAG = "flag"
    UNSCORED = "unscored"  # a judge or check that could not decide: unknown, not bad
    RETRACT = "retract"  # the author takes back what they said before (undo)


class Verdict(Record):
    example: str
    by: str = Field(pattern=r"^(check|judge|human):.+")  # check:language@1, judge:NAME@1, human:alice
    decision: Decision
    reason: str = ""
    score: float | None = None
    labels: dict[str, str | int] | None = None  # a reviewer's correction
    at: datetime = Field(default_factory=now)


class Asset(Record):
    sha256: str
    media_type: str
    bytes: int
    document: str | None = None
    page: int | None = None
