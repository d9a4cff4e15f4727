"""Dialogues along graphs, end to end: annotations, retrieval, several models, the baseline, faults, coverage."""

import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from graph_replay import Replay
from synth_kit import accepted, column, contents, filled
from test_synth_graph import SHOP, TINY, write

from curation.errors import InputError
from curation.records import EXAMPLE, Dialogue
from curation.store import Store
from synth.cli import COMMANDS
from synth.config import CoverageSettings
from synth.dialogue_prompt import GraphPrompt, whole_dialogue
from synth.prompts import load
from synth.show_graph import coverage_command

LIBRARY = Path(__file__).parent.parent / "prompts"


def dialogues(workspace: Path) -> list[Dialogue]:
    rows = column(
        workspace,
        "SELECT body FROM examples JOIN status ON example = examples.id WHERE status <> 'dropped' ORDER BY examples.id",
    )
    found = [EXAMPLE.validate_json(row) for row in rows]
    assert all(isinstance(one, Dialogue) for one in found)
    return found  # type: ignore[return-value]


def run_words(command: str, *words: str, capsys: pytest.CaptureFixture[str]) -> str:
    from curation.commands import main

    assert main("synth", "", COMMANDS, [command, *words]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", ["recipe", "ecommerce", "returns"])
def test_shipped_dialogues_are_sound_in_four_languages(name: str, workspace: Path) -> None:
    report = filled(workspace, (name,), n=24)
    assert report.complete
    assert report.tallies[0].rejected == {}
    assert report.tallies[0].flagged <= 2
    prompt = load(name)
    assert isinstance(prompt, GraphPrompt)
    replay = Replay(prompt.plot.path)
    for dialogue in dialogues(workspace):
        assert dialogue.scenario == name
        spoken = [turn for turn in dialogue.turns if turn.role != "tool"]
        for turn in spoken:
            assert turn.annotation is not None
            state = replay.states[turn.annotation["state"]]
            assert {"user": "user", "system": "assistant"}[state["who"]] == turn.role
            act = turn.annotation["intent" if turn.role == "user" else "action"]
            assert act == (state.get("act") or turn.annotation["state"])
            assert set(turn.annotation.get("slots", {})) <= set(state.get("slots", {}))
            for value in turn.annotation.get("slots", {}).values():  # said in so many words
                for part in value if isinstance(value, list) else [value]:
                    said = f"{part:g}" if isinstance(part, float) else str(part)
                    assert said.casefold() in turn.content.casefold()
        for before, after in pairwise(spoken):
            assert after.annotation["state"] in replay.transitions(before.annotation["state"])  # type: ignore[index]
        assert replay.states[spoken[-1].annotation["state"]].get("end")  # type: ignore[index]
        _check_searches(dialogue, prompt)
        if name == "ecommerce":
            _check_cart(dialogue)
        if name == "returns":
            steps = {cite for turn in spoken if turn.role == "assistant" for cite in turn.cites}
            assert steps <= set(prompt.plot.sop)
            assert "1.1" in steps
    assert {dialogue.language for dialogue in dialogues(workspace)} == {"en", "zh", "ms", "ta"}


def _check_searches(dialogue: Dialogue, prompt: GraphPrompt) -> None:
    known = {place for corpus in prompt.corpora.values() for place in corpus.places}
    for turn, following in zip(dialogue.turns, dialogue.turns[1:], strict=False):
        if turn.role != "tool":
            continue
        hits = json.loads(turn.content)
        ids = [hit["id"] for hit in hits]
        assert set(ids) <= known
        assert len(set(ids)) == len(ids) == len(turn.cites)
        assert following.role == "assistant"
        assert following.cites == tuple(ids)  # what is shown is what was found
        assert all(str(hit["name"]) in following.content for hit in hits)
        golden = turn.annotation["golden"]  # type: ignore[index]
        assert golden is None or golden in ids


def _check_cart(dialogue: Dialogue) -> None:
    """A cart kept by hand from what was said: the total of the order is the sum of what is in it."""
    prices: dict[str, float] = {}
    cart: list[str] = []
    for turn in dialogue.turns:
        if turn.role == "tool":
            prices |= {hit["name"]: hit["price"] for hit in json.loads(turn.content)}
            continue
        assert turn.annotation is not None
        act = turn.annotation.get("intent") or turn.annotation["action"]
        slots = turn.annotation.get("slots", {})
        if act == "add_to_cart":
            assert slots["product"] in prices
            cart.append(slots["product"])
        elif act == "remove_from_cart":
            cart.remove(slots["product"])
        elif act == "compare_products":
            assert slots["first"] != slots["second"]
        elif act == "order_placed":
            assert cart
            assert f"{sum(prices[name] for name in cart):.2f}" in turn.content


def test_the_golden_document_stands_anywhere_among_the_hits() -> None:
    places: Counter[int] = Counter()
    prompt = load("ecommerce")
    assert isinstance(prompt, GraphPrompt)
    for number in range(250):
        for turn in whole_dialogue(prompt, "en", f"golden/{number}"):
            if turn.role == "tool" and turn.annotation["golden"]:  # type: ignore[index]
                places[[hit["id"] for hit in json.loads(turn.content)].index(turn.annotation["golden"])] += 1  # type: ignore[index]
    total = sum(places.values())
    assert set(places) == {0, 1, 2, 3}
    for count in places.values():
        assert abs(count / total - 0.25) < 3 * (0.25 * 0.75 / total) ** 0.5


def test_the_same_seed_gives_the_same_dialogues_and_more_only_adds(workspace: Path, tmp_path: Path) -> None:
    filled(workspace, ("returns",), n=6)
    before = accepted(workspace)
    filled(tmp_path / "other", ("returns",), n=10)
    more = filled(workspace, ("returns",), n=10)
    assert more.complete
    assert before < accepted(workspace)
    assert contents(workspace)["examples"] == contents(tmp_path / "other")["examples"]
    assert more.traffic.replayed == sum(len(dialogue_turns) for dialogue_turns in _turns(before, workspace))
    prompt = load("returns")
    assert isinstance(prompt, GraphPrompt)
    assert [prompt.walker(0).walk(i) for i in range(6)] != [prompt.walker(1).walk(i) for i in range(6)]


def _turns(ids: set[str], workspace: Path) -> list[tuple[object, ...]]:
    return [dialogue.turns for dialogue in dialogues(workspace) if dialogue.id in ids]


def test_two_models_are_dealt_evenly_and_a_third_plays_the_user(workspace: Path) -> None:
    report = filled(workspace, ("returns",), n=12, model=["a", "b"], user_model="c")
    assert report.complete
    assert Counter(column(workspace, "SELECT axes ->> '$.model' FROM origins")) == {"a": 6, "b": 6}
    assert set(column(workspace, "SELECT axes ->> '$.user_model' FROM origins")) == {"c"}
    asked = Store(workspace, create=False).rows(
        "SELECT variables ->> '$.role', model, count(*) FROM requests GROUP BY ALL"
    )
    assert {(role, model) for role, model, _ in asked} == {("user", "c"), ("system", "a"), ("system", "b")}
    assert filled(workspace, ("returns",), n=12, model=["a", "b"], user_model="c").traffic.asked == 0
    with pytest.raises(InputError, match="models: is for dialogues along a graph"):
        filled(workspace, ("general_ok",), n=5, model=["a", "b"])


def test_without_a_graph_each_dialogue_is_one_request(workspace: Path) -> None:
    report = filled(workspace, ("ecommerce",), n=8, graph="none")
    assert report.complete
    assert report.traffic.asked == 8
    for dialogue in dialogues(workspace):
        assert {turn.role for turn in dialogue.turns} == {"user", "assistant"}
        assert all(turn.annotation["state"] for turn in dialogue.turns)  # type: ignore[index]


def test_what_cannot_be_read_is_kept_and_the_dialogue_asked_again(workspace: Path) -> None:
    report = filled(workspace, ("returns",), n=12, offline={"fault_rate": 0.05}, max_attempts=30)
    assert report.complete
    assert report.tallies[0].rejected.get("malformed", 0) >= 1
    reasons = column(workspace, "SELECT reason FROM malformed")
    assert len(reasons) == report.tallies[0].rejected["malformed"]
    assert all(reason.startswith(("user turn:", "system turn:")) for reason in reasons)
    for dialogue in dialogues(workspace):  # nothing of a broken attempt got in
        assert "in general terms" not in dialogue.content
        assert "I can't help" not in dialogue.content


def test_a_users_turn_that_leaves_its_number_out_is_malformed() -> None:
    from curation.records import Completion
    from synth.programs.graph import _read
    from synth.scene import Need

    need = Need("user", "search", 0, {"max_minutes": 30, "cuisine": "Malay"}, {}, ())
    for text, wrong in (
        ("Something Malay in 30 minutes", None),
        ("三十分钟的马来菜，要 ３０ 分钟内", None),
        ("Something Malay, fast", "user turn: does not say max_minutes 30"),
        ("User: Malay food in 30 minutes", "user turn: names its speaker"),
    ):
        answer = Completion(request="rq1_0", text=json.dumps([{"text": text}], ensure_ascii=False))
        said, malformed = _read(answer, need)
        assert (said is None) == (wrong is not None)
        assert (malformed.reason if malformed else None) == wrong


def test_ones_own_corpus_takes_the_place_of_the_graphs_first(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Path())
    Path("mine.csv").write_text(
        "title,cost\n"
        + "".join(f"{colour} stool,{10 + i}\n" for i, colour in enumerate(("oak", "pine", "teak", "ash"))),
        encoding="utf-8",
    )
    report = filled(
        workspace, "tiny.yaml", n=6, corpus={"path": "mine.csv", "columns": {"name": "title", "price": "cost"}}
    )
    assert report.complete
    assert all("stool" in dialogue.content and "kettle" not in dialogue.content for dialogue in dialogues(workspace))
    with pytest.raises(InputError, match="no column 'price' for price; say which it is"):
        filled(workspace, "tiny.yaml", n=6, corpus={"path": "mine.csv", "columns": {"name": "title"}})
    Path("one.csv").write_text("name,price\nonly stool,3\n", encoding="utf-8")
    with pytest.raises(InputError, match="1 documents are too few to show 2"):
        filled(workspace, "tiny.yaml", n=2, corpus={"path": "one.csv"})


def test_show_check_and_coverage_tell_of_a_graph(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("prompts"))
    assert "6 states reachable, every walk can end" in run_words("check", "prompt=tiny", capsys=capsys)
    shown: dict[str, Any] = json.loads(run_words("show", "tiny", "samples=1", "--json", capsys=capsys))
    assert shown["states"]["ask"] == {"who": "user", "visits": pytest.approx(4 / 3)}
    assert Path(shown["plot"]).read_bytes().startswith(b"\x89PNG")
    assert "cart < 2" in run_words("show", "tiny", "samples=1", capsys=capsys)
    assert "tiny" in run_words("ls", capsys=capsys)
    report = filled(workspace, ("tiny",), n=30, steer=True)
    assert report.complete
    told = json.loads(run_words("coverage", "tiny", "--json", capsys=capsys))
    assert told["dialogues"] == 30
    assert all(told["states"].values())
    assert all(one["times"] for one in told["transitions"])
    assert Path(told["plot"]).read_bytes().startswith(b"\x89PNG")
    assert "30 dialogues, 6 of 6 states" in run_words("coverage", "tiny", capsys=capsys)
    with pytest.raises(InputError, match="writes no dialogues"):
        coverage_command(CoverageSettings(workspace=workspace, prompt="general_ok"))


def test_prices_of_a_tool_turn_are_those_of_the_file(workspace: Path) -> None:
    write(Path())
    assert filled(workspace, "tiny.yaml", n=10).complete
    known = {row.split(",")[1]: float(row.split(",")[2]) for row in SHOP.splitlines()[1:]}
    assert TINY["corpora"]["shop"]["path"] == "shop.csv"
    for dialogue in dialogues(workspace):
        for turn in dialogue.turns:
            if turn.role == "tool":
                assert all(known[hit["name"]] == hit["price"] for hit in json.loads(turn.content))
