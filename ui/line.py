"""The line of examples before one reviewer in one browser, and the acts on the one in front."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import streamlit as st

from curation.records import Decision
from curation.review.decide import decided, edited, undone
from curation.review.queue import WINDOW, Card, Queue, cards, count, window
from ui.session import served, store

_AHEAD = 8  # cards that are fetched at once, so that most key presses open no store


@dataclass
class Line:
    queue: Queue
    ids: list[str] = field(default_factory=list)
    at: int = 0
    waiting: int = 0
    done: set[str] = field(default_factory=set)  # decided or skipped here; the index may not know yet
    ready: dict[str, Card] = field(default_factory=dict)
    note: str = ""
    forget: str = ""  # the example whose drafts the browser may drop

    def fill(self) -> None:
        """Fetch the next ids; everything said so far is taken into account."""
        served().settle()
        self.waiting = count(store(), self.queue)
        self.ids, self.at, self.ready = window(store(), self.queue, leave_out=self.done, limit=WINDOW), 0, {}

    def front(self) -> Card | None:
        """The card to show now, with the next ones fetched along with it."""
        if self.at >= len(self.ids):
            return None
        if self.ids[self.at] not in self.ready:
            self.ready = cards(store(), self.ids[self.at : self.at + _AHEAD], reviewer=self.queue.reviewer)
        return self.ready.get(self.ids[self.at])

    def show(self, example: str) -> None:
        """Put an example in front: one that a link names, or that an undo brought back."""
        self.done.discard(example)
        self.ready.pop(example, None)
        if example in self.ids:
            self.at = self.ids.index(example)
        else:
            self.ids.insert(self.at, example)

    def move(self, by: int) -> None:
        self.at = max(0, self.at + by)
        if self.at >= len(self.ids):
            self.fill()
        st.query_params.pop("panel", None)
        if self.at < len(self.ids):
            st.query_params["example"] = self.ids[self.at]
        else:
            st.query_params.pop("example", None)

    def decide(self, decision: Decision, *, reason: str = "", labels: Mapping[str, str | int] | None = None) -> None:
        """One verdict on the example in front, written before the next one shows."""
        example = self.ids[self.at]
        served().append(decided([example], self.queue.reviewer, decision, reason=reason, labels=labels))
        self._left(example)
        self.note = f"{'relabelled' if labels else _PAST[decision]} · U takes it back"

    def edit(self, card: Card, changes: Mapping[str, Any], why: str) -> None:
        child, rows = edited(card.example, self.queue.reviewer, changes, why=why)
        served().append(rows)
        self.done.add(child.id)
        self._left(card.example.id)
        self.note = "edited: the new text is kept, the old one dropped · U takes it back"

    def bulk(self, ids: list[str], decision: Decision, *, reason: str, labels: Mapping[str, str | int] | None) -> None:
        """One act on many examples."""
        served().append(decided(ids, self.queue.reviewer, decision, reason=reason, labels=labels))
        self.fill()
        self.note = f"{'relabelled' if labels else _PAST[decision]} {len(ids):,} examples · U takes all of it back"
        self.move(0)

    def undo(self) -> None:
        served().settle()
        touched, rows = undone(store(), self.queue.reviewer)
        if not rows:
            self.note = "nothing to take back"
            return
        served().append(rows)
        self.waiting += 1
        if len(touched) > 2:
            self.done.difference_update(touched)
            self.fill()
        self.show(next((one for one in touched if one in self.ids), touched[0]))
        self.note = f"taken back: {len(touched):,} decision{'s' * (len(touched) != 1)}"
        self.move(0)

    def _left(self, example: str) -> None:
        self.done.add(example)
        self.forget = example
        self.waiting = max(0, self.waiting - 1)
        self.move(1)


_PAST = {Decision.KEEP: "kept", Decision.DROP: "dropped", Decision.FLAG: "flagged"}


def line_of(queue: Queue) -> Line:
    """This browser's line through that queue; made afresh where the queue is another."""
    line = st.session_state.get("line")
    if not isinstance(line, Line) or line.queue != queue:
        line = st.session_state["line"] = Line(queue)
        line.fill()
        wanted = st.query_params.get("example")
        if wanted and store().rows("SELECT 1 FROM examples WHERE id = ?", [wanted]):
            line.show(wanted)
    return line
