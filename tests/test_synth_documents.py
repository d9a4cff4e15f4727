"""Documents rendered: the shipped SOPs come out as their sources say, twice costs nothing, and every kind of file opens."""

import io
import json
import re
import subprocess
import sys
import unicodedata
import zipfile
from pathlib import Path

import pymupdf
import pytest

from curation.commands import main
from curation.documents import Block, Document
from curation.errors import InputError, NotFound
from curation.settings import Settings
from curation.shelf import documents
from curation.store import Store
from synth.cli import COMMANDS
from synth.config import RenderingSettings
from synth.documents.load import load, render

SOPS = Path(__file__).parent.parent / "docs/examples/sops"
NAMES = sorted(path.stem for path in (SOPS / "src").glob("*.md"))


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("documents")


@pytest.fixture(scope="module")
def shipped(workspace: Path) -> dict[str, Document]:
    return {one.name: one for one in load([SOPS], Settings(workspace=workspace))}


Said = tuple[str, int, str | None, object]  # kind, level, number, text or cells


def said_by_source(name: str) -> list[Said]:
    """What the Markdown source of an SOP says, in order, without the table of its front matter."""
    _, front, body = (SOPS / f"src/{name}.md").read_text(encoding="utf-8").split("---\n", 2)
    title = re.search(r"^title: (.*)$", front, re.M)
    assert title
    body = re.sub(r"```flow.*?```", "@flow", body, flags=re.DOTALL)
    made: list[Said] = [("title", 1, None, title[1])]
    for piece in re.split(r"\n\n+|\n(?=- )", body.strip()):
        text = " ".join(piece.replace("**", "").split())
        if piece.startswith("|"):
            rows = [[cell.strip() for cell in row.strip("| ").split(" | ")] for row in piece.splitlines()]
            made.append(("table", 0, None, tuple(tuple(row) for at, row in enumerate(rows) if at != 1)))
        elif heading := re.match(r"(#+) ((\d+) )?", text):
            made.append(("heading", len(heading[1]), heading[3], text[len(heading[1]) + 1 :]))
        elif step := re.match(r"(\d+\.\d+) ", text):
            made.append(("step", 2, step[1], text))
        elif piece[:2] in ("- ", "> "):
            made.append(
                ("bullet" if piece[0] == "-" else "note", int(piece[0] == "-"), None, text[2:].replace(" > ", " "))
            )
        elif piece == "@flow":
            made.append(("figure", 0, None, ""))
        else:
            made.append(("paragraph", 0, None, text))
    return made


def said_by(block: Block) -> Said:
    what: object = "" if block.kind == "figure" else block.cells or block.text
    return block.kind, block.level, block.number, what


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_sop_reads_as_its_source(shipped: dict[str, Document], name: str) -> None:
    document = shipped[name]
    found = [said_by(block) for page in document.pages for block in page.blocks]
    assert found[1][0] == "table", "the table of the front matter"
    del found[1]
    assert found == said_by_source(name)
    assert document.title == found[0][3]


def test_the_control_table_and_the_flow_chart_are_read(shipped: dict[str, Document]) -> None:
    control = shipped["returns_abuse"].pages[0].blocks[1]
    assert control.cells[0] == ("Number", "SOP-CS-014", "Version", "4.1")
    assert control.cells[2][1:] == ("Agents who answer return requests, in chat, by e-mail and by phone", "", "")
    flows = [block for page in shipped["returns_abuse"].pages for block in page.blocks if block.kind == "figure"]
    assert len(flows) == 1
    assert {"2 Window still open?", "9 Return declined", "not shown"} <= set(flows[0].text.split("\n"))


def test_every_block_is_where_its_text_stands(shipped: dict[str, Document]) -> None:
    import pymupdf

    for document in shipped.values():
        with pymupdf.open(document.path) as pdf:
            for page in document.pages:
                for block in page.blocks:
                    assert block.place.page == page.number
                    x0, y0, x1, y1 = block.place.box
                    rect = pdf[page.number - 1].rect
                    x, y = rect.width, rect.height
                    clip = pymupdf.Rect(x0 * x - 2, y0 * y - 2, x1 * x + 2, y1 * y + 2)
                    there = unicodedata.normalize("NFKC", "".join(pdf[page.number - 1].get_text(clip=clip).split()))
                    first = "".join((block.cells[0][0] if block.cells else block.text.split("\n")[0]).split())
                    assert unicodedata.normalize("NFKC", first)[:12] in there


