"""One grammar for every command: `key=value`, dotted for nested, lists in brackets.

Settings come from, later wins: defaults, `tilth.toml`, environment (`TILTH_<KEY>`), command line. They are read once, into a
frozen pydantic model.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from curation.errors import InputError, did_you_mean

Model = TypeVar("Model", bound=BaseModel)


class Settings(BaseModel):
    """What every command takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    workspace: Path = Path("workspace")
    """The folder that holds the store, the assets and the dataset versions."""
    as_json: bool = False
    """Print JSON for machines instead of tables; `--json` for short."""


def load(model: type[Model], words: Sequence[str], *, environ: Mapping[str, str] | None = None) -> Model:
    """Read a command's settings.

    Raises:
        InputError: a word is not `key=value`, a key is unknown (names the nearest), or a value has the wrong type.
    """
    environ = os.environ if environ is None else environ
    merged = _merge(_from_file(model, Path("tilth.toml")), _from_environment(model, environ))
    merged = _merge(merged, _from_words(words))
    try:
        return model(**merged)
    except ValidationError as error:
        raise InputError(describe(error, model)) from error


def describe(error: ValidationError, model: type[BaseModel]) -> str:
    """The first complaint of a validation error as one line that names the field and, for unknown fields, the nearest."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if first["type"] == "extra_forbidden":
        known = _fields_at(model, first["loc"][:-1])
        return f"unknown key {where!r}.{did_you_mean(str(first['loc'][-1]), known)}{more}"
    if first["type"] == "missing":
        return f"{where!r} is missing{more}"
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    shown = repr(first["input"])
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return f"{where}: {message}, got {shown}{more}" if where else f"{message}{more}"


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


def _from_file(model: type[BaseModel], path: Path) -> dict[str, Any]:
    """`tilth.toml` is shared by all commands, so a key that this command does not have is passed over here."""
    if not path.is_file():
        return {}
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: broken TOML: {error}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return {key: value for key, value in data.items() if key in model.model_fields}


def _from_environment(model: type[BaseModel], environ: Mapping[str, str]) -> dict[str, Any]:
    names = {f"TILTH_{name.upper()}": name for name in model.model_fields}
    return _from_words([f"{names[key]}={value}" for key, value in environ.items() if key in names and value])


def _from_words(words: Sequence[str]) -> dict[str, Any]:
    from omegaconf import OmegaConf  # its parser costs a tenth of a second, which `--help` need not pay
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    from curation.library import parse_yaml

    for word in words:
        key, sign, _ = word.partition("=")
        if not sign or not key:
            raise InputError(f"{word!r} is not key=value; write e.g. n=500")
    merged: dict[str, Any] = {}
    for word in words:
        key, _, value = word.partition("=")
        config = OmegaConf.create({})
        try:
            OmegaConf.update(config, key, parse_yaml(value))
            parsed = OmegaConf.to_container(config, resolve=False)
        except (OmegaConfBaseException, YAMLError, ValueError, AttributeError, RecursionError) as error:
            reason = str(error).split("\n", 1)[0]
            raise InputError(f"{word!r} cannot be read: {reason} (lists: [a,b]; quote odd text)") from error
        assert isinstance(parsed, dict)
        merged = _merge(merged, {str(key): value for key, value in parsed.items()})
    return merged
