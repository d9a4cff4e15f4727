"""What the first bytes of an image say of it. Imports nothing, as each reader of documents starts with it."""

import struct

_MAGIC = ((b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"))
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers that carry the size (ITU T.81, table B.1)


def media_type(content: bytes) -> str | None:
    """The media type, by the first bytes; None if it is none that providers take."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((name for start, name in _MAGIC if content.startswith(start)), None)


def pixels(content: bytes) -> tuple[int, int] | None:
    """Width and height, from the header; None where it is damaged."""
    try:
        match media_type(content):
            case "image/png":
                width, height = struct.unpack_from(">II", content, 16)
            case "image/gif":
                width, height = struct.unpack_from("<HH", content, 6)
            case "image/webp":
                return _webp_pixels(content)
            case "image/jpeg":
                return _jpeg_pixels(content)
            case _:
                return None
    except (struct.error, IndexError):
        return None
    return width, height


def _jpeg_pixels(content: bytes) -> tuple[int, int] | None:
    at = 2
    while at < len(content) - 9:
        if content[at] != 0xFF:
            return None
        if content[at + 1] in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", content, at + 5)
            return width, height
        at += 1 if content[at + 1] == 0xFF else 2 + struct.unpack_from(">H", content, at + 2)[0]
    return None


def _webp_pixels(content: bytes) -> tuple[int, int]:
    if content[12:16] == b"VP8X":
        return int.from_bytes(content[24:27], "little") + 1, int.from_bytes(content[27:30], "little") + 1
    if content[12:16] == b"VP8L":
        bits = struct.unpack_from("<I", content, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", content, 26)
    return width & 0x3FFF, height & 0x3FFF
