"""Dialogues along graphs and on SOPs asked of the loopback servers, live and in batches, and their judges."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from fakeprovider import FakeProvider
from provider_kit import MODELS, asking
from synth_kit import column, filled

from curation.commands import main
from curation.errors import InputError
from curation.records import EXAMPLE, Dialogue
from curation.store import Store
from synth.answering import judge_answers
from synth.choice import plans
from synth.cli import COMMANDS
from synth.config import JudgeSettings, RunSettings
from synth.judge import judge
from synth.progress import Progress
from synth.run import Report, _headline
from synth.show_judge import described

DOMAINS = ("recipe", "ecommerce", "returns")


def write(server: FakeProvider, workspace: Path, prompt: str, provider: str, **more: Any) -> Report:
    return filled(workspace, (prompt,), **asking(provider, server, workspace.parent, **more))


def dialogues(workspace: Path) -> list[Dialogue]:
    rows = column(workspace, "SELECT body FROM examples JOIN status ON example = examples.id WHERE status <> 'dropped'")
    found = [EXAMPLE.validate_json(row) for row in rows]
    assert all(isinstance(one, Dialogue) for one in found)
    return found  # type: ignore[return-value]


@pytest.mark.parametrize("provider", ["anthropic", "together"])
@pytest.mark.parametrize("prompt", DOMAINS)
def test_each_turn_and_query_is_asked_of_the_provider(workspace: Path, prompt: str, provider: str) -> None:
    with FakeProvider(faults={"overloaded": 0.1, "cut_off": 0.05}, stubborn=1) as server:
        report = write(server, workspace, prompt, provider, n=4, structured=provider == "together")
        seen = server.stats()
        again = write(server, workspace, prompt, provider, n=4, structured=provider == "together")
    assert (report.complete, again.complete, again.traffic.asked) == (True, True, 0)
    assert seen["answered"] == report.traffic.asked
    found = dialogues(workspace)
    assert {one.language for one in found} == {"en", "zh", "ms", "ta"}
    for one in found:
        assert (one.scenario, one.turns[0].role) == (prompt, "user")
        for turn in one.turns:  # what was to be said was said
            for value in (turn.annotation or {}).get("slots", {}).values() if turn.role == "user" else ():
                for part in value if isinstance(value, list) else [value]:
                    assert (f"{part:g}" if isinstance(part, float) else str(part)) in turn.content
    if prompt != "returns":
        assert any(turn.role == "tool" and json.loads(turn.content) for one in found for turn in one.turns)


def test_malformed_turns_are_counted_and_their_dialogues_asked_again(workspace: Path) -> None:
    with FakeProvider(faults={"malformed": 0.08, "refusal": 0.01, "max_tokens": 0.02}, seed=4) as server:
        report = write(server, workspace, "ecommerce", "anthropic", n=6, language=("en",), max_attempts=40)
    assert report.complete
    rejected = report.tallies[0].rejected
    store = Store(workspace)
    reasons = [row[0] for row in store.rows("SELECT reason FROM malformed")]
    assert len(reasons) == rejected["malformed"] > 0
    assert all(reason.startswith(("user turn:", "system turn:", "query turn:")) for reason in reasons)
    completions = store.rows("SELECT finish, count(*) FROM completions GROUP BY ALL")
    assert sum(count for _, count in completions) == report.traffic.asked  # each answer is kept
    assert dict(completions).get("refusal", 0) == rejected.get("refusal", 0)
    for one in dialogues(workspace):
        assert "I'm sorry, but I can't help" not in one.content


def test_dialogues_are_asked_in_batches_a_round_of_turns_at_a_time(workspace: Path) -> None:
    quick = {"mode": "batch", "poll_s": 0.02, "gather_s": 0.05}
    with FakeProvider(faults={"row_expired": 0.1, "row_errored": 0.05}, stubborn=1) as server:
        report = write(server, workspace, "returns", "anthropic", n=4, **quick)
        batches = server.stats()["batches_submitted"]
        again = write(server, workspace, "returns", "anthropic", n=4, **quick)
        whole = write(server, workspace, "returns", "together", n=6, graph="none", **quick)
    longest = max(len(one.turns) for one in dialogues(workspace))
    assert (report.complete, again.traffic.asked) == (True, 0)
    assert longest <= batches <= 2 * longest  # all dialogues go on at once, and what came back empty goes along
    assert whole.complete
    assert whole.traffic.asked <= 12
    chosen = plans(RunSettings(prompt=("returns",), n=4))
    assert "about 13 rounds of batches" in _headline(chosen, RunSettings(n=4, mode="batch"))
    assert "rounds" not in _headline(chosen, RunSettings(n=4))


def test_two_models_and_a_user_of_its_own_are_asked_by_their_names(workspace: Path) -> None:
    with FakeProvider() as server:
        settings = asking("anthropic", server, workspace.parent)
        report = filled(
            workspace, ("returns",), n=4, **{**settings, "model": [MODELS["anthropic"], "claude-opus-5"]}, user_model="claude-sonnet-5"
        )  # fmt: skip
    assert report.complete
    store = Store(workspace)
    asked = dict(store.rows("SELECT model, count(*) FROM requests GROUP BY ALL"))
    assert set(asked) == {MODELS["anthropic"], "claude-opus-5", "claude-sonnet-5"}
    assert set(store.rows("SELECT requests.model = completions.model FROM completions JOIN requests ON requests.id = request")) == {(True,)}  # fmt: skip


# -- judges --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", ["anthropic", "together"])
def test_judge_sop_hears_dialogues_with_their_pages(workspace: Path, provider: str) -> None:
    from tests.test_provider_pages import drawn

    pages = drawn(workspace, "returns_abuse").pages
    filled(workspace, ("sop_dialogue",), n=8, language=("en",), documents=("returns_abuse",))
    with FakeProvider(faults={"malformed": 0.4, "refusal": 0.1}, seed=1) as server:
        settings = JudgeSettings(workspace=workspace, prompt="judge_sop", **asking(provider, server, workspace.parent))
        report = judge(settings, Progress())
        seen = server.stats()
    assert report.complete
    assert seen["images"] % len(pages) == 0
    assert seen["images"] > 0  # those that show pages are judged with them
    told = Counter(word.decision for word in report.words)
    assert sum(told.values()) == 8
    store = Store(workspace)
    assert store.rows("SELECT count(*) FROM verdicts WHERE author = 'judge:judge_sop'") == [(8,)]
    unread = sum(
        count for why, count in described(report)["unscored_because"].items() if why.startswith("cannot be read")
    )
    assert store.rows("SELECT count(*) FROM malformed")[0][0] >= 2 * unread
    assert told["unscored"] < 8


def evaluation(folder: Path, rows: int) -> Path:
    """A folder as `train eval` leaves it for dialogues."""
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps({"id": folder.name}))
    (folder / "errors.jsonl").write_text("")
    turns = [{"role": "user", "content": "Find me laksa"}, {"role": "tool", "content": '[{"id": "r1"}]'}]
    history = "\n".join(map(json.dumps, turns))
    lines = [
        {"id": f"ex1_{n:04}#3", "language": "en", "category": "recipe", "history": history, "reference": "Quick laksa.",
         "answer": None if n == 0 else f"Laksa number {n}"}
        for n in range(rows)
    ]  # fmt: skip
    (folder / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize("provider", ["anthropic", "together"])
def test_judge_relevance_scores_answers_from_0_to_2(
    workspace: Path, provider: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = evaluation(workspace.parent / "evaluations" / "d-on-m-1-test-abc", 13)
    with FakeProvider(faults={"malformed": 0.3}, seed=2) as server:
        given = asking(provider, server, workspace.parent)
        settings = JudgeSettings(workspace=workspace, prompt="judge_relevance", evaluation=str(folder), **given)
        report = judge_answers(settings, Progress())
        words = [f"{name}={value}" for name, value in given.items() if name != "yes"]
        told = main(
            "synth",
            "",
            COMMANDS,
            ["judge", "judge_relevance", f"evaluation={folder}", f"workspace={workspace}", "yes=true", *words],
        )
    assert f"of 12 answered, mean score {report.mean_score:.2f} of 2" in capsys.readouterr().out
    assert told == (0 if report.complete else 1)
    lines = [json.loads(line) for line in report.file.read_text().splitlines()]
    assert len(lines) == report.rows == 12  # what was not answered cannot be compared
    assert {line["score"] for line in lines if "score" in line} <= {0, 1, 2}
    assert report.said + sum(report.reasons.values()) == 12
    (asked,) = Store(workspace).rows("SELECT messages FROM requests LIMIT 1")[0]
    assert "Quick laksa." in asked
    assert "one of 0, 1, 2" in asked
    with pytest.raises(InputError, match="compares an answer with the true one; say which evaluation's"):
        judge(settings.model_copy(update={"evaluation": None}), Progress())
