"""From the columns of somebody else's table to the fields of a record: names, aliases, meanings of values."""

import json
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from math import isnan
from typing import Any, Literal, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from curation.config import ImportSettings
from curation.errors import InputError, did_you_mean
from curation.records import LANGUAGE_NAMES, QA, Dialogue, Moderation, Preference, Safety, Turn
from curation.sources import Fields, Source
from curation.tables import AnyExample

MODELS: dict[str, type[AnyExample]] = {
    "moderation": Moderation, "dialogue": Dialogue, "preference": Preference, "safety": Safety, "qa": QA,
}  # fmt: skip
ALIASES: dict[str, tuple[str, ...]] = {
    "text": ("content", "body", "post", "comment"),
    "language": ("lang",),
    "turns": ("messages", "conversations", "conversation"),
    "scenario": ("category",),
    "role": ("from",),
    "content": ("value",),
}
_IN_TURN = ("role", "content")
_NOT_IMPORTED = ("task", "images")  # an image is an asset, not a cell
_VALUE_ERRORS = frozenset(
    {
        "literal_error",
        "string_pattern_mismatch",
        "int_parsing",
        "int_from_float",
        "greater_than_equal",
        "less_than_equal",
    }
)


class Unusable(Exception):
    """A row that is no example. `field` is set where another meaning of its value would make it one."""

    def __init__(self, reason: str, value: object = None, field: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.value, self.field = reason, value, field


@dataclass(frozen=True, slots=True)
class RowMap:
    """How to read a row. Plain data, so that it can be sent to another process."""

    task: str
    columns: dict[str, tuple[str, ...]]  # field -> where it may be found; the first that a row has counts
    values: dict[str, dict[str, str]]
    constants: dict[str, Any]
    asked: dict[str, str]  # columns the user named

    @property
    def used(self) -> frozenset[str]:
        return frozenset(name for names in self.columns.values() for name in names)

    def found(self, seen: Collection[str]) -> dict[str, str]:
        """The column that each field came from, among those that the rows had."""
        places = ((field, [name for name in names if name in seen]) for field, names in self.columns.items())
        return {field: names[0] for field, names in places if names and field not in _IN_TURN}

    def reader(self) -> Callable[[Fields], AnyExample]:
        """A function that makes a row an example, or raises `Unusable`."""
        model = MODELS[self.task]
        validate = model.__pydantic_validator__.validate_python
        plan = [
            (field, self.columns[field], self.values.get(field), not about.is_required(), _holds_many(about))
            for field, about in _fields(model).items()
            if field in self.columns
        ]

        def read(row: Fields) -> AnyExample:
            found = dict(self.constants)
            for field, names, meanings, optional, many in plan:
                value = None
                for name in names:
                    if (value := row.get(name)) is not None:
                        break
                if meanings is not None:
                    value = meanings.get(spelled(value), value)
                if value is None or (isinstance(value, float) and isnan(value)) or (optional and value == ""):
                    continue
                found[field] = self._many(field, value) if many else value
            try:
                return validate(found)  # type: ignore[no-any-return]
            except ValidationError as error:
                raise self._unusable(error) from None

        return read

    def _many(self, field: str, value: object) -> object:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise Unusable(f"{field}: neither a list nor the JSON text of one", value) from None
        return [self._turn(item) for item in value] if field == "turns" and isinstance(value, list) else value

    def _turn(self, turn: object) -> object:
        if not isinstance(turn, dict):
            return turn
        found = {key: turn[key] for key in Turn.model_fields if turn.get(key) is not None}
        for field in _IN_TURN:
            for name in self.columns[field]:
                if field not in found and turn.get(name) is not None:
                    found[field] = turn[name]
        if "role" in self.values and "role" in found:
            found["role"] = self.values["role"].get(spelled(found["role"]), found["role"])
        return found

    def _unusable(self, error: ValidationError) -> Unusable:
        first = error.errors()[0]
        field, *rest = (str(part + 1) if isinstance(part, int) else part for part in first["loc"])
        if field == "turns" and rest:
            field, place = rest[-1] if len(rest) > 1 else "turn", "a turn's "
        else:
            place = ""
        value = first["input"]
        if first["type"] == "missing":
            return Unusable(f"{place}{field} is missing")
        if value == "" or first["type"] == "too_short":
            return Unusable(f"{place}{field} is empty", field=field if field in self.values else None)
        if first["type"] in _VALUE_ERRORS:
            return Unusable(f"{place}{field} is not {_expected(field, MODELS[self.task])}", value, field)
        if first["type"] == "string_unicode":
            return Unusable(f"{place}{field} has half of a surrogate pair")
        message = first["msg"].removeprefix("Input ").removeprefix("Value error, ")
        return Unusable(f"{place}{field} {message}", value)


def spelled(value: object) -> str:
    """A value as it is written after `values.FIELD.`: true, 1 (also for 1.0), nothing at all for null."""
    match value:
        case str():
            return value
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def _fields(model: type[AnyExample]) -> dict[str, FieldInfo]:
    return {name: about for name, about in model.model_fields.items() if name not in _NOT_IMPORTED}


def _holds_many(about: FieldInfo) -> bool:
    return get_origin(about.annotation) is tuple


# -- which column is which -----------------------------------------------------------------------------------------


def row_map(settings: ImportSettings, source: Source) -> RowMap:
    """Find each field's column: the one named in the settings, the one of its name, or of a usual other name.

    Raises:
        InputError: a field that does not exist, or none of the columns holds what every example must have.
    """
    model = MODELS[settings.task]
    fields = _fields(model)
    turns = _IN_TURN if settings.task == "dialogue" else ()
    for key, names in (("columns", settings.columns), ("values", settings.values), ("constants", settings.constants)):
        known = [*fields, *turns] if key != "constants" else list(fields)
        for field in names:
            if field not in known:
                raise InputError(f"{key}.{field}: {settings.task} has no field {field!r}.{did_you_mean(field, known)}")
    if both := settings.columns.keys() & settings.constants.keys():
        raise InputError(f"columns.{min(both)} and constants.{min(both)} contradict each other; keep one")
    constants = {
        field: _constant(model, f"constants.{field}", field, value) for field, value in settings.constants.items()
    }
    for field, meanings in settings.values.items():
        for value, meaning in meanings.items():
            _constant(Turn if field in turns else model, f"values.{field}.{value}", field, meaning)
    columns: dict[str, tuple[str, ...]] = {}
    taken = frozenset(settings.columns.values())
    for field, about in fields.items():
        if field in constants:
            continue
        if field in settings.columns:
            columns[field] = (_asked(settings, source, field, required=about.is_required()),)
        elif name := _matching(source, field, taken):
            columns[field] = (name,)
        elif about.is_required():
            raise _missing(source, field, about)
        elif not source.declared:  # a later row may have it
            columns[field] = tuple(name for name in (field, *ALIASES.get(field, ())) if name not in taken)
    claimed = {name for names in columns.values() if len(names) == 1 for name in names}
    columns = {
        field: names if len(names) == 1 else tuple(name for name in names if name not in claimed)
        for field, names in columns.items()
    }
    for field in turns:
        columns[field] = (settings.columns[field],) if field in settings.columns else (field, *ALIASES[field])
    asked = {field: name for field, name in settings.columns.items() if field not in turns}
    return RowMap(settings.task, columns, dict(settings.values), constants, asked)


def _asked(settings: ImportSettings, source: Source, field: str, *, required: bool) -> str:
    name = settings.columns[field]
    if name not in source.columns and (source.declared or required):
        raise no_column(source.path, field, name, source.columns)
    return name


def no_column(path: str, field: str, name: str, columns: Sequence[str]) -> InputError:
    return InputError(f"columns.{field}={name}: no column {name!r} in {path}.{did_you_mean(name, columns)}")


def _matching(source: Source, field: str, taken: frozenset[str]) -> str | None:
    free = [name for name in source.columns if name not in taken]
    if field in free:
        return field
    for wanted in ((field,), ALIASES.get(field, ())):
        alike = [name for name in free if name.strip().casefold() in wanted]
        if len(alike) > 1:
            raise InputError(
                f"{source.path}: {field} may be {' or '.join(map(repr, alike))}; say which, e.g. columns.{field}={alike[0]}"
            )
        if alike:
            return alike[0]
    return None


def _missing(source: Source, field: str, about: FieldInfo) -> InputError:
    names = [name for name in source.columns if name]
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    wanted = (field, *ALIASES.get(field, ()))
    by_fold = {name.casefold(): name for name in names}
    near = [match for want in wanted for match in get_close_matches(want, by_fold, n=1, cutoff=0.6)]
    near += [fold for fold in by_fold for want in wanted if want in re.split(r"[^a-z]+", fold)]
    fix = f"did you mean columns.{field}={by_fold[near[0]]}" if near else f"name one with columns.{field}=COLUMN"
    options = (
        get_args(about.annotation)
        if get_origin(about.annotation) is Literal
        else ("en",)
        if field == "language"
        else ()
    )
    same = f", or say constants.{field}={'|'.join(options)} for all rows" if options else ""
    return InputError(f"{source.path}: no column holds the {field} (columns: {shown}); {fix}{same}")


def _constant(model: type[AnyExample] | type[Turn], key: str, field: str, value: str) -> Any:
    about = model.model_fields[field]
    if _holds_many(about):
        raise InputError(f"{key}: a list of {field} cannot be written here; use a column")
    try:
        return TypeAdapter(about.rebuild_annotation()).validate_python(value)
    except ValidationError as error:
        if isinstance(model, type) and error.errors()[0]["type"] in _VALUE_ERRORS:
            raise InputError(f"{key}: {value!r} is not {_expected(field, model)}") from error
        raise InputError(f"{key}: {error.errors()[0]['msg'].lower()}, got {value!r}") from error


# -- what a value could mean ---------------------------------------------------------------------------------------

_OBVIOUS = {
    "allowed": "0 false no n safe ok okay allow clean benign harmless good normal neutral ham non-toxic not_toxic none",
    "disallowed": "1 true yes y unsafe harmful toxic bad spam hate hateful offensive abusive disallow blocked removed",
    "comply": "0 false complied compliance answer accept", "refuse": "1 true refusal refused decline reject",
    "user": "human customer prompter", "assistant": "gpt bot ai model chatgpt agent", "tool": "function observation",
    "1": "low mild minor", "2": "medium moderate", "3": "high severe critical 4 5",
    **{code: f"{name.casefold()} {code}g {code}_sg {code}_my {code}_cn {code}_in" for code, name in LANGUAGE_NAMES.items()},
}  # fmt: skip
_OPEN = {"severity": ("0", "1", "2", "3"), "language": tuple(LANGUAGE_NAMES)}  # fields whose values no type lists


def proposal(field: str, value: object, task: str) -> str:
    """A setting that gives a value a meaning, e.g. `values.label.0=allowed`; a guess for the user to confirm."""
    key = spelled(value)
    word = key.strip().casefold()
    options = _options(field, MODELS[task]) or _OPEN.get(field, ())
    if field == "category":
        meaning = re.sub(r"[^a-z0-9]+", "_", word).strip("_") or "none"
    else:
        likely = (option for option in options if word == option.casefold() or word in _OBVIOUS.get(option, "").split())
        meaning = next(likely, "|".join(options) or "...")
    place = f".{key}" if "." not in key else f"[{key}]"  # a dot would begin another level
    return shlex.quote(f"values.{field}{place}={meaning}")


def _options(field: str, model: type[AnyExample] | type[Turn]) -> tuple[str, ...]:
    about: Mapping[str, FieldInfo] = Turn.model_fields if field == "role" else model.model_fields
    annotation = about[field].annotation if field in about else None
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _expected(field: str, model: type[AnyExample] | type[Turn]) -> str:
    if options := _options(field, model):
        return f"one of {', '.join(options)}"
    return {
        "language": "a language code such as en or zh-Hans", "severity": "a number from 0 to 3",
        "category": "a name such as hate_speech (small letters, digits and _)",
    }.get(field, "what it should be")  # fmt: skip
