"""Models: training runs, evaluations and fusions as `train` leaves them on disk."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from train.evaluations import Evaluated, Sweep, list_evaluations, list_sweeps
from train.runs import Run, duration, list_runs
from train.show_runs import differing, facts, numbers
from ui.evaluated import evaluation, interval, listed, picture
from ui.look import Html, Tone, chip, empty, head, notice, table
from ui.session import served, store
from ui.text import markdown, shown

_VIEWS = ("Runs", "Evaluations", "Compare", "Fusion")
LOOK_EVERY_S = 3.0
_TONE: dict[str, Tone] = {"done": "good", "running": "info", "killed": "warn", "failed": "bad"}
_SHOWN = ("eval_auroc", "eval_loss", "train_loss", "reward")
_CHARTS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Loss", "loss", ("loss", "eval_loss")),
    ("Held-out AUROC, from before the first step", "AUROC", ("eval_auroc",)),
)
_NAMES = {"reward": "weighted sum", "loss": "training", "eval_loss": "validation", "eval_auroc": "validation"}


def page() -> None:
    head("Models", "what was trained on which version, how it went, and what it gets wrong")
    st.html(f"<style>{_CSS}</style>")
    settings = served().settings
    runs = list_runs(settings.runs_dir)[::-1]
    evaluations, sweeps = list_evaluations(settings.evaluations_dir), list_sweeps(settings.runs_dir)
    if not runs and not evaluations:
        empty(
            "No model was trained yet",
            "A run reads an exported version and nothing else. The tiny model needs no GPU and takes a minute.",
            f"Looked in {settings.runs_dir.resolve()} and {settings.evaluations_dir.resolve()}; other folders: ui runs_dir=... evaluations_dir=...",
            command=f"train run dataset=moderation recipe=tiny name=first workspace={store().workspace}\n"
            f"train eval first dataset=moderation workspace={store().workspace}",
        )
        return
    view = st.segmented_control(
        "Show", _VIEWS, default="Runs", key="show", bind="query-params", required=True, label_visibility="collapsed"
    )
    if view == "Evaluations":
        _evaluations(evaluations)
    elif view == "Compare":
        _compare(runs, evaluations)
    elif view == "Fusion":
        _fusion(sweeps)
    else:
        _runs(runs, evaluations)


# -- runs ----------------------------------------------------------------------------------------------------------


def _runs(runs: Sequence[Run], evaluations: Sequence[Evaluated]) -> None:
    if not runs:
        empty("No run is there", f"Looked in {served().settings.runs_dir.resolve()}.", command="train run dataset=moderation recipe=tiny")  # fmt: skip
        return
    rows = []
    for run in runs[:40]:
        its = run.record
        took = ((its.ended or datetime.now(UTC)) - its.started).total_seconds()
        told = ", ".join(f"{name.replace('_', ' ')} {its.metrics[name]:.4g}" for name in _SHOWN if name in its.metrics)
        rows.append((
            shown(run.id), shown("fused" if its.kind == "fused" else its.recipe), _whole(its.dataset_title), _whole(its.model),
            Html(chip(its.status_now, _TONE.get(its.status_now, "plain"))), _whole(f"{its.started:%Y-%m-%d %H:%M}"), duration(took), told,
        ))  # fmt: skip
    header = ("Run", "recipe", "dataset", "base", "status", "started (UTC)", "took", "at the end")
    st.html(table(header, rows, numbers=frozenset({6})))
    chosen = st.selectbox("Run", [run.id for run in runs], key="run", bind="query-params", width=380)
    run = next(run for run in runs if run.id == chosen)
    if run.record.status_now == "running":
        st.fragment(_watch, run_every=LOOK_EVERY_S)(run)
    else:
        _run(run, evaluations)


def _watch(run: Run) -> None:
    """A run that is going on, read anew every few seconds; the whole page once it has ended."""
    run = Run.open(run.folder)
    if run.record.status_now != "running":
        st.rerun()
    st.html(f'<p class="t-quiet" role="status">Going on: step {run.last("step") or 0:,}</p>')
    _run(run, [])


def _run(run: Run, evaluations: Sequence[Evaluated]) -> None:
    its = run.record
    if its.error:
        notice(its.error)
    if its.status_now == "killed":
        notice("Its process is gone. It goes on from its last checkpoint by the command that made it and resume=true.", "warn")  # fmt: skip
    _curves([run])
    own = [one for one in evaluations if one.report["run"] == run.id]
    left, right = st.columns(2, gap="large")
    with left:
        st.html(_about(run))
        if own:
            st.html('<h2 class="t-small">Its evaluations</h2>' + listed(own))
        else:
            st.caption("It was not evaluated yet:")
            st.code(f"train eval {run.id} dataset={its.dataset_title} workspace={store().workspace}", language=None, wrap_lines=True)  # fmt: skip
    with right:
        card = run.folder / "README.md"
        if card.is_file():
            st.html('<h2 class="t-small">Model card</h2>')
            st.html(f'<div class="t-paper">{markdown(_body(card.read_text(encoding="utf-8", errors="replace")))}</div>')


def _whole(words: str) -> Html:
    """Words that stay on one line, where they are short."""
    return Html(f'<span class="{"t-id" if len(words) < 32 else ""}">{shown(words)}</span>')


def _about(run: Run) -> str:
    its = run.record
    base = f"{its.base.name} {its.base.revision or its.base.digest or ''}".strip() if its.base else its.model
    rows = [
        ("Version", f"{its.dataset_title}, manifest {its.digest[:16]}"), ("Base", base), ("Seed", str(its.seed)),
        *((name.replace("_", " "), _number(value)) for name, value in its.metrics.items()),
        *((name.replace("_", " "), _plain(value)) for name, value in its.data.items() if isinstance(value, int | float | str)),
        *((name, _plain(value)) for name, value in its.fused.items()),
        ("Code", its.code), ("Libraries", ", ".join(f"{name} {version}" for name, version in its.environment.items())),
        ("Folder", str(run.folder.resolve())),
    ]  # fmt: skip
    return table(("About this run", ""), [(shown(name), shown(value)) for name, value in rows])


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else _number(value)


def _number(value: object) -> str:
    return f"{value:,.6g}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _body(card: str) -> str:
    """The card for people, without its YAML and its picture of the loss, which is drawn above."""
    body = card.partition("\n---\n")[2] if card.startswith("---\n") else card
    return "\n".join(line for line in body.splitlines() if not line.startswith("![loss]"))


def _curves(runs: Sequence[Run]) -> None:
    """The curves of one run, or of several one over the other."""
    lines = {run.id: run.metrics() for run in runs}
    several = len(lines) > 1
    rewards = sorted({key for found in lines.values() for line in found for key in line
                      if key == "reward" or (key.startswith("reward/") and not several)})  # fmt: skip
    charts = [*_CHARTS, *([("Rewards", "mean reward", tuple(rewards))] if rewards else [])]
    drawn = [(title, unit, found) for title, unit, keys in charts if (found := list(_points(lines, keys)))]
    if not drawn:
        st.html('<p class="t-quiet">It has logged no curve.</p>')
        return
    for column, (title, unit, points) in zip(st.columns(len(drawn), gap="large"), drawn, strict=True):
        with column:
            st.html(f'<h2 class="t-small">{shown(title)}</h2>')
            st.vega_lite_chart(_line_chart(points, unit), height=290)
            last = {point["curve"]: point for point in points}
            said = "; ".join(f"{curve} {point['value']:.4g} at step {point['step']}" for curve, point in last.items())
            st.html(f'<p class="t-quiet">{shown(said)}</p>')


def _line_chart(points: list[dict[str, Any]], unit: str) -> dict[str, Any]:
    """Value by step, a line a curve."""
    several = len({point["curve"] for point in points}) > 1
    columns = 3 if len({point["curve"] for point in points}) > 4 else 2
    legend = {"orient": "bottom", "columns": columns, "title": None, "labelLimit": 260} if several else None
    return {
        "data": {"values": points},
        "mark": {"type": "line", "point": len(points) < 60, "tooltip": True},
        "encoding": {
            "x": {"field": "step", "type": "quantitative", "title": "step", "axis": {"tickMinStep": 1}},
            "y": {"field": "value", "type": "quantitative", "title": unit, "scale": {"zero": False}},
            "color": {"field": "curve", "type": "nominal", "legend": legend},
        },
    }


def _points(lines: Mapping[str, list[dict[str, Any]]], keys: Iterable[str]) -> Iterable[dict[str, Any]]:
    several, keys = len(lines) > 1, tuple(keys)
    for run, found in lines.items():
        for key in keys:
            name = _NAMES.get(key, key.removeprefix("reward/").replace("_", " "))
            name = f"{run}: {name}" if several else name
            for line in found:
                value, step = line.get(key), line.get("step")
                if isinstance(value, int | float) and isinstance(step, int):
                    yield {"step": step, "value": float(value), "curve": name}


# -- the rest ------------------------------------------------------------------------------------------------------


def _evaluations(evaluations: Sequence[Evaluated]) -> None:
    if not evaluations:
        empty(
            "Nothing was evaluated yet", f"Looked in {served().settings.evaluations_dir.resolve()}.",
            command=f"train eval RUN dataset=moderation workspace={store().workspace}",
        )  # fmt: skip
        return
    st.html(listed(evaluations[:40]))
    chosen = st.selectbox(
        "Evaluation", [one.id for one in evaluations], key="evaluation", bind="query-params", width=520
    )
    evaluation(next(one for one in evaluations if one.id == chosen))


def _compare(runs: Sequence[Run], evaluations: Sequence[Evaluated]) -> None:
    if len(runs) < 2:
        empty("There is only one run", "Two runs are compared side by side.", command="train run dataset=moderation recipe=tiny name=second")  # fmt: skip
        return
    ids = [run.id for run in runs]
    with st.container(horizontal=True):
        one = st.selectbox("Run", ids, index=1, key="one", bind="query-params", width=320)
        other = st.selectbox("and", ids, index=0, key="other", bind="query-params", width=320)
    first, second = (next(run for run in runs if run.id == name) for name in (one, other))
    if first.id == second.id:
        notice("Choose two different runs.", "info")
        return
    _curves([first, second])
    left, right = st.columns(2, gap="large")
    with left:
        for title, pairs in (
            ("Numbers that differ", differing(numbers(first), numbers(second))),
            ("Settings that differ", differing(facts(first), facts(second))),
        ):
            rows = [(shown(key), shown(_plain(old)), shown(_plain(new))) for key, (old, new) in pairs.items()]
            st.html(table((title, first.id, second.id), rows or [("none", "", "")]))
    with right:
        st.html(_measured(first.id, second.id, evaluations))
        st.code(f"train diff runs=[{first.id},{second.id}]", language=None, wrap_lines=True)


def _measured(first: str, second: str, evaluations: Sequence[Evaluated]) -> str:
    """The newest evaluation of each on the same rows, measure by measure."""
    for one in (found for found in evaluations if found.report["run"] == first):
        same = ("dataset", "task", "rows")
        for other in (found for found in evaluations if found.report["run"] == second):
            if all(one.report[key] == other.report[key] for key in same):
                ours, theirs = (its.report["models"]["trained"]["measures"] for its in (one, other))
                rows = [
                    (shown(name.replace("_", " ")), interval(ours[name]), interval(theirs[name]))
                    for name in ours if name in theirs
                ]  # fmt: skip
                title = f"On {one.dataset}, {one.report['dataset']['split']}"
                return table((title, first, second), rows)
    return '<p class="t-quiet">They were not evaluated on the same rows of the same version.</p>'


def _fusion(sweeps: Sequence[Sweep]) -> None:
    if not sweeps:
        empty(
            "No adapters were fused by a sweep yet",
            "It measures methods and weights for harmfulness, over-refusal and utility, and keeps the best by a rule.",
            command="train fuse sweep=true task=TASK safety=SAFETY harmful=refusals benign=benign utility=moderation",
        )
        return
    names = [one.folder.name for one in sweeps]
    chosen = st.selectbox("Sweep", names, key="sweep", bind="query-params", width=380)
    one = sweeps[names.index(chosen)]
    if (one.folder / "frontier.png").is_file():
        st.html(picture(one.folder / "frontier.png", "harmfulness and over-refusal against utility"))
    rows = [
        (
            _whole(row["candidate"]), *(f"{float(row[name]):.3f}" for name in ("harmfulness", "over_refusal", "utility")),
            shown(row.get("rank", "")),
            Html('<div class="t-chips">' + (chip("Pareto", "info") if row.get("pareto") == "True" else "")
                 + (chip("chosen", "good") if row.get("chosen") == "True" else "") + "</div>"),
        )
        for row in one.rows
    ]  # fmt: skip
    header = ("Candidate", "harmfulness", "over-refusal", "utility", "rank", "")
    st.html(table(header, rows, numbers=frozenset({1, 2, 3, 4})))
    st.code(f"{one.folder / 'frontier.csv'}", language=None, wrap_lines=True)


_CSS = """
.t-small { font-size: .95rem; font-weight: 650; padding: 0; margin: .4rem 0 .2rem; }
.t-paper { border: 1px solid var(--t-line); border-radius: 12px; padding: .4rem 1.3rem 1rem; }
.t-id { color: inherit; white-space: nowrap; }
.t-plot { margin: 0; max-width: 64rem; } .t-plot img { max-width: 100%; border-radius: 10px; background: #fff; border: 1px solid var(--t-line); }
.t-plot figcaption { color: var(--t-quiet); font-size: .88rem; }
"""
