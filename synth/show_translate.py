"""`synth translate` as a person sees it."""

import json
import time
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from curation.store import Store
from synth.config import TranslateSettings
from synth.next_steps import exports
from synth.progress import Progress, cost, duration, most_common
from synth.translate import Report, translate


def translate_command(settings: TranslateSettings) -> int:
    began = time.monotonic()
    report = translate(settings, Progress())
    took = time.monotonic() - began
    if settings.as_json:
        found = {**asdict(report), "complete": report.complete, "seconds": round(took, 3)}
        print(json.dumps(found, ensure_ascii=False))
    else:
        _print_report(Console(highlight=False, markup=False), report, settings, took)
    if report.stopped and report.stopped.startswith("interrupted"):
        return 130
    return 0 if report.complete else 1


def _print_report(console: Console, report: Report, settings: TranslateSettings, took: float) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("languages", "translated", "selected", "flagged", "not translated"):
        table.add_column(heading, justify="left" if heading in ("languages", "not translated") else "right")
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
    if report.stopped:
        console.print(f"Stopped: {report.stopped}. Nothing answered is lost.", soft_wrap=True)
    if not report.complete:
        limit = next((name for name in ("max_usd", "max_requests") if report.stopped and name in report.stopped), None)
        more = f" with a larger {limit}" if limit else ""
        console.print(f"Next:  run the same command again{more} to go on from here", soft_wrap=True)
        return
    languages = list(dict.fromkeys(settings.to))
    chosen = languages[0] if len(languages) == 1 else f"[{','.join(languages)}]"
    look = f"curate ls status=flagged language={chosen}{where}"
    tasks = settings.task or [
        row[0]
        for row in Store(settings.workspace).rows(
            "SELECT DISTINCT task FROM examples SEMI JOIN (SELECT example AS id FROM origins WHERE kind = 'translated') USING (id) ORDER BY 1"
        )
    ]
    first = look if any(tally.flagged for tally in report.tallies) else f"curate stats{where}"
    console.print("Next:  " + "\n       ".join((first, *exports(tasks, settings.workspace))), soft_wrap=True)
