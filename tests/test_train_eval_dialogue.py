"""Dialogues from the store to a tiny model's intent F1, in the two formats; what is asked, kept, told, and refused."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import train_kit as kit
from dialogue_kit import dialogues, row

from curation.annotated import Markers, segments
from curation.config import ExportSettings, ImportSettings, SplitSettings
from curation.dialogue_formats import layout
from curation.errors import InputError
from curation.evaluations import flag
from curation.export import export
from curation.formats import fields
from curation.importers import import_file
from curation.records import Dialogue, Turn
from train.config import EvalSettings
from train.continuations import Kept
from train.data import Version, open_version, rows
from train.dialogues import encode_text, heard_answer, heard_note, pairs, windows
from train.encode import IGNORED, encode
from train.evaluate import evaluate
from train.recipes import load
from train.runs import Run
from train.tiny import tiny_model, tiny_tokenizer

FORMATS = ("oasst", "messages", "tool-calls")


def version(home: Path, format: str, made: list[Dialogue], **given: Any) -> Version:
    """An export of these dialogues, all in the splits train and test."""
    settings = ExportSettings(name="talks", format=format, annotations=given.pop("annotations", True), **given)
    own = layout(settings, [one.body for one in made])
    labels = {"label": None, "category": "recipe", "severity": None}
    given_rows = [{"category": "recipe", **fields(one.body, labels, format, own)} for one in made]
    half = len(made) // 2
    found = kit.write_version(home / format, {"train": given_rows[:half], "test": given_rows[half:]}, format=format)
    path = found.folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["options"] |= {"annotations": own.annotations, "markers": own.markers.model_dump()}
    path.write_text(json.dumps(manifest))
    return open_version(str(found.folder), home)


def untrained(home: Path, made: Version) -> Run:
    """A run whose model has learnt nothing."""
    run = Run.create(home / "runs", load("tiny"), made, name="blank")
    model, tokenizer = tiny_model(made, seed=0)
    for part in (run.model, run.folder / "base"):
        model.save_pretrained(part)
        tokenizer.save_pretrained(part)
    return run


def settings(home: Path, made: Version, **given: Any) -> EvalSettings:
    fixed = {
        "run": "blank",
        "dataset": str(made.folder),
        "runs_dir": home / "runs",
        "evaluations_dir": home / "evaluations",
    }
    return EvalSettings(**{**fixed, "resamples": 20, "max_new_tokens": 8, **given})


# -- what is asked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", FORMATS)
def test_pairs_are_the_assistants_turns_with_their_history(tmp_path: Path, format: str) -> None:
    made = dialogues(6)
    exported = version(tmp_path, format, made)
    by_text = {one.turns[0].content + one.turns[1].content: one for one in made}
    for own in [*rows(exported, "train"), *rows(exported, "test")]:
        found = pairs(exported, own)
        said = [one for one in found[0].history if one[0] != "tool"] + [
            one for one in found[0].history if one[0] == "tool"
        ]
        dialogue = by_text["".join(text for _, text in said)]
        answers = [turn for turn in dialogue.turns if turn.role == "assistant"]
        asked = [turn for turn in dialogue.turns if turn.role == "user"]
        assert [one.answer for one in found] == [turn.content for turn in answers]
        assert [one.cites for one in found] == [turn.cites for turn in answers]
        for pair, turn in zip(found, asked, strict=True):
            assert turn.annotation is not None
            assert pair.wanted == {"intent": turn.annotation["intent"], **turn.annotation["slots"]}
            assert (pair.history[-1] == ("user", turn.content)) or pair.history[-1][0] == "tool"
        assert [one.turn for one in found] == [2 * at + 2 for at in range(len(found))]


@pytest.mark.parametrize("format", FORMATS)
def test_prompts_begin_what_is_learnt(tmp_path: Path, format: str) -> None:
    """A prompt and the truth behind it are the beginning of what the model was trained on."""
    exported = version(tmp_path, format, dialogues(4))
    tokenizer = tiny_tokenizer(exported)
    whole = [tokenizer.decode(ids) for ids in encode(exported, "train", tokenizer, 4000).dataset["input_ids"]]
    for own, text in zip(rows(exported, "train"), whole, strict=True):
        for pair in pairs(exported, own):
            assert pair.noting is not None
            assert pair.answering is not None
            assert pair.wanted is not None
            assert text.startswith(tokenizer.decode(pair.noting.ids(tokenizer, 4000)) + pair.wanted["intent"])
            answering = tokenizer.decode(pair.answering.ids(tokenizer, 4000))
            assert text.startswith(answering)
            assert text.removeprefix(answering).lstrip().startswith(str(pair.answer))


def test_a_long_history_loses_its_oldest_turns(tmp_path: Path) -> None:
    for format in ("oasst", "messages"):
        exported = version(tmp_path, format, dialogues(4))
        tokenizer = tiny_tokenizer(exported)
        last = pairs(exported, rows(exported, "train")[0])[-1]
        assert last.noting is not None
        long = last.noting.ids(tokenizer, 4000)
        short = last.noting.ids(tokenizer, len(long) - 10)
        assert len(short) <= len(long) - 10
        assert tokenizer.decode(short)[:40] == tokenizer.decode(long)[:40]  # the opening stays
        assert short[-8:] == long[-8:]


def test_what_a_model_wrote_is_read() -> None:
    assert heard_note('next"}\nNow stir.') == {"intent": "next"}
    assert heard_note('find","query":"a \\"b\\""}') == {"intent": "find", "query": 'a "b"'}
    for broken in ("", 'next"', "next} what", 'x","q":'):
        assert heard_note(broken) is None
    assert heard_answer('Here.\n{"cites":["r1"]}', None) == ("Here.", ("r1",))
    assert heard_answer(' Here. ## {"cites":["r1"]} ### HUMAN: more', Markers()) == ("Here.", ("r1",))
    assert heard_answer("", Markers()) == ("", ())


# -- what is learnt ------------------------------------------------------------------------------------------------


def test_of_a_text_notes_and_answers_are_learnt(tmp_path: Path) -> None:
    exported = version(tmp_path, "oasst", dialogues(4))
    tokenizer = tiny_tokenizer(exported)
    text = rows(exported, "train")[0]["text"]
    [(ids, learnt)], length = encode_text(tokenizer, text, Markers(), 4000)
    assert length == len(ids)
    taught = tokenizer.decode([one for one, bit in zip(ids, learnt, strict=True) if bit])
    turns = segments(text, Markers())
    expected = ""
    for at, one in enumerate(turns):
        begin = one.begin + len("### ASSISTANT:") if one.role == "assistant" else one.noted and one.noted - 1
        if begin:
            after = turns[at + 1].begin + len(Markers().roles[turns[at + 1].role]) if at + 1 < len(turns) else len(text)
            expected += text[begin:after]
    assert taught == expected + "<|im_end|>"


@pytest.mark.parametrize("format", FORMATS)
def test_long_dialogues_are_shared_out_and_every_turn_is_learnt_once(tmp_path: Path, format: str) -> None:
    exported = version(tmp_path, format, dialogues(6, seed=3))
    tokenizer = tiny_tokenizer(exported)
    whole = encode(exported, "train", tokenizer, 4000)
    room = max(whole.lengths) - 20
    parts = encode(exported, "train", tokenizer, room)
    assert parts.cut
    assert len(parts.dataset) > len(whole.dataset)
    assert max(parts.dataset["length"]) <= room

    def learnt(one: Any) -> list[int]:
        return sorted(label for labels in one.dataset["labels"] for label in labels if label != IGNORED)

    assert learnt(parts) == learnt(whole)


def test_windows() -> None:
    assert windows([10, 10, 10], 5, 100, [True] * 3) == [(0, 0, 3)]
    assert windows([10] * 6, 10, 40, [True, False] * 3) == [(0, 0, 3), (2, 3, 5), (4, 5, 6)]
    assert windows([100, 10], 0, 50, [True, True]) == [(0, 0, 1), (1, 1, 2)]  # what fits nowhere is alone, to be cut
    for sizes in ([3, 50, 7, 9, 30, 2, 2, 40], [1] * 30):
        found = windows(sizes, 5, 60, [at % 2 == 0 for at in range(len(sizes))])
        assert [at for _, fresh, last in found for at in range(fresh, last)] == list(range(len(sizes)))
        assert all(sum(sizes[first:last]) + 5 <= 60 for first, _, last in found)


# -- the evaluation ------------------------------------------------------------------------------------------------


def test_an_evaluation_goes_on_where_it_was_and_takes_a_judges_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = version(tmp_path, "oasst", dialogues(6))
    untrained(tmp_path, made)
    monkeypatch.setattr("train.eval_dialogue.NOTE_TOKENS", 8)
    first = evaluate(settings(tmp_path, made))
    report = first.report
    assert report["task"] == "dialogue"
    assert {"trained", "majority", "base"} == set(report["models"])
    trained = report["models"]["trained"]
    assert trained["malformed"]["notes"] == report["turns"]
    assert trained["measures"]["intent_accuracy"]["value"] == 0
    assert trained["measures"]["relevance"]["undefined"] == "no judge's scores given"
    lines = [json.loads(line) for line in (first.folder / "answers.jsonl").read_text().splitlines()]
    truth = [one["wanted"]["intent"] for one in lines]
    majority = report["models"]["majority"]["measures"]["intent_accuracy"]["value"]
    assert majority == truth.count(report["majority_intent"]) / len(truth)
    assert (first.folder / "confusion.png").stat().st_size > 5000

    monkeypatch.setattr("train.continuations._written", None)  # nothing is to be written again
    scored = tmp_path / "scores.jsonl"
    scored.write_text(
        "".join(json.dumps({"id": one["id"], "score": at % 3 if at else None}) + "\n" for at, one in enumerate(lines))
    )
    second = evaluate(settings(tmp_path, made, judge_scores=scored)).report
    expected = [at % 3 for at in range(1, len(lines))]
    assert second["models"]["trained"]["measures"]["relevance"]["value"] == pytest.approx(sum(expected) / len(expected))
    assert second["models"]["trained"]["unscored"] == 1
    scored.write_text(json.dumps({"id": lines[0]["id"], "score": 3}) + "\n")
    with pytest.raises(InputError, match="score 3 is not a number from 0 to 2"):
        evaluate(settings(tmp_path, made, judge_scores=scored))
    scored.write_text('{"id": "x", "score": 1}\n')
    with pytest.raises(InputError, match="holds none of the"):
        evaluate(settings(tmp_path, made, judge_scores=scored))


def test_a_torn_line_loses_only_itself(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "w.jsonl")
    kept.add({"a": "1"})
    with kept.path.open("a") as file:
        file.write('{"key": "b", "te')
    again = Kept(kept.path)
    assert again.texts == {"a": "1"}
    again.add({"c": "3"})
    assert Kept(kept.path).texts == {"a": "1", "c": "3"}


def test_what_has_no_annotations_is_refused_in_one_line(tmp_path: Path) -> None:
    bare = Dialogue(language="en", turns=(Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello")))
    other = Dialogue(language="en", turns=(Turn(role="user", content="Bye"), *bare.turns[1:]))
    made = version(tmp_path, "messages", [bare, other], annotations=None)
    untrained(tmp_path, made)
    with pytest.raises(InputError, match=r"no annotations .* export them with format=oasst") as refused:
        evaluate(settings(tmp_path, made))
    assert "\n" not in str(refused.value)


# -- four commands -------------------------------------------------------------------------------------------------


def test_from_dialogues_to_an_intent_f1_in_four_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "talks.jsonl").write_text(
        "".join(json.dumps(row(one)) + "\n" for one in dialogues(160)), encoding="utf-8"
    )
    for command in (
        "curate import talks.jsonl task=dialogue",
        "curate export name=dialogues format=oasst dedup=none",
        "train run dataset=dialogues recipe=tiny max_length=512 epochs=14 batch_size=8 learning_rate=5e-3 eval_every=1000 name=first",
        "train eval first dataset=dialogues split=test answers=false resamples=100",
    ):
        done = subprocess.run(
            ["bash", "-c", f"PATH={Path(sys.executable).parent}:$PATH; {command}"], cwd=tmp_path, capture_output=True, text=True,
            check=False, timeout=600, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    [folder] = [one for one in (tmp_path / "evaluations").iterdir() if not one.name.startswith(".")]
    models = json.loads((folder / "report.json").read_text())["models"]
    f1 = {name: one["measures"]["intent_f1_macro"]["value"] for name, one in models.items()}
    assert f1["trained"] > 0.8
    assert f1["majority"] < 0.2
    assert f1["base"] < 0.2

    monkeypatch.setattr("train.eval_dialogue.NOTE_TOKENS", 8)
    given = {"run": str(tmp_path / "runs/first/base"), "dataset": "dialogues", "workspace": tmp_path / "workspace"}
    wrong = evaluate(EvalSettings(**given, evaluations_dir=tmp_path / "evaluations", answers=False, resamples=0)).folder
    flagged = flag(ImportSettings(workspace=tmp_path / "workspace", evaluation=wrong), wrong)
    lines = (wrong / "errors.jsonl").read_text().splitlines()
    assert flagged.mistakes == flagged.new == len(lines) == models["trained"]["rows"]
    assert "nothing readable for search_recipe" in lines[0]


def test_an_import_keeps_annotations_and_other_recipes_say_what_they_need(tmp_path: Path) -> None:
    (tmp_path / "talks.jsonl").write_text(
        "".join(json.dumps(row(one)) + "\n" for one in dialogues(12)), encoding="utf-8"
    )
    import_file(ImportSettings(workspace=tmp_path / "w", path=tmp_path / "talks.jsonl", task="dialogue"))
    made = export(
        ExportSettings(
            workspace=tmp_path / "w",
            name="talks",
            format="oasst",
            dedup="none",
            split=SplitSettings(train=1, validation=0, test=0),
        )
    )
    found = open_version(str(made.folder), tmp_path)
    assert all(pairs(found, one)[0].wanted for one in rows(found, "train"))
    from train.run import run_command

    with pytest.raises(InputError, match="learns from messages; export it with format=messages"):
        run_command(kit.settings(tmp_path, found, recipe="grpo"))
