"""How an example of each task is shown to the person who reads it, as HTML in which nothing acts."""

import json
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image as Picture

from curation.assets import media_type
from curation.records import QA, Dialogue, Moderation, Preference, Safety, Turn
from curation.review.sources import Cited
from curation.tables import AnyExample
from ui.look import Html
from ui.text import markdown, shown, text

_LARGE, _WIDEST = 120_000, 1_100  # bytes; pixels of the longest side
_SHOWABLE = ("image/png", "image/jpeg", "image/gif", "image/webp")

CSS = """
.t-card { border: 1px solid var(--t-line); border-radius: 14px; padding: 1.3rem 1.5rem; max-width: 62rem; background: light-dark(#fff, #1a1f1c); font-size: 1.06rem; }
.t-card h2 { font-size: 1.2rem; font-weight: 650; padding: 0; margin: 0 0 .6rem; }
.t-card h3 { font-size: .84rem; font-weight: 600; padding: 0; margin: 0 0 .35rem; color: var(--t-quiet); }
.t-card h3:not(:first-child) { margin-top: 1rem; }
.t-meme { display: grid; gap: .8rem; justify-items: center; text-align: center; }
.t-meme img, .t-page img { max-width: 100%; max-height: 26rem; border-radius: 8px; border: 1px solid var(--t-line); }
.t-meme .t-frame { border: 1px dashed var(--t-line); border-radius: 8px; padding: 1.6rem 2rem; max-width: 32rem; color: var(--t-quiet); }
.t-meme .t-over { font-weight: 700; font-size: 1.25rem; }
.t-pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 1rem; }
.t-pair > div { border: 1px solid var(--t-line); border-radius: 10px; padding: .9rem 1rem; background: var(--t-soft); }
.t-chat { display: grid; gap: .75rem; }
.t-turn { max-width: 82%; border: 1px solid var(--t-line); border-radius: 12px; padding: .55rem .9rem .6rem; }
.t-turn.user { justify-self: end; background: var(--t-good-bg); border-color: transparent; }
.t-turn.assistant { justify-self: start; background: var(--t-soft); }
.t-turn.tool, .t-turn.system { justify-self: center; max-width: 94%; font-size: .88rem; border-style: dashed; }
.t-turn .t-who { font-size: .78rem; font-weight: 600; color: var(--t-quiet); }
.t-turn .t-chips { margin-top: .4rem; }
.t-hits { margin: .2rem 0 0; padding-left: 1.1rem; } .t-hits li { padding: 0; overflow-wrap: anywhere; }
.t-page { border: 1px solid var(--t-line); border-radius: 10px; padding: .7rem .9rem; margin-bottom: .7rem; }
.t-page h3 { margin: 0 0 .4rem !important; }
.t-shot { position: relative; line-height: 0; } .t-page .t-shot img { max-height: none; width: 100%; }
.t-shot i { position: absolute; background: rgb(255 196 0 / .22); outline: 2px solid #c98a00; border-radius: 3px; }
.t-shot i b { position: absolute; right: calc(100% + 2px); top: 0; font: 600 .72rem/1.3 system-ui, sans-serif; padding: 0 .3rem;
  border-radius: 4px; background: #c98a00; color: #fff; }
.t-page ol { margin: .4rem 0 0; padding: 0; list-style: none; font-size: .88rem; }
"""


def card(example: AnyExample, assets: Path) -> Html:
    """The example as a person reads it."""
    match example:
        case Moderation():
            inside = _moderation(example, assets)
        case Dialogue():
            inside = f'<div class="t-chat">{"".join(map(_turn, example.turns))}</div>'
        case Preference():
            inside = f"<h3>Asked</h3>{text(example.prompt)}" + _pair(
                ("Better answer (chosen)", example.chosen), ("Worse answer (rejected)", example.rejected)
            )
        case Safety():
            wanted = "The answer complies" if example.behaviour == "comply" else "The answer refuses"
            inside = f"<h3>Asked</h3>{text(example.prompt)}<h3>{wanted}</h3>{text(example.response)}"
        case QA():
            inside = (
                f"<h3>Question</h3>{text(example.question)}<h3>Answer</h3>{text(example.answer)}{_cites(example.cites)}"
            )
    return Html(f'<div class="t-card" data-example="{example.id}" lang="{escape(example.language)}">{inside}</div>')


def _moderation(example: Moderation, assets: Path) -> str:
    title = f"<h2>{shown(example.title)}</h2>" if example.title else ""
    if example.surface == "listing":
        return title + markdown(example.text)
    if example.surface == "meme":
        pictures = "".join(picture(assets, sha, example.caption or "the meme's picture") for sha in example.images)
        frame = pictures or '<div class="t-frame">no picture is stored; its caption stands for it</div>'
        caption = f"<h3>What the picture shows</h3>{text(example.caption)}" if example.caption else ""
        return f'{title}<div class="t-meme">{frame}{text(example.text, kind="t-over")}<div>{caption}</div></div>'
    return title + text(example.text)


