"""Prompts, runs and looks into the store, for the tests of synth."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from curation.store import Store
from synth.config import RunSettings
from synth.progress import Progress
from synth.run import Report, run

os.environ["PYTHONPATH"] = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parent.parent)))
FORKS = multiprocessing.get_context("forkserver")  # its children have the imports done and no threads
FORKS.set_forkserver_preload(
    ["synth_kit", "provider_kit", "pytest"]
)  # found by PYTHONPATH: Python 3.11 does not hand it the path
SYNTH = (sys.executable, "-c", "from synth.cli import app; app()")
TABLES = ("runs", "run_events", "prompts", "requests", "completions", "malformed", "examples", "origins", "verdicts")

WAITS: dict[str, Any] = {  # two million texts and more in each cell
    "task": "moderation",
    "description": "Somebody waits for something, and says how long.",
    "labels": {"label": "allowed"},
    "per_request": 5,
    "axes": {"thing": ["bus", "parcel", "plumber"], "mood": ["glad", "cross"]},
    "language": ["en", "ms"],
    "output": {"text": "the post"},
    "user": "Write {{ per_request }} {{ mood }} posts in {{ language_name }} on waiting for a {{ thing }}. {{ format_instructions }}",
    "offline": {
        "en": {
            "item": {"text": "{open} We waited {10..9999} minutes for the {thing} at {1..23}:{10..59} this week, and we were {mood}."},
            "open": ["Well.", "You know what?", "Let me tell you."],
        },
        "ms": {
            "item": {"text": "{open} Kami menunggu {10..9999} minit untuk perkara ini pada pukul {1..23}:{10..59} minggu lepas."},
            "open": ["Begini.", "Saya mahu cerita sikit.", "Dengar dulu."],
        },
    },
}  # fmt: skip


def narrow(texts: int, **fields: Any) -> dict[str, Any]:
    """A prompt whose grammar has only so many different texts in all, whatever the cell."""
    item = {"text": f"We waited {{1..{texts}}} minutes for the bus this morning, and nobody told us why."}
    return {**WAITS, "language": ["en"], "offline": {"en": {"item": item}}, **fields}


def write(name: str, prompt: Mapping[str, Any] = WAITS, folder: Path = Path()) -> Path:
    """The path of a prompt file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(dict(prompt), allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def filled(workspace: Path, prompt: str | Path | tuple[str, ...] = "waits.yaml", **settings: Any) -> Report:
    """Run a prompt quietly."""
    prompts = prompt if isinstance(prompt, tuple) else (str(prompt),)
    if "suite" in settings:
        prompts = ()
    return run(RunSettings(workspace=workspace, prompt=prompts, **settings), Progress(Console(file=StringIO())))


def column(workspace: Path, sql: str) -> list[Any]:
    return [row[0] for row in Store(workspace, create=False).rows(sql)]


def ids(workspace: Path, table: str = "examples", where: str = "true") -> set[str]:
    """The ids in a table, which must be all different."""
    found = column(workspace, f"SELECT id FROM {table} WHERE {where}")
    assert len(found) == len(set(found)), f"{table} holds an id twice"
    return set(found)


def accepted(workspace: Path) -> set[str]:
    """Examples that no check dropped."""
    return set(column(workspace, "SELECT example FROM status WHERE status <> 'dropped'"))


def contents(workspace: Path) -> dict[str, set[Any]]:
    """What a run leaves behind, without times, run ids and the like."""
    store = Store(workspace, create=False)
    for table in TABLES:
        ids(workspace, table)
    return {
        "requests": set(store.rows("SELECT id, slot, attempt FROM requests")),
        "completions": set(store.rows("SELECT id, request, finish FROM completions")),
        "malformed": set(store.rows("SELECT id, completion, position, reason FROM malformed")),
        "examples": set(store.rows("SELECT id, body FROM examples")),
        "origins": set(store.rows("SELECT id, example, completion FROM origins")),
        "verdicts": set(store.rows("SELECT id, example, author, version, decision, reason FROM verdicts")),
    }


def start(folder: Path, *words: str, script: str | None = None) -> "subprocess.Popen[str]":
    """`synth WORDS` in a process and a process group of its own."""
    command = SYNTH if script is None else (sys.executable, "-c", script)
    return subprocess.Popen(
        [*command, *words], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
