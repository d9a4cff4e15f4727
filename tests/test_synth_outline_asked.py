"""Outlines that a model reads: quotes held against the pages, faults, money, batches; asked of the loopback servers."""

import json
from pathlib import Path
from typing import Any

import pytest
from fakeprovider import FakeProvider
from provider_kit import MODELS, asking

from curation.documents import Block, Document, Outline, Page, Place
from curation.errors import InputError
from curation.records import Completion, Finish
from curation.shelf import current_outline, save_outline
from curation.store import Store
from synth.config import OutlineSettings
from synth.outline_asking import Report, ask_outlines, load_instruction
from synth.outline_reading import Printed, doubts, output_schema, read
from synth.progress import Progress
from tests.sop_kit import of_text, outline
from tests.test_provider_pages import drawn

TEXT = """# Lost key

1.1 Ask for the room number, and see a pass-
port.

1.2 If the names differ, go to step 1.4; otherwise go to step 1.3.

1.3 Make a new key.

1.4 Call the manager.
"""


def step(number: str, text: str, page: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": number, "kind": "action", "text": text, "page": page, **more}


def said(*steps: dict[str, Any], **more: Any) -> Completion:
    return Completion(request="rq1_0", text=json.dumps({"language": "en", "steps": steps, **more}))


WAYS = [{"when": "the names differ", "to": "1.4"}, {"when": "otherwise", "to": "1.3"}]
GOOD = (
    step("1.1", "Ask for the room number", evidence=["E1"]),
    step("1.2", "If the names differ, go to step 1.4; otherwise go to step 1.3.", kind="decision", branches=WAYS),
    step("1.3", "Make a new key", kind="outcome"), step("1.4", "call the MANAGER", kind="outcome"),
)  # fmt: skip
SEEN = [{"id": "E1", "text": "a passport", "page": 1}]


def test_each_step_is_placed_where_its_words_stand() -> None:
    document = of_text(TEXT, title="Lost key")
    made = read(said(*GOOD, evidence=SEEN), document, "model:m")
    assert isinstance(made, Outline)
    blocks = {block.number: block.place for page in document.pages for block in page.blocks if block.number}
    assert [one.place for one in made.steps] == [blocks[one.id] for one in made.steps]
    first, second = document.pages[0].blocks[1:3]  # a word that two lines share is one word
    assert made.evidence[0].place.box == (*first.place.box[:3], second.place.box[3])
    assert (made.by, made.steps[1].branches[0].to) == ("model:m", "1.4")
    assert list(doubts(made, document)) == []


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (said(step("1.1", "Ask for the name of their first pet")), "step 1.1: 'Ask for the name of their first pet' stands nowhere"),
        (said(*GOOD, evidence=[{"id": "E1", "text": "a driving licence", "page": 1}]), "evidence E1: 'a driving licence' stands nowhere"),
        (said(step("1.1", "room number see a passport")), "stands nowhere in the SOP"),  # not next to each other
        (said(step("1", "a")), "stands nowhere"),  # every page has an a
        (said(step("1.1", "Make a new key", page=7)), "page 7 of 1"),
        (said(*GOOD), "evidence 'E1' is not listed"),
        (said(step("1.3", "Make a new key", then="9")), "goes to '9', which is no step"),
        (said(step("1.3", "Make a new key", kind="ending")), "not an outline: steps.0.kind"),
        (said(), "not an outline: steps"),
        (Completion(request="rq1_0", text="Here is the outline that you wanted."), "no JSON object"),
        (Completion(request="rq1_0", text='{"language": "en", "steps": [{"id"', finish=Finish.LENGTH), "cut off, as it reached max_tokens"),
    ],
)  # fmt: skip
def test_what_the_pages_do_not_say_is_no_outline(answer: Completion, why: str) -> None:
    made = read(answer, of_text(TEXT), "model:m")
    assert isinstance(made, str)
    assert why in made


def test_the_page_is_the_one_that_has_the_words() -> None:
    document = of_text("1.1 Call the manager.\n" + "\n" * 60 + "1.2 Wait for the manager.\n\n1.3 Call the manager.\n")
    printed = Printed(document)
    assert [printed.place("Call the manager.", page).page for page in (1, 2, 3)] == [1, 1, 3]  # type: ignore[union-attr]
    assert printed.place("call the police", 1) is None


