"""Dialogues as messages, tool calls and one text: what is kept, and that chat templates and the reader take it back."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import trl
from dialogue_kit import dialogues
from pydantic import ValidationError
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from curation.annotated import Markers, Spoken, closing, opening, segments, wanted, written
from curation.config import ExportSettings, SplitSettings
from curation.errors import InputError
from curation.export import Version, export
from curation.json_lines import plain
from curation.records import Decision, Dialogue, Imported, Moderation, Turn, Verdict, now
from curation.store import Store
from curation.tables import AnyExample, example_row, origin_row, verdict_row

ALL_IN_TRAIN = SplitSettings(train=1, validation=0, test=0)
TEMPLATES = Path(trl.__file__).parent / "chat_templates"


def put(workspace: Path, examples: list[Any]) -> None:
    store = Store(workspace)
    source = Imported(path="talks.jsonl", row=1, sha256="0" * 64)
    with store.write() as connection:
        store.insert(connection, "examples", [example_row(one, now())[1] for one in examples])
        store.insert(connection, "origins", [origin_row(one.id, source, now())[1] for one in examples])
        kept = [Verdict(example=one.id, by="check:all@1", decision=Decision.KEEP) for one in examples]
        store.insert(connection, "verdicts", [verdict_row(one)[1] for one in kept])


def exported(workspace: Path, examples: list[AnyExample], **settings: Any) -> tuple[Version, list[dict[str, Any]]]:
    put(workspace, examples)
    given = {"name": "talks", "workspace": workspace, "split": ALL_IN_TRAIN, "dedup": "none", **settings}
    version = export(ExportSettings(**given))
    return version, pq.read_table(next(version.folder.glob("data/train-*"))).to_pylist()


TALK = Dialogue(
    language="en", scenario="recipe",
    turns=(
        Turn(role="assistant", content="Hello!"),
        Turn(role="user", content="Find laksa", annotation={"state": "ask", "intent": "search_recipe", "slots": {"query": "laksa", "kinds": ["hot", "vegan"]}}),
        Turn(role="tool", content='[{"id": "r1"}]', annotation={"query": {"query": "laksa"}, "golden": "r1"}),
        Turn(role="assistant", content="I found one.", cites=("r1",)),
        Turn(role="user", content="Set 5 minutes", annotation={"state": "timer", "intent": "set_timer", "slots": {"minutes": 5}}),
        Turn(role="assistant", content="Set."),
    ),
)  # fmt: skip


# -- oasst ---------------------------------------------------------------------------------------------------------


def test_the_text_is_what_syntod_trains_on(tmp_path: Path) -> None:
    _, [row] = exported(tmp_path, [TALK], format="oasst", preamble="A talk ({scenario}), intents: {intents}:")
    assert row["text"] == (
        "A talk (recipe), intents: search_recipe, set_timer: ### ASSISTANT: Hello! ### HUMAN: Find laksa "
        '## {"intent":"search_recipe","kinds":["hot","vegan"],"query":"laksa"} ### RESULTS: [{"id": "r1"}] '
        '### ASSISTANT: I found one. ## {"cites":["r1"]} ### HUMAN: Set 5 minutes ## {"intent":"set_timer","minutes":5} ### ASSISTANT: Set.'
    )


def test_the_text_is_read_back(tmp_path: Path) -> None:
    made = dialogues(40)
    version, rows = exported(tmp_path, made, format="oasst")
    by_id = {one.id: one for one in made}
    for row in rows:
        turns = by_id[row["id"]].turns
        found = segments(row["text"], Markers())
        assert [(one.role, one.content) for one in found] == [(turn.role, turn.content) for turn in turns]
        for one, turn in zip(found, turns, strict=True):
            note = (
                wanted(turn.annotation) if turn.role == "user" else {"cites": list(turn.cites)} if turn.cites else None
            )
            assert one.note == note
            assert row["text"][one.begin :].startswith(Markers().roles[one.role])
            assert (row["text"][one.noted] == "{") if one.noted else (note is None)
    options = json.loads((version.folder / "manifest.json").read_text())["options"]
    assert options["annotations"] is True
    assert options["markers"]["user"] == "### HUMAN:"


@pytest.mark.parametrize(
    "content",
    ["say ### HUMAN: hi ## {\"intent\":\"x\"}", "### ASSISTANT:", "", "## Title\n### Step", '## {"a":1}', "  padded  ", "{}", "a ## b"],
)  # fmt: skip
@pytest.mark.parametrize("note", [None, {"intent": "x", "q": "a ## {b} ### HUMAN"}])
def test_nobody_can_speak_for_somebody_else(content: str, note: dict[str, Any] | None) -> None:
    turns = [Spoken("user", content, note), Spoken("assistant", content), Spoken("user", "end", note)]
    found = segments(written("Begin", turns, Markers()), Markers())
    assert [one.role for one in found] == ["user", "assistant", "user"]
    assert [one.note for one in found] == [note, None, note]
    assert found[1].content.replace(" ", "") == content.replace(" ", "").strip()


def test_markers_are_the_users_choice(tmp_path: Path) -> None:
    markers = Markers(user="<human>", assistant="<bot>", note="@@")
    _, [row] = exported(tmp_path, [TALK], format="oasst", markers=markers, annotations=True)
    assert ' <human> Set 5 minutes @@ {"intent":"set_timer","minutes":5} <bot> Set.' in row["text"]
    assert [one.role for one in segments(row["text"], markers)][:3] == ["assistant", "user", "tool"]
    _, [row] = exported(tmp_path, [TALK], name="plain", format="oasst", annotations=False)
    assert row["text"].startswith("### ASSISTANT: Hello! ### HUMAN: Find laksa ### RESULTS:")
    for wrong in ({"user": "### ASSISTANT:"}, {"user": " ### H:"}, {"tool": "### HUMAN: r"}, {"user": "#"}):
        with pytest.raises(ValidationError):
            Markers(**wrong)


# -- chat ----------------------------------------------------------------------------------------------------------


def test_messages_keep_annotations_when_asked(tmp_path: Path) -> None:
    _, [row] = exported(tmp_path, [TALK], format="messages")
    assert [(one["role"], one["content"]) for one in row["messages"]] == [
        (turn.role, turn.content) for turn in TALK.turns
    ]
    _, [row] = exported(tmp_path, [TALK], name="noted", format="messages", annotations=True)
    said = [(one["role"], one["content"]) for one in row["messages"]]
    assert said[0][0] == "system"
    assert said[0][1].endswith("Intents: search_recipe, set_timer.")
    assert said[1:] == [
        ("assistant", "Hello!"),
        ("user", "Find laksa"),
        ("assistant", '{"intent":"search_recipe","kinds":["hot","vegan"],"query":"laksa"}'),
        ("tool", '[{"id": "r1"}]'),
        ("assistant", 'I found one.\n{"cites":["r1"]}'),
        ("user", "Set 5 minutes"),
        ("assistant", '{"intent":"set_timer","minutes":5}\nSet.'),
    ]
    assert opening(said[-1][1]) == ({"intent": "set_timer", "minutes": 5}, "Set.")
    assert closing(said[5][1]) == ("I found one.", ["r1"])


def test_an_unannotated_selection_is_told_so(tmp_path: Path) -> None:
    bare = Dialogue(language="en", turns=(Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello")))
    put(tmp_path, [bare])
    with pytest.raises(InputError, match="annotations=true: none of the selected examples"):
        exported(tmp_path, [bare], format="messages", annotations=True)
    _, [row] = exported(tmp_path, [bare], format="oasst")
    assert row["text"] == "### HUMAN: Hi ### ASSISTANT: Hello"


def test_a_slot_named_intent_is_refused(tmp_path: Path) -> None:
    odd = Dialogue(
        language="en", turns=(Turn(role="user", content="Hi", annotation={"intent": "a", "slots": {"intent": "b"}}),)
    )
    with pytest.raises(InputError, match="rename the slot"):
        exported(tmp_path, [odd], format="oasst")


def test_other_tasks_go_as_text_too(tmp_path: Path) -> None:
    _, [row] = exported(tmp_path, [Moderation(language="en", text="Nice", label="allowed")], format="oasst")
    assert row["text"].endswith('### HUMAN: Nice ### ASSISTANT: {"category":"none","label":"allowed","severity":0}')


# -- tool calls ----------------------------------------------------------------------------------------------------


def tokenizer(template: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the chat template of a real model."""
    inner = Tokenizer(
        models.BPE(vocab={char: at for at, char in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[])
    )
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    made = PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<|begin_of_text|>", eos_token="<|im_end|>")  # type: ignore[no-untyped-call]
    made.chat_template = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    return made


def test_tool_calls_have_the_shape_that_openai_wants(tmp_path: Path) -> None:
    _, [row] = exported(tmp_path, [TALK], format="tool-calls")
    row = plain(row)
    call, answer = row["messages"][2:4]
    assert call == {
        "role": "assistant", "content": "",
        "tool_calls": [{"id": "call00001", "type": "function", "function": {"name": "search_recipe", "arguments": {"query": "laksa"}}}],
    }  # fmt: skip
    assert answer == {"role": "tool", "content": '[{"id": "r1"}]', "tool_call_id": "call00001", "name": "search_recipe"}
    assert all(set(one) <= {"role", "content"} for one in row["messages"] if one not in (call, answer))
    [tool] = row["tools"]
    assert tool["function"]["parameters"] == {
        "type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"],
    }  # fmt: skip


