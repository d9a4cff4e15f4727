"""Prompt files of the program `sop`: examples that rest on the pages and the outline of a document."""

import json
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field, field_validator

from curation import library
from curation.documents import Document, Outline
from curation.errors import InputError
from curation.records import LANGUAGE_NAMES, Message, Record, Request, canonical_json, content_id
from synth.cases import Visit, case
from synth.grammar import Grammar
from synth.plan import dealt

Value = str | int
Writes = Literal["dialogue", "robustness", "reasoning", "understanding"]
_JINJA = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False)
_PROVIDED = frozenset({"language", "language_name", "title", "images", "case", "format_instructions"})
OWN_AXES = {"pages": ("image", "text")}
MOST_IMAGES, FEW_IMAGES = (
    100,
    20,
)  # of a request; up to the second number all pages are shown, and not only those with steps
TASKS = {"dialogue": "dialogue", "robustness": "dialogue", "reasoning": "qa", "understanding": "qa"}
VARIABLES = (
    "text", "evidence", "condition", "options", "letter", "step", "page", "to", "outcome", "title", "number", "facts", "things", "why",
)  # fmt: skip  # what the phrases of a grammar may name besides the axes


class Grounding(Record):
    """What an SOP example rests on."""

    document: Document
    outline: Outline

    @cached_property
    def shown(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """The page images to show, in order and each once, with the numbers of the pages that look so."""
        pages = self.document.pages
        if len(pages) > FEW_IMAGES:
            places = {step.place.page for step in self.outline.steps} | {
                one.place.page for one in self.outline.evidence
            }
            pages = tuple(page for page in pages if page.number in places)
        found: dict[str, tuple[int, ...]] = {}
        for page in pages:
            found[page.image] = (*found.get(page.image, ()), page.number)
        return tuple(found.items())

    @cached_property
    def lines(self) -> str:
        """The outline as the model reads it: one JSON object a line."""
        head = {"title": self.outline.title, "language": self.outline.language}
        evidence = [
            {"evidence": one.id, "text": one.text, "page": one.place.page, "shown_by": one.held_by}
            for one in self.outline.evidence
        ]
        steps = []
        for step in self.outline.steps:
            line: dict[str, object] = {"step": step.id, "kind": step.kind, "page": step.place.page, "text": step.text}
            if step.when is not None:
                line["only_if"] = step.when
            if step.evidence:
                line["needs"] = list(step.evidence)
            if step.branches:
                line["branches"] = [{"when": branch.when, "to": branch.to} for branch in step.branches]
            if step.then:
                line["then"] = step.then
            if step.branches or step.when is not None:
                line["known_by"] = step.answered_by
            steps.append(line)
        return "\n".join(json.dumps(line, ensure_ascii=False) for line in (head, *evidence, *steps))


class SopPrompt(library.Checked):
    """One prompt over documents. It is asked of documents that a run names: see `Bound`."""

    program: Literal["sop"]
    task: Literal["dialogue", "qa"]
    writes: Writes
    description: str = Field(min_length=10)
    axes: dict[str, tuple[str | int, ...]] = {}
    language: tuple[str, ...] = Field(default=("en", "zh", "ms", "ta"), min_length=1)
    system: str = Field(min_length=1)
    user: str = Field(min_length=1)
    offline: dict[str, dict[str, object]] = {}
    per_request: ClassVar[int] = 1
    requests_each: ClassVar[int] = 1
    labels: ClassVar[dict[str, Value]] = {}

    @field_validator("axes")
    @classmethod
    def _axes_are_free(cls, axes: dict[str, tuple[Value, ...]]) -> dict[str, tuple[Value, ...]]:
        for name, values in axes.items():
            if name in _PROVIDED or name in OWN_AXES or name == "document" or name in VARIABLES:
                raise ValueError(f"axis {name!r} is a name that every SOP prompt already has; choose another")
            if len(values) < 2 or len(set(map(str, values))) != len(values):
                raise ValueError(f"axis {name!r} needs two or more different values")
        return {**axes, **OWN_AXES}

    @cached_property
    def fingerprint(self) -> str:
        return content_id("pr", self.model_dump(mode="json", include={"task", "writes", "system", "user"}))

    @cached_property
    def grammar_fingerprint(self) -> str:
        return content_id("gr", {"offline": self.offline, "writes": self.writes})

    @property
    def offline_languages(self) -> Collection[str]:
        return self.offline

    @property
    def image_files(self) -> Mapping[str, Path]:
        return {}  # the pages are in the assets already

    def example_labels(self, axes: Mapping[str, Value]) -> Mapping[str, Value]:
        return {"category": axes["document"]} if self.task == "dialogue" and "document" in axes else {}

    def body(self) -> str:
        kept = self.model_dump(mode="json", include=set(SopPrompt.model_fields) - {"offline", "path"})
        return canonical_json(kept)

    def offline_answer(self, request: Request) -> str:  # noqa: ARG002
        raise InputError(f"{self.path}: prompt {self.name!r} needs documents=...")

    @cached_property
    def grammars(self) -> dict[str, Grammar]:
        """The checked phrases of each language that has them."""
        known = {**self.axes, **dict.fromkeys(VARIABLES, ("",))}
        found = {}
        for language, rules in self.offline.items():
            try:
                found[language] = Grammar(rules, known)
            except InputError as error:
                raise InputError(f"{self.path}: offline.{language}.{error}") from error
            if missing := sorted(PHRASES[self.writes] - set(found[language].item)):
                raise InputError(
                    f"{self.path}: offline.{language}.item: {missing[0]!r} is missing; the program says it"
                )
        return found

    @cached_property
    def _templates(self) -> dict[str, jinja2.Template]:
        compiled = {}
        for where, source in (("system", self.system), ("user", self.user)):
            try:
                unknown = jinja2.meta.find_undeclared_variables(_JINJA.parse(source)) - _PROVIDED - set(self.axes)
                compiled[where] = _JINJA.from_string(source)
            except jinja2.TemplateSyntaxError as error:
                raise InputError(f"{self.path}: {where}, line {error.lineno}: bad Jinja: {error.message}") from error
            if unknown:
                names = ", ".join(sorted(_PROVIDED | set(self.axes)))
                raise InputError(f"{self.path}: {where}: {{{{ {min(unknown)} }}}} is not defined; known: {names}")
        return compiled

    def check(self) -> None:
        """Raises InputError if a template or the phrases of a language are unusable."""
        if TASKS[self.writes] != self.task:
            raise InputError(
                f"{self.path}: task: a prompt that writes {self.writes} gives {TASKS[self.writes]} examples"
            )
        self._templates  # noqa: B018  (compiling is the check)
        if unknown := sorted(set(self.offline) - set(self.language)):
            raise InputError(f"{self.path}: offline.{unknown[0]}: not one of the prompt's languages")
        self.grammars  # noqa: B018

    def messages(
        self, language: str, axes: Mapping[str, Value], grounding: Grounding, told: Mapping[str, object]
    ) -> tuple[Message, ...]:
        """What to ask. All that the requests on one document share comes first, so that providers can cache it: the rules and the SOP,
        then the page images; last what is this example's own."""
        images = grounding.shown if axes["pages"] == "image" else ()
        listed = "; ".join(
            f"image {at}: page {' and '.join(map(str, numbers))}" for at, (_, numbers) in enumerate(images, 1)
        )
        variables = {
            **axes, "language": language, "language_name": LANGUAGE_NAMES.get(language, language),
            "title": grounding.outline.title, "images": listed, "case": json.dumps(told, ensure_ascii=False),
            "format_instructions": FORMS[self.task],
        }  # fmt: skip
        try:
            system, user = (self._templates[where].render(variables).strip() for where in ("system", "user"))
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise InputError(f"{self.path}: cannot be rendered: {error}") from error
        sop = f"The SOP as an outline, one JSON object a line:\n{grounding.lines}"
        if not images:
            text = "\n\n".join(f"[page {page.number}]\n{page.text}" for page in grounding.document.pages)
            sop += f"\n\nThe SOP's pages as text:\n{text}"
        shown = tuple(image for image, _ in images)
        return Message(role="system", content=f"{system}\n\n{sop}"), Message(role="user", content=user, images=shown)

    def output_schema(self) -> dict[str, object]:
        """The JSON schema of an answer, closed as providers demand."""
        words = {"type": "array", "items": {"type": "string"}}
        facts = {"type": "array", "items": _closed({"step": {"type": "string"}, "holds": {"type": "string"}})}
        told = {"gives": words, "lacks": words, "facts": facts}
        if self.task == "qa":
            fields = {
                "question": {"type": "string"},
                "answer": {"type": "string"},
                "cites": words,
                "asks": words,
                **told,
            }
            return _closed(fields)
        role = {"type": "string", "enum": ["user", "assistant", "tool"]}
        turn = _closed({"role": role, "content": {"type": "string"}, "cites": words, "asks": words, **told})
        return _closed({"turns": {"type": "array", "items": turn}})


def _closed(properties: dict[str, object]) -> dict[str, object]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_FACTS = (
    '"gives": ids of evidence that it shows; "lacks": ids of evidence that is not to be had; "facts": what it makes known, a list of '
    '{"step": id of a decision or of a step with `only_if`, "holds": the words of the branch that holds, exactly as the SOP has them, '
    'or "true" or "false" for `only_if`}'
)
FORMS = {
    "dialogue": (
        'Answer with one JSON object and nothing else: {"turns": [...]}. Each turn has "role" (user: the customer; assistant: the agent; '
        'tool: what a record or lookup returns) and "content". Each assistant turn also has "cites", the ids of the steps that it follows, '
        'in order, and, where it asks for something, "asks": ids of the evidence, or of the steps whose answer it needs. '
        f"Each user or tool turn that tells something of the case has {_FACTS}. Leave out what is empty."
    ),
    "qa": (
        'Answer with one JSON object and nothing else: {"question": ..., "answer": ..., "cites": [ids of the steps that the answer rests on, '
        'in order], "asks": [ids of the evidence or steps that the next action has to ask for]}. Where the question tells of a case it also has '
        f"{_FACTS}. Leave out what is empty."
    ),
}
PHRASES: dict[str, frozenset[str]] = {
    "dialogue": frozenset({
        "open", "greet", "ask", "give", "note", "aside", "lack", "look", "check", "is_it_so", "yes", "no", "which", "pick", "none", "will", "tell", "please",
        "want", "inquire", "quote", "quietly", "skip", "decide", "decide_not", "end", "thanks", "bye", "reference",
    }),
    "robustness": frozenset({"open", "reopen", "brief", "record", "ask", "is_it_so", "which", "trouble", "hold", "more", "again", "reference"}),
    "reasoning": frozenset({
        "case", "have", "lack", "fact", "not_fact", "question", "start", "done", "because", "because_not", "skip", "next_ask", "next_find",
        "next_end", "reference",
    }),
    "understanding": frozenset({"question", "answer", "reference"}),
}  # fmt: skip  # what the fields of a grammar's `item` must be, by what the prompt writes


class Bound(SopPrompt):
    """A prompt together with the documents that a run asks it of; each is a value of the axis `document`."""

    groundings: dict[str, Grounding]
    spoken: tuple[str, ...]  # languages of the run

    def case(self, axes: Mapping[str, Value], language: str, slot: int, seed: int) -> tuple[Visit, ...]:
        """The case of a place in the plan."""
        place = self.place(slot)
        return case(
            self.groundings[str(axes["document"])].outline, place, seed=seed, salt=f"{axes['document']}/{language}"
        )

    def pick(self, axes: Mapping[str, Value], language: str, slot: int, seed: int) -> Callable[[int], int]:
        """Deals one of so many things to a place in the plan."""
        salt = f"{axes['document']}/{language}"
        return lambda size: dealt(self.place(slot), seed=seed, salt=salt, axis="topic", size=size)

    def place(self, slot: int) -> int:
        """How often the document came up in this language before."""
        return slot // (len(self.groundings) * len(self.spoken))

    def offline_answer(self, request: Request) -> str:
        from synth.sop_offline import answer

        return answer(self, request)


def bound(prompt: SopPrompt, groundings: Mapping[str, Grounding], languages: tuple[str, ...]) -> Bound:
    """The prompt, asked of these documents."""
    fields = {name: getattr(prompt, name) for name in SopPrompt.model_fields}
    fields["axes"] = {name: values for name, values in prompt.axes.items() if name not in OWN_AXES}
    made = Bound(**fields, groundings=dict(groundings), spoken=languages)
    return made.model_copy(update={"axes": {**prompt.axes, "document": tuple(groundings)}})
