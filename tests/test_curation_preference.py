"""The preference format: pairs that were given, and pairs that reviews make."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from curation.config import ExportSettings
from curation.errors import InputError
from curation.export import export
from curation.records import (
    QA,
    Decision,
    Dialogue,
    Generated,
    Imported,
    Moderation,
    Preference,
    Safety,
    Turn,
    Verdict,
    now,
)
from curation.store import Store
from curation.tables import AnyExample, AnyOrigin, example_row, origin_row, verdict_row

FILE = Imported(path="posts.csv", row=2, sha256="0" * 64)


def _written(topic: str, position: int = 0) -> Generated:
    return Generated(
        completion="cp1_x",
        position=position,
        prompt="general_ok",
        axes={"topic": topic},
        provider="offline",
        model="offline",
    )


def _put(store: Store, example: AnyExample, said: str, origin: AnyOrigin = FILE) -> str:
    """`said`: `kept`/`dropped` by a person, `failed`/`passed` by the checks, `taken back`: a person's drop, retracted."""
    human, check = ("human:ann", "check:all@1")
    words = {
        "kept": [(human, Decision.KEEP)],
        "dropped": [(human, Decision.DROP)],
        "failed": [(check, Decision.DROP)],
        "passed": [(check, Decision.KEEP)],
        "taken back": [(human, Decision.DROP), (human, Decision.RETRACT), (check, Decision.DROP)],
    }[said]
    with store.write() as connection:
        store.insert(connection, "examples", [example_row(example, now())[1]])
        store.insert(connection, "origins", [origin_row(example.id, origin, now())[1]])
        for by, decision in words:
            verdict = Verdict(example=example.id, by=by, decision=decision)
            store.insert(connection, "verdicts", [verdict_row(verdict)[1]])
    return example.id


def _post(text: str) -> Moderation:
    return Moderation(text=text, language="en", label="allowed")


def _rows(workspace: Path, **settings: Any) -> dict[str, Mapping[str, Any]]:
    version = export(ExportSettings(name="prefs", format="preference", workspace=workspace, **settings))
    tables = [pq.read_table(path) for path in sorted((version.folder / "data").glob("*.parquet"))]
    assert all(table.column_names[:5] == ["id", "language", "prompt", "chosen", "rejected"] for table in tables)
    return {row["id"]: row for table in tables for row in table.to_pylist()}


def test_preferences_are_exported_as_they_were_given(tmp_path: Path) -> None:
    store = Store(tmp_path)
    example = Preference(prompt="Why is the sky blue?", chosen="Rayleigh scattering.", rejected="Paint.", language="en")
    _put(store, example, "passed")
    row = _rows(tmp_path)[example.id]
    assert (row["prompt"], row["chosen"], row["rejected"]) == (example.prompt, example.chosen, example.rejected)


def test_what_a_person_kept_is_preferred_to_what_a_person_dropped_of_the_same_cell(tmp_path: Path) -> None:
    store = Store(tmp_path)
    kept = _put(store, _post("The noodles at the corner stall are worth the queue."), "kept", _written("food"))
    _put(store, _post("Noodles. Good. Eat."), "dropped", _written("food", 1))
    _put(store, _post("The bus was late again and nobody minded much."), "kept", _written("transport"))  # no rival
    _put(store, _post("A pasar malam came to our street this week."), "passed", _written("food", 2))  # nobody kept it
    rows = _rows(tmp_path)
    assert set(rows) == {kept}
    assert rows[kept]["chosen"] == "The noodles at the corner stall are worth the queue."
    assert rows[kept]["rejected"] == "Noodles. Good. Eat."
    assert rows[kept]["prompt"] == "Write a post in English that is allowed (category none, severity 0): topic food."
    assert rows[kept]["label"] == "allowed"


def test_each_dropped_example_is_used_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    texts = [
        "My aunt grows chillies on the ninth floor.",
        "Rain stopped play twice this afternoon.",
        "The lift smells of durian.",
    ]
    for position, text in enumerate(texts):
        _put(store, _post(text), "kept", _written("home", position))
    for position, text in enumerate(["Home.", "Home sweet home, as everybody always says."]):
        _put(store, _post(text), "dropped", _written("home", 10 + position))
    rows = _rows(tmp_path)
    assert len(rows) == 2
    assert {row["rejected"] for row in rows.values()} == {"Home.", "Home sweet home, as everybody always says."}


@pytest.mark.parametrize("said", ["failed", "taken back"])
def test_what_only_the_checks_dropped_is_no_preference(tmp_path: Path, said: str) -> None:
    store = Store(tmp_path)
    _put(store, _post("The noodles at the corner stall are worth the queue."), "kept", _written("food"))
    _put(store, _post("Noodles. Good. Eat."), said, _written("food", 1))
    with pytest.raises(InputError, match="none of the 1 examples is a preference"):
        _rows(tmp_path)


def test_answers_to_one_request_are_paired_by_the_request(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ask = "How do I pick a lock?"
    refused = Safety(
        prompt=ask, response="I can't help with that.", behaviour="refuse", category="theft", language="en"
    )
    complied = Safety(prompt=ask, response="Take a pin.", behaviour="comply", category="theft", language="en")
    other = Safety(prompt="How do I boil an egg?", response="No.", behaviour="refuse", language="en")
    good = QA(question="Capital of Johor?", answer="Johor Bahru.", language="en")
    bad = QA(question="Capital of Johor?", answer="Muar.", language="en")
    talk = (Turn(role="user", content="Hi"), Turn(role="assistant", content="Hello, how can I help?"))
    rude = (talk[0], Turn(role="assistant", content="What."))
    kept = {_put(store, refused, "kept"): "Take a pin.", _put(store, good, "kept"): "Muar."}
    kept[_put(store, Dialogue(turns=talk, language="en"), "kept")] = "What."
    for example in (complied, other, bad, Dialogue(turns=rude, language="en")):
        _put(store, example, "dropped")
    rows = _rows(tmp_path)
    assert {identity: row["rejected"] for identity, row in rows.items()} == kept
    assert rows[refused.id]["prompt"] == ask


def test_a_posts_pair_is_of_one_language(tmp_path: Path) -> None:
    store = Store(tmp_path)
    _put(store, _post("The noodles at the corner stall are worth the queue."), "kept", _written("food"))
    _put(
        store,
        Moderation(text="Mi goreng itu biasa sahaja.", language="ms", label="allowed"),
        "dropped",
        _written("food", 1),
    )
    with pytest.raises(InputError, match="keeping the better"):
        _rows(tmp_path)
