"""Alpha and kappa against published examples, and the report over verdicts as they lie in a store."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from curation.cli import COMMANDS
from curation.commands import main
from curation.records import Decision, Generated, Moderation, Verdict
from curation.review.agreement import report
from curation.review.decide import decided, undone
from curation.review.reliability import Sample, figure, sample, wilson
from curation.store import Store
from curation.tables import TableRow, example_row, origin_row, verdict_row

AT = datetime(2026, 11, 1, 9)
# Krippendorff (2011), Computing Krippendorff's alpha-reliability, section C: four observers, twelve units
OBSERVERS = (
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


def seen(rows: Iterable[Iterable[object]], values: str | None = None) -> Sample:
    """A sample from one row of words a rater."""
    patterns = Counter(
        frozenset((f"r{rater}", str(word)) for rater, word in enumerate(unit) if word is not None)
        for unit in zip(*rows, strict=True)
    )
    return sample(patterns, tuple(values) if values else None)


def test_alpha_is_what_krippendorff_works_out() -> None:
    found = seen(OBSERVERS, "12345")
    nominal, ordinal = figure(found, resamples=0), figure(found, "ordinal", resamples=0)
    assert nominal.alpha == pytest.approx(0.743, abs=5e-4)
    assert ordinal.alpha == pytest.approx(0.815, abs=5e-4)
    assert (nominal.units, nominal.raters) == (11, 4)  # the twelfth has one word, and pairs with nothing
    # the same paper, sections A and B: two observers, two and five values
    two = ((0, 1, 0, 0, 0, 0, 0, 0, 1, 0), (1, 1, 1, 0, 0, 1, 0, 0, 0, 0))
    assert figure(seen(two), resamples=0).alpha == pytest.approx(0.095, abs=5e-4)
    five = ("aabbdcccedda", "babbbccceddd")
    assert figure(seen(five), resamples=0).alpha == pytest.approx(0.692, abs=5e-4)


@pytest.mark.parametrize("seed", range(4))
def test_kappa_is_scikit_learns_and_alpha_the_definition_in_words(seed: int) -> None:
    dice = np.random.default_rng(seed)
    truth = dice.integers(0, 4, 60)
    rows = [np.where(dice.random(60) < 0.7, truth, dice.integers(0, 4, 60)) for _ in range(2)]
    found = seen(rows, "0123")
    for level, weights in (("nominal", None), ("ordinal", "quadratic")):
        expected = cohen_kappa_score(rows[0], rows[1], labels=[0, 1, 2, 3], weights=weights)
        assert figure(found, level, resamples=0).kappa == pytest.approx(expected)
    words = np.concatenate(rows)
    apart = [a != b for at, a in enumerate(words) for b in words[at + 1 :]]
    expected = 1 - np.mean(rows[0] != rows[1]) / np.mean(apart)
    assert figure(found, resamples=0).alpha == pytest.approx(expected)


def test_the_kappa_of_three_is_the_mean_of_their_pairs_and_a_pool_is_one_table() -> None:
    rows = ((0, 0, 1, 1, 0, 1), (0, 0, 1, 0, 0, 1), (1, 0, 1, 1, None, None))
    found = seen(rows)
    pairs = [
        (cohen_kappa_score(a, b), len(a))
        for one, other in ((0, 1), (0, 2), (1, 2))
        for a, b in [zip(*((x, y) for x, y in zip(rows[one], rows[other], strict=True) if y is not None), strict=True)]
    ]
    mean = sum(kappa * n for kappa, n in pairs) / sum(n for _, n in pairs)
    assert figure(found, resamples=0).kappa == pytest.approx(mean)
    pooled = figure(found, pairs=[("r1", "r0"), ("r2", "r0")], resamples=0)
    assert pooled.kappa == pytest.approx(cohen_kappa_score(rows[1] + rows[2][:4], rows[0] + rows[0][:4]))
    assert pooled.alpha is None
    assert pooled.same == pytest.approx(8 / 10)


def test_intervals_are_seeded_hold_the_figure_and_narrow_with_more_examples() -> None:
    dice = np.random.default_rng(0)
    truth = dice.integers(0, 2, 400)
    rows = [np.where(dice.random(400) < 0.8, truth, 1 - truth) for _ in range(2)]
    few, many = (figure(seen([row[:n] for row in rows]), seed=3) for n in (40, 400))
    assert many == figure(seen(rows), seed=3)
    assert many.alpha_interval != figure(seen(rows), seed=4).alpha_interval
    for one in (few, many):
        assert one.alpha_interval is not None
        assert one.kappa_interval is not None
        assert one.alpha is not None
        assert one.alpha_interval[0] < one.alpha < one.alpha_interval[1]
    # the large-sample standard error of kappa at even margins is 2 sqrt(p (1 - p) / n)
    width = many.kappa_interval[1] - many.kappa_interval[0]  # type: ignore[index]
    assert width == pytest.approx(2 * 1.96 * 2 * np.sqrt(many.same * (1 - many.same) / 400), rel=0.15)  # type: ignore[operator]
    assert width < few.kappa_interval[1] - few.kappa_interval[0]  # type: ignore[index]


def test_where_there_is_nothing_to_say() -> None:
    nothing = figure(sample({}))
    assert (nothing.units, nothing.same, nothing.alpha, nothing.kappa, nothing.alpha_interval) == (0, None, None, None, None)  # fmt: skip
    agreed = figure(seen(("aaaa", "aaaa")))
    assert (agreed.units, agreed.same, agreed.alpha, agreed.kappa) == (4, 1.0, None, None)
    # alpha of one rare difference is defined, but most resamples leave it out or all but it
    rare = figure(seen(("aab", "aaa")))
    assert rare.alpha == 0.0
    assert rare.alpha_interval is None


@pytest.mark.parametrize(("changed", "checked", "low", "high"), [(0, 10, 0, 0.2775), (5, 10, 0.2366, 0.7634), (81, 263, 0.2553, 0.3662)])  # fmt: skip
def test_wilson(changed: int, checked: int, low: float, high: float) -> None:
    assert wilson(changed, checked) == pytest.approx((low, high), abs=1e-4)  # the last: Newcombe (1998), table I


# -- over a store --------------------------------------------------------------------------------------------------


def post(number: int, **fields: object) -> Moderation:
    return Moderation.model_validate({"text": f"post {number}", "language": "en", "label": "allowed", **fields})


def add(store: Store, *rows: TableRow) -> None:
    with store.write() as connection:
        for table in ("examples", "origins", "verdicts"):
            store.insert(connection, table, [row for name, row in rows if name == table])


def said(one: Moderation, by: str, decision: str, second: float, **more: object) -> TableRow:
    when = AT + timedelta(seconds=second)
    return verdict_row(Verdict.model_validate({"example": one.id, "by": by, "decision": decision, "at": when, **more}))


SPAM = {"label": "disallowed", "category": "spam", "severity": 2}


def test_a_report_counts_standing_words_of_reviewers_alone(workspace: Path) -> None:
    store, posts = Store(workspace), [post(number, language="en" if number < 3 else "zh") for number in range(6)]
    add(store, *(example_row(one, AT) for one in posts))
    for at, one in enumerate(posts[:4]):
        add(store, said(one, "human:ann", "keep", at), said(one, "human:bob", "drop" if at == 3 else "keep", at))
    add(
        store,
        said(posts[0], "human:adjudicator:eve", "drop", 90),  # no reviewer's word
        said(posts[1], "human:ann", "drop", 50),  # her last word stands
        said(posts[4], "human:ann", "keep", 60), said(posts[4], "human:bob", "keep", 61), said(posts[4], "human:bob", "retract", 62),
        said(posts[2], "check:x@1", "drop", 1), said(posts[0], "judge:j@1", "keep", 1, labels={"label": "disallowed"}),
    )  # fmt: skip
    found = report(store, resamples=0)
    assert (found.people, found.decided, found.contested) == (2, 5, 2)
    overall = found.overall["decision"]
    assert (overall.units, overall.raters, overall.same) == (4, 2, 0.5)
    assert [(value, one.units) for value, one in found.groups["language"]] == [("en", 3), ("zh", 1)]
    assert [(one, other, its.units) for one, other, its in found.pairs] == [("ann", "bob", 4)]
    assert found.differ == [("drop", "keep", 2)]
    assert [(judge, its.units, its.same) for judge, its in found.judges] == [("judge:j", 1, 1.0)]
    # who keeps says that the label is right; who drops says nothing of it
    by_label = report(store, "label", resamples=0)
    assert by_label.overall["label"].units == 2
    assert [(judge, its.same) for judge, its in by_label.judges] == [("judge:j", 0.0)]
    add(store, said(posts[0], "human:bob", "keep", 70, labels=SPAM))
    assert report(store, "label", resamples=0).overall["label"].same == 0.5
    # undo: what bob had said before stands again
    _, rows = undone(store, "bob")
    add(store, *rows)
    assert report(store, "label", resamples=0).overall["label"].same == 1.0


def test_pace_leaves_breaks_out_and_counts_an_act_once(workspace: Path) -> None:
    store, posts = Store(workspace), [post(number) for number in range(9)]
    add(store, *(example_row(one, AT) for one in posts))
    add(store, *(said(posts[at], "human:ann", "keep", second) for at, second in enumerate((0, 10, 20, 320, 340))))
    add(store, *decided([one.id for one in posts[5:]], "ann", Decision.DROP, at=AT + timedelta(seconds=350)))
    add(store, said(posts[0], "human:ann", "retract", 352), said(posts[0], "human:bob", "keep", 0))
    ann, bob = report(store, resamples=0).pace
    assert (ann.person, ann.acts, ann.timed, ann.active_s, ann.median_s) == ("ann", 6, 4, 50.0, 10.0)
    assert ann.per_minute == pytest.approx(4.8)
    assert (bob.acts, bob.per_minute, bob.median_s) == (1, None, None)
    assert report(store, resamples=0, idle_s=400).pace[0].active_s == 350


def test_noise_is_what_the_word_that_stands_changed_of_what_was_kept(workspace: Path) -> None:
    store, posts = Store(workspace), [post(number, **SPAM) for number in range(5)]
    origins = [
        Generated(completion="cp", position=0, prompt="pa" if at < 3 else "pb", provider="offline", model="offline")
        for at in range(5)
    ]
    add(store, *(example_row(one, AT) for one in posts), *(origin_row(one.id, its, AT) for one, its in zip(posts, origins, strict=True)))  # fmt: skip
    add(
        store,
        said(posts[0], "human:ann", "keep", 0, labels={"label": "allowed", "category": "none", "severity": 0}),
        said(posts[1], "human:ann", "keep", 1, labels={**SPAM, "category": "fraud"}),
        said(posts[2], "human:ann", "keep", 2), said(posts[2], "human:adjudicator:eve", "keep", 9, labels={**SPAM, "severity": 1}),
        said(posts[3], "human:ann", "keep", 3), said(posts[4], "human:ann", "drop", 4),
    )  # fmt: skip
    noise = report(store, resamples=0).noise
    assert [(row.checked, row.label, row.category, row.severity) for row in noise["all"]] == [(4, 1, 2, 2)]
    assert {row.value: (row.checked, row.label) for row in noise["prompt"]} == {"pa": (3, 1), "pb": (1, 0)}
    assert [row.value for row in noise["category"]] == ["spam"]


def test_the_command_prints_figures_json_and_what_is_missing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    def run(*words: str) -> tuple[int, str, str]:
        code = main("curate", "", COMMANDS, ["agreement", f"workspace={workspace}", *words])
        return code, *capsys.readouterr()

    store, posts = Store(workspace), [post(number) for number in range(4)]
    add(store, *(example_row(one, AT) for one in posts))
    code, _, err = run()
    assert code == 2
    assert "no person has decided" in err
    add(store, said(posts[0], "human:ann", "keep", 0))
    code, out, _ = run()
    assert code == 0
    assert "needs examples that two people decided on" in out
    for at, one in enumerate(posts):
        add(store, said(one, "human:ann", "keep", at), said(one, "human:bob", "drop" if at else "keep", at))
    code, out, _ = run("resamples=50")
    assert code == 0
    assert "at least two on 4, 3 of them differently" in " ".join(out.split())
    assert "ann and bob" in out
    code, out, _ = run("on=label", "--json", "resamples=50")
    assert json.loads(out)["overall"]["decision"]["units"] == 4
    code, _, err = run("language=ta")
    assert (code, "language=ta matches no example" in err) == (2, True)
