"""The program `sop` offline: accepted, conforming, citing real places, even over documents, branches and axes."""

import json
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curation.checks import CONFORMANCE
from curation.config import ChecksSettings, ShowSettings
from curation.courses import valid_facts
from curation.dedup.clusters import keep
from curation.dedup.near import family_of, near_pairs
from curation.documents import Step
from curation.errors import InputError
from curation.recheck import checks_command
from curation.records import EXAMPLE, QA, Completion, Dialogue
from curation.shelf import current_outline, documents, keep_document, outlines, save_outline
from curation.store import Store
from curation.trace import trace, trace_command
from synth.cases import case
from synth.choice import plans
from synth.config import RunSettings
from synth.programs.sop import read as read_answer
from synth.progress import Progress
from synth.prompts import builtin_folder, load_all
from synth.run import Report, run
from synth.sop_prompts import SopPrompt
from tests.sop_kit import NAMES, SOURCES, document, of_text, outline

PROMPTS = {prompt.name: prompt for prompt in load_all([builtin_folder()]) if isinstance(prompt, SopPrompt)}


@pytest.fixture
def shelf(workspace: Path) -> Path:
    """A workspace that has the shipped SOPs."""
    store = Store(workspace)
    for name in NAMES:
        keep_document(store, document(name))
    return workspace


def write(workspace: Path, prompt: str, n: int, **more: Any) -> Report:
    settings = {"documents": NAMES, **more}
    return run(RunSettings(prompt=(prompt,), n=n, workspace=workspace, **settings), Progress())


def test_the_library_has_four_sop_prompts_in_four_languages() -> None:
    assert set(PROMPTS) == {"sop_understanding", "sop_reasoning", "sop_robustness", "sop_dialogue"}
    for prompt in PROMPTS.values():
        assert set(prompt.grammars) == set(prompt.language) == {"en", "zh", "ms", "ta"}
        assert prompt.axes["pages"] == ("image", "text")


@pytest.mark.parametrize("name", sorted(PROMPTS))
def test_200_examples_conform_differ_and_cover_the_grid_evenly(shelf: Path, name: str) -> None:
    report = write(shelf, name, 200)
    assert report.complete
    assert report.tallies[0].rejected.get("malformed", 0) == 0
    store = Store(shelf)
    words = store.rows("SELECT decision, score, count(*) FROM verdicts WHERE author = 'check:conformance' GROUP BY ALL")
    assert {row[:2] for row in words} == {("keep", 1.0)}
    assert words[0][2] >= 200
    rows = store.rows("SELECT language, content FROM examples ORDER BY id")
    families = np.array([family_of(language) for language, _ in rows], dtype=np.uint8)
    kept, _ = keep(len(rows), near_pairs([text for _, text in rows], families, threshold=0.8))
    assert 1 - float(kept.mean()) < 0.05
    for axis, values in {**PROMPTS[name].axes, "document": NAMES}.items():
        shares = Counter(value for (value,) in store.rows("SELECT axes ->> ? FROM origins", [f"$.{axis}"]))
        assert set(shares) == set(map(str, values))
        even = sum(shares.values()) / len(values)
        assert all(0.8 * even <= count <= 1.2 * even for count in shares.values()), (axis, shares)
    flagged = store.rows("SELECT count(*) FROM status WHERE status = 'flagged'")[0][0]
    assert flagged <= 10  # short texts that quote another language


def test_dialogues_in_two_languages_cite_places_that_exist(shelf: Path) -> None:
    report = write(shelf, "sop_dialogue", 200, language=("en", "zh"))
    assert (report.complete, report.tallies[0].accepted) == (True, 200)
    store = Store(shelf)
    examples = [EXAMPLE.validate_json(body) for (body,) in store.rows("SELECT body FROM examples")]
    known = outlines(
        store, (example.outline for example in examples if isinstance(example, Dialogue) and example.outline)
    )
    laid_out = {document(name).id: document(name) for name in NAMES}
    walked = 0
    for example in examples:
        assert isinstance(example, Dialogue)
        assert example.outline
        sop = known[example.outline]
        pages = {page.number: page for page in laid_out[sop.document].pages}
        for turn in example.turns:
            assert bool(turn.cites) == (turn.role == "assistant")
            for cited in turn.cites:
                place = sop.step[cited].place
                assert any(block.place == place for block in pages[place.page].blocks)
                walked += 1
        shown = {page.image for page in pages.values()}
        assert set(example.images) in (set(), shown)
    assert walked > 2000


