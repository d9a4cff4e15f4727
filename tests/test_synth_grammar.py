"""Offline grammars: what they draw, and what they refuse to be."""

import re
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.errors import InputError
from synth.grammar import Grammar

AXES: dict[str, list[str | int]] = {"topic": ["food", "school", "bus"], "severity": [1, 2, 3]}
CELL: dict[str, str | int] = {"topic": "food", "severity": 2}


def drawn(source: dict[str, Any], count: int = 1, seed: str = "s", **cell: str | int) -> list[dict[str, str]]:
    return Grammar(source, AXES).items(seed, {**CELL, **cell}, count)


def texts(
    text: str, rules: dict[str, Any] | None = None, count: int = 1, seed: str = "s", **cell: str | int
) -> list[str]:
    return [item["text"] for item in drawn({"item": {"text": text}, **(rules or {})}, count, seed, **cell)]


# -- drawing -----------------------------------------------------------------------------------------------------


def test_plain_text_axis_values_and_braces() -> None:
    assert texts("On {topic} at level {severity}: {{x}} 50% {{}}") == ["On food at level 2: {x} 50% {}"]


def test_rules_are_expanded_inside_rules() -> None:
    assert texts("{a}!", {"a": ["<{b}>"], "b": "{c}{c}", "c": ["x"]}) == ["<xx>!"]


def test_numbers_of_a_range_are_all_drawn_and_no_others() -> None:
    found = {int(text) for text in texts("{-2..3}", count=300)}
    assert found == {-2, -1, 0, 1, 2, 3}
    assert set(texts("{7..7}", count=5)) == {"7"}


def test_small_choices_are_all_drawn_and_may_be_empty() -> None:
    assert set(texts("{a|b c|}", count=100)) == {"a", "b c", ""}


def test_a_capital_is_put_first() -> None:
    assert texts("{^a} {^topic} {^e}", {"a": "émile", "e": [""]}) == ["Émile Food"]


def test_empty_alternatives_leave_no_gaps() -> None:
    assert texts("  {e} one  {e}  two {e}\n{e} three {e} ", {"e": [""]}) == ["one two\n three"]


def test_a_rule_uses_all_its_alternatives_before_one_comes_again() -> None:
    for seed in "abcdef":
        found = texts("{a}", {"a": list("1234567")}, count=14, seed=seed)
        assert set(found[:7]) == set(found[7:]) == set("1234567")
        assert Counter(texts("{a}{a}", {"a": list("1234")}, count=2, seed=seed)[0]).most_common(1)[0][1] == 1


def test_a_switch_follows_the_axis() -> None:
    rules = {"a": {"food": ["rice"], "school": {1: "easy", 2: "so so", 3: "hard"}, "_": ["other"]}}
    assert texts("{a}", rules, topic="food") == ["rice"]
    assert texts("{a}", rules, topic="school", severity=3) == ["hard"]
    assert texts("{a}", rules, topic="bus") == ["other"]


def test_a_name_in_capitals_is_drawn_once_for_each_item() -> None:
    source = {
        "item": {"title": "{THING.name} {^THING}", "text": "{THING.name} costs {THING.price}, yes {THING.price}"},
        "THING": [{"name": f"fan {number}", "price": f"${number}.{{10..99}}"} for number in range(6)],
    }
    for item in drawn(source, count=30):
        match = re.fullmatch(r"(fan (\d)) costs (\$\2\.\d\d), yes \3", item["text"])
        assert match
        assert item["title"] == f"{match[1]} {match[1].capitalize()}"
    assert len({item["text"] for item in drawn(source, count=6)}) == 6


def test_a_name_in_small_letters_is_drawn_each_time() -> None:
    assert {tuple(text) for text in texts("{a}{a}", {"a": ["x", "y"]}, count=9)} <= {("x", "y"), ("y", "x")}


def test_the_same_seed_draws_the_same_and_another_draws_another() -> None:
    rules = {"a": [str(number) for number in range(50)]}
    assert texts("{a} {1..1000}", rules, 5, "s") == texts("{a} {1..1000}", rules, 5, "s")
    assert texts("{a} {1..1000}", rules, 5, "s") != texts("{a} {1..1000}", rules, 5, "t")


def test_numbers_in_yaml_are_texts() -> None:
    assert texts("{a}", {"a": [5]}) == ["5"]
    assert texts("{a}", {"a": [1.5]}) == ["1.5"]


