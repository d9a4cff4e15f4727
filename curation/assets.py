"""Images and documents that examples and requests speak of: files named by the sha256 of their bytes, in `assets/` of the workspace."""

import os
from pathlib import Path

from curation.errors import WorkspaceError
from curation.records import now
from curation.tables import TableRow, utc

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
)


def media_type(data: bytes) -> str | None:
    """What the first bytes say a file is, None if nothing we know."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((name for magic, name in _MAGIC if data.startswith(magic)), None)


def keep(folder: Path, sha256: str, path: Path) -> TableRow:
    """Copy a file into the assets, whole or not at all, and return its row.

    Raises:
        WorkspaceError: it cannot be read or written.
    """
    try:
        return keep_bytes(folder, sha256, path.read_bytes(), source=str(path))
    except WorkspaceError:
        raise
    except OSError as error:
        raise WorkspaceError(
            f"{error.filename or path}: {error.strerror}; check the folder and run this again"
        ) from error


def keep_bytes(
    folder: Path, sha256: str, data: bytes, *, source: str | None = None, page: int | None = None
) -> TableRow:
    """Write bytes into the assets, whole or not at all, and return their row.

    Args:
        source: what they come from: a file's path, a document's id.

    Raises:
        WorkspaceError: they cannot be written.
    """
    place = folder / sha256
    try:
        if not place.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            fresh = folder / f".{sha256}.{os.getpid()}"
            fresh.write_bytes(data)
            fresh.replace(place)
    except OSError as error:
        raise WorkspaceError(
            f"{error.filename or place}: {error.strerror}; check the folder and run this again"
        ) from error
    return "assets", (sha256, media_type(data) or "application/octet-stream", len(data), source, page, utc(now()))
