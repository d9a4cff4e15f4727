"""The commands of the page on training work, in order, in an empty folder."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_command_of_the_training_page_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "docs/training.md").read_text(encoding="utf-8"), re.DOTALL)
    commands = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ ")]
    assert len(commands) >= 11
    bin_folder = str(Path(sys.executable).parent)
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"PATH={bin_folder}:$PATH; {command}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
            env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for name in ("runs/task/loss.png", "runs/fused/adapter/adapter_model.safetensors", "quantized/model.safetensors"):
        assert (tmp_path / name).stat().st_size > 0
    (evaluation,) = (tmp_path / "evaluations").iterdir()
    assert {"roc.png", "reliability.png", "report.json"} <= {path.name for path in evaluation.iterdir()}
    header, *scores = (tmp_path / "out.csv").read_text().splitlines()
    assert header == "id,probability"
    assert [line.split(",")[0] for line in scores] == ["1", "2"]
    assert all(0 <= float(line.split(",")[1]) <= 1 for line in scores)
