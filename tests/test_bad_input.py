"""What a person can get wrong, and the one line they read: what, where, and how to put it right. Nothing is lost by it."""

import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synth_kit import TABLES, start

import curation.cli
import synth.cli
from curation.commands import Command, main
from curation.settings import Settings
from curation.store import Store

COMMANDS = {"synth": synth.cli.COMMANDS, "curate": curation.cli.COMMANDS}
STORE = Path("workspace/tilth.duckdb")
Files = Mapping[str, str | bytes]

POSTS = """\
task: moderation
description: Small posts on food and school.
labels: {label: allowed}
axes: {topic: [food, school], tone: [warm, cold]}
language: [en]
output: {text: "the post"}
user: |
  You write posts.
  Write {{ per_request }} {{ tone }} posts on {{ topic }}.
offline:
  en:
    item: {text: "{post}"}
    post:
      food: ["I ate {1..9999} bowls of noodles at stall {1..9999} near the station, {tone} and slow"]
      school: ["I read {1..9999} pages for the test in week {1..9999} at school and felt {tone}"]
"""
GRAMMAR = POSTS[POSTS.index("offline:") :]
SCHOOL = POSTS[POSTS.index("      school:") :]


@dataclass(frozen=True)
class Bad:
    """One thing to get wrong."""

    command: str
    says: tuple[str, ...]
    files: Files = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    code: int = 2


def bad(command: str, *says: str, files: Files | None = None, **environ: str) -> Bad:
    return Bad(command, says, files or {}, environ)


def post(old: str, new: str, *says: str) -> Bad:
    """A prompt file that went wrong by one edit."""
    assert old in POSTS, old
    return prompt(POSTS.replace(old, new), *says)


def prompt(text: str | bytes, *says: str) -> Bad:
    return bad("synth run posts n=5", "prompts/posts.yaml", *says, files={"prompts/posts.yaml": text})


def grammar(text: str, *says: str) -> Bad:
    return prompt(POSTS.replace(GRAMMAR, text), *says)


def suite(text: str, *says: str) -> Bad:
    return bad("synth run suite=all", "prompts/suites/all.yaml", *says, files={"prompts/suites/all.yaml": text})


def toml(text: str | bytes, *says: str) -> Bad:
    return bad("synth run plain n=5", "tilth.toml", *says, files={"tilth.toml": text})


def csv(text: str | bytes, words: str, *says: str) -> Bad:
    return bad(f"curate import rows.csv {words}", *says, files={"rows.csv": text})


