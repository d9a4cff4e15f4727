"""Ctrl-C while a model trains: first a checkpoint and a clean end, then an end at once."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from curation.errors import TilthError


class Stopped(TilthError):
    """The user stopped the run, and a checkpoint was saved."""

    exit_code = 130


class Interrupts:
    """The first Ctrl-C (or SIGTERM) asks for a checkpoint and the end, the second ends at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def listen(self) -> Iterator[None]:
        before = {number: signal.signal(number, self._note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, _number: int, _frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("stopping after this step, with a checkpoint; once more to stop at once", file=sys.stderr, flush=True)
