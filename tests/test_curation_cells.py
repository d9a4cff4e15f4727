"""The coverage map's cells, and the command that fills one."""

from pathlib import Path

import pytest

from curation.commands import main
from curation.errors import InputError
from curation.review.cells import Cell, by_axis, by_language, filling, whole
from curation.review.index import refresh
from curation.review.overview import axes
from curation.store import Store
from synth.cli import COMMANDS


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


def test_a_row_that_no_prompt_wrote_says_so(store: Store, workspace: Path) -> None:
    with pytest.raises(InputError, match="moderation / disallowed / race: no prompt wrote"):
        filling(store, Cell("moderation", "disallowed", "race", "en", 0, 0), 10, axis=None, workspace=workspace)
