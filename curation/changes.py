"""What came, went and changed between two dataset versions, example by example, and why."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation.config import VersionDiffSettings
from curation.errors import InputError
from curation.journal import open_store
from curation.store import Store
from curation.versions import Exported, version, versions

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Change = Literal["came", "went", "relabelled", "moved"]
CHANGES: tuple[Change, ...] = ("came", "went", "relabelled", "moved")
ABOUT: dict[str, str] = {
    "came": "only in the second", "went": "only in the first", "relabelled": "in both, with other labels",
    "moved": "in both, in another split",
}  # fmt: skip

# A person's word weighs more than a check's or a judge's, and among equals the last.
_WORDS = """
CREATE TEMP TABLE said AS
SELECT example, arg_max({'author': author, 'decision': decision, 'reason': reason, 'labels': labels},
    (starts_with(author, 'human:'), made_at, id)) AS word
FROM verdicts SEMI JOIN (SELECT example FROM old UNION SELECT example FROM new) AS touched USING (example)
WHERE made_at > $since AND made_at <= $until GROUP BY example
"""

_CHANGES = """
CREATE TEMP TABLE changes AS
WITH came AS (SELECT example, split FROM new ANTI JOIN old USING (example)),
went AS (SELECT example, split FROM old ANTI JOIN new USING (example)),
made AS (
    SELECT example, arg_min({'kind': kind, 'prompt': prompt, 'parent': parent, 'path': path}, (made_at, id)) AS its
    FROM origins SEMI JOIN came USING (example) GROUP BY example
),
edits AS (SELECT parent AS example, min(example) AS child FROM origins WHERE kind = 'edited' GROUP BY parent),
words AS (
    SELECT example, word.decision AS decision, word.labels AS labels,
        word.author || ': ' || word.decision || CASE WHEN word.reason <> '' THEN ', ' || word.reason ELSE '' END
        || CASE WHEN word.labels IS NOT NULL THEN ', labels ' || word.labels ELSE '' END AS told
    FROM said
)
SELECT example, 'came' AS change, split AS was, split, CASE
        WHEN left_old.reason IS NOT NULL THEN 'twin'
        WHEN examples.made_at > $since AND its.parent IS NOT NULL THEN its.kind
        WHEN examples.made_at > $since THEN 'new'
        WHEN told IS NOT NULL THEN 'decided'
        WHEN $selection THEN 'selection' ELSE 'unknown' END AS kind,
    CASE kind
        WHEN 'twin' THEN 'the first version left it out as ' || left_old.reason
        WHEN 'edited' THEN 'an edit of ' || its.parent
        WHEN 'translated' THEN 'a translation of ' || its.parent
        WHEN 'new' THEN 'made since' || coalesce(' by prompt ' || its.prompt, ' from ' || its.path, '')
        WHEN 'decided' THEN told
        WHEN 'selection' THEN 'the first version did not select it' ELSE 'not known' END AS reason
FROM came JOIN examples ON examples.id = example LEFT JOIN made USING (example) LEFT JOIN words USING (example)
    LEFT JOIN left_old USING (example)
UNION ALL
SELECT example, 'went', split, NULL, CASE
        WHEN left_new.reason IS NOT NULL THEN 'twin'
        WHEN decision IN ('drop', 'flag') AND child IS NOT NULL THEN 'edited'
        WHEN decision IN ('drop', 'flag', 'unscored', 'retract') OR labels IS NOT NULL THEN 'decided'
        WHEN $selection THEN 'selection'
        WHEN told IS NOT NULL THEN 'decided' ELSE 'unknown' END AS kind,
    CASE kind WHEN 'twin' THEN left_new.reason WHEN 'edited' THEN told || ' (now ' || child || ')' WHEN 'decided' THEN told
        WHEN 'selection' THEN 'the second version does not select it' ELSE 'not known' END
FROM went LEFT JOIN words USING (example) LEFT JOIN edits USING (example) LEFT JOIN left_new USING (example)
UNION ALL
SELECT example, 'relabelled', old.split, new.split, 'decided',
    old.labels || ' is now ' || new.labels || coalesce('; ' || told, '')
FROM old JOIN new USING (example) LEFT JOIN words USING (example) WHERE old.labels <> new.labels
UNION ALL
SELECT example, 'moved', old.split, new.split, 'split', 'from ' || old.split || ' to ' || new.split
FROM old JOIN new USING (example) WHERE old.split <> new.split
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """Two versions compared.

    Args:
        counts: (change, kind of reason, examples), the most frequent first.
        rows: example, change, was (split in the first), split (in the second), kind, reason; came, went, relabelled, moved.
        settings: selector and options that differ: (name, in the first, in the second).
        same: examples in both that did not change.
    """

    one: Exported
    other: Exported
    counts: list[tuple[str, str, int]]
    rows: pa.Table
    settings: list[tuple[str, str, str]]
    same: int

    def count(self, change: Change) -> int:
        return sum(n for what, _, n in self.counts if what == change)


