"""From the documents that a run names to what its prompts rest on: documents in the store, each with its outline."""

from collections.abc import Sequence
from pathlib import Path

from curation.documents import Document, Outline
from curation.errors import InputError, did_you_mean
from curation.settings import Settings
from curation.shelf import current_outline, document, save_outline
from curation.store import Store
from synth.outlining import outline_of
from synth.sop_prompts import MOST_IMAGES, Grounding


def groundings(settings: Settings, words: Sequence[str]) -> dict[str, Grounding]:
    """The documents that are named, by name, each with the outline that holds for it; one by rule, where it has none yet.

    Args:
        words: names or ids of documents in the workspace, or files, folders and patterns of files, which are rendered if they are not there.

    Raises:
        InputError: nothing was named, a file cannot be read, two documents share a name, or one has no steps.
    """
    store = Store(settings.workspace)
    found: dict[str, Document] = {}
    for one in named(store, settings, words):
        if one.name in found and found[one.name].id != one.id:
            raise InputError(f"documents: {found[one.name].path} and {one.path} have the same name; rename one of them")
        found[one.name] = one
    return {name: Grounding(document=one, outline=_outline(store, one)) for name, one in sorted(found.items())}


def named(store: Store, settings: Settings, words: Sequence[str]) -> list[Document]:
    """The documents that are named."""
    if not words:
        raise InputError("say which documents: documents=docs/examples/sops, or names of rendered ones")
    known = {name for row in store.rows("SELECT name, id FROM documents") for name in row}
    documents = [document(store, word) for word in words if word in known]
    if paths := [word for word in words if word not in known]:
        from synth.documents.load import load  # it need not be paid for by runs on documents that are there

        try:
            documents += load(paths, settings)
        except InputError as error:
            hint = did_you_mean(paths[0], known) if not Path(paths[0]).exists() else ""
            raise InputError(f"{error}{hint}") from error
    return documents


def _outline(store: Store, one: Document) -> Outline:
    outline = current_outline(store, one.id)
    if outline is None:
        outline = save_outline(store, outline_of(one))
    return outline


def check_images(grounding: Grounding) -> None:
    """Raises InputError if a request cannot show the pages of a document."""
    if (count := len(grounding.shown)) > MOST_IMAGES:
        raise InputError(
            f"{grounding.document.path}: {count} pages have steps, a request shows {MOST_IMAGES} at most; use axes.pages=[text]"
        )
