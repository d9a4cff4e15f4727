"""Reading a text file whose encoding may not be what was said: where it goes wrong, and what it may be instead."""

import codecs
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from curation.errors import InputError

BLOCK = 1 << 20
_HAN = re.compile("[\u4e00-\u9fff]+")
_CJK_MARKS = re.compile("[\u3000-\u303f\uff00-\uffef\u2010-\u2026]")


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a text file found; the file decodes from end to end."""

    sha256: str
    lines: int
    encoding: str

    def open(self, path: Path, *, newline: str) -> TextIO:
        """The text without a byte-order mark; `newline` as `open` takes it."""
        return path.open(encoding=self.encoding, newline=newline)


def sha256(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


def survey(path: Path, encoding: str) -> Survey:
    """Read a text file once: its hash, its lines, and whether it is what it is said to be.

    Raises:
        InputError: an unknown encoding, bytes that are not in it (with byte and line), or NUL characters.
    """
    encoding = _known(encoding)
    decoder = codecs.getincrementaldecoder(encoding)()
    digest = hashlib.sha256()
    lines = offset = 0
    ended = True
    with path.open("rb") as file:
        while True:
            block = file.read(BLOCK)
            pending = decoder.getstate()[0]
            try:
                text = decoder.decode(block, final=not block)
            except UnicodeError as error:
                start = offset - len(pending) + getattr(error, "start", 0)
                line = lines + (pending + block)[: getattr(error, "start", 0)].count(b"\n") + 1
                raise _wrong(path, encoding, start, line) from error
            if "\0" in text:
                line = lines + text[: text.index("\0")].count("\n") + 1
                hint = (
                    "is it UTF-16? Then say encoding=utf-16" if _alternates(path) else "the file is damaged: remove it"
                )
                raise InputError(f"{path}:{line}: a NUL character; {hint}")
            if not block:
                return Survey(digest.hexdigest(), lines + (not ended), encoding)
            digest.update(block)
            lines += text.count("\n")
            offset += len(block)
            ended = text.endswith("\n") if text else ended


def _known(encoding: str) -> str:
    try:
        name = codecs.lookup(encoding).name
        codecs.decode(b"a", encoding)
        "a".encode(encoding)
    except UnicodeError:
        pass
    except (LookupError, TypeError, ValueError, AssertionError) as error:
        raise InputError(
            f"encoding={encoding}: no text encoding is called so; try utf-8, utf-16, gb18030 or cp1252"
        ) from error
    return "utf-8-sig" if name == "utf-8" else name


def _alternates(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(BLOCK)
    return head.count(0) > len(head) / 4


def _wrong(path: Path, encoding: str, start: int, line: int) -> InputError:
    with path.open("rb") as file:
        mark = file.read(4)
        file.seek(max(0, start - 4096))
        before = file.read(min(start, 4096)).rpartition(b"\n")[2]
        after = file.read(1 << 16)
    whole = before + after.rpartition(b"\n")[0] if b"\n" in after else before + after
    byte = f"byte {start:,} (0x{after[0]:02X})" if after else f"byte {start:,}, where the file breaks off"
    said = encoding.removesuffix("-sig")
    guess = "utf-16" if mark.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else _guess(whole, said)
    if guess is None:
        return InputError(
            f"{path}:{line}: {byte} is not {said}; say what it is with encoding=..., or save the file as UTF-8"
        )
    excerpt = "" if guess == "utf-16" else f", in which line {line} reads {_excerpt(before, whole, guess)!r}"
    return InputError(f"{path}:{line}: {byte} is not {said}; try encoding={guess}{excerpt}, or save the file as UTF-8")


def _guess(sample: bytes, said: str) -> str | None:
    for name in ("utf-8", "gb18030", "cp1252"):
        try:
            text = sample.decode(name)
        except UnicodeDecodeError:
            continue
        if name != said and (name != "gb18030" or _reads_chinese(text)):
            return name
    return None


def _reads_chinese(text: str) -> bool:
    """Whether ideographs come in runs: an accented letter and its neighbour, misread, make a lonely one."""
    runs = _HAN.findall(text)
    han = sum(map(len, runs))
    foreign = sum(not char.isascii() for char in _CJK_MARKS.sub("", text))
    return han * 2 >= foreign and sum(len(run) for run in runs if len(run) > 1) * 2 > han


def _excerpt(before: bytes, whole: bytes, encoding: str) -> str:
    line = whole.partition(b"\n")[0].decode(encoding, "replace").strip()
    at = len(before.decode(encoding, "replace"))
    return line if len(line) <= 40 else line[max(0, at - 15) : at + 25]
