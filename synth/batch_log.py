"""What the store knows of batches: rows that are only added to, so that a killed process' batches can be picked up."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from curation.journal import Writer
from curation.records import Completion, Request, canonical_json, content_id, now
from curation.store import Store
from curation.tables import (
    COMPLETION_COLUMNS,
    REQUEST_COLUMNS,
    TableRow,
    completion_from,
    request_from,
    request_row,
    utc,
)

CHUNK = 2_000  # requests written down by one append
FLUSH = 20_000  # requests held in memory for the next commit, at most


class Event(StrEnum):
    """What became of a batch."""

    SUBMITTED = "submitted"  # the provider has it: its id is in the body
    CANCELLED = "cancelled"  # as far as it was not done; its results are still to be fetched
    FETCHED = "fetched"
    ABANDONED = "abandoned"  # it never reached the provider
    FAILED = "failed"  # as a whole


CLOSED = (Event.FETCHED, Event.ABANDONED, Event.FAILED)  # nothing more will come of it


@dataclass(frozen=True, slots=True)
class Logged:
    """A batch as the store knows it."""

    id: str
    run: str
    provider: str
    model: str
    requests: int
    worst_usd: float | None  # what it costs at most
    made_at: datetime
    external: str | None  # the provider's id
    found: bool  # looked for after its process had died, not heard from the provider
    last: Event | None  # None: about to be handed over
    outcome: dict[str, Any]  # the body of the event that closed it

    @property
    def open(self) -> bool:
        return self.last not in CLOSED


def intend(
    writer: Writer, requests: Sequence[Request], *, run: str, worst_usd: float | None, at: datetime
) -> str:  # fmt: skip
    """Write down that these requests are about to be handed over as one batch; returns our id of it.

    On disk when this returns. The row of the batch comes last, so that a batch that is known is known whole.
    """
    first = requests[0]
    batch = content_id("bt", [run, at.isoformat(), [request.id for request in requests]])
    for start in range(0, len(requests), CHUNK):
        some = requests[start : start + CHUNK]
        writer.append([request_row(request, at) for request in some], durable=True)
        writer.append([_member_row(batch, request.id) for request in some], durable=True)
        if start // FLUSH != (start + CHUNK) // FLUSH:
            writer.flush()
    row = (batch, run, first.provider, first.model, len(requests), worst_usd, utc(at))
    writer.append([("batches", row)], durable=True)
    return batch


def _member_row(batch: str, request: str) -> TableRow:
    return "batch_members", (content_id("bm", [batch, request]), batch, request)


def record(writer: Writer, batch: str, event: Event, **body: Any) -> None:
    """Write down what became of a batch; on disk when this returns."""
    at = now()
    identity = content_id("be", [batch, event, body, at.isoformat()])
    writer.append([("batch_events", (identity, batch, str(event), canonical_json(body), utc(at)))], durable=True)


# -- reading back ------------------------------------------------------------------------------------------------

_BATCHES = """
SELECT batches.id, run, provider, model, requests, cost_usd, batches.made_at,
    list({'kind': kind, 'body': body} ORDER BY batch_events.made_at) FILTER (kind IS NOT NULL)
FROM batches LEFT JOIN batch_events ON batch_events.batch = batches.id
GROUP BY ALL ORDER BY batches.made_at
"""


def batches(store: Store) -> list[Logged]:
    """All batches of a workspace, oldest first."""
    return [_logged(*row) for row in store.rows(_BATCHES)]


def open_batches(store: Store, *, provider: str, model: str) -> list[Logged]:
    """Batches whose results are still to come, oldest first."""
    return [one for one in batches(store) if one.open and (one.provider, one.model) == (provider, model)]


def _logged(
    identity: str, run: str, provider: str, model: str, requests: int, worst_usd: float | None, made_at: datetime,
    events: Sequence[dict[str, str]] | None,
) -> Logged:  # fmt: skip
    external, found, last, outcome = None, False, None, {}
    for event in events or ():
        kind, body = Event(event["kind"]), json.loads(event["body"])
        if kind is Event.SUBMITTED:
            external, found = body["external"], body.get("found", False)
        if last not in CLOSED:
            last = kind
        if kind in CLOSED:
            outcome = body
    return Logged(
        identity, run, provider, model, requests, worst_usd, made_at.replace(tzinfo=UTC), external, found, last, outcome
    )


@dataclass(frozen=True, slots=True)
class Members:
    all: frozenset[str]  # requests
    left: frozenset[str]  # those without an answer
    answered: int
    cost_usd: float | None  # of the answers; None if it is not known


def members(store: Store, batch: str) -> Members:
    """The requests of a batch, and what was answered of them."""
    rows = store.rows(
        "WITH mine AS (SELECT request FROM batch_members WHERE batch = ?), "
        "answered AS (SELECT request, arg_min({'usd': cost_usd}, made_at) AS cost FROM completions "
        "SEMI JOIN mine USING (request) GROUP BY request) "
        "SELECT mine.request, answered.cost FROM mine LEFT JOIN answered USING (request)",
        [batch],
    )
    costs = [cost["usd"] for _, cost in rows if cost is not None]
    return Members(
        frozenset(request for request, _ in rows), frozenset(request for request, cost in rows if cost is None),
        len(costs), None if None in costs else sum(costs),
    )  # fmt: skip


def requests(store: Store, wanted: Collection[str]) -> dict[str, Request]:
    """Those of these requests that the store knows."""
    columns = ", ".join(f"requests.{name}" for name in REQUEST_COLUMNS.split(", "))
    rows = store.rows(
        f"SELECT {columns} FROM requests SEMI JOIN (SELECT unnest(?) AS id) AS wanted USING (id)", [list(wanted)]
    )
    return {request.id: request for request in map(request_from, rows)}


def answers(store: Store, wanted: Collection[str]) -> dict[str, Completion]:
    """The stored answers to these requests, by request; the first one, where there are two."""
    rows = store.rows(
        f"SELECT {COMPLETION_COLUMNS} FROM completions SEMI JOIN (SELECT unnest(?) AS request) AS wanted USING (request) "
        "ORDER BY made_at DESC",
        [list(wanted)],
    )
    return {completion.request: completion for completion in map(completion_from, rows)}


def taken(store: Store, provider: str) -> list[str]:
    """The provider's ids of all batches that are known to be ours, or not to be."""
    rows = store.rows(
        "SELECT body FROM batch_events JOIN batches ON batches.id = batch_events.batch "
        "WHERE provider = ? AND kind = 'submitted' ORDER BY batch_events.made_at",
        [provider],
    )
    return [json.loads(body)["external"] for (body,) in rows]
