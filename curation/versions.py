"""Exported versions as they lie on disk and stand in the store: listed, checked against their manifest, packed into one file."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from curation.config import VersionsSettings
from curation.errors import InputError, NotFound, did_you_mean
from curation.journal import open_store
from curation.store import Store

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Exported:
    """One version.

    Args:
        digest: sha256 of manifest.json, as it was when the version was written.
    """

    id: str
    name: str
    number: int
    digest: str
    folder: Path
    made_at: datetime

    @property
    def title(self) -> str:
        return f"{self.name}@{self.number}"

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What manifest.json says; empty where it is gone or broken (`faults` says so)."""
        try:
            found = json.loads((self.folder / "manifest.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def _facts(self) -> dict[str, Any]:
        """The manifest without its lists of members, which are as long as the dataset; kept in memory until the file changes."""
        try:
            its = (self.folder / "manifest.json").stat()
        except OSError:
            return {}
        return _short_manifest(self, its.st_mtime_ns, its.st_size)

    @property
    def splits(self) -> dict[str, int]:
        given = self._facts.get("splits", {})
        return {split: int(given[split]) for split in ("train", "validation", "test") if split in given}

    @property
    def options(self) -> dict[str, Any]:
        return dict(self._facts.get("options", {}))

    @property
    def selector(self) -> dict[str, list[str]]:
        return dict(self._facts.get("selector", {}))

    @property
    def left_out(self) -> int:
        """How many twins were left out."""
        return int(self._facts.get("excluded", 0))

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(path.stat().st_size for path in self.files())

    def files(self) -> list[Path]:
        return sorted(path for path in self.folder.rglob("*") if path.is_file()) if self.folder.is_dir() else []

    @property
    def stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Changes when a file does: path, size and time of change of each."""
        return tuple((str(p), (its := p.stat()).st_size, its.st_mtime_ns) for p in self.files())


@lru_cache(maxsize=500)
def _short_manifest(one: Exported, _changed: int, _size: int) -> dict[str, Any]:
    whole = Exported(one.id, one.name, one.number, one.digest, one.folder, one.made_at).manifest  # not kept on `one`
    return {
        **{name: value for name, value in whole.items() if name != "members"},
        "excluded": len(whole.get("excluded", ())),
    }


def versions(store: Store) -> list[Exported]:
    """All that were exported from this workspace, the newest first."""
    rows = store.rows(
        "SELECT id, name, number, manifest, folder, made_at FROM versions ORDER BY made_at DESC, name, number DESC"
    )
    return [Exported(one, name, number, digest, Path(folder), at) for one, name, number, digest, folder, at in rows]


def version(store: Store, title: str) -> Exported:
    """NAME@N, or NAME for the latest.

    Raises:
        NotFound: there is none (names the nearest).
    """
    known = versions(store)
    name, _, number = title.partition("@")
    found = [one for one in known if one.name == name and number in ("", str(one.number))]
    if not found:
        there = did_you_mean(title, [one.title for one in known]) or " Make one: `curate export name=moderation`"
        raise NotFound(f"no version {title!r} in {store.workspace}.{there}")
    return max(found, key=lambda one: one.number)


def faults(one: Exported) -> list[str]:
    """What is wrong with a version on disk; nothing, if every file is what it was when it was exported. Reads all of it."""
    path = one.folder / "manifest.json"
    if not one.folder.is_dir():
        return [f"{one.folder} is gone; export it again under another name"]
    if not path.is_file():
        return ["manifest.json is gone"]
    found = []
    if _sha256(path) != one.digest:
        found.append("manifest.json was changed since the export")
    files: Mapping[str, str] = one._facts.get("files", {}) if isinstance(one._facts.get("files"), dict) else {}
    for name, digest in files.items():
        if not (one.folder / name).is_file():
            found.append(f"{name} is gone")
        elif _sha256(one.folder / name) != digest:
            found.append(f"{name} was changed since the export")
    known = {*files, "manifest.json"}
    found += [f"{name} was added since the export" for path in one.files()
              if (name := path.relative_to(one.folder).as_posix()) not in known]  # fmt: skip
    return found


def first_rows(one: Exported, split: str, count: int) -> pa.Table | None:
    """The first rows of a split, as they were exported; None where its files are gone."""
    for path in sorted((one.folder / "data").glob(f"{split}-*-of-*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=count):
            return pa.Table.from_batches([batch])
    return None


def pack(one: Exported, to: BinaryIO) -> None:
    """Write a version as a zip file, piece by piece; it unpacks to a folder NAME-N that `load_dataset` opens."""
    with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:  # Parquet is compressed already
        for path in one.files():
            entry = zipfile.ZipInfo(f"{one.name}-{one.number}/{path.relative_to(one.folder).as_posix()}")
            entry.external_attr = 0o644 << 16
            with path.open("rb") as source, archive.open(entry, "w", force_zip64=True) as target:
                while piece := source.read(_CHUNK):
                    target.write(piece)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def versions_command(settings: VersionsSettings) -> int:
    store = open_store(settings.workspace)
    found = versions(store) if settings.name is None else [version(store, settings.name)]
    if not found:
        raise InputError(
            f"{store.path} holds no dataset version yet; make one with `curate export name=moderation workspace={settings.workspace}`"
        )
    broken = {one.title: faults(one) for one in found} if settings.check else {}
    if settings.as_json:
        for one in found:
            fields = {
                "title": one.title,
                "folder": str(one.folder),
                "manifest": one.digest,
                "made_at": str(one.made_at),
            }
            print(json.dumps({**fields, "splits": one.splits, "options": one.options, "selector": one.selector,
                              **({"faults": broken[one.title]} if settings.check else {})}, ensure_ascii=False))  # fmt: skip
        return 1 if any(broken.values()) else 0
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("version", "exported (UTC)", "format", "examples", "manifest"):
        table.add_column(heading, no_wrap=heading != "format", justify="right" if heading == "examples" else "left")
    if settings.check:
        table.add_column("files")
    for one in found:
        state = ["; ".join(broken[one.title]) or "as exported"] if settings.check else []
        table.add_row(
            one.title, f"{one.made_at:%Y-%m-%d %H:%M}", str(one.options.get("format", "gone")),
            f"{sum(one.splits.values()):,}", one.digest[:12], *state,
        )  # fmt: skip
    console.print(table)
    return 1 if any(broken.values()) else 0
