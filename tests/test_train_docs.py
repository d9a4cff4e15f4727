"""The commands of the page on training work, in order, in an empty folder, and leave what the page says."""

from pathlib import Path

from test_docs import run_page


def test_every_command_of_the_training_page_runs(tmp_path: Path) -> None:
    run_page("docs/training.md", tmp_path, least=11, timeout_s=240)
    for name in ("runs/task/loss.png", "runs/fused/adapter/adapter_model.safetensors", "quantized/model.safetensors"):
        assert (tmp_path / name).stat().st_size > 0
    (evaluation,) = (tmp_path / "evaluations").iterdir()
    assert {"roc.png", "reliability.png", "report.json"} <= {path.name for path in evaluation.iterdir()}
    header, *scores = (tmp_path / "out.csv").read_text().splitlines()
    assert header == "id,probability"
    assert [line.split(",")[0] for line in scores] == ["1", "2"]
    assert all(0 <= float(line.split(",")[1]) <= 1 for line in scores)
