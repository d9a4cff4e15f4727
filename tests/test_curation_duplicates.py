"""Clusters cut from kept pairs, what is decided about them, and what is marked as different."""

import itertools
import random
from datetime import datetime
from pathlib import Path

import pytest

from curation.cli import COMMANDS
from curation.commands import main
from curation.errors import NotFound
from curation.records import Moderation, Verdict
from curation.review.decide import undone
from curation.review.duplicates import (
    KEPT_ALL,
    Cut,
    cut,
    difference,
    drop_others,
    keep_all,
    keep_one,
    load,
    said_by,
    searches,
    texts,
)
from curation.review.index import refresh
from curation.store import Store
from curation.tables import TableRow, example_row, verdict_row

AT = datetime(2026, 11, 1)


def add(store: Store, rows: list[TableRow]) -> None:
    with store.write() as connection:
        for table in ("examples", "verdicts", "dedups", "near_pairs"):
            if own := [row for name, row in rows if name == table]:
                store.insert(connection, table, own)
    refresh(store)


def paired(store: Store, pairs: list[tuple[int, int, float]], count: int) -> list[str]:
    """Examples whose pairs are said to be these; returns their ids, sorted."""
    posts = [
        Moderation(text=f"post {n}", language="en", label="allowed" if n % 5 else "disallowed") for n in range(count)
    ]
    ids = sorted(one.id for one in posts)
    rows = [example_row(one, AT) for one in posts]
    rows.append(("dedups", ("dd1", count, len(pairs), 0.5, "{}", AT)))
    rows += [("near_pairs", ("dd1", *sorted((ids[a], ids[b])), score)) for a, b, score in pairs]
    add(store, rows)
    return ids


def members(found: Cut) -> list[set[str]]:
    return [set(one.members) for one in found.page(0, len(found))]


@pytest.mark.parametrize("seed", range(4))
def test_a_cut_is_the_connected_parts_of_the_pairs_that_are_left(workspace: Path, seed: int) -> None:
    dice, store = random.Random(seed), Store(workspace)
    pairs = [(a, b, round(dice.uniform(0.5, 1), 2)) for a, b in itertools.combinations(range(14), 2) if dice.random() < 0.12]  # fmt: skip
    ids = paired(store, pairs, 14)
    found = load(store, "dd1")
    for threshold in (0.5, 0.66, 0.83, 1.0):
        parts = [{one} for one in ids]
        for a, b, score in pairs:
            if score >= threshold:
                one, other = (next(part for part in parts if ids[k] in part) for k in (a, b))
                if one is not other:
                    parts.remove(other)
                    one |= other
        expected = [part for part in parts if len(part) > 1]
        got = cut(store, found, threshold)
        assert sorted(map(sorted, members(got))) == sorted(map(sorted, expected))
        assert got.examples == sum(map(len, expected))
        for one in got.page(0, len(got)):
            scores = [score for a, b, score in pairs if score >= threshold and {ids[a], ids[b]} <= set(one.members)]
            assert (one.least, one.most) == (pytest.approx(min(scores)), pytest.approx(max(scores)))


def test_orders_pages_and_the_one_to_keep(workspace: Path) -> None:
    store = Store(workspace)
    ids = paired(store, [(0, 1, 0.6), (1, 2, 0.6), (3, 4, 0.9), (5, 6, 0.7)], 8)
    add(store, [verdict_row(Verdict(example=ids[2], by="human:bob", decision="keep", at=AT))])
    add(store, [verdict_row(Verdict(example=ids[3], by="check:x@1", decision="flag", at=AT))])
    found = load(store, "dd1")
    largest = cut(store, found, 0.5)
    assert [len(one.members) for one in largest.page(0, 9)] == [3, 2, 2]
    assert largest.page(0, 1)[0].members[0] == ids[2]  # a person kept it
    assert [one.members for one in cut(store, found, 0.5, order="alike").page(0, 1)] == [(ids[4], ids[3])]
    assert largest.page(1, 2) + largest.page(2, 99) == largest.page(1, 3)
    differ = cut(store, found, 0.5, order="labels").page(0, 9)
    assert [one.labels_differ for one in differ] == sorted((one.labels_differ for one in differ), reverse=True)
    for one in differ:
        labels = {its["label"] for its in texts(store, one.members).values()}
        assert one.labels_differ == (len(labels) > 1)
    assert not len(cut(store, found, 0.95))


