"""An outline as YAML to edit, and back. What is wrong in an edited file is named with its field and line."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curation import library
from curation.documents import Box, Branch, Document, Evidence, Outline, Place, Step
from curation.errors import InputError
from curation.settings import describe

WHOLE_PAGE = (0.0, 0.0, 1.0, 1.0)


class _Placed(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    page: int = Field(ge=1)
    box: Box = WHOLE_PAGE

    @property
    def place(self) -> Place:
        return Place(page=self.page, box=self.box)


class _Evidence(_Placed):
    id: str = Field(min_length=1)
    text: str = Field(min_length=1)
    held_by: Literal["customer", "record"] = "customer"


class _Step(_Placed):
    id: str = Field(min_length=1)
    kind: Literal["action", "decision", "outcome"]
    text: str = Field(min_length=1)
    when: str | None = None
    evidence: tuple[str, ...] = ()
    branches: tuple[Branch, ...] = ()
    then: str | None = None
    answered_by: Literal["customer", "record"] = "customer"


class Written(BaseModel):
    """What the file of an outline holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    document: str
    title: str = Field(min_length=1)
    language: str = Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")
    evidence: tuple[_Evidence, ...] = ()
    steps: tuple[_Step, ...] = Field(min_length=1)

    def outline(self, by: str) -> Outline:
        """The outline. ValidationError: steps, branches and evidence do not hold together."""
        evidence = tuple(Evidence(place=one.place, **one.model_dump(exclude={"page", "box"})) for one in self.evidence)
        steps = tuple(Step(place=one.place, **one.model_dump(exclude={"page", "box"})) for one in self.steps)
        return Outline(
            document=self.document, title=self.title, language=self.language, steps=steps, evidence=evidence, by=by
        )  # fmt: skip


def written(outline: Outline, document: Document) -> str:
    """The YAML of an outline."""
    body: dict[str, Any] = {"document": outline.document, "title": outline.title, "language": outline.language}
    body["evidence"] = [
        {"id": one.id, "text": one.text, "held_by": one.held_by, "page": one.place.page, "box": list(one.place.box)}
        for one in outline.evidence
    ]
    body["steps"] = [_step(step) for step in outline.steps]
    head = (
        f"# The outline of {document.name}, {len(document.pages)} pages, by {outline.by}. kind: action, decision (with branches) or outcome. `when`: only then;\n"
        "# `then`: the step after this one, where that is not the next. box: left, top, right, bottom as shares of the page; leave it out for the whole page.\n"
    )
    return head + yaml.dump(body, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=140)


def _step(step: Step) -> dict[str, Any]:
    fields: dict[str, Any] = {"id": step.id, "kind": step.kind, "text": step.text}
    if step.when is not None:
        fields["when"] = step.when
    if step.evidence:
        fields["evidence"] = list(step.evidence)
    if step.branches:
        fields["branches"] = [{"when": branch.when, "to": branch.to} for branch in step.branches]
    if step.then is not None:
        fields["then"] = step.then
    if step.when is not None or step.branches:
        fields["answered_by"] = step.answered_by
    return {**fields, "page": step.place.page, "box": list(step.place.box)}


class _Dumper(yaml.SafeDumper):
    """Lists of plain things stay on a line."""


def _list(dumper: yaml.SafeDumper, data: list[Any]) -> yaml.Node:
    flat = all(isinstance(one, int | float | str) for one in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flat)


_Dumper.add_representer(list, _list)


def read(path: Path, by: str, document: Document) -> Outline:
    """The outline in an edited file.

    Raises:
        InputError: with file, line and field, and what is wrong there.
    """
    data = library.read_yaml(path)
    lines = _Lines(path.read_text(encoding="utf-8"))
    try:
        made = Written.model_validate(_numbers_as_words(data))
    except ValidationError as error:
        raise InputError(f"{path}:{lines.of(error.errors()[0]['loc'])}: {describe(error, Written)}") from error
    if made.document != document.id:
        raise InputError(
            f"{path}:{lines.of(('document',))}: document: {made.document} is not {document.id}, as {document.name} is now; "
            "it was rendered anew, so compare the pages and put in the new id"
        )
    for kind, placed in (("evidence", made.evidence), ("steps", made.steps)):
        for at, one in enumerate(placed):
            if one.page > len(document.pages):
                where = lines.of((kind, at, "page"))
                raise InputError(
                    f"{path}:{where}: {kind}.{at}.page: {document.name} has {len(document.pages)} pages, got {one.page}"
                )
    try:
        return made.outline(by)
    except ValidationError as error:
        words = error.errors()[0]["msg"].removeprefix("Value error, ")
        faulty = next((at for at, step in enumerate(made.steps) if words.startswith(f"step {step.id}:")), None)
        where = lines.of(("steps", faulty) if faulty is not None else ("steps",))
        raise InputError(f"{path}:{where}: {words}") from error


def _numbers_as_words(data: Mapping[str, Any]) -> dict[str, Any]:
    """Ids of steps are words, though `4.2` without quotes is a number to YAML; 4.10 has to be quoted, as YAML drops the 0."""

    def plain(value: object, key: str = "") -> object:
        if isinstance(value, Mapping):
            return {name: plain(inner, str(name)) for name, inner in value.items()}
        if isinstance(value, list):
            return [plain(inner, key) for inner in value]
        return str(value) if key in ("id", "to", "then", "evidence") and isinstance(value, int | float) else value

    return {name: plain(value, name) for name, value in data.items()}


class _Lines:
    """Where in a file a field stands."""

    def __init__(self, text: str) -> None:
        self._root = yaml.compose(text, Loader=yaml.SafeLoader)

    def of(self, place: Sequence[str | int]) -> int:
        """The line, counted from 1, of a field, or of the nearest thing around it."""
        node, line = self._root, 1
        for part in place:
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line
