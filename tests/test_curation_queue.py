"""Queues and decisions: who is shown what, in which order, and what each act leaves in the store."""

import json
from datetime import datetime
from pathlib import Path

import pytest

from curation.errors import InputError
from curation.records import Decision, Generated, Moderation, Verdict
from curation.review.decide import decided, edited, undone
from curation.review.index import refresh
from curation.review.queue import Filters, Queue, cards, choices, cluster, contested, draw, everything
from curation.store import Store
from curation.tables import TableRow, example_row, origin_row, verdict_row

AT = datetime(2026, 11, 1)


def post(number: int, **fields: object) -> Moderation:
    return Moderation.model_validate({"text": f"post {number}", "language": "en", "label": "allowed", **fields})


def add(store: Store, rows: list[TableRow]) -> None:
    with store.write() as connection:
        for table in ("examples", "origins", "verdicts", "near_pairs"):
            store.insert(connection, table, [row for name, row in rows if name == table])
    refresh(store)


def filled(store: Store, n: int = 40) -> list[Moderation]:
    posts = [post(number, language="ms" if number % 4 == 0 else "en") for number in range(n)]
    add(store, [example_row(one, AT) for one in posts])
    return posts


def said(store: Store, author: str) -> list[tuple[str, str, str]]:
    return store.rows(  # type: ignore[return-value]
        "SELECT example, decision, reason FROM verdicts WHERE author = ? ORDER BY made_at, example", [author]
    )


def test_what_a_judge_is_unsure_of_comes_first_and_what_was_decided_comes_no_more(workspace: Path) -> None:
    store = Store(workspace)
    posts = filled(store)
    judge = [Verdict(example=one.id, by="judge:j@1", decision=Decision.KEEP, score=number / 100, at=AT)
             for number, one in enumerate(posts)]  # fmt: skip
    add(store, [verdict_row(one) for one in judge])
    queue = Queue("ann", overlap=0)
    assert draw(store, queue)[0] == [one.id for one in reversed(posts)], "0.39 is the nearest to 0.5"
    assert draw(store, queue, leave_out=[posts[39].id], limit=2)[0] == [posts[38].id, posts[37].id]
    add(store, decided([posts[39].id], "ann", Decision.KEEP))
    assert draw(store, queue)[0][0] == posts[38].id
    assert draw(store, Queue("ann", mine=True))[0] == [posts[39].id]


