"""`synth judge` as a person sees it."""

import json
import re
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from curation.agreement import Agreement
from synth import answering
from synth.answering import answer, judge_answers
from synth.config import AnswerSettings, AskSettings, JudgeSettings
from synth.judge import Report, judge
from synth.progress import Progress, cost, duration
from synth.verdicts import Word

DECISIONS = ("keep", "flag", "drop", "unscored")


def judge_command(settings: JudgeSettings) -> int:
    if settings.evaluation is not None:
        return _print_heard(judge_answers(settings, Progress()), settings, "judge_scores")
    began = time.monotonic()
    report = judge(settings, Progress())
    took = time.monotonic() - began
    if settings.as_json:
        print(json.dumps({**described(report), "seconds": round(took, 3)}, ensure_ascii=False))
    else:
        _print(report, settings, took)
    if report.stopped and report.stopped.startswith("interrupted"):
        return 130
    return 0 if report.complete else 1


def answer_command(settings: AnswerSettings) -> int:
    name = re.sub(r"\W+", "_", (settings.model or settings.provider).rpartition("/")[2])
    return _print_heard(answer(settings, Progress()), settings, f"predictions.{name}")


def _print_heard(report: answering.Report, settings: AskSettings, key: str) -> int:
    if settings.as_json:
        print(json.dumps({**asdict(report), "file": str(report.file), "complete": report.complete}, ensure_ascii=False))
    else:
        say = Console(highlight=False, markup=False, soft_wrap=True).print
        mean = "" if report.mean_score is None else f", mean score {report.mean_score:.2f} of {report.best}"
        say(f"{report.said:,} of {report.rows:,} answered{mean}, {cost(report.traffic)}: {report.file}")
        for why, count in sorted(report.reasons.items(), key=lambda one: -one[1])[:3]:
            say(f"unscored {count:,} x: {why}")
        if report.stopped:
            say(
                f"Stopped: {report.stopped}. Nothing answered is lost.\nNext:  run the same command again to go on from here"
            )
        else:
            say(f"Next:  train eval ... {key}={report.file}")
    if report.stopped and report.stopped.startswith("interrupted"):
        return 130
    return 0 if report.complete else 1


def described(report: Report) -> dict[str, Any]:
    """The report as JSON-able values."""
    return {
        "run": report.run,
        "by": report.by,
        "selected": len(report.words),
        **counted(report.words),
        "groups": [
            {"label": label, "category": category, **counted(words)}
            for (label, category), words in grouped(report.words).items()
        ],
        "unscored_because": dict(failures(report.words)),
        "agreement": {what: _agreement(found) for what, found in report.agreements.items()},
        "traffic": asdict(report.traffic),
        "stopped": report.stopped,
        "complete": report.complete,
    }


def counted(words: list[Word]) -> dict[str, Any]:
    """How many were kept, flagged, dropped, unscored and not judged yet, and the mean score of those that have one."""
    decisions = Counter(word.decision for word in words)
    scores = [word.score for word in words if word.score is not None]
    return {
        **{decision: decisions[decision] for decision in DECISIONS},
        "missing": decisions[None],
        "mean_score": sum(scores) / len(scores) if scores else None,
    }


def grouped(words: list[Word]) -> dict[tuple[str, str], list[Word]]:
    """By label and category, as the examples carry them."""
    groups: dict[tuple[str, str], list[Word]] = defaultdict(list)
    for word in words:
        labels = word.example.labels
        groups[str(labels.get("label", "")), str(labels.get("category", ""))].append(word)
    return dict(sorted(groups.items()))


def failures(words: list[Word]) -> list[tuple[str, int]]:
    """Why examples are unscored, the most frequent reason first."""
    return Counter(word.reason for word in words if word.decision == "unscored").most_common()


def _agreement(found: Agreement) -> dict[str, Any]:
    return {
        "kappa": found.kappa,
        "interval": found.interval,
        "n": found.n,
        "same": found.same,
        "left_out": found.left_out,
        "table": [[*pair, count] for pair, count in found.table.items()],
    }


def _print(report: Report, settings: JudgeSettings, took: float) -> None:
    console = Console(highlight=False, markup=False)
    groups = grouped(report.words)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("label")
    table.add_column("category")
    for heading in ("examples", *DECISIONS, "mean score"):
        table.add_column(heading, justify="right")
    for (label, category), words in groups.items():
        table.add_row(label, category, *_cells(words))
    if len(groups) > 1:
        table.add_row("all", "", *_cells(report.words), style="bold")
    console.print(table)
    for reason, count in failures(report.words)[:3]:
        console.print(f"unscored {count:,} x: {reason}", soft_wrap=True)
    for what, found in report.agreements.items():
        left = f", {found.left_out:,} without a word to compare left out" if found.left_out else ""
        console.print(f"{what}: {found.described()}{left}", soft_wrap=True)
        if 1 < len(found.words) <= 4:
            console.print(_crossed(found))
    traffic = report.traffic
    console.print(
        f"{traffic.asked:,} requests asked, {traffic.replayed:,} answered before, {traffic.retries:,} retries, "
        f"{cost(traffic)}, {duration(took)} · run {report.run} · {report.by}",
        soft_wrap=True,
    )
    where = "" if str(settings.workspace) == "workspace" else f" workspace={settings.workspace}"
    if report.stopped:
        missing = counted(report.words)["missing"]
        console.print(
            f"Stopped: {report.stopped}. {missing:,} examples are not judged yet; nothing answered is lost.\n"
            "Next:  run the same command again to go on from here",
            soft_wrap=True,
        )
    elif failures(report.words):
        console.print("Next:  run the same command again to ask anew about the unscored ones", soft_wrap=True)
    else:
        console.print(f"Next:  curate ls status=flagged{where}", soft_wrap=True)


def _cells(words: list[Word]) -> list[str]:
    counts = counted(words)
    mean = "-" if counts["mean_score"] is None else f"{counts['mean_score']:.2f}"
    return [f"{len(words):,}", *(f"{counts[decision]:,}" if counts[decision] else "-" for decision in DECISIONS), mean]


def _crossed(found: Agreement) -> Table:
    table = Table(box=None, header_style="bold", padding=(0, 1, 0, 2))
    table.add_column("judge says")
    for word in found.words:
        table.add_column(word, justify="right")
    for mine in found.words:
        table.add_row(mine, *(f"{found.table.get((mine, other), 0):,}" for other in found.words))
    return table
