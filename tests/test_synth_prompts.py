"""Prompt files and suites: what they hold, how they are rendered, and how their mistakes are named."""

import json
from pathlib import Path
from typing import Any

import pytest
from synth_kit import WAITS, write

from curation.commands import main
from curation.errors import InputError, NotFound
from curation.library import Broken
from synth.cli import COMMANDS
from synth.prompts import Prompt, builtin_folder, load, load_all, read, search_path
from synth.suites import load_suite

CELL: dict[str, str | int] = {"thing": "bus", "mood": "glad"}


def prompt(**fields: Any) -> Prompt:
    return read(write("waits", {key: value for key, value in {**WAITS, **fields}.items() if value is not ...}))


def offline(text: Any, **rules: Any) -> dict[str, Any]:
    return {"language": ["en"], "offline": {"en": {"item": {"text": text}, **rules}}}


# -- reading -----------------------------------------------------------------------------------------------------


def test_a_prompt_is_named_for_its_file(workspace: Path) -> None:
    assert (prompt().name, prompt().path) == ("waits", Path("waits.yaml"))
    assert read(write("other", {**WAITS, "name": "other"})).name == "other"


def test_defaults(workspace: Path) -> None:
    small = prompt(per_request=..., language=..., offline=...)
    assert (small.per_request, small.language, small.surface, small.grammars) == (
        5,
        ("en", "zh", "ms", "ta"),
        "post",
        {},
    )


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"usr": "x"}, "unknown key 'usr'. Did you mean 'user'?"),
        ({"user": ...}, "'user' is missing"),
        ({"user": ""}, "user: "),
        ({"name": "waist"}, "name 'waist' is not the file's stem 'waits'"),
        ({"description": "short"}, "description: "),
        ({"task": "poem"}, "task: should be 'moderation' or 'safety', got 'poem'"),
        ({"per_request": 0}, "per_request: "),
        ({"per_request": 51}, "per_request: "),
        ({"axes": {}}, "axes: "),
        ({"axes": {"thing": ["bus"]}}, "axis 'thing' needs two or more different values"),
        ({"axes": {"thing": ["bus", "bus"]}}, "axis 'thing' needs two or more different values"),
        ({"axes": {"thing": [1, "1"]}}, "axis 'thing' needs two or more different values"),
        ({"axes": {"thing": "bus"}}, "axes.thing: "),
        ({"axes": {"language": ["en", "ms"]}}, "axis 'language' is a name that every prompt already has"),
        ({"axes": {"per_request": [1, 2]}}, "axis 'per_request' is a name that every prompt already has"),
        ({"output": {}}, "output: "),
        ({"language": []}, "language: "),
        ({"user": "Write {{ thing "}, "user, line 1: bad Jinja: "),
        ({"user": "One\nTwo {% if %}"}, "user, line 2: bad Jinja: "),
        ({"user": "Write about a {{ thign }}."}, "user: {{ thign }} is not defined; known: "),
        ({"system": "You are {{ role }}."}, "system: {{ role }} is not defined; known: "),
        ({"labels": {"label": "{{ moood }}"}}, "labels.label: {{ moood }} is not defined"),
        ({"user": "{{ 1 / 0 }}"}, "user: cannot be rendered: division by zero"),
        ({"user": "{{ thing.__class__.__mro__ }}"}, "user: cannot be rendered: "),
        ({"user": "{{ ''.__class__ }}"}, "user: cannot be rendered: "),
        ({"labels": {"label": "alowed"}}, "label: "),
        ({"labels": {"lable": "allowed"}}, "'label'"),
        ({"labels": {"label": "allowed", "category": "Not A Word"}}, "category: "),
        ({"labels": {"label": "allowed", "severity": 7}}, "severity: "),
        ({"labels": {"label": "allowed", "severity": "{{ mood }}"}}, "severity: "),
        ({"labels": {"label": "allowed", "severity": "{{ 1 if mood == 'glad' else 9 }}"}}, "severity: "),
        ({"output": {"txt": "the post"}, "offline": {}}, "'text'"),
        ({"output": {"title": "its title"}, "offline": {}}, "'text'"),
        ({"output": {"text": "the post", "txt": "more"}, "offline": {}}, "txt: no field of an example"),
        ({"language": ["english"], "offline": {}}, "language: "),
        ({"language": ["en"]}, "offline.ms: not one of the prompt's languages"),
        ({"offline": {"en": {"item": {"title": "x"}}}}, "offline.en.item: has title; output wants text"),
        (offline("{opn}", open=["x"]), "offline.en.item.text: no rule 'opn'. Did you mean 'open'?"),
        (offline("{open}", open=["x", "{"]), "offline.en.open[1]: lone '{'"),
        (offline("{open}", open={"buss": ["x"], "_": ["y"]}), "offline.en.open: 'buss' is not a value of any one axis. Did you mean 'bus'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_file_and_place(workspace: Path, fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        prompt(**fields)
    assert str(caught.value).startswith("waits.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_whose_name_is_no_name_is_refused(workspace: Path) -> None:
    with pytest.raises(InputError, match=r"My-Prompt\.yaml: name: "):
        read(write("My-Prompt", WAITS))


# -- identity ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        ({"user": WAITS["user"] + " Please."}, True),
        ({"system": "Be brief."}, True),
        ({"labels": {"label": "allowed", "severity": 0}}, True),
        ({"surface": "listing"}, True),
        ({"output": {"text": "the post itself"}}, True),
        ({"description": "Put in other words."}, False),
        ({"per_request": 7}, False),
        ({"axes": {**WAITS["axes"], "thing": ["bus", "parcel", "plumber", "doctor"]}}, False),
        ({"language": ["en"], "offline": {"en": {"item": {"text": "x"}}}}, False),
    ],
)
def test_the_fingerprint_covers_what_can_change_an_answer(
    workspace: Path, fields: dict[str, Any], changes: bool
) -> None:
    assert (prompt(**fields).fingerprint != prompt().fingerprint) is changes


