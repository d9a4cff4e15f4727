"""The measures of dialogue evaluation: hand-worked cases, a fixture of 50 turns with planted errors, and the page's worked examples."""

import ast
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from train.metrics.dialogue import Reading, as_syntod, by_intent, confusion, measure
from train.metrics.slots import exact_counts, same_value, token_scores, tokens

PAGE = Path(__file__).parent.parent / "docs/dialogue-evaluation.md"


def note(intent: str, **slots: Any) -> dict[str, Any]:
    return {"intent": intent, **slots}


def fixture() -> list[Reading]:
    """50 annotated turns in 10 dialogues of 5, with planted errors.

    Dialogue d has, in order: search (slot query), select (slot number), timer (slot minutes), next, bye. Planted:
    dialogues 0, 1: `next` is called `bye`; dialogue 2: `search` unreadable; dialogue 3: `timer` called `alarm`, which is no intent;
    dialogue 4: query half right ("spicy laksa" for "laksa soup"); dialogue 5: a made-up slot beside `bye`; dialogue 6: minutes 5.0 for 5
    (right), dialogue 7: minutes 6 for 5 (wrong), dialogue 8: select without its slot; dialogue 9: cites one wrong of two.
    """
    found = []
    for d in range(10):
        wanted = [
            note("search", query="laksa soup"), note("select", number=d), note("timer", minutes=5), note("next"), note("bye"),
        ]  # fmt: skip
        heard: list[dict[str, Any] | None] = [dict(one) for one in wanted]
        if d in (0, 1):
            heard[3] = note("bye")
        elif d == 2:
            heard[0] = None
        elif d == 3:
            heard[2] = note("alarm", minutes=5)
        elif d == 4:
            heard[0] = note("search", query="spicy laksa")
        elif d == 5:
            heard[4] = note("bye", mood="glad")
        elif d == 6:
            heard[2] = note("timer", minutes=5.0)
        elif d == 7:
            heard[2] = note("timer", minutes=6)
        elif d == 8:
            heard[1] = note("select")
        for at, (true, said) in enumerate(zip(wanted, heard, strict=True)):
            cites = frozenset({"r1", "r2"}) if at == 0 else frozenset()
            cited = frozenset({"r1", "r3"}) if at == 0 and d == 9 else cites
            found.append(Reading(f"d{d}", true, said, cites, cited, relevance=None if at else float(d % 3)))
    return found


def values(readings: list[Reading], **given: Any) -> dict[str, float | None]:
    return {name: one.value for name, one in measure(readings, resamples=0, **given).items()}


def test_the_fixture_gives_exactly_the_figures_worked_out_by_hand() -> None:
    found = values(fixture(), judged=True)
    assert len(fixture()) == 50
    # 46 of 50 intents right: two `next`, one unreadable, one `alarm`
    assert found["intent_accuracy"] == 46 / 50
    assert found["intent_recall_micro"] == 46 / 50
    assert found["intent_precision_micro"] == 46 / 49  # one note could not be read
    assert found["intent_f1_micro"] == pytest.approx(2 * 46 / (49 + 50))
    assert found["intent_accuracy_by_dialogue"] == pytest.approx((4 * 0.8 + 6 * 1.0) / 10)
    # precision: search 9/9, select 10/10, timer 9/9, next 8/8, bye 10/12; recall: 9/10, 1, 9/10, 8/10, 1
    assert found["intent_precision_macro"] == pytest.approx((1 + 1 + 1 + 1 + 10 / 12) / 5)
    assert found["intent_recall_macro"] == pytest.approx((0.9 + 1 + 0.9 + 0.8 + 1) / 5)
    f1s = [18 / 19, 1, 18 / 19, 16 / 18, 20 / 22]
    assert found["intent_f1_macro"] == pytest.approx(sum(f1s) / 5)
    # 30 turns with a slot: unreadable search 0, half-right query 1/2, minutes 6 for 5 0, missing number 0; the others 1
    assert found["slot_precision_token"] == pytest.approx(26.5 / 30)
    assert found["slot_recall_token"] == pytest.approx(26.5 / 30)
    assert found["slot_f1_token"] == pytest.approx(26.5 / 30)
    # same: 26 of 30 there; noted: 30 - 2 left out + 1 made up
    assert found["slot_precision_exact"] == 26 / 29
    assert found["slot_recall_exact"] == 26 / 30
    assert found["slot_f1_exact"] == pytest.approx(52 / 59)
    # notes wrong in intent or slots: dialogues 0, 1, 2, 3, 4, 5, 7, 8
    assert found["note_exact"] == 42 / 50
    assert (found["cite_precision"], found["cite_recall"], found["cite_f1"]) == (19 / 20, 19 / 20, 19 / 20)
    assert found["relevance"] == pytest.approx(sum(d % 3 for d in range(10)) / 10)


