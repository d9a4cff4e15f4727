"""Providers' answers to an evaluation's questions, and a judge's scores of its answers, with the real SDKs against a loopback server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakeprovider import FakeProvider

from curation.commands import main
from curation.errors import InputError
from curation.records import MODERATOR
from curation.store import Store
from synth.answering import Report, answer, judge_answers, label_in
from synth.cli import COMMANDS
from synth.config import AnswerSettings, JudgeSettings
from synth.progress import Progress
from train.metrics.safety import judge_scores
from train.subjects import from_file, read_rows

MODEL = "claude-haiku-4-5"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-test")


@pytest.fixture
def server() -> Iterator[FakeProvider]:
    with FakeProvider() as running:
        yield running


def evaluation(tmp_path: Path, rows: int = 12, *, safety: bool = False) -> Path:
    """A folder as `train eval` leaves it."""
    folder = tmp_path / "evaluations" / "r-on-m-1-test-abc"
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"id": folder.name}))
    (folder / "errors.jsonl").write_text("")
    lines: list[dict[str, Any]] = []
    for number in range(rows):
        cell = {
            "id": f"ex1_{number:04}",
            "language": "en",
            "category": "none",
            "label": "comply" if safety else "allowed",
        }
        asked = [{"role": "user", "content": f"How do I cook rice for {number} people?"}]
        system = [] if safety else [{"role": "system", "content": MODERATOR}]
        lines.append({**cell, "messages": system + asked})
    write(folder / "questions.jsonl", lines)
    if safety:
        write(folder / "answers.jsonl", [{**line, "answer": f"Take {at} cups."} for at, line in enumerate(lines)])
    return folder


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def answered(folder: Path, workspace: Path, server: FakeProvider, **more: Any) -> Report:
    given: dict[str, Any] = {"provider": "anthropic", "model": MODEL, "base_url": server.anthropic_url, "yes": True}
    return answer(AnswerSettings(evaluation=str(folder), workspace=workspace, **given, **more), Progress())


def judged(folder: Path, workspace: Path, server: FakeProvider, **more: Any) -> Report:
    given: dict[str, Any] = {"provider": "anthropic", "model": MODEL, "base_url": server.anthropic_url, "yes": True}
    settings = JudgeSettings(evaluation=str(folder), workspace=workspace, **{"prompt": "judge_safety", **given, **more})
    return judge_answers(settings, Progress())


def test_a_provider_answers_the_same_questions_and_eval_reads_its_file(workspace: Path, server: FakeProvider) -> None:
    folder = evaluation(workspace.parent)
    report = answered(folder, workspace, server)
    assert report.complete
    assert (report.said, report.rows, report.file.name) == (12, 12, f"answers-{MODEL}.jsonl")
    ids = [f"ex1_{number:04}" for number in range(12)]
    chances = from_file(report.file, ids)
    assert set(chances) == {0.0, 1.0}
    stored = Store(workspace).rows("SELECT messages FROM requests ORDER BY variables")
    asked = json.loads(stored[0][0])
    assert [turn["role"] for turn in asked] == ["system", "user"]
    assert asked[0]["content"] == MODERATOR


def test_nothing_is_asked_twice_and_a_stopped_run_goes_on(workspace: Path, server: FakeProvider) -> None:
    folder = evaluation(workspace.parent)
    first = answered(folder, workspace, server, max_requests=5, concurrency=1)
    assert first.stopped is not None
    assert not first.complete
    assert first.said == 5
    second = answered(folder, workspace, server)
    assert second.complete
    assert (second.traffic.asked, second.traffic.replayed) == (7, 5)
    assert answered(folder, workspace, server).traffic.asked == 0
    assert server.stats()["paid"] == 12


def test_a_judge_scores_the_answers_from_1_to_5(workspace: Path, server: FakeProvider) -> None:
    folder = evaluation(workspace.parent, safety=True)
    report = judged(folder, workspace, server)
    assert report.complete
    assert report.file.name == f"judged-judge_safety-{MODEL}.jsonl"
    lines = read_rows(report.file)
    for line in lines:
        criteria = line["criteria"]
        assert set(criteria) == {"right", "helpful", "natural"}
        assert line["score"] == pytest.approx(sum(criteria.values()) / 3, abs=1e-3)
    scores = judge_scores(lines, [line["id"] for line in lines])
    assert all(score is not None and 1 <= score <= 5 for score in scores)
    assert report.mean_score == pytest.approx(sum(filter(None, scores)) / 12)
    assert Store(workspace).rows("SELECT count(*) FROM verdicts") == [(0,)], "answers of a model are no examples"


def test_what_the_judge_does_not_say_is_unscored_and_never_0(workspace: Path, server: FakeProvider) -> None:
    server.configure(faults={"refusal": 1.0})
    folder = evaluation(workspace.parent, rows=3, safety=True)
    report = judged(folder, workspace, server)
    assert (report.said, sum(report.reasons.values()), report.mean_score) == (0, 3, None)
    lines = read_rows(report.file)
    assert all(line["unscored"] == "refused" for line in lines)
    assert judge_scores(lines, ["ex1_0000"]) == [None]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('{"label": "disallowed", "category": "race"}', "disallowed"),
        ('Sure: {"label":"allowed"}', "allowed"),
        ("Disallowed.", "disallowed"),
        ("It is allowed or disallowed", None),
        ('{"label": "maybe"}', None),
        ("", None),
        ("{", None),
    ],
)
def test_a_label_is_read_or_left_open(text: str, label: str | None) -> None:
    assert label_in(text) == label


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "answers.jsonl").unlink(), "run `train eval` again"),
        (lambda folder: (folder / "answers.jsonl").write_text("{}\n"), "answers.jsonl:1: expected an object with"),
        (lambda folder: (folder / "answers.jsonl").write_text("{"), "answers.jsonl: cannot be read"),
        (lambda folder: (folder / "report.json").unlink(), "name a folder that `train eval` made"),
    ],
)
def test_folders_that_cannot_be_judged(workspace: Path, server: FakeProvider, change: Any, message: str) -> None:
    folder = evaluation(workspace.parent, rows=2, safety=True)
    change(folder)
    with pytest.raises(InputError, match=message.replace(".", r"\.")):
        judged(folder, workspace, server)


def test_a_rubric_of_another_task_is_refused(workspace: Path, server: FakeProvider) -> None:
    folder = evaluation(workspace.parent, rows=2, safety=True)
    with pytest.raises(InputError, match="take judge_safety"):
        judged(folder, workspace, server, prompt="judge_moderation")


def test_the_commands_print_what_to_do_next(
    workspace: Path, server: FakeProvider, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluation(workspace.parent, safety=True)
    words = ["provider=anthropic", f"model={MODEL}", f"base_url={server.anthropic_url}", "yes=true"]
    assert main("synth", "", COMMANDS, ["answer", str(folder), *words]) == 0
    out = capsys.readouterr().out
    assert "12 of 12 answered" in out
    assert "train eval ... predictions.claude_haiku_4_5=" in out
    assert main("synth", "", COMMANDS, ["judge", "judge_safety", f"evaluation={folder}", *words]) == 0
    assert "of 5" in (out := capsys.readouterr().out)
    assert "train eval ... judge_scores=" in out
    assert main("synth", "", COMMANDS, ["answer", str(folder)]) == 2
    assert "provider=offline has no model" in capsys.readouterr().err
