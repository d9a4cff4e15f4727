"""`synth estimate` as a person sees it."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, timedelta

from rich.console import Console
from rich.table import Table

from synth.choice import plans
from synth.config import EstimateSettings
from synth.confirm import dollars
from synth.estimate import BATCH_S, Estimate, estimate
from synth.forecast import Range
from synth.progress import duration

OLD = timedelta(days=183)  # prices that were read before that may well have changed


def estimate_command(settings: EstimateSettings) -> int:
    found = [estimate(plan, settings) for plan in plans(settings)]
    if settings.as_json:
        print(json.dumps([asdict(one) for one in found]))
        return 0
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console = Console(highlight=False, markup=False, width=120)
    console.print(_table(found))
    for line in notes(found, date.today()):
        console.print(line, soft_wrap=True)
    return 0


def _table(found: Sequence[Estimate]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("prompt", no_wrap=True, min_width=max(len(one.prompt) for one in found))
    batches = any(one.batch_usd is not None for one in found)
    for heading in ("stored", "accepted", "to ask", "live", *(["batches"] if batches else [])):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in found:
        accepted = "?" if one.accepted_share is None else f"{one.accepted_share:.0%}"
        cells = [f"{one.stored:,}", accepted, _count(one.to_ask), _usd(one.live_usd)]
        table.add_row(one.prompt, *cells, *([_usd(one.batch_usd)] if batches else []))
    if len(found) > 1:
        cells = [
            f"{sum(one.stored for one in found):,}", "", _count(_sum([one.to_ask for one in found])),
            _usd(_sum([one.live_usd for one in found])),
        ]  # fmt: skip
        table.add_row("all", *cells, *([_usd(_sum([one.batch_usd for one in found]))] if batches else []))
    return table


def notes(found: Sequence[Estimate], today: date) -> list[str]:
    """What the table does not say: what it rests on, what the previews cost, how old the prices are."""
    first = found[0]
    offline = first.provider == "offline"
    batches = any(one.batch_s for one in found)
    tokens = "" if offline else (
        f"{_count(_sum([one.input_tokens for one in found]))} tokens in, "
        f"{_count(_sum([one.output_tokens for one in found]))} out; "
    )  # fmt: skip
    lines = [
        f"{sum(one.examples for one in found):,} examples in {sum(one.requests for one in found):,} requests if all goes well, "
        f"provider {first.provider if offline else f'{first.provider} {first.model}'}. What is left: {tokens}"
        f"live {_time(_sum([one.live_s for one in found]))}"
        + (f", in batches within {BATCH_S / 3600:.0f} h, and again for what comes back short." if batches else ".")
    ]
    guessed = [one.prompt for one in found if not one.sample]
    if len(guessed) < len(found):
        fewest = min(one.sample for one in found if one.sample)
        lines.append(
            f"Ranges hold nine times in ten; they rest on {fewest:,} answers or more of each prompt; previews={max(20, 2 * fewest)} narrows them."
        )
    if guessed:
        named = ", ".join(guessed[:3]) + (", ..." if len(guessed) > 3 else "")
        lines.append(f"No answers yet for {named}: a guess from the length of the messages; previews=20 asks.")
    if previews := sum(one.previews for one in found):
        if offline:
            lines.append(f"{previews:,} offline previews were made for this and thrown away.")
        else:
            paid = [one.previews_usd for one in found if one.previews]
            cost = "an unknown sum" if None in paid else f"${sum(usd or 0 for usd in paid):,.4f}"
            lines.append(
                f"{previews:,} previews were asked for this and cost {cost}; they are kept, and the run does not ask for them again."
            )
    if first.live_usd is None:
        lines.append(f"The price of {first.unpriced!r} is not known; give it in pricing.yaml to see the cost.")
    elif first.prices_as_of and not offline:
        old = today - date.fromisoformat(first.prices_as_of) > OLD
        lines.append(
            f"Prices as of {first.prices_as_of}" + (": more than half a year ago; check them." if old else ".")
        )
    return lines


def _sum(ranges: Sequence[Range | None]) -> Range | None:
    total = Range(0.0, 0.0, 0.0)
    for one in ranges:
        if one is None:
            return None
        total = total.plus(one)
    return total


def _count(numbers: Range | None) -> str:
    if numbers is None:
        return "?"
    low, high = _short(numbers.low), _short(numbers.high)
    return low if low == high else f"{low}-{high}"


def _short(number: float) -> str:
    if number < 10_000:
        return f"{number:,.0f}"
    return f"{number / 1e3:,.0f}k" if number < 1e6 else f"{number / 1e6:,.1f}M"


def _usd(usd: Range | None) -> str:
    if usd is None:
        return "unknown"
    return f"${usd.expected:,.2f}" if usd.high == 0 else dollars(usd.low, usd.high)


def _time(seconds: Range | None) -> str:
    if seconds is None:
        return "for a time not known"
    low, high = duration(seconds.low), duration(seconds.high)
    return f"in {low}" if low == high else f"in {low} to {high}"