@pytest.mark.parametrize("template", ["qwen2_5", "qwen3", "qwen3_instruct_2507", "llama3_1", "glm4moe"])
@pytest.mark.parametrize("annotations", [False, True])
def test_real_chat_templates_take_tool_calls(tmp_path: Path, template: str, annotations: bool) -> None:
    made = tokenizer(template)
    _, rows = exported(tmp_path, dialogues(6), format="tool-calls", annotations=annotations)
    for row in map(plain, rows):
        text = made.apply_chat_template(row["messages"], tools=row["tools"], tokenize=False)
        ids = made.apply_chat_template(row["messages"], tools=row["tools"], return_dict=True)["input_ids"]
        assert made.decode(ids) == text
        at = 0
        for one in row["messages"]:
            if one["role"] in ("user", "tool"):
                shown = (
                    json.dumps(one["content"])[1:-1]
                    if template == "llama3_1" and one["role"] == "tool"
                    else one["content"]
                )
                at = text.index(shown, at) + 1
        [call] = [one for message in row["messages"] for one in message.get("tool_calls", ())]
        assert f'"{call["function"]["name"]}"' in text or f"<tool_call>{call['function']['name']}" in text
        assert call["function"]["arguments"]["query"] in text


@pytest.mark.parametrize("template", ["qwen2_5", "qwen3", "llama3_1", "phi3", "glm4moe", "deepseekv3"])
def test_real_chat_templates_show_the_notes(tmp_path: Path, template: str) -> None:
    made = tokenizer(template)
    _, [row] = exported(tmp_path, [TALK], format="messages", annotations=True)
    turns = (
        [one for one in row["messages"] if one["role"] != "tool"]
        if template in ("phi3", "deepseekv3")
        else row["messages"]
    )
    text = str(made.apply_chat_template(turns, tokenize=False))
    for note in (
        '{"intent":"set_timer","minutes":5}\nSet.',
        'I found one.\n{"cites":["r1"]}',
        '{"intent":"search_recipe",',
    ):
        assert note in text


