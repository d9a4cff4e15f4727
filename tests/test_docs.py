"""The user guide's commands work, in order, in an empty folder."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_command_of_the_guide_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "docs/guide.md").read_text(encoding="utf-8"), re.DOTALL)
    commands = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 20
    bin_folder = str(Path(sys.executable).parent)
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"PATH={bin_folder}:$PATH; {command}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


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
