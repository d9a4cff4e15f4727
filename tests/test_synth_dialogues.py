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

from curation.documents import Outline
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
        if turn.role != "tool" or "golden" not in (turn.annotation or {}):  # a lookup in a record
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
    assert more.traffic.replayed == sum(_spoken(before, workspace))
    prompt = load("returns")
    assert isinstance(prompt, GraphPrompt)
    assert [prompt.walker(0).walk(i) for i in range(6)] != [prompt.walker(1).walk(i) for i in range(6)]


def _spoken(ids: set[str], workspace: Path) -> list[int]:
    """Turns that were asked for, of each of these dialogues."""
    return [
        sum(turn.role != "tool" for turn in dialogue.turns) for dialogue in dialogues(workspace) if dialogue.id in ids
    ]


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


def test_returns_follow_the_sop_to_page_and_box_and_conform(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from curation.conformance import conformance
    from curation.shelf import current_outline, document, outlines_of
    from synth.choice import plans
    from synth.config import RunSettings

    source = LIBRARY.parent / "docs/examples/sops/returns_abuse.pdf"
    assert filled(workspace, ("returns",), n=2).complete  # without the document nothing is cited by page
    assert {one.outline for one in dialogues(workspace)} == {None}
    report = filled(workspace, ("returns",), n=60, documents=(str(source),))
    assert (report.complete, report.tallies[0].rejected, report.tallies[0].flagged) == (True, {}, 0)
    store = Store(workspace)
    one = document(store, "returns_abuse")
    outline = current_outline(store, one.id)
    assert outline is not None
    found = [each for each in dialogues(workspace) if each.outline]
    assert len(found) == 60
    assert set(outlines_of(store, found)) == {outline.id}
    said = column(workspace, "SELECT decision FROM verdicts WHERE author = 'check:conformance'")
    assert said == ["keep"] * 60
    for each in found:
        assert conformance(each, outline).score == 1.0
        for turn in each.turns:
            if turn.role == "assistant":
                assert turn.cites
                assert all(outline.step[step].place.page <= len(one.pages) for step in turn.cites)
    again = filled(workspace, ("returns",), n=60)  # the document is known by now
    assert again.traffic.asked == 0
    with pytest.raises(InputError, match="follows 'returns_abuse', which is not among account_takeover"):
        plans(
            RunSettings(
                workspace=workspace, prompt=("returns",), documents=(str(source.with_stem("account_takeover")),)
            )
        )


def test_a_graph_that_speaks_of_steps_its_sop_does_not_have_is_refused() -> None:
    from tests.sop_kit import outline

    prompt = load("returns")
    assert isinstance(prompt, GraphPrompt)
    sound = outline("returns_abuse")
    assert prompt.set_up({"outline": sound}).outline == sound
    for old, new, words in (
        ('"7.1"', '"7.9"', "states.ask_other.cites: '7.1' is not in the outline of 'returns_abuse'"),
        ('"E3"', '"E9"', "states.window_open.asks: 'E3' is not in the outline of 'returns_abuse'"),
        ('"the seal is broken"', '"no"', "states.ask_seal.facts.4.2: 'the seal is broken' is no answer of that step"),
    ):
        changed = Outline.model_validate_json(sound.model_dump_json().replace(old, new))
        with pytest.raises(InputError) as wrong:
            prompt.set_up({"outline": changed})
        assert words in str(wrong.value)
        assert "returns.yaml:" in str(wrong.value)


def test_a_returns_dialogue_that_leaves_the_sop_is_caught() -> None:
    from curation.conformance import conformance
    from tests.sop_kit import outline

    prompt = load("returns")
    assert isinstance(prompt, GraphPrompt)
    sound = outline("returns_abuse")
    faults: Counter[str] = Counter()
    for number in range(40):
        turns = whole_dialogue(prompt, "en", f"caught/{number}")
        places = [place for place, turn in enumerate(turns) if turn.role == "tool"]
        assert conformance(Dialogue(language="en", turns=tuple(turns)), sound).score == 1.0
        without = [turn for place, turn in enumerate(turns) if place != places[-1]]  # decided without looking it up
        checked = conformance(Dialogue(language="en", turns=tuple(without)), sound)
        assert checked.score < 1.0
        faults.update(fault.kind for fault in checked.faults if fault.sure)
    assert faults["evidence"] > 0
    assert faults["skipped"] > 0


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


def test_what_to_do_next_is_a_command_that_works_for_the_task(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from curation.cli import COMMANDS as CURATE
    from curation.commands import main

    source = LIBRARY.parent / "docs/examples/sops/returns_abuse.pdf"
    said = []
    for prompt, more in (("returns", []), ("sop_understanding", [f"documents={source}"]), ("general_ok", [])):
        out = run_words("run", prompt, "n=12", "language=en", f"workspace={workspace}", *more, capsys=capsys)
        said += [line.strip() for line in out.splitlines() if "curate export" in line]
    where = f" workspace={workspace}"
    assert said == [
        f"curate export name=dialogues format=oasst{where}",
        f"curate export name=questions format=messages task=qa{where}",
        f"curate export name=moderation task=moderation{where}",
    ]
    said[0] = said[0].replace("oasst", "oasst task=dialogue")  # as it would be said by now
    for command in said:
        assert main("curate", "", CURATE, command.split()[1:]) == 0


def test_prices_of_a_tool_turn_are_those_of_the_file(workspace: Path) -> None:
    write(Path())
    assert filled(workspace, "tiny.yaml", n=10).complete
    known = {row.split(",")[1]: float(row.split(",")[2]) for row in SHOP.splitlines()[1:]}
    assert TINY["corpora"]["shop"]["path"] == "shop.csv"
    for dialogue in dialogues(workspace):
        for turn in dialogue.turns:
            if turn.role == "tool":
                assert all(known[hit["name"]] == hit["price"] for hit in json.loads(turn.content))