def test_what_only_an_image_shows_is_placed_there_and_doubted() -> None:
    box = (0.2, 0.3, 0.8, 0.9)
    figure = Block(kind="figure", text="", place=Place(page=2, box=box))
    text = Block(kind="step", text="Look at the chart.", number="1", place=Place(page=2, box=(0.1, 0.1, 0.9, 0.2)))
    pages = tuple(
        Page(number=number, image="0" * 64, width=10, height=10, text="", blocks=blocks)
        for number, blocks in ((1, ()), (2, (text, figure)))
    )
    document = Document(sha256="0", name="x", path="x.pdf", media_type="application/pdf", title="X", pages=pages)
    made = read(
        said(step("1", "Look at the chart."), step("2", "Ask the guest", 2, when="at night"), step("3", "Greet the guest", kind="outcome")),
        document, "model:m",
    )  # fmt: skip
    assert isinstance(made, Outline)
    assert [one.place for one in made.steps] == [text.place, figure.place, Place(page=1, box=(0, 0, 1, 1))]
    assert list(doubts(made, document)) == [
        "step 2: no text on page 2 says this; it was read off the image",
        "step 3: no text on page 1 says this; it was read off the image",
        "step 2: the condition 'at night' is not in the SOP's words",
    ]


# -- asked of the loopback servers ---------------------------------------------------------------------------------


def ask(
    server: FakeProvider, workspace: Path, *documents: Document, provider: str = "anthropic", **more: Any
) -> Report:
    settings = asking(provider, server, workspace.parent, **{"max_tokens": 16_000, **more})
    return ask_outlines(Store(workspace), documents, OutlineSettings(workspace=workspace, **settings), Progress())


@pytest.mark.parametrize(("provider", "mode"), [("anthropic", "live"), ("together", "live"), ("anthropic", "batch")])
def test_a_model_reads_outlines_and_is_paid_once(workspace: Path, provider: str, mode: str) -> None:
    documents = [drawn(workspace, "returns_abuse", alike=(2, 4)), drawn(workspace, "account_takeover")]
    with FakeProvider(faults={"cut_off": 1.0} if mode == "live" else {}, stubborn=1) as server:
        report = ask(server, workspace, *documents, provider=provider, mode=mode, poll_s=0.05, gather_s=0.05)
        seen = server.stats()
        again = ask(server, workspace, *documents, provider=provider, mode=mode)
        assert server.stats()["requests"] == seen["requests"]
    assert (report.complete, report.traffic.asked, again.traffic.asked) == (True, 2, 0)
    assert (seen["images_repeated"], seen["answered"]) == (0, 2)
    shown = sum(len({page.image for page in one.pages}) for one in documents)
    assert mode == "batch" or seen["images"] >= shown  # the server counts those of live requests
    store = Store(workspace)
    for one in documents:
        held = current_outline(store, one.id)
        assert held is not None
        assert held.by == f"model:{MODELS[provider]}"
        rule = outline(one.name)
        assert {step.id: step.place for step in held.steps}.items() <= {
            step.id: step.place for step in rule.steps
        }.items()
    rows = store.rows(
        "SELECT body ->> '$.outline', requests.variables ->> '$.document' FROM run_events "
        "JOIN completions ON completions.id = body ->> '$.completion' JOIN requests ON requests.id = completions.request "
        "WHERE kind = 'outlined' AND run_events.run = ?", [report.run],
    )  # fmt: skip
    assert set(rows) == {(one.outline.id, one.document.name) for one in report.outlined if one.outline}
    assert store.rows("SELECT count(*) FROM outlines") == [(2,)]


def test_invented_steps_are_refused_asked_again_and_kept_as_malformed(workspace: Path) -> None:
    one = drawn(workspace, "returns_abuse")
    save_outline(Store(workspace), outline("returns_abuse").model_copy(update={"document": one.id}))
    with FakeProvider(faults={"off_procedure": 1.0}) as server:
        report = ask(server, workspace, one)
    assert (report.complete, report.traffic.asked) == (False, 2)
    assert "first pet" in report.outlined[0].why
    store = Store(workspace)
    reasons = store.rows("SELECT reason FROM malformed JOIN completions ON completions.id = malformed.completion")
    assert [("stands nowhere in the SOP" in reason) for (reason,) in reasons] == [True, True]
    asked = store.rows("SELECT messages FROM requests ORDER BY attempt")
    assert ["first pet" in messages for (messages,) in asked] == [False, True]  # it is told what was wrong
    held = current_outline(store, one.id)
    assert held is not None
    assert held.by.startswith("rule:")
    with FakeProvider() as server:  # the answers are known by now: a better model has to be asked
        again = ask(server, workspace, one)
    assert (again.complete, again.traffic.asked) == (False, 0)