def test_running_heads_are_no_blocks(shipped: dict[str, Document]) -> None:
    text = "\n".join(page.text for document in shipped.values() for page in document.pages)
    assert "Page 1 of" not in text
    assert "Internal" not in text


def test_page_images_are_assets_within_the_providers_limits(workspace: Path, shipped: dict[str, Document]) -> None:
    from synth.providers.images import Images

    images = Images(workspace / "assets", most_bytes=5 * 2**20, encoded=True, most_px=2000)
    for document in shipped.values():
        for page in document.pages:
            assert images.of([page.image])[0].media_type == "image/png"
            assert max(page.width, page.height) == 1568
    rows = Store(workspace).rows("SELECT count(*), count(DISTINCT id), min(page), max(page) FROM assets")
    assert rows == [(16, 16, 1, 3)]


def test_rendering_again_costs_nothing(
    workspace: Path, shipped: dict[str, Document], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("synth.documents.process.Reader._started", lambda self: pytest.fail("a reader was started"))
    again = {one.name: one for one in load([SOPS], Settings(workspace=workspace))}
    assert {name: one.id for name, one in again.items()} == {name: one.id for name, one in shipped.items()}
    assert len(documents(Store(workspace))) == len(shipped)


def test_a_lost_page_image_is_rendered_again(workspace: Path, shipped: dict[str, Document]) -> None:
    page = shipped["refund_late_parcel"].pages[0]
    (workspace / "assets" / page.image).unlink()
    (again,) = load([SOPS / "refund_late_parcel.pdf"], Settings(workspace=workspace))
    assert again.pages[0].image == page.image
    assert (workspace / "assets" / page.image).is_file()


def test_another_resolution_is_another_rendering(workspace: Path, shipped: dict[str, Document]) -> None:
    path = SOPS / "refund_late_parcel.pdf"
    (small,) = load([path], RenderingSettings(workspace=workspace, dpi=50))
    assert small.pages[0].height == pytest.approx(842 * 50 / 72, abs=1)
    assert small.id != shipped["refund_late_parcel"].id
    assert [block.text for block in small.pages[0].blocks] == [
        block.text for block in shipped["refund_late_parcel"].pages[0].blocks
    ]


def test_what_names_nothing_is_said(tmp_path: Path) -> None:
    settings = Settings(workspace=tmp_path / "workspace")
    (tmp_path / "a.md").write_text("# A\n")
    with pytest.raises(NotFound, match=r"Did you mean 'a.md'"):
        load([tmp_path / "b.md"], settings)
    with pytest.raises(NotFound, match="nothing matches"):
        load([tmp_path / "*.pdf"], settings)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no PDF"):
        load([tmp_path / "empty"], settings)


def test_what_cannot_be_read_stops_load_but_not_the_others(tmp_path: Path) -> None:
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.7\n")
    (tmp_path / "good.txt").write_text("Say hello.\n")
    settings = Settings(workspace=tmp_path / "workspace")
    with pytest.raises(InputError, match=r"bad\.pdf: damaged"):
        load([tmp_path], settings)
    outcomes = {one.path.name: one for one in render([tmp_path], settings)}
    assert outcomes["good.txt"].document is not None
    assert not outcomes["good.txt"].new
    assert outcomes["bad.pdf"].refused


def _word(*paragraphs: str, numbering: str = "", more: dict[str, bytes] | None = None) -> bytes:
    w = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="{identity}"><w:name w:val="{name}"/>{more}</w:style>'
        for identity, name, more in (
            ("Title", "Title", ""),
            ("H1", "heading 1", '<w:pPr><w:numPr><w:numId w:val="1"/></w:numPr></w:pPr>'),
            ("Step", "Step", '<w:pPr><w:numPr><w:ilvl w:val="1"/><w:numId w:val="1"/></w:numPr></w:pPr>'),
            ("Own", "My step", '<w:basedOn w:val="Step"/>'),
        )
    )
    levels = '<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1"/></w:lvl>'
    levels += '<w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1.%2"/></w:lvl>'
    parts = {
        "word/document.xml": f"<w:document {w}><w:body>{''.join(paragraphs)}</w:body></w:document>",
        "word/styles.xml": f"<w:styles {w}>{styles}</w:styles>",
        "word/numbering.xml": f'<w:numbering {w}><w:abstractNum w:abstractNumId="7">{levels}</w:abstractNum>'
        f'<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num>{numbering}</w:numbering>',
    }
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return out.getvalue()


