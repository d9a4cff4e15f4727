"""Versions: listed, checked, packed, compared; an export is previewed by the code that writes it."""

import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path

import pytest

from curation.changes import difference
from curation.cli import COMMANDS
from curation.commands import main
from curation.config import ExportSettings
from curation.errors import InputError, NotFound
from curation.export import choose, export, sample
from curation.records import Decision, Generated, Moderation, now
from curation.review.decide import decided, edited
from curation.store import Store
from curation.tables import TableRow, example_row, origin_row
from curation.versions import faults, first_rows, pack, version, versions

ANIMALS = ("heron", "badger", "otter", "lynx", "toad", "wren", "mole", "stoat", "newt", "hare", "swift", "pike")


def post(number: int, **fields: object) -> Moderation:
    one, other = ANIMALS[number % 12], ANIMALS[(number * 5 + 3) % 12]
    text = f"number {number} saw a {one} chase one {other} over field {number * 7} before tea at {number} o'clock"
    return Moderation.model_validate({"text": text, "language": "en", "label": "allowed", **fields})


def add(store: Store, rows: list[TableRow]) -> None:
    with store.write() as connection:
        for table in ("examples", "origins", "verdicts"):
            store.insert(connection, table, [row for name, row in rows if name == table])


def made(*posts: Moderation) -> list[TableRow]:
    origin = Generated(completion="cp", position=0, prompt="animals", provider="offline", model="offline")
    return [row for one in posts for row in (example_row(one, now()), origin_row(one.id, origin, now()))]


def exporting(workspace: Path, **fields: object) -> ExportSettings:
    return ExportSettings.model_validate({"workspace": workspace, "name": "m", "status": ("kept", "passed", "new"), **fields})  # fmt: skip


