"""`curate export`: a selection becomes an immutable, numbered dataset version that `datasets.load_dataset` opens.

The same inputs give the same bytes: rows are sorted by id, splits are drawn by hash, and nothing that is written holds a time
or a number. A version that would equal the last one is not written again.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curation import card, dialogue_formats, formats, json_lines, preference
from curation.config import ExportSettings
from curation.dialogue_formats import Layout
from curation.errors import InputError, WorkspaceError
from curation.journal import open_store
from curation.records import canonical_json, content_id, now
from curation.selection import described
from curation.split import assign, families, shares
from curation.store import Store
from curation.tables import utc
from curation.twins import Twins, find, load_examples

SHARD_ROWS = 100_000
CHUNK = 50_000


@dataclass(frozen=True, slots=True)
class Version:
    """An exported version on disk."""

    name: str
    number: int
    folder: Path
    new: bool  # False: equal to what was there
    splits: dict[str, int]
    excluded: int


@dataclass(frozen=True, slots=True)
class Members:
    """Who goes into a version: rows of the selection, which is sorted by id, and the split of each."""

    twins: Twins
    rows: NDArray[np.int64]  # (m,)
    splits: NDArray[np.str_]  # (m,)
    names: tuple[str, ...]  # of the splits
    pairs: preference.Pairs  # what is written of a member instead of its own columns; by id

    @property
    def table(self) -> pa.Table:
        """The members as rows of `twins.COLUMNS` plus `split`, sorted by id."""
        return self.twins.examples.take(pa.array(self.rows)).append_column("split", pa.array(self.splits))

    def ids(self, split: str) -> list[str]:
        return list(self.twins.examples["id"].take(pa.array(self.rows[self.splits == split])).to_pylist())

    @property
    def counts(self) -> dict[str, int]:
        return {name: int((self.splits == name).sum()) for name in self.names}


def export(settings: ExportSettings) -> Version:
    """Write the selection as the next version of a dataset, unless it equals the latest.

    Raises:
        InputError: nothing is selected, the format does not fit, or the shares do not add up.
        WorkspaceError: the version cannot be written; what was begun is removed.
    """
    shares(settings.split)  # said before anything else is done
    store = open_store(settings.workspace)
    with store.hold(f"export-{settings.name}", f"an export of {settings.name!r}"):
        members = choose(store, settings)
        with _scratch(settings.workspace / "datasets" / settings.name) as scratch:
            return _publish(store, settings, members, scratch)


def choose(store: Store, settings: ExportSettings) -> Members:
    """The members of the version that an export would write now, without writing anything.

    Raises:
        InputError: nothing is selected, or the shares do not add up.
    """
    wanted = shares(settings.split)
    examples, pairs = load_examples(store, settings), preference.Pairs()
    if settings.format == "preference":
        pairs = preference.find(store, examples)
        examples = examples.filter(pc.is_in(examples["id"], pa.array(list(pairs))))
    twins = find(examples, threshold=settings.threshold, method=settings.dedup)
    ids: list[str] = twins.examples["id"].to_pylist()
    parents: dict[str, str] = dict(
        store.rows("SELECT example, min(parent) FROM origins WHERE parent IS NOT NULL GROUP BY example")
    )
    names = families(ids, twins.pairs, _ancestry(ids, parents))
    rows = np.flatnonzero(twins.kept)
    drawn = assign([names[row] for row in rows], wanted, settings.seed)
    return Members(twins, rows, np.array(drawn), tuple(wanted), pairs)


def sample(store: Store, settings: ExportSettings, members: Members, count: int) -> pa.Table:
    """The first rows that the export would write.

    Raises:
        InputError: the format does not fit the examples.
    """
    chosen = members.twins.examples.take(pa.array(members.rows[:count]))
    return _table(store, settings.format, _layout(store, settings, members), chosen, members.pairs)


def _ancestry(ids: list[str], parents: dict[str, str]) -> dict[str, str]:
    """The parent links of the examples and of all their forebears."""
    found: dict[str, str] = {}
    frontier = [identity for identity in ids if identity in parents]
    while frontier:
        child = frontier.pop()
        if child not in found:
            found[child] = parents[child]
            if parents[child] in parents:
                frontier.append(parents[child])
    return found


def _publish(store: Store, settings: ExportSettings, members: Members, scratch: Path) -> Version:
    excluded = members.twins.reasons()
    layout = _layout(store, settings, members)
    for split in members.names:
        _write_split(store, settings, layout, members, split, scratch)
    facts = card.gather(store, settings, members.table, excluded)
    contents = content_id("dc", {path.name: _sha256(path) for path in (scratch / "data").iterdir()})
    (scratch / "README.md").write_text(card.render(settings, facts, contents), encoding="utf-8")
    manifest = {
        "name": settings.name,
        "selector": described(settings),
        "options": _options(settings, layout),
        "code": f"tilth {installed('tilth')}",
        "splits": members.counts,
        "files": {str(p.relative_to(scratch)): _sha256(p) for p in sorted(scratch.rglob("*")) if p.is_file()},
        "members": {split: members.ids(split) for split in members.names},
        "excluded": excluded,
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (scratch / "manifest.json").write_text(text, encoding="utf-8")
    digest = hashlib.sha256(text.encode()).hexdigest()
    home = scratch.parent
    last = max((int(path.name) for path in home.iterdir() if path.name.isdigit()), default=0)
    if last and _sha256(home / str(last) / "manifest.json") == digest:
        return Version(settings.name, last, home / str(last), False, members.counts, len(excluded))
    folder = home / str(last + 1)
    for path in scratch.rglob("*"):
        if path.is_file():
            path.chmod(0o444)  # a version is immutable
    scratch.rename(folder)
    _record(store, settings, last + 1, folder, digest, members.table)
    return Version(settings.name, last + 1, folder, True, members.counts, len(excluded))


def _layout(store: Store, settings: ExportSettings, members: Members) -> Layout:
    ids = members.twins.examples["id"].take(pa.array(members.rows)).to_pylist()
    parts = (ids[low : low + CHUNK] for low in range(0, len(ids), CHUNK))
    sql = "SELECT body FROM examples WHERE id IN (SELECT unnest(?))"
    return dialogue_formats.layout(settings, (body for part in parts for (body,) in store.rows(sql, [part])))


def _options(settings: ExportSettings, layout: Layout) -> dict[str, object]:
    """What the version was exported with; options that say nothing of this format are left out."""
    names = {"format", "dedup", "threshold", "seed", "split", "licence"}
    names |= {"markers"} if settings.format == "oasst" else set()
    names |= {name for name in ("preamble", "jsonl") if getattr(settings, name)}
    kept = {"annotations": True} if layout.annotations else {}
    return {**settings.model_dump(mode="json", include=names), **kept}


def _write_split(
    store: Store, settings: ExportSettings, layout: Layout, members: Members, split: str, scratch: Path
) -> None:
    folder, format = scratch / "data", settings.format
    folder.mkdir(exist_ok=True)
    rows = members.rows[members.splits == split]
    shards = max(1, -(-len(rows) // SHARD_ROWS))
    with json_lines.writer(scratch / "jsonl" / f"{split}.jsonl" if settings.jsonl else None) as write_lines:
        for shard in range(shards):
            path = folder / f"{split}-{shard:05}-of-{shards:05}.parquet"
            own = rows[shard * SHARD_ROWS : (shard + 1) * SHARD_ROWS]
            with pq.ParquetWriter(path, formats.SCHEMAS[format], compression="zstd") as writer:
                for low in range(0, len(own), CHUNK):
                    chunk = members.twins.examples.take(pa.array(own[low : low + CHUNK]))
                    table = _table(store, format, layout, chunk, members.pairs)
                    writer.write_table(table)
                    write_lines(table)


def _table(store: Store, format: str, layout: Layout, examples: pa.Table, pairs: preference.Pairs) -> pa.Table:
    """The exported rows of these examples, in their order."""
    ids = examples["id"].to_pylist()
    found = {
        identity: (body, prompt, source)
        for identity, body, prompt, source in store.rows(
            "SELECT examples.id, body, prompt, kind FROM examples LEFT JOIN ("
            "    SELECT example, arg_min(prompt, id) AS prompt, arg_min(kind, id) AS kind FROM origins "
            "    WHERE example IN (SELECT unnest($ids)) GROUP BY example"
            ") AS origin ON origin.example = examples.id WHERE examples.id IN (SELECT unnest($ids))",
            {"ids": ids},
        )
    }
    rows = []
    for row in examples.select(["id", "language", "label", "category", "severity"]).to_pylist():
        body, prompt, source = found[row["id"]]
        own = pairs.get(row["id"]) or formats.fields(body, row, format, layout)
        rows.append({**row, "prompt": prompt, "source": source, **own})
    return pa.Table.from_pylist(rows, schema=formats.SCHEMAS[format])


def _record(store: Store, settings: ExportSettings, number: int, folder: Path, manifest: str, table: pa.Table) -> None:
    identity = content_id("vn", [settings.name, number, manifest])
    selector = canonical_json(described(settings))
    row = (identity, settings.name, number, selector, manifest, str(folder.resolve()), utc(now()))
    members = pa.table({"version": pa.repeat(identity, len(table)), "example": table["id"], "split": table["split"]})
    with store.write() as connection:
        if store.insert(connection, "versions", [row]):
            store.insert_arrow(connection, "members", members)


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder to build in, on the same file system, that is gone afterwards unless it was renamed."""
    scratch = home / f".building-{os.getpid()}"
    try:
        scratch.mkdir(parents=True)
        yield scratch
    except OSError as error:
        if isinstance(error, WorkspaceError | InputError):
            raise
        raise WorkspaceError(
            f"{home}: the version cannot be written: {error.strerror or error}; make room or choose another workspace"
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _sha256(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def export_command(settings: ExportSettings) -> int:
    made = export(settings)
    if settings.as_json:
        fields = {"name": made.name, "number": made.number, "folder": str(made.folder), "new": made.new}
        print(json.dumps({**fields, "splits": made.splits, "excluded": made.excluded}))
        return 0
    print(
        (made.folder / "README.md")
        .read_text(encoding="utf-8")
        .partition("<!-- counts -->")[2]
        .partition("<!-- end -->")[0]
        .strip()
    )
    counts = ", ".join(f"{split} {n:,}" for split, n in made.splits.items())
    said = "written" if made.new else "unchanged (the same bytes as before)"
    print(
        f"\n{made.name}@{made.number} {said}: {counts}; {made.excluded:,} twin{'s' * (made.excluded != 1)} left out\n{made.folder}"
    )
    print(f'Next:  python -c "from datasets import load_dataset; print(load_dataset({str(made.folder)!r}))"')
    return 0
