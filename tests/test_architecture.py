"""Who may import whom, where the heavy libraries may be, and that help does not pay for them."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("curation", "synth", "train", "ui")
MAY_IMPORT = {"curation": set(), "synth": {"curation"}, "train": {"curation"}, "ui": {"curation", "synth", "train"}}
OF_CURATION_IN_TRAIN = {
    "curation.records", "curation.settings", "curation.errors", "curation.commands", "curation.library", "curation.annotated",
}  # fmt: skip
ONLY_IN = {
    "duckdb": ("curation/store.py", "curation/migrations.py"),
    "streamlit": ("ui/",),
    "torch": ("train/",),
    "transformers": ("train/", "synth/providers/"),
    "peft": ("train/",),
    "trl": ("train/",),
    "anthropic": ("synth/providers/", "synth/translators/"),
    "together": ("synth/providers/", "synth/translators/"),
    "openai": ("synth/providers/", "synth/translators/"),
    "google": ("synth/providers/", "synth/translators/"),
    "httpx": ("synth/providers/", "synth/translators/"),
}
COMMANDS = {"synth": "synth.cli", "curate": "curation.cli", "train": "train.cli", "ui": "ui.cli"}


def modules() -> list[Path]:
    return sorted(path.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Every module a file imports, also inside functions, with the line; those for type checkers alone are left out."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for_checkers = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if id(node) not in for_checkers)
        elif isinstance(node, ast.ImportFrom) and id(node) not in for_checkers:
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the whole name"
            yield str(node.module), node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def test_there_is_something_to_look_at() -> None:
    assert len(modules()) >= 45
    assert sum(1 for path in modules() for _ in imported(path)) > 300


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_module_imports_only_what_it_may(path: Path) -> None:
    room = path.parts[0]
    for name, line in imported(path):
        first = name.split(".")[0]
        if first in ROOMS and first != room:
            assert first in MAY_IMPORT[room], f"{path}:{line}: {room} may not import {name}"
            if room == "train" and first == "curation" and name != "curation":
                allowed = any(name == one or name.startswith(f"{one}.") for one in OF_CURATION_IN_TRAIN)
                assert allowed, f"{path}:{line}: train may not import {name}; it never opens the store"
        if first in ONLY_IN:
            assert path.as_posix().startswith(ONLY_IN[first]), f"{path}:{line}: {first} belongs into {ONLY_IN[first]}"


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_module_has_one_reason_to_change(path: Path) -> None:
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= 420, f"{path}: split it"


# -- what help costs ---------------------------------------------------------------------------------------------

PROBE = (
    "import sys; from {module} import COMMANDS, app; sys.argv = [{program!r}, *{words!r}]\n"
    "try: app()\n"
    "except SystemExit as ended: assert not ended.code, ended.code\n"
    "print('LOADED', *sorted({{name.split('.')[0] for name in sys.modules}}))"
)
HEAVY = {
    "torch",
    "streamlit",
    "transformers",
    "trl",
    "peft",
    "matplotlib",
    "datasets",
    "anthropic",
    "together",
    "openai",
}
STORE = {"duckdb", "pyarrow", "numba", "numpy", "pandas", "pydantic", "omegaconf", "yaml", "rich"}


def loaded_by(program: str, *words: str) -> tuple[set[str], str]:
    probe = PROBE.format(module=COMMANDS[program], program=program, words=words)
    done = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    shown, _, loaded = done.stdout.rpartition("LOADED ")
    return set(loaded.split()), shown


def programs() -> list[str]:
    return [program for program, module in COMMANDS.items() if (ROOT / (module.replace(".", "/") + ".py")).is_file()]


def commands() -> list[tuple[str, str]]:
    found = []
    for program in programs():
        module = ast.parse((ROOT / (COMMANDS[program].replace(".", "/") + ".py")).read_text(encoding="utf-8"))
        table = next(
            node.value for node in module.body if isinstance(node, ast.Assign) and node.targets[0].id == "COMMANDS"
        )  # type: ignore[attr-defined]
        found += [(program, key.value) for key in table.keys]  # type: ignore[attr-defined]
    return found


def test_all_commands_were_found() -> None:
    assert set(programs()) >= {"synth", "curate", "train", "ui"}
    assert len(commands()) >= 14


@pytest.mark.parametrize("program", programs())
def test_help_of_a_program_loads_next_to_nothing(program: str) -> None:
    loaded, shown = loaded_by(program, "--help")
    assert f"usage: {program} {'key=value' if program == 'ui' else 'COMMAND'}" in shown
    assert not loaded & (
        HEAVY | (STORE - {"pydantic"} if program == "ui" else STORE)
    )  # it is one command: its settings are its help


@pytest.mark.parametrize(("program", "command"), commands())
def test_help_of_a_command_loads_nothing_heavy(program: str, command: str) -> None:
    loaded, shown = loaded_by(program, *(() if program == command else (command,)), "--help")
    assert f"usage: {program}{'' if program == command else ' ' + command}" in shown
    assert not loaded & HEAVY
    assert not loaded & {"duckdb", "pyarrow", "numba"}
