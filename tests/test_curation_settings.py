"""Settings: one grammar, four sources, and messages that name the field and the nearest known one."""

import contextlib
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from curation.commands import Command, main
from curation.errors import InputError
from curation.settings import Settings, load


class Nested(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    rank: int = Field(default=8, ge=1)
    """How wide."""
    name: str = "x"
    """What it is called."""


class Example(Settings):
    n: int = Field(default=100, ge=1)
    """How many."""
    words: Annotated[tuple[str, ...], BeforeValidator(lambda v: v if isinstance(v, list | tuple) else (v,))] = ()
    """Some words."""
    mode: Literal["fast", "slow"] = "slow"
    rate: float = 0.5
    path: Path | None = None
    axes: dict[str, list[str | int]] = {}
    lora: Nested = Nested()


class Needy(Settings):
    name: str


def read(*words: str, **environ: str) -> Example:
    return load(Example, words, environ=environ)


def complaint(*words: str, model: type[BaseModel] = Example, **environ: str) -> str:
    with pytest.raises(InputError) as caught:
        load(model, words, environ=environ)
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- the grammar -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "field", "value"),
    [
        ("n=500", "n", 500),
        ("n=1_000", "n", 1000),
        ("n=1e3", "n", 1000),
        ("rate=.25", "rate", 0.25),
        ("rate=1", "rate", 1.0),
        ("mode=fast", "mode", "fast"),
        ("as_json=true", "as_json", True),
        ("as_json=yes", "as_json", True),
        ("path=a b/c.csv", "path", Path("a b/c.csv")),
        ("path=~/c=d.csv", "path", Path("~/c=d.csv")),
        ("path=null", "path", None),
        ("path=", "path", None),
        ("words=one", "words", ("one",)),
        ("words=[one,two words, three ]", "words", ("one", "two words", "three")),
        ("words=[]", "words", ()),
        ("words=[no,yes,on,off]", "words", ("no", "yes", "on", "off")),
        ("words=[7:30,018956,2026-11-21]", "words", ("7:30", "018956", "2026-11-21")),
        ("words=[\"1\",'true']", "words", ("1", "true")),
        ("words=[食物,சாப்பாடு]", "words", ("食物", "சாப்பாடு")),
        ("words=a=b=c", "words", ("a=b=c",)),
        ("words=${HOME}", "words", ("${HOME}",)),
        ("words=a#b", "words", ("a#b",)),
        ("axes.topic=[food,3]", "axes", {"topic": ["food", 3]}),
        ("axes={topic: [food]}", "axes", {"topic": ["food"]}),
        ("lora.rank=16", "lora", Nested(rank=16)),
        ("lora={rank: 16}", "lora", Nested(rank=16)),
    ],
)
def test_words_are_read_as_what_they_look(workspace: Path, word: str, field: str, value: Any) -> None:
    assert getattr(read(word), field) == value


def test_nested_words_are_merged_and_later_ones_win(workspace: Path) -> None:
    assert read("lora.rank=16", "lora.name=y", "lora.rank=32").lora == Nested(rank=32, name="y")
    assert read("n=1", "n=2").n == 2
    assert read("axes.a=[1]", "axes.b=[2]").axes == {"a": [1], "b": [2]}
    assert read("words=[a,b]", "words=[c]").words == ("c",)


def test_settings_are_frozen(workspace: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read().n = 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nn=5"], "unknown key 'nn'. Did you mean 'n'?"),
        (["wrkspace=x"], "unknown key 'wrkspace'. Did you mean 'workspace'?"),
        (["zzz=5"], "unknown key 'zzz'. Known: as_json, axes, lora, mode, n, path, rate, words, workspace."),
        (["lora.rnk=5"], "unknown key 'lora.rnk'. Did you mean 'lora.rank'?"),
        (["nn=5", "mm=6"], "unknown key 'nn'. Did you mean 'n'? (and 1 more)"),
        (["n=five"], "n: expected a whole number, got 'five'"),
        (["n=0"], "n: should be greater than or equal to 1, got 0"),
        (["n="], "n: expected a whole number, got nothing"),
        (["lora.rank=0"], "lora.rank: should be greater than or equal to 1, got 0"),
        (["mode=medium"], "mode: should be 'fast' or 'slow', got 'medium'"),
        (["words=" + "[" + "x" * 100 + ",[1]]"], "words.1: expected a text, got [1]"),
        (["n=" + "x" * 100], "got 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx..."),
        (["general_ok"], "'general_ok' is not key=value; write e.g. n=500"),
        (["=5"], "'=5' is not key=value; write e.g. n=500"),
        (["[=5"], "'[=5' is not key=value; write e.g. n=500"),
        (["words=[a,b"], "'words=[a,b' cannot be read: "),
        (["words='a"], "(lists: [a,b]; quote odd text)"),
        (["words=@x"], "'words=@x' cannot be read: "),
        (["words=!!python/object:os.system x"], "could not determine a constructor"),
        (["words=" + "[" * 3000], "cannot be read: "),
        (["axes=&a {b: *a}"], "cannot be read: "),
        (["axes={a: [1], a: [2]}"], "duplicate key 'a'"),
    ],
)
def test_unusable_words_are_refused_with_the_field_and_the_fix(workspace: Path, words: list[str], said: str) -> None:
    assert said in complaint(*words)


