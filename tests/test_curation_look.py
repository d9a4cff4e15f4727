"""Looking at a store: stats, ls, show, trace, dedup and the re-run of checks, as their commands print them."""

import json
from pathlib import Path

import pytest

from curation.checks import CHECKS
from curation.cli import COMMANDS as CURATE
from curation.commands import main
from curation.journal import Writer
from curation.records import Decision, Verdict
from curation.store import Store
from curation.tables import verdict_row
from synth.cli import COMMANDS as SYNTH


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("look") / "workspace"
    assert main("synth", "", SYNTH, ["run", "prompt=[general_ok,listing_spam]", "n=60", f"workspace={folder}"]) == 0
    return folder


def said(capsys: pytest.CaptureFixture[str], workspace: Path, *words: str) -> str:
    capsys.readouterr()
    code = main("curate", "", CURATE, [*words, f"workspace={workspace}"])
    out, err = capsys.readouterr()
    assert code == 0, err
    return out


def test_stats_counts_and_draws(workspace: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    plot = tmp_path / "map.png"
    found = json.loads(said(capsys, workspace, "stats", "--json", "axis=register", f"plot={plot}"))
    assert found["examples"] == 120
    assert {(label, category): n for label, category, language, n in found["coverage"] if language == "ta"} == {
        ("allowed", "none"): 15,
        ("disallowed", "spam"): 15,
    }
    assert sum(n for *_, n in found["axis"]) == 120
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert len(plot.read_bytes()) > 5_000
    text = said(capsys, workspace, "stats", "language=zh")
    assert "30 examples" in text
    assert "coverage.png" in text


def test_ls_finds_by_text_and_selector(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        json.loads(line)
        for line in said(capsys, workspace, "ls", "--json", "n=500", "prompt=listing_spam").splitlines()
    ]
    assert len(lines) == 60
    assert {line["category"] for line in lines} == {"spam"}
    word = lines[0]["content"].split()[0].lower()
    matching = [json.loads(line) for line in said(capsys, workspace, "ls", word, "--json", "n=500").splitlines()]
    assert lines[0]["id"] in {line["id"] for line in matching}
    assert all(word in line["content"].lower() for line in matching)


def test_trace_walks_to_the_prompt_and_on_to_the_version(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "mod@1" in said(capsys, workspace, "export", "name=mod")
    identity = json.loads(said(capsys, workspace, "ls", "--json", "n=1", "prompt=general_ok"))["id"]
    chain = json.loads(said(capsys, workspace, "trace", identity, "--json"))
    [origin] = chain["origins"]
    assert origin["completion"]["request"] == origin["request"]["id"]
    assert origin["request"]["prompt_id"] == origin["prompt_file"]["id"]
    assert origin["request"]["messages"][-1]["role"] == "user"
    content = chain["example"]["content"]
    assert content in [item["text"] for item in json.loads(origin["completion"]["text"])]
    assert chain["versions"][0]["name"] == "mod"
    drawn = said(capsys, workspace, "trace", identity[:16])
    for part in (identity, "prompt general_ok", origin["request"]["id"], "in mod@1, split"):
        assert part in drawn.replace("\n", " ") or part in drawn
    back = json.loads(said(capsys, workspace, "trace", origin["completion"]["id"], "--json"))
    assert identity in back["examples"]


def test_show_prints_records_and_versions(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said(capsys, workspace, "export", "name=shown")
    assert "# shown" in said(capsys, workspace, "show", "shown@1")
    run_id = Store(workspace).rows("SELECT id FROM runs LIMIT 1")[0][0]
    shown = json.loads(said(capsys, workspace, "show", run_id, "--json"))
    assert shown["kind"] == "runs"
    assert shown["settings"]["n"] == 60


def test_dedup_explains_pairs_and_removes_nothing(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Store(workspace).rows("SELECT count(*) FROM examples")
    found = json.loads(said(capsys, workspace, "dedup", "--json", "threshold=0.3", "n=50"))
    assert found["examples"] == 120
    assert found["kept"] + found["left_out"] == 120
    assert all(score >= 0.3 for *_, score in found["shown"])
    assert Store(workspace).rows("SELECT count(*) FROM examples") == before
    dedups = Store(workspace).rows("SELECT count(*) FROM dedups")
    said(capsys, workspace, "dedup", "threshold=0.3")
    assert Store(workspace).rows("SELECT count(*) FROM dedups") == dedups


def test_checks_append_only_what_changed(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store(workspace)
    [(example,)] = store.rows("SELECT id FROM examples ORDER BY id LIMIT 1")
    assert json.loads(said(capsys, workspace, "checks", "--json"))["changed"] == 0
    # An older version of a check dropped it; today's passes it.
    outdated = Verdict(example=example, by=f"check:{CHECKS[0].name}@0", decision=Decision.DROP, reason="was too strict")
    with Writer(store) as writer:
        writer.append([verdict_row(outdated)], durable=True)
    assert store.rows("SELECT status FROM status WHERE example = ?", [example]) == [("dropped",)]
    assert json.loads(said(capsys, workspace, "checks", "--json", f"only={CHECKS[0].name}"))["changed"] >= 1
    assert store.rows("SELECT status FROM status WHERE example = ?", [example])[0][0] in ("passed", "flagged")
    assert len(store.rows("SELECT 1 FROM verdicts WHERE example = ? AND version = '0'", [example])) == 1
