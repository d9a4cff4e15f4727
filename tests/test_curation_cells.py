"""The coverage map's cells, and the command that fills one."""

import shlex
from pathlib import Path

import pytest

from curation.commands import main
from curation.errors import InputError
from curation.review.cells import Cell, by_axis, by_language, filling, whole
from curation.review.index import refresh
from curation.review.overview import axes
from curation.settings import load
from curation.store import Store
from synth.cli import COMMANDS
from synth.config import RunSettings


def generated(workspace: Path, *words: str) -> Store:
    assert main("synth", "", COMMANDS, ["run", f"workspace={workspace}", *words]) == 0
    store = Store(workspace)
    refresh(store)
    return store


@pytest.fixture
def store(workspace: Path) -> Store:
    return generated(workspace, "prompt=general_ok", "n=6", "language=en")


def test_a_thin_cell_is_filled_by_the_command_that_is_offered(store: Store, workspace: Path) -> None:
    cells = whole(by_language(store), ["en", "ta"])
    empty = next(cell for cell in cells if cell.column == "ta")
    assert (empty.usable, empty.examples) == (0, 0)
    command = filling(store, empty, 4, axis=None, workspace=workspace)
    assert command == f"synth run prompt=general_ok language=ta n=4 seed=1 workspace={workspace}"
    generated(workspace, *[word for word in command.split()[2:] if not word.startswith("workspace=")])
    assert [cell.examples for cell in by_language(store) if cell.column == "ta"] == [4]


def test_a_cell_of_an_axis_keeps_to_its_value(store: Store, workspace: Path) -> None:
    axis = axes(store)[0]
    cells = by_axis(store, axis)
    assert sum(cell.examples for cell in cells) == 6
    command = filling(store, cells[0], 100, axis=axis, workspace=Path("workspace"))
    assert f"axes.{axis}=[" in command
    assert command.endswith(f"n={100 - cells[0].usable} seed=1")
    before = cells[0].examples
    generated(workspace, "prompt=general_ok", "language=en", f"axes.{axis}=[{cells[0].column}]", "n=3", "seed=1")
    assert sum(cell.examples for cell in by_axis(store, axis) if cell.column == cells[0].column) == before + 3


def test_a_cell_of_an_sop_names_its_document(workspace: Path) -> None:
    sop = Path(__file__).parent.parent / "docs/examples/sops/refund_late_parcel.pdf"
    store = generated(workspace, "prompt=sop_dialogue", f"documents={sop}", "language=en", "n=2")
    cell = next(cell for cell in whole(by_language(store), ["en", "zh"]) if cell.column == "zh")
    words = filling(store, cell, 2, axis=None, workspace=Path("workspace")).split()[2:]
    assert words == ["prompt=sop_dialogue", "language=zh", "documents=refund_late_parcel", "n=2", "seed=1"]
    generated(workspace, *words)
    assert {cell.column: cell.examples for cell in by_language(store)} == {"en": 2, "zh": 2}


def test_values_are_quoted_where_they_are_more_than_a_name(store: Store) -> None:
    row = by_language(store)[0]
    odd = Cell(row.task, row.label, row.category, "a, b", 0, 0)
    axis = axes(store)[0]
    command = filling(store, odd, 5, axis=axis, workspace=Path("workspace"))
    assert load(RunSettings, shlex.split(command)[2:], environ={}).axes == {axis: ("a, b",)}


def test_a_row_that_no_prompt_wrote_says_so(store: Store, workspace: Path) -> None:
    with pytest.raises(InputError, match="moderation / disallowed / race: no prompt wrote"):
        filling(store, Cell("moderation", "disallowed", "race", "en", 0, 0), 10, axis=None, workspace=workspace)
