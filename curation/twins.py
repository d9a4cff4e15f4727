"""Duplicates within a set of examples: found, verified, explained. A fact about the set, so never a verdict."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from curation.config import DedupSettings, Selector
from curation.dedup.clusters import Removals, connected, keep
from curation.dedup.near import Pairs, family_of, near_pairs
from curation.journal import open_store
from curation.records import canonical_json, content_id, now
from curation.selection import described, nothing_selected, query
from curation.store import Store
from curation.tables import utc

PRIORITY = {"kept": 0, "passed": 1, "new": 2, "unscored": 3, "flagged": 4, "dropped": 5}
COLUMNS = "id, task, language, status, label, category, severity, text_hash, content"
Method = Literal["near", "exact", "none"]


@dataclass(frozen=True, slots=True)
class Twins:
    """The duplicates among n examples, which are sorted by id."""

    examples: pa.Table  # n rows of `COLUMNS`
    pairs: Pairs
    kept: NDArray[np.bool_]  # (n,)
    removals: Removals

    def reasons(self) -> dict[str, str]:
        """Why each example that is not kept is left out, by id."""
        ids = self.examples["id"].combine_chunks()
        hashes = self.examples["text_hash"].to_numpy()
        labels = self.examples["label"].combine_chunks()
        found = {}
        for item, of, score in zip(self.removals.item, self.removals.of, self.removals.jaccard, strict=True):
            kind = "exact duplicate" if hashes[item] == hashes[of] else f"near-duplicate ({score:.2f})"
            other = "" if labels[item] == labels[of] else f", which is labelled {labels[of]}"
            found[ids[item].as_py()] = f"{kind} of {ids[of].as_py()}{other}"
        return found

    def clusters(self) -> NDArray[np.int64]:
        """The lowest row number in each example's cluster (n,)."""
        return connected(len(self.examples), self.pairs)


def load_examples(store: Store, selector: Selector) -> pa.Table:
    """The selected examples as `COLUMNS`, sorted by id.

    Raises:
        InputError: nothing is selected.
    """
    sql, parameters = query(selector, COLUMNS)
    with store.read() as connection:
        found = connection.sql(f"{sql} ORDER BY id", params=parameters).to_arrow_table()
    if not len(found):
        raise nothing_selected(store, selector)
    return found


def find(
    examples: pa.Table,
    *,
    threshold: float,
    method: Method = "near",
    progress: Callable[[str, int, int], None] | None = None,
) -> Twins:
    """The duplicates among examples, and which of them to leave out by `method`.

    Of twins, the one a person kept stays; then the one the checks passed; then the first by id. The near pairs are found
    whatever the method, since splits follow them.
    """
    # In order of priority, because `near_pairs` leads the texts of a crowded cluster to the first ones it meets.
    priority = np.array([PRIORITY[status] for status in examples["status"].to_pylist()], dtype=np.int8)
    order = np.argsort(priority, kind="stable")
    ordered = examples.take(pa.array(order))
    pairs = _near(ordered, threshold, progress)
    match method:
        case "near":
            kept, removals = keep(len(examples), pairs)
        case "exact":
            kept, removals = keep(len(examples), _exact(ordered["text_hash"].to_numpy()))
        case "none":
            kept, removals = keep(len(examples), _exact(np.arange(len(examples), dtype=np.uint64)))
    by_id = np.empty(len(examples), np.bool_)
    by_id[order] = kept
    places = order.astype(np.uint32)
    left_out = Removals(places[removals.item], places[removals.of], removals.jaccard)
    return Twins(examples, _renamed(pairs, places), by_id, left_out)


def _renamed(pairs: Pairs, places: NDArray[np.uint32]) -> Pairs:
    """The same pairs where text i is called `places[i]`."""
    one, other = places[pairs.a], places[pairs.b]
    a, b = np.minimum(one, other), np.maximum(one, other)
    by_pair = np.lexsort((b, a))
    return Pairs(a[by_pair], b[by_pair], pairs.jaccard[by_pair])


def _near(examples: pa.Table, threshold: float, progress: Callable[[str, int, int], None] | None) -> Pairs:
    languages = examples["language"].combine_chunks().dictionary_encode()
    families = np.array([family_of(language.as_py()) for language in languages.dictionary], dtype=np.uint8)
    return near_pairs(
        examples["content"], families[languages.indices.to_numpy()], threshold=threshold, progress=progress
    )


def _exact(hashes: NDArray[np.uint64]) -> Pairs:
    order = np.argsort(hashes, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(hashes[order]) != 0])
    first = np.repeat(order[starts], np.diff(np.r_[starts, len(order)]))
    other = first != order
    a, b = first[other].astype(np.uint32), order[other].astype(np.uint32)
    by_pair = np.lexsort((b, a))
    return Pairs(a[by_pair], b[by_pair], np.ones(len(a), np.float32))


def dedup_command(settings: DedupSettings) -> int:
    store = open_store(settings.workspace)
    examples = load_examples(store, settings)
    twins = find(examples, threshold=settings.threshold)
    _remember(store, settings, twins)
    strongest = np.argsort(-twins.pairs.jaccard, kind="stable")[: settings.n]
    rows = [(*_pair(twins, int(i)), float(twins.pairs.jaccard[i])) for i in strongest]
    left = int(twins.kept.sum())
    summary = {"examples": len(examples), "pairs": len(twins.pairs), "kept": left, "left_out": len(examples) - left}
    if settings.as_json:
        print(json.dumps({**summary, "shown": rows}, ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False)
    if rows:
        table = Table(box=None, pad_edge=False, header_style="bold", expand=True)
        table.add_column("Jaccard", justify="right", min_width=7)
        table.add_column("example", min_width=12)
        table.add_column("text", overflow="ellipsis", no_wrap=True, ratio=1)
        for a, b, score in rows:
            for shown, one in ((f"{score:.2f}", a), ("", b)):
                table.add_row(shown, one["id"][:12], Text(" ".join(one["content"].split())))
        console.print(table)
    console.print(
        f"{len(examples):,} examples, {len(twins.pairs):,} pair{'s' * (len(twins.pairs) != 1)} from Jaccard {settings.threshold:g} on: "
        f"{left:,} stay, {len(examples) - left:,} ({(len(examples) - left) / len(examples):.1%}) would be left out of a version.\n"
        "Nothing was removed: `curate export` leaves twins out of a version and says of which.",
        soft_wrap=True,
    )
    return 0


def _pair(twins: Twins, number: int) -> tuple[dict[str, str], dict[str, str]]:
    a, b = (twins.examples.slice(int(side[number]), 1).to_pylist()[0] for side in (twins.pairs.a, twins.pairs.b))
    return {"id": a["id"], "content": a["content"]}, {"id": b["id"], "content": b["content"]}


def _remember(store: Store, settings: DedupSettings, twins: Twins) -> None:
    """Keep the pairs, so that a reviewer can see them; the same question about the same set is kept once."""
    ids = twins.examples["id"].combine_chunks()
    identity = content_id("dd", [content_id("set", ids.to_pylist()), settings.threshold])
    row = (identity, len(ids), len(twins.pairs), settings.threshold, canonical_json(described(settings)), utc(now()))
    with store.write() as connection:
        if store.insert(connection, "dedups", [row]):
            pairs = pa.table(
                {
                    "dedup": pa.repeat(identity, len(twins.pairs)),
                    "a": ids.take(pa.array(twins.pairs.a)),
                    "b": ids.take(pa.array(twins.pairs.b)),
                    "jaccard": twins.pairs.jaccard,
                }
            )
            store.insert_arrow(connection, "near_pairs", pairs)
