"""Which examples cite which page, over the outline that they name."""

from pathlib import Path

from curation.citations import citing, shelved, uncited
from curation.documents import Block, Document, Outline, Page, Place, Step
from curation.journal import Writer
from curation.records import QA, Decision, Dialogue, Turn, Verdict, now
from curation.shelf import keep_document, page, save_outline
from curation.store import Store
from curation.tables import example_row, verdict_row


def _place(number: int) -> Place:
    return Place(page=number, box=(0.1, 0.2, 0.9, 0.25))


def _document(name: str = "returns") -> Document:
    pages = tuple(
        Page(
            number=number, image=f"{number:064x}", width=10, height=14, text=f"step {number}",
            blocks=(Block(kind="step", text=f"{number} Ask.", number=str(number), place=_place(number)),),
        )
        for number in (1, 2, 3)
    )  # fmt: skip
    return Document(
        sha256="0" * 64, name=name, path=f"{name}.pdf", media_type="application/pdf", title=name, pages=pages
    )


def _outline(document: Document, by: str, *, pages: tuple[int, ...] = (1, 2, 3)) -> Outline:
    kinds = ["action", "action", "outcome"]
    steps = tuple(
        Step(id=str(at + 1), kind=kind, text="Ask.", place=_place(number))  # type: ignore[arg-type]
        for at, (kind, number) in enumerate(zip(kinds, pages, strict=True))
    )
    return Outline(document=document.id, title=document.title, language="en", steps=steps, by=by)


def _store(folder: Path) -> tuple[Store, Document, list[str]]:
    store = Store(folder / "workspace")
    document = _document()
    keep_document(store, document)
    outline = save_outline(store, _outline(document, "rule:outline@1"))
    turns = (
        Turn(role="user", content="I want to return it."),
        Turn(role="assistant", content="Your number?", cites=("1",)),
        Turn(role="user", content="It is 7."),
        Turn(role="assistant", content="Thank you.", cites=("1", "3")),
    )
    examples = [
        Dialogue(language="en", scenario="returns", outline=outline.id, turns=turns),
        QA(language="en", question="What first?", answer="Ask.", cites=("1",), outline=outline.id),
        QA(language="en", question="And then?", answer="Ask.", cites=("2",), outline=outline.id),
        QA(language="en", question="Which document?", answer="None.", cites=("1",)),
    ]
    dropped = Verdict(example=examples[2].id, by="human:a", decision=Decision.DROP, at=now())
    with Writer(store) as writer:
        writer.append([example_row(one, now()) for one in examples])
        writer.append([verdict_row(dropped)])
    return store, document, [one.id for one in examples]


def test_what_cites_a_page_is_found_by_turn_and_step(tmp_path: Path) -> None:
    store, document, (dialogue, first, second, _) = _store(tmp_path)
    found = {(one.example, one.turn, one.step, one.page) for one in citing(store, document.id)}
    assert found == {(dialogue, 1, "1", 1), (dialogue, 3, "1", 1), (dialogue, 3, "3", 3), (first, None, "1", 1)}
    assert {one.example for one in citing(store, document.id, 3)} == {dialogue}
    assert citing(store, document.id, 2) == []
    (thrown,) = citing(store, document.id, 2, dropped=True)
    assert (thrown.example, thrown.status, thrown.box) == (second, "dropped", (0.1, 0.2, 0.9, 0.25))
    assert uncited(store, document.id) == [2]


def test_a_later_outline_moves_no_citation_and_is_the_one_that_holds(tmp_path: Path) -> None:
    store, document, (dialogue, *_) = _store(tmp_path)
    save_outline(store, _outline(document, "human:a", pages=(3, 3, 3)))
    save_outline(store, _outline(document, "rule:outline@1", pages=(2, 2, 2)))
    assert {one.page for one in citing(store, document.id) if one.example == dialogue} == {1, 3}
    (listed,) = shelved(store)
    assert (listed.name, listed.pages, listed.cited_pages, listed.examples) == ("returns", 3, 2, 2)
    assert listed.outlined_by == "human:a"


def test_documents_that_nothing_cites_are_listed_too(tmp_path: Path) -> None:
    store = Store(tmp_path / "workspace")
    assert shelved(store) == []
    keep_document(store, _document("b"))
    keep_document(store, _document("a"))
    assert [(one.name, one.cited_pages, one.examples, one.outlined_by) for one in shelved(store)] == [
        ("a", 0, 0, None),
        ("b", 0, 0, None),
    ]
    assert uncited(store, _document("a").id) == [1, 2, 3]


def test_one_page_is_read_without_the_others(tmp_path: Path) -> None:
    store, document, _ = _store(tmp_path)
    assert page(store, document.id, 2) == document.pages[1]
    assert page(store, document.id, 9) is None
