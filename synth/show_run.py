"""`synth run` and `synth estimate` as a person sees them."""

import json
import time
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from synth.choice import plans
from synth.config import EstimateSettings, RunSettings
from synth.estimate import Estimate, estimate
from synth.progress import Progress, cost, duration, most_common
from synth.run import Report, run


def run_command(settings: RunSettings) -> int:
    console = Console(highlight=False, markup=False)
    began = time.monotonic()
    report = run(settings, Progress())
    took = time.monotonic() - began
    if settings.as_json:
        print(
            json.dumps({**asdict(report), "complete": report.complete, "seconds": round(took, 3)}, ensure_ascii=False)
        )
    else:
        _print_report(console, report, settings, took)
    if report.stopped and report.stopped.startswith("interrupted"):
        return 130
    return 0 if report.complete else 1


def _print_report(console: Console, report: Report, settings: RunSettings, took: float) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("prompt", "accepted", "wanted", "flagged", "rejected"):
        table.add_column(heading, justify="left" if heading in ("prompt", "rejected") else "right")
    for tally in report.tallies:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in most_common(tally.rejected))
        table.add_row(tally.prompt, f"{tally.accepted:,}", f"{tally.wanted:,}", f"{tally.flagged:,}", reasons or "none")
    console.print(table)
    traffic = report.traffic
    console.print(
        f"{traffic.asked:,} requests asked, {traffic.replayed:,} answered before, {traffic.retries:,} retries, "
        f"{cost(traffic)}, {duration(took)} · run {report.run}",
        soft_wrap=True,
    )
    where = "" if str(settings.workspace) == "workspace" else f" workspace={settings.workspace}"
    if report.complete:
        console.print(f"Next:  curate stats{where}\n       curate export name=moderation{where}", soft_wrap=True)
        return
    short = sum(tally.wanted - tally.accepted for tally in report.tallies)
    if report.stopped:
        console.print(
            f"Stopped: {report.stopped}. {short:,} examples are missing; nothing answered is lost.", soft_wrap=True
        )
        more = " (with a larger max_requests)" if "max_requests" in report.stopped else ""
        console.print(f"Next:  run the same command again{more} to go on from here", soft_wrap=True)
    else:
        console.print(
            f"{short:,} examples are missing: some places of the plan got nothing usable in {settings.max_attempts} attempts, or no "
            "answer.\nNext:  run the same command again for what was not answered, or raise max_attempts; "
            "`curate ls status=dropped` shows what the checks refused",
            soft_wrap=True,
        )


def estimate_command(settings: EstimateSettings) -> int:
    found = [estimate(plan, settings) for plan in plans(settings)]
    if settings.as_json:
        print(json.dumps([asdict(one) for one in found]))
        return 0
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("prompt", no_wrap=True, min_width=max(len(one.prompt) for one in found))
    for heading in ("examples", "requests", "stored", "accepted", "to ask", "cost", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in [*found, _total(found)] if len(found) > 1 else found:
        table.add_row(
            one.prompt, f"{one.examples:,}", f"{one.requests:,}", f"{one.stored:,}", f"{one.accepted_share:.0%}",
            f"{one.to_ask:,}", f"${one.cost_usd:,.2f}", duration(one.seconds),
        )  # fmt: skip
    console.print(table)
    console.print(
        "stored: places of the plan asked before · accepted: share of previewed items that the checks let pass, and time: "
        "both from offline previews on this machine · offline answers cost nothing",
        soft_wrap=True,
    )
    return 0


def _total(found: list[Estimate]) -> Estimate:
    examples = sum(one.examples for one in found)
    return Estimate(
        prompt="all", examples=examples, requests=sum(one.requests for one in found), stored=sum(one.stored for one in found),
        accepted_share=sum(one.accepted_share * one.examples for one in found) / examples,
        to_ask=sum(one.to_ask for one in found), cost_usd=sum(one.cost_usd for one in found),
        seconds=sum(one.seconds for one in found),
    )  # fmt: skip