WORDS = [
    bad("synth rnu", "no command 'rnu'", "Did you mean 'run'?"),
    bad("synth --frobnicate", "no command '--frobnicate'", "Known: answer, batches, check, coverage, cp"),
    bad("curate lss", "no command 'lss'", "Did you mean 'ls'?"),
    bad("synth run --frobnicate", "unknown flag '--frobnicate'", "key=value", "`synth run --help`"),
    bad("synth run plain -n 5", "unknown flag '-n'", "key=value"),
    bad("synth ls oops", "'oops' is not key=value", "`synth ls --help`"),
    bad("synth run =5", "'=5' is not key=value", "n=500"),
    bad("synth run plain other", "one bare word", "'plain' and 'other'", "prompt=[plain,other]"),
    bad("synth run plain provder=offline", "unknown key 'provder'", "Did you mean 'provider'?"),
    bad("synth run plain offline.latency=3", "unknown key 'offline.latency'", "Did you mean 'offline.latency_ms'?"),
    bad("synth run plain zzz=3", "unknown key 'zzz'", "Known: as_json, axes"),
    bad("synth run plain n=abc", "n: expected a whole number, got 'abc'"),
    bad("synth run plain n=1.5", "n: expected a whole number, got 1.5"),
    bad("synth run plain n=", "n: expected a whole number, got nothing"),
    bad("synth run plain n=[1,2]", "n: expected a whole number, got [1, 2]"),
    bad("synth run plain n=0", "n: should be greater than or equal to 1, got 0"),
    bad("synth run plain n=-1", "n: should be greater than or equal to 1, got -1"),
    bad("synth run plain concurrency=0", "concurrency: should be greater than or equal to 1"),
    bad("synth run plain max_requests=0", "max_requests: should be greater than or equal to 1"),
    bad("synth run plain seed=x", "seed: expected a whole number, got 'x'"),
    bad("synth run plain offline.fault_rate=2", "offline.fault_rate: should be less than or equal to 1, got 2"),
    bad("synth run plain offline=3", "offline: expected a mapping, got 3"),
    bad("synth run plain --json=maybe", "unknown flag"),
    bad("synth run plain as_json=maybe", "as_json: expected true or false, got 'maybe'"),
    bad("synth run plain language=[en", "'language=[en' cannot be read", "lists: [a,b]"),
    bad("synth run plain language=", "language.0: expected a text, got nothing"),
    bad("synth run prompt=2024", "prompt.0: expected a text, got 2024; quote it"),
    bad("synth run plain axes=food", "axes: expected a mapping, got 'food'"),
    bad("synth run plain axes.topic.deep=x", "axes.topic.0: expected a text, got {'deep': 'x'}"),
    bad("synth run plain workspace=", "workspace: expected a path, got nothing"),
    bad("synth show", "'prompt' is missing"),
    bad("synth show plain samples=-1", "samples: should be greater than or equal to 0"),
    bad("synth run plain n=5", "TILTH_CONCURRENCY: concurrency: expected a whole number", TILTH_CONCURRENCY="many"),
    bad("synth run plain n=5", "TILTH_LANGUAGE: 'language=[en' cannot be read", TILTH_LANGUAGE="[en"),
]

CHOICES = [
    bad("synth run", "say what to run", "prompt=", "suite=", "`synth ls`"),
    bad("synth run plain suite=both", "prompt=... or suite=..., not both"),
    bad("synth run plian", "no prompt 'plian' in", "Did you mean 'plain'?"),
    bad("synth run prompts/plian.yaml", "prompt 'prompts/plian.yaml': no such file"),
    bad("synth run suite=bth", "no suite 'bth' in", "Did you mean 'both'?"),
    bad("synth run plain provider=ofline", "no provider 'ofline'", "Did you mean 'offline'?"),
    bad("synth run plain language=fr", "language=fr", "'plain' is not written for it", "Known: en."),
    bad("synth run plain axes.topc=food", "axes.topc: prompt 'plain' has no such axis", "Did you mean 'topic'?"),
    bad("synth run plain axes.topic=fod", "axes.topic: no value 'fod'", "Did you mean 'food'?"),
    bad("synth run plain axes.topic=[]", "axes.topic: name one value or more", "axes.topic=[food]"),
    bad("synth run plain prompts_dir=nowhere", "prompts_dir=nowhere: no such folder"),
    bad("synth ls prompts_dir=nowhere", "prompts_dir=nowhere: no such folder"),
    bad("synth check plian", "no prompt 'plian'", "Did you mean 'plain'?"),
    bad("synth estimate", "say what to run"),
    bad("synth cp plian", "no prompt 'plian'", "Did you mean 'plain'?"),
    bad("synth cp plain", "prompts/plain.yaml exists", "delete it first", files={"prompts/plain.yaml": "mine"}),
    bad("synth cp plain to=notes.txt", "to=notes.txt is a file; name a folder", files={"notes.txt": "mine"}),
    bad("synth cp plain to=/proc/here", "/proc/here/plain.yaml: cannot be written"),
]

