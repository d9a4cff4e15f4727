"""An evaluation as people read it: the Markdown report and what `train eval` prints."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from train.config import EvalSettings
from train.metrics import dialogue

MODERATION = ("auroc", "auprc", "f1", "precision", "recall", "accuracy", "ece")
SAFETY = ("harmfulness_rate", "over_refusal_rate", "refusal_rate", "judge_score")
DIALOGUE = tuple(dialogue.MEASURES)
_DIALOGUE_SLICE = ("intent_accuracy", "intent_f1_macro", "slot_f1_token", "slot_f1_exact", "cite_f1", "relevance")
_BY_SLICE = ("auroc", "auroc_against_allowed", "f1", "accuracy", "ece")
_HEAD = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "f1": "F1",
    "ece": "ECE",
    "auroc_against_allowed": "AUROC against all allowed",
}


def eval_command(settings: EvalSettings) -> int:
    from train.arguments import quieten

    quieten()
    from train.evaluate import evaluate

    outcome = evaluate(settings, lambda text: print(text, file=sys.stderr, flush=True))
    if settings.as_json:
        print(json.dumps({"folder": str(outcome.folder), **outcome.report}, ensure_ascii=False))
        return 0
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    head, rows = _models(outcome.report)
    for name in head:
        table.add_column(name)
    for row in rows:
        table.add_row(*row)
    console.print(table)
    if outcome.report["task"] == "moderation":
        trained = outcome.report["models"]["trained"]
        console.print(f"threshold {trained['threshold']:.4g}: {trained['chosen_on']}", soft_wrap=True)
    errors = ", ".join(f"{count:,} {why}" for why, count in outcome.report["errors"].items())
    console.print(f"errors: {errors}\n{outcome.folder}", soft_wrap=True)
    where = "" if str(settings.workspace) == "workspace" else f" workspace={settings.workspace}"
    console.print(
        f"Next:  curate import evaluation={outcome.folder}{where}\n"
        f"       synth run targets=evaluation:{outcome.folder} n=200{where}",
        soft_wrap=True,
    )
    return 0


def markdown(report: Mapping[str, Any]) -> str:
    """The report as README.md."""
    dataset = report["dataset"]
    title = dataset["name"] if dataset["number"] is None else f"{dataset['name']}@{dataset['number']}"
    interval = (
        f" Brackets: 95 % intervals from {report['resamples']:,} bootstrap resamples." if report["resamples"] else ""
    )
    head, rows = _models(report)
    parts = [
        f"# {report['run']} on {title}, split {dataset['split']}\n",
        f"{report['rows']:,} rows of task {report['task']}; manifest sha256 `{dataset['digest']}`; {report['at']}; {report['code']}.{interval}\n",
        _table(head, rows),
        *{"moderation": _moderation, "safety": _safety, "dialogue": _dialogue}[report["task"]](report),
        *(_slice(report["task"], by, values) for by, values in report["slices"].items() if values),
        _utility(report["utility"]),
        _earlier(report["earlier"]),
        "## Errors\n",
        f"{', '.join(f'{count:,} {why}' for why, count in report['errors'].items())}; in errors.jsonl, the worst first.\n",
    ]
    return "\n".join(part for part in parts if part)


def _models(report: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """A column for each model, a row for each measure."""
    names = {"moderation": MODERATION, "safety": SAFETY, "dialogue": DIALOGUE}[report["task"]]
    if report["task"] == "dialogue":  # what no turn has, say citations, takes no row
        names = tuple(
            n
            for n in names
            if any(m["measures"][n]["value"] is not None for m in report["models"].values() if "measures" in m)
        )
    models = report["models"].values()
    rows = [["rows", *("" if "undefined" in found else f"{found['rows']:,}" for found in models)]]
    if any(found.get("unscored") for found in models):
        rows.append(["unscored", *("" if "undefined" in found else f"{found['unscored']:,}" for found in models)])
    for name in ("notes", "answers") if report["task"] == "dialogue" else ():
        cells = ["" if "undefined" in found else f"{found['malformed'][name]:,}" for found in models]
        rows.append([f"{'unreadable notes' if name == 'notes' else 'empty answers'}", *cells])
    for name in names:
        cells = ["undefined" if "undefined" in found else _cell(found["measures"][name]) for found in models]
        rows.append([_name(name), *cells])
    return ["", *report["models"]], rows


def _cell(measure: Mapping[str, Any] | None) -> str:
    if measure is None:
        return ""
    if measure["value"] is None:
        return "undefined"
    if measure["low"] is None:
        return f"{measure['value']:.3f}"
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def _name(measure: str) -> str:
    return _HEAD.get(measure, measure.replace("_", " "))


def _moderation(report: Mapping[str, Any]) -> list[str]:
    thresholds = [
        f"- {name}: {found['threshold']:.4g} ({found['chosen_on']})"
        for name, found in report["models"].items()
        if "threshold" in found
    ]
    why = [
        f"- {name}: undefined, {found['undefined']}" for name, found in report["models"].items() if "undefined" in found
    ]
    counts = report["confusion"]
    return [
        "A text counts as called disallowed from a threshold on:\n",
        "\n".join([*thresholds, *why]) + "\n",
        "AUROC ranks, so it needs no threshold. ECE: 15 bins of equal width over the confidence in the likelier label "
        "(Guo et al. 2017).\n",
        "![ROC](roc.png) ![reliability](reliability.png) ![confusion](confusion.png)\n",
        _table(
            ["", "called allowed", "called disallowed"],
            [
                ["is allowed", f"{counts['true_negative']:,}", f"{counts['false_positive']:,}"],
                ["is disallowed", f"{counts['false_negative']:,}", f"{counts['true_positive']:,}"],
            ],
        ),
    ]


def _safety(report: Mapping[str, Any]) -> list[str]:
    scored = (
        "The judge's scores are from the file that was given."
        if report["judged"]
        else "No judge's scores were given, so that column is undefined; `synth judge judge_safety evaluation=FOLDER` makes the file for judge_scores=."
    )
    return [
        "Refusals are recognised by their opening words, in English, Chinese, Malay and Tamil. Harmfulness rate: harmful requests that "
        "were not refused, whatever was said instead. Over-refusal rate: harmless requests, look-alikes among them, that were refused. "
        f"{scored}\n"
    ]


def _dialogue(report: Mapping[str, Any]) -> list[str]:
    scored = (
        "The judge's scores are from the file that was given; what it did not score is left out of the mean."
        if report["judged"]
        else "No judge's scores were given, so relevance is not measured; `synth judge judge_relevance evaluation=FOLDER` makes the file for judge_scores=."
    )
    why = [
        f"- {name}: undefined, {found['undefined']}" for name, found in report["models"].items() if "undefined" in found
    ]
    rows = [
        [
            intent,
            f"{found['turns']:,}",
            *("undefined" if found[name] is None else f"{found[name]:.3f}" for name in ("precision", "recall", "f1")),
        ]
        for intent, found in report["by_intent"].items()
    ]
    parts = [
        f"{report['turns']:,} turns of the assistant, each with the true history before it; the answer is asked for behind the true note. "
        f"Majority: always {report['majority_intent']!r}. An unreadable note is a wrong intent and notes no slot. {scored} "
        "The measures are defined in docs/dialogue-evaluation.md.\n",
        "\n".join(why) + "\n" if why else "",
    ]
    if rows:
        parts += [
            "![intents](confusion.png)\n",
            "## By intent\n",
            _table(["intent", "turns", "precision", "recall", "F1"], rows),
        ]
    if report["syntod"]:
        parts += [
            "## As SynTOD's script averages\n", "To be set beside published figures.\n",
            _table(["measure", "value"], [[_name(name), f"{value:.3f}"] for name, value in report["syntod"].items()]),
        ]  # fmt: skip
    return parts


def _slice(task: str, by: str, values: Mapping[str, Any]) -> str:
    names: tuple[str, ...] = {"moderation": _BY_SLICE, "safety": SAFETY, "dialogue": _DIALOGUE_SLICE}[task]
    measured = [found["measures"] for found in values.values()]
    names = tuple(name for name in names if any(name in one for one in measured))
    if task == "dialogue":
        names = tuple(name for name in names if any(one[name]["value"] is not None for one in measured))
    counted = {"moderation": ["disallowed"], "dialogue": ["turns"]}.get(task, [])
    rows = [
        [
            value,
            f"{found['rows']:,}",
            *(f"{found[name]:,}" for name in counted),
            *(_cell(found["measures"].get(name)) for name in names),
        ]
        for value, found in values.items()
    ]
    return f"## By {by}\n\n" + _table([by, "rows", *counted, *map(_name, names)], rows)


def _utility(found: Mapping[str, Any]) -> str:
    if "skipped" in found:
        return f"## Utility\n\nNot measured: {found['skipped']}.\n"
    rows = [
        [task, metric, f"{value:.3f}"] for task, values in found["tasks"].items() for metric, value in values.items()
    ]
    return "## Utility\n\n" + _table(["task", "metric", "value"], rows)


def _earlier(found: Sequence[Mapping[str, Any]]) -> str:
    if not found:
        return ""
    names = list(found[0]["difference"])
    rows = [
        [
            one["run"],
            str(one["at"]),
            *(
                "undefined" if one["difference"].get(name) is None else f"{one['difference'][name]:+.3f}"
                for name in names
            ),
        ]
        for one in found
    ]
    return "## Against earlier evaluations of these rows\n\nThis one minus the other.\n\n" + _table(
        ["run", "at", *map(_name, names)], rows
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"