def test_an_act_settles_a_cluster_and_is_taken_back_as_one(workspace: Path) -> None:
    store = Store(workspace)
    ids = paired(store, [(0, 1, 0.6), (1, 2, 0.6), (3, 4, 0.9), (5, 6, 0.7)], 8)
    found = load(store, "dd1")

    def open_now() -> list[set[str]]:
        return members(cut(store, found, 0.5))

    before = open_now()
    trio = cut(store, found, 0.5).page(0, 1)[0]
    add(store, keep_one(trio, ids[1], "ann"))
    assert said_by(store, trio.members, "ann") == {ids[0]: "drop", ids[1]: "keep", ids[2]: "drop"}
    assert store.rows("SELECT DISTINCT reason FROM verdicts WHERE decision = 'drop'") == [(f"near-duplicate of {ids[1]}",)]  # fmt: skip
    assert open_now() == before[1:]
    assert members(cut(store, found, 0.5, settled=True)) == before
    pair = cut(store, found, 0.5).page(0, 1)[0]
    add(store, keep_all(pair, "ann"))
    assert {reason for (reason,) in store.rows("SELECT reason FROM verdicts WHERE decision = 'keep'")} >= {KEPT_ALL}
    assert len(open_now()) == 1
    add(store, drop_others(cut(store, found, 0.5), "ann"))
    assert open_now() == []
    kept = store.rows("SELECT count(*) FROM review WHERE status <> 'dropped'")[0][0]
    assert kept == 8 - 2 - 1
    for left, touched in ((1, 1), (2, 2), (3, 3)):
        undone_ids, rows = undone(store, "ann")
        assert len(undone_ids) == touched
        add(store, rows)
        assert len(open_now()) == left
    assert open_now() == before


def test_the_pairs_of_a_search_are_found_again_at_any_higher_threshold(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    store = Store(workspace)
    base = "the quick brown fox jumps over the lazy dog near the old river bank at dawn every day"
    words = base.split()
    posts = [Moderation(text=base, language="en", label="allowed")]
    posts += [Moderation(text=" ".join([*words[:-n], *["x"] * n]), language="en", label="allowed") for n in (1, 4)]
    add(store, [example_row(one, AT) for one in posts])
    assert main("curate", "", COMMANDS, ["dedup", "threshold=0.4", f"workspace={workspace}"]) == 0
    capsys.readouterr()
    (search,) = searches(store)
    assert (search.examples, search.threshold) == (3, 0.4)
    found = load(store, search.id)
    assert [len(one.members) for one in cut(store, found, 0.4).page(0, 9)] == [3]
    assert members(cut(store, found, 0.8)) == [{posts[0].id, posts[1].id}]
    with pytest.raises(NotFound, match="curate dedup"):
        load(store, "dd1_none")


@pytest.mark.parametrize(
    ("one", "other", "parts"),
    [
        ("Buy now, cheap!", "buy NOW cheap", [("same", "buy NOW cheap")]),  # dedup sees no case and no comma
        ("sell my bike today", "sell my car today", [("same", "sell my "), ("less", "bike "), ("more", "car "), ("same", "today")]),
        ("我想卖自行车", "我想卖汽车", [("same", "我想卖"), ("less", "自行"), ("more", "汽"), ("same", "车")]),
        ("请买iPhone手机", "请买Nokia手机", [("same", "请买"), ("less", "iPhone"), ("more", "Nokia"), ("same", "手机")]),
        ("வணக்கம் நண்பா", "வணக்கம் அம்மா", [("same", "வணக்கம் "), ("less", "நண்பா"), ("more", "அம்மா")]),  # words, marks on their letters
        ("น้ำดี", "น้าดี", [("same", "น้"), ("less", "ำ"), ("more", "า"), ("same", "ดี")]),
        ("a b", "a b c", [("same", "a b "), ("more", "c")]),
        ("a a", "a", [("same", "a"), ("less", "a")]),
        ("", "new", [("more", "new")]),
        (" \n", " \n", [("same", " \n")]),
    ],
)  # fmt: skip
def test_what_differs_is_told_by_words_and_by_characters_where_there_are_no_spaces(
    one: str, other: str, parts: list[tuple[str, str]]
) -> None:
    assert list(difference(one, other)) == parts


def test_whatever_differs_the_other_text_is_shown_whole_and_in_bounded_time() -> None:
    dice = random.Random(1)
    for _ in range(200):
        one, other = ("".join(dice.choices("ab, \n的了น้ி", k=dice.randint(0, 12))) for _ in range(2))
        assert "".join(words for kind, words in difference(one, other) if kind != "less") == other
    text = "ab " * 20_000
    assert "".join(words for kind, words in difference(text, text + "tail") if kind != "less") == text + "tail"
