"""Prompt files: what they hold, how they are found, read and rendered."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import jinja2
import jinja2.meta
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import Field, ValidationError, field_validator

from curation import library
from curation.errors import InputError, NotFound
from curation.library import Broken
from curation.records import EXAMPLE, LANGUAGE_NAMES, Message, Request, canonical_json, content_id
from synth.dialogue_prompt import GraphPrompt
from synth.grammar import Grammar
from synth.sop_prompts import SopPrompt

Value = str | int
_JINJA = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=False, autoescape=False)
_PROVIDED = frozenset({"language", "language_name", "per_request", "format_instructions"})


class Prompt(library.Checked):
    """One prompt of the library. `fingerprint` covers what can change a model's answer; the offline grammar does not, as
    it has a fingerprint of its own."""

    program: Literal["single"] = "single"
    task: Literal["moderation", "safety"]
    description: str = Field(min_length=10)
    surface: Literal["post", "meme", "listing"] = "post"
    labels: dict[str, str | int]
    per_request: int = Field(default=5, ge=1, le=50)
    axes: dict[str, tuple[str | int, ...]] = Field(min_length=1)
    language: tuple[str, ...] = Field(default=("en", "zh", "ms", "ta"), min_length=1)
    output: dict[str, str] = Field(min_length=1)
    images: tuple[Path, ...] = ()  # shown with every request; relative to the prompt's file
    system: str = ""
    user: str = Field(min_length=1)
    offline: dict[str, dict[str, object]] = {}
    requests_each: ClassVar[int] = 1

    @field_validator("offline", mode="before")
    @classmethod
    def _keys_are_words(cls, offline: object) -> object:
        return _with_word_keys(offline)  # `severity: {1: ..., 2: ...}` has numbers for keys

    @field_validator("axes")
    @classmethod
    def _axes_have_distinct_values(cls, axes: dict[str, tuple[Value, ...]]) -> dict[str, tuple[Value, ...]]:
        for name, values in axes.items():
            if name in _PROVIDED:
                raise ValueError(f"axis {name!r} is a name that every prompt already has; choose another")
            if len(values) < 2 or len(set(map(str, values))) != len(values):
                raise ValueError(f"axis {name!r} needs two or more different values")
        return axes

    @cached_property
    def fingerprint(self) -> str:
        meaning = self.model_dump(mode="json", include={"task", "surface", "labels", "output", "system", "user"})
        if self.images:
            meaning["images"] = list(self.image_files)
        return content_id("pr", meaning)

    @property
    def kind(self) -> dict[str, str]:
        """What sort of examples it gives: the task, and the surface where the task has one."""
        return {"task": self.task, "surface": self.surface} if self.task == "moderation" else {"task": self.task}

    @cached_property
    def image_files(self) -> dict[str, Path]:
        """The prompt's images by the sha256 of their bytes."""
        files = {}
        for image in self.images:
            path = self.path.parent / image
            try:
                files[hashlib.sha256(path.read_bytes()).hexdigest()] = path
            except OSError as error:
                raise InputError(f"{self.path}: images: {path}: {error.strerror}") from error
        return files

    @cached_property
    def grammar_fingerprint(self) -> str:
        return content_id("gr", {"offline": self.offline, "output": list(self.output)})

    @cached_property
    def grammars(self) -> dict[str, Grammar]:
        """The checked offline grammar of each language that has one."""
        return {language: self._grammar(language) for language in self.offline}

    def _grammar(self, language: str) -> Grammar:
        try:
            grammar = Grammar(self.offline[language], self.axes)
        except InputError as error:
            raise InputError(f"{self.path}: offline.{language}.{error}") from error
        if set(grammar.item) != set(self.output):
            wanted = ", ".join(self.output)
            raise InputError(
                f"{self.path}: offline.{language}.item: has {', '.join(grammar.item)}; output wants {wanted}"
            )
        return grammar

    @property
    def offline_languages(self) -> Collection[str]:
        return self.offline

    def offline_answer(self, request: Request) -> str:
        """The items that the grammar comes up with for this request, as JSON."""
        grammar = self.grammars[str(request.variables["language"])]
        items = grammar.items(request.id, request.variables, int(request.variables["per_request"]))
        return json.dumps(items, ensure_ascii=False)

    def body(self) -> str:
        """What is kept of it in the store: all but its grammars, as canonical JSON."""
        return canonical_json(self.model_dump(mode="json", exclude={"offline", "path", "program"}))

    @cached_property
    def _sources(self) -> dict[str, str]:
        labels = {f"labels.{key}": value for key, value in self.labels.items() if isinstance(value, str)}
        return {"system": self.system, "user": self.user, **labels}

    @cached_property
    def _constant(self) -> dict[str, str]:
        """Templates that are plain text; rendering them for every request would cost more than all else."""
        return {where: source.strip() for where, source in self._sources.items() if "{" not in source}

    @cached_property
    def _templates(self) -> dict[str, jinja2.Template]:
        known = _PROVIDED | set(self.axes)
        compiled = {}
        for where, source in self._sources.items():
            try:
                tree = _JINJA.parse(source)
                compiled[where] = _JINJA.from_string(source)
            except jinja2.TemplateSyntaxError as error:
                raise InputError(f"{self.path}: {where}, line {error.lineno}: bad Jinja: {error.message}") from error
            for variable in sorted(jinja2.meta.find_undeclared_variables(tree) - known):
                raise InputError(
                    f"{self.path}: {where}: {{{{ {variable} }}}} is not defined; known: {', '.join(sorted(known))}"
                )
        return compiled

    def check(self) -> None:
        """Raises InputError if any template or grammar of this prompt is unusable."""
        self._templates  # noqa: B018  (compiling is the check)
        self.image_files  # noqa: B018
        for language in self.language:
            first = {axis: values[0] for axis, values in self.axes.items()}
            self.messages(language, first, self.per_request)
            self.example_labels(first)
        self._check_examples()
        if unknown := sorted(set(self.offline) - set(self.language)):
            raise InputError(f"{self.path}: offline.{unknown[0]}: not one of the prompt's languages")
        self.grammars  # noqa: B018

    def _check_examples(self) -> None:
        """Whether language, surface, labels and output make an example, for each value of each axis."""
        first = {axis: values[0] for axis, values in self.axes.items()}
        cells = [{**first, axis: value} for axis, values in self.axes.items() for value in values]
        for language in self.language:
            for cell in cells:
                fields = {**self.kind, "language": language}
                try:
                    EXAMPLE.validate_python(
                        {**fields, **self.example_labels(cell), **dict.fromkeys(self.output, "text")}
                    )
                except ValidationError as error:
                    wrong = error.errors()[0]
                    field = ".".join(map(str, wrong["loc"][1:]))
                    if wrong["type"] == "missing":
                        raise InputError(
                            f"{self.path}: a {self.task} example needs {field!r}; add it to output, or to labels"
                        ) from error
                    what = "no field of an example" if wrong["type"] == "extra_forbidden" else wrong["msg"]
                    raise InputError(f"{self.path}: {field}: {what}, got {wrong['input']!r}") from error

    def messages(
        self, language: str, axes: Mapping[str, Value], count: int, *, structured: bool = False
    ) -> tuple[Message, ...]:
        """The messages that ask for `count` items of one cell; `structured`, if the model is held to `output_schema`."""
        variables = {
            **axes,
            "language": language,
            "language_name": LANGUAGE_NAMES.get(language, language),
            "per_request": count,
            "format_instructions": self.format_instructions(count, structured=structured),
        }
        rendered = {role: self._render(role, variables) for role in ("system", "user")}
        system = (Message(role="system", content=rendered["system"]),) if rendered["system"] else ()
        return (*system, Message(role="user", content=rendered["user"], images=tuple(self.image_files)))

    def example_labels(self, axes: Mapping[str, Value]) -> dict[str, Value]:
        """The labels of one cell: constants, or templates over the axes (`severity: "{{ severity }}"`)."""
        return {
            key: self._render(f"labels.{key}", axes) if isinstance(value, str) else value
            for key, value in self.labels.items()
        }

    def format_instructions(self, count: int, *, structured: bool = False) -> str:
        fields = "\n".join(f'- "{name}": {about}' for name, about in self.output.items())
        things = "one object" if count == 1 else f"exactly {count} objects"
        whole = f'a JSON object whose "items" is an array of {things}' if structured else f"a JSON array of {things}"
        return f"Answer with {whole} and nothing else. Each object has these string fields:\n{fields}"

    def output_schema(self) -> dict[str, object]:
        """The JSON schema of an answer; an object at the top, as providers demand."""
        item = {
            "type": "object",
            "properties": {name: {"type": "string", "description": about} for name, about in self.output.items()},
            "required": list(self.output),
            "additionalProperties": False,
        }
        return {
            "type": "object",
            "properties": {"items": {"type": "array", "items": item}},
            "required": ["items"],
            "additionalProperties": False,
        }

    def _render(self, where: str, variables: Mapping[str, Value]) -> str:
        if where in self._constant:
            return self._constant[where]
        try:
            return self._templates[where].render(variables).strip()
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError) as error:
            raise InputError(f"{self.path}: {where}: cannot be rendered: {error}") from error