def test_the_shipped_pdfs_give_the_outlines_of_their_sources_and_every_citation_a_place(workspace: Path) -> None:
    folder = str(SOURCES.parent)
    report = write(workspace, "sop_dialogue", 24, language=("en", "zh"), documents=(folder,))
    assert (report.complete, report.tallies[0].accepted) == (True, 24)
    store = Store(workspace)
    rendered = {one.id: one for one in documents(store)}
    assert {one.name for one in rendered.values()} == set(NAMES)
    for one in rendered.values():
        made = current_outline(store, one.id)
        assert made is not None
        assert [shape(step) for step in made.steps] == [shape(step) for step in outline(one.name).steps]
        assert [(e.id, e.text, e.held_by) for e in made.evidence] == [
            (e.id, e.text, e.held_by) for e in outline(one.name).evidence
        ]
        for place in (*(step.place for step in made.steps), *(e.place for e in made.evidence)):
            assert any(block.place == place for block in one.pages[place.page - 1].blocks)
    for (image,) in store.rows("SELECT DISTINCT image FROM pages"):
        assert (workspace / "assets" / image).is_file()


def shape(step: Step) -> tuple[Any, ...]:
    return step.id, step.kind, step.text, step.when, step.evidence, step.branches, step.then, step.answered_by


def test_every_branch_of_every_decision_is_taken_often_and_every_step_reached() -> None:
    for name in NAMES:
        sop = outline(name)
        taken: dict[str, Counter[str]] = defaultdict(Counter)
        for place in range(96):
            visits = case(sop, place, seed=0, salt=name)
            assert visits == case(sop, place, seed=0, salt=name)
            assert visits[-1].step.kind == "outcome"
            for visit in visits:
                taken[visit.step.id][str(visit.fact)] += 1
        assert set(taken) == set(sop.step)
        for step in sop.steps:
            if facts := set(map(str, valid_facts(sop, step.id))):
                counts = taken[step.id]
                assert set(counts) == facts, (name, step.id)
                even = sum(counts.values()) / len(facts)
                assert all(0.3 * even <= count <= 2 * even for count in counts.values()), (name, step.id, counts)


def test_the_same_command_asks_nothing_again_and_more_only_the_rest(shelf: Path) -> None:
    write(shelf, "sop_robustness", 24)
    again = write(shelf, "sop_robustness", 24)
    assert (again.traffic.asked, again.complete) == (0, True)
    more = write(shelf, "sop_robustness", 36)
    assert (more.traffic.asked, more.complete) == (12, True)


def test_a_broken_answer_is_malformed_and_a_faulty_provider_is_survived(shelf: Path) -> None:
    report = write(shelf, "sop_reasoning", 60, offline={"fault_rate": 0.4})
    assert report.complete
    assert report.tallies[0].rejected["malformed"] > 0
    reasons = {row[0] for row in Store(shelf).rows("SELECT DISTINCT reason FROM malformed")}
    assert any("cut off" in reason for reason in reasons)
    assert any("no JSON" in reason for reason in reasons)


def test_an_edited_outline_is_what_the_next_run_rests_on(shelf: Path) -> None:
    store = Store(shelf)
    write(shelf, "sop_dialogue", 8, language=("en",), documents=("returns_abuse",))
    made = outline("returns_abuse")
    steps = tuple(
        step.model_copy(update={"text": "Greet the buyer and ask for the order number, please."})
        if step.id == "1.1"
        else step
        for step in made.steps
    )
    edited = save_outline(store, made.model_copy(update={"steps": steps, "by": "human:ann"}))
    save_outline(store, edited)
    assert store.rows("SELECT count(*) FROM outlines WHERE author = 'human:ann'") == [(1,)]
    save_outline(store, made)  # a rule does not supersede a person
    assert current_outline(store, made.document) == edited
    write(shelf, "sop_dialogue", 16, language=("en",), documents=("returns_abuse",))
    cited = {row[0] for row in store.rows("SELECT DISTINCT body ->> '$.outline' FROM examples")}
    assert cited == {made.id, edited.id}
    assert set(outlines(store, cited)) == cited


