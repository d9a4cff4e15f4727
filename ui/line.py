"""The line of examples before one reviewer in one browser, and the acts on the one in front.

A key press opens no store: the next cards are fetched by a thread while the reviewer reads, and a decision goes to the journal.
"""

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from curation.errors import TilthError
from curation.records import Decision
from curation.review.decide import decided, edited, undone
from curation.review.queue import Card, Queue, cards, draw, shared
from curation.review.sources import Cited, cited
from ui.session import Served, served

AHEAD = 24  # cards that are fetched at once
LOW = 12  # cards ahead at which the next ones are fetched


@dataclass
class Line:
    queue: Queue
    served: Served
    ids: list[str] = field(default_factory=list)
    at: int = 0
    waiting: int = 0
    done: set[str] = field(default_factory=set)  # decided or skipped here; the index may not know yet
    ready: dict[str, Card] = field(default_factory=dict)
    steps: dict[str, list[Cited]] = field(default_factory=dict)  # of the SOP that an example rests on
    note: str = ""
    forget: str = ""  # the example whose drafts the browser may drop
    _end: bool = False  # the queue had no more than what is in `ids`
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _fetching: threading.Thread | None = None

    # -- what is before the reviewer -----------------------------------------------------------------------------------

    def fill(self) -> None:
        """Draw afresh; everything said so far is taken into account."""
        self.served.settle()
        with self._lock:
            self.served.give_back(self.queue.reviewer, [one for one in self.ids if one not in self.done])
            self.ids, self.at, self.ready = [], 0, {}
            self.waiting = self._draw()

    def front(self) -> Card | None:
        """The card to show now. The next ones are fetched in the background when few are left."""
        if self.at >= len(self.ids):
            self.fill()
        while self.at < len(self.ids):
            if (card := self.ready.get(self.ids[self.at])) is not None:
                if sum(one in self.ready for one in self.ids[self.at : self.at + AHEAD]) < LOW:
                    self._fetch_soon()
                return card
            with self._lock:  # waits for the thread, which may be fetching this very one
                if self.ids[self.at] not in self.ready:
                    self._fetch()
        return None

    def _fetch_soon(self) -> None:
        if self._fetching is not None and self._fetching.is_alive():
            return

        def work() -> None:
            with self._lock, suppress(TilthError):  # whoever needs the card fetches it then, and sees the error
                self._fetch()

        self._fetching = threading.Thread(target=work, name="cards", daemon=True)
        self._fetching.start()

    def _fetch(self) -> None:
        """Get the next cards ready; those that somebody else has before them are passed over."""
        if len(self.ids) - self.at <= AHEAD and not self._end:
            self._draw()
        missing = [one for one in self.ids[self.at :] if one not in self.ready][:AHEAD]
        mine = missing if self.queue.mine else self._claim(missing)
        found = self._get(mine)
        for one in missing:
            if one not in found:
                self.ids.remove(one)

    def _get(self, examples: list[str]) -> dict[str, Card]:
        found = cards(self.served.store, examples, reviewer=self.queue.reviewer)
        for one, card in found.items():
            if steps := cited(self.served.store, card.example):
                self.steps[one] = steps
        self.ready |= found
        return found

    def _draw(self) -> int:
        """Append the queue's next ids; returns how many it has."""
        drawn, waiting = draw(self.served.store, self.queue, leave_out=self.done.union(self.ids))
        self.ids += drawn
        self._end = not drawn
        return waiting

    def _claim(self, examples: list[str]) -> list[str]:
        """Those that are before nobody else; what two people are to decide on may be before both at once."""
        alone = [one for one in examples if not shared(one, self.queue.overlap)]
        refused = set(alone).difference(self.served.claim(self.queue.reviewer, alone))
        return [one for one in examples if one not in refused]

    def show(self, example: str) -> None:
        """Put an example in front: one that a link names, or that an undo brought back."""
        with self._lock:
            self.done.discard(example)
            self._get([example])
            if example in self.ids:
                self.at = self.ids.index(example)
            elif example in self.ready:
                self.ids.insert(self.at, example)

    def move(self, by: int) -> None:
        self.at = max(0, self.at + by)
        st.query_params.pop("panel", None)

    # -- acts ----------------------------------------------------------------------------------------------------------

    def decide(self, decision: Decision, *, reason: str = "", labels: Mapping[str, str | int] | None = None) -> None:
        """One verdict on the example in front, written before the next one shows."""
        example = self.ids[self.at]
        self.served.append(decided([example], self.queue.reviewer, decision, reason=reason, labels=labels))
        self._left(example)
        self.note = f"{'relabelled' if labels else _PAST[decision]} · U takes it back"

    def edit(self, card: Card, changes: Mapping[str, Any], why: str) -> None:
        child, rows = edited(card.example, self.queue.reviewer, changes, why=why)
        self.served.append(rows)
        self.done.add(child.id)
        self._left(card.example.id)
        self.note = "edited: the new text is kept, the old one dropped · U takes it back"

    def skip(self) -> None:
        example = self.ids[self.at]
        self.done.add(example)
        self.served.give_back(self.queue.reviewer, [example])
        self.note = "skipped"
        self.move(1)

    def bulk(self, ids: list[str], decision: Decision, *, reason: str, labels: Mapping[str, str | int] | None) -> None:
        """One act on many examples."""
        self.served.append(decided(ids, self.queue.reviewer, decision, reason=reason, labels=labels))
        self.fill()
        self.note = f"{'relabelled' if labels else _PAST[decision]} {len(ids):,} example{'s' * (len(ids) != 1)} · U takes all of it back"
        self.move(0)

    def undo(self) -> None:
        self.served.flush()
        touched, rows = undone(self.served.store, self.queue.reviewer)
        if not rows:
            self.note = "nothing to take back"
            return
        self.served.append(rows)
        self.done.difference_update(touched)
        if len(touched) > 2:
            self.fill()
        else:
            self.waiting += 1
        self.show(next((one for one in touched if one in self.ids), touched[0]))
        self.note = f"taken back: {len(touched):,} decision{'s' * (len(touched) != 1)}"
        self.move(0)

    def _left(self, example: str) -> None:
        self.done.add(example)
        self.ready.pop(example, None)  # what was said of it is more now
        self.forget = example
        self.waiting = max(0, self.waiting - 1)
        self.move(1)


_PAST = {Decision.KEEP: "kept", Decision.DROP: "dropped", Decision.FLAG: "flagged"}


def line_of(queue: Queue) -> Line:
    """This browser's line through that queue; made afresh where the queue is another."""
    line = st.session_state.get("line")
    if not isinstance(line, Line) or line.queue != queue:
        line = st.session_state["line"] = Line(queue, served())
        line.fill()
        if wanted := st.query_params.get("example"):
            line.show(wanted)
    return line
