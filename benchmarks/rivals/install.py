"""The rivals, each in a venv of its own."""

import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path

# Prints what the named packages need, one a line, without themselves and without the bounds on `loose`.
NEEDS = """
import re, sys
from importlib.metadata import requires
named, loose = sys.argv[1].split(","), sys.argv[2].split(",")
for need in (need for name in named for need in requires(name) or ()):
    word = re.match(r"[\\w.-]+", need)[0]
    if "extra ==" not in need and word not in named:
        print(word if word in loose else need)
"""


@dataclass(frozen=True)
class Rival:
    requirements: tuple[str, ...]  # all that it needs to start
    own: tuple[
        str, ...
    ] = ()  # its own packages, if their bounds are to be loosened where the index has nothing new enough
    loose: tuple[str, ...] = ()


RIVALS = {
    "distilabel": Rival(("distilabel[openai]==1.5.3", "requests")),  # which it imports and does not ask for
    "curator": Rival(("bespokelabs-curator==0.1.31",)),
    "data-designer": Rival(
        ("data-designer==0.9.7",), ("data-designer", "data-designer-config", "data-designer-engine"), ("certifi",)
    ),
}


def install(folder: Path, rival: Rival) -> str:
    """Make the venv; what went wrong, or nothing. It is written down beside the venv."""
    venv.create(folder, with_pip=True)
    said = _pip(folder, *rival.requirements)
    if said and rival.own:
        version = rival.requirements[0].partition("==")[2]
        said = _pip(folder, "--no-deps", *(f"{name}=={version}" for name in rival.own))
        words = (",".join(rival.own), ",".join(rival.loose))
        needs = subprocess.run(
            [_python(folder), "-c", NEEDS, *words], check=False, capture_output=True, text=True
        ).stdout.splitlines()
        said = said or _pip(folder, *needs)
    failed = _failed(folder)
    failed.unlink(missing_ok=True)
    if said:
        failed.write_text(said)
    return said


def missing(python: str) -> str:
    """Why this interpreter of a rival cannot be used; nothing if it can."""
    folder = Path(python).parent.parent
    if (failed := _failed(folder)).exists():
        return f"did not install: {failed.read_text()[:160]}"
    return "" if Path(python).exists() else "not installed: see --install"


def _pip(folder: Path, *words: str) -> str:
    """The last line of what pip says is wrong."""
    command = [_python(folder), "-m", "pip", "install", "-q", "--disable-pip-version-check", *words]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return (done.stderr.strip().splitlines() or ["pip failed"])[-1] if done.returncode else ""


def _python(folder: Path) -> str:
    return str(folder / "bin" / "python")


def _failed(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.failed.txt")
