"""Documents as records: pages with the places of what stands on them, and the outline of an SOP.

A document is known by the hash of its content as it was read: the file's bytes, and how it was rendered. A place is a page and
a box on it, so that whatever rests on a document can be shown beside the very lines it rests on.
"""

from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from curation.records import Record, content_id


def _on_the_page(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    if not (0 <= left <= right <= 1 and 0 <= top <= bottom <= 1):
        raise ValueError("a box is left, top, right, bottom as shares of the page, 0 to 1")
    return box


Box = Annotated[tuple[float, float, float, float], AfterValidator(_on_the_page)]
"""Left, top, right, bottom as shares of the page's width and height, counted from its top left corner."""


class Place(Record):
    page: int = Field(ge=1)
    box: Box


class Block(Record):
    """Something that stands on a page: a heading, a numbered step, a table."""

    kind: Literal["title", "heading", "paragraph", "step", "bullet", "table", "figure", "note"]
    text: str
    place: Place
    number: str | None = None  # as printed: 4, 4.2, b
    level: int = 0  # of a heading, or how deep a step or bullet is nested
    cells: tuple[tuple[str, ...], ...] = ()  # of a table, row by row


class Page(Record):
    number: int = Field(ge=1)
    image: str  # sha256 of the PNG in the assets
    width: int  # pixels
    height: int
    text: str
    blocks: tuple[Block, ...] = ()


class Document(Record):
    sha256: str  # of the file
    name: str  # the file's stem
    path: str
    media_type: str
    title: str
    pages: tuple[Page, ...]
    rendering: str = ""  # how: the renderer's version, its dpi, the longest side of a page image

    @cached_property
    def id(self) -> str:
        return content_id("dc", self.model_dump(mode="json", exclude={"path"}))


class Evidence(Record):
    """What has to be seen before a step may be taken: a receipt, a photo, an order number."""

    id: str = Field(min_length=1)  # unique in the outline: E1
    text: str = Field(min_length=1)
    place: Place
    held_by: Literal["customer", "record"] = (
        "customer"  # who shows it: the customer, or a record that the agent looks up
    )


class Branch(Record):
    when: str = Field(min_length=1)  # the answer or condition, in words
    to: str  # id of a step


class Step(Record):
    """One thing to do. After it the next step in order follows, unless `branches` or `then` say otherwise; an outcome ends."""

    id: str = Field(min_length=1)  # as printed, unique in the outline: 4.2
    kind: Literal["action", "decision", "outcome"]
    text: str = Field(min_length=1)
    place: Place
    when: str | None = None  # the step applies only then; else the next in order follows
    evidence: tuple[str, ...] = ()  # ids of what must be at hand before it
    branches: tuple[Branch, ...] = ()  # of a decision; without any, the next step in order follows
    then: str | None = None  # id of the step after this one, where that is not the next in order
    answered_by: Literal["customer", "record"] = "customer"  # who knows which branch, or whether `when`, holds


class Outline(Record):
    """An SOP as what to do in which order, made by rule, by a model or by a person."""

    document: str  # id
    title: str
    language: str
    steps: tuple[Step, ...] = Field(min_length=1)
    evidence: tuple[Evidence, ...] = ()
    by: str = Field(pattern=r"^(rule|model|human):.+")  # rule:outline@1, model:NAME, human:NAME

    @cached_property
    def id(self) -> str:
        return content_id("ol", self.model_dump(mode="json", exclude={"by"}))

    @cached_property
    def step(self) -> dict[str, Step]:
        """The steps by id, in order."""
        return {step.id: step for step in self.steps}

    @cached_property
    def wanted(self) -> dict[str, Evidence]:
        """The evidence by id."""
        return {one.id: one for one in self.evidence}

    def following(self, step: Step) -> str | None:
        """The step next in order, None at the end."""
        ids = list(self.step)
        place = ids.index(step.id) + 1
        return ids[place] if place < len(ids) else None

    @model_validator(mode="after")
    def _names_hold_together(self) -> Self:
        if len(self.step) < len(self.steps) or len(self.wanted) < len(self.evidence):
            raise ValueError("two steps, or two kinds of evidence, have the same id")
        if both := self.step.keys() & self.wanted.keys():
            raise ValueError(f"{min(both)!r} is a step and a kind of evidence; rename one")
        for step in self.steps:
            words = [branch.when for branch in step.branches]
            if len(set(words)) < len(words):
                raise ValueError(f"step {step.id}: two branches have the same `when`")
            if words and step.kind != "decision":
                raise ValueError(f"step {step.id}: only a decision has branches; this is an {step.kind}")
            if words and step.when is not None:
                raise ValueError(f"step {step.id}: has branches and `when`; make the condition a decision of its own")
            if step.then is not None and (words or step.kind == "outcome"):
                raise ValueError(
                    f"step {step.id}: `then` is for steps with one way on; it is an outcome or has branches"
                )
            for to in (*(branch.to for branch in step.branches), *([step.then] if step.then is not None else [])):
                if to not in self.step:
                    raise ValueError(f"step {step.id}: goes to {to!r}, which is no step")
            for wanted in step.evidence:
                if wanted not in self.wanted:
                    raise ValueError(f"step {step.id}: evidence {wanted!r} is not listed")
        return self