PROMPTS = [
    post("axes: {topic", "axes:\n\ttopic", "posts.yaml:5:1: broken YAML", "indent with spaces, YAML allows no tabs"),
    post("language: [en]", "language: [en", "posts.yaml:6:7: broken YAML", "did not find expected"),
    post("language: [en]", "task: moderation", "posts.yaml:5:1: broken YAML: duplicate key 'task'"),
    post("task: moderation", "task: !!python/name:os.system x", "posts.yaml:1:7: broken YAML", "os.system"),
    prompt("- one\n- two\n", "expected a mapping of fields, got a list"),
    prompt("", "the file is empty"),
    prompt(b"task: caf\xe9\n", "not UTF-8 (byte 9); save the file as UTF-8"),
    prompt(b"task: \x00\n", "broken YAML: unacceptable character #x0000"),
    prompt("1: one\n", "1 is not the name of a field"),
    post("{{ topic }}", "{{ topic }", "user, line 2: bad Jinja"),
    post("{{ topic }}", "{% if %}", "user, line 2: bad Jinja: Expected an expression"),
    post("{{ topic }}", "{{ topic | shout }}", "user, line 2: bad Jinja: No filter named 'shout'"),
    post("{{ topic }}", "{{ topci }}", "user: {{ topci }} is not defined; known: ", "topic"),
    post("{{ topic }}", "{{ ''.__class__.__mro__ }}", "user: cannot be rendered", "'__class__'", "unsafe"),
    post("{{ topic }}", "{{ range(10 ** 9) | list }}", "user: cannot be rendered", "Range too big"),
    post("{{ topic }}", "{{ 1 / 0 }}", "user: cannot be rendered: division by zero"),
    post("{{ topic }}", "{{ topic.colour }}", "user: cannot be rendered", "no attribute 'colour'"),
    post("label: allowed", 'label: "{{ topc }}"', "labels.label: {{ topc }} is not defined"),
    post("labels:", "flavour: sweet\nlabels:", "unknown key 'flavour'", "Known: axes, description"),
    post("description:", "descripton:", "unknown key 'descripton'", "Did you mean 'description'?"),
    post("labels: {label: allowed}\n", "", "'labels' is missing"),
    post("labels:", "per_request: many\nlabels:", "per_request: expected a whole number, got 'many'"),
    post("task: moderation", "task: modration", "task: should be 'moderation' or 'safety', got 'modration'"),
    post("label: allowed", "label: alowed", "label: Input should be 'allowed' or 'disallowed', got 'alowed'"),
    post("label: allowed", "sevrity: 1", "a moderation example needs 'label'; add it to output, or to labels"),
    post("labels:", "name: letters\nlabels:", "name 'letters' is not the file's stem 'posts'"),
    post("[food, school]", "[food]", "axes: axis 'topic' needs two or more different values"),
    post("[food, school]", "food", "axes.topic: expected a list, got 'food'"),
    post("tone: [", "language: [", "axes: axis 'language' is a name that every prompt already has"),
    post("language: [en]", "language: [en, zh]", "no offline grammar for 'zh'", "choose language=[en]"),
    bad(
        "synth run posts", "sub/posts.yaml: the name 'posts' is taken by", "prompts/posts.yaml; rename one",
        files={"prompts/posts.yaml": POSTS, "prompts/sub/posts.yaml": POSTS},
    ),
]  # fmt: skip

GRAMMARS = [
    post('"{post}"', '"{pots}"', "offline.en.item.text: no rule 'pots'", "Did you mean 'post'?"),
    post("      school:", "      schol:", "offline.en.post: 'schol' is not a value", "Did you mean 'school'?"),
    post(SCHOOL, "", "offline.en.post: axis 'topic' has no case for 'school'; add it, or `_`"),
    post("bowls of", "bowls {post} of", "offline.en.post: rule refers to itself: item -> post -> post"),
    post("bowls of", "bowls } of", "offline.en.post.food[0]: lone '}'; write '}}'"),
    post("{1..9999} bowls", "{9..1} bowls", "offline.en.post.food[0]: empty range {9..1}"),
    post("{1..9999} bowls", f"{{1..{'9' * 5000}}} bowls", "offline.en.post.food[0]: cannot read {1..999"),
    post("bowls of", "bowls {of many} of", "offline.en.post.food[0]: cannot read {of many}", "one|other"),
    post("    post:", "    spare: [x]\n    post:", "offline.en.spare: rule is never used"),
    post("item: {text:", "item: {body:", "offline.en.item: has body; output wants text"),
    post("  en:", "  ms:", "offline.ms: not one of the prompt's languages"),
    grammar("offline: {en: 3}\n", "offline.en: expected a mapping, got 3"),
    grammar("offline: {en: {post: [x]}}\n", "offline.en.item: a grammar starts with `item:`"),
    grammar('offline: {en: {item: {text: "{a}"}, a: {}}}\n', "offline.en.a: give a list of alternatives"),
    grammar('offline: {en: {item: {text: "{a}"}, a: [{}]}}\n', "offline.en.a[0]: a record needs a field"),
    grammar('offline: {en: {item: {text: "{a}"}, a: [true]}}\n', "offline.en.a[0]: expected a text, got bool"),
    grammar("", "no offline grammar for 'en'; add offline.en"),
]

