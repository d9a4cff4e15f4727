"""A dataset version on disk, checked, and its rows as conversations. Reads the version's folder and nothing else."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curation.errors import InputError, NotFound, did_you_mean
from curation.records import MODERATOR

if TYPE_CHECKING:
    import datasets

Turn = dict[str, Any]  # role, content; of tool calls also tool_calls, tool_call_id, name


@dataclass(frozen=True, slots=True)
class Version:
    """An exported dataset version."""

    name: str
    number: int | None  # None: the folder is not named by a number
    folder: Path
    digest: str  # sha256 of manifest.json, which names every file's sha256
    splits: dict[str, int]  # examples of each
    format: str  # text-classification, messages, oasst, tool-calls, prompt-completion or preference
    options: Mapping[str, Any] = field(default_factory=dict)  # what else it was exported with

    @property
    def title(self) -> str:
        return self.name if self.number is None else f"{self.name}@{self.number}"


def open_version(dataset: str, workspace: Path) -> Version:
    """A version, after checking that it is what its manifest says and that no example is in two splits.

    Args:
        dataset: NAME (the latest), NAME@N, or the version's folder.

    Raises:
        NotFound: no such dataset or version (names the nearest).
        InputError: the manifest cannot be read or does not match the files, or two splits share a member.
    """
    folder = _folder(dataset, workspace)
    path = folder / "manifest.json"
    try:
        raw = path.read_bytes()
        manifest = json.loads(raw)
        files, members = dict(manifest["files"]), {str(k): list(v) for k, v in manifest["members"].items()}
        splits = {str(split): int(count) for split, count in manifest["splits"].items()}
        options = dict(manifest["options"])
        name, format = str(manifest["name"]), str(options["format"])
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the manifest of a dataset version; export it again") from error
    _check_files(folder, files)
    _check_members(folder, splits, members)
    number = int(folder.name) if folder.name.isdigit() else None
    return Version(name, number, folder, hashlib.sha256(raw).hexdigest(), splits, format, options)


def _folder(dataset: str, workspace: Path) -> Path:
    if (Path(dataset) / "manifest.json").is_file():
        return Path(dataset).resolve()
    home = workspace / "datasets"
    name, at, number = dataset.partition("@")
    known = sorted(path.name for path in home.iterdir() if path.is_dir()) if home.is_dir() else []
    if name not in known:
        hint = did_you_mean(name, known) or " Export one: `curate export name=...`"
        raise NotFound(f"no dataset {name!r} in {home}.{hint}")
    numbers = sorted(int(path.name) for path in (home / name).iterdir() if path.name.isdigit())
    if not numbers or (at and number not in map(str, numbers)):
        have = f"there are {', '.join(map(str, numbers))}" if numbers else "nothing was exported"
        raise NotFound(f"dataset {name!r} has no version {number or 'yet'!r}; {have}")
    return (home / name / (number or str(numbers[-1]))).resolve()


def _check_files(folder: Path, files: Mapping[str, str]) -> None:
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise InputError(f"{path}: named in the manifest but missing; export the version again")
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected:
            raise InputError(
                f"{path}: changed since it was exported (its sha256 is not the manifest's); export it again"
            )
    for path in (folder / "data").glob("*"):
        if str(path.relative_to(folder)) not in files:
            raise InputError(f"{path}: not in the manifest; take it away or export the version again")


def _check_members(folder: Path, splits: Mapping[str, int], members: Mapping[str, list[str]]) -> None:
    import pyarrow.parquet as pq

    split_of: dict[str, str] = {}
    for split in splits:
        in_files = [
            identity
            for path in _shards(folder, split)
            for identity in pq.read_table(path, columns=["id"])["id"].to_pylist()
        ]
        if sorted(in_files) != sorted(members.get(split, [])):
            raise InputError(f"{folder}: the rows of split {split!r} are not the manifest's members; export it again")
        for identity in in_files:
            if identity in split_of:
                raise InputError(
                    f"{folder}: example {identity} is in {split_of[identity]} and in {split}; export it again"
                )
            split_of[identity] = split


def _shards(folder: Path, split: str) -> list[Path]:
    return sorted((folder / "data").glob(f"{split}-*-of-*.parquet"))


def rows(version: Version, split: str) -> "datasets.Dataset":
    """The rows of one split, in the order of their files.

    Raises:
        NotFound: the version has no such split.
    """
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    if split not in version.splits:
        raise NotFound(f"{version.title} has no split {split!r}.{did_you_mean(split, version.splits)}")
    return datasets.Dataset(pa.concat_tables(pq.read_table(path) for path in _shards(version.folder, split)))


def chat(row: Mapping[str, Any]) -> list[Turn]:
    """A row of any export format as a conversation that ends with what the model should say.

    A moderation answer comes label first, so that one forward pass over the prompt and `{"label":"` scores a text. Of an oasst row, which
    is one text with markers of its own, the whole text is one turn: it is learnt by `train.encode` as it is.

    Raises:
        InputError: the row has none of the columns of an export format.
    """
    if row.get("messages") is not None:
        turns = [_message(turn) for turn in row["messages"]]
    elif row.get("chosen") is not None:
        turns = [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]}]
    elif row.get("prompt_text") is not None:
        turns = [*_prompt(row["prompt_text"]), {"role": "assistant", "content": row["completion"]}]
    elif row.get("text") is not None and "surface" not in row:
        return [{"role": "user", "content": row["text"]}]
    elif row.get("text") is not None:
        return [*moderation_prompt(row["text"]), {"role": "assistant", "content": answer(row)}]
    else:
        raise InputError(
            f"row {row.get('id')!r}: no column text, messages, prompt_text or chosen; export it in a known format"
        )
    if turns[0] == {"role": "system", "content": MODERATOR}:
        turns[-1] = {"role": "assistant", "content": answer(row)}
    return turns


def _message(turn: Mapping[str, Any]) -> Turn:
    """A message as chat templates take it: without empty fields, and with the arguments of calls as objects."""
    kept = {"role": turn["role"], "content": turn["content"]}
    kept |= {name: turn[name] for name in ("tool_call_id", "name") if turn.get(name) is not None}
    if turn.get("tool_calls"):
        kept["tool_calls"] = [
            {**call, "function": {**call["function"], "arguments": json.loads(call["function"]["arguments"])}}
            for call in turn["tool_calls"]
        ]
    return kept


def tools_of(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The schemas of the functions that a row's conversation may call."""
    return list(json.loads(row.get("tools") or "[]"))


def _prompt(text: str) -> list[Turn]:
    if text.startswith(f"{MODERATOR}\n\n"):
        return moderation_prompt(text.removeprefix(f"{MODERATOR}\n\n"))
    return [{"role": "user", "content": text}]


def moderation_prompt(text: str) -> list[Turn]:
    """What a model is asked about a text."""
    return [{"role": "system", "content": MODERATOR}, {"role": "user", "content": text}]


def answer(row: Mapping[str, Any]) -> str:
    """The answer for a row's labels: `{"label":"disallowed","category":"race","severity":2}`."""
    fields = {name: row.get(name) for name in ("label", "category", "severity")}
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def label_of(row: Mapping[str, Any]) -> str | None:
    """The row's label (`allowed` or `disallowed` for moderation), None where its task has none."""
    label = row.get("label")
    return None if label is None else str(label)
