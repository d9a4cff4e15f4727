"""The index behind review, queues and figures: what the store says, kept in one narrow table."""

import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from curation.records import Decision, Generated, Moderation, Verdict
from curation.review import index
from curation.review.index import behind, refresh
from curation.store import Store
from curation.tables import example_row, origin_row, verdict_row

AT = datetime(2026, 11, 1)
AUTHORS = ("check:length@1", "check:pii@1", "judge:j@1", "human:ann", "human:bob", "human:adjudicator:eve")


def post(number: int, **fields: object) -> Moderation:
    return Moderation.model_validate({"text": f"post {number}", "language": "en", "label": "allowed", **fields})


def add(store: Store, *rows: tuple[str, tuple[object, ...]]) -> None:
    with store.write() as connection:
        for table in ("examples", "origins", "verdicts"):
            store.insert(connection, table, [row for name, row in rows if name == table])


@pytest.mark.parametrize("seed", range(6))
def test_the_index_says_what_the_status_view_says_after_any_verdicts(
    workspace: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "_AT_ONCE", (3, 1000)[seed % 2])
    dice, store = random.Random(seed), Store(workspace)
    posts = [post(number) for number in range(12)]
    for step in range(8):
        rows = [example_row(one, AT) for one in posts[: 4 + step]]
        for _ in range(dice.randint(0, 12)):
            labels = {"label": "disallowed", "category": "spam", "severity": 2} if dice.random() < 0.3 else None
            said = Verdict(
                example=dice.choice(posts[: 4 + step]).id, by=dice.choice(AUTHORS), decision=dice.choice(list(Decision)),
                labels=labels, at=AT + timedelta(seconds=50 * dice.random()),
            )  # fmt: skip
            rows.append(verdict_row(said))
        add(store, *rows)
        refresh(store)
        assert behind(store) == 0
        expected = store.rows(
            "SELECT example, status, coalesce(labels ->> '$.label', label), coalesce(labels ->> '$.category', category) "
            "FROM status JOIN examples ON examples.id = example ORDER BY 1"
        )
        assert store.rows("SELECT example, status, said_label, said_category FROM review ORDER BY 1") == expected
        assert store.rows("SELECT count(*), count(DISTINCT example) FROM review") == [(4 + step, 4 + step)]


def test_an_index_that_was_built_at_once_is_the_one_that_grew(workspace: Path) -> None:
    dice, store = random.Random(1), Store(workspace)
    for number in range(30):
        one = post(number)
        origin = Generated(completion="cp", position=0, prompt=dice.choice("ab"), provider="offline", model="offline")
        verdict = Verdict(example=one.id, by=dice.choice(AUTHORS), decision=Decision.FLAG, score=dice.random(), at=AT)
        add(store, example_row(one, AT), origin_row(one.id, origin, AT), verdict_row(verdict))
        refresh(store)
    grown = store.rows("SELECT * FROM review ORDER BY example")
    with store.write() as connection:
        connection.execute("UPDATE review_mark SET examples = 0, verdicts = 0, origins = 0")
    assert refresh(store) == 30
    assert store.rows("SELECT * FROM review ORDER BY example") == grown
    assert refresh(store) == 0


def test_people_who_differ_are_contested_until_somebody_adjudicates(workspace: Path) -> None:
    store, one = Store(workspace), post(1)

    def said(by: str, decision: Decision, second: int, **more: object) -> tuple[str, tuple[object, ...]]:
        return verdict_row(
            Verdict.model_validate(
                {"example": one.id, "by": by, "decision": decision, "at": AT + timedelta(seconds=second), **more}
            )
        )

    def contested() -> tuple[bool, list[str], str]:
        refresh(store)
        return store.rows("SELECT contested, people, status FROM review")[0]  # type: ignore[return-value]

    add(store, example_row(one, AT), said("human:ann", Decision.KEEP, 1), said("judge:j@1", Decision.DROP, 1))
    assert contested() == (False, ["ann"], "kept")
    add(store, said("human:bob", Decision.KEEP, 2, labels={"label": "disallowed", "category": "spam", "severity": 1}))
    assert contested() == (True, ["ann", "bob"], "kept")
    add(store, said("human:adjudicator:eve", Decision.DROP, 3))
    assert contested() == (False, ["ann", "bob"], "dropped")
    add(store, said("human:adjudicator:eve", Decision.RETRACT, 4))
    assert contested() == (True, ["ann", "bob"], "kept")
    add(store, said("human:bob", Decision.RETRACT, 5))
    assert contested() == (False, ["ann"], "kept")