def test_orders_and_filters(workspace: Path) -> None:
    store = Store(workspace)
    posts = filled(store)
    rare = post(100, label="disallowed", category="spam")
    origin = Generated(completion="cp", position=0, prompt="p", provider="offline", model="offline")
    add(store, [example_row(rare, datetime(2026, 11, 2)), origin_row(rare.id, origin, AT),
                verdict_row(Verdict(example=rare.id, by="check:pii@1", decision=Decision.DROP, at=AT)),
                verdict_row(Verdict(example=rare.id, by="judge:j@1", decision=Decision.KEEP, score=1, at=AT)),
                *(verdict_row(Verdict(example=one.id, by="check:pii@1", decision=Decision.KEEP, at=AT)) for one in posts)])  # fmt: skip
    for order in ("newest", "disagreement", "thin"):
        assert draw(store, Queue("ann", order=order))[0][0] == rare.id, order  # type: ignore[arg-type]
    drawn = [draw(store, Queue("ann", order="audit", seed=seed))[0] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    assert sorted(drawn[0]) == sorted(drawn[2])
    for filters, expected in (
        (Filters(language=("ms",)), 10), (Filters(label=("disallowed",)), 1), (Filters(prompt=("p", "q")), 1), (Filters(), 41),
        (Filters(status=("dropped",), category=("spam",)), 1), (Filters(text="POST 1"), 12), (Filters(task=("qa",)), 0),
    ):  # fmt: skip
        queue = Queue("ann", filters=filters)
        assert draw(store, queue)[1] == len(draw(store, queue)[0]) == len(everything(store, queue)) == expected
    assert choices(store)["prompt"] == ["p"]
    with pytest.raises(InputError, match="Did you mean 'newest'"):
        Queue("ann", order="newst")  # type: ignore[arg-type]


def test_a_share_is_decided_twice_and_neither_sees_the_others_word(workspace: Path) -> None:
    store = Store(workspace)
    posts = filled(store, 400)
    ids = [one.id for one in posts]
    add(store, decided(ids, "ann", Decision.DROP, reason="secret"))
    second = everything(store, Queue("bob", overlap=0.3))
    assert 80 < len(second) < 160
    assert everything(store, Queue("eve", overlap=0.3)) == second
    assert set(everything(store, Queue("bob", overlap=0.1))) < set(second)
    assert everything(store, Queue("bob", overlap=0)) == everything(store, Queue("ann", overlap=1)) == []
    card = cards(store, second[:1], reviewer="bob")[second[0]]
    assert (card.said, card.status) == ((), "new")
    add(store, decided(second, "bob", Decision.KEEP))
    assert everything(store, Queue("eve", overlap=0.3)) == [], "two are enough"
    assert set(contested(store, limit=1000)) == set(second)
    assert [one.reason for one in cards(store, second[:1], reviewer=None)[second[0]].said] == ["secret", ""]
    add(store, decided(second, "adjudicator:eve", Decision.DROP))
    assert contested(store) == []


def test_an_act_on_many_is_taken_back_as_one_and_the_word_before_stands_again(workspace: Path) -> None:
    store = Store(workspace)
    ids = sorted(one.id for one in filled(store, 5))
    labels = {"label": "disallowed", "category": "spam", "severity": 2}
    add(store, decided(ids[:1], "ann", Decision.FLAG, reason="hm", labels=labels))
    add(store, decided(ids, "bob", Decision.KEEP))
    add(store, decided(ids, "ann", Decision.DROP))
    touched, rows = undone(store, "ann")
    assert touched == ids
    add(store, rows)
    assert [word[1:] for word in said(store, "human:ann")[-6:]] == [*[("retract", "undo")] * 5, ("flag", "hm")]
    assert [json.loads(row[0]) for row in store.rows("SELECT labels FROM verdicts WHERE decision = 'flag'")] == [
        labels
    ] * 2
    add(store, undone(store, "bob")[1])
    assert store.rows("SELECT status, count(*) FROM review GROUP BY 1 ORDER BY 1") == [("flagged", 1), ("new", 4)]
    assert undone(store, "bob") == ([], [])
    assert undone(store, "nobody") == ([], [])


def test_undo_goes_back_act_by_act(workspace: Path) -> None:
    store = Store(workspace)
    one, other = (post.id for post in filled(store, 2))
    for ids, decision in (([one], Decision.KEEP), ([one, other], Decision.FLAG), ([one], Decision.DROP)):
        add(store, decided(ids, "ann", decision))
    found = []
    for _ in range(4):
        touched, rows = undone(store, "ann")
        add(store, rows)
        found.append((touched, dict(store.rows("SELECT example, status FROM review"))))
    assert found == [
        ([one], {one: "flagged", other: "flagged"}), (sorted([one, other]), {one: "kept", other: "new"}),
        ([one], {one: "new", other: "new"}), ([], {one: "new", other: "new"}),
    ]  # fmt: skip
    add(store, decided([one], "ann", Decision.DROP))
    assert undone(store, "ann")[0] == [one]


def test_an_edit_is_a_new_example_beside_the_old_one(workspace: Path) -> None:
    store = Store(workspace)
    old = filled(store, 1)[0]
    new, rows = edited(old, "ann", {"text": "better"}, why="typo")
    add(store, rows)
    assert store.rows("SELECT status FROM review ORDER BY made_at") == [("dropped",), ("kept",)]
    assert store.rows("SELECT kind, parent, example FROM origins") == [("edited", old.id, new.id)]
    add(store, undone(store, "ann")[1])
    assert store.rows("SELECT status FROM review") == [("new",), ("new",)]
    for changes, complaint in (({"text": ""}, "text: "), ({}, "nothing was changed"), ({"severity": 9}, "severity: ")):
        with pytest.raises(InputError, match=complaint):
            edited(old, "ann", changes)


def test_twins_of_twins_are_one_cluster(workspace: Path) -> None:
    store = Store(workspace)
    a, b, c, d = sorted(one.id for one in filled(store, 4))
    add(
        store,
        [("near_pairs", ("dd", a, b, 0.9)), ("near_pairs", ("dd", b, c, 0.85)), ("near_pairs", ("dd2", a, b, 0.9))],
    )
    assert cluster(store, c) == [a, b, c]
    assert cluster(store, d) == [d]
    assert [one for one, _ in cards(store, [b], reviewer="ann")[b].twins] == [a, c]