def test_a_missing_key_is_named(workspace: Path) -> None:
    assert complaint(model=Needy) == "'name' is missing"


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ODD = st.text(st.sampled_from("nwora.[]{}=,:'\"$&*!|>%@`#- \t\n1e5\\"), max_size=16)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(
        st.one_of(WORDS, ODD, ODD.map("n={}".format), ODD.map("axes.{}".format), ODD.map("words={}".format)), max_size=3
    )
)
def test_any_words_give_settings_or_one_line_that_says_why(words: list[str]) -> None:
    with contextlib.suppress(InputError):
        load(Example, words, environ={})


# -- the sources -------------------------------------------------------------------------------------------------


def test_later_sources_win(workspace: Path) -> None:
    assert read().n == 100
    Path("tilth.toml").write_text('n = 1\nrate = 0.1\nwords = ["toml"]\n[lora]\nrank = 2\nname = "toml"\n')
    assert (read().n, read().rate, read().words, read().lora) == (1, 0.1, ("toml",), Nested(rank=2, name="toml"))
    assert read(TILTH_N="2").n == 2
    assert read("n=3", TILTH_N="2").n == 3
    assert read("lora.rank=3").lora == Nested(rank=3, name="toml"), "nested settings are merged"
    assert read(TILTH_WORDS="[a,b]").words == ("a", "b")


def test_the_environment_of_others_is_left_alone(workspace: Path) -> None:
    assert read(N="5", TILTH_NOTHING="x", TILTH_N="", HOME="/").n == 100


def test_a_wrong_value_in_the_environment_is_refused(workspace: Path) -> None:
    assert complaint(TILTH_N="many") == "TILTH_N: n: expected a whole number, got 'many'"


def test_keys_of_other_commands_in_the_file_are_passed_over(workspace: Path) -> None:
    Path("tilth.toml").write_text("concurrency = 8\nn = 5\n")
    assert read().n == 5


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"n = ", "tilth.toml: broken TOML: "),
        (b"n = 1\nn = 2\n", "tilth.toml: broken TOML: "),
        (b'words = "\xff"', "tilth.toml: not UTF-8 (byte 9)"),
        (b"n = -1\n", "tilth.toml: n: should be greater than or equal to 1, got -1"),
        (b"[lora]\nrnk = 1\n", "unknown key 'lora.rnk'. Did you mean 'lora.rank'?"),
    ],
)
def test_a_broken_file_is_named(workspace: Path, content: bytes, said: str) -> None:
    Path("tilth.toml").write_bytes(content)
    assert said in complaint()


# -- commands ----------------------------------------------------------------------------------------------------

SEEN: list[Example] = []


def remember(settings: Example) -> int:
    SEEN.append(settings)
    return 0


def interrupted(settings: Example) -> int:
    raise KeyboardInterrupt


COMMANDS = {
    "do": Command("Do it.", f"{__name__}:Example", f"{__name__}:remember", "words", "example do x"),
    "stop": Command("Stop it.", f"{__name__}:Example", f"{__name__}:interrupted"),
}


def ran(*words: str) -> int:
    return main("example", "An example.", COMMANDS, words)


def test_a_bare_word_is_the_positional_setting(workspace: Path) -> None:
    assert ran("do", "hello", "n=3", "--json") == 0
    assert (SEEN[-1].words, SEEN[-1].n, SEEN[-1].as_json) == (("hello",), 3, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["doo"], 2, "example: no command 'doo'. Did you mean 'do'?\n"),
        (
            ["do", "-n"],
            2,
            "example: unknown flag '-n'; settings are written key=value (`example do --help` lists them)\n",
        ),
        (["do", "--n=5"], 2, "example: unknown flag '--n=5'; "),
        (["stop", "hello"], 2, "example: 'hello' is not key=value"),
        (["do", "nn=5"], 2, "example: unknown key 'nn'. Did you mean 'n'?\n"),
        (["stop"], 130, "example: interrupted\n"),
    ],
)
def test_what_goes_wrong_is_one_line_and_an_exit_code(
    workspace: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    assert ran(*words) == code
    out, err = capsys.readouterr()
    assert not out
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_lists_commands(workspace: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    assert ran(*words) == 0
    out = capsys.readouterr().out
    assert "usage: example COMMAND key=value ..." in out
    assert "Do it." in out
    assert "Stop it." in out
    assert "  example do x" in out


def test_help_of_a_command_lists_its_settings(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("do", "n=x", "--help") == 0
    out = capsys.readouterr().out
    assert "usage: example do [WORDS] key=value ..." in out
    for line in (
        "n                      How many. (default 100)",
        "lora.rank              How wide. (default 8)",
        "(default [])",
    ):
        assert line in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("--version") == 0
    assert capsys.readouterr().out.startswith("tilth 0.")