def test_intents_agree_with_scikit_learn() -> None:
    readings = fixture()
    true = [str(one.wanted["intent"]) for one in readings if one.wanted]
    said = ["NONE" if one.heard is None else str(one.heard["intent"]) for one in readings]
    found, labels = values(readings), sorted(set(true))
    options: dict[str, Any] = {"labels": labels, "average": "macro", "zero_division": 0}
    assert found["intent_precision_macro"] == pytest.approx(precision_score(true, said, **options))
    assert found["intent_recall_macro"] == pytest.approx(recall_score(true, said, **options))
    assert found["intent_f1_macro"] == pytest.approx(f1_score(true, said, **options))
    called = sorted((set(true) | set(said)) - {"NONE"})
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert found[f"intent_{name}_micro"] == pytest.approx(score(true, said, labels=called, average="micro"))


def test_syntods_own_averages() -> None:
    found = as_syntod(fixture())
    assert found["macro_intent_accuracy"] == pytest.approx(0.92)
    assert found["micro_intent_f1"] == 0.92
    # by called intent, over dialogues: bye is 1/2 in two dialogues of ten; NONE and alarm are wrong in their one
    precision = (1 + 1 + 1 + 1 + 0.9 + 0 + 0) / 7
    recall = (0.9 + 1 + 0.9 + 0.8 + 1) / 5
    assert found["macro_intent_precision"] == pytest.approx(precision)
    assert found["macro_intent_recall"] == pytest.approx(recall)
    assert found["macro_intent_f1"] == pytest.approx(2 * precision * recall / (precision + recall))
    assert found["micro_slot_tagging_f1"] == pytest.approx(26.5 / 30)
    assert found["macro_slot_tagging_recall"] == pytest.approx((8.5 / 10 + 9 / 10 + 9 / 10) / 3)
    assert as_syntod([]) == {}


def test_confusion_and_by_intent() -> None:
    table = confusion(fixture())
    assert table["next"] == {"bye": 2, "next": 8}
    assert table["search"] == {"(unreadable)": 1, "search": 9}
    assert table["timer"] == {"(other)": 1, "timer": 9}
    assert sum(sum(row.values()) for row in table.values()) == 50
    assert by_intent(fixture())["bye"] == {"turns": 10, "precision": 10 / 12, "recall": 1.0, "f1": 20 / 22}
    never = by_intent([Reading("d", note("a"), note("b")), Reading("d", note("b"), note("b"))])
    assert never["a"] == {"turns": 1, "precision": None, "recall": 0.0, "f1": 0.0}


@pytest.mark.parametrize(
    ("true", "noted", "same"),
    [
        ("Laksa", " laksa ", True), ("laksa", "laksas", False), (5, 5.0, True), (5, "5", True), (5, 5.0000001, True), (5, 5.1, False),
        (5, "five", False), (5, True, False), (True, True, True), (["a", "B"], ["b", "a"], True), (["a"], "a", True), (["a"], ["a", "b"], False),
        ([1, 2], [2.0, 1], True), ("5", 5, True), ("５", "5", True), ({"a": 1}, {"a": 1}, True), ("a", None, False),
    ],
)  # fmt: skip
def test_values_that_mean_the_same(true: object, noted: object, same: bool) -> None:
    assert same_value(true, noted) is same


