"""Documents and outlines in the store. Both are only ever appended: an edited outline supersedes an earlier one and removes nothing."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from curation.documents import Document, Outline, Page
from curation.errors import NotFound, did_you_mean
from curation.journal import Writer
from curation.records import Example, canonical_json, content_id, now
from curation.store import Store
from curation.tables import TableRow, utc

_DOCUMENTS = "SELECT id, sha256, name, path, media_type, title, rendering FROM documents"


def document_rows(document: Document) -> list[TableRow]:
    """The rows of a document and its pages."""
    at = utc(now())
    head: TableRow = "documents", (
        document.id, document.sha256, document.name, document.path, document.media_type, document.title,
        len(document.pages), document.rendering, at,
    )  # fmt: skip
    pages: list[TableRow] = [
        ("pages", (
            content_id("pg", [document.id, page.number]), document.id, page.number, page.image, page.width, page.height,
            page.text, canonical_json([block.model_dump(mode="json", exclude_defaults=True) for block in page.blocks]), at,
        ))
        for page in document.pages
    ]  # fmt: skip
    return [head, *pages]


def keep_document(store: Store, document: Document) -> None:
    """Store a document; one that is there already is left as it is."""
    with Writer(store) as writer:
        writer.append(document_rows(document))


def documents(store: Store, where: str = "true", parameters: Sequence[object] = ()) -> list[Document]:
    """Stored documents, the latest rendering first."""
    found = store.rows(f"{_DOCUMENTS} WHERE {where} ORDER BY made_at DESC, id", list(parameters))
    pages: dict[str, list[Page]] = {}
    for document, *row in store.rows(
        "SELECT document, number, image, width, height, text, blocks FROM pages WHERE document IN (SELECT unnest(?)) "
        "ORDER BY document, number",
        [[row[0] for row in found]],
    ):
        pages.setdefault(document, []).append(_page(row))
    return [
        Document(
            sha256=sha256, name=name, path=path, media_type=media_type, title=title,
            pages=tuple(pages.get(identity, ())), rendering=rendering,
        )
        for identity, sha256, name, path, media_type, title, rendering in found
    ]  # fmt: skip


def document(store: Store, name: str) -> Document:
    """The latest document of a name, or the one with this id.

    Raises:
        NotFound: there is none.
    """
    found = documents(store, "name = ? OR id = ?", [name, name])
    if not found:
        known = [row[0] for row in store.rows("SELECT DISTINCT name FROM documents")]
        raise NotFound(
            f"no document {name!r} in {store.path}; `synth render` takes documents in.{did_you_mean(name, known)}"
        )
    return found[0]


def page(store: Store, document: str, number: int) -> Page | None:
    """One page of a document, by its id; None if it has no such page."""
    rows = store.rows(
        "SELECT number, image, width, height, text, blocks FROM pages WHERE document = ? AND number = ?",
        [document, number],
    )
    return _page(rows[0]) if rows else None


def _page(row: Sequence[Any]) -> Page:
    number, image, width, height, text, blocks = row
    return Page(number=number, image=image, width=width, height=height, text=text, blocks=json.loads(blocks))


# -- outlines ----------------------------------------------------------------------------------------------------


def save_outline(store: Store, outline: Outline) -> Outline:
    """Store an outline as the latest of its author for its document, and return it as it was stored: checked whole, under its own id.

    Raises:
        ValidationError: steps, branches and evidence do not hold together (after a `model_copy`, which checks nothing).
    """
    outline = Outline.model_validate(outline.model_dump())
    latest = store.rows(
        "SELECT outline FROM outlines WHERE document = ? AND author = ? ORDER BY made_at DESC, id LIMIT 1",
        [outline.document, outline.by],
    )
    if not latest or latest[0][0] != outline.id:
        with Writer(store) as writer:
            writer.append([outline_row(outline)])
    return outline


def outline_row(outline: Outline) -> TableRow:
    at = utc(now())
    identity = content_id("oe", [outline.id, outline.by, at.isoformat()])
    return "outlines", (identity, outline.id, outline.document, outline.by, outline.model_dump_json(), at)


def current_outline(store: Store, document: str) -> Outline | None:
    """The outline that holds for a document: the latest that a person wrote, else a model, else a rule."""
    rows = store.rows(
        "SELECT body FROM outlines WHERE document = ? ORDER BY "
        "CASE WHEN starts_with(author, 'human:') THEN 0 WHEN starts_with(author, 'model:') THEN 1 ELSE 2 END, made_at DESC, id",
        [document],
    )
    return Outline.model_validate_json(rows[0][0]) if rows else None


def outlines(store: Store, ids: Iterable[str]) -> dict[str, Outline]:
    """Outlines by id; those that the store does not have are left out."""
    wanted = sorted(set(ids))
    if not wanted:
        return {}
    rows = store.rows("SELECT DISTINCT outline, body FROM outlines WHERE outline IN (SELECT unnest(?))", [wanted])
    return {identity: Outline.model_validate_json(body) for identity, body in rows}


def outlines_of(store: Store, examples: Iterable[Example]) -> dict[str, Outline]:
    """The outlines that examples cite."""
    return outlines(store, (name for one in examples if (name := getattr(one, "outline", None))))
