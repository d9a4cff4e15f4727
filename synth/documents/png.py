"""PNG, written fast: pages of text shrink best unfiltered, and at level 3 nearly as far as at MuPDF's 6, in half the time."""

import struct
import zlib

LEVEL = 3


def encoded(samples: bytes | memoryview, width: int, height: int) -> bytes:
    """RGB samples, 8 bits each, as PNG (W3C PNG 3rd edition, 11.2)."""
    across = 3 * width
    packer = zlib.compressobj(LEVEL)
    data = packer.compress(
        b"".join(b"\0" + bytes(samples[at : at + across]) for at in range(0, across * height, across))
    )
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
            _chunk(b"IDAT", data + packer.flush()),
            _chunk(b"IEND", b""),
        )
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(name)))
