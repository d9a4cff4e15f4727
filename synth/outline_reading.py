"""An outline that a model read off the pages of an SOP, held against them: each step, and each piece of evidence, has to stand there.

A model gives words and the page that it has them from; where on the page they are is looked up in the document's blocks. Words
are compared letter by letter, without spaces, punctuation and case, as a line break or a hyphen is no invention. What stands
nowhere is refused. Pages without text, and figures, can be read by the model alone: what it says of those is doubted, not refused.
"""

import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curation.documents import Block, Branch, Document, Evidence, Outline, Place, Step
from curation.records import Completion, Finish
from synth import tolerant

WHOLE_PAGE = (0.0, 0.0, 1.0, 1.0)
FEWEST = 3  # letters of a quote
_PLAIN_ANSWERS = frozenset(
    {"otherwise", "yes", "no", "else", "否则", "是", "否", "有", "没有", "ya", "tidak", "jika tidak", "ஆம்", "இல்லை", "இல்லையெனில்"}
)  # fmt: skip  # branches that a flow chart, or the other branch, says without words


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    id: str = Field(min_length=1, max_length=20)
    text: str = Field(min_length=1)
    page: int = Field(ge=1)


class _Evidence(_Part):
    held_by: Literal["customer", "record"] = "customer"


class _Step(_Part):
    kind: Literal["action", "decision", "outcome"]
    when: str | None = None
    evidence: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()
    then: str | None = None
    answered_by: Literal["customer", "record"] = "customer"


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore")

    language: str = Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")
    evidence: tuple[_Evidence, ...] = ()
    steps: tuple[_Step, ...] = Field(min_length=1)


FORM = """\
Answer with one JSON object and nothing else:
{"language": code of the SOP's language, such as en or zh,
 "evidence": [{"id": "E1", or as printed, "text": what has to be seen, as printed, "page": number of the page, "held_by": "customer" or "record", who has it}, ...],
 "steps": [{"id": its number, as printed, "kind": "action", "decision" (it has branches) or "outcome" (the case ends there), "text": as printed, "page": number of the page,
   "when": condition under which alone the step applies, as printed, else "", "evidence": [ids of what has to be at hand before it],
   "branches": [{"when": the answer, in the SOP's words, "to": id of the step that follows}, ...], "then": id of the step after this one where that is not the next in the list, else "",
   "answered_by": "customer" or "record", who knows which branch, or whether "when", holds}, ...]}
A step with branches has no "when" and no "then"; only a decision has branches; every id that is named is a step, or evidence, of the list."""


def output_schema() -> dict[str, object]:
    """The JSON schema of an answer, closed as providers demand."""
    words: dict[str, object] = {"type": "string"}
    number: dict[str, object] = {"type": "integer"}
    names: dict[str, object] = {"type": "array", "items": words}
    who: dict[str, object] = {"type": "string", "enum": ["customer", "record"]}
    evidence = _closed({"id": words, "text": words, "page": number, "held_by": who})
    step = _closed({
        "id": words, "kind": {"type": "string", "enum": ["action", "decision", "outcome"]}, "text": words, "page": number,
        "when": words, "evidence": names, "branches": {"type": "array", "items": _closed({"when": words, "to": words})},
        "then": words, "answered_by": who,
    })  # fmt: skip
    lists = {"evidence": {"type": "array", "items": evidence}, "steps": {"type": "array", "items": step}}
    return _closed({"language": words, **lists})