def test_answers_that_are_no_json_are_counted_and_nothing_is_lost(workspace: Path) -> None:
    documents = [drawn(workspace, name) for name in ("returns_abuse", "account_takeover", "refund_late_parcel")]
    with FakeProvider(faults={"malformed": 0.7, "refusal": 0.2}, seed=3) as server:
        report = ask(server, workspace, *documents)
    store = Store(workspace)
    counted = store.rows("SELECT count(*) FROM completions")[0][0]
    assert counted == report.traffic.asked >= len(documents)
    unread = store.rows("SELECT count(*) FROM malformed")[0][0]
    refused = sum(one.why == "refused" for one in report.outlined)
    made = sum(one.outline is not None for one in report.outlined)
    assert unread + refused + made == counted
    assert unread > 0
    assert all(one.why for one in report.outlined if one.outline is None)


def test_an_answer_that_reached_max_tokens_is_not_asked_again_for_the_same(workspace: Path) -> None:
    one = drawn(workspace, "returns_abuse")
    with FakeProvider() as server:
        report = ask(server, workspace, one, max_tokens=300)
        assert report.traffic.asked == 1
        assert (
            report.outlined[0].why == "broken JSON, cut off, as it reached max_tokens; give it more: max_tokens=32000"
        )
        assert ask(server, workspace, one).complete


def test_it_is_priced_and_confirmed_before_and_only_for_what_is_new(workspace: Path) -> None:
    one = drawn(workspace, "returns_abuse")
    with FakeProvider() as server:
        with pytest.raises(InputError, match=r"outlining 1 documents may cost \$0\.\d+-0\.\d+; go ahead with yes=true"):
            ask(server, workspace, one, yes=False, confirm_usd=0)
        assert server.stats()["requests"] == 0
        first = ask(server, workspace, one, max_usd=1)
        assert ask(server, workspace, one, yes=False, confirm_usd=0).complete  # paid already
    assert 0 < first.traffic.cost_usd < 0.1


def test_instructions_and_settings_that_cannot_be_used_are_refused(workspace: Path, tmp_path: Path) -> None:
    from synth.show_outline import outline_command

    long = of_text("\n".join(f"{n}. Do thing number {n}." + "\n" * 24 for n in range(1, 120)), name="long")
    pages = tuple(page.model_copy(update={"image": f"{page.number:064x}"}) for page in long.pages)
    with FakeProvider() as server, pytest.raises(InputError, match=r"a request shows 100 at most; .* images=false"):
        ask(server, workspace, long.model_copy(update={"pages": pages}))
    path = tmp_path / "mine.yaml"
    for text, why in (
        ("description: an outline\nsystem: x\nuser: '{{ pagse }}'", "{{ pagse }} is not defined"),
        ("description: an outline\nsystem: x\nuser: '{{ pages }}'", "{{ format_instructions }} is missing"),
        ("description: an outline\nsystem: x\nuser: '{{ pages'", "bad Jinja"),
        ("description: an outline\nsystem: x", "'user' is missing"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as wrong:
            load_instruction(str(path))
        assert why in str(wrong.value)
    with pytest.raises(InputError, match="rule=true makes outlines without a model"):
        outline_command(
            OutlineSettings(workspace=workspace, documents=("x",), provider="anthropic", model="m", rule=True)
        )
    assert json.dumps(output_schema()).count('"additionalProperties": false') == 4


def test_the_command_says_what_became_of_each_document(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from synth.show_outline import outline_command

    drawn(workspace, "returns_abuse")
    with FakeProvider() as server:
        settings = OutlineSettings(
            workspace=workspace, documents=("returns_abuse",), to=workspace.parent / "outlines",
            **asking("anthropic", server, workspace.parent, max_tokens=16_000),
        )  # fmt: skip
        assert outline_command(settings) == 0
        out = capsys.readouterr().out
        assert f"by model:{MODELS['anthropic']}" in out
        assert "1 of 1 outlined, 1 requests asked, 0 answered before, $0.0" in out
        assert "synth outline edited=" in out
        assert outline_command(settings.model_copy(update={"as_json": True, "to": None})) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["asked"][0]["outline"] == told["outlines"][0]["id"]
