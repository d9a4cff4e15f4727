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
        "[{'text': 'one'}, {'text': 'two'}]",
        "['one', 'two']",
        "{'posts': [{'text': 'one'}, {'text': 'two'},],}",
        '[{"text": "one",}, {"text": "two", "note": null,},]',
        "[{“text”: “one”}, {“text”: “two”}]",
        "[{‘text’: ‘one’}, {‘text’: ‘two’}]",
        "[{text: 'one', safe: True, score: None}, {text: \"two\", safe: False, x: NaN}]",
        '[ // two posts\n {"text": "one"}, /* and */ {"text": "two"} # done\n]',
        '[{"text": /* first */ "one"}, # second:\n {"text": "two"}]',
        '1. {"text": "one"}\n2. {"text": "two"}',
        '- {"text": "one"}\n- {"text": "two"}',
        '**Post 1:** {"text": "one"}\n\n**Post 2:**\n{"text": "two"}',
        '## 1\n```json\n{"text": "one"}\n```\n## 2\n```json\n{"text": "two"}\n```',
        '{"text": "one"}\n{"text": "two"}\n\nDo you like {them}?',
        json.dumps(json.dumps([ONE, TWO])),
        json.dumps(json.dumps([ONE, TWO], indent=2)),
        "```json\n" + json.dumps([ONE, TWO]).replace('"', '\\"') + "\n```",
        '{"items": [{"text": "one"}, {"text": "two"}]}',
        'Posts on {topic} for [school], as {topic: x}: [{"text": "one"}, {"text": "two"}]',
        'For {name}: {"text": "one"}, {"text": "two"}',
        '<think>A draft: [{"text": "draft"}]</think>[{"text": "one"}, {"text": "two"}]',
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


def test_the_words_of_a_text_are_never_touched() -> None:
    assert texts("[{'text': 'It\\'s the dogs\\' \\\\ \"bowl\", don't you think'}]") == [
        """It's the dogs' \\ "bowl", don't you think"""
    ]
    assert texts("""[{"text": "it's", }, {"text": "他说“好”。", }, {"text": "C:\\\\dir", }]""") == [
        "it's",
        "他说“好”。",
        "C:\\dir",
    ]
    assert texts("[{“text”: “他说“好”，走了”}, {“text”: “He said “no”, and left”}]") == [
        "他说“好”，走了",
        "He said “no”, and left",
    ]
    assert texts("[{'text': '\\U0001F35A\\ud83c\\udf5a\\x41\\d// # /*'}]") == ["🍚🍚A\\d// # /*"]
    assert texts('[{"text": "half \\ud83c!"}, {"text": "\\udf5a", }]') == ["half \ufffd!", "\ufffd"]
    assert texts('[{"text": "It\\\'s"}]') == ["It's"]


def test_a_text_that_holds_json_gives_no_items() -> None:
    for answer in (
        """[{"text": "say [{'text': 'x'}] please""",
        """{"text": "say [{'text': 'x'}] please""",
        """{'text': 'say {"text": "x"} please""",
        """["say {'text': 'x'} please""",
        """[{"text": "say "hi" [{'text': 'x'}]"}]""",
        """{"tags": ["a", "b"], "te""",
        """{"text": "one", "tags": ["a", "b""",
    ):
        assert texts(answer) == [], answer


def test_a_cut_object_around_the_list_gives_the_whole_items_of_the_list() -> None:
    for cut in (
        "{'count': 2, 'posts': [{'text': 'one'}, {'te",
        "{'posts': [{'text': 'one'}], 'mo",
        "{posts: [{text: 'one'}, ",
    ):
        parsed = parse.items(cut, TEXT)
        assert parsed.items == [(0, ONE)]
        assert [parse.reason_of(why) for _, why in parsed.malformed] == [parse.Reason.CUT_OFF]


