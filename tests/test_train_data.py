"""What training reads: versions that are what they say, rows as conversations, masks, lengths and cuts."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from train_kit import moderation_rows, moderation_version, sha256, write_version

from curation.errors import InputError, NotFound
from curation.formats import SCHEMAS, fields
from curation.records import MODERATOR, Moderation, canonical_json
from train import encode as encoding
from train.base import PLAIN_TEMPLATE
from train.data import chat, label_of, open_version, rows
from train.encode import IGNORED, PackedCollator, bars, encode, fit, histogram, packed, render
from train.tiny import tiny_tokenizer


def test_a_version_is_found_by_name_number_and_folder(tmp_path: Path) -> None:
    first = moderation_version(tmp_path / "datasets" / "mod", 4, 2)
    write_version(tmp_path / "datasets" / "mod", {"train": moderation_rows(3)}, number=12)
    assert open_version("mod", tmp_path).number == 12
    assert open_version("mod@1", tmp_path) == first == open_version(str(first.folder), tmp_path)
    assert first.splits == {"train": 4, "validation": 2, "test": 2}
    assert first.digest == sha256(first.folder / "manifest.json")
    with pytest.raises(NotFound, match=r"no dataset 'mood' in .*Did you mean 'mod'"):
        open_version("mood", tmp_path)
    with pytest.raises(NotFound, match=r"no version '3'; there are 1, 12"):
        open_version("mod@3", tmp_path)


def test_it_opens_what_curate_exports(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from curation import cli as curate
    from curation.commands import main
    from synth import cli as synth

    assert main("synth", "", synth.COMMANDS, ["run", "prompt=[general_ok,listing_gambling]", "n=40"]) == 0
    assert main("curate", "", curate.COMMANDS, ["export", "name=mod"]) == 0
    version = open_version("mod", workspace)
    counted = {split: len(rows(version, split)) for split in version.splits}
    assert counted == version.splits
    assert sum(counted.values()) > 60
    assert {label_of(row) for row in rows(version, "train")} == {"allowed", "disallowed"}
    assert all(chat(row)[-1]["content"].startswith('{"label":"') for row in rows(version, "train"))


def _flip_a_byte(folder: Path) -> None:
    path = next((folder / "data").glob("train-*"))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def _lose_a_file(folder: Path) -> None:
    next((folder / "data").glob("test-*")).unlink()


def _add_a_shard(folder: Path) -> None:
    shutil.copyfile(next((folder / "data").glob("train-*")), folder / "data" / "train-00001-of-00002.parquet")


def _break_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"name": "mod"')


def _forget_a_member(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["members"]["train"].pop()
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _leak(folder: Path) -> None:
    """A test row that is in train too, with a manifest that is true to it."""
    train, test = (next((folder / "data").glob(f"{split}-*")) for split in ("train", "test"))
    both = pa.concat_tables([pq.read_table(test), pq.read_table(train).slice(0, 1)])
    pq.write_table(both, test)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["members"]["test"] = both["id"].to_pylist()
    manifest["splits"]["test"] = len(both)
    manifest["files"][f"data/{test.name}"] = sha256(test)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("harm", "complaint"),
    [
        (_flip_a_byte, "changed since it was exported"),
        (_lose_a_file, "named in the manifest but missing"),
        (_add_a_shard, "not in the manifest"),
        (_break_the_manifest, "not the manifest of a dataset version"),
        (_forget_a_member, "are not the manifest's members"),
        (_leak, r"example ex1_\w+ is in test and in train"),
    ],
)
def test_it_refuses_a_version_that_is_not_what_it_says(
    tmp_path: Path, harm: Callable[[Path], None], complaint: str
) -> None:
    version = moderation_version(tmp_path / "mod", 6, 3)
    harm(version.folder)
    with pytest.raises(InputError, match=complaint) as caught:
        open_version(str(version.folder), tmp_path)
    assert "\n" not in str(caught.value)


def test_every_format_gives_the_same_conversation() -> None:
    example = Moderation(
        language="en", text="Bet now", title="Odds", label="disallowed", category="gambling", severity=2
    )
    expected = [
        {"role": "system", "content": MODERATOR},
        {"role": "user", "content": "Odds\nBet now"},
        {"role": "assistant", "content": '{"label":"disallowed","category":"gambling","severity":2}'},
    ]
    tried = [format for format in SCHEMAS if format in ("text-classification", "messages", "prompt-completion")]
    assert len(tried) == 3
    for format in tried:
        row = {"id": example.id, **example.labels, **fields(example.body, dict(example.labels), format)}
        assert chat(row) == expected, format


def test_a_conversation_of_another_kind_is_left_as_it_is() -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": canonical_json({"label": "allowed"})}]
    assert chat({"id": "x", "messages": turns, "label": "comply"}) == turns
    assert chat({"prompt_text": "Hi", "completion": "Ho"})[1] == {"role": "assistant", "content": "Ho"}
    with pytest.raises(InputError, match="no column text, messages, prompt_text"):
        chat({"id": "x", "label": "allowed"})


def _learnt(tokenizer: Any, row: dict[str, Any]) -> str:
    return str(tokenizer.decode([label for label in row["labels"] if label != IGNORED]))


def test_only_the_answer_and_its_end_are_learnt(tmp_path: Path) -> None:
    version = moderation_version(tmp_path / "mod", 20, 4)
    tokenizer = tiny_tokenizer(version)
    found = encode(version, "train", tokenizer, 256)
    assert found.mask.startswith("assistant turns, by the tokenizer's")
    for row, source in zip(found.dataset, rows(version, "train"), strict=True):
        assert _learnt(tokenizer, row) == chat(source)[-1]["content"] + "<|im_end|>"
        assert len(row["input_ids"]) == row["length"] == len(render(tokenizer, chat(source)))
    everything = encode(version, "train", tokenizer, 256, assistant_only=False)
    assert everything.dataset["labels"] == everything.dataset["input_ids"]


def test_a_template_without_marks_is_split_at_the_prompt(tmp_path: Path) -> None:
    version = moderation_version(tmp_path / "mod", 8, 4)
    tokenizer = tiny_tokenizer(version)
    unmarked = str(tokenizer.chat_template).replace("{% generation %}", "").replace("{% endgeneration %}", "")
    tokenizer.chat_template = unmarked
    found = encode(version, "train", tokenizer, 256)
    assert "no {% generation %} marks" in found.mask
    for row, source in zip(found.dataset, rows(version, "train"), strict=True):
        assert _learnt(tokenizer, row).rstrip("\n") == chat(source)[-1]["content"] + "<|im_end|>"


def test_a_tokenizer_without_a_template_gets_ours(tmp_path: Path) -> None:
    version = moderation_version(tmp_path / "mod", 8, 4)
    tokenizer = tiny_tokenizer(version)
    tokenizer.chat_template = PLAIN_TEMPLATE
    row = encode(version, "train", tokenizer, 256).dataset[0]
    assert _learnt(tokenizer, row) == chat(rows(version, "train")[0])[-1]["content"] + "<|im_end|>"


def test_a_long_text_is_cut_and_its_answer_stays(tmp_path: Path) -> None:
    given = moderation_rows(6)
    given[2]["text"] = "lunch in the garden " * 60_000  # 1.2 MB
    given[3]["text"] = "博彩 " * 400
    version = write_version(tmp_path / "mod", {"train": given})
    tokenizer = tiny_tokenizer(version)
    found = encode(version, "train", tokenizer, 128)
    assert (found.cut, found.dropped, len(found.dataset)) == (2, 0, 6)
    assert max(found.lengths) > 100_000
    assert max(found.dataset["length"]) <= 128
    assert all(_learnt(tokenizer, row).endswith("}<|im_end|>") for row in found.dataset)
    facts = found.facts(128)
    assert sum(facts["histogram"]["counts"]) == 6
    assert facts["histogram"]["counts"][-1] == 2
    assert facts["tokens"] == sum(found.dataset["length"])


def test_what_leaves_nothing_to_learn_is_counted_or_refused(tmp_path: Path) -> None:
    turns = [[{"role": "system", "content": "x y z " * 200}, {"role": "assistant", "content": "ok"}]]
    turns += [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ok"}]]
    version = write_version(tmp_path / "mod", {"train": [{"messages": one} for one in turns]}, format="messages")
    found = encode(version, "train", tiny_tokenizer(version), 64)
    assert (found.cut, found.dropped, len(found.dataset)) == (1, 1, 1)
    version = write_version(tmp_path / "other", {"train": [{"messages": turns[0]}]}, format="messages")
    with pytest.raises(InputError, match="no example leaves an answer to learn within 64 tokens"):
        encode(version, "train", tiny_tokenizer(version), 64)


def test_fit_cuts_only_the_longest_user_turn(tmp_path: Path) -> None:
    tokenizer = tiny_tokenizer(moderation_version(tmp_path / "mod", 8, 4))
    turns = [
        {"role": "user", "content": "short"},
        {"role": "assistant", "content": "yes"},
        {"role": "user", "content": "the garden " * 50},
        {"role": "assistant", "content": "no"},
    ]
    cut = fit(turns, tokenizer, 60)
    assert len(render(tokenizer, cut)) <= 60
    assert [turn["content"] for turn in cut[:2]] == ["short", "yes"]
    assert cut[3]["content"] == "no"
    assert turns[2]["content"].startswith(cut[2]["content"])
    assert turns[2]["content"] == "the garden " * 50  # what was given is left alone


def test_packed_rows_start_again_with_each_example(tmp_path: Path) -> None:
    version = moderation_version(tmp_path / "mod", 12, 4)
    tokenizer = tiny_tokenizer(version)
    found = encode(version, "train", tokenizer, 256)
    full = packed(found.dataset, 256)
    assert len(full) < 12
    assert sum(map(sum, full["seq_lengths"])) == sum(found.dataset["length"])
    batch = PackedCollator(tokenizer.pad_token_id)(list(full))
    assert batch["input_ids"].shape == batch["labels"].shape == batch["position_ids"].shape
    assert int((batch["labels"] != IGNORED).sum()) == found.facts(256)["learnt_tokens"]
    first = batch["position_ids"][0].tolist()
    lengths = full[0]["seq_lengths"]
    assert first[: sum(lengths)] == [place for length in lengths for place in range(length)]


def test_examples_of_a_packed_row_do_not_see_each_other(tmp_path: Path) -> None:
    import torch

    from train.tiny import tiny_model

    version = moderation_version(tmp_path / "mod", 6, 4)
    model, tokenizer = tiny_model(version, 0)
    found = encode(version, "train", tokenizer, 256)
    full = packed(found.dataset, 256)
    batch = PackedCollator(tokenizer.pad_token_id)(list(full))
    with torch.no_grad():
        together = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        for row, line in enumerate(full):
            start = 0
            for length in line["seq_lengths"]:
                alone = model(input_ids=batch["input_ids"][row : row + 1, start : start + length]).logits[0]
                torch.testing.assert_close(together[row, start : start + length], alone, atol=1e-5, rtol=0)
                start += length


def test_packed_examples_would_mix_without_their_positions(tmp_path: Path) -> None:
    import torch

    from train.tiny import tiny_model

    version = moderation_version(tmp_path / "mod", 6, 4)
    model, tokenizer = tiny_model(version, 0)
    full = packed(encode(version, "train", tokenizer, 256).dataset, 256)
    batch = PackedCollator(tokenizer.pad_token_id)(list(full))
    with torch.no_grad():
        apart = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits
        mixed = model(input_ids=batch["input_ids"], use_cache=False).logits
    first = full[0]["seq_lengths"][0]
    torch.testing.assert_close(mixed[0, :first], apart[0, :first], atol=1e-5, rtol=0)
    assert float((mixed[0, first : first + 20] - apart[0, first : first + 20]).abs().max()) > 0.01


def test_the_histogram_counts_every_length() -> None:
    edges, counts = histogram([1, 5, 10, 11, 100, 2_000], 100)
    assert edges == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    assert counts == [3, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1]
    lines = list(bars(edges, counts))
    assert lines[0].endswith(" 3")
    assert lines[-1].split()[0] == "longer"
    assert len(lines) == 11
    assert encoding.BINS == 10


def test_the_tiny_model_is_the_same_for_a_seed(tmp_path: Path) -> None:
    import torch

    from train.tiny import tiny_model

    version = moderation_version(tmp_path / "mod", 8, 4)
    (one, tokenizer), (same, _), (other, _) = (tiny_model(version, seed) for seed in (0, 0, 1))
    weights = [model.state_dict()["model.embed_tokens.weight"] for model in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert len(tokenizer) <= 1_500
    text = "Pay 50% 现在 சென்னை lah!"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
