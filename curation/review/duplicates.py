"""Clusters of near twins for a person to settle: cut from the pairs that `curate dedup` kept, at any threshold, without a new search.

Two texts are in one cluster if a chain of pairs at or above the threshold joins them. Of a crowd of very many alike texts the search
keeps a pair of each text with the one that stands for the crowd, so a higher cut may part a few that it would find alike by itself.
"""

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curation.dedup.clusters import components
from curation.dedup.near import bare
from curation.errors import NotFound
from curation.records import Decision, normalised, now
from curation.review.decide import decided
from curation.store import Store
from curation.tables import TableRow
from curation.twins import PRIORITY

I64 = NDArray[np.int64]
F32 = NDArray[np.float32]
Order = Literal["largest", "labels", "alike"]
ORDERS: tuple[Order, ...] = get_args(Order)
KEPT_ALL = "near twins, kept all the same"
TOKENS = 2_000  # of a text that are compared; the rest is shown as it is

_FACTS = f"""
SELECT wanted.place, coalesce(review.status, 'new') AS status,
    coalesce(label, '') || '/' || coalesce(category, '') || '/' || coalesce(CAST(severity AS VARCHAR), '') AS labels,
    settled.example IS NOT NULL AS settled
FROM wanted LEFT JOIN review ON review.example = wanted.id LEFT JOIN (
    SELECT DISTINCT example FROM (
        SELECT example, arg_max({{'decision': decision, 'reason': reason}}, (made_at, id)) AS word
        FROM verdicts SEMI JOIN wanted ON wanted.id = verdicts.example WHERE starts_with(author, 'human:') GROUP BY example, author
    ) WHERE word.decision = 'keep' AND word.reason = '{KEPT_ALL}'
) AS settled ON settled.example = wanted.id ORDER BY wanted.place
"""


@dataclass(frozen=True, slots=True)
class Search:
    """One question that `curate dedup` answered: what it looked at, and when."""

    id: str
    examples: int
    pairs: int
    threshold: float
    selector: str  # JSON
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Found:
    """The pairs of a search: `ids[a[k]]` and `ids[b[k]]` are alike by `jaccard[k]`."""

    ids: pa.Array
    a: I64
    b: I64
    jaccard: F32


@dataclass(frozen=True, slots=True)
class Cluster:
    """Near twins.

    Args:
        members: ids, the one to keep first: what a person kept, then what the checks passed, then the first by id.
        least, most: Jaccard of the least and the most alike of its pairs.
        labels_differ: not all were made with the same labels.
    """

    members: tuple[str, ...]
    least: float
    most: float
    labels_differ: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """All clusters at a threshold, in order.

    Args:
        places: (m,) members, cluster by cluster, as places in `Found.ids`.
        starts: (clusters + 1,) where in `places` each begins.
    """

    found: Found
    places: I64
    starts: I64
    least: F32
    most: F32
    differ: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def examples(self) -> int:
        return len(self.places)

    def page(self, low: int, high: int) -> list[Cluster]:
        """Some of the clusters."""
        return [
            Cluster(self._ids(k), float(self.least[k]), float(self.most[k]), bool(self.differ[k]))
            for k in range(max(0, low), min(high, len(self)))
        ]

    def others(self) -> list[tuple[str, str]]:
        """(id, the one to keep) of every member that is not to keep."""
        firsts = np.repeat(self.places[self.starts[:-1]], np.diff(self.starts))
        rest = np.ones(len(self.places), np.bool_)
        rest[self.starts[:-1]] = False
        ids, kept = self.found.ids.take(pa.array(self.places[rest])), self.found.ids.take(pa.array(firsts[rest]))
        return list(zip(ids.to_pylist(), kept.to_pylist(), strict=True))

    def _ids(self, number: int) -> tuple[str, ...]:
        return tuple(
            self.found.ids.take(pa.array(self.places[self.starts[number] : self.starts[number + 1]])).to_pylist()
        )


def searches(store: Store) -> list[Search]:
    """All that were asked, the newest first."""
    return [
        Search(*row)
        for row in store.rows(
            "SELECT id, examples, pairs, threshold, selector, made_at FROM dedups ORDER BY made_at DESC, id"
        )
    ]


