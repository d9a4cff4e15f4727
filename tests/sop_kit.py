"""SOPs for tests: the sources of the shipped documents as records, laid out without a renderer, and documents of a few lines."""

import re
from functools import lru_cache
from pathlib import Path

from curation.documents import Block, Document, Outline, Page, Place
from synth.outlining import outline_of

SOURCES = Path(__file__).parent.parent / "docs/examples/sops/src"
NAMES = tuple(sorted(path.stem for path in SOURCES.glob("*.md")))
_STEP = re.compile(r"^(\d+\.\d+) (.*)$")
_LINES = 24  # on a page


@lru_cache(maxsize=32)
def document(name: str) -> Document:
    """A shipped SOP as a document, a line of its source under the other."""
    _, front, body = (SOURCES / f"{name}.md").read_text(encoding="utf-8").split("---\n", 2)
    title = re.search(r"^title: (.*)$", front, re.M)
    return of_text(body, name=name, title=title[1] if title else name)


def of_text(body: str, *, name: str = "made_up", title: str = "Made up") -> Document:
    """A document from Markdown: headings, `1.1 steps`, tables, bullets, notes and paragraphs."""
    blocks: list[Block] = []
    rows: list[tuple[str, ...]] = []
    body = re.sub(r"```.*?```", "", body, flags=re.DOTALL)
    for number, raw in enumerate([*body.split("\n"), ""]):
        page, row = divmod(number, _LINES)
        place = Place(page=page + 1, box=(0.1, row / _LINES, 0.9, (row + 1) / _LINES))
        line = raw.strip().replace("**", "")
        if line.startswith("|"):
            if not set(line) <= set("|-: "):
                rows.append(tuple(cell.strip() for cell in line.strip("|").split("|")))
            continue
        if rows:
            text = "\n".join(" | ".join(cells) for cells in rows)
            blocks.append(Block(kind="table", text=text, place=place, cells=tuple(rows)))
            rows = []
        if heading := re.match(r"^(#+) (.*)$", line):
            blocks.append(Block(kind="heading", text=heading[2], place=place, level=len(heading[1])))
        elif step := _STEP.match(line) or re.match(r"^(\d+)[.、] ?(.*)$", line):
            blocks.append(Block(kind="step", text=line, number=step[1], place=place))
        elif line.startswith(("- ", "> ")):
            blocks.append(Block(kind="bullet" if line[0] == "-" else "note", text=line[2:], place=place))
        elif line:
            blocks.append(Block(kind="paragraph", text=line, place=place))
    count = max(block.place.page for block in blocks)
    pages = tuple(
        Page(
            number=page, image=f"{page:064x}", width=1240, height=1754,
            text="\n".join(block.text for block in blocks if block.place.page == page),
            blocks=tuple(block for block in blocks if block.place.page == page),
        )
        for page in range(1, count + 1)
    )  # fmt: skip
    return Document(sha256="0" * 64, name=name, path=f"{name}.md", media_type="text/markdown", title=title, pages=pages)


@lru_cache(maxsize=32)
def outline(name: str) -> Outline:
    return outline_of(document(name))
