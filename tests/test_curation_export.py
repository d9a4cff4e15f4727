"""Versions: what goes in, what stays out, and that nothing leaks between splits."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from curation.config import ExportSettings, SplitSettings
from curation.errors import InputError
from curation.export import Version, export
from curation.records import (
    Decision,
    Dialogue,
    Edited,
    Imported,
    Moderation,
    Preference,
    Translated,
    Turn,
    Verdict,
    now,
)
from curation.store import Store
from curation.tables import AnyExample, AnyOrigin, example_row, origin_row, verdict_row

SOURCE = Imported(path="posts.csv", row=2, sha256="0" * 64)
NAMES = [
    "amber",
    "birch",
    "cedar",
    "dahlia",
    "elder",
    "fern",
    "ginger",
    "hazel",
    "iris",
    "jasmine",
    "kale",
    "laurel",
    "maple",
    "nettle",
    "olive",
    "poppy",
]


def post(text: str, language: str = "en", **labels: object) -> Moderation:
    return Moderation(text=text, language=language, **{"label": "allowed", **labels})


def posts(n: int) -> list[Moderation]:
    """Texts that are nothing like each other."""
    made = []
    for i in range(n):
        words = [NAMES[(i // 16**k + 5 * k) % 16] + str(i * 31 + k) for k in range(12)]
        made.append(post(" ".join(words)))
    return made


def put(
    store: Store,
    examples: Sequence[AnyExample],
    *,
    origins: Sequence[AnyOrigin] = (),
    by: str = "check:all@1",
    decision: Decision = Decision.KEEP,
    labels: dict[str, str | int] | None = None,
) -> None:
    verdicts = [Verdict(example=example.id, by=by, decision=decision, labels=labels) for example in examples]
    with store.write() as connection:
        store.insert(connection, "examples", [example_row(example, now())[1] for example in examples])
        pairs = zip(examples, origins or [SOURCE] * len(examples), strict=True)
        store.insert(connection, "origins", [origin_row(example.id, origin, now())[1] for example, origin in pairs])
        store.insert(connection, "verdicts", [verdict_row(verdict)[1] for verdict in verdicts])


def exported(workspace: Path, **settings: object) -> Version:
    return export(ExportSettings(**{"name": "mod", "workspace": workspace, **settings}))


def rows(version: Version) -> dict[str, list[dict[str, object]]]:
    return {
        split: [
            row for path in sorted(version.folder.glob(f"data/{split}-*")) for row in pq.read_table(path).to_pylist()
        ]
        for split in version.splits
    }


def bytes_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_same_inputs_give_the_same_bytes_in_another_workspace(tmp_path: Path) -> None:
    made = posts(300)
    for name, order in (("a", made), ("b", list(reversed(made)))):
        put(Store(tmp_path / name), order)
    assert bytes_of(exported(tmp_path / "a").folder) == bytes_of(exported(tmp_path / "b").folder)


def test_exporting_again_writes_nothing_and_new_data_the_next_version(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, posts(50))
    first, again = exported(tmp_path), exported(tmp_path)
    assert (first.number, first.new, again.number, again.new) == (1, True, 1, False)
    before = bytes_of(first.folder)
    put(store, posts(60)[50:])
    second = exported(tmp_path)
    assert (second.number, second.new) == (2, True)
    assert bytes_of(first.folder) == before
    assert sorted(path.name for path in first.folder.parent.iterdir()) == ["1", "2"]  # no scratch left
    assert store.rows("SELECT name, number FROM versions ORDER BY number") == [("mod", 1), ("mod", 2)]


def test_files_are_read_only_and_match_the_manifest(tmp_path: Path) -> None:
    put(Store(tmp_path), posts(40))
    version = exported(tmp_path)
    manifest = json.loads((version.folder / "manifest.json").read_text())
    found = bytes_of(version.folder)
    found.pop("manifest.json")
    assert manifest["files"] == found
    assert all(not path.stat().st_mode & 0o222 for path in version.folder.rglob("*") if path.is_file())
    assert {split: len(ids) for split, ids in manifest["members"].items()} == manifest["splits"] == version.splits


def test_load_dataset_tells_versions_apart_that_have_the_same_number(tmp_path: Path) -> None:
    """`datasets` keeps what it has read in a cache, whose keys know nothing of the folders above."""
    folders = []
    for n in (40, 60):
        put(Store(tmp_path / str(n)), posts(n))
        folders.append(str(exported(tmp_path / str(n)).folder))
    code = (
        "import sys; from datasets import load_dataset\n"
        "print([sum(len(rows) for rows in load_dataset(folder).values()) for folder in sys.argv[1:]])"
    )
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run([sys.executable, "-c", code, *folders], env=env, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[40, 60]", done.stderr


def test_load_dataset_opens_it_without_tilth(tmp_path: Path) -> None:
    put(Store(tmp_path), posts(80))
    version = exported(tmp_path)
    code = (
        "import sys; from datasets import load_dataset\n"
        f"data = load_dataset({str(version.folder)!r})\n"
        "assert not {'curation', 'synth'} & set(sys.modules)\n"
        "print({split: len(rows) for split, rows in data.items()}, data['train'].column_names)"
    )
    env = {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert str(version.splits) in done.stdout
    assert "'text'" in done.stdout


def test_planted_twins_are_left_out_and_their_family_never_straddles(tmp_path: Path) -> None:
    store = Store(tmp_path)
    base = posts(120)
    twins = [post(f"{example.text} extra") for example in base]  # J = 10/11 of word 3-grams
    put(store, [*base, *twins])
    version = exported(tmp_path)
    assert sum(version.splits.values()) == 120
    assert version.excluded == 120
    manifest = json.loads((version.folder / "manifest.json").read_text())
    assert all("near-duplicate (0.9" in reason for reason in manifest["excluded"].values())


@pytest.mark.parametrize("dedup", ["near", "exact", "none"])
def test_a_cluster_never_straddles_splits(tmp_path: Path, dedup: str) -> None:
    """First and last of each chain are too different to be left out for each other, yet joined by the middle one."""
    store = Store(tmp_path)
    chain_of: dict[str, int] = {}
    made: list[Moderation] = []
    for chain in range(80):
        words = [f"{NAMES[(chain + k) % 16]}{chain * 97 + k}" for k in range(40)]
        middle = [*words[:36], *(f"{word}x" for word in words[36:])]
        last = [*(f"{word}y" for word in middle[:4]), *middle[4:]]
        made += [post(" ".join(text)) for text in (words, middle, last)]
        chain_of |= {example.id: chain for example in made[-3:]}
    put(store, made)
    version = exported(tmp_path, dedup=dedup)
    splits: dict[int, list[str]] = {}
    for split, members in rows(version).items():
        for row in members:
            splits.setdefault(chain_of[str(row["id"])], []).append(split)
    assert len(splits) == 80
    assert sum(len(own) > 1 for own in splits.values()) > 20  # or the test would show nothing
    assert all(len(set(own)) == 1 for own in splits.values())


def test_translations_and_edits_stay_in_the_split_of_their_parent(tmp_path: Path) -> None:
    store = Store(tmp_path)
    parents = posts(150)
    put(store, parents)
    split_of: dict[str, str] = {}
    made: list[tuple[Moderation, AnyOrigin]] = []
    for i, parent in enumerate(parents):
        child = post(f"这是第{i}个例子的翻译，和别的都不一样，编号{i * 7919}", "zh")
        grandchild = post(f"这个译文后来又改过一遍，原来的号码是{i * 104729}，现在换了说法{i}", "zh")
        made.append((child, Translated(parent=parent.id, translator="google")))
        made.append((grandchild, Edited(parent=child.id, by="human:a", why="idiom")))
        split_of[child.id] = split_of[grandchild.id] = parent.id
    put(store, [example for example, _ in made], origins=[origin for _, origin in made])
    version = exported(tmp_path, split=SplitSettings(train=0.5, validation=0.25, test=0.25))
    found = {row["id"]: split for split, members in rows(version).items() for row in members}
    assert set(found.values()) == {"train", "validation", "test"}
    assert len(found) == 450
    assert all(found[child] == found[parent] for child, parent in split_of.items())


def test_children_whose_parent_is_not_selected_still_stay_together(tmp_path: Path) -> None:
    store = Store(tmp_path)
    parents = posts(60)
    put(store, parents, by="human:a", decision=Decision.DROP)
    made: list[tuple[Moderation, AnyOrigin]] = []
    for i, parent in enumerate(parents):
        for language, text in (
            ("zh", f"第{i}句话的中文说法，内容编号{i * 7919}"),
            ("ta", f"இது {i} வது வாக்கியம், எண் {i * 7919} ஆகும்"),
        ):
            made.append((post(text, language), Translated(parent=parent.id, translator="google")))
    put(store, [example for example, _ in made], origins=[origin for _, origin in made])
    version = exported(tmp_path)
    found = {row["id"]: split for split, members in rows(version).items() for row in members}
    family = dict(store.rows("SELECT example, parent FROM origins WHERE parent IS NOT NULL"))
    splits: dict[str, set[str]] = {}
    for child, split in found.items():
        splits.setdefault(family[child], set()).add(split)
    assert len(splits) == 60
    assert all(len(own) == 1 for own in splits.values())


def test_of_twins_the_one_a_person_kept_stays_and_a_label_conflict_is_said(tmp_path: Path) -> None:
    store = Store(tmp_path)
    text = posts(1)[0].text
    allowed, other = post(text), post(text, label="disallowed", category="spam", severity=1)
    put(store, [allowed, other])
    put(store, [other], by="human:a")
    version = exported(tmp_path, split=SplitSettings(train=1, validation=0, test=0))
    assert [row["id"] for row in rows(version)["train"]] == [other.id]
    excluded = json.loads((version.folder / "manifest.json").read_text())["excluded"]
    assert excluded == {allowed.id: f"exact duplicate of {other.id}, which is labelled disallowed"}


def test_status_decides_and_the_card_says_what_was_left_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept, dropped, flagged, undone = posts(4)
    put(store, [kept, dropped, flagged, undone])
    put(store, [dropped], by="human:a", decision=Decision.DROP)
    put(store, [flagged], by="check:pii@1", decision=Decision.FLAG)
    put(store, [undone], by="human:a", decision=Decision.DROP)
    put(store, [undone], by="human:a", decision=Decision.RETRACT)
    version = exported(tmp_path, split=SplitSettings(train=1, validation=0, test=0))
    assert {row["id"] for row in rows(version)["train"]} == {kept.id, undone.id}
    card = (version.folder / "README.md").read_text()
    assert "| status dropped | 1 |" in card
    assert "| status flagged | 1 |" in card
    header = yaml.safe_load(card.split("---")[1])
    assert header["license"] == "other"
    assert header["language"] == ["en"]
    assert "posts.csv" in card


def test_a_reviewers_labels_are_what_is_exported(tmp_path: Path) -> None:
    store = Store(tmp_path)
    [example] = posts(1)
    put(store, [example])
    put(store, [example], by="human:a", labels={"label": "disallowed", "category": "spam", "severity": 2})
    version = exported(tmp_path, format="messages", split=SplitSettings(train=1, validation=0, test=0))
    [row] = rows(version)["train"]
    assert (row["label"], row["category"], row["severity"]) == ("disallowed", "spam", 2)
    assert json.loads(row["messages"][-1]["content"]) == {"label": "disallowed", "category": "spam", "severity": 2}
    chosen = exported(tmp_path, name="spam", category=("spam",), split=SplitSettings(train=1, validation=0, test=0))
    assert chosen.splits == {"train": 1}


def test_formats_of_other_tasks(tmp_path: Path) -> None:
    store = Store(tmp_path)
    talk = Dialogue(language="en", turns=(Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello")))
    better = Preference(language="en", prompt="Say hi", chosen="Hi!", rejected="No.")
    put(store, [talk, better])
    whole = SplitSettings(train=1, validation=0, test=0)
    messages = rows(exported(tmp_path, format="messages", split=whole))["train"]
    assert {row["messages"][-1]["content"] for row in messages} == {"Hello", "Hi!"}
    pairs = rows(exported(tmp_path, name="pairs", format="prompt-completion", split=whole))["train"]
    assert {(row["prompt_text"], row["completion"]) for row in pairs} == {("Hi", "Hello"), ("Say hi", "Hi!")}
    with pytest.raises(InputError, match="no label to classify"):
        exported(tmp_path, name="classes")
    assert not list((tmp_path / "datasets/classes").iterdir())


def test_splits_have_about_their_shares_and_do_not_move_when_data_is_added(tmp_path: Path) -> None:
    store = Store(tmp_path)
    put(store, posts(1500))
    first = {row["id"]: split for split, members in rows(exported(tmp_path)).items() for row in members}
    shares = [list(first.values()).count(split) / len(first) for split in ("train", "validation", "test")]
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=0.03)
    put(store, posts(1800)[1500:])
    second = {row["id"]: split for split, members in rows(exported(tmp_path)).items() for row in members}
    assert all(second[identity] == split for identity, split in first.items())


def test_many_shards_hold_every_member_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.export.SHARD_ROWS", 70)
    monkeypatch.setattr("curation.export.CHUNK", 30)
    put(Store(tmp_path), posts(300))
    version = exported(tmp_path)
    train = sorted(version.folder.glob("data/train-*"))
    assert len(train) > 2
    ids = [row["id"] for members in rows(version).values() for row in members]
    assert len(ids) == len(set(ids)) == 300
    for members in rows(version).values():
        assert [row["id"] for row in members] == sorted(row["id"] for row in members)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"split": SplitSettings(train=0.8, validation=0.3, test=0.1)}, "add up to 1.2, not 1"),
        ({"language": ("xx",)}, "language=xx matches no example; the store has language=en"),
        ({"prompt": ("nope",)}, "prompt=nope matches no example"),
        ({"label": ("allowed",), "status": ("dropped",)}, "status=dropped matches no example"),
    ],
)
def test_what_cannot_be_exported_is_said_and_leaves_nothing(
    tmp_path: Path, settings: dict[str, object], said: str
) -> None:
    put(Store(tmp_path), posts(3))
    with pytest.raises(InputError, match=said):
        exported(tmp_path, **settings)
    assert not (tmp_path / "datasets/mod").exists() or not list((tmp_path / "datasets/mod").iterdir())
