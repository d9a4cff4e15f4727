"""Hostile and broken documents, made by code: what a folder of a stranger's files may hold.

`CASES` maps a file name to what writes it. A name that begins with `read-` can be read and must be; one that begins with `refuse-` must be
refused; for the others either is right, as long as it is soon and small.
"""

import base64
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pymupdf

CASES: dict[str, Callable[[Path], None]] = {}
CANARY = "tilth-canary-7f3a"
PORT_WORD = "PORT"  # replaced in what is written by the port that a test listens on


def _case(name: str, data: bytes | str | Callable[[], bytes]) -> None:
    def write(path: Path) -> None:
        made = data() if callable(data) else data
        path.write_bytes(made.encode() if isinstance(made, str) else made)

    assert name not in CASES, name
    CASES[name] = write


# -- PDF -----------------------------------------------------------------------------------------------------------


def _pdf(pages: int = 1, text: str = "1.1 Ask for the order number.", **save: object) -> bytes:
    document = pymupdf.open()
    for _ in range(pages):
        document.new_page(width=300, height=400).insert_text((40, 60), text)
    return bytes(document.tobytes(**save))


def _raw_pdf(*objects: str | bytes, root: int = 1) -> bytes:
    """A PDF of these objects, numbered from 1, with a right table of where they are."""
    out = io.BytesIO(b"%PDF-1.7\n")
    out.seek(0, os.SEEK_END)
    places = []
    for number, body in enumerate(objects, 1):
        places.append(out.tell())
        out.write(b"%d 0 obj\n" % number + (body.encode() if isinstance(body, str) else body) + b"\nendobj\n")
    start = out.tell()
    out.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1))
    out.writelines(b"%010d 00000 n \n" % place for place in places)
    out.write(b"trailer\n<< /Size %d /Root %d 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, root, start))
    return out.getvalue()


def _one_page(
    content: bytes,
    *,
    box: str = "0 0 300 400",
    more: str = "",
    filters: str = "",
    resources: str = "",
    extra: tuple[str | bytes, ...] = (),
) -> bytes:
    stream = b"<< /Length %d %s >>\nstream\n" % (len(content), filters.encode()) + content + b"\nendstream"
    return _raw_pdf(
        f"<< /Type /Catalog /Pages 2 0 R {more} >>", "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [{box}] /Contents 4 0 R /Resources << /Font << /F 5 0 R >> {resources} >> >>",
        stream, "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>", *extra,
    )  # fmt: skip


_TEXT = b"BT /F 12 Tf 40 300 Td (1.1 Ask for the order number.) Tj ET"


def _encrypted() -> bytes:
    return _pdf(encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="secret", owner_pw="owner")


def _owner_only() -> bytes:
    return _pdf(encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw="", owner_pw="owner", permissions=0)


def _bomb_stream() -> bytes:
    squeezed = zlib.compress(b"q Q " * 60_000_000, 1)
    return _one_page(squeezed, filters="/Filter /FlateDecode")


def _nested_bomb() -> bytes:
    data = zlib.compress(b"0 " * 100_000_000, 1)
    for _ in range(2):
        data = zlib.compress(data, 9)
    return _one_page(data, filters="/Filter [/FlateDecode /FlateDecode /FlateDecode]")


def _image_pdf(width: int, height: int) -> bytes:
    data = zlib.compress(bytes(1 << 20), 9)
    image = (
        b"<< /Type /XObject /Subtype /Image /Width %d /Height %d /ColorSpace /DeviceRGB /BitsPerComponent 8 "
        b"/Filter /FlateDecode /Length %d >>\nstream\n" % (width, height, len(data)) + data + b"\nendstream"
    )
    return _one_page(b"q 300 0 0 400 0 0 cm /I Do Q", resources="/XObject << /I 6 0 R >>", extra=(image,))


def _forms(depth: int, each: int) -> bytes:
    """Forms that draw the next one so many times: each**depth drawings in all."""
    bodies = []
    for level in range(depth):
        inner = b"/X Do " * each if level + 1 < depth else b"0 0 9 9 re f"
        resources = f"/Resources << /XObject << /X {7 + level} 0 R >> >>" if level + 1 < depth else ""
        head = f"<< /Type /XObject /Subtype /Form /BBox [0 0 300 400] {resources} /Length {len(inner)} >>\nstream\n"
        bodies.append(head.encode() + inner + b"\nendstream")
    return _one_page(b"/X Do", resources="/XObject << /X 6 0 R >>", extra=tuple(bodies))


def _with_files() -> bytes:
    document = pymupdf.open("pdf", _pdf())
    document.embfile_add("payload.exe", b"MZ" + bytes(1000), filename="payload.exe")
    return bytes(document.tobytes())


def _js(action: str) -> str:
    return f"/OpenAction << /Type /Action {action} >>"


_SELF_KIDS = _raw_pdf(
    "<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 2 >>"
)  # fmt: skip

_case("refuse-encrypted.pdf", _encrypted)
_case("read-owner-password.pdf", _owner_only)
_case("any-truncated-half.pdf", lambda: _pdf(20)[: len(_pdf(20)) // 2])
_case("any-truncated-header.pdf", b"%PDF-1.7\n")
_case("any-no-xref.pdf", lambda: _pdf().replace(b"startxref", b"startxxxx"))
_case("any-wrong-xref.pdf", lambda: _pdf().replace(b"startxref\n", b"startxref\n9"))
_case("refuse-no-pages.pdf", _raw_pdf("<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [] /Count 0 >>"))
_case(
    "any-says-many-pages.pdf",
    _raw_pdf("<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [] /Count 2000000000 >>"),
)
_case("any-negative-count.pdf", _raw_pdf("<< /Type /Catalog /Pages 2 0 R >>", "<< /Type /Pages /Kids [] /Count -5 >>"))
_case("refuse-ten-thousand-pages.pdf", lambda: _raw_pdf(
    "<< /Type /Catalog /Pages 2 0 R >>",
    f"<< /Type /Pages /Count 10000 /MediaBox [0 0 300 400] /Kids [{' '.join(f'{n} 0 R' for n in range(3, 10_003))}] >>",
    *["<< /Type /Page /Parent 2 0 R >>"] * 10_000,
))  # fmt: skip
_case("any-pages-in-themselves.pdf", _SELF_KIDS)
_case("any-deep-page-tree.pdf", lambda: _raw_pdf(
    "<< /Type /Catalog /Pages 2 0 R >>",
    *(f"<< /Type /Pages /Kids [{n} 0 R] /Count 1 /Parent {n - 2} 0 R >>" for n in range(3, 20_000)), "<< /Type /Page /MediaBox [0 0 9 9] >>",
))  # fmt: skip
_case("any-huge-page.pdf", _one_page(_TEXT, box="0 0 100000 100000"))
_case("any-wide-thin-page.pdf", _one_page(_TEXT, box="0 0 100000 1"))
_case("any-page-without-size.pdf", _one_page(_TEXT, box="0 0 0 0"))
_case("any-page-of-nan.pdf", _one_page(_TEXT, box="0 0 nan inf"))
_case("any-page-backwards.pdf", _one_page(_TEXT, box="300 400 0 0"))
_case("any-page-far-away.pdf", _one_page(_TEXT, box="1e30 1e30 2e30 2e30"))
_case("any-stream-bomb.pdf", _bomb_stream)
_case("any-stream-bomb-thrice.pdf", _nested_bomb)
_case("any-forms-exponential.pdf", lambda: _forms(12, 10))
_case("any-form-in-itself.pdf", _one_page(b"/X Do", resources="/XObject << /X 6 0 R >>", extra=(
    b"<< /Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X 6 0 R >> >> /Length 5 >>\nstream\n/X Do\nendstream",)))  # fmt: skip
_case("any-image-huge-claim.pdf", lambda: _image_pdf(60_000, 60_000))
_case("any-image-negative.pdf", lambda: _image_pdf(-5, 7))
_case("read-javascript.pdf", _one_page(_TEXT, more=_js("/S /JavaScript /JS (while\\(true\\){app.alert\\(1\\)})")))
_case("read-launch.pdf", _one_page(_TEXT, more=_js(f"/S /Launch /F (/bin/sh -c touch {CANARY})")))
_case("read-fetches-uri.pdf", _one_page(_TEXT, more=_js("/S /URI /URI (http://127.0.0.1:PORT/pdf)")))
_case("read-submits-form.pdf", _one_page(_TEXT, more=_js("/S /SubmitForm /F (http://127.0.0.1:PORT/form)")))
_case("read-file-attached.pdf", _with_files)
_case("any-file-elsewhere.pdf", _one_page(
    _TEXT, more="/AF [<< /Type /Filespec /FS /URL /F (http://127.0.0.1:PORT/file) >>]"
))  # fmt: skip
_case("any-deep-brackets.pdf", _one_page(b"[" * 500_000))
_case("any-deep-arrays.pdf", _raw_pdf("<< /Type /Catalog /Pages " + "[" * 100_000 + "]" * 100_000 + " >>"))
_case("any-many-q.pdf", _one_page(b"q " * 2_000_000))
_case(
    "any-half-a-million-lines.pdf",
    lambda: _one_page(b"".join(b"%d %d m %d %d l S\n" % (i % 300, i % 400, i % 299, i % 399) for i in range(500_000))),
)
_case("any-a-hundred-thousand-words.pdf", lambda: _one_page(
    b"BT /F 1 Tf " + b"".join(b"1 0 0 1 %d %d Tm (word) Tj " % (i % 300, i // 300) for i in range(100_000)) + b"ET"
))  # fmt: skip
_case("any-a-grid-of-a-million-cells.pdf", lambda: _one_page(
    b"".join(b"%f 0 m %f 400 l S 0 %f m 300 %f l S\n" % (i * 0.3, i * 0.3, i * 0.4, i * 0.4) for i in range(1000))
))  # fmt: skip
_case("any-font-missing.pdf", _one_page(_TEXT).replace(b"/BaseFont /Helvetica", b"/BaseFont /Nowhere12"))
_case("any-font-broken.pdf", _one_page(_TEXT, extra=("<< /Type /Font /Subtype /TrueType /FontFile2 99 0 R >>",)))
_case("any-dash-of-nothing.pdf", _one_page(b"[0.00001 0.00001] 0 d 0 0 m 300 400 l S"))
_case("any-tiny-pattern.pdf", _one_page(
    b"/Pattern cs /P scn 0 0 300 400 re f", resources="/Pattern << /P 6 0 R >>", extra=(
        b"<< /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 1 1] /XStep 0.0001 /YStep 0.0001 /Resources << >> /Length 12 >>\nstream\n"
        b"0 0 1 1 re f\nendstream",)))  # fmt: skip
_case("read-junk-before.pdf", lambda: b"From: someone\n\n" + _pdf())
_case("any-junk-after.pdf", lambda: _pdf() + os.urandom(200_000))
_case("any-bits-flipped.pdf", lambda: bytes(b ^ (0x55 if i % 97 == 0 else 0) for i, b in enumerate(_pdf(5))))
_case("any-object-loop.pdf", _raw_pdf("2 0 R", "3 0 R", "1 0 R"))
_case("refuse-only-the-name.pdf", "just some words\n")

# -- images --------------------------------------------------------------------------------------------------------


def _png(width: int, height: int, rows: bytes = b"", depth: int = 8, kind: int = 0) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def _grey(width: int, height: int) -> bytes:
    """All black, one bit a pixel: a few kB that are a gigabyte when they are drawn."""
    return _png(width, height, bytes(((width + 7) // 8 + 1) * height), depth=1)


def _text_chunk_bomb() -> bytes:
    body = b"Comment\0\0" + zlib.compress(bytes(300_000_000), 1)
    chunk = struct.pack(">I", len(body)) + b"zTXt" + body + struct.pack(">I", zlib.crc32(b"zTXt" + body))
    whole = _grey(30, 30)
    return whole[:33] + chunk + whole[33:]


_JPEG = base64.b64encode(pymupdf.Pixmap(pymupdf.csRGB, pymupdf.IRect(0, 0, 40, 30)).tobytes("jpeg"))

_case("refuse-30000-px.png", lambda: _grey(30_000, 30_000))
_case("refuse-claims-2-billion-px.png", _png(2_000_000_000, 2_000_000_000, b"\0"))
_case("any-100000-by-1.png", lambda: _grey(100_000, 1))
_case("refuse-no-px.png", _png(0, 0))
_case("any-truncated.png", lambda: _png(900, 900, os.urandom(901 * 900))[:-200_000])
_case("any-only-magic.png", b"\x89PNG\r\n\x1a\n")
_case("any-text-bomb.png", _text_chunk_bomb)
_case("any-bad-depth.png", _png(10, 10, bytes(110), depth=7, kind=9))
_case("any-truncated.jpg", lambda: base64.b64decode(_JPEG)[:200])
_case("any-only-magic.jpg", b"\xff\xd8\xff")
_case(
    "any-claims-65535-px.jpg",
    b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff\x03\x01\x22\x00\x02\x11\x01\x03\x11\x01" + bytes(200),
)
_case("read-png-named.jpg", lambda: _grey(60, 40))
_case("refuse-gif-named.png", b"GIF89a\x01\x00\x01\x00\x80\x00\x00" + bytes(40))
_case("refuse-svg-named.png", "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")

# -- DOCX ----------------------------------------------------------------------------------------------------------

_W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/><Override PartName="/word/document.xml" '
    'ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1" '
    'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>'
)


def _paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def docx(body: str, *, before: str = "", more: dict[str, bytes | str] | None = None, left_out: str = "") -> bytes:
    """The smallest DOCX with this body."""
    document = f'<?xml version="1.0"?>{before}<w:document xmlns:w="{_W}" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"><w:body>{body}</w:body></w:document>'
    parts: dict[str, bytes | str] = {"[Content_Types].xml": _TYPES, "_rels/.rels": _RELS, "word/document.xml": document}
    parts |= more or {}
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, data in parts.items():
            if name != left_out:
                archive.writestr(name, data)
    return out.getvalue()


def _laughs(depth: int = 10) -> str:
    entities = '<!ENTITY l0 "lol">' + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, depth))
    return f"<!DOCTYPE x [{entities}]>"


def _blow_up() -> str:
    return f'<!DOCTYPE x [<!ENTITY a "{"a" * 100_000}">]>'


def _many_parts() -> bytes:
    return docx(_paragraph("x"), more={f"word/media/{n}.xml": "" for n in range(20_000)})


def _lying_size() -> bytes:
    made = bytearray(docx(_paragraph("x" * 50_000_000)))
    at = made.rfind(b"PK\x01\x02", 0, made.rfind(b"word/document.xml"))
    made[at + 24 : at + 28] = struct.pack("<I", 100)
    return bytes(made)


_EXTERNAL = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="rId9" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/image" Target="http://127.0.0.1:PORT/docx.png" '
    'TargetMode="External"/><Relationship Id="rId8" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/attachedTemplate" '
    'Target="http://127.0.0.1:PORT/template.dotm" TargetMode="External"/></Relationships>'
)

_case("read-plain.docx", lambda: docx(_paragraph("1.1 Ask for the order number.")))
_case("any-zip-bomb.docx", lambda: docx(_paragraph("x" * 300_000_000)))
_case("any-zip-bomb-media.docx", lambda: docx(_paragraph("1 x"), more={"word/media/a.bin": bytes(250_000_000)}))
_case("any-many-parts.docx", _many_parts)
_case("any-lying-size.docx", _lying_size)
_case("any-billion-laughs.docx", lambda: docx(_paragraph("&l9;"), before=_laughs()))
_case("any-quadratic.docx", lambda: docx(_paragraph("&a;" * 20_000), before=_blow_up()))
_case("any-external-entity.docx", lambda: docx(
    _paragraph("&e;"), before=f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///tmp/{CANARY}">]>'
))  # fmt: skip
_case(
    "any-external-dtd.docx", lambda: docx(_paragraph("x"), before='<!DOCTYPE x SYSTEM "http://127.0.0.1:PORT/x.dtd">')
)
_case("any-remote-image.docx", lambda: docx(_paragraph("1 See"), more={"word/_rels/document.xml.rels": _EXTERNAL}))
_case("any-macro.docx", lambda: docx(_paragraph("1 See"), more={"word/vbaProject.bin": b"Attribute VB_Name" * 99}))
_case("any-path-out.docx", lambda: docx(_paragraph("1 See"), more={f"../../../../tmp/{CANARY}": "x"}))
_case("refuse-no-document.docx", lambda: docx("", left_out="word/document.xml"))
_case("any-no-types.docx", lambda: docx(_paragraph("x"), left_out="[Content_Types].xml"))
_case("any-broken-xml.docx", lambda: docx("<w:p><w:r>"))
_case(
    "any-deep-tables.docx",
    lambda: docx("<w:tbl><w:tr><w:tc>" * 3000 + _paragraph("x") + "</w:tc></w:tr></w:tbl>" * 3000),
)
_case(
    "any-huge-table.docx",
    lambda: docx("<w:tbl>" + ("<w:tr>" + f"<w:tc>{_paragraph('c')}</w:tc>" * 50 + "</w:tr>") * 2000 + "</w:tbl>"),
)
_case("any-span-of-a-billion.docx", lambda: docx(
    f'<w:tbl><w:tr><w:tc><w:tcPr><w:gridSpan w:val="1000000000"/></w:tcPr>{_paragraph("c")}</w:tc></w:tr></w:tbl>'
))  # fmt: skip
_case("any-half-a-million-paragraphs.docx", lambda: docx(_paragraph("1.1 Ask.") * 500_000))
_case("any-empty-body.docx", lambda: docx(""))
_case("any-truncated.docx", lambda: docx(_paragraph("x" * 5000))[:-300])
_case("refuse-other-zip.docx", lambda: docx("", left_out="word/document.xml").replace(b"_rels", b"_xels"))
_case("refuse-old-word.docx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))

# -- HTML, Markdown, text ------------------------------------------------------------------------------------------

_case(
    "read-remote-image.html",
    "<h1>T</h1><img src='http://127.0.0.1:PORT/a.png'><p>1.1 Ask.</p><link rel=stylesheet href='http://127.0.0.1:PORT/a.css'>",
)
_case(
    "read-css-import.html",
    "<style>@import url(http://127.0.0.1:PORT/b.css); p {background: url(http://127.0.0.1:PORT/b.png)}</style><p>1.1 Ask.</p>",
)
_case(
    "read-local-image.html",
    "<p>1.1 Ask.</p><img src='file:///etc/passwd'><img src='../../../../etc/passwd'><iframe src='file:///etc/passwd'></iframe>",
)
_case("read-script.html", "<p>1.1 Ask.</p><script>while(true){}</script><p onclick='x()'>1.2 Wait.</p>")
_case("any-deep-divs.html", "<div>" * 200_000 + "x")
_case("any-deep-lists.html", "<ul><li>" * 20_000 + "x")
_case("any-deep-tables.html", "<table><tr><td>" * 5_000 + "x")
_case("any-huge-table.html", "<table>" + ("<tr>" + "<td>c</td>" * 200 + "</tr>") * 500 + "</table>")
_case("any-span.html", "<table><tr><td colspan=99999999 rowspan=99999999>x</td></tr><tr><td>y</td></tr></table>")
_case("any-laughs.html", "<?xml version='1.0'?>" + _laughs() + "<html><body>&l9;</body></html>")
_case(
    "any-css-bomb.html", "<style>" + "".join(f"p{{margin:{n}px}}" for n in range(200_000)) + "</style><p>1.1 Ask.</p>"
)
_case("any-huge-font.html", "<p style='font-size: 99999999pt'>Ask</p>")
_case(
    "any-image-bomb.html",
    lambda: "<p>1 See</p><img src='data:image/png;base64," + base64.b64encode(_grey(30_000, 30_000)).decode() + "'>",
)
_case("any-attributes.html", "<p " + " ".join(f"a{n}=1" for n in range(200_000)) + ">x</p>")
_case("any-unclosed.html", "<p>1.1 Ask.<b><i><table><tr><td>x<!-- ")
_case("any-comment-open.html", "<html><!--" + "-" * 2_000_000)
_case("any-one-word.md", "x" * 3_000_000)
_case("any-deep-quotes.md", ">" * 50_000 + " x")
_case("any-brackets.md", "[" * 50_000 + "](x)")
_case("any-emphasis.md", "*a_ " * 50_000)
_case("any-huge-table.md", "|" + "a|" * 300 + "\n|" + "-|" * 300 + "\n" + ("|" + "c|" * 300 + "\n") * 300)
_case(
    "any-yaml-laughs.md",
    "---\na: &a [x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)},*{chr(97 + n)}]\n" for n in range(24))
    + "---\n1.1 Ask.\n",
)
_case(
    "any-html-inside.md",
    "# T\n\n<script>x</script>\n\n<img src='http://127.0.0.1:PORT/md.png'>\n\n![x](http://127.0.0.1:PORT/md2.png)\n\n1. Ask.\n",
)
_case("refuse-empty.txt", b"")
_case("any-only-spaces.txt", b" \n\t\n" * 1000)
_case("refuse-junk.txt", lambda: os.urandom(100_000))
_case("refuse-nuls.txt", bytes(100_000))
_case("any-bad-utf-8.txt", b"1.1 Ask \xff\xfe\xfd for it.\n")
_case("read-utf-16.txt", "1.1 Ask for the number. \u4f60\u597d\n".encode("utf-16"))
_case("any-escapes.txt", "\x1b[2J\x1b]0;title\x07 1.1 Ask.\u202e\u2066\n" * 3)
_case("any-a-million-lines.txt", "1.1 Ask.\n" * 1_000_000)
_case("any-lone-surrogates.html", b"<p>1.1 &#xD800; &#x110000; &#0; Ask</p>")
_case("read-pdf-named.txt", _pdf)
_case("refuse-program-named.md", b"\x7fELF" + bytes(300) + os.urandom(3000))


def write_all(folder: Path, port: int) -> list[Path]:
    """Every case as a file; returns the paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in sorted(CASES):
        path = folder / name
        CASES[name](path)
        if PORT_WORD.encode() in (data := path.read_bytes()) and len(data) < 100_000:
            path.write_bytes(data.replace(b":PORT/", f":{port}/".encode()))
        paths.append(path)
    return paths
