"""What a person decides, as rows to append. Nothing is changed in place: an edit is a new example, undo is one more verdict.

All rows of one act carry one time, so that an act on a thousand examples is taken back as one, also after a reload.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError

from curation.errors import InputError
from curation.records import EXAMPLE, Decision, Edited, Verdict, now
from curation.store import Store
from curation.tables import AnyExample, TableRow, example_row, origin_row, verdict_row

Labels = Mapping[str, str | int]
UNDO = "undo"  # the reason that an undo gives
_TICK = timedelta(microseconds=1)


def decided(
    examples: Sequence[str],
    by: str,
    decision: Decision,
    *,
    reason: str = "",
    labels: Labels | None = None,
    at: datetime | None = None,
) -> list[TableRow]:
    """One verdict for each example. With `labels`, what a person says they are instead.

    Args:
        by: a reviewer's name; `adjudicator:NAME` for a word that ends a disagreement.
    """
    when = at or now()
    said = dict(labels) if labels else None
    return [
        verdict_row(
            Verdict(example=one, by=f"human:{by}", decision=decision, reason=reason.strip(), labels=said, at=when)
        )
        for one in examples
    ]


def edited(
    parent: AnyExample, by: str, changes: Mapping[str, Any], *, why: str = ""
) -> tuple[AnyExample, list[TableRow]]:
    """A changed example that is kept, and its parent dropped for it.

    Raises:
        InputError: it is no example any more, or nothing was changed.
    """
    try:
        child = EXAMPLE.validate_python({**parent.model_dump(mode="json"), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        raise InputError(f"{place}: {first['msg']}; nothing was saved") from None
    if child.id == parent.id:
        raise InputError("nothing was changed, so nothing was saved; change the text, or leave with Escape")
    when, reason = now(), why.strip()
    rows = [
        example_row(child, when),
        origin_row(child.id, Edited(parent=parent.id, by=by, why=reason), when),
        *decided([parent.id], by, Decision.DROP, reason=f"edited: {child.id} instead", at=when),
        *decided([child.id], by, Decision.KEEP, reason=reason, at=when),
    ]
    return child, rows


def undone(store: Store, by: str) -> tuple[list[str], list[TableRow]]:
    """The examples of a person's last act that stands, and the rows that take it back; both empty if there is none.

    Undoing again takes back the act before it, and so on. What they had said of an example before the act stands again; an example
    that an edit made stays, without a word of theirs. The rows are a `retract` for each example and, a microsecond later, the former
    word where one stands again.
    """
    author = f"human:{by}"
    with store.read() as connection:
        acts = connection.execute(
            "SELECT made_at, bool_and(decision = 'retract' AND reason = ?) FROM verdicts WHERE author = ? "
            "GROUP BY made_at ORDER BY made_at DESC",
            [UNDO, author],
        ).fetchall()
        act = _standing(acts)
        if act is None:
            return [], []
        words = connection.execute(
            """
            SELECT example, max_by({'decision': decision, 'reason': reason, 'labels': labels}, (made_at, id))
                FILTER (made_at < $act)
            FROM verdicts WHERE author = $author AND example IN (SELECT example FROM verdicts WHERE author = $author AND made_at = $act)
            GROUP BY example ORDER BY example
            """,
            {"author": author, "act": act},
        ).fetchall()
    when = now()
    rows = decided([example for example, _ in words], by, Decision.RETRACT, reason=UNDO, at=when)
    for example, before in words:
        if before and before["decision"] != "retract":
            labels = json.loads(before["labels"]) if before["labels"] else None
            rows += decided(
                [example],
                by,
                Decision(before["decision"]),
                reason=before["reason"] or "",
                labels=labels,
                at=when + _TICK,
            )
    return [example for example, _ in words], rows


def _standing(acts: Sequence[tuple[datetime, bool]]) -> datetime | None:
    """Of (time, whether it is an undo), newest first: the newest act that no undo took back."""
    undos, taken_back = {at for at, undo in acts if undo}, 0
    for at, undo in acts:
        if undo:
            taken_back += 1
        elif at - _TICK in undos:
            continue  # a former word that stands again is no act of its own
        elif taken_back:
            taken_back -= 1
        else:
            return at
    return None