def test_the_grammar_has_a_fingerprint_of_its_own(workspace: Path) -> None:
    assert prompt(user="Other words.").grammar_fingerprint == prompt().grammar_fingerprint
    assert prompt(**offline("x")).grammar_fingerprint != prompt().grammar_fingerprint


# -- rendering ---------------------------------------------------------------------------------------------------


def test_messages_hold_the_cell_and_the_format(workspace: Path) -> None:
    system, user = prompt(system="Speak {{ language_name }} ({{ language }}).").messages("ms", CELL, 3)
    assert (system.role, system.content) == ("system", "Speak Malay (ms).")
    assert user.role == "user"
    assert user.content.startswith(
        "Write 3 glad posts in Malay on waiting for a bus. Answer with a JSON array of exactly 3 objects"
    )
    assert '- "text": the post' in user.content


def test_an_empty_system_message_is_left_out(workspace: Path) -> None:
    assert [message.role for message in prompt().messages("en", CELL, 5)] == ["user"]


def test_one_object_is_asked_for_in_the_singular(workspace: Path) -> None:
    assert "a JSON array of one object" in prompt().messages("en", CELL, 1)[0].content


def test_labels_may_follow_the_cell(workspace: Path) -> None:
    graded = prompt(labels={"label": "allowed", "severity": "{{ 2 if mood == 'cross' else 0 }}"})
    assert graded.example_labels({**CELL, "mood": "cross"}) == {"label": "allowed", "severity": "2"}
    assert graded.example_labels(CELL) == {"label": "allowed", "severity": "0"}


def test_words_of_an_axis_are_not_read_as_templates(workspace: Path) -> None:
    odd = prompt(axes={**WAITS["axes"], "thing": ["bus", "{{ mood }}", "<b>&"]}, offline=...)
    assert "waiting for a {{ mood }}." in odd.messages("en", {**CELL, "thing": "{{ mood }}"}, 5)[0].content
    assert "waiting for a <b>&." in odd.messages("en", {**CELL, "thing": "<b>&"}, 5)[0].content


# -- finding -----------------------------------------------------------------------------------------------------


