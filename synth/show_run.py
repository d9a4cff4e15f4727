"""`synth run` as a person sees it."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from curation.store import Store
from synth.choice import plans
from synth.config import RunSettings
from synth.confirm import confirm_run
from synth.dialogue_prompt import GraphPrompt
from synth.next_steps import exports
from synth.plan import Plan
from synth.progress import Progress, cost, duration, most_common
from synth.run import Report, run


def run_command(settings: RunSettings) -> int:
    console = Console(highlight=False, markup=False)
    chosen = plans(settings)
    confirm_run(chosen, settings)
    began = time.monotonic()
    report = run(settings, Progress(), chosen)
    took = time.monotonic() - began
    if settings.as_json:
        print(
            json.dumps({**asdict(report), "complete": report.complete, "seconds": round(took, 3)}, ensure_ascii=False)
        )
    else:
        _print_report(console, report, chosen, settings, took)
        _print_coverage(console, chosen, settings)
    if report.stopped and report.stopped.startswith("interrupted"):
        return 130
    return 0 if report.complete else 1


def _print_report(console: Console, report: Report, chosen: Sequence[Plan], settings: RunSettings, took: float) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("prompt", "accepted", "wanted", "flagged", "rejected"):
        table.add_column(heading, justify="left" if heading in ("prompt", "rejected") else "right")
    for tally in report.tallies:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in most_common(tally.rejected))
        table.add_row(tally.prompt, f"{tally.accepted:,}", f"{tally.wanted:,}", f"{tally.flagged:,}", reasons or "none")
    console.print(table)
    traffic = report.traffic
    batches = f" in {traffic.batches:,} batches" if traffic.batches else ""
    console.print(
        f"{traffic.asked:,} requests asked{batches}, {traffic.replayed:,} answered before, {traffic.retries:,} retries, "
        f"{cost(traffic)}, {duration(took)} · run {report.run}",
        soft_wrap=True,
    )
    if settings.provider != "offline":
        console.print(
            f"{traffic.input_tokens:,} tokens in, {traffic.output_tokens:,} out · answers: {_counts(traffic.finishes)} · "
            f"faults met: {_counts(traffic.faults)}",
            soft_wrap=True,
        )
    where = _where(settings)
    if report.complete:
        intents = any(isinstance(plan.prompt, GraphPrompt) for plan in chosen)
        tasks = [plan.prompt.task for plan in chosen]
        lines = (f"curate stats{where}", *exports(tasks, settings.workspace, intents=intents))
        console.print("Next:  " + "\n       ".join(lines), soft_wrap=True)
        return
    short = sum(tally.wanted - tally.accepted for tally in report.tallies)
    if report.stopped:
        console.print(
            f"Stopped: {report.stopped}. {short:,} examples are missing; nothing answered is lost.", soft_wrap=True
        )
        limit = next((name for name in ("max_requests", "max_usd") if name in report.stopped), None)
        more = f" (with a larger {limit})" if limit else ""
        console.print(f"Next:  run the same command again{more} to go on from here", soft_wrap=True)
        return
    console.print(f"{short:,} examples are missing:", soft_wrap=True)
    for tally in report.tallies:
        if tally.unanswered:
            console.print(
                f"  {tally.prompt}: {tally.unanswered:,} requests got no answer ({tally.no_answer})", soft_wrap=True
            )
        if tally.rejection:
            console.print(
                f"  {tally.prompt}: the provider will not take some requests: {tally.rejection}", soft_wrap=True
            )
        elif tally.short:
            console.print(
                f"  {tally.prompt}: {tally.short:,} places of the plan got too little in {settings.max_attempts} attempts",
                soft_wrap=True,
            )
    malformed = any(tally.rejected.get("malformed") for tally in report.tallies)
    console.print(
        "Next:  run the same command again for what was not answered, with "
        + ("retry=malformed for what could not be read, or " if malformed else "")
        + "a larger max_attempts for the rest; `curate ls status=dropped` shows what the checks refused",
        soft_wrap=True,
    )


def _print_coverage(console: Console, chosen: Sequence[Plan], settings: RunSettings) -> None:
    """What the workspace's dialogues have covered of each graph that was run."""
    graphs = [plan.prompt for plan in chosen if isinstance(plan.prompt, GraphPrompt)]
    if not graphs:
        return
    from synth.show_graph import coverage_line, covered

    store = Store(settings.workspace, create=False)
    for prompt in graphs:
        console.print(coverage_line(prompt, covered(prompt, store)), soft_wrap=True)
    console.print(f"Coverage: synth coverage {graphs[0].name}" + _where(settings), soft_wrap=True)


def _where(settings: RunSettings) -> str:
    return "" if str(settings.workspace) == "workspace" else f" workspace={settings.workspace}"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {times:,}" for what, times in most_common(counts)) or "none"
