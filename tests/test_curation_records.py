"""Records: ids that name content and nothing else, and rows that come back as what they were."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from curation.errors import did_you_mean
from curation.records import (
    EXAMPLE,
    ORIGIN,
    QA,
    Completion,
    Decision,
    Dialogue,
    Edited,
    Finish,
    Generated,
    Imported,
    Malformed,
    Message,
    Moderation,
    Preference,
    Request,
    Safety,
    Translated,
    Turn,
    Verdict,
    canonical_json,
    content_id,
    normalised,
)
from curation.store import Store
from curation.tables import (
    COMPLETION_COLUMNS,
    AnyExample,
    completion_from,
    completion_row,
    example_row,
    malformed_row,
    origin_row,
    request_row,
    text_hash,
    utc,
    verdict_row,
)

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
POST = Moderation(language="en", text="Rice is dear.", label="allowed")
ASKED = Request(
    prompt="general_ok", prompt_id="pr1_0", variables={"topic": "food", "per_request": 5},
    messages=(Message(role="user", content="Write."),), provider="offline", model="m", sampling={"seed": 0},
)  # fmt: skip
EVERY_TASK: list[AnyExample] = [
    POST,
    Dialogue(language="zh", turns=(Turn(role="user", content="你好"), Turn(role="assistant", content="你好!", cites=("s1",)))),
    Preference(language="ms", prompt="Tolong?", chosen="Baik.", rejected="Tidak."),
    Safety(language="ta", prompt="எப்படி?", response="இல்லை.", behaviour="refuse"),
    QA(language="en", question="Who?", answer="Me.", cites=("p. 3",)),
]  # fmt: skip

JSONS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)  # fmt: skip


# -- ids ---------------------------------------------------------------------------------------------------------


def test_ids_are_what_stores_out_there_hold() -> None:
    assert content_id("ex", {"b": 1, "a": "é"}) == "ex1_55d10f2d172a8eb703d0c9c2cdd6"
    assert POST.id == "ex1_843857389a92aed41d980e3c2a56"
    assert ASKED.id == "rq1_cf3c7fa00236edb7dc2b1a968322"


@given(JSONS, st.randoms())
def test_the_order_of_keys_does_not_change_an_id(value: Any, shuffle: Any) -> None:
    def reordered(value: Any) -> Any:
        if isinstance(value, dict):
            keys = list(value)
            shuffle.shuffle(keys)
            return {key: reordered(value[key]) for key in keys}
        return [reordered(one) for one in value] if isinstance(value, list) else value

    assert content_id("ex", value) == content_id("ex", reordered(value))


def test_kinds_have_ids_of_their_own() -> None:
    assert content_id("ex", 1)[4:] != content_id("rq", 1)[4:]


def test_a_field_at_its_default_leaves_the_id_as_it_is() -> None:
    assert POST.id == POST.model_copy(update={"severity": 0, "category": "none"}).id
    assert POST.id == EXAMPLE.validate_python({**POST.model_dump(), "images": ()}).id


@pytest.mark.parametrize(
    "change",
    [{"text": "Rice is dear!"}, {"language": "ms"}, {"label": "disallowed"}, {"severity": 1}, {"images": ("ab",)}, {"title": ""}],
)  # fmt: skip
def test_what_a_reader_or_learner_would_see_changes_an_examples_id(change: dict[str, Any]) -> None:
    assert EXAMPLE.validate_python({**POST.model_dump(), **change}).id != POST.id


def test_tasks_with_equal_fields_are_different_examples() -> None:
    assert len({example.id for example in EVERY_TASK}) == len(EVERY_TASK)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt_id": "pr1_1"}, {"variables": {}}, {"messages": ()}, {"provider": "x"}, {"model": "x"},
        {"sampling": {"seed": 1}}, {"slot": 1}, {"attempt": 1},
    ],
)  # fmt: skip
def test_what_can_change_an_answer_changes_a_requests_id(change: dict[str, Any]) -> None:
    assert Request(**{**ASKED.model_dump(), **change}).id != ASKED.id


def test_renaming_a_prompt_file_does_not_change_its_requests() -> None:
    assert Request(**{**ASKED.model_dump(), "prompt": "renamed"}).id == ASKED.id


def test_when_and_how_fast_an_answer_came_does_not_change_its_id() -> None:
    answer = Completion(request="rq1_0", text="hello", model="m", at=NOON)
    assert answer.id == Completion(request="rq1_0", text="hello", model="m", latency_s=9, cost_usd=1).id
    assert answer.id != Completion(request="rq1_0", text="hello", model="m", finish=Finish.LENGTH).id


# -- what a record refuses ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"text": ""}, {"label": "fine"}, {"severity": 4}, {"severity": -1}, {"category": "Hate"}, {"language": "english"},
        {"language": ""}, {"surface": "poster"}, {"txt": "x"}, {"task": "dialogue"}, {"text": "\ud83d"},
    ],
)  # fmt: skip
def test_an_impossible_example_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EXAMPLE.validate_python({**POST.model_dump(), **fields})


@pytest.mark.parametrize("language", ["en", "yue", "zh-Hant", "ms-MY"])
def test_language_tags_with_subtags_are_taken(language: str) -> None:
    assert Moderation(language=language, text="x", label="allowed").language == language


@pytest.mark.parametrize("by", ["alice", "human:", "robot:x@1", ""])
def test_a_verdict_says_what_kind_of_author_it_has(by: str) -> None:
    with pytest.raises(ValidationError):
        Verdict(example="ex1_0", by=by, decision=Decision.KEEP)


def test_records_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        POST.text = "other"


# -- text --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [("Rice  is\tDEAR ", "rice is dear"), ("ＡＢＣ", "abc"), ("ﬁne", "fine"), ("STRASSE", "straße"), ("a\n\nb", "a b")],
)
def test_texts_that_a_reader_would_call_the_same_have_one_hash(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)
    assert text_hash(one) == text_hash(other)


@pytest.mark.parametrize(("one", "other"), [("rice", "rise"), ("நான்", "நான"), ("a b", "ab"), ("don't", "dont")])
def test_other_texts_have_another(one: str, other: str) -> None:
    assert text_hash(one) != text_hash(other)


def test_content_is_all_the_text_there_is() -> None:
    listing = Moderation(language="en", surface="listing", title="Fan", text="Works.", caption="A fan", label="allowed")
    assert listing.content == "Fan\nWorks.\nA fan"
    assert [example.content for example in EVERY_TASK[1:]] == [
        "你好\n你好!",
        "Tolong?\nBaik.\nTidak.",
        "எப்படி?\nஇல்லை.",
        "Who?\nMe.",
    ]


# -- rows --------------------------------------------------------------------------------------------------------


def put(store: Store, *rows: tuple[str, Any]) -> None:
    with store.write() as connection:
        for table, row in rows:
            assert store.insert(connection, table, [row]) == 1


def test_every_task_comes_back_from_the_store(workspace: Path) -> None:
    store = Store(workspace)
    put(store, *(example_row(example, NOON) for example in EVERY_TASK))
    bodies = [row[0] for row in store.rows("SELECT body FROM examples")]
    assert {EXAMPLE.validate_json(body) for body in bodies} == set(EVERY_TASK)
    assert {EXAMPLE.validate_json(body).id for body in bodies} == {example.id for example in EVERY_TASK}
    labels = store.rows("SELECT label, category, severity FROM examples WHERE task = 'moderation'")
    assert labels == [("allowed", "none", 0)]


@pytest.mark.parametrize(
    "origin",
    [
        Generated(completion="cp1_0", position=2, prompt="p", axes={"topic": "food", "level": 3}, provider="offline", model="m"),
        Imported(path="a b.csv", row=7, sha256="0" * 64),
        Edited(parent="ex1_1", by="human:ann", why="a typo"),
        Translated(parent="ex1_1", translator="llm"),
    ],
    ids=lambda origin: origin.kind,
)  # fmt: skip
def test_every_origin_comes_back_from_the_store(workspace: Path, origin: Any) -> None:
    store = Store(workspace)
    put(store, example_row(POST, NOON), origin_row(POST.id, origin, NOON))
    kind, body = store.rows("SELECT kind, body FROM origins")[0]
    assert kind == origin.kind
    assert ORIGIN.validate_json(body) == origin


def test_an_answer_comes_back_from_the_store_to_the_microsecond(workspace: Path) -> None:
    store = Store(workspace)
    answer = Completion(
        request=ASKED.id, text='["\\u0000 \0 🍚"]', finish=Finish.LENGTH, input_tokens=1, output_tokens=2,
        cost_usd=None, latency_s=0.25, model="m-2026", raw={"id": "x", "nested": [1, None]},
    )  # fmt: skip
    put(store, request_row(ASKED, NOON), completion_row(answer, run="rn1_0", slot=3))
    back = completion_from(store.rows(f"SELECT {COMPLETION_COLUMNS} FROM completions")[0])
    assert back.id == answer.id
    assert utc(back.at) == utc(answer.at)
    assert back.model_copy(update={"at": answer.at}) == answer


@pytest.mark.parametrize("hours", [-11, 0, 8])
def test_the_store_keeps_universal_time(hours: int) -> None:
    assert utc(NOON.astimezone(timezone(timedelta(hours=hours)))) == datetime(2026, 11, 21, 12)


@pytest.mark.parametrize(
    ("by", "author", "version"),
    [
        ("check:language@2", "check:language", "2"),
        ("judge:strict@1", "judge:strict", "1"),
        ("human:ann", "human:ann", ""),
        ("human:ann@example.com", "human:ann@example.com", ""),
    ],
)
def test_authors_are_told_from_versions(by: str, author: str, version: str) -> None:
    row = verdict_row(Verdict(example="ex1_0", by=by, decision=Decision.KEEP))[1]
    assert row[2:4] == (author, version)


def test_a_person_who_says_the_same_twice_has_said_it_twice_and_a_replayed_check_once() -> None:
    first, later = (
        Verdict(example="ex1_0", by="check:x@1", decision=Decision.FLAG, at=at) for at in (NOON, NOON + timedelta(1))
    )
    assert verdict_row(first)[1][0] != verdict_row(later)[1][0]
    assert verdict_row(first, once=True)[1][0] == verdict_row(later, once=True)[1][0]
    other = first.model_copy(update={"by": "check:x@2"})
    assert verdict_row(first, once=True)[1][0] != verdict_row(other, once=True)[1][0]


def test_malformed_items_of_one_answer_are_told_apart() -> None:
    rows = [malformed_row(Malformed(completion="cp1_0", position=at, reason="r"))[1] for at in (None, 0, 1, 0)]
    assert len({row[0] for row in rows}) == 3


@given(JSONS)
def test_canonical_json_is_one_line_that_reads_back(value: Any) -> None:
    import json

    text = canonical_json(value)
    assert "\n" not in text
    assert json.loads(text) == value


# -- hints -------------------------------------------------------------------------------------------------------


def test_did_you_mean() -> None:
    assert did_you_mean("langauge", ["language", "label"]) == " Did you mean 'language'?"
    assert did_you_mean("zzz", ["b", "a"]) == " Known: a, b."
    assert did_you_mean("zzz", map(str, range(20))).endswith(", ...")
    assert did_you_mean("zzz", []) == ""
