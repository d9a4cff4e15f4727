"""Which examples a person is shown, in which order: ids from the index, and what a card shows of one, by id.

Review is blind: nothing here tells a reviewer what another person said. Filters and order rest on what generators, checks and
judges said, so that a queue does not give a colleague's word away either.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from curation.errors import InputError, did_you_mean
from curation.records import EXAMPLE
from curation.store import Store
from curation.tables import AnyExample

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Order = Literal["uncertain", "disagreement", "thin", "audit", "newest"]
ORDERS: tuple[Order, ...] = get_args(Order)
FILTERS = ("task", "language", "label", "category", "status", "prompt")
WINDOW = 200  # ids that are fetched at once
_TWINS_AT_MOST = 10_000
_DEPTH = 64
_SHARES = 1 << 24  # what the last six digits of an id can be


@dataclass(frozen=True, slots=True)
class Filters:
    """Which examples a queue is about; empty means all. `status` is the automatic one: passed, flagged, unscored, dropped, new."""

    task: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    label: tuple[str, ...] = ()
    category: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    prompt: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class Queue:
    """One reviewer's queue.

    Args:
        overlap: share of the examples that two people decide on; which ones is fixed by their ids.
        mine: what the reviewer has decided already, instead of what waits for them.
        seed: another seed draws another audit sample.
    """

    reviewer: str
    order: Order = "uncertain"
    filters: Filters = field(default_factory=Filters)
    overlap: float = 0.1
    mine: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise InputError(f"order {self.order!r}: there is no such order.{did_you_mean(self.order, ORDERS)}")


@dataclass(frozen=True, slots=True)
class Said:
    by: str
    decision: str
    reason: str
    score: float | None
    labels: dict[str, str | int] | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Card:
    """An example with why it is before a person: what was said of it (by whom the caller asked for), and its near twins."""

    example: AnyExample
    status: str  # the automatic one
    said: tuple[Said, ...]  # each author's last word
    twins: tuple[tuple[str, float], ...]  # (id, Jaccard), the nearest first


def draw(store: Store, queue: Queue, *, leave_out: Iterable[str] = (), limit: int = WINDOW) -> tuple[list[str], int]:
    """The next ids of a queue, best first, without those left out; and how many the queue has, with them."""
    where, parameters = _where(queue)
    left, joined, seed = list(leave_out), "", []
    match queue.order:
        case "uncertain":
            order = "uncertain DESC, example"
        case "disagreement":
            order = "disagreement DESC, uncertain DESC, example"
        case "thin":
            joined = (
                "JOIN (SELECT task, label, category, language, count(*) FILTER (automatic = 'passed') AS usable FROM review "
                "GROUP BY ALL) AS cell ON cell.task = review.task AND cell.language = review.language AND "
                "cell.label IS NOT DISTINCT FROM review.label AND cell.category IS NOT DISTINCT FROM review.category"
            )
            order = "usable, example"
        case "audit":
            order, seed = "md5(example || ?), example", [str(queue.seed)]
        case "newest":
            order = "review.made_at DESC, example"
    with store.read() as connection:
        _search(connection, queue)
        waiting = connection.execute(f"SELECT count(*) FROM review WHERE {where}", parameters).fetchone()
        found = connection.execute(
            f"SELECT example FROM review {joined} WHERE {where} AND example NOT IN (SELECT unnest(?)) ORDER BY {order} LIMIT {limit}",
            [*parameters, left, *seed],
        ).fetchall()
    return [row[0] for row in found], waiting[0] if waiting else 0


def everything(store: Store, queue: Queue) -> list[str]:
    """All ids of a queue, sorted: what one decision for all of it would touch."""
    where, parameters = _where(queue)
    with store.read() as connection:
        _search(connection, queue)
        found = connection.execute(f"SELECT example FROM review WHERE {where} ORDER BY example", parameters).fetchall()
    return [row[0] for row in found]


def choices(store: Store) -> dict[str, list[str]]:
    """The values that each filter can take in this workspace."""
    with store.read() as connection:
        found = {
            name: [
                row[0]
                for row in connection.execute(
                    f"SELECT DISTINCT {column} AS value FROM review WHERE value IS NOT NULL ORDER BY value"
                ).fetchall()
            ]
            for name, column in (
                ("task", "task"), ("language", "language"), ("label", "label"), ("category", "category"), ("status", "automatic"),
            )
        }  # fmt: skip
        found["prompt"] = [
            row[0]
            for row in connection.execute(
                "SELECT DISTINCT prompt FROM origins WHERE prompt IS NOT NULL ORDER BY prompt"
            ).fetchall()
        ]
    return found


def cards(store: Store, ids: Sequence[str], *, reviewer: str | None) -> dict[str, Card]:
    """What to show of these examples, in one opening. Of people's words only those of `reviewer`; None: all people's."""
    if not ids:
        return {}
    wanted = list(ids)
    with store.read() as connection:
        bodies = _found(connection, "examples", "id", "id, body", wanted)
        status = dict(_found(connection, "review", "example", "example, automatic", wanted))
        words = _found(
            connection, "verdicts", "example", "example, author, decision, reason, score, labels, made_at, id", wanted
        )
        twins = connection.execute(
            """SELECT one, other, max(jaccard) FROM (
                SELECT a AS one, b AS other, jaccard FROM near_pairs WHERE list_contains($ids, a)
                UNION ALL SELECT b, a, jaccard FROM near_pairs WHERE list_contains($ids, b))
            GROUP BY ALL ORDER BY 3 DESC, 2""",
            {"ids": wanted},
        ).fetchall()
    last: dict[tuple[str, str], tuple[Any, ...]] = {}  # each author's last word on an example
    for word in sorted(words, key=lambda word: word[-2:]):
        last[word[:2]] = word
    said: dict[str, list[Said]] = {}
    for (example, author), (*_, decision, reason, score, labels, made_at, _) in sorted(last.items()):
        blind = reviewer is not None and author.startswith("human:") and author != f"human:{reviewer}"
        if decision != "retract" and not blind:
            told = json.loads(labels) if labels else None
            said.setdefault(example, []).append(Said(author, decision, reason or "", score, told, made_at))
    return {
        identity: Card(
            EXAMPLE.validate_json(body), status.get(identity, "new"), tuple(said.get(identity, ())),
            tuple((other, score) for one, other, score in twins if one == identity),
        )
        for identity, body in bodies
    }  # fmt: skip


def _found(
    connection: "DuckDBPyConnection", table: str, key: str, columns: str, values: Sequence[str]
) -> list[tuple[Any, ...]]:
    """The rows of these keys. Only the key is scanned: DuckDB reads wide columns of a million rows for an IN, but not for a row number."""
    places = connection.execute(
        f"SELECT rowid FROM {table} WHERE {key} IN ({', '.join('?' * len(values))})", list(values)
    ).fetchall()
    if not places:
        return []
    one = f"SELECT {columns} FROM {table} WHERE rowid = "
    return connection.execute(" UNION ALL ".join(f"{one}{place}" for (place,) in places)).fetchall()


def cluster(store: Store, example: str) -> list[str]:
    """The example and all near twins of it, of their near twins, and so on, by the pairs that `curate dedup` kept; sorted."""
    found, edge = {example}, [example]
    with store.read() as connection:
        for _ in range(_DEPTH):
            rows = connection.execute(
                "SELECT b FROM near_pairs WHERE list_contains($ids, a) UNION SELECT a FROM near_pairs WHERE list_contains($ids, b)",
                {"ids": edge},
            ).fetchall()
            edge = [row[0] for row in rows if row[0] not in found]
            found.update(edge)
            if not edge or len(found) > _TWINS_AT_MOST:
                break
    return sorted(found)


def contested(store: Store, *, limit: int = WINDOW) -> list[str]:
    """Examples on which people differ and nobody has adjudicated since, the newest first."""
    return [
        row[0]
        for row in store.rows(
            f"SELECT example FROM review WHERE contested ORDER BY made_at DESC, example LIMIT {limit}"
        )
    ]


def shared(example: str, overlap: float) -> bool:
    """Whether two people are to decide on an example: ids are hashes, so their last digits draw a share that all processes agree on."""
    return int(example[-6:], 16) < int(overlap * _SHARES)


def _search(connection: "DuckDBPyConnection", queue: Queue) -> None:
    """The examples that hold the text that is looked for, once for all that is asked of them."""
    if queue.filters.text:
        # a regular expression finds it four times as fast as lower() and contains()
        connection.execute(
            "CREATE TEMP TABLE searched AS SELECT id FROM examples WHERE regexp_matches(content, '(?i)' || regexp_escape(?))",
            [queue.filters.text],
        )


def _where(queue: Queue) -> tuple[str, list[Any]]:
    parameters: list[Any] = [queue.reviewer]
    if queue.mine:
        parts = ["list_contains(people, ?)"]
    else:
        parts = [
            "(len(people) = 0 OR (len(people) = 1 AND NOT list_contains(people, ?) "
            "AND CAST('0x' || right(example, 6) AS INTEGER) < ?))"
        ]
        parameters.append(int(queue.overlap * _SHARES))
    for name, column in (
        ("task", "review.task"), ("language", "review.language"), ("label", "review.label"),
        ("category", "review.category"), ("status", "automatic"),
    ):  # fmt: skip
        if values := getattr(queue.filters, name):
            parts.append(f"list_contains(?, {column})")
            parameters.append(list(values))
    if queue.filters.prompt:
        parts.append("list_has_any(prompts, ?)")
        parameters.append(list(queue.filters.prompt))
    if queue.filters.text:
        parts.append("example IN (FROM searched)")
    return " AND ".join(parts), parameters
