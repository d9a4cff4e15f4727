"""From the documents that a run names to what its prompts rest on: documents in the store, each with its outline."""

from collections.abc import Sequence
from pathlib import Path

from curation.documents import Document, Outline
from curation.errors import InputError
from curation.shelf import current_outline, document, documents, save_outline
from curation.store import Store
from synth.outlining import outline_of
from synth.sop_prompts import MOST_IMAGES, Grounding


def groundings(store: Store, words: Sequence[str]) -> dict[str, Grounding]:
    """The documents that are named, by name, each with the outline that holds for it; one by rule, where it has none yet.

    Args:
        words: names or ids of stored documents, files, or folders of files that were rendered.

    Raises:
        InputError: nothing was named, two documents share a name, or one has no steps.
    """
    found: dict[str, Document] = {}
    for word in words:
        for one in _named(store, word):
            if one.name in found and found[one.name].id != one.id:
                raise InputError(
                    f"documents: {found[one.name].path} and {one.path} have the same name; rename one of them"
                )
            found[one.name] = one
    if not found:
        raise InputError("say which documents: documents=docs/examples/sops (`synth render` takes them in)")
    return {name: Grounding(document=one, outline=_outline(store, one)) for name, one in sorted(found.items())}


def _named(store: Store, word: str) -> list[Document]:
    path = Path(word)
    if not path.exists():
        return [document(store, word)]
    within = path.resolve()
    latest: dict[str, Document] = {}
    for one in documents(store):
        place = Path(one.path).resolve()
        if place == within or within in place.parents:
            latest.setdefault(one.path, one)
    if not latest:
        raise InputError(f"documents={word}: nothing in it was rendered; first:  synth render documents={word}")
    return list(latest.values())


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
