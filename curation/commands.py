"""The frame of every console script: find the command, read its settings, call one function, print one line on error.

Nothing heavy is imported before a command was chosen, so that `--help` answers at once.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from inspect import get_annotations
from typing import TYPE_CHECKING, Any

from curation.errors import InputError, TilthError, did_you_mean

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `settings` and `call` are `module:name`; `call` takes the settings and returns an exit code."""

    about: str
    settings: str
    call: str
    positional: str | None = None  # the key that a bare word stands for
    example: str = ""


def main(program: str, about: str, commands: dict[str, Command], argv: Sequence[str] | None = None) -> int:
    """Run `program argv...`; returns the exit code: 0 done, 1 it failed, 2 the input is unusable, 130 interrupted.

    Whatever goes wrong is one line on standard error; with TILTH_DEBUG=1 in the environment, a traceback.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return _guarded(program, lambda: _dispatch(program, about, commands, words))


def main_of_one(program: str, command: Command, argv: Sequence[str] | None = None) -> int:
    """`main` of a program that is one command: `program key=value ...`."""
    words = list(sys.argv[1:] if argv is None else argv)
    return _guarded(program, lambda: _version() if words[:1] == ["--version"] else _call(program, command, words))


def _guarded(program: str, call: Callable[[], int]) -> int:
    try:
        code = call()
        sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if os.environ.get("TILTH_DEBUG"):
            raise
        line, code = _explained(error)
        if line:
            print(f"{program}: {' '.join(line.splitlines())}", file=sys.stderr)
        return code


def _explained(error: BaseException) -> tuple[str, int]:
    """The line to print for what ended a command, and the exit code."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    match error:
        case TilthError():
            return str(error), error.exit_code
        case KeyboardInterrupt():
            return "interrupted", 130
        case SystemExit():  # rich's word for a reader that has seen enough: `synth ls | head`
            return "", 0 if isinstance(error.__context__, BrokenPipeError) else 1
        case BrokenPipeError():  # another's word for it
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python fails over it again on exit
            return "", 0
        case OSError():
            return f"{error.filename or 'input or output'}: {error.strerror or error}", 2
    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(at.filename)}:{at.lineno}"
    return f"unexpected {type(error).__name__} in {where}: {error}; please report it{_details(error)}", 1


def _details(error: BaseException) -> str:
    import tempfile

    try:
        file, path = tempfile.mkstemp(prefix="tilth-error-", suffix=".log")
        with open(file, "w", encoding="utf-8", errors="replace") as log:
            traceback.print_exception(error, file=log)
    except OSError:
        return "; TILTH_DEBUG=1 shows the details"
    return f" with {path}"


def _dispatch(program: str, about: str, commands: dict[str, Command], words: list[str]) -> int:
    if not words or words[0] in ("--help", "-h", "help"):
        print(_help(program, about, commands))
        return 0
    if words[0] == "--version":
        return _version()
    name = words.pop(0)
    if name not in commands:
        raise InputError(f"no command {name!r}.{did_you_mean(name, commands)}")
    return _call(f"{program} {name}", commands[name], words)


def _version() -> int:
    from importlib.metadata import version

    print(f"tilth {version('tilth')}")
    return 0


def _call(name: str, command: Command, words: list[str]) -> int:
    """Run a command that is called by `name`, which may be two words."""
    if "--help" in words or "-h" in words:
        print(_command_help(name, command))
        return 0
    from curation.settings import load

    given = [_as_setting(word, command, name) for word in words]
    bare = [word for word in words if "=" not in word and word != "--json"]
    if len(bare) > 1:
        raise InputError(
            f"{name.rpartition(' ')[2]} takes one bare word, got {' and '.join(map(repr, bare))}; quote what belongs together, "
            f"or write a list: {command.positional}=[{','.join(bare)}]"
        )
    settings = load(_resolve(command.settings), given, shared=_all_keys)
    return int(_resolve(command.call)(settings))


def _as_setting(word: str, command: Command, name: str) -> str:
    if word == "--json":
        return "as_json=true"
    if word.startswith("-"):
        raise InputError(f"unknown flag {word!r}; settings are written key=value (`{name} --help` lists them)")
    if "=" in word:
        return word
    if command.positional is None:
        raise InputError(f"{word!r} is not key=value (`{name} --help` lists the keys)")
    is_list = word.startswith("[")
    return f"{command.positional}={word if is_list else json.dumps(word, ensure_ascii=False)}"  # `2024` stays a word


def _all_keys() -> set[str]:
    """The keys of every command of every console script: what a shared `tilth.toml` may hold."""
    from importlib.metadata import distribution

    scripts = {script.module: import_module(script.module) for script in distribution("tilth").entry_points}
    return {
        key
        for script in scripts.values()
        for command in getattr(script, "COMMANDS", {}).values()
        for key in _resolve(command.settings).model_fields
    }


def _resolve(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(import_module(module), name)


def _help(program: str, about: str, commands: dict[str, Command]) -> str:
    width = max(map(len, commands))
    rows = "\n".join(f"  {name:<{width}}  {command.about}" for name, command in commands.items())
    examples = "\n".join(f"  {command.example}" for command in commands.values() if command.example)
    return (
        f"{about}\n\nusage: {program} COMMAND key=value ...\n\n{rows}\n\n"
        f"examples:\n{examples}\n\n`{program} COMMAND --help` lists a command's settings."
    )


def _command_help(name: str, command: Command) -> str:
    model: type[BaseModel] = _resolve(command.settings)
    bare = f" [{command.positional.upper()}]" if command.positional else ""
    lines = [command.about, "", f"usage: {name}{bare} key=value ...", ""]
    lines += _field_lines(model, "")
    if command.example:
        lines += ["", "example:", f"  {command.example}"]
    lines += ["", "Settings are also read from tilth.toml and from the environment as TILTH_<KEY>."]
    return "\n".join(lines)


def _field_lines(model: "type[BaseModel]", prefix: str) -> list[str]:
    def distance(pair: "tuple[str, FieldInfo]") -> int:
        """A command's own settings come first, those that all commands share last."""
        return next(at for at, kind in enumerate(model.__mro__) if pair[0] in get_annotations(kind))

    lines = []
    for key, field in sorted(model.model_fields.items(), key=distance):
        if hasattr(field.annotation, "model_fields"):
            lines += _field_lines(field.annotation, f"{prefix}{key}.")  # type: ignore[arg-type]
            continue
        default = (
            "required" if field.is_required() else f"default {_shown(field.get_default(call_default_factory=True))}"
        )
        about = " ".join((field.description or "").split())
        lines.append(f"  {prefix + key:<22} {about} ({default})")
    return lines


def _shown(value: object) -> str:
    if isinstance(value, tuple | list):
        return f"[{','.join(map(str, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if value not in (None, "", {}) else "none"
