"""A job as a request to a language model, with the instruction from the library (`prompts/translate`)."""

import json
from collections.abc import Mapping
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curation import library
from curation.errors import InputError
from curation.records import LANGUAGE_NAMES, Completion, Message, Request, canonical_json, content_id
from curation.settings import describe
from synth import parse
from synth.prompts import search_path
from synth.providers.base import Provider
from synth.translators.job import Job
from synth.translators.spans import marked, marks_for, pieces, set_apart, unmarked

_JINJA = ImmutableSandboxedEnvironment(
    undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)


class Instruction(BaseModel):
    """A file of `prompts/translate`. Its templates know `source`, `target` (names of languages), `advice`, `fields` (names),
    `marks` (two brackets), `kept` (what must stay), `texts` (the fields as JSON) and `format_instructions`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str = Field(min_length=10)
    system: str = Field(min_length=1)
    user: str = Field(min_length=1)
    advice: dict[str, str] = {}  # language -> how it is written well

    @property
    def fingerprint(self) -> str:
        return content_id("pr", self.model_dump(mode="json", exclude={"description"}))


def load_instruction(name: str, prompts_dir: Path | None = None) -> Instruction:
    """The instruction that a name or path stands for.

    Raises:
        InputError: no such file, or one that cannot be used.
    """
    folders = [folder / "translate" for folder in search_path(prompts_dir) if (folder / "translate").is_dir()]
    path = library.find(name, folders, kind="translation instruction").path
    try:
        return Instruction(**library.read_yaml(path))
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, Instruction)}") from error


class ByModel:
    def __init__(self, name: str, instruction: Instruction, provider: Provider, model: str) -> None:
        self.prompt = Path(name).stem
        self.prompt_id = instruction.fingerprint
        self.words = canonical_json(instruction.model_dump(mode="json"))
        self._instruction = instruction
        self._provider = provider
        self._model = model

    def request(self, job: Job, attempt: int) -> Request:
        structured = self._provider.structured()
        marks = marks_for(list(job.texts.values()))
        cut = {name: pieces(text, job.wording) for name, text in job.texts.items()}
        variables = {
            "source": LANGUAGE_NAMES.get(job.source, job.source),
            "target": LANGUAGE_NAMES.get(job.target, job.target),
            "advice": self._instruction.advice.get(job.target, ""),
            "fields": list(job.texts),
            "marks": marks,
            "kept": list(dict.fromkeys(piece.text for found in cut.values() for piece in found if piece.kept)),
            "texts": json.dumps({name: marked(found, marks) for name, found in cut.items()}, ensure_ascii=False, indent=1),
            "format_instructions": _format_instructions(job.texts),
        }  # fmt: skip
        system, user = (_render(template, variables) for template in (self._instruction.system, self._instruction.user))
        return Request(
            prompt=self.prompt, prompt_id=self.prompt_id, variables={"source": job.source, "target": job.target},
            messages=(Message(role="system", content=system), Message(role="user", content=user)),
            provider=self._provider.name, model=self._model, sampling=self._provider.sampling(),
            output_schema=_schema(job.texts) if structured else None, slot=job.slot, attempt=attempt,
        )  # fmt: skip

    def read(self, job: Job, attempt: int, completion: Completion) -> dict[str, str] | str:  # noqa: ARG002
        parsed = parse.items(completion.text, list(job.texts))
        if not parsed.items:
            return parsed.malformed[0][1]
        marks = marks_for(list(job.texts.values()))
        texts = {}
        for name, text in job.texts.items():
            found = unmarked(parsed.items[0][1][name], marks).strip()
            before, after = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
            texts[name] = before + set_apart(pieces(text, job.wording), found) + after
        return texts


def _format_instructions(texts: Mapping[str, str]) -> str:
    fields = "\n".join(f'- "{name}"' for name in texts)
    return f"Answer with one JSON object and nothing else. It has these string fields, each with its translation:\n{fields}"


def _schema(texts: Mapping[str, str]) -> dict[str, object]:
    properties = {name: {"type": "string", "description": f"the translation of {name}"} for name in texts}
    return {"type": "object", "properties": properties, "required": list(texts), "additionalProperties": False}


def _render(template: str, variables: Mapping[str, object]) -> str:
    try:
        return _JINJA.from_string(template).render(variables).strip()
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"translation instruction: cannot be rendered: {error}") from error
