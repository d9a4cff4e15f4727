"""Text, Markdown and HTML as paged PDF, in one plain style. Nothing that a document points to is ever fetched. Runs in the reader process only."""

import html
import io
import re

import pymupdf
import yaml
from markdown_it import MarkdownIt

from synth.documents.refusal import Refused
from synth.documents.sanitise import Clean, clean

PAGE = pymupdf.paper_rect("a4")
BODY = PAGE + pymupdf.Rect(58, 58, -58, -58)
CSS = """
@page { margin: 0; }
body { margin: 0; }
* { font-family: sans-serif; font-size: 10.5pt; line-height: 1.35; }
h1 { font-size: 20pt; margin: 0 0 8pt 0; }
h2 { font-size: 15pt; margin: 14pt 0 5pt 0; }
h3 { font-size: 13pt; margin: 11pt 0 4pt 0; }
h4, h5, h6 { font-size: 11.8pt; margin: 9pt 0 3pt 0; }
p { margin: 4pt 0; }
ul, ol { margin: 3pt 0; padding-left: 18pt; }
li { margin: 1.5pt 0; }
table { border-collapse: collapse; width: 100%; margin: 6pt 0 8pt 0; }
td, th { border: 0.6pt solid #888; padding: 3pt 5pt; text-align: left; vertical-align: top; font-size: 9.5pt; }
td *, th * { font-size: 9.5pt; }
blockquote { margin: 5pt 0 5pt 18pt; }
pre, code, pre * { font-family: monospace; font-size: 9pt; }
"""
_FRONT = re.compile(r"\A---[ \t]*\n(.*?)\n---[ \t]*(?:\n|\Z)", re.DOTALL)


def from_markdown(text: str) -> Clean:
    title = ""
    if front := _FRONT.match(text):
        text = text[front.end() :]
        title = _title(front[1])
    made = clean(MarkdownIt("commonmark", {"maxNesting": 40}).enable("table").render(text))
    if title and not re.match(r"\s*<h1", made.html):
        made.html = f"<h1>{html.escape(title)}</h1>{made.html}"
    made.title = title or made.title
    return made


def _title(front: str) -> str:
    try:
        read = yaml.safe_load(front) if "&" not in front else None  # no anchors, so no bombs
    except (yaml.YAMLError, RecursionError, ValueError):
        return ""
    return str(read.get("title") or "")[:300] if isinstance(read, dict) else ""


def from_text(text: str) -> Clean:
    paragraphs = re.split(r"\n[ \t]*\n+", text.replace("\f", "\n\n"))
    made = [
        "<p>" + "</p><p>".join(html.escape(line) for line in one.split("\n") if line.strip()) + "</p>"
        for one in paragraphs
    ]
    return Clean("".join(made))


def paged(source: Clean, most_pages: int) -> bytes:
    """The PDF of a cleaned page of HTML.

    Raises:
        Refused: it takes more pages than it may.
    """
    archive = pymupdf.Archive()
    for name, data in source.images.items():
        archive.add((data, name))
    story = pymupdf.Story(source.html or "<p>&nbsp;</p>", user_css=CSS, archive=archive)
    out = io.BytesIO()
    writer = pymupdf.DocumentWriter(out)
    more, count = 1, 0
    while more:
        count += 1
        if count > most_pages:
            raise Refused(f"more than {most_pages:,} pages; split it, or allow more with most_pages=")
        device = writer.begin_page(PAGE)
        more, filled = story.place(BODY)
        story.draw(device)
        writer.end_page()
        if more and filled[3] <= filled[1]:
            raise Refused("something in it is larger than a page; save it as a PDF")
    writer.close()
    return out.getvalue()
