"""What a person decides, as rows to append. Nothing is changed in place: an edit is a new example, undo is one more verdict.

All rows of one act carry one time, so that an act on a thousand examples is taken back as one, also after a reload.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from curation.errors import InputError
from curation.records import EXAMPLE, Decision, Edited, Verdict, now
from curation.store import Store
from curation.tables import AnyExample, TableRow, example_row, origin_row, verdict_row

Labels = Mapping[str, str | int]


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

    What they had said of an example before that act stands again. An example that an edit made stays, without a word of theirs.
    """
    author = f"human:{by}"
    with store.read() as connection:
        words = connection.execute(
            """
            WITH mine AS (SELECT example, decision, reason, labels, made_at, id FROM verdicts WHERE author = ?),
            standing AS (SELECT example, max_by(decision, (made_at, id)) AS decision, max(made_at) AS made_at FROM mine GROUP BY example),
            last AS (SELECT max(made_at) AS made_at FROM standing WHERE decision <> 'retract')
            SELECT standing.example,
                max_by({'decision': mine.decision, 'reason': mine.reason, 'labels': mine.labels}, (mine.made_at, mine.id))
                    FILTER (mine.made_at < last.made_at)
            FROM standing JOIN last ON standing.made_at = last.made_at JOIN mine ON mine.example = standing.example
            WHERE standing.decision <> 'retract' GROUP BY standing.example ORDER BY 1
            """,
            [author],
        ).fetchall()
    when, rows = now(), []
    for example, before in words:
        if before and before["decision"] != "retract":
            labels = json.loads(before["labels"]) if before["labels"] else None
            rows += decided(
                [example], by, Decision(before["decision"]), reason=before["reason"] or "", labels=labels, at=when
            )
        else:
            rows += decided([example], by, Decision.RETRACT, reason="undo", at=when)
    return [row[0] for row in words], rows