def test_several_fields_and_only_those() -> None:
    parsed = parse.items('[{"title": "Fan", "text": "Works.", "price": "$5"}]', ("title", "text"))
    assert parsed.items == [(0, {"title": "Fan", "text": "Works."})]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("", "empty answer"),
        (" \n ", "empty answer"),
        ("<think>I could write [{'text': 'a draft'}]", "empty answer"),
        ("I'm sorry, but I can't help with that.", "no JSON in the answer"),
        ("[]", "the list is empty"),
        ('{"posts": []}', "the list is empty"),
        ('[{"txt": "one"}]', "item lacks a field: 'text'"),
        ("[{}]", "item lacks a field: 'text'"),
        ('[{"text": ""}]', "field is empty: 'text'"),
        ('[{"text": "  "}]', "field is empty: 'text'"),
        ('[{"text": null}]', "field is not a text: 'text' is null"),
        ('[{"text": ["a"]}]', "field is not a text: 'text' is a list"),
        ('[{"text": true}]', "field is not a text: 'text' is true or false"),
        ('[{"text": NaN}]', "field is not a text: 'text' is no number"),
        ("[1]", "item is not an object: it is a number"),
        ("[null]", "item is not an object: it is null"),
        ('{"text": "one', "broken JSON, cut off: a text is not closed, at character 9"),
        ('["a', "broken JSON, cut off: a text is not closed, at character 1"),
        ("['a'", "broken JSON, cut off: a text is not closed, at character 1"),
        ('{"text": "one"', "broken JSON, cut off: it is not closed, at character 14"),
        ("{nonsense}", "broken JSON: a colon is missing, at character 9"),
        ('[{"text": "He said "hi" to me"}]', "broken JSON: a quotation mark within a text has no backslash, at character 19"),
        ('["He said "hi" to me", "two"]', "broken JSON: a quotation mark within a text has no backslash, at character 10"),
        ('[{“text”: “a “b ”, “x”: “c”}]', "broken JSON: which quotation mark closes a text is not clear"),
        ("[{'text': '\\uD8", "broken JSON, cut off"),
        ("[{'text': '\\uXYZW'}]", "broken JSON: \\uXYZW is no character"),
        ("[{'text': 'a', 'text': 'b'}]", "broken JSON: the key 'text' is there twice"),
        ("[{'text': 007}]", "broken JSON: no value starts here"),
        ("[{'a': " * 60 + "1", "broken JSON: it is nested too deep"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_says_why(answer: str, said: str) -> None:
    parsed = parse.items(answer, TEXT)
    assert parsed.items == []
    assert len(parsed.malformed) == 1
    assert parsed.malformed[0][1].startswith(said)
    assert parse.reason_of(parsed.malformed[0][1]) == said.partition(":")[0]


def test_bad_items_do_not_spoil_the_good_ones_and_keep_their_places() -> None:
    parsed = parse.items('[{"text": "one"}, 7, {"text": null}, null, {"text": "two"}]', TEXT)
    assert parsed.items == [(0, ONE), (4, TWO)]
    assert [place for place, _ in parsed.malformed] == [1, 2, 3]


def test_a_text_alone_is_no_item_where_two_fields_are_wanted() -> None:
    assert reasons('["one"]', "title", "text") == ["item is not an object: it is a text"]


def test_tags_are_not_taken_for_posts() -> None:
    assert texts('{"body": "one", "tags": ["a", "b"]}') == []


@pytest.mark.parametrize("unit", ["[", "{", '{"a":', "[[", "[{", "{[", "]", "}"])
def test_deep_nesting_is_malformed(unit: str) -> None:
    parsed = parse.items(unit * 50_000, TEXT)
    assert not parsed.items
    assert parsed.malformed


def test_a_number_that_is_too_long_is_malformed() -> None:
    assert reasons('[{"text": ' + "1" * 5000 + "}]") == ["broken JSON: no value starts here, at character 10"]


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


# -- any dialect, cut anywhere -----------------------------------------------------------------------------------


def smart(item: dict[str, str]) -> str:
    return "{" + ", ".join(f"“{name}”: “{value}”" for name, value in item.items()) + "}"


def escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("'", "\\'")


DIALECTS = {
    "python": repr,
    "unquoted keys": lambda items: "[" + ",".join("{" + "".join(f"{k}: {json.dumps(v)}, " for k, v in i.items()) + "}" for i in items) + ",]",
    "comments": lambda items: "[ // posts\n" + ", # next\n".join("{" + ",".join(f"'{k}' /* : */: {json.dumps(v)}" for k, v in i.items()) + "}" for i in items) + "\n]",
    "single quotes": lambda items: "[" + ", ".join("{" + ", ".join(f"'{k}': '{escaped(v)[1:-1]}'" for k, v in i.items()) + "}" for i in items) + "]",
    "lines": lambda items: "\n".join(json.dumps(i) for i in items),
    "numbered": lambda items: "\n".join(f"{n}. {i!r}" for n, i in enumerate(items, 1)),
    "fences": lambda items: "\n".join(f"```json\n{json.dumps(i)}\n```" for i in items),
    "wrapper": lambda items: repr({"posts": items}),
    "schema": lambda items: json.dumps({"items": items}, ensure_ascii=False),
    "text": lambda items: json.dumps(json.dumps(items, ensure_ascii=False)),
    "backslashes": lambda items: json.dumps(json.dumps(items))[1:-1],
    "smart": lambda items: "[" + ", ".join(map(smart, items)) + "]",
}  # fmt: skip
UNSAID = {"smart": set("“”\\")}  # what a dialect has no way to write


WORDS = st.text("ab'\"{}[]:,\\\n“”‘’#/*· 食物🍚é\ud83c\udf5a0u", min_size=1, max_size=14) | st.sampled_from(
    ["don't", "[{'text': 'x'}]", '{"text": "x"}', "a', 'b", '", "', "}]", "\\", "\\'", "1. {", "```", "//", "None"]
)


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_a_list_in_any_dialect_cut_anywhere_gives_whole_items_from_its_beginning(
    dialect: str, data: st.DataObject
) -> None:
    unsaid = UNSAID.get(dialect, set())
    word = WORDS.filter(lambda text: text.strip() and not unsaid & set(text))
    listed = data.draw(st.lists(st.fixed_dictionaries({"text": word, "note": word}), min_size=1, max_size=4))
    answer = data.draw(st.sampled_from(["", "Here {you} are [all]:\n", "```\n"])) + DIALECTS[dialect](listed)
    wanted = [item["text"].encode("utf-16", "surrogatepass").decode("utf-16", "replace").strip() for item in listed]
    if dialect != "smart":  # a text with quotation marks of its own cannot always be told
        parsed = parse.items(answer, TEXT)
        assert [item["text"] for _, item in parsed.items] == wanted
        assert not parsed.malformed
    for cut in range(len(answer)):
        found = texts(answer[:cut])
        assert found == wanted[: len(found)], answer[:cut]