def test_kinds_of_arguments_are_told(tmp_path: Path) -> None:
    def asked(**slots: Any) -> Dialogue:
        turns = (
            Turn(role="user", content=f"q {slots}", annotation={"intent": "find it", "slots": slots}),
            Turn(role="tool", content="[]"),
            Turn(role="assistant", content="None."),
        )
        return Dialogue(language="en", turns=turns)

    _, rows = exported(
        tmp_path, [asked(n=1, price=2.5, tags=["a"], q="x", on=True), asked(n=2, price=3, tags=[], q="y", on=False)],
        format="tool-calls",
    )  # fmt: skip
    [tool] = json.loads(rows[0]["tools"])
    assert tool["function"]["name"] == "find_it"
    kinds = {name: kind["type"] for name, kind in tool["function"]["parameters"]["properties"].items()}
    assert kinds == {"n": "integer", "price": "number", "tags": "array", "q": "string", "on": "boolean"}
    assert tool["function"]["parameters"]["required"] == ["n", "on", "price", "q", "tags"]


# -- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["oasst", "tool-calls", "messages"])
def test_it_opens_as_a_dataset_and_as_json_lines(tmp_path: Path, format: str) -> None:
    version, rows = exported(tmp_path, dialogues(8), format=format, jsonl=True)
    lines = [
        json.loads(line) for line in (version.folder / "jsonl/train.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert lines == [plain(row) for row in rows]
    manifest = json.loads((version.folder / "manifest.json").read_text())
    assert "jsonl/train.jsonl" in manifest["files"]
    code = (
        "import sys; from datasets import load_dataset\n"
        "print([len(load_dataset(*args)['train']) for args in ((sys.argv[1],), ('json', None, None, sys.argv[2]))])"
    )
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(version.folder), str(version.folder / "jsonl/train.jsonl")],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.strip() == "[8, 8]", done.stderr


def test_older_formats_are_unchanged_and_layouts_are_versions(tmp_path: Path) -> None:
    first, _ = exported(tmp_path, [TALK], format="messages")
    options = json.loads((first.folder / "manifest.json").read_text())["options"]
    assert set(options) == {"format", "dedup", "threshold", "seed", "split", "licence"}
    second, _ = exported(tmp_path, [TALK], format="messages", annotations=True)
    again, _ = exported(tmp_path, [TALK], format="messages", annotations=True)
    assert (first.number, second.number, again.number) == (1, 2, 2)