def test_numbers_have_a_tolerance() -> None:
    assert not same_value(100, 101)
    assert same_value(100, 101, tolerance=0.01)
    assert values([Reading("d", note("a", n=100), note("a", n=101))], tolerance=0.02)["slot_f1_exact"] == 1


def test_tokens_are_words_or_characters() -> None:
    assert tokens("Vegan Laksa, spicy!") == ["vegan", "laksa", "spicy"]
    assert tokens("我要 spicy 叻沙") == ["我", "要", "spicy", "叻", "沙"]
    assert tokens("சமையல் குறிப்பு") == ["சமையல்", "குறிப்பு"]
    assert tokens("...") == []


def test_slots_by_tokens() -> None:
    assert token_scores(note("a", q="vegan laksa"), note("a", q="laksa")) == (1.0, 0.5, pytest.approx(2 / 3))
    assert token_scores(note("a", tags=["x", "y"]), note("a", tags=["y", "z", "w"])) == (
        pytest.approx(1 / 3),
        0.5,
        pytest.approx(0.4),
    )
    assert token_scores(note("a", q="x", n=1), note("b", q="x")) == (0.5, 0.5, 0.5)
    assert token_scores(note("a", q="x"), None) == (0.0, 0.0, 0.0)
    assert token_scores(note("a", q="x"), note("a", q=["x"])) == (0.0, 0.0, 0.0)  # a list is not a text
    assert exact_counts(note("a", q="x"), note("a", q="x", z=1)) == (1, 2, 1)
    assert exact_counts(note("a", q=None), note("a", q="")) == (0, 1, 0)


def test_what_cannot_be_measured_is_undefined_and_says_why() -> None:
    nothing = measure([Reading("d", cited=frozenset())], resamples=50)
    assert {one.value for one in nothing.values()} == {None}
    assert nothing["intent_accuracy"].undefined == "no turn has an intent"
    assert nothing["cite_f1"].undefined == "no turn cites"
    unread = measure([Reading("d", note("a", q="x"), None)], resamples=50, judged=True)
    assert unread["intent_accuracy"].value == 0
    assert unread["intent_precision_micro"].value is None
    assert unread["slot_precision_exact"].undefined == "no slot was noted"
    assert unread["relevance"].undefined == "the judge scored none"
    assert measure([], resamples=50)["relevance"].undefined == "no judge's scores given"


def test_unscored_answers_are_left_out_of_the_mean() -> None:
    scores = [2.0, None, None, 1.0]
    readings = [Reading(str(at), note("a"), note("a"), relevance=score) for at, score in enumerate(scores)]
    assert values(readings, judged=True)["relevance"] == 1.5


def test_intervals_resample_dialogues() -> None:
    """All turns of a dialogue right or all wrong: with 20 dialogues the interval is that of 20 coins, not of 200."""
    readings = [Reading(f"d{d}", note("a"), note("a" if d % 2 else "b")) for d in range(20) for _ in range(10)]
    one = measure(readings, resamples=2000)["intent_accuracy"]
    assert one.low is not None
    assert one.high is not None
    assert one.high - one.low == pytest.approx(2 * 1.96 * np.sqrt(0.25 / 20), abs=0.06)
    assert measure(readings, resamples=100, seed=3) == measure(readings, resamples=100, seed=3)


def test_the_pages_worked_examples_hold() -> None:
    """Each python block of the page runs, and what it prints is what the page says."""
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    space: dict[str, Any] = {}
    checked = 0
    for block in blocks:
        for statement in ast.parse(block).body:
            source = ast.get_source_segment(block, statement) or ""
            line = block.splitlines()[(statement.end_lineno or 1) - 1]
            if isinstance(statement, ast.Expr) and "#" in line:
                said = line.rpartition("#")[2].strip()
                found = eval(source, space)
                assert (f"{found:.3f}" if isinstance(found, float) else str(found)) == said, source
                checked += 1
            else:
                exec(source, space)
    assert checked >= 10
