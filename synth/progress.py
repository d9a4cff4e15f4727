"""Watching a run: a live panel on a terminal, a plain line now and then elsewhere."""

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from synth.tally import Tally, Traffic

PLAIN_EVERY_S = 5.0


class Progress:
    """Shows how far a run is, on standard error; `console` says whether that is a terminal."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, markup=False)
        self._tallies: Sequence[Tally] = ()
        self._traffic = Traffic()
        self._began = 0.0

    @contextmanager
    def watch(self, tallies: Sequence[Tally], traffic: Traffic) -> Iterator[None]:
        self._tallies, self._traffic, self._began = tallies, traffic, time.monotonic()
        if self.console.is_terminal:
            with Live(get_renderable=self._panel, console=self.console, refresh_per_second=5, transient=True):
                yield
            return
        done = threading.Event()
        ticker = threading.Thread(target=self._print_lines, args=(done,), daemon=True)
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()

    def note(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _print_lines(self, done: threading.Event) -> None:
        while not done.wait(PLAIN_EVERY_S):
            self.note(self.line())
            sys.stderr.flush()

    def line(self) -> str:
        """One line: accepted of wanted, requests, rate, rejects, cost now and at the end, time left."""
        accepted, wanted = self._count()
        traffic = self._traffic
        return (
            f"accepted {accepted:,}/{wanted:,} · asked {traffic.asked:,} · replayed {traffic.replayed:,} · "
            f"{self._rate():,.0f} examples/s · rejected {_rejects(self._tallies) or 'none'} · {cost(traffic)}"
            f"{self._projected()} · ETA {self._eta()}"
        )

    def _projected(self) -> str:
        """What it will have cost in the end, at the present price of an accepted example."""
        accepted, wanted = self._count()
        spent = self._traffic.cost_usd + self._traffic.lost_usd
        fresh = accepted - self._replayed_examples()
        if spent <= 0 or fresh < 20 or accepted >= wanted:
            return ""
        return f" (about ${spent + spent / fresh * (wanted - accepted):,.2f} in the end)"

    def _replayed_examples(self) -> float:
        traffic = self._traffic
        return self._count()[0] * traffic.replayed / max(1, traffic.replayed + traffic.answered)

    def _panel(self) -> RenderableType:
        table = Table.grid(padding=(0, 2))
        running = [tally for tally in self._tallies if tally.accepted < tally.wanted] or list(self._tallies)
        for tally in running[:8]:
            bar = ProgressBar(total=tally.wanted, completed=tally.accepted, width=32)
            table.add_row(
                tally.prompt, bar, f"{tally.accepted:,}/{tally.wanted:,}", Text(_rejects([tally]), style="dim")
            )
        if len(running) > 8:
            table.add_row(f"... and {len(running) - 8} more prompts")
        return Group(
            table,
            Text(self.line(), style="bold"),
            Text(f"{self._busy()} · Ctrl-C finishes what is in flight", style="dim"),
        )

    def _busy(self) -> str:
        traffic = self._traffic
        seconds = max(time.monotonic() - self._began, 1e-9)
        tokens = (traffic.input_tokens + traffic.output_tokens) / seconds
        parts = [f"{traffic.in_flight} in flight of {traffic.at_once}"]
        parts += [f"{traffic.batches} batches"] if traffic.batches else []
        parts += [f"{60 * traffic.answered / seconds:,.0f} requests/min, {tokens:,.0f} tokens/s"] if tokens else []
        return ", ".join([*parts, *(f"{kind} {times:,}" for kind, times in most_common(traffic.faults)[:4])])

    def _count(self) -> tuple[int, int]:
        return sum(tally.accepted for tally in self._tallies), sum(tally.wanted for tally in self._tallies)

    def _rate(self) -> float:
        return self._count()[0] / max(time.monotonic() - self._began, 1e-9)

    def _eta(self) -> str:
        accepted, wanted = self._count()
        return duration((wanted - accepted) / self._rate()) if accepted else "unknown"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 10 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"


def cost(traffic: Traffic) -> str:
    """Dollars; what may have been paid for answers that never came, and answers whose price is not known, beside them."""
    lost = (
        f" + at most {dollars(traffic.lost_usd)} for {traffic.lost:,} answers that never came" if traffic.lost else ""
    )
    if traffic.unpriced and not traffic.cost_usd:
        return f"cost unknown ({traffic.unpriced:,} answers){lost}"
    unknown = f" + {traffic.unpriced:,} answers of unknown price" if traffic.unpriced else ""
    return f"{dollars(traffic.cost_usd)}{unknown}{lost}"


def dollars(amount: float) -> str:
    """`$12.34`; a small sum to two significant digits."""
    return f"${amount:,.2f}" if amount >= 0.1 or not amount else f"${amount:.2g}"


def most_common(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def _rejects(tallies: Sequence[Tally]) -> str:
    total: dict[str, int] = {}
    for tally in tallies:
        for reason, count in tally.rejected.items():
            total[reason] = total.get(reason, 0) + count
    return ", ".join(f"{reason} {count:,}" for reason, count in most_common(total)[:5])
