"""One grammar for every command: `key=value`, dotted for nested, lists in brackets.

Settings come from, later wins: defaults, `tilth.toml`, environment (`TILTH_<KEY>`), command line. They are read once, into a
frozen pydantic model.
"""

import os
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from curation.errors import InputError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """What every command takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    workspace: Path = Path("workspace")
    """The folder that holds the store, the assets and the dataset versions."""
    as_json: bool = False
    """Print JSON for machines instead of tables; `--json` for short."""


def load(
    model: type[Model],
    words: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    shared: Callable[[], Collection[str]] | None = None,
) -> Model:
    """Read a command's settings.

    Args:
        shared: the keys that `tilth.toml` may hold for other commands; any, if not given.

    Raises:
        InputError: a word is not `key=value`, a key is unknown (names the nearest), or a value has the wrong type.
    """
    environ = os.environ if environ is None else environ
    from_file = _from_file(model, Path("tilth.toml"), shared)
    from_environment, from_words = _from_environment(model, environ), _from_words(words)
    try:
        return model(**_merge(_merge(from_file, from_environment), from_words))
    except ValidationError as error:
        place = _first(error)["loc"]
        if _holds(from_words, place):
            source = ""
        elif _holds(from_environment, place):
            source = f"TILTH_{str(place[0]).upper()}: "
        else:
            source = "tilth.toml: " if _holds(from_file, place) else ""
        raise InputError(source + describe(error, model)) from error


def _first(error: ValidationError) -> ErrorDetails:
    """The complaint to name: an unknown key before all others, as it may be why another is missing."""
    complaints = error.errors()
    return next((one for one in complaints if one["type"] == "extra_forbidden"), complaints[0])


def _holds(given: Any, place: Sequence[str | int]) -> bool:
    """Whether these settings are where the value at `place` came from."""
    for part in place:
        if not isinstance(given, Mapping):
            break
        if part not in given:
            return False
        given = given[part]
    return True


_WORDS = {  # pydantic's complaints that a person would put otherwise
    "int_parsing": "expected a whole number",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "finite_number": "expected a finite number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "bool_parsing": "expected true or false",
    "bool_type": "expected true or false",
    "string_type": "expected a text",
    "path_type": "expected a path",
    "list_type": "expected a list",
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "too_short": "expected one or more",
}


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """The first complaint of a validation error as one line that names the field and, for unknown fields, the nearest."""
    first = _first(error)
    path = first["loc"]
    if len(path) > 1 and path[-1] in ("str", "int"):  # the member of a union that was tried, not a field
        path = path[:-1]
    where = ".".join(str(part) for part in path)
    others = {one["loc"][: len(path)] for one in error.errors()} - {path}
    more = f" (and {len(others)} more)" if others else ""
    if first["type"] == "extra_forbidden":
        known = [".".join((*map(str, path[:-1]), name)) for name in _fields_at(model, path[:-1])]
        return f"unknown key {where!r}.{did_you_mean(where, known)}{more}"
    if first["type"] == "missing":
        return f"{where!r} is missing{more}"
    message = _WORDS.get(first["type"], first["msg"].removeprefix("Value error, ").removeprefix("Input "))
    message = message[:1].lower() + message[1:]
    if first["type"] == "value_error":  # our own words, which say what was given where that helps
        return f"{where}: {message}{more}" if where else f"{message}{more}"
    shown = "nothing" if first["input"] is None else repr(first["input"])
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    quote = "; quote it" if first["type"] == "string_type" and isinstance(first["input"], int | float) else ""
    return f"{where}: {message}, got {shown}{quote}{more}"


def _fields_at(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if _is_model(t)] if field else []
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _from_file(model: type[BaseModel], path: Path, shared: Callable[[], Collection[str]] | None) -> dict[str, Any]:
    """`tilth.toml` is shared by all commands, so a key that only others have is passed over here."""
    if not path.is_file():
        return {}
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: broken TOML: {error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    others = [key for key in data if key not in model.model_fields]
    if others and shared is not None:
        known = shared()
        for key in others:
            if key not in known:
                raise InputError(f"{path}: no command has a key {key!r}.{did_you_mean(key, known)}")
    return {key: value for key, value in data.items() if key in model.model_fields}


def _from_environment(model: type[BaseModel], environ: Mapping[str, str]) -> dict[str, Any]:
    names = {f"TILTH_{name.upper()}": name for name in model.model_fields}
    merged: dict[str, Any] = {}
    for variable, value in environ.items():
        if variable in names and value:
            try:
                merged |= _from_words([f"{names[variable]}={value}"])
            except InputError as error:
                raise InputError(f"{variable}: {error}") from error
    return merged


def _from_words(words: Sequence[str]) -> dict[str, Any]:
    from omegaconf import OmegaConf  # its parser costs a tenth of a second, which `--help` need not pay
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from curation.library import parse_yaml

    for word in words:
        key, sign, _ = word.partition("=")
        if not sign or not key or key[0] in ".[":
            raise InputError(f"{word!r} is not key=value; write e.g. n=500")
    merged: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        config = OmegaConf.create({})
        try:
            OmegaConf.update(config, key, parse_yaml(value))
            parsed = OmegaConf.to_container(config, resolve=False)
        except (OmegaConfBaseException, YAMLError, ValueError, AttributeError, RecursionError) as error:
            reason = getattr(error, "problem", None) or str(error).split("\n", 1)[0]
            raise InputError(f"{word!r} cannot be read: {reason} (lists: [a,b]; quote odd text)") from error
        assert isinstance(parsed, dict)
        merged = _merge(merged, {str(key): value for key, value in parsed.items()})
    return merged