def _with_word_keys(value: object) -> object:
    if isinstance(value, Mapping):
        return {str(key): _with_word_keys(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_word_keys(inner) for inner in value]
    return value


def builtin_folder() -> Path:
    """The library that ships with Tilth: `synth/_prompts` in a wheel, the checkout's `prompts/` otherwise."""
    packaged = Path(__file__).parent / "_prompts"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "prompts"


def search_path(prompts_dir: Path | None) -> list[Path]:
    if prompts_dir is not None and not prompts_dir.is_dir():
        raise NotFound(f"prompts_dir={prompts_dir}: no such folder")
    given = [prompts_dir] if prompts_dir is not None else []
    return [*given, *(folder for folder in (Path("prompts"), builtin_folder()) if folder.is_dir())]


Written = Prompt | SopPrompt | GraphPrompt  # what the file of a prompt may hold
_KINDS: dict[str, type[Written]] = {"single": Prompt, "sop": SopPrompt, "graph": GraphPrompt}


def read(path: Path) -> Written:
    """The prompt in one file, checked whole; InputError says what is wrong where."""
    return library.read(path, Prompt, told_by="program", kinds=_KINDS)


def load(name: str, prompts_dir: Path | None = None) -> Written:
    """The prompt that a name or path stands for."""
    return read(library.find(name, search_path(prompts_dir), kind="prompt").path)


def load_all(folders: Sequence[Path]) -> list[Written | Broken]:
    """Every prompt of these folders; what cannot be read is listed as broken, never skipped."""
    return library.read_all(folders, read)