def load(store: Store, search: str) -> Found:
    """The pairs of a search, which never change.

    Raises:
        NotFound: there is no such search.
    """
    with store.read() as connection:
        if not connection.execute("SELECT 1 FROM dedups WHERE id = ?", [search]).fetchone():
            raise NotFound(f"no search {search!r} in {store.path}; make one with `curate dedup`")
        connection.execute(
            "CREATE TEMP TABLE named AS SELECT id, row_number() OVER (ORDER BY id) - 1 AS place FROM ("
            "SELECT a AS id FROM near_pairs WHERE dedup = $1 UNION SELECT b FROM near_pairs WHERE dedup = $1)",
            [search],
        )
        ids = connection.sql("SELECT id FROM named ORDER BY place").to_arrow_table()["id"].combine_chunks()
        pairs = connection.sql(
            "SELECT one.place AS a, other.place AS b, jaccard FROM near_pairs JOIN named AS one ON one.id = a "
            "JOIN named AS other ON other.id = b WHERE dedup = $1 ORDER BY 1, 2",
            params=[search],
        ).to_arrow_table()
    a, b = pairs["a"].to_numpy().astype(np.int64), pairs["b"].to_numpy().astype(np.int64)
    return Found(ids, a, b, pairs["jaccard"].to_numpy())


def cut(store: Store, found: Found, threshold: float, *, settled: bool = False, order: Order = "largest") -> Cut:
    """The clusters of pairs from a threshold on, by what the examples are now.

    Args:
        settled: also those of which at most one is left, or that a person kept whole.
    """
    with store.read() as connection:
        connection.register("wanted", pa.table({"place": pa.array(np.arange(len(found.ids))), "id": found.ids}))
        facts = connection.sql(_FACTS).to_arrow_table()
    statuses = facts["status"].to_pylist()
    rank = np.fromiter((PRIORITY[one] for one in statuses), np.int64, len(statuses))
    labels = facts["labels"].combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    alike = found.jaccard >= np.float32(threshold - 1e-6)
    if not settled:
        gone = rank == PRIORITY["dropped"]
        alike &= ~gone[found.a] & ~gone[found.b]
    a, b, jaccard = found.a[alike], found.b[alike], found.jaccard[alike]
    cluster = components(len(found.ids), a, b)
    places = np.unique(np.concatenate((a, b)))
    places = places[np.lexsort((places, rank[places], cluster[places]))]
    names, starts = np.unique(cluster[places], return_index=True)
    if not len(names):
        nothing = np.empty(0, np.float32)
        return Cut(found, places, np.zeros(1, np.int64), nothing, nothing, np.empty(0, np.bool_))
    of = np.searchsorted(names, cluster[a])
    least, most = np.full(len(names), np.inf, np.float32), np.zeros(len(names), np.float32)
    np.minimum.at(least, of, jaccard)
    np.maximum.at(most, of, jaccard)
    differ = np.minimum.reduceat(labels[places], starts) != np.maximum.reduceat(labels[places], starts)
    done = np.logical_and.reduceat(facts["settled"].to_numpy()[places], starts)
    sizes = np.diff(np.append(starts, len(places)))
    by = {"largest": (names, -sizes), "labels": (names, -sizes, ~differ), "alike": (names, -least)}[order]
    chosen = np.lexsort(by)
    if not settled:
        chosen = chosen[~done[chosen]]
    parts = [places[starts[k] : starts[k] + sizes[k]] for k in chosen]
    return Cut(
        found, np.concatenate([np.empty(0, np.int64), *parts]), np.concatenate(([0], np.cumsum(sizes[chosen]))),
        least[chosen], most[chosen], differ[chosen],
    )  # fmt: skip


# -- what a person decides -----------------------------------------------------------------------------------------


def keep_one(cluster: Cluster, kept: str, by: str) -> list[TableRow]:
    """Keep one of a cluster and drop the others, as one act."""
    at, rest = now(), [one for one in cluster.members if one != kept]
    return [
        *decided([kept], by, Decision.KEEP, reason=f"the best of {len(cluster.members):,} near twins", at=at),
        *decided(rest, by, Decision.DROP, reason=f"near-duplicate of {kept}", at=at),
    ]


