"""Images of a request: files of the assets folder, named by their sha256, as text that fits into JSON."""

import base64
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curation.errors import RequestRejected
from synth.pictures import media_type, pixels

CACHE_BYTES = 64_000_000  # of encoded images; the pages of a document come up again and again


@dataclass(frozen=True, slots=True)
class Image:
    media_type: str
    data: str  # base64
    side: int = 0  # pixels of its longer side; 0 where that is not known

    @property
    def url(self) -> str:
        return f"data:{self.media_type};base64,{self.data}"


@dataclass(frozen=True, slots=True)
class Together:
    """Limits on the images of one request: how many, how many bytes in all, and how long the side of each may be when they are more than
    `crowd`; None where there is none."""

    most: int | None = None
    most_bytes: int | None = None
    crowd: int | None = None
    crowd_px: int = 0


class Images:
    """Reads and encodes images, and keeps the last ones encoded.

    Args:
        folder: of files named by their sha256, without extension.
        most_bytes: what one image may take, as the provider counts it.
        encoded: whether limits on bytes are on the base64 text, not on the file.
        most_px: the longest side it may have; None if there is no limit.
        together: limits on the images of one request; None if there are none.
    """

    def __init__(
        self, folder: Path | None, *, most_bytes: int, encoded: bool = False, most_px: int | None = None,
        together: "Together | None" = None, cache_bytes: int = CACHE_BYTES,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._most_bytes = most_bytes
        self._encoded = encoded
        self._most_px = most_px
        self._together = together
        self._cache_bytes = cache_bytes
        self._held = 0
        self._cache: OrderedDict[str, Image] = OrderedDict()
        self._lock = threading.Lock()  # batches are written in a thread

    def of(self, names: Sequence[str]) -> list[Image]:
        """The images of these names.

        Raises:
            RequestRejected: one is missing, of an unknown format, or too large for the provider.
        """
        found = [self._one(name) for name in names]
        if (limits := self._together) is not None:
            if limits.most is not None and len(found) > limits.most:
                raise RequestRejected(
                    f"{len(found)} images in one request, the provider's limit is {limits.most}; show fewer, or none (axes.pages=[text])"
                )
            size = sum(len(image.data) if self._encoded else len(image.data) * 3 // 4 for image in found)
            if limits.most_bytes is not None and size > limits.most_bytes:
                raise RequestRejected(
                    f"{len(found)} images of {size / 1e6:.1f} MB in one request, the provider's limit is {limits.most_bytes / 1e6:.1f} MB; "
                    "render the pages smaller (dpi=100), or show none (axes.pages=[text])"
                )
            for name, image in zip(names, found, strict=True):
                if limits.crowd is not None and len(found) > limits.crowd and image.side > limits.crowd_px:
                    raise RequestRejected(
                        f"{name}: {image.side} pixels a side; with more than {limits.crowd} images in a request the provider's limit "
                        f"is {limits.crowd_px}; render the pages smaller"
                    )
        return found

    def _one(self, name: str) -> Image:
        with self._lock:
            if image := self._cache.get(name):
                self._cache.move_to_end(name)
                return image
        image = self._load(name)
        with self._lock:
            self._held += len(image.data) if name not in self._cache else 0
            self._cache[name] = image
            while self._held > self._cache_bytes:
                self._held -= len(self._cache.popitem(last=False)[1].data)
        return image

    def _load(self, name: str) -> Image:
        if self._folder is None:
            raise RequestRejected(
                f"image {name}: there is no assets folder to read it from; run inside the workspace that has it"
            )
        path = self._folder / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RequestRejected(f"{path}: the image cannot be read ({error.strerror}); import it again") from error
        media = media_type(content)
        if media is None:
            raise RequestRejected(f"{path}: not a PNG, JPEG, GIF or WebP image; convert it to one of these")
        size = (len(content) + 2) // 3 * 4 if self._encoded else len(content)
        if size > self._most_bytes:
            as_sent = " as base64" if self._encoded else ""
            raise RequestRejected(
                f"{path}: the image takes {size / 2**20:.1f} MB{as_sent}, the provider's limit is "
                f"{self._most_bytes / 2**20:.1f} MB; render it smaller"
            )
        if self._most_px and (found := pixels(content)) and max(found) > self._most_px:
            raise RequestRejected(
                f"{path}: the image has {found[0]} x {found[1]} pixels, the provider's limit is {self._most_px} a side; render it smaller"
            )
        return Image(media, base64.b64encode(content).decode(), max(pixels(content) or (0, 0)))
