"""How runs stand, read from the store: also of one that is going on, or that was killed, in whatever process."""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from curation.records import now
from curation.store import Store
from curation.tables import utc

LIVE = timedelta(seconds=90)  # without an answer for longer, a run that did not end is thought of as waiting or killed
MINUTE = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class RunState:
    """One run of a command that asks models.

    Args:
        what: the prompts, suite or targets of its settings.
        wanted: examples that it is to have in all; None where the settings do not say.
        answers: of this run; what was answered before is not asked again.
        examples: that came from its answers, whatever was said of them since.
        done: accepted so far of `wanted`, with what earlier runs of the same plan had come to.
        rate: answers a minute, over the last minute of a run that is going on, or over all of one that ended.
        cost: in dollars, of the answers whose price is known.
        end: what it counted, if it ended by itself; None while it goes on, and where it was killed.
    """

    id: str
    settings: dict[str, Any]
    what: str
    wanted: int | None
    began: datetime
    ended: datetime | None
    last: datetime | None
    answers: int
    examples: int
    done: int
    rate: float
    cost: float
    unpriced: int
    malformed: int
    end: dict[str, Any] | None

    @property
    def left_s(self) -> float | None:
        """Seconds that are left at the rate of the whole run so far; None where that is not known."""
        if self.state != "running" or not self.wanted or not self.examples:
            return None
        return max(self.wanted - self.done, 0) * (utc(now()) - self.began).total_seconds() / self.examples

    @property
    def state(self) -> str:
        """`running`, `silent` (did not end, yet nothing was heard of it lately), `stopped`, or `ended`."""
        if self.end is not None:
            return "stopped" if self.end.get("stopped") else "ended"
        return "running" if utc(now()) - (self.last or self.began) < LIVE else "silent"


# Settings that say which examples a run is after: those of another run that are equal in them count towards it.
_PLAN = "concat_ws(chr(31), " + ", ".join(
    f"coalesce(settings ->> '$.{name}', '')"
    for name in ("prompt", "suite", "targets", "seed", "language", "documents", "axes", "per_request", "graph", "provider", "model")
) + ")"  # fmt: skip


def runs(store: Store, n: int = 20) -> list[RunState]:
    """The latest `n` runs, the newest first."""
    at = utc(now())
    rows = store.rows(
        f"""
        WITH latest AS (SELECT * FROM runs ORDER BY made_at DESC, id LIMIT $n),
        answered AS (
            SELECT run, count(*) AS answers, max(made_at) AS last, coalesce(sum(cost_usd), 0) AS cost,
                count(*) FILTER (cost_usd IS NULL) AS unpriced, count(*) FILTER (made_at > $lately) AS lately
            FROM completions SEMI JOIN latest ON latest.id = completions.run GROUP BY run
        ),
        made AS (
            SELECT run, count(DISTINCT example) AS examples FROM origins JOIN completions ON completions.id = origins.completion
            SEMI JOIN latest ON latest.id = completions.run GROUP BY run
        ),
        bad AS (
            SELECT run, count(*) AS malformed FROM malformed JOIN completions ON completions.id = malformed.completion
            SEMI JOIN latest ON latest.id = completions.run GROUP BY run
        ),
        ends AS (SELECT run, arg_max(body, made_at) AS body, max(made_at) AS ended FROM run_events WHERE kind = 'ended' GROUP BY run),
        unended AS (SELECT id, made_at, {_PLAN} AS plan FROM latest ANTI JOIN ends ON ends.run = latest.id),
        accepted AS (
            SELECT unended.id AS run, count(DISTINCT example) AS done FROM unended
            JOIN (SELECT id, made_at, {_PLAN} AS plan FROM runs) AS earlier ON earlier.plan = unended.plan AND earlier.made_at <= unended.made_at
            JOIN completions ON completions.run = earlier.id JOIN origins ON origins.completion = completions.id
            ANTI JOIN (SELECT example FROM verdicts WHERE decision = 'drop' AND starts_with(author, 'check:')) AS refused USING (example)
            GROUP BY unended.id
        )
        SELECT latest.id, settings, made_at, ended, last, coalesce(answers, 0), coalesce(examples, 0), coalesce(lately, 0),
            coalesce(cost, 0), coalesce(unpriced, 0), coalesce(malformed, 0), body, coalesce(done, 0)
        FROM latest LEFT JOIN answered ON answered.run = latest.id LEFT JOIN made ON made.run = latest.id
            LEFT JOIN bad ON bad.run = latest.id LEFT JOIN ends ON ends.run = latest.id LEFT JOIN accepted ON accepted.run = latest.id
        ORDER BY made_at DESC, latest.id
        """,
        {"n": n, "lately": at - MINUTE},
    )
    return [_state(row, at) for row in rows]


def _state(row: tuple[Any, ...], at: datetime) -> RunState:
    identity, described, began, ended, last, answers, examples, lately, cost, unpriced, malformed, body, done = row
    settings, end = json.loads(described), json.loads(body) if body else None
    if ended is None:
        rate = lately / max(min((at - began) / MINUTE, 1.0), 1 / 60)
    else:
        rate = answers / max((ended - began) / MINUTE, 1 / 60)
    wanted = _wanted(settings, end)
    if end and end.get("tallies"):
        done = sum(int(tally["accepted"]) for tally in end["tallies"])
    elif wanted:
        done = min(done, wanted)  # an earlier run of the plan may have gone further
    return RunState(
        identity, settings, _what(settings), wanted, began, ended, last, answers, examples, done, rate, cost,
        unpriced, malformed, end,
    )  # fmt: skip


def _what(settings: dict[str, Any]) -> str:
    prompts = settings.get("prompt") or ()
    named = ", ".join([prompts] if isinstance(prompts, str) else map(str, prompts))
    others = (f"{name}={settings[name]}" for name in ("suite", "targets", "evaluation") if settings.get(name))
    return " ".join(filter(None, [named, *others])) or "translation"


def _wanted(settings: dict[str, Any], end: dict[str, Any] | None) -> int | None:
    if end and end.get("tallies"):
        return sum(int(tally["wanted"]) for tally in end["tallies"])
    prompts, n = settings.get("prompt"), settings.get("n")
    return n * len(prompts) if isinstance(prompts, list) and prompts and isinstance(n, int) else None


def malformed_answers(store: Store, run: str, n: int = 20) -> list[tuple[str, str, str, str]]:
    """(reason, model, raw text, completion's id) of the latest answers of a run that could not be read."""
    return store.rows(
        """
        SELECT reason, model, text, completions.id FROM malformed JOIN completions ON completions.id = malformed.completion
        WHERE run = ? ORDER BY malformed.made_at DESC, malformed.id LIMIT ?
        """,
        [run, n],
    )


def reject_reasons(store: Store, run: str) -> list[tuple[str, str, str, int]]:
    """(who, decision, reason without its particulars, examples) of what is said against examples of a run."""
    return store.rows(
        """
        WITH mine AS (
            SELECT DISTINCT example FROM origins JOIN completions ON completions.id = origins.completion WHERE run = ?
        )
        SELECT author, decision, regexp_replace(split_part(reason, ':', 1), '[0-9]+', 'N', 'g'), count(DISTINCT example)
        FROM verdicts SEMI JOIN mine USING (example) WHERE decision IN ('drop', 'flag', 'unscored')
        GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3 LIMIT 20
        """,
        [run],
    )