def _closed(properties: dict[str, Any]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def pages_as_text(document: Document) -> str:
    """The pages as a model is shown them: the same words that its answer is held against."""
    shown = []
    for page in document.pages:
        text = "\n".join(_as_printed(block) for block in page.blocks if block.text.strip())
        shown.append(f"[page {page.number}]\n{text or '(no text on this page, only its image)'}")
    return "\n\n".join(shown)


def _as_printed(block: Block) -> str:
    text = " ".join(block.text.split())
    return text if not block.number or text.startswith(block.number) else f"{block.number} {text}"


def read(completion: Completion, document: Document, by: str) -> Outline | str:
    """The outline in an answer, each part with its place, or why there is none."""
    found = tolerant.only_object(completion.text, "steps")
    if isinstance(found, str):
        return f"{found}, as it reached max_tokens" if completion.finish is Finish.LENGTH else found
    try:
        answer = _Answer.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        return f"not an outline: {'.'.join(map(str, first['loc']))}: {first['msg']}"
    printed = Printed(document)
    places: list[Place] = []
    for kind, parts in (("evidence", answer.evidence), ("step", answer.steps)):
        for part in parts:
            if part.page > len(document.pages):
                return f"{kind} {part.id}: page {part.page} of {len(document.pages)}"
            place = printed.place(part.text, part.page)
            if place is None:
                return f"{kind} {part.id}: {part.text[:80]!r} stands nowhere in the SOP"
            places.append(place)
    rest = iter(places)
    try:
        return Outline(
            document=document.id, title=document.title or document.name, language=answer.language, by=by,
            evidence=tuple(Evidence(id=one.id, text=one.text, held_by=one.held_by, place=next(rest)) for one in answer.evidence),
            steps=tuple(
                Step(
                    id=one.id, kind=one.kind, text=one.text, when=one.when or None, evidence=one.evidence,
                    branches=one.branches, then=one.then or None, answered_by=one.answered_by, place=next(rest),
                )
                for one in answer.steps
            ),
        )  # fmt: skip
    except ValidationError as error:
        return error.errors()[0]["msg"].removeprefix("Value error, ")


def doubts(outline: Outline, document: Document) -> Iterator[str]:
    """What a person should look at in an outline by a model: places that no text bears out, and conditions in other words than the SOP's."""
    printed = Printed(document)
    for kind, parts in (("evidence", outline.evidence), ("step", outline.steps)):
        for part in parts:
            if not printed.has(part.text):
                yield f"{kind} {part.id}: no text on page {part.place.page} says this; it was read off the image"
    for step in outline.steps:
        for words in (step.when, *(branch.when for branch in step.branches)):
            if words and words.strip().casefold() not in _PLAIN_ANSWERS and not printed.has(words):
                yield f"step {step.id}: the condition {words!r} is not in the SOP's words"


class Printed:
    """What is printed in a document, to look words up in."""

    def __init__(self, document: Document) -> None:
        self._blocks: list[Block] = []
        self._starts: list[int] = []
        self._unread: dict[int, tuple[float, float, float, float]] = {}  # page -> where it may say more than its text
        parts: list[str] = []
        length = 0
        for page in document.pages:
            figures = [block.place.box for block in page.blocks if block.kind == "figure"]
            if figures or not any(_letters(block.text) for block in page.blocks):
                self._unread[page.number] = _around(figures) if figures else WHOLE_PAGE
            for block in page.blocks:
                if letters := _letters(_as_printed(block)):
                    self._blocks.append(block)
                    self._starts.append(length)
                    parts.append(letters)
                    length += len(letters)
        self._text = "".join(parts)

    def has(self, words: str) -> bool:
        """Whether these words stand next to each other somewhere."""
        wanted = _letters(words)
        return bool(wanted) and wanted in self._text

    def place(self, words: str, page: int) -> Place | None:
        """Where words stand, on this page if they stand there; None if they stand nowhere.

        Where the page has figures, or no text, words that no text has are placed there.
        """
        wanted = _letters(words)
        found: Place | None = None
        at = self._text.find(wanted) if len(wanted) >= FEWEST else -1
        while at >= 0:
            place = self._of(at, at + len(wanted))
            if place.page == page:
                return place
            found = found or place
            at = self._text.find(wanted, at + 1)
        if found is None and page in self._unread:
            return Place(page=page, box=self._unread[page])
        return found

    def _of(self, start: int, end: int) -> Place:
        """The page that a stretch of the text begins on, and the box around those of its blocks that are there."""
        first, last = bisect_right(self._starts, start) - 1, bisect_right(self._starts, end - 1)
        blocks = self._blocks[first:last]
        page = blocks[0].place.page
        return Place(page=page, box=_around([block.place.box for block in blocks if block.place.page == page]))


def _letters(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKC", text).casefold() if sign.isalnum())


def _around(boxes: list[tuple[float, float, float, float]]) -> tuple[float, float, float, float]:
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)
