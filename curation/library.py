"""Finding and reading library files: prompts, suites, recipes. One YAML file each, named like its stem.

Looked up as: an explicit path, the folder given in the settings, `./<kind>`, the built-in library. A file of an earlier
place shadows one of a later place.
"""

import re
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from curation.errors import InputError, NotFound, TilthError, did_you_mean
from curation.settings import describe


@dataclass(frozen=True, slots=True)
class Entry:
    """A library file: where it is, and what it hides further down the search path."""

    name: str
    path: Path
    shadows: Path | None = None


# folders of a prompt library that hold something else
OTHER_KINDS = frozenset({"suites", "dialogue", "translate", "judge", "corpora", "outline"})


def entries(folders: Sequence[Path]) -> dict[str, Entry]:
    """Every library file below the folders, by name; earlier folders win.

    Raises:
        InputError: one folder holds two files of the same name.
    """
    found: dict[str, Entry] = {}
    for folder in dict.fromkeys(path.resolve() for path in reversed(folders)):
        here: dict[str, Path] = {}
        for path in sorted(folder.rglob("*.yaml")):
            if OTHER_KINDS & set(path.relative_to(folder).parts[:-1]):
                continue
            if path.stem in here:
                raise InputError(f"{path}: the name {path.stem!r} is taken by {here[path.stem]}; rename one of them")
            here[path.stem] = path
        for name, path in here.items():
            found[name] = Entry(name, path, shadows=found[name].path if name in found else None)
    return dict(sorted(found.items()))


def find(name: str, folders: Sequence[Path], *, kind: str) -> Entry:
    """The file that `name` stands for: a path ending in .yaml, or a name in one of the folders."""
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise NotFound(f"{kind} {name!r}: no such file")
        return Entry(Path(name).stem, Path(name))
    known = entries(folders)
    if name not in known:
        raise NotFound(f"no {kind} {name!r} in {', '.join(map(str, folders))}.{did_you_mean(name, known)}")
    return known[name]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # the C parser is 8 times as fast
    """Safe YAML that refuses duplicate keys and takes for a boolean or number only what looks it (YAML 1.2), so that
    `no`, `7:30` and `018956` stay words."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key!r}", key_node.start_mark)
            seen.add(key)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep=deep)
        return mapping


_OTHER_TYPES = tuple(f"tag:yaml.org,2002:{name}" for name in ("bool", "int", "float", "timestamp", "merge", "value"))
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag not in _OTHER_TYPES]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _name, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?", "-+.0123456789"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"(?:{_pattern})$"), list(_first))


def parse_yaml(text: str) -> Any:
    """The value that a piece of YAML stands for.

    Raises:
        YAMLError: it is broken.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError:
        raise yaml.YAMLError("nested too deep") from None


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        InputError: unreadable, not UTF-8, broken YAML (with line and column), or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 (byte {error.start}); save the file as UTF-8") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        data = parse_yaml(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        lines = text.split("\n")
        line = (
            lines[mark.line] if mark and mark.line < len(lines) else ""
        )  # what is missing at the end is marked beyond it
        tabs = "\t" in line[: len(line) - len(line.lstrip())]
        hint = "; indent with spaces, YAML allows no tabs" if tabs else ""
        raise InputError(f"{where}: broken YAML: {error.problem}{hint}") from error
    except yaml.YAMLError as error:
        reason = str(error).split("\n", 1)[0]
        raise InputError(f"{path}: broken YAML: {reason}") from error
    if data is None:
        raise InputError(f"{path}: the file is empty; expected a mapping of fields")
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a mapping of fields, got a {type(data).__name__}")
    for key in data:
        if not isinstance(key, str):
            raise InputError(f"{path}: {key!r} is not the name of a field")
    return data


class Checked(BaseModel):
    """What a library file holds: its fields, its name (the file's stem) and its path."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    path: Path

    def check(self) -> None:
        """Raises InputError if anything in the file is unusable."""


Kind = TypeVar("Kind", bound=Checked)


@dataclass(frozen=True, slots=True)
class Broken:
    """A library file that cannot be used, and why."""

    name: str
    path: Path
    error: str


def read(path: Path, kind: type[Kind], *, told_by: str = "", kinds: Mapping[str, type[Kind]] | None = None) -> Kind:
    """What one file holds, checked whole.

    Args:
        told_by: the field that says which of `kinds` the file is; `kind`, where it is missing.

    Raises:
        InputError: with file, line or field, and what is wrong there.
    """
    data = read_yaml(path)
    if kinds is not None and told_by in data:
        said = data[told_by]
        if not isinstance(said, str) or said not in kinds:
            raise InputError(
                f"{path}: {told_by}: no {said!r}; it is one of {', '.join(kinds)}.{did_you_mean(str(said), kinds)}"
            )
        kind = kinds[said]
    if "name" in data and data["name"] != path.stem:
        raise InputError(f"{path}: name {data['name']!r} is not the file's stem {path.stem!r}; leave `name` out")
    try:
        found = kind(**{**data, "name": path.stem, "path": path})
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error, kind)}") from error
    found.check()
    return found


def read_all(folders: Sequence[Path], reader: Callable[[Path], Kind]) -> list[Kind | Broken]:
    """Every file of the folders, by `reader`; what cannot be read is listed as broken, never skipped."""
    found: list[Kind | Broken] = []
    for entry in entries(folders).values():
        try:
            found.append(reader(entry.path))
        except TilthError as error:
            found.append(Broken(entry.name, entry.path, str(error)))
    return found
