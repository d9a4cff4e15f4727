"""The SOP steps that an example rests on, with the pages they stand on."""

import json
from dataclasses import dataclass

from curation.records import QA, Dialogue
from curation.store import Store
from curation.tables import AnyExample


@dataclass(frozen=True, slots=True)
class Cited:
    """A step that is cited, as the document words it, and its page: number and sha256 of the image."""

    step: str
    text: str
    page: int
    image: str | None


def cited(store: Store, example: AnyExample) -> list[Cited]:
    """The steps that an example cites, in the order of the outline; empty without an outline."""
    if not isinstance(example, Dialogue | QA) or example.outline is None:
        return []
    names = (
        {name for turn in example.turns for name in turn.cites} if isinstance(example, Dialogue) else {*example.cites}
    )
    with store.read() as connection:
        found = connection.execute(
            "SELECT document, body FROM outlines WHERE outline = ? LIMIT 1", [example.outline]
        ).fetchone()
        if found is None:
            return []
        pages = dict(connection.execute("SELECT number, image FROM pages WHERE document = ?", [found[0]]).fetchall())
    return [
        Cited(step["id"], step["text"], step["place"]["page"], pages.get(step["place"]["page"]))
        for step in json.loads(found[1])["steps"]
        if step["id"] in names
    ]