def test_settings_that_do_not_fit_are_refused_in_one_line(shelf: Path) -> None:
    for wrong, words in (
        ({"documents": ()}, "say which documents"),
        ({"documents": ("retuns_abuse",)}, "Did you mean 'returns_abuse'?"),
        ({"documents": (str(shelf),)}, "no PDF, DOCX"),
        ({"per_request": 5}, "one example at a time"),
        ({"axes": {"document": ("nowhere",)}}, "axes.document: no value 'nowhere'"),
        ({"prompt": ("general_ok",)}, "rests on none"),
    ):
        settings = RunSettings(**{"prompt": ("sop_dialogue",), "workspace": shelf, "documents": NAMES, **wrong})
        with pytest.raises(InputError, match=words.replace("?", r"\?")):
            plans(settings)


def test_a_document_without_steps_says_what_to_do(workspace: Path) -> None:
    keep_document(Store(workspace), of_text("# About us\n\nWe sell lamps.\n", name="lamps"))
    with pytest.raises(InputError, match="no numbered steps found; write its outline by hand"):
        plans(RunSettings(prompt=("sop_dialogue",), workspace=workspace, documents=("lamps",)))


def test_answers_of_models_are_read_strictly(shelf: Path) -> None:
    sop = outline("returns_abuse")

    def reading(answer: str, task: str = "dialogue") -> Any:
        return read_answer(Completion(request="r", text=answer), task, "en", sop, scenario="returns_abuse", images=())

    turns = [
        {
            "role": "user",
            "content": "Hi.",
            "facts": [{"step": "8.1", "holds": "true"}],
            "gives": ["E1"],
            "cites": [],
            "asks": [],
        },
        {
            "role": "assistant",
            "content": "Hello.",
            "cites": ["1.1"],
            "asks": ["E1"],
            "gives": [],
            "lacks": [],
            "facts": [],
        },
    ]
    whole = reading(json.dumps({"turns": turns}))
    assert isinstance(whole, Dialogue)
    assert whole.turns[0].annotation == {"gives": ["E1"], "facts": {"8.1": True}}
    assert (whole.turns[1].cites, whole.turns[1].annotation) == (("1.1",), {"asks": ["E1"]})
    assert isinstance(
        reading("Here it is:\n```json\n" + json.dumps({"dialogue": {"turns": turns}}) + "\n```"), Dialogue
    )
    assert isinstance(reading(json.dumps({"question": "Q?", "answer": "A.", "cites": ["1.1"]}), "qa"), QA)
    assert reading(json.dumps({"turns": turns})[:80]).startswith("broken JSON")
    assert reading("Sorry.") == "no JSON object in the answer"
    assert "role" in reading(json.dumps({"turns": [{"role": "boss", "content": "x"}]}))
    assert "extra" in reading(json.dumps({"turns": [{**turns[0], "mood": "sad"}]})).lower()
    assert "lacks 'turns'" in reading('{"a": 1, "b": 2}')


def test_a_trace_shows_the_page_of_each_step_and_the_turns_that_cite_it(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(shelf, "sop_dialogue", 1, language=("en",), documents=("returns_abuse",))
    store = Store(shelf)
    identity, body = store.rows("SELECT id, body FROM examples")[0]
    example = EXAMPLE.validate_json(body)
    assert isinstance(example, Dialogue)
    found = trace(store, identity)["citations"]
    assert [one["step"] for one in found] == list(dict.fromkeys(step for turn in example.turns for step in turn.cites))
    for one in found:
        place = outline("returns_abuse").step[one["step"]].place
        assert (one["page"], tuple(one["box"]), one["document"]) == (place.page, place.box, "returns_abuse")
        assert one["turns"] == [at for at, turn in enumerate(example.turns, 1) if one["step"] in turn.cites]
    trace_command(ShowSettings(id=identity, workspace=shelf))
    assert f"step {found[0]['step']}, page {found[0]['page']} · turn 2" in capsys.readouterr().out


def test_checks_run_again_with_the_outlines_of_the_store(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(shelf, "sop_reasoning", 6, documents=("returns_abuse",))
    checks_command(ChecksSettings(workspace=shelf, only=("conformance",), as_json=True))
    said = json.loads(capsys.readouterr().out)
    assert said == {"examples": 6, "changed": 0, "counts": [{"check": CONFORMANCE, "decision": "keep", "examples": 6}]}
