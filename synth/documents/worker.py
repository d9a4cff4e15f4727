"""The reader process: reads documents for another process, within limits of memory and time that the kernel keeps.

It reads one JSON object a line, and answers each with one or more frames: four bytes of length, a JSON object, and as many bytes of PNG as
that object's `png` says.
"""

import contextlib
import json
import os
import resource
import struct
import sys
from pathlib import Path
from typing import IO, Any

import pymupdf

from synth.documents import reader
from synth.documents.limits import Limits
from synth.documents.refusal import Refused
from synth.documents.wording import worded


def main() -> None:
    given = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    limits = Limits(**given)
    _hold(limits.memory)
    _answer(answers, {"ready": True})
    held: tuple[str, reader.Opened] | None = None
    for line in sys.stdin.buffer:
        asked = json.loads(line)
        _within(asked["cpu_s"])
        try:
            if held is None or held[0] != asked["path"]:
                held = None
                held = asked["path"], reader.opened(Path(os.fsdecode(bytes.fromhex(asked["path"]))), limits)
            found = held[1]
            if asked["pages"] is None:
                _answer(answers, {
                    "pages": found.document.page_count, "media_type": found.media_type, "title": found.title,
                    "sha256": found.sha256, "notes": found.notes,
                })  # fmt: skip
                continue
            for number in range(*asked["pages"]):
                page, image = reader.looked_at(found, number, limits)
                _answer(answers, {**page, "number": number + 1, "png": len(image)}, image)
        except BaseException as error:
            held = None
            _answer(answers, {"refused": _reason(error)})
            if not isinstance(error, Exception | MemoryError):
                raise


def _reason(error: BaseException) -> str:
    match error:
        case Refused():
            return str(error)
        case MemoryError():
            return "takes more memory than a document may; save it again as PDF"
        case RecursionError():
            return "nested too deeply; save it again as PDF"
        case OSError():
            return f"cannot be read: {error.strerror or error}"
    return f"damaged: {worded(error)}; save it again"


def _answer(answers: IO[bytes], head: dict[str, Any], image: bytes = b"") -> None:
    body = json.dumps(head).encode()
    answers.write(struct.pack(">I", len(body)) + body + image)
    answers.flush()


def _hold(memory: int) -> None:
    """No more memory than this, no file written, no core dumped."""
    for what, most in ((resource.RLIMIT_AS, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # macOS has no RLIMIT_AS that can be lowered
            resource.setrlimit(what, (most, most))


def _within(seconds: float) -> None:
    """Let the kernel end this process after so much more work, should nobody be left who does."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime + seconds) + 2
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard))