def _p(text: str, style: str = "") -> str:
    look = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{look}<w:r><w:t>{text}</w:t></w:r></w:p>"


def test_word_documents_keep_the_numbers_that_word_prints(tmp_path: Path) -> None:
    cells = [("Evidence", "From"), ("Order number", "The buyer"), ("Photo", "The buyer")]
    table = "".join("<w:tr>" + "".join(f"<w:tc>{_p(cell)}</w:tc>" for cell in row) + "</w:tr>" for row in cells)
    (tmp_path / "sop.docx").write_bytes(
        _word(
            _p("Late parcels", "Title"), _p("Open the case", "H1"), _p("Ask for the order number.", "Step"),
            _p("Look it up &amp; compare.", "Own"), _p("Decide", "H1"), _p("Refund, or go to step 1.", "Step"), f"<w:tbl>{table}</w:tbl>",
        )
    )  # fmt: skip
    (document,) = load([tmp_path / "sop.docx"], Settings(workspace=tmp_path / "workspace"))
    assert document.title == "Late parcels"
    assert [said_by(block) for block in document.pages[0].blocks] == [
        ("title", 1, None, "Late parcels"),
        ("heading", 2, "1", "1 Open the case"),
        ("step", 2, "1.1", "1.1 Ask for the order number."),
        ("step", 2, "1.2", "1.2 Look it up & compare."),
        ("heading", 2, "2", "2 Decide"),
        ("step", 2, "2.1", "2.1 Refund, or go to step 1."),
        ("table", 0, None, tuple(cells)),
    ]


def test_markdown_html_and_images_are_read(tmp_path: Path) -> None:
    import pymupdf

    (tmp_path / "a.md").write_text(
        "# Late parcels\n\n## 1 Open\n\n1.1 Ask.\n\n- a photo\n\n| E | F |\n|---|---|\n| E1 | buyer |\n"
    )
    (tmp_path / "b.html").write_text(
        "<html><head><title>Late</title></head><body><h1>Late parcels</h1><h2>1 Open</h2><p>1.1 Ask.</p><ul><li>a photo</ul>"
        "<table><tr><th>E<th>F<tr><td>E1<td>buyer</table><script>x</script></body></html>"
    )
    drawn = pymupdf.Pixmap(pymupdf.csRGB, pymupdf.IRect(0, 0, 400, 300), 0)
    drawn.clear_with(200)
    drawn.save(tmp_path / "c.png")
    (tmp_path / "d.jpg").write_bytes(drawn.tobytes("jpeg"))
    outcomes = {one.path.name: one for one in render([tmp_path], Settings(workspace=tmp_path / "workspace"))}
    for name in ("a.md", "b.html"):
        document = outcomes[name].document
        assert document is not None
        assert document.title == "Late parcels"
        assert [said_by(block) for block in document.pages[0].blocks] == [
            ("title", 1, None, "Late parcels"),
            ("heading", 2, "1", "1 Open"),
            ("step", 2, "1.1", "1.1 Ask."),
            ("bullet", 1, None, "a photo"),
            ("table", 0, None, (("E", "F"), ("E1", "buyer"))),
        ]
    assert outcomes["b.html"].notes == ("scripts left out",)
    for name, media_type in (("c.png", "image/png"), ("d.jpg", "image/jpeg")):
        document = outcomes[name].document
        assert document is not None
        assert document.media_type == media_type
        assert (document.pages[0].width, document.pages[0].height) == (400, 300), "an image is not blown up"


