"""What the app's process holds for all its browsers: the workspace's store, the writer of verdicts, and who is asking.

Streamlit runs `app.py` anew for every look, in threads of the process that `ui` started; this module is imported once.
"""

import getpass
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import unquote

import streamlit as st

from curation.errors import TilthError
from curation.journal import Writer, open_store
from curation.review.index import refresh
from curation.store import Store
from curation.tables import TableRow
from ui.config import UiSettings

COOKIE = "tilth_reviewer"
NAME_LENGTH = 60
LOOK_EVERY_S = 1.0  # how often the index is brought up to date; at least ten times as long as that takes

HELD_S = 600.0  # how long an example stays before a reviewer who does nothing
_MOST_HELD = 10_000


@dataclass
class Served:
    """One workspace being served."""

    settings: UiSettings
    store: Store
    _writer: Writer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)
    _news: threading.Event = field(default_factory=threading.Event)
    _desks: dict[str, tuple[str, float]] = field(default_factory=dict)
    trouble: str = ""  # why the index is not up to date, for the sidebar

    def append(self, rows: list[TableRow]) -> None:
        """Write rows so that they outlive this process, before returning. They are in the store within a second.

        Raises:
            WorkspaceError: they could not be written; nothing of them was.
        """
        with self._lock:
            if self._writer is None:
                self._writer = Writer(self.store).__enter__()
            try:
                self._writer.append(rows, durable=True)
            except TilthError:
                writer, self._writer = (
                    self._writer,
                    None,
                )  # the next decision tries afresh; this journal is read back then
                with suppress(TilthError):
                    writer.__exit__(None, None, None)
                raise
        self._news.set()

    def flush(self) -> None:
        """Wait until everything appended is in the store."""
        with self._lock:
            if self._writer is not None:
                self._writer.flush()

    def settle(self) -> None:
        """Wait until everything appended is in the store and in the index."""
        self.flush()
        refresh(self.store)

    def claim(self, reviewer: str, examples: Iterable[str]) -> list[str]:
        """Those of the examples that are before nobody else, nor were in the last minutes; they are before this reviewer now.

        The index tells what was decided a while ago. This tells what is being decided, so that people who work through one queue
        at the same time do not decide twice what one is enough for.
        """
        now, mine = time.monotonic(), []
        with self._lock:
            for example in examples:
                holder, until = self._desks.get(example, (reviewer, 0.0))
                if holder == reviewer or until < now:
                    self._desks[example] = (reviewer, now + HELD_S)
                    mine.append(example)
            if len(self._desks) > _MOST_HELD:
                self._desks = {one: (who, until) for one, (who, until) in self._desks.items() if until >= now}
        return mine

    def give_back(self, reviewer: str, examples: Iterable[str]) -> None:
        """These are before this reviewer no longer, and undecided."""
        with self._lock:
            for example in examples:
                if self._desks.get(example, ("", 0.0))[0] == reviewer:
                    del self._desks[example]

    def watch(self) -> None:
        """Keep the index up to date from now on, in a thread."""
        threading.Thread(target=self._keep_up, name="review-index", daemon=True).start()

    def _keep_up(self) -> None:
        pause = LOOK_EVERY_S
        while not self._stop.wait(pause):
            began = time.monotonic()
            try:
                refresh(self.store)
                self.trouble = ""
            except TilthError as error:
                self.trouble = str(error)
            pause = max(LOOK_EVERY_S, 10 * (time.monotonic() - began))

    def close(self) -> None:
        self._stop.set()
        with self._lock:
            if self._writer is not None:
                self._writer.__exit__(None, None, None)
                self._writer = None


_SERVED: list[Served] = []


@contextmanager
def serving(settings: UiSettings) -> Iterator[Served]:
    """Serve this workspace; makes its store if there is none."""
    Store(settings.workspace)
    one = Served(settings, open_store(settings.workspace))
    _SERVED.append(one)
    try:
        yield one
    finally:
        _SERVED.remove(one)
        one.close()


def served() -> Served:
    return _SERVED[-1]


def store() -> Store:
    """The workspace's store, for a page to read from."""
    return served().store


# -- who is asking -----------------------------------------------------------------------------------------------


def reviewer() -> str | None:
    """Who decides in this browser; None if nobody has said yet."""
    if served().settings.auth == "oidc":
        return str(st.user.email) if st.user.is_logged_in and st.user.get("email") else None
    if name := st.session_state.get("reviewer"):
        return str(name)
    name = _clean(unquote(st.context.cookies.get(COOKIE, "")))
    if name:
        st.session_state["reviewer"] = name
    return name or None


def call_me(name: str) -> bool:
    """Take a typed name for this browser, from now on; False if it is none."""
    name = _clean(name)
    if name:
        st.session_state["reviewer"] = name
    return bool(name)


def suggested_name() -> str:
    with suppress(OSError, KeyError, ImportError):
        return _clean(getpass.getuser())
    return ""


def _clean(name: str) -> str:
    """A name as it stands in verdicts: no colon, which would make it another kind of author, and nothing invisible."""
    return " ".join("".join(c for c in name if c.isprintable() and c != ":").split())[:NAME_LENGTH]