def _pair(*sides: tuple[str, str]) -> str:
    return (
        '<h3></h3><div class="t-pair">'
        + "".join(f"<div><h3>{what}</h3>{text(said)}</div>" for what, said in sides)
        + "</div>"
    )


def _turn(turn: Turn) -> str:
    who = {"user": "Customer", "assistant": "Assistant", "tool": "Looked up", "system": "Instructions"}[turn.role]
    notes = [
        shown_chip(f"{name} {_plain(value)}" if not isinstance(value, dict) else f"{one} = {_plain(each)}")
        for name, value in (turn.annotation or {}).items()
        if value not in (None, "", [], {})
        for one, each in (value.items() if isinstance(value, dict) else [("", "")])
    ]
    chips = f'<div class="t-chips">{"".join(notes)}</div>' if notes else ""
    said = _hits(turn.content) if turn.role == "tool" else ""
    return f'<div class="t-turn {turn.role}"><div class="t-who">{who}</div>{said or text(turn.content)}{chips}{_cites(turn.cites)}</div>'


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _hits(content: str) -> str:
    """What a search found, an entry a line; "" if the content is no list of entries."""
    try:
        found = json.loads(content)
    except ValueError:
        return ""
    if not isinstance(found, list) or not found or not all(isinstance(one, dict) for one in found):
        return ""
    lines = (
        f"<li>{shown(str(one.get('name') or one.get('title') or one.get('id') or ''))} "
        f'<span class="t-quiet">{shown(" · ".join(f"{key} {_plain(value)}" for key, value in one.items() if key not in ("name", "title")))}'
        "</span></li>"
        for one in found
    )
    return f'<ul class="t-hits">{"".join(lines)}</ul>'


def shown_chip(words: str, tone: str = "plain") -> str:
    """A chip of words that somebody else wrote."""
    return f'<span class="t-chip t-{tone}" style="white-space:normal">{shown(words)}</span>'


def _cites(cites: Sequence[str]) -> str:
    return f'<div class="t-chips">{"".join(shown_chip(f"cites {one}", "info") for one in cites)}</div>' if cites else ""


def pages(steps: Sequence[Cited], assets: Path) -> Html:
    """The pages that are cited, each with its cited steps marked on it and named below."""
    by_page: dict[tuple[int, str | None], list[Cited]] = {}
    for step in steps:
        by_page.setdefault((step.page, step.image), []).append(step)
    return Html("".join(_page(number, image, on_it, assets) for (number, image), on_it in by_page.items()))


def _page(number: int, image: str | None, steps: Sequence[Cited], assets: Path) -> str:
    names = "".join(f"<li>{shown_chip(one.step, 'info')} {shown(one.text)}</li>" for one in steps)
    return f'<div class="t-page"><h3>Page {number}</h3>{shot(image, number, steps, assets) if image else ""}<ol>{names}</ol></div>'


def shot(image: str, number: int, steps: Sequence[Cited], assets: Path) -> str:
    """A page's image with the places of steps marked on it."""
    marks = ""
    for one in steps:
        left, top, right, bottom = (100 * share for share in one.box)
        marks += (
            f'<i style="left:{left:.2f}%;top:{top:.2f}%;width:{right - left:.2f}%;height:{bottom - top:.2f}%">'
            f"<b>{shown(one.step)}</b></i>"
        )
    return f'<div class="t-shot">{picture(assets, image, f"page {number} of the document")}{marks}</div>'


def picture(assets: Path, sha256: str, alt: str) -> str:
    """An image of the assets within the page; a line of text if it is not there."""
    path = assets / sha256
    if not (sha256.isalnum() and path.is_file()):
        return f'<p class="t-quiet">picture {shown(sha256[:12])} is not in the assets of this workspace</p>'
    address = _address(path)
    if not address:
        return f'<p class="t-quiet">picture {shown(sha256[:12])} is no image that a browser shows safely</p>'
    return f'<img alt="{escape(alt)}" src="{address}">'


@lru_cache(maxsize=64)
def _address(path: Path) -> str:
    """The picture as a data URL, made smaller where it is far larger than it is shown; "" if it is none that is safe."""
    data = path.read_bytes()
    kind = media_type(data)
    if kind not in _SHOWABLE:
        return ""
    if len(data) > _LARGE:
        with suppress(OSError, ValueError, Picture.DecompressionBombError):
            shrunk = BytesIO()
            with Picture.open(BytesIO(data)) as whole:
                small = whole.convert("RGB")
                small.thumbnail((_WIDEST, _WIDEST))
                small.save(shrunk, "JPEG", quality=85)
            data, kind = shrunk.getvalue(), "image/jpeg"
    return f"data:{kind};base64,{b64encode(data).decode()}"
