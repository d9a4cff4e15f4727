"""The other end of a reader process: asks it, and ends it when it takes too long."""

import contextlib
import json
import os
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synth.documents.limits import MOST_PNG_BYTES, Limits
from synth.documents.refusal import Refused

MOST_HEAD = 64 << 20  # bytes of one answer but for its image
START_S = 60
# without what PyMuPDF would bring along and is not used: its layout model and its Markdown take most of its time to import
_START = (
    "import sys; sys.modules['pymupdf.layout'] = sys.modules['pymupdf4llm'] = None; "
    "from synth.documents.worker import main; main()"
)
STALE_AFTER = 40  # documents; a reader's memory never shrinks


class Reader:
    """One reader process, started when it is first asked and again when it has died."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._ready = False
        self._path: Path | None = None
        self._read = 0

    def open(self, path: Path) -> dict[str, Any]:
        """Number of pages, media type, title, sha256 and notes of a document.

        Raises:
            Refused: it cannot be read within the limits.
        """
        self._read += 1
        if self._read > STALE_AFTER:
            self.close()
        return next(self._asked(path, None, self._limits.open_s))[0]

    def pages(self, path: Path, first: int, last: int) -> Iterator[tuple[dict[str, Any], bytes]]:
        """What stands on the pages first (from 0) to last (not included), and their images as PNG.

        Raises:
            Refused: one cannot be read within the limits.
        """
        more = self._limits.open_s if self._path != path else 0
        asked = self._asked(path, (first, last), self._limits.page_s, more)
        for _ in range(first, last):
            yield next(asked)

    def _asked(
        self, path: Path, pages: tuple[int, int] | None, seconds: float, more: float = 0
    ) -> Iterator[tuple[dict[str, Any], bytes]]:
        """The answers to one question; each may take so many seconds, the first so many more."""
        process = self._started()
        self._path = path
        cpu_s = seconds * (pages[1] - pages[0] if pages else 1) + more
        line = json.dumps({"path": os.fsencode(path).hex(), "pages": pages, "cpu_s": cpu_s}) + "\n"
        try:
            assert process.stdin is not None
            process.stdin.write(line.encode())
            process.stdin.flush()
            while True:
                head, image = self._frame(process, time.monotonic() + seconds + more)
                more = 0
                if "refused" in head:
                    self._path = None
                    raise Refused(head["refused"])
                yield head, image
        except _Late:
            self.close()
            what = "to open" if pages is None else "for a page"
            raise Refused(f"takes more than {seconds:.0f} s {what}; save it again as PDF") from None
        except (_Gone, BrokenPipeError):
            self.close()
            raise Refused("too damaged, or takes more memory than a document may; save it again as PDF") from None

    def start(self) -> None:
        """Let the process begin to load what it needs; who asks it then waits the shorter."""
        if self._process is None:
            self._ready = False
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, json.dumps(self._limits.plain())],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def _started(self) -> "subprocess.Popen[bytes]":
        self.start()
        assert self._process is not None
        if not self._ready:
            try:
                self._frame(self._process, time.monotonic() + START_S)
            except (_Late, _Gone):
                self.close()
                raise Refused("the reader process does not start; check the installation of pymupdf") from None
            self._ready = True
        return self._process

    def _frame(self, process: "subprocess.Popen[bytes]", until: float) -> tuple[dict[str, Any], bytes]:
        length = struct.unpack(">I", self._exactly(process, 4, until))[0]
        if length > MOST_HEAD:
            raise _Gone
        head: dict[str, Any] = json.loads(self._exactly(process, length, until))
        size = int(head.get("png", 0))
        if size > MOST_PNG_BYTES:
            raise _Gone
        return head, self._exactly(process, size, until)

    def _exactly(self, process: "subprocess.Popen[bytes]", count: int, until: float) -> bytes:
        assert process.stdout is not None
        file = process.stdout.fileno()
        poll = select.poll()
        poll.register(file, select.POLLIN | select.POLLHUP)
        parts = bytearray()
        while len(parts) < count:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise _Late
            part = os.read(file, min(count - len(parts), 1 << 20))
            if not part:
                raise _Gone
            parts += part
        return bytes(parts)

    def kill(self) -> None:
        """End the process from another thread: who waits for its answer learns that it is gone."""
        if (process := self._process) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process, self._process, self._path, self._read = self._process, None, None, 0
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class _Late(Exception):
    pass


class _Gone(Exception):
    pass
