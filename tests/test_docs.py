"""The user guide's commands work, in order, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def run_page(page: str, folder: Path, least: int, timeout_s: int) -> None:
    """Run the commands of a page's console blocks as a reader would, in order, in a folder."""
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL)
    commands = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= least
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout_s,
            env={**os.environ, "PATH": path},
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


def test_every_command_of_the_guide_runs(tmp_path: Path) -> None:
    run_page("docs/guide.md", tmp_path, least=20, timeout_s=120)


def test_every_command_on_sops_runs(tmp_path: Path) -> None:
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    run_page("docs/sop.md", tmp_path, least=7, timeout_s=120)


def test_every_command_of_the_dialogue_page_runs(tmp_path: Path) -> None:
    run_page("docs/dialogue.md", tmp_path, least=5, timeout_s=180)


def test_the_readme_opens_with_the_two_commands() -> None:
    opening = (ROOT / "README.md").read_text(encoding="utf-8")[:200]
    assert "make demo" in opening
    assert "make test" in opening


def test_every_command_is_in_the_readme() -> None:
    from curation.cli import COMMANDS as CURATE
    from synth.cli import COMMANDS as SYNTH

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in (*CURATE, *SYNTH):
        assert name in readme