def test_the_search_goes_from_the_given_folder_to_the_current_one_to_the_built_in(workspace: Path) -> None:
    assert search_path(None) == [builtin_folder()]
    write("general_ok", WAITS, Path("prompts"))
    assert load("general_ok").description == WAITS["description"]
    write("general_ok", {**WAITS, "description": "Given by hand."}, Path("given"))
    assert load("general_ok", Path("given")).description == "Given by hand."
    assert load("meme_ok", Path("given")).surface == "meme"
    assert load("prompts/general_ok.yaml", Path("given")).description == WAITS["description"]


def test_a_folder_that_is_not_there_is_named(workspace: Path) -> None:
    with pytest.raises(NotFound, match=r"prompts_dir=promts: no such folder"):
        load("general_ok", Path("promts"))


def test_a_broken_file_is_listed_as_broken(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write("bad", {**WAITS, "per_request": 0}, Path("prompts"))
    Path("prompts/worse.yaml").write_text("task: [\n")
    write("good", WAITS, Path("prompts"))
    found = {one.name: one for one in load_all([Path("prompts")])}
    assert [type(found[name]) for name in ("bad", "good", "worse")] == [Broken, Prompt, Broken]
    assert "per_request: " in getattr(found["bad"], "error")  # noqa: B009
    assert main("synth", "", COMMANDS, ["ls"]) == 0
    assert "broken" in capsys.readouterr().out
    assert main("synth", "", COMMANDS, ["check", "bad", "--json"]) == 2
    out, err = capsys.readouterr()
    assert "per_request: " in json.loads(out)[0]["error"]
    assert "1 of 1 " in err
    assert main("synth", "", COMMANDS, ["check", "good"]) == 0


def test_a_copy_is_found_checked_and_never_overwrites(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("synth", "", COMMANDS, ["cp", "general_ok"]) == 0
    assert "Next:" in capsys.readouterr().out
    assert load("general_ok").path == Path("prompts/general_ok.yaml").resolve()
    assert load("general_ok").fingerprint == load(str(builtin_folder() / "general_ok.yaml")).fingerprint
    assert main("synth", "", COMMANDS, ["cp", "general_ok"]) == 2
    assert "exists; delete it first" in capsys.readouterr().err


# -- suites ------------------------------------------------------------------------------------------------------


def suite(content: str) -> Path:
    path = Path("prompts/suites/all.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


def test_a_suite_is_prompts_and_counts_in_order(workspace: Path) -> None:
    suite("description: Some.\nprompts: {meme_ok: 2, general_ok: 1}\n")
    assert list(load_suite("all", None).items()) == [("meme_ok", 2), ("general_ok", 1)]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("prompt: {a: 1}\n", "unknown key 'prompt'"),
        ("description: x\n", "prompts: expected a mapping of prompt name to count, e.g. general_ok: 200"),
        ("prompts: {}\n", "prompts: expected a mapping"),
        ("prompts: [a]\n", "prompts: expected a mapping"),
        ("prompts: {a: 0}\n", "prompts.a: expected a whole number of 1 or more, got 0"),
        ("prompts: {a: 1.5}\n", "prompts.a: expected a whole number of 1 or more, got 1.5"),
        ("prompts: {a: true}\n", "prompts.a: expected a whole number of 1 or more, got True"),
        ("prompts: {a: many}\n", "prompts.a: expected a whole number of 1 or more, got 'many'"),
        ("prompts: {a: 1, a: 2}\n", "duplicate key 'a'"),
        ("prompts: {genral_ok: 1}\n", "prompts.genral_ok: no such prompt. Did you mean 'general_ok'?"),
    ],
)
def test_a_mistake_in_a_suite_is_named(workspace: Path, content: str, said: str) -> None:
    suite(content)
    with pytest.raises(InputError) as caught:
        load_suite("all", None)
    assert "all.yaml" in str(caught.value)
    assert said in str(caught.value)


def test_an_unknown_suite_gets_the_nearest(workspace: Path) -> None:
    suite("prompts: {a: 1}\n")
    with pytest.raises(NotFound, match=r"no suite 'al' in .* Did you mean 'all'\?"):
        load_suite("al", None)