# -- refusing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ({}, "item: a grammar starts with `item:`"),
        ({"item": "text"}, "item: a grammar starts with `item:`"),
        ({"item": {}}, "item: a grammar starts with `item:`"),
        ({"item": {"text": ["a"]}}, "item.text: expected a text, got list"),
        ({"item": {"text": None}}, "item.text: expected a text, got NoneType"),
        ({"item": {"text": True}}, "item.text: expected a text, got bool (quote it?)"),
        ({"item": {"text": "{a"}}, "item.text: lone '{'; write '{{' for a plain brace"),
        ({"item": {"text": "a}"}}, "item.text: lone '}'; write '}}' for a plain brace"),
        ({"item": {"text": "{}"}}, "item.text: cannot read {}; a rule name, a..b or one|other was expected"),
        ({"item": {"text": "{a b}"}}, "item.text: cannot read {a b}"),
        ({"item": {"text": "{9..3}"}}, "item.text: empty range {9..3}"),
        ({"item": {"text": "{topc}"}}, "item.text: no rule 'topc'. Did you mean 'topic'?"),
        ({"item": {"text": "{a}"}, "a": ["{b}"]}, "a[0]: no rule 'b'."),
        ({"item": {"text": "x"}, "a": ["y"]}, "a: rule is never used"),
        ({"item": {"text": "x"}, "a": ["{b}"], "b": ["y"]}, "a: rule is never used"),
        ({"item": {"text": "{a}"}, "a": ["{a}"]}, "a: rule refers to itself: "),
        ({"item": {"text": "{a}"}, "a": ["{b}"], "b": ["x", "{c}"], "c": ["{a}"]}, "rule refers to itself: "),
        ({"item": {"text": "{a}"}, "a": []}, "a: give a list of alternatives, or a mapping from axis values to lists"),
        ({"item": {"text": "{a}"}, "a": None}, "a: give a list of alternatives"),
        ({"item": {"text": "{a}"}, "a": [["x"]]}, "a[0]: expected a text, got list"),
        ({"item": {"text": "{a}"}, "a": ["x", None]}, "a[1]: expected a text, got NoneType"),
        ({"item": {"text": "{a}"}, "a": ["x", {}]}, "a[1]: a record needs a field"),
        ({"item": {"text": "{a}"}, "a": {"fod": ["x"], "_": ["y"]}}, "a: 'fod' is not a value of any one axis. Did you mean 'food'?"),
        ({"item": {"text": "{a}"}, "a": {"food": ["x"], 1: ["y"]}}, "is not a value of any one axis"),
        ({"item": {"text": "{a}"}, "a": {"food": ["x"], "bus": ["y"]}}, "a: axis 'topic' has no case for 'school'; add it, or `_`"),
        ({"item": {"text": "{a}"}, "a": {"food": [], "_": ["y"]}}, "a.food: give a list of alternatives"),
        ({"item": {"text": "{a}"}, "a": {"food": ["{"], "_": ["y"]}}, "a.food[0]: lone '{'"),
        ({"item": {"text": "{A.size}"}, "A": [{"size": "x"}, {"name": "y"}]}, "rule 'A' has an alternative without field 'size'"),
        ({"item": {"text": "{A.size}"}, "A": ["x"]}, "rule 'A' has an alternative without field 'size'"),
        ({"item": {"text": "{topic.x}"}}, "rule 'topic' has an alternative without field 'x'"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_named_with_its_place(source: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        Grammar(source, AXES)
    assert said in str(caught.value)


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.text("ab{}|.^ 19_", max_size=9)
    | st.sampled_from(["{a}", "{b}", "{A.x}"])
)
BODIES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["food", "school", "bus", "_", "x", "1"]), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["item", "a", "b", "A"]), BODIES, max_size=4),
    st.sampled_from(["{a}", "{b} {A}", "x", "{A.x}{a}", "{1..3}{topic}"]),
)
def test_whatever_a_grammar_is_it_draws_or_says_why_not(source: dict[str, Any], text: str) -> None:
    try:
        grammar = Grammar({**source, "item": {"text": text}}, AXES)
    except InputError:
        return
    for topic in AXES["topic"]:
        for item in grammar.items("s", {"topic": topic, "severity": 1}, 3):
            assert isinstance(item["text"], str)
