"""The SOP steps that an example rests on, with the pages they stand on."""

import json
from dataclasses import dataclass

from curation.records import QA, Dialogue
from curation.store import Store
from curation.tables import AnyExample


@dataclass(frozen=True, slots=True)
class Cited:
    """A step that is cited, as the document words it, and where it stands.

    Args:
        page: the page's number, from 1.
        box: left, top, right, bottom on the page, as shares of its width and height.
        image: sha256 of the page's image among the assets.
    """

    step: str
    text: str
    page: int
    box: tuple[float, float, float, float]
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
        Cited(
            step["id"],
            step["text"],
            step["place"]["page"],
            tuple(step["place"]["box"]),
            pages.get(step["place"]["page"]),
        )
        for step in json.loads(found[1])["steps"]
        if step["id"] in names
    ]
