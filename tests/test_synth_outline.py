"""Outlines: what the rule reads, and `synth outline` with editing and its errors."""

import json
from pathlib import Path

import pytest
import yaml

from curation.courses import flaws
from curation.documents import Branch, Outline
from curation.shelf import current_outline, document, keep_document
from curation.store import Store
from synth.outlining import outline_of
from tests.sop_kit import document as shipped
from tests.sop_kit import of_text, outline

PLAIN = """# Lost key

1. Ask for the room number.
2. Is the guest in the hotel?
- Yes → step 3
- No → step 5
3. Ask the guest to show a passport or an identity card.
4. If the names differ, go to step 6; otherwise go to step 5.
5. Make a new key.
6. Call the manager.
"""
CHINESE = """# 钥匙丢失

## 流程

1. 询问房间号码。
2. 如果客人在酒店内，转到第3步；否则转到第4步。
3. 请客人出示护照。
4. 仅当夜间时：先打电话给值班经理。
5. 制作新钥匙。
"""


def ways(made: Outline) -> dict[str, tuple[Branch, ...]]:
    return {step.id: step.branches for step in made.steps if step.branches}


def test_a_plain_numbered_list_is_an_outline() -> None:
    made = outline_of(of_text(PLAIN, title="Lost key"))
    assert [(step.id, step.kind) for step in made.steps] == [
        ("1", "action"), ("2", "decision"), ("3", "action"), ("4", "decision"), ("5", "action"), ("6", "outcome"),
    ]  # fmt: skip
    assert ways(made) == {
        "2": (Branch(when="Yes", to="3"), Branch(when="No", to="5")),
        "4": (Branch(when="the names differ", to="6"), Branch(when="otherwise", to="5")),
    }
    assert [one.text for one in made.evidence] == ["room number", "passport or an identity card"]
    assert made.step["1"].evidence == ("E1",)
    assert list(flaws(made)) == []


def test_chinese_forms_are_read_as_well() -> None:
    made = outline_of(of_text(CHINESE, title="钥匙丢失"))
    assert made.language == "zh"
    assert ways(made) == {"2": (Branch(when="客人在酒店内", to="3"), Branch(when="否则", to="4"))}
    assert made.step["4"].when == "夜间"
    assert [one.text for one in made.evidence] == ["房间号码", "护照"]
    assert made.steps[-1].kind == "outcome"


def test_both_languages_of_one_sop_give_the_same_ways() -> None:
    def shape(made: Outline) -> list[tuple[object, ...]]:
        return [
            (step.id, step.kind, step.evidence, tuple(one.to for one in step.branches), step.when is None, step.then)
            for step in made.steps
        ]

    assert shape(outline("returns_abuse")) == shape(outline("returns_abuse_zh"))


@pytest.fixture
def shelf(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workspace.parent)
    keep_document(Store(workspace), shipped("returns_abuse"))
    return workspace


def synth(capsys: pytest.CaptureFixture[str], workspace: Path, *words: str) -> tuple[int, str, str]:
    import sys

    from curation.commands import main
    from synth.cli import COMMANDS

    before, sys.argv = sys.argv, ["synth", *words, f"workspace={workspace}"]
    try:
        code = main("synth", "", COMMANDS)
    finally:
        sys.argv = before
    said = capsys.readouterr()
    return code, said.out, said.err


def test_an_outline_is_shown_written_edited_and_taken_back(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = synth(capsys, shelf, "outline", "returns_abuse", "to=outlines")
    assert code == 0
    assert "6.1" in out
    assert "outlines/returns_abuse.yaml" in out
    path = Path("outlines/returns_abuse.yaml")
    text = path.read_text()
    code, out, _ = synth(capsys, shelf, "outline", f"edited={path}", "by=ann")
    assert "nothing changed" in out
    path.write_text(
        text.replace("kind: outcome\n  text: return accepted", "kind: outcome\n  text: return accepted in full")
    )
    code, out, _ = synth(capsys, shelf, "outline", f"edited={path}", "by=ann")
    assert (code, "stored" in out) == (0, True)
    store = Store(shelf)
    held = current_outline(store, document(store, "returns_abuse").id)
    assert held is not None
    assert (held.by, held.step["10"].text) == ("human:ann", "return accepted in full")
    assert held.steps[0] == outline("returns_abuse").steps[0]
    code, out, _ = synth(capsys, shelf, "outline", "returns_abuse", "rule=true", "--json")
    assert store.rows("SELECT count(*) FROM outlines")[0][0] == 3  # rule, ann's two; the rule's again is no news
    code, out, _ = synth(capsys, shelf, "outline", "returns_abuse", "--json")
    assert json.loads(out)[0]["by"] == "human:ann"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("to: '9.1'", "to: '99'", "goes to '99', which is no step"),
        ("kind: outcome", "kind: ending", "steps.17.kind: should be 'action', 'decision' or 'outcome'"),
        ("page: 2", "page: 200", "has 6 pages, got 200"),
        ("evidence: [E1]", "evidence: [E11]", "evidence 'E11' is not listed"),
        ("  text: Greet", "  txet: Greet", "unknown key 'steps.0.txet'"),
        ("document: dc1_", "document: dc1_f", "rendered anew"),
        ("language: en", "language: 3", "expected a text"),
        ("id: '1.2'", "id: '1.1'", "have the same id"),
        ("box: [0.1,", "box: [7.1,", "a box is left, top, right, bottom"),
    ],
)
def test_what_is_wrong_in_an_edited_outline_is_named_with_its_line(
    shelf: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, says: str
) -> None:
    synth(capsys, shelf, "outline", "returns_abuse", "to=outlines")
    path = Path("outlines/returns_abuse.yaml")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    code, out, err = synth(capsys, shelf, "outline", f"edited={path}", "by=ann")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert says.lower() in line.lower()
    where = int(line.partition("returns_abuse.yaml:")[2].partition(":")[0])
    changed = text[: text.index(old)].count("\n") + 1
    assert abs(where - changed) <= 16  # the field itself, or the step or list around it
    assert Store(shelf).rows("SELECT count(*) FROM outlines WHERE starts_with(author, 'human:')") == [(0,)]


def test_the_written_form_is_read_by_any_yaml_reader(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    synth(capsys, shelf, "outline", "returns_abuse", "to=outlines")
    data = yaml.safe_load(Path("outlines/returns_abuse.yaml").read_text())
    assert [step["id"] for step in data["steps"]] == [step.id for step in outline("returns_abuse").steps]
    code, _, err = synth(capsys, shelf, "outline", "returns_abuse", "to=outlines")
    assert (code, "exists; delete it first" in err) == (2, True)
    code, _, err = synth(capsys, shelf, "outline", "edited=nowhere.yaml")
    assert (code, "no such file" in err) == (2, True)