SUITES = [
    suite("prompts: [plain]\n", "prompts: expected a mapping of prompt name to count, e.g. general_ok: 200"),
    suite("prompt: {plain: 3}\n", "unknown key 'prompt'; a suite has `description` and `prompts`"),
    suite("prompts: {plain: 0}\n", "prompts.plain: expected a whole number of 1 or more, got 0"),
    suite("prompts: {plain: many}\n", "prompts.plain: expected a whole number of 1 or more, got 'many'"),
    suite("prompts: {plian: 3}\n", "prompts.plian: no such prompt", "Did you mean 'plain'?"),
    suite("- plain\n", "expected a mapping of fields, got a list"),
]

TOMLS = [
    toml("n = \n", "tilth.toml: broken TOML", "line 1"),
    toml(b"provider = 'caf\xe9'\n", "not UTF-8 (byte 15); save the file as UTF-8"),
    toml("concurrency = 'many'\n", "tilth.toml: concurrency: expected a whole number, got 'many'"),
    toml("[offline]\nlatency = 3\n", "tilth.toml: unknown key 'offline.latency'", "Did you mean 'offline.latency_ms'?"),
    toml("threshold = 0.9\nprovder = 'offline'\n", "no command has a key 'provder'", "Did you mean 'provider'?"),
]

WORKSPACES = [
    bad("synth run plain n=5 workspace=notes", "workspace 'notes': Not a directory", files={"notes": "mine"}),
    bad("synth run plain n=5 workspace=notes/w", "workspace 'notes/w': Not a directory", files={"notes": "mine"}),
    bad("synth run plain n=5 workspace=/proc/w", "workspace '/proc/w'", "name another with workspace=FOLDER"),
    bad("curate stats workspace=nowhere", "workspace 'nowhere': no store there", "make one with `synth run"),
    bad("synth run plain n=5 workspace=w", "w/tilth.duckdb: not a store", "backup", files={"w/tilth.duckdb": b"abc" * 999}),
    bad("curate ls workspace=w", "w/tilth.duckdb: not a store", "backup", files={"w/tilth.duckdb": b""}),
    bad(
        "curate ls workspace=w", "w/journal/1-1.jsonl:1: damaged", "mend or remove the line",
        files={"w/journal/1-1.jsonl": "not json\n", "w/tilth.duckdb": "EMPTY STORE"},
    ),
    *(
        bad(f"curate {words} workspace=w", "w/tilth.duckdb holds no examples yet; make some with `synth run",
            files={"w/tilth.duckdb": "EMPTY STORE"})
        for words in ("stats", "ls", "checks", "dedup", "export m")
    ),
]  # fmt: skip