def keep_all(cluster: Cluster, by: str) -> list[TableRow]:
    """Keep all of a cluster, which is settled by that, as one act."""
    return decided(cluster.members, by, Decision.KEEP, reason=KEPT_ALL)


def drop_others(clusters: Cut, by: str) -> list[TableRow]:
    """Drop all but the first of every cluster, as one act; of the first nothing is said, since nobody looked at it."""
    at = now()
    return [
        row
        for one, kept in clusters.others()
        for row in decided([one], by, Decision.DROP, reason=f"near-duplicate of {kept}", at=at)
    ]


# -- what differs --------------------------------------------------------------------------------------------------

Part = tuple[Literal["same", "more", "less"], str]


@lru_cache(maxsize=512)
def difference(text: str, other: str) -> tuple[Part, ...]:
    """`other` against `text`, in parts: the same in both, only in `other` (more), only in `text` (less).

    What dedup does not see is no difference: case, and the punctuation around a word. The pieces are words, and characters in scripts
    that are written without spaces, with the marks on them. Of very long texts the beginning is compared.
    """
    one, two = _tokens(text), _tokens(other)
    keys = [[_key(token) for token in side[:TOKENS]] for side in (one, two)]
    parts: list[Part] = []
    for kind, low, high, start, stop in _opcodes(keys[0], keys[1]):
        if kind == "equal" and stop > start:
            parts.append(("same", "".join(two[start:stop])))
        if kind != "equal" and high > low:
            parts.append(("less", "".join(one[low:high])))
        if kind != "equal" and stop > start:
            parts.append(("more", "".join(two[start:stop])))
    if rest := "".join(two[TOKENS:]):
        parts.append(("same", rest))
    return tuple(parts)


def _opcodes(one: list[str], two: list[str]) -> list[tuple[str, int, int, int, int]]:
    """Those of difflib, which is quadratic, for what lies between the common beginning and the common end."""
    shorter = min(len(one), len(two))
    head = next((at for at in range(shorter) if one[at] != two[at]), shorter)
    left = shorter - head
    tail = next((at for at in range(left) if one[-1 - at] != two[-1 - at]), left)
    inner = difflib.SequenceMatcher(None, one[head : len(one) - tail], two[head : len(two) - tail], autojunk=False)
    return [
        ("equal", 0, head, 0, head),
        *((kind, a + head, b + head, c + head, d + head) for kind, a, b, c, d in inner.get_opcodes()),
        ("equal", len(one) - tail, len(one), len(two) - tail, len(two)),
    ]


# Thai, Lao, Burmese, Khmer, Chinese and Japanese, and the marks that are drawn on a letter of these.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff"
_MARKS = "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u1056-\u1059\u17b4-\u17d3\u3099\u309a\ufe00-\ufe0f"
_TOKEN = re.compile(rf"\s*(?:[{_UNSPACED}][{_MARKS}]*|[^\s{_UNSPACED}]+)\s*|\s+")


def _tokens(text: str) -> list[str]:
    """A text cut so that its pieces joined are the text, each with the space after it."""
    return _TOKEN.findall(text)


def _key(token: str) -> str:
    clean = normalised(token)
    return bare(clean) or clean


def texts(store: Store, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Of examples their language, content, labels as they were made, and automatic status, by id: nothing that a colleague said."""
    names = ("id", "language", "content", "label", "category", "severity", "status")
    rows = store.rows(
        "SELECT id, examples.language, content, examples.label, examples.category, examples.severity, coalesce(automatic, 'new') "
        "FROM examples LEFT JOIN review ON example = id WHERE list_contains(?, id)",
        [list(ids)],
    )
    return {row[0]: dict(zip(names, row, strict=True)) for row in rows}


def said_by(store: Store, ids: Sequence[str], by: str) -> dict[str, str]:
    """What a reviewer's standing word on these examples is."""
    rows = store.rows(
        "SELECT example, arg_max(decision, (made_at, id)) FROM verdicts WHERE author = ? AND list_contains(?, example) GROUP BY example",
        [f"human:{by}", list(ids)],
    )
    return {example: decision for example, decision in rows if decision != "retract"}
