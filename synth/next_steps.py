"""What to do with examples once they are there: the `curate export` that fits their task."""

from collections.abc import Iterable
from pathlib import Path

from curation.store import Store

# task -> a name for the dataset and the format that it is trained in
_EXPORTS = {
    "moderation": ("moderation", ""), "dialogue": ("dialogues", "messages"), "qa": ("questions", "messages"),
    "safety": ("safety", "messages"), "preference": ("preferences", "preference"),
}  # fmt: skip


def exports(tasks: Iterable[str], workspace: Path, *, intents: bool = False) -> list[str]:
    """A command for each task.

    Args:
        intents: the dialogues have intents and slots, which `oasst` keeps in the text.
    """
    there = [row[0] for row in Store(workspace, create=False).rows("SELECT DISTINCT task FROM examples")]
    where = "" if str(workspace) == "workspace" else f" workspace={workspace}"
    found = []
    for task in dict.fromkeys(tasks):
        name, form = _EXPORTS[task]
        form = "oasst" if intents and task == "dialogue" else form
        words = ([f"format={form}"] if form else []) + ([f"task={task}"] if len(there) > 1 else [])
        found.append(" ".join(("curate export", f"name={name}", *words)) + where)
    return found