CURATION = [
    bad("curate stats language=fr", "language=fr matches no example; the store has language=en"),
    bad("curate stats task=modration", "task=modration matches no example; the store has task=moderation"),
    bad("curate dedup prompt=plian", "prompt=plian matches no example; the store has prompt=plain"),
    bad("curate ls status=keptt", "status.0: should be 'kept', 'passed'", "got 'keptt'"),
    bad("curate ls zzzzz", "text=zzzzz: no selected example holds that"),
    bad("curate ls n=0", "n: should be greater than or equal to 1"),
    bad("curate stats axis=topc", "axis=topc", "Did you mean 'topic'?"),
    bad("curate stats plot=map.xyz", "plot=map.xyz", "PNG"),
    bad("curate stats plot=nowhere/map.png", "nowhere/map.png: the plot cannot be written", "set plot=FILE.png"),
    bad("curate checks only=pie", "no check is called 'pie'", "Did you mean 'pii'?"),
    bad("curate dedup threshold=0", "threshold: should be greater than 0, got 0"),
    bad("curate dedup threshold=1.5", "threshold: should be less than or equal to 1, got 1.5"),
    bad("curate export", "'name' is missing"),
    bad("curate export ../up", "name: string should match pattern", "got '../up'"),
    bad("curate export m format=csv", "format: should be 'text-classification'", "got 'csv'"),
    bad("curate export m split.train=0.9", "split.train=0.9", "the shares add up to 1.1, not 1"),
    bad("curate export m split.trian=0.9", "unknown key 'split.trian'", "Did you mean 'split.train'?"),
    bad("curate export m task=dialogue", "task=dialogue matches no example; the store has task=moderation"),
    bad("curate show zz", "id 'zz': nothing in workspace/tilth.duckdb begins like that; `curate ls` lists"),
    bad("curate trace zz", "id 'zz': nothing in workspace/tilth.duckdb begins like that"),
    bad("curate show ex1", "id 'ex1': more than one thing begins like that: ex1_", "give more of it"),
    bad("curate trace ex1_", "id 'ex1_': more than one thing begins like that: ex1_"),
    bad("curate show moderation@99", "no version moderation@99; there is none yet", "`curate export name=...`"),
    bad("curate trace moderation@99", "id 'moderation@99': only examples", "`curate show`"),
]

GOOD_ROW = '{"text": "the bus was late again this morning", "label": "allowed", "language": "en"}\n'
IMPORTS = [
    bad("curate import rows.csv", "rows.csv: no such file"),
    bad("curate import rows.xlsx", "rows.xlsx: .xlsx is not one of .jsonl", "as CSV", files={"rows.xlsx": "x"}),
    csv(b"text,label\nthe caf\xe9 was shut,allowed\n", "constants.language=en", "rows.csv:2", "encoding=cp1252"),
    csv("text,label\nlate bus,allowed\n", "constants.language=en encoding=klingon", "encoding=klingon", "try utf-8"),
    csv("text,label\nlate bus,allowed\n", "columns.text=body constants.language=en", "no column 'body'", "Known: label, text"),
    csv("text,label\nlate bus,allowed\n", "columns.txt=text", "columns.txt", "no field 'txt'", "Did you mean 'text'?"),
    csv("text,label\nlate bus,allowed\n", "", "no column holds the language", "constants.language=en"),
    csv("text,label\nlate bus,yes\n", "constants.language=en", "rows.csv:2: label", "values.label.yes="),
    csv("", "constants.language=en", "rows.csv: the file is empty"),
    bad(
        "curate import rows.jsonl", "rows.jsonl:7: broken JSON", "skip_bad=true",
        files={"rows.jsonl": GOOD_ROW * 6 + '{"text": "x",\n' + GOOD_ROW},
    ),
    bad("curate import rows.parquet", "rows.parquet: damaged", files={"rows.parquet": "TRUNCATED PARQUET"}),
    bad("curate import rows.csv task=novel", "task: should be 'moderation'", "got 'novel'", files={"rows.csv": "x"}),
    bad("curate import folder", "folder: no dataset in this folder", files={"folder/notes.txt": "x"}),
]  # fmt: skip

