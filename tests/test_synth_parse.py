"""Reading answers: what models really send, cut anywhere, and text nobody foresaw."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth import parse

ONE, TWO = {"text": "one"}, {"text": "two"}
TEXT = ("text",)


def texts(answer: str, *fields: str) -> list[str]:
    return [item[(fields or TEXT)[0]] for _, item in parse.items(answer, fields or TEXT).items]


def reasons(answer: str, *fields: str) -> list[str]:
    return [reason for _, reason in parse.items(answer, fields or TEXT).malformed]


@pytest.mark.parametrize(
    "answer",
    [
        '[{"text": "one"}, {"text": "two"}]',
        '\ufeff [\n  {"text":"one"},\n  {"text":"two"}\n]\n',
        '```json\n[{"text": "one"}, {"text": "two"}]\n```',
        '```\n[{"text": "one"}, {"text": "two"}]',
        'Sure! Here are 2 posts:\n\n[{"text": "one"}, {"text": "two"}]\n\nLet me know {if} you [want] more.',
        'As asked [1], in the style of [2]: [{"text": "one"}, {"text": "two"}]',
        '[1] [{"text": "one"}, {"text": "two"}]',
        'Posts [as requested]: [{"text": "one"}, {"text": "two"}]',
        '{"posts": [{"text": "one"}, {"text": "two"}]}',
        '{"count": 2, "posts": [{"text": "one"}, {"text": "two"}], "tags": []}',
        '{"text": "one"}\n{"text": "two"}',
        '{"text": "one"}, {"text": "two"}',
        '[{"text": "one"} {"text": "two"}]',
        '[{"text": "one"}, {"text": "two"},]',
        '["one", "two"]',
        '{"items": ["one", "two"]}',
        '[{"text": " one "}, {"text": "two", "note": [1, {"x": null}]}]',
    ],
)
def test_what_models_send_instead_of_the_plain_list_is_read(answer: str) -> None:
    parsed = parse.items(answer, TEXT)
    assert parsed.items == [(0, ONE), (1, TWO)]
    assert parsed.malformed == []


def test_line_breaks_numbers_and_other_scripts_are_kept() -> None:
    assert texts('[{"text": "a\nb\\n\\tc"}, {"text": 5}, {"text": 1.50}, {"text": "\\u98df\\ud83c\\udf5a"}]') == [
        "a\nb\n\tc",
        "5",
        "1.5",
        "食🍚",
    ]


def test_several_fields_and_only_those() -> None:
    parsed = parse.items('[{"title": "Fan", "text": "Works.", "price": "$5"}]', ("title", "text"))
    assert parsed.items == [(0, {"title": "Fan", "text": "Works."})]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "empty answer"),
        (" \n ", "empty answer"),
        ("I'm sorry, but I can't help with that.", "no JSON in the answer"),
        ("[]", "the list is empty"),
        ('{"posts": []}', "the list is empty"),
        ('[{"txt": "one"}]', "item lacks field 'text'"),
        ("[{}]", "item lacks field 'text'"),
        ('[{"text": ""}]', "field 'text' is empty"),
        ('[{"text": "  "}]', "field 'text' is empty"),
        ('[{"text": null}]', "field 'text' is a NoneType, not a text"),
        ('[{"text": ["a"]}]', "field 'text' is a list, not a text"),
        ('[{"text": true}]', "field 'text' is a bool, not a text"),
        ("[1]", "item is a int, not an object"),
        ("[null]", "item is a NoneType, not an object"),
        ('{"text": "one', "broken JSON at character 9: Unterminated string"),
        ("{nonsense}", "broken JSON at character 1: "),
        ('["a', "broken JSON at character 1: Unterminated string"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(answer: str, said: str) -> None:
    parsed = parse.items(answer, TEXT)
    assert parsed.items == []
    assert len(parsed.malformed) == 1
    assert parsed.malformed[0][1].startswith(said)


def test_bad_items_do_not_spoil_the_good_ones_and_keep_their_places() -> None:
    parsed = parse.items('[{"text": "one"}, 7, {"text": null}, null, {"text": "two"}]', TEXT)
    assert parsed.items == [(0, ONE), (4, TWO)]
    assert [place for place, _ in parsed.malformed] == [1, 2, 3]


def test_a_text_alone_is_no_item_where_two_fields_are_wanted() -> None:
    assert reasons('["one"]', "title", "text") == ["item is a str, not an object"]


def test_tags_are_not_taken_for_posts() -> None:
    assert texts('{"body": "one", "tags": ["a", "b"]}') == []


@pytest.mark.parametrize("unit", ["[", "{", '{"a":', "[[", "[{", "{[", "]", "}"])
def test_deep_nesting_is_malformed(unit: str) -> None:
    parsed = parse.items(unit * 50_000, TEXT)
    assert not parsed.items
    assert parsed.malformed


def test_a_number_that_is_too_long_is_malformed() -> None:
    assert reasons('[{"text": ' + "1" * 5000 + "}]")[0].startswith("broken JSON at character 1: ")


# -- cut off -----------------------------------------------------------------------------------------------------

TRICKY = [
    'a "quoted" {brace} [bracket]',
    "back\\slash\\",
    "line\nbreak",
    "食物 🍚 é",
    "}{][,:",
    "x",
    '\\"}]',
    "{1..3}, [{",
]


@pytest.mark.parametrize("ascii_only", [True, False])
@pytest.mark.parametrize("around", ["{}", "```json\n{}\n```", "Here you are:\n{}", '{{"posts": {}}}'])
@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("plain", [True, False])
def test_a_list_cut_at_any_place_gives_exactly_its_whole_items(
    around: str, indent: int | None, ascii_only: bool, plain: bool
) -> None:
    items: list[Any] = list(TRICKY) if plain else [{"text": text, "more": text} for text in TRICKY]
    listed = json.dumps(items, ensure_ascii=ascii_only, indent=indent)
    ends, place = [], 0
    for item in items:
        written = json.dumps(item, ensure_ascii=ascii_only, indent=indent)
        if indent and not plain:
            written = written.replace("\n", "\n  ")
        place = listed.index(written, place) + len(written)
        ends.append(place)
    start = around.replace("{{", "{").index("{}")
    whole = around.format(listed)
    start = whole.index(listed)
    for cut in range(len(whole) + 1):
        count = sum(start + end <= cut for end in ends)
        parsed = parse.items(whole[:cut], TEXT)
        assert [item["text"] for _, item in parsed.items] == TRICKY[:count], whole[:cut]
        complete = cut >= start + len(listed)
        assert complete or parsed.malformed, "the cut is not reported"
        if cut == len(whole):
            assert not parsed.malformed


# -- any text ----------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text", "title", "x"]), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@settings(max_examples=600, deadline=None)
@given(
    st.text(max_size=60) | st.text('[]{}",:\\ntextu 01-.e\n`', max_size=60) | st.builds(json.dumps, VALUES),
    st.sampled_from([("text",), ("title", "text")]),
)
def test_no_text_makes_it_fail_and_none_is_passed_over_in_silence(answer: str, fields: tuple[str, ...]) -> None:
    parsed = parse.items(answer, fields)
    assert parsed.items or parsed.malformed
    for _, item in parsed.items:
        assert set(item) == set(fields)
        assert all(isinstance(text, str) and text for text in item.values())
    places = [place for place, _ in parsed.items]
    assert places == sorted(set(places))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=6), st.booleans())
def test_what_was_asked_for_is_read_whole(posts: list[str], ascii_only: bool) -> None:
    answer = json.dumps([{"text": post} for post in posts], ensure_ascii=ascii_only)
    parsed = parse.items(answer, TEXT)
    assert [item["text"] for _, item in parsed.items] == [post.strip() for post in posts]
    assert not parsed.malformed