def test_the_command_prints_what_became_of_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.md").write_text("# A\n\n1.1 Ask.\n")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7 broken")
    (tmp_path / "c.py").write_text("pass\n")
    workspace = tmp_path / "workspace"
    assert main("synth", "", COMMANDS, ["render", str(tmp_path), f"workspace={workspace}"]) == 1
    printed = capsys.readouterr().out
    assert "b.pdf: not read: damaged" in " ".join(printed.split())
    assert "1 other files passed over: c.py" in printed
    assert "1 new, 0 known, 1 not read" in printed
    assert main("synth", "", COMMANDS, ["render", str(tmp_path / "a.md"), f"workspace={workspace}", "--json"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["documents"]
    assert (one["new"], one["pages"], one["blocks"]) == (False, 1, 2)
    assert Path(one["sheet"]).read_bytes().startswith(b"\x89PNG")


def scanned(path: Path, *lines: str) -> None:
    """A page with these lines as a scanner leaves it, an image and no text: as PDF, and as PNG beside it."""
    with pymupdf.open() as made, pymupdf.open() as scan:
        page = made.new_page()
        page.insert_text((60, 80), "\n".join(lines), fontsize=13)
        image = page.get_pixmap(dpi=170)
        scan.new_page().insert_image(page.rect, pixmap=image)
        scan.save(path)
        image.save(path.with_suffix(".png"))


def test_scanned_pages_are_recognised_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = ("1.1 Ask the buyer for the order number.", "1.2 If the window has closed, go to step 9.")
    scanned(tmp_path / "scan.pdf", *steps)
    workspace = tmp_path / "workspace"
    plain = load([tmp_path / "scan.pdf"], RenderingSettings(workspace=workspace))[0]
    assert [block.kind for block in plain.pages[0].blocks] == ["figure"]
    words = ["render", str(tmp_path), f"workspace={workspace}", "sheet=false"]
    assert main("synth", "", COMMANDS, words) == 0
    assert "only the image is there; ocr=true recognises it" in capsys.readouterr().out
    assert main("synth", "", COMMANDS, [*words, "ocr=true"]) == 0
    assert "text of 1 pages recognised: read it over" in " ".join(capsys.readouterr().out.split())
    for ending in ("pdf", "png"):
        (read,) = load([tmp_path / f"scan.{ending}"], RenderingSettings(workspace=workspace, ocr=True))
        found = [block for block in read.pages[0].blocks if block.kind == "step"]
        assert [f"{block.number} {block.text.removeprefix(str(block.number)).strip()}" for block in found] == list(
            steps
        )
        assert all(0 < block.place.box[0] < block.place.box[2] < 1 for block in found)
        assert read.rendering.endswith(":ocr eng")
    assert plain.id != read.id  # another rendering, beside the first
    assert main("synth", "", COMMANDS, [*words, "ocr=true", "ocr_language=eng+tlh"]) == 2
    said = capsys.readouterr().err
    assert "Tesseract's data for 'tlh' are not installed; apt-get install tesseract-ocr-tlh" in said
    assert len(said.splitlines()) == 1


def test_nothing_of_the_table_is_cut_on_a_narrow_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    name = "procedure_for_returns_of_damaged_items_in_all_warehouses_of_the_north_v2_final"
    title = "What an agent does when a buyer wants to send back an item that came damaged, and who has to be told of it"
    (tmp_path / f"{name}.html").write_text(f"<title>{title}</title><p>1.1 Ask.")
    assert main("synth", "", COMMANDS, ["render", str(tmp_path), f"workspace={tmp_path / 'workspace'}"]) == 0
    table = [line for line in capsys.readouterr().out.splitlines() if "Next:" not in line]
    head = table[0]
    assert all(word in head for word in ("document", "title", "pages", "blocks", "MB"))
    assert "…" not in "".join(table)
    columns = head.index("title"), head.index("pages")
    rows = [line for line in table[1:] if "new," not in line]
    assert "".join(line[: columns[0]].strip() for line in rows) == name
    assert " ".join(" ".join(line[columns[0] : columns[1]].strip() for line in rows).split()) == title
    assert max(map(len, table)) <= 80


def test_every_command_of_the_page_on_documents_runs(tmp_path: Path) -> None:
    page = (SOPS.parent.parent / "documents.md").read_text(encoding="utf-8")
    commands = [
        line[2:]
        for block in re.findall(r"```console\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("$ ")
    ]
    assert len(commands) == 3
    (tmp_path / "sops").symlink_to(SOPS)
    for command in commands:
        done = subprocess.run(
            ["bash", "-c", f"PATH={Path(sys.executable).parent}:$PATH; {command}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert len(list((tmp_path / "workspace/sheets").glob("*.png"))) == 7


def test_a_page_image_has_the_very_pixels_that_mupdf_drew(workspace: Path, shipped: dict[str, Document]) -> None:
    import pymupdf

    document = shipped["returns_abuse_zh"]
    with pymupdf.open(document.path) as pdf:
        scale = 1568 / pdf[0].rect.height
        drawn = pdf[0].get_pixmap(matrix=pymupdf.Matrix(scale, scale), alpha=False)
    stored = pymupdf.Pixmap(str(workspace / "assets" / document.pages[0].image))
    assert (stored.width, stored.height, stored.n) == (drawn.width, drawn.height, 3)
    assert stored.samples == drawn.samples