TABLE = [*WORDS, *CHOICES, *PROMPTS, *GRAMMARS, *SUITES, *TOMLS, *WORKSPACES, *CURATION, *IMPORTS]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of one prompt, a store of 20 examples, an empty store, half a Parquet file."""
    home = tmp_path_factory.mktemp("made")
    (home / "library" / "suites").mkdir(parents=True)
    (home / "library" / "plain.yaml").write_text(POSTS, encoding="utf-8")
    (home / "library" / "suites" / "both.yaml").write_text("prompts: {plain: 10}\n", encoding="utf-8")
    words = ["run", str(home / "library" / "plain.yaml"), "n=20", f"workspace={home / 'workspace'}"]
    assert main("synth", "", COMMANDS["synth"], words) == 0
    Store(home / "empty")
    pq.write_table(pa.table({"text": ["the bus was late"] * 999, "label": ["allowed"] * 999}), home / "rows.parquet")
    return home


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a filled workspace; the built-in library is the one of `made`."""
    shutil.copytree(made / "workspace", tmp_path / "workspace")
    monkeypatch.setattr("synth.prompts.builtin_folder", lambda: made / "library")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def counts(workspace: Path) -> dict[str, int]:
    store = Store(workspace, create=False)
    with store.read() as connection:
        return {table: connection.execute(f"SELECT count(*) FROM {table}").fetchall()[0][0] for table in TABLES}


def lay(files: Files, made: Path) -> None:
    for name, content in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if content == "EMPTY STORE":
            shutil.copyfile(made / "empty" / "tilth.duckdb", path)
        elif content == "TRUNCATED PARQUET":
            whole = (made / "rows.parquet").read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())


def one_line(err: str, program: str, *says: str) -> None:
    """The whole of standard error is one line that says all this."""
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith(f"{program}: ")
    for part in says:
        assert part in lines[0], f"{part!r} is not in: {lines[0]}"
    assert "Traceback" not in err
    assert "please report" not in err


def test_the_table_is_whole() -> None:
    assert len(TABLE) >= 150
    assert len({(one.command, str(one.files), str(one.environ)) for one in TABLE}) == len(TABLE)


