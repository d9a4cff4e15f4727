"""Runs: what is being asked now and was before, at what rate and cost; start one, stop it, go on with it."""

import json
from datetime import datetime

import streamlit as st
from pydantic import ValidationError

from curation.records import now
from curation.review.runs import RunState, malformed_answers, reject_reasons, runs
from curation.tables import utc
from synth.config import RunSettings
from synth.progress import duration
from ui import jobs, start_run
from ui.look import DECISION_TONE, Html, chip, empty, head, notice, table, tiles, usd
from ui.session import served, store
from ui.text import shown, text
from ui.words import words_of

SHOWN, JOBS = 20, 3
_TONE = {"running": "good", "silent": "warn", "stopped": "warn", "ended": "plain"}
_ABOUT = {
    "running": "answers are coming",
    "silent": "it did not end, yet nothing was heard of it for a while: it waits for a provider, or was killed",
    "stopped": "it was stopped, or reached a limit; the same command goes on from there",
    "ended": "it asked everything",
}


def page() -> None:
    head("Runs", "what is asked, how fast and for how much; start, stop and resume")
    found = runs(store(), SHOWN)
    with st.expander("Start a run", expanded=not found, icon=":material/play_circle:"):
        start_run.form()
    mine = _mine()
    live = any(job.running for job in mine) or any(run.state == "running" for run in found)
    st.fragment(_board, run_every=1.5 if live else None)(live)


def _board(live: bool) -> None:
    found = runs(store(), SHOWN)
    mine = _mine()
    if live != (any(job.running for job in mine) or any(run.state == "running" for run in found)):
        st.rerun()  # begin to look every second, or cease
    for job in mine:
        _job(job)
    if not found:
        empty(
            "Nothing was run yet",
            "Start one above: the offline provider needs no key. A run that is started on a command line shows up here too.",
        )
        return
    st.html(
        table(
            ["run", "", "began", "examples", "left", "answers", "a minute", "malformed", "cost"],
            (_row(run) for run in found),
            numbers=frozenset(range(3, 9)),
        )
    )
    _chosen(found)


def _mine() -> list[jobs.Job]:
    """Runs that the app started: those that are going on, however old, and the latest."""
    found = jobs.jobs(served().settings.workspace, 50)
    return [job for at, job in enumerate(found) if at < JOBS or job.running]


def _job(job: jobs.Job) -> None:
    """A run that the app started: it goes on whatever becomes of this page."""
    with st.container(border=True, key=f"job-{job.name}"):
        running = job.running
        st.html(
            f'<div class="t-chips">{chip("running" if running else "over", "good" if running else "plain")} '
            f"<code>{shown('synth ' + ' '.join(job.words))}</code></div>"
            f'<p class="t-quiet t-text" role="status">{shown(job.last_line() or "starting ...")}</p>'
        )
        with st.container(horizontal=True):
            st.button(
                "Stop", key=f"stop-{job.name}", disabled=not running, on_click=job.stop, icon=":material/stop_circle:",
                help="as Ctrl-C: answers in flight are kept, the same command goes on from there; again: stops at once",
            )  # fmt: skip
            st.button(
                "Run again", key=f"again-{job.name}", disabled=running, on_click=start_run.again, icon=":material/replay:",
                args=(job.name, list(job.words[1:])), help="asks only for what is missing",
            )  # fmt: skip
        start_run.leave(job.name)
        with st.expander("All it said"):
            st.html(text(job.log() or "nothing yet"))


def _row(run: RunState) -> list[str]:
    wanted = f" of {run.wanted:,}" if run.wanted else ""
    return [
        shown(run.what), Html(chip(run.state, _TONE[run.state], about=_ABOUT[run.state])), _when(run.began),  # type: ignore[arg-type]
        f"{run.done if run.wanted else run.examples:,}{wanted}", _left(run), f"{run.answers:,}", f"{run.rate:,.0f}", f"{run.malformed:,}",
        usd(None if run.unpriced and not run.cost else run.cost),
    ]  # fmt: skip


def _when(at: datetime) -> str:
    today = at.date() == utc(now()).date()
    return f"{at:%H:%M:%S} UTC" if today else f"{at:%Y-%m-%d %H:%M}"


def _left(run: RunState) -> str:
    """Time that is left, at the rate of examples so far."""
    return "" if run.left_s is None else duration(run.left_s)


def _chosen(found: list[RunState]) -> None:
    ids = [run.id for run in found]
    asked = st.query_params.get("run", ids[0])
    picked = st.selectbox(
        "Look at", ids, index=ids.index(asked) if asked in ids else 0,
        format_func={run.id: f"{run.what}, {_when(run.began)}" for run in found}.__getitem__,
    )  # fmt: skip
    if picked != ids[0] or "run" in st.query_params:
        st.query_params["run"] = picked
    run = next(one for one in found if one.id == picked)
    tiles([
        (f"{run.done:,}", f"accepted of {run.wanted:,}") if run.wanted else (f"{run.examples:,}", "examples"),
        (f"{run.answers:,}", "answers of this run"),
        (f"{run.malformed:,}", "malformed"), (usd(None if run.unpriced and not run.cost else run.cost), "cost"),
    ])  # fmt: skip
    if run.wanted and run.state == "running":
        st.progress(min(run.done / run.wanted, 1.0))
    if run.end and run.end.get("stopped"):
        notice(f"stopped: {run.end['stopped']}", "warn")
    _resume(run)
    left, right = st.columns(2, gap="large")
    with left:
        st.subheader("Flagged and dropped", anchor=False)
        against = reject_reasons(store(), run.id)
        if against:
            st.html(
                table(
                    ["by", "", "reason", "examples"],
                    (
                        [shown(by), Html(chip(what, DECISION_TONE[what])), shown(why or ""), f"{n:,}"]
                        for by, what, why, n in against
                    ),
                    numbers=frozenset({3}),
                )
            )
        else:
            st.caption("Nothing is said against its examples.")
    with right:
        st.subheader("Malformed answers", anchor=False)
        bad = malformed_answers(store(), run.id)
        if not bad:
            st.caption("Every answer could be read.")
        for why, model, raw, completion in bad:
            with st.expander(completion):  # a label is read as Markdown, so nothing that a server chose goes into it
                st.html(f'<p class="t-quiet">{shown(model)}: {shown(why)}</p>{text(raw)}')
    with st.expander("Settings"):
        st.html(text(json.dumps(run.settings, ensure_ascii=False, indent=1)))


def _resume(run: RunState) -> None:
    """The command that goes on with it; one that is going on is not offered again."""
    try:
        words = words_of(RunSettings.model_validate(run.settings))
    except ValidationError:
        return  # another command's, or an older Tilth's
    if not any(one.startswith(("prompt=", "suite=", "targets=")) for one in words):
        return
    st.code(start_run.command(words), language=None, wrap_lines=True)
    if run.state in ("stopped", "silent"):
        st.button(
            "Go on with it", key=f"resume-{run.id}", on_click=start_run.again, args=(run.id, words), icon=":material/resume:",
            help="asks only for what is missing",
        )  # fmt: skip
        start_run.leave(run.id)
