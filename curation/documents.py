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

    @cached_property
    def id(self) -> str:
        return content_id("dc", self.model_dump(mode="json", exclude={"path"}))


class Evidence(Record):
    """What has to be seen before a step may be taken: a receipt, a photo, an order number."""

    id: str  # unique in the outline: E1
    text: str
    place: Place


class Branch(Record):
    when: str  # the answer or condition, in words
    to: str  # id of a step


class Step(Record):
    id: str  # as printed, unique in the outline: 4.2
    kind: Literal["action", "decision", "outcome"]
    text: str
    place: Place
    when: str | None = None  # the step applies only then
    evidence: tuple[str, ...] = ()  # ids of what must be at hand before it
    branches: tuple[Branch, ...] = ()  # of a decision; without any, the next step in order follows


class Outline(Record):
    """An SOP as what to do in which order, made by rule, by a model or by a person."""

    document: str  # id
    title: str
    language: str
    steps: tuple[Step, ...] = Field(min_length=1)
    evidence: tuple[Evidence, ...] = ()
    by: str  # rule:outline@1, model:NAME, human:NAME

    @cached_property
    def id(self) -> str:
        return content_id("ol", self.model_dump(mode="json", exclude={"by"}))

    @model_validator(mode="after")
    def _names_hold_together(self) -> Self:
        steps, evidence = {step.id for step in self.steps}, {one.id for one in self.evidence}
        if len(steps) < len(self.steps) or len(evidence) < len(self.evidence):
            raise ValueError("two steps, or two kinds of evidence, have the same id")
        for step in self.steps:
            for branch in step.branches:
                if branch.to not in steps:
                    raise ValueError(f"step {step.id}: branch to {branch.to!r}, which is no step")
            for wanted in step.evidence:
                if wanted not in evidence:
                    raise ValueError(f"step {step.id}: evidence {wanted!r} is not listed")
        return self