def test_a_diff_says_who_came_and_went_and_why(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, posts = Store(workspace), [post(number) for number in range(12)]
    twin = posts[0].model_copy(update={"text": posts[0].text + " today"})
    late = posts[11]
    add(store, made(*posts[:11], twin))
    add(store, decided([posts[9].id], "ann", Decision.DROP, reason="dull"))
    export(exporting(workspace))
    left_out = version(store, "m@1").manifest["excluded"]
    assert len(left_out) == 1
    child, rows = edited(
        posts[2], "ann", {"text": "quite another text about ferries and rain in the north"}, why="bland"
    )
    kept_twin = next(iter({posts[0].id, twin.id} - set(left_out)))
    spam = {"label": "disallowed", "category": "spam", "severity": 1}
    add(
        store,
        [
            *made(late), *rows,
            *decided([posts[1].id], "bob", Decision.DROP, reason="not real"),
            *decided([posts[3].id], "bob", Decision.KEEP, labels=spam),
            *decided([posts[9].id], "ann", Decision.RETRACT, reason="undo"),
            *decided([kept_twin], "bob", Decision.DROP, reason="worse"),
        ],
    )  # fmt: skip
    export(exporting(workspace, seed=5))
    found = difference(store, version(store, "m@1"), version(store, "m@2"))
    why = {(row["change"], row["example"]): (row["kind"], row["reason"]) for row in found.rows.to_pylist()}
    assert why["came", late.id] == ("new", "made since by prompt animals")
    assert why["came", child.id] == ("edited", f"an edit of {posts[2].id}")
    assert why["came", posts[9].id] == ("decided", "human:ann: retract, undo")
    (other_twin,) = left_out
    assert why["came", other_twin][0] == "twin"
    assert "near-duplicate" in why["came", other_twin][1]
    assert why["went", posts[1].id] == ("decided", "human:bob: drop, not real")
    assert why["went", kept_twin] == ("decided", "human:bob: drop, worse")
    assert why["went", posts[2].id] == ("edited", f"human:ann: drop, edited: {child.id} instead (now {child.id})")
    assert why["relabelled", posts[3].id][1].startswith(
        "allowed / none / 0 is now disallowed / spam / 1; human:bob: keep"
    )
    assert [found.count(change) for change in ("came", "went", "relabelled")] == [4, 3, 1]
    assert ("seed", "0", "5") in found.settings
    moved = {row["example"] for row in found.rows.to_pylist() if row["change"] == "moved"}
    splits = [{one: split for split, ids in version(store, f"m@{n}").manifest["members"].items() for one in ids} for n in (1, 2)]  # fmt: skip
    both = splits[0].keys() & splits[1].keys()
    assert moved == {one for one in both if splits[0][one] != splits[1][one]}
    assert found.same == len(both - moved - {posts[3].id})
    # the other way round, what came is what went
    back = difference(store, version(store, "m@2"), version(store, "m@1"))
    assert (back.count("came"), back.count("went"), back.same) == (3, 4, found.same)
    assert main("curate", "", COMMANDS, ["diff", "m", f"workspace={workspace}", "n=100"]) == 0
    assert "human:bob: drop, not real" in capsys.readouterr().out
    assert main("curate", "", COMMANDS, ["diff", "[m@1,m@2]", f"workspace={workspace}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["same"] == found.same


def test_a_selection_that_changed_is_the_reason_where_nobody_said_a_word(workspace: Path) -> None:
    store = Store(workspace)
    add(store, made(*(post(number, language="en" if number % 2 else "ms") for number in range(8))))
    export(exporting(workspace))
    export(exporting(workspace, language=("en",)))
    found = difference(store, version(store, "m@1"), version(store, "m"))
    assert ("went", "selection", 4) in found.counts
    assert ("language", "any", '["en"]') in found.settings


def test_versions_are_checked_file_by_file_and_packed(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*words: str) -> tuple[int, str, str]:
        code = main("curate", "", COMMANDS, [*words, f"workspace={workspace}"])
        return code, *capsys.readouterr()

    store = Store(workspace)
    code, _, err = run("versions")
    assert (code, "curate export name=moderation" in err) == (2, True)
    add(store, made(*map(post, range(10))))
    export(exporting(workspace))
    one = version(store, "m")
    assert (one.title, faults(one), [its.title for its in versions(store)]) == ("m@1", [], ["m@1"])
    assert sum(one.splits.values()) == 10
    packed = io.BytesIO()
    pack(one, packed)
    with zipfile.ZipFile(packed) as archive:
        assert archive.testzip() is None
        names = {name.removeprefix("m-1/"): archive.read(name) for name in archive.namelist()}
    assert names == {path.relative_to(one.folder).as_posix(): path.read_bytes() for path in one.files()}
    rows = first_rows(one, "train", 3)
    assert rows is not None
    assert len(rows) == 3
    assert run("versions", "check=true")[0] == 0
    readme = one.folder / "README.md"
    readme.chmod(0o644)
    readme.write_text("changed")
    (one.folder / "data" / "extra.parquet").write_text("x")
    assert faults(one) == ["README.md was changed since the export", "data/extra.parquet was added since the export"]
    assert run("versions", "check=true")[0] == 1
    with pytest.raises(NotFound, match="Known: m@1"):
        version(store, "zzz@3")
    assert run("diff", "m")[0] == 2
    for path in one.files():
        path.unlink()
    assert faults(one) == ["manifest.json is gone"]
    with pytest.raises(InputError, match="are gone"):
        difference(store, one, version(store, "m"))


def test_a_preview_is_what_the_export_then_writes(workspace: Path) -> None:
    store = Store(workspace)
    add(store, made(*map(post, range(20))))
    settings = exporting(workspace, format="messages")
    members = choose(store, settings)
    rows = sample(store, settings, members, 4).to_pylist()
    assert not (workspace / "datasets").exists()
    written = export(settings)
    assert written.splits == members.counts
    tables = (first_rows(version(store, "m"), split, 99) for split in written.splits)
    by_id = {row["id"]: row for table in tables if table is not None for row in table.to_pylist()}
    assert [by_id[row["id"]] for row in rows] == rows
    assert len(rows) == 4
    assert timedelta(0) <= now().replace(tzinfo=None) - version(store, "m").made_at < timedelta(minutes=1)