@pytest.mark.parametrize("one", TABLE, ids=lambda one: f"{one.command}: {one.says[-1][:40]}")
def test_it_is_one_clear_line_and_nothing_is_lost(
    one: Bad, made: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lay(one.files, made)
    for name, value in one.environ.items():
        monkeypatch.setenv(name, value)
    laid = {path: path.read_bytes() for name in one.files if "tilth.duckdb" not in (path := Path(name)).name}
    program, *words = shlex.split(one.command)
    code = main(program, "", COMMANDS[program], words)
    printed = capsys.readouterr()
    one_line(printed.err, program, *one.says)
    assert code == one.code
    assert printed.out == ""
    assert (here / STORE).read_bytes() == (made / STORE).read_bytes()
    assert laid == {path: path.read_bytes() for path in laid}


@pytest.mark.parametrize("program", ["synth", "curate"])
def test_no_command_at_all_is_answered_with_the_commands(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(program, "", COMMANDS[program], []) == 0
    printed = capsys.readouterr()
    assert all(name in printed.out for name in COMMANDS[program])
    assert printed.err == ""


def test_a_bare_word_that_looks_like_a_number_stays_a_word(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("curate", "", COMMANDS["curate"], ["ls", "0"]) == 0
    assert main("curate", "", COMMANDS["curate"], ["ls", "a: b [c"]) == 2
    one_line(capsys.readouterr().err, "curate", "text=a: b [c: no selected example holds that")


def test_keys_of_other_commands_may_stand_in_the_shared_settings(here: Path) -> None:
    Path("tilth.toml").write_text("threshold = 0.9\nn = 5\nformat = 'messages'\n", encoding="utf-8")
    assert main("synth", "", COMMANDS["synth"], ["run", "plain"]) == 0


def test_markup_in_names_and_texts_is_text(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay({"prompts/posts.yaml": POSTS.replace("Small posts", "Small [/b] [red] posts").replace("food", "'[/i]'")}, here)
    for words in (["ls"], ["show", "posts"], ["run", "posts", "n=5", "workspace='[/b]'"]):
        assert main("synth", "", COMMANDS["synth"], words) == 0
    assert "Small [/b] [red] posts" in capsys.readouterr().out
    assert Path("[/b]/tilth.duckdb").is_file()


# -- libraries with good and bad files --------------------------------------------------------------------------------

MIXED = {
    "prompts/good.yaml": POSTS,
    "prompts/tabbed.yaml": POSTS.replace("axes: {topic", "axes:\n\ttopic"),
    "prompts/suites/lost.yaml": "prompts: {nowhere: 3}\n",
}


def test_check_lists_what_is_broken_beside_what_is_fine(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(MIXED, here)
    assert main("synth", "", COMMANDS["synth"], ["check"]) == 2
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert [line.split()[:2] for line in lines if line.startswith("ok")] == [["ok", "good"], ["ok", "plain"]]
    assert any(line.startswith("broken") and "tabbed.yaml:5:1" in line for line in lines)
    assert any(line.startswith("broken") and "lost.yaml: prompts.nowhere: no such prompt" in line for line in lines)
    one_line(printed.err, "synth", "2 of 4 files cannot be used")
    assert main("synth", "", COMMANDS["synth"], ["check", "prompt=[good,plain]"]) == 0


def test_ls_lists_what_is_broken_as_broken(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lay(MIXED, here)
    assert main("synth", "", COMMANDS["synth"], ["ls"]) == 0
    printed = capsys.readouterr()
    rows = {line.split()[0]: line for line in printed.out.splitlines() if line.strip()}
    assert "broken" in rows["tabbed"]
    assert "allowed" in rows["good"]
    assert "suite lost: broken: " in printed.out
    assert printed.err == ""
    assert main("synth", "", COMMANDS["synth"], ["run", "good", "n=5"]) == 0


# -- stores ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["synth run plain n=30", "curate ls", "curate export m"])
def test_a_store_of_a_newer_version_is_left_alone(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(here / "workspace").write() as connection:
        connection.execute("INSERT INTO tilth_schema VALUES (99)")
    before = (here / "workspace" / "tilth.duckdb").read_bytes()
    program, *words = shlex.split(command)
    assert main(program, "", COMMANDS[program], words) == 2
    one_line(capsys.readouterr().err, program, "written by a newer Tilth (schema 99", "pip install -U tilth")
    assert (here / "workspace" / "tilth.duckdb").read_bytes() == before


@pytest.mark.parametrize("command", ["synth run plain n=30", "curate stats", "curate export m"])
def test_a_damaged_store_is_named(command: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = here / "workspace" / "tilth.duckdb"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 3])
    program, *words = shlex.split(command)
    assert main(program, "", COMMANDS[program], words) == 2
    one_line(capsys.readouterr().err.splitlines()[-1], program, "workspace/tilth.duckdb: not a store", "backup")


def test_dialogues_have_no_class(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = '{"turns": [{"role": "user", "content": "where is my order"}, {"role": "assistant", "content": "on its way"}]}\n'
    lay({"talks.jsonl": row}, here)
    words = ["import", "talks.jsonl", "task=dialogue", "constants.language=en"]
    assert main("curate", "", COMMANDS["curate"], words) == 0
    before = counts(here / "workspace")
    capsys.readouterr()
    status = "status=[kept,passed,new,flagged,unscored]"
    assert main("curate", "", COMMANDS["curate"], ["export", "m", "task=dialogue", status]) == 2
    one_line(capsys.readouterr().err, "curate", "is a dialogue, which has no label", "choose format=messages")
    assert counts(here / "workspace") == before
    assert not list((here / "workspace" / "datasets" / "m").iterdir())


# -- processes -------------------------------------------------------------------------------------------------------


def test_a_run_beside_the_same_run_is_refused_and_an_interrupted_one_goes_on(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay({"prompts/posts.yaml": POSTS}, here)
    words = ["run", "posts", "n=400", "concurrency=4", "offline.latency_ms=200"]
    first = start(here, *words)
    try:
        for _ in range(400):
            if list((here / "workspace" / "journal").glob("*.jsonl")) and counts(here / "workspace")["completions"] > 4:
                break
            time.sleep(0.05)
        assert main("synth", "", COMMANDS["synth"], words) == 2
        one_line(capsys.readouterr().err, "synth", "a run of prompt 'posts'", f"process {first.pid}", "wait for it")
        first.send_signal(signal.SIGINT)
        out, err = first.communicate(timeout=30)
    finally:
        first.kill()
    assert first.returncode == 130
    assert "Traceback" not in err
    assert "Stopped: interrupted." in out
    assert "run the same command again" in out
    answered = counts(here / "workspace")["completions"]
    assert main("synth", "", COMMANDS["synth"], [*words[:-1], "offline.latency_ms=0"]) == 0
    after = counts(here / "workspace")
    assert after["completions"] > answered
    assert after["examples"] >= 20 + 400
    assert f"{answered - 4:,} answered before" in capsys.readouterr().out  # four are those of `made`


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_run_that_fills_the_disk_goes_on_when_there_is_room(
    small_disk: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["run", "plain", "n=2000", f"workspace={small_disk / 'w'}"]
    assert main("synth", "", COMMANDS["synth"], words) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    one_line(last, "synth", "the disk is full", "run the same command")
    subprocess.run(["mount", "-o", "remount,size=100m", small_disk], check=True)
    assert main("synth", "", COMMANDS["synth"], words) == 0
    out = capsys.readouterr().out
    assert ", 0 answered before" not in out
    assert counts(small_disk / "w")["completions"] == counts(small_disk / "w")["requests"]
    assert counts(small_disk / "w")["examples"] >= 2000


def test_a_file_that_may_not_grow_says_so(here: Path) -> None:
    lay({"prompts/posts.yaml": POSTS}, here)
    Store(here / "w")
    words = ["run", "posts", "n=1000", "workspace=w"]
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
    limited = start(here, *words, script=limit + "from synth.cli import app; app()")
    _, err = limited.communicate(timeout=30)
    assert limited.returncode == 2, err
    one_line(err.splitlines()[-1], "synth", "w/", "run the same command again")
    assert main("synth", "", COMMANDS["synth"], words) == 0
    assert counts(here / "w")["examples"] >= 1000


@pytest.mark.parametrize("command", ["synth ls", "synth --help", "curate ls --json n=20"])
def test_a_reader_that_has_seen_enough_is_no_error(command: str, here: Path) -> None:
    program, *words = shlex.split(command)
    done = start(here, *words, script=f"from {'curation' if program == 'curate' else program}.cli import app; app()")
    with done:
        assert done.stdout is not None
        done.stdout.close()
        assert done.stderr is not None
        assert done.stderr.read() == ""
    assert done.returncode == 0


@pytest.mark.parametrize("word", ["ls", "--help"])
def test_an_output_that_takes_no_more_is_named(word: str, here: Path) -> None:
    full = "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); "
    done = start(here, word, script=full + "from synth.cli import app; app()")
    _, err = done.communicate(timeout=30)
    assert done.returncode == 2
    one_line(err, "synth", "output: No space left on device")


# -- what nobody foresaw -----------------------------------------------------------------------------------------------


def stumble(settings: Settings) -> int:
    raise KeyError("a fault\nof our own")


STUMBLING = {"stumble": Command("", "curation.settings:Settings", "test_bad_input:stumble")}


def test_the_unforeseen_is_one_line_with_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main("synth", "", STUMBLING, ["stumble"]) == 1
    (log,) = tmp_path.glob("tilth-error-*.log")
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    assert err.startswith("synth: unexpected KeyError in test_bad_input.py:")
    assert f"please report it with {log}" in err
    assert "Traceback" in log.read_text(encoding="utf-8")


def test_debugging_shows_the_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TILTH_DEBUG", "1")
    with pytest.raises(KeyError, match="a fault"):
        main("synth", "", STUMBLING, ["stumble"])
