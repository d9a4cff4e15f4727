"""Library files: where they are looked for, what shadows what, and YAML that means what it looks like."""

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yaml import YAMLError

from curation.errors import InputError, NotFound
from curation.library import Entry, entries, find, parse_yaml, read_yaml


def made(*paths: str) -> None:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text("a: 1\n")


def at(path: str) -> Path:
    return Path(path).resolve()


# -- finding -----------------------------------------------------------------------------------------------------


def test_files_are_found_at_any_depth_in_the_order_of_their_names(workspace: Path) -> None:
    made("one/b.yaml", "one/deep/er/a.yaml", "one/c.yml", "one/d.txt")
    assert list(entries([Path("one")])) == ["a", "b"]
    assert entries([Path("one")])["a"] == Entry("a", at("one/deep/er/a.yaml"))


def test_an_earlier_folder_shadows_a_later_one_and_says_so(workspace: Path) -> None:
    made("mine/a.yaml", "builtin/a.yaml", "builtin/b.yaml")
    found = entries([Path("mine"), Path("builtin")])
    assert found["a"] == Entry("a", at("mine/a.yaml"), shadows=at("builtin/a.yaml"))
    assert found["b"].shadows is None
    assert find("a", [Path("mine"), Path("builtin")], kind="prompt").path == at("mine/a.yaml")


def test_one_folder_named_twice_shadows_nothing(workspace: Path) -> None:
    made("mine/a.yaml")
    assert entries([Path("mine"), Path("mine/../mine")])["a"].shadows is None


def test_two_files_of_one_name_in_one_folder_are_refused(workspace: Path) -> None:
    made("one/a.yaml", "one/deep/a.yaml")
    with pytest.raises(InputError, match=r"the name 'a' is taken by .*a\.yaml; rename one of them"):
        entries([Path("one")])


def test_folders_of_other_kinds_are_passed_over(workspace: Path) -> None:
    made("one/a.yaml", "one/suites/all.yaml", "one/dialogue/talk.yaml", "one/x/suites/all.yaml")
    assert list(entries([Path("one")])) == ["a"]
    assert list(entries([Path("one/suites")])) == ["all"]


def test_a_path_stands_for_its_file(workspace: Path) -> None:
    made("here/x.yaml", "lib/y.yaml")
    assert find("here/x.yaml", [Path("lib")], kind="prompt") == Entry("x", Path("here/x.yaml"))
    with pytest.raises(NotFound, match=r"prompt 'here/z\.yaml': no such file"):
        find("here/z.yaml", [Path("lib")], kind="prompt")


def test_an_unknown_name_gets_the_nearest_or_all(workspace: Path) -> None:
    made("lib/general_ok.yaml", "lib/meme_ok.yaml")
    with pytest.raises(NotFound, match=r"no suite 'genral_ok' in lib\. Did you mean 'general_ok'\?"):
        find("genral_ok", [Path("lib")], kind="suite")
    with pytest.raises(NotFound, match=r"Known: general_ok, meme_ok\."):
        find("zzz", [Path("lib")], kind="prompt")
    with pytest.raises(NotFound):
        find("", [Path("lib")], kind="prompt")


# -- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("[yes, No, on, OFF, y, n]", ["yes", "No", "on", "OFF", "y", "n"]), ("[true, false]", [True, False]),
        ("True", "True"), ("5", 5), ("-3", -3), ("+4", 4), ("0", 0), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("2.5e-3", 0.0025),
        ("018956", "018956"), ("007", "007"), ("0x1F", "0x1F"), ("1_000", "1_000"), ("7:30", "7:30"), ("190:20:30", "190:20:30"),
        ("2026-11-21", "2026-11-21"), ("2026-11-21 10:00:00", "2026-11-21 10:00:00"), ("1.2.3", "1.2.3"), ("1e", "1e"),
        (".inf", ".inf"), ("=", "="), ("<<", "<<"), ("~", None), ("null", None), ("", None), ("'5'", "5"), ("$35", "$35"),
    ],
)  # fmt: skip
def test_a_plain_word_means_what_it_looks_like(text: str, value: Any) -> None:
    read = parse_yaml(text)
    assert read == value
    assert type(read) is type(value)


def test_a_mapping_is_read_with_its_unicode(workspace: Path) -> None:
    Path("a.yaml").write_text("topic: [食物, சாப்பாடு]\nemoji: 🍚\n", encoding="utf-8")
    assert read_yaml(Path("a.yaml")) == {"topic": ["食物", "சாப்பாடு"], "emoji": "🍚"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: [1, 2\nc: 3\n", r"a\.yaml:\d:\d+: broken YAML: "),
        (b"a: 1\n\tb: 2\n", r"a\.yaml:2:\d: broken YAML: .*; indent with spaces, YAML allows no tabs"),
        (b"a: 1\nb: 2\na: 3\n", r"a\.yaml:3:1: broken YAML: duplicate key 'a'"),
        (b"x:\n  a: 1\n  a: 3\n", r"a\.yaml:3:3: broken YAML: duplicate key 'a'"),
        (b"? [1, 2]\n: 3\n", r"a\.yaml:1:3: broken YAML: a key must be a word"),
        (b"a: !!python/object/apply:os.system [ls]\n", r"a\.yaml:1:4: broken YAML: could not determine a constructor"),
        (b"a: *b\n", r"a\.yaml:1:4: broken YAML: found undefined alias"),
        (b"a: caf\xe9\n", r"a\.yaml: not UTF-8 \(byte 6\); save the file as UTF-8"),
        ("a: b".encode("utf-16"), r"a\.yaml: not UTF-8 \(byte 0\); save the file as UTF-8"),
        (b"- a\n- b\n", r"a\.yaml: expected a mapping of fields, got a list"),
        (b"just words\n", r"a\.yaml: expected a mapping of fields, got a str"),
        (b"", r"a\.yaml: .*expected a mapping of fields"),
        (b"a: 1\n---\nb: 2\n", r"a\.yaml:2:1: broken YAML: .*another document"),
        (b"a: \x00\n", r"a\.yaml.*: broken YAML: "),
        (b"a: " + b"[" * 5000 + b"\n", r"a\.yaml.*: broken YAML: "),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_with_its_line(workspace: Path, content: bytes, said: str) -> None:
    Path("a.yaml").write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        read_yaml(Path("a.yaml"))
    assert "\n" not in str(caught.value)


def test_a_file_that_is_gone_or_a_folder_is_named(workspace: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.yaml: cannot be read: No such file or directory"):
        read_yaml(Path("gone.yaml"))
    Path("folder.yaml").mkdir()
    with pytest.raises(InputError, match=r"folder\.yaml: cannot be read: Is a directory"):
        read_yaml(Path("folder.yaml"))


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.text("ab:-?[]{}&*!|>'\"%@`# \n1.e5\t", max_size=30)
)
def test_any_text_is_a_value_or_a_yaml_error(text: str) -> None:
    with contextlib.suppress(YAMLError):
        parse_yaml(text)