def difference(store: Store, one: Exported, other: Exported) -> Difference:
    """What became of the examples of one version in another, with the reason for each.

    Reasons are read from what is in the store: what was left out as a twin, when an example was made and from what, and the weightiest
    word said of it between the two exports. Labels are read from the exported files.

    Raises:
        InputError: the files of a version are gone or cannot be read.
    """
    with store.read() as connection:
        for name, its in (("old", one), ("new", other)):
            _load(connection, name, its)
        since, until = sorted((one.made_at, other.made_at))
        selection = one.selector != other.selector
        connection.execute(_WORDS, {"since": since, "until": until})
        connection.execute(_CHANGES, {"since": since, "selection": selection})
        counts = connection.execute(
            "SELECT change, kind, count(*) FROM changes GROUP BY ALL ORDER BY 3 DESC, 1, 2"
        ).fetchall()
        rows = connection.sql(
            "SELECT * FROM changes ORDER BY list_position(['came', 'went', 'relabelled', 'moved'], change), kind, example"
        ).to_arrow_table()
        both = connection.execute("SELECT count(*) FROM old JOIN new USING (example)").fetchone()
        touched = connection.execute(
            "SELECT count(DISTINCT example) FROM changes WHERE change IN ('relabelled', 'moved')"
        ).fetchone()
    same = (both[0] if both else 0) - (touched[0] if touched else 0)
    return Difference(one, other, [(str(a), str(b), int(n)) for a, b, n in counts], rows, _settings(one, other), same)


def _load(connection: "DuckDBPyConnection", name: str, its: Exported) -> None:
    """The tables `old` or `new` (example, split, labels) and `left_old` or `left_new` (example, reason)."""
    connection.register(f"files_{name}", pa.Table.from_batches(_batches(its), _FILES))
    connection.execute(f"CREATE TEMP TABLE {name} AS SELECT * FROM files_{name}")
    excluded = its.manifest.get("excluded", {})
    left = {"example": pa.array(list(excluded), pa.string()), "reason": pa.array(list(excluded.values()), pa.string())}
    connection.register(f"left_{name}", pa.table(left))


_FILES = pa.schema([("example", pa.string()), ("split", pa.string()), ("labels", pa.string())])


def _batches(its: Exported) -> Iterator[pa.RecordBatch]:
    if not its.splits:
        raise InputError(f"{its.folder}: the files of {its.title} are gone, so it cannot be compared; export it again")
    for split in its.splits:
        for path in sorted((its.folder / "data").glob(f"{split}-*-of-*.parquet")):
            try:
                for batch in pq.ParquetFile(path).iter_batches(columns=["id", "label", "category", "severity"]):
                    labels = [
                        " / ".join(str(part) for part in row if part is not None)
                        for row in zip(*(batch[name].to_pylist() for name in ("label", "category", "severity")), strict=True)
                    ]  # fmt: skip
                    yield pa.record_batch([batch["id"], pa.array([split] * len(batch)), pa.array(labels, pa.string())], _FILES)  # fmt: skip
            except (OSError, pa.ArrowException) as error:
                raise InputError(
                    f"{path}: cannot be read: {error}; `curate versions check=true` says what is wrong"
                ) from error


def _settings(one: Exported, other: Exported) -> list[tuple[str, str, str]]:
    before, after = ({**its.selector, **its.options} for its in (one, other))
    return [
        (name, _told(before.get(name)), _told(after.get(name)))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]


def _told(value: object) -> str:
    return "any" if value is None else json.dumps(value, ensure_ascii=False)


def diff_command(settings: VersionDiffSettings) -> int:
    store = open_store(settings.workspace)
    found = difference(store, *_two(store, settings.versions))
    rows = found.rows.slice(0, settings.n).to_pylist()
    if settings.as_json:
        summary = {"one": found.one.title, "other": found.other.title, "same": found.same, "settings": found.settings}
        print(json.dumps({**summary, "counts": found.counts, "rows": rows}, ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False, soft_wrap=True)
    console.print(
        f"{found.one.title} to {found.other.title}: {found.same:,} the same, "
        + ", ".join(f"{found.count(change):,} {change}" for change in CHANGES)
    )
    for name, before, after in found.settings:
        console.print(f"{name}: {before} is now {after}")
    counts = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("change", "why", "examples"):
        counts.add_column(heading, justify="right" if heading == "examples" else "left")
    for change, kind, count in found.counts:
        counts.add_row(change, kind, f"{count:,}")
    if found.counts:
        console.print(counts)
    for row in rows:
        console.print(Text(f"{row['change']:<10}  {row['example'][:12]}  {' '.join(row['reason'].split())}"))
    if len(found.rows) > len(rows):
        console.print(f"and {len(found.rows) - len(rows):,} more; n={len(found.rows)} lists them")
    return 0


def _two(store: Store, titles: tuple[str, ...]) -> tuple[Exported, Exported]:
    if len(titles) == 2:
        return version(store, titles[0]), version(store, titles[1])
    if len(titles) != 1:
        raise InputError(
            "versions: name two, e.g. versions=[moderation@1,moderation@2], or one dataset for its last two"
        )
    last = version(store, titles[0])
    earlier = [one for one in versions(store) if one.name == last.name and one.number < last.number]
    if not earlier:
        raise InputError(f"{last.title} is the first of its name; name the version to compare it with: versions=[...,{last.title}]")  # fmt: skip
    return max(earlier, key=lambda one: one.number), last
