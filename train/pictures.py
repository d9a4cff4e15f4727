"""Words for pictures, by local image-to-text models: the text that is in them, and what they show."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from curation.errors import InputError
from train.csv_rows import Row

BATCH = 8
MOST_TOKENS = 64


class Pictures:
    """Fills in what rows of pictures lack: the text by `ocr`, the caption by `captioner`.

    Raises:
        InputError: a folder holds no image-to-text model, or the imaging library is missing.
    """

    def __init__(self, ocr: Path | None, captioner: Path | None) -> None:
        self._readers = {
            role: _Reader(role, folder)
            for role, folder in (("text", ocr), ("caption", captioner))
            if folder is not None
        }

    def filled(self, rows: Sequence[Row]) -> list[Row]:
        """The rows, with words where a column was empty; a picture that cannot be read is the row's problem."""
        found = list(rows)
        for column, reader in self._readers.items():
            wanting = [
                at for at, row in enumerate(found) if row.image and not row.problem and not getattr(row, column).strip()
            ]
            for start in range(0, len(wanting), BATCH):
                places = wanting[start : start + BATCH]
                for at, words in zip(places, reader.read([found[at].image for at in places]), strict=True):
                    if isinstance(words, Unreadable):
                        found[at] = replace(found[at], problem=str(words))
                    elif column == "text":
                        found[at] = replace(found[at], text=words)
                    else:
                        found[at] = replace(found[at], caption=words)
        return found


class Unreadable(ValueError):
    """A picture that is missing or broken."""


class _Reader:
    def __init__(self, role: str, folder: Path) -> None:
        from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoTokenizer

        loaders: tuple[Any, Any] = (AutoModelForImageTextToText, AutoImageProcessor)
        name = "ocr" if role == "text" else "captioner"
        if not folder.is_dir():
            raise InputError(f"{name}={folder}: no such folder; give a local image-to-text model")
        try:
            self._model: Any = loaders[0].from_pretrained(folder).eval()
            self._processor: Any = loaders[1].from_pretrained(folder, backend="pil")
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, ImportError) as error:
            raise InputError(
                f"{name}={folder}: cannot be loaded as an image-to-text model: {str(error).splitlines()[0]}"
            ) from error

    def read(self, paths: Sequence[str]) -> list[str | Unreadable]:
        """What each picture says or shows, or why it cannot be read."""
        import torch

        pictures = [_opened(path) for path in paths]
        good = [picture for picture in pictures if not isinstance(picture, Unreadable)]
        words: list[str] = []
        if good:
            pixels = self._processor(images=good, return_tensors="pt")["pixel_values"]
            with torch.no_grad():
                made = self._model.generate(
                    pixel_values=pixels.to(self._model.dtype), max_new_tokens=MOST_TOKENS, do_sample=False
                )
            words = [text.strip() for text in self._tokenizer.batch_decode(made, skip_special_tokens=True)]
        left = iter(words)
        return [picture if isinstance(picture, Unreadable) else next(left) for picture in pictures]


def _opened(path: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            return picture.convert("RGB")
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        return Unreadable(f"picture {path!r}: {getattr(error, 'strerror', None) or 'not an image that can be read'}")
