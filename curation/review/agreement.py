"""How far people agree with each other and with judges, how fast they decide, and how many labels they had to change.

A person's last standing word on an example counts; what was undone or retracted does not, and an adjudicator's word is no
reviewer's. Who keeps an example without relabelling it says that its labels are right; who drops or flags it says nothing of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, get_args

from curation.config import Selector
from curation.review.index import ADJUDICATOR
from curation.review.reliability import Figure, Level, Sample, figure, sample
from curation.selection import described, query
from curation.store import Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Measure = Literal["decision", "label", "category", "severity"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
GROUPS = ("label", "category", "language")
IDLE_S = 120.0
_ORDERED = {"severity": ("0", "1", "2", "3")}
Pattern = frozenset[tuple[str, str]]

_WORDS = """
CREATE TEMP TABLE people AS
SELECT example, substr(author, 7) AS rater, made_at, word.decision AS decision, word.labels AS labels FROM (
    SELECT example, author, max(made_at) AS made_at, arg_max({{'decision': decision, 'labels': labels}}, (made_at, id)) AS word
    FROM verdicts {chosen} WHERE starts_with(author, 'human:') GROUP BY example, author
) WHERE word.decision IN ('keep', 'drop', 'flag');
CREATE TEMP TABLE words AS
WITH said AS (
    SELECT example, rater, decision, labels FROM people WHERE NOT starts_with(rater, '{adjudicator}')
    UNION ALL
    SELECT example, author, word.decision, word.labels FROM (
        SELECT example, author, arg_max({{'decision': decision, 'labels': labels}}, (made_at, id)) AS word
        FROM verdicts SEMI JOIN people USING (example) WHERE starts_with(author, 'judge:') GROUP BY example, author
    ) WHERE word.decision IN ('keep', 'drop', 'flag')
)
SELECT example, rater, decision,
    coalesce(labels ->> '$.label', CASE WHEN decision = 'keep' AND NOT starts_with(rater, 'judge:') THEN examples.label END) AS label,
    coalesce(labels ->> '$.category', CASE WHEN decision = 'keep' AND NOT starts_with(rater, 'judge:') THEN examples.category END) AS category,
    coalesce(labels ->> '$.severity', CASE WHEN decision = 'keep' AND NOT starts_with(rater, 'judge:') THEN CAST(examples.severity AS VARCHAR) END) AS severity,
    examples.label AS own_label, examples.category AS own_category, examples.language AS own_language
FROM said JOIN examples ON examples.id = example
"""

_UNITS = """
SELECT coalesce(own_label, ''), coalesce(own_category, ''), own_language, said, count(*) FROM (
    SELECT any_value(own_label) AS own_label, any_value(own_category) AS own_category, any_value(own_language) AS own_language,
        list([rater, {measure}] ORDER BY rater) AS said
    FROM words WHERE {measure} IS NOT NULL GROUP BY example HAVING count(*) > 1
) GROUP BY ALL ORDER BY ALL
"""

# Rows of one act carry one time, so distinct times are acts.
_PACE = """
WITH acts AS (
    SELECT substr(author, 7) AS person, made_at, epoch(made_at - lag(made_at) OVER (PARTITION BY author ORDER BY made_at)) AS gap
    FROM (SELECT DISTINCT author, made_at FROM verdicts {chosen} WHERE starts_with(author, 'human:')
          AND NOT starts_with(author, 'human:{adjudicator}') AND decision <> 'retract')
)
SELECT person, count(*), count(*) FILTER (gap <= $idle), coalesce(sum(gap) FILTER (gap <= $idle), 0), median(gap) FILTER (gap <= $idle),
    max(made_at)
FROM acts GROUP BY person ORDER BY 2 DESC, 1
"""

_NOISE = """
WITH final AS (
    SELECT example, arg_max({{'decision': decision, 'labels': labels}}, (made_at, rater)) AS word FROM people GROUP BY example
),
checked AS (
    SELECT example, examples.label, examples.category, examples.language,
        (word.labels ->> '$.label') <> examples.label AS label_changed,
        (word.labels ->> '$.category') <> examples.category AS category_changed,
        CAST(word.labels ->> '$.severity' AS INTEGER) <> examples.severity AS severity_changed
    FROM final JOIN examples ON examples.id = example WHERE word.decision = 'keep' AND examples.label IS NOT NULL
)
SELECT {by} AS value, count(*), count(*) FILTER (label_changed), count(*) FILTER (category_changed), count(*) FILTER (severity_changed)
FROM checked {joined} GROUP BY ALL ORDER BY 3 DESC, 2 DESC, 1
"""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast somebody decides.

    Args:
        acts: decisions, one on many examples at once counted once.
        timed: acts that followed the one before within the idle limit; a longer gap is a break, and not counted.
        active_s: the sum of those gaps.
        median_s: the middle one of them; None without any.
        last: when they last decided, UTC.
    """

    person: str
    acts: int
    timed: int
    active_s: float
    median_s: float | None
    last: Any

    @property
    def per_minute(self) -> float | None:
        return 60 * self.timed / self.active_s if self.active_s else None


@dataclass(frozen=True, slots=True)
class Noise:
    """Of the labelled examples that a person kept, how many had which label changed by the word that stands."""

    value: str
    checked: int
    label: int
    category: int
    severity: int


@dataclass(frozen=True, slots=True)
class Report:
    """What the Agreement page and `curate agreement` show.

    Args:
        overall: measure -> the figure over everybody and everything.
        groups: label, category, language -> (value, figure) of `on`; by what the example was made as.
        pairs: (reviewer, reviewer, figure) of `on`.
        judges: (judge, figure) of `on`: every person's word against the judge's, no alpha.
        differ: (one word, another, how often two people said these on one example), of `on`.
        noise: all, prompt, category -> rows.
    """

    on: Measure
    overall: dict[Measure, Figure]
    groups: dict[str, list[tuple[str, Figure]]]
    pairs: list[tuple[str, str, Figure]]
    judges: list[tuple[str, Figure]]
    differ: list[tuple[str, str, int]]
    pace: list[Pace]
    noise: dict[str, list[Noise]]
    people: int
    decided: int  # examples with a person's standing word
    contested: int  # of those, with words that differ


def report(
    store: Store,
    on: Measure = "decision",
    *,
    selector: Selector | None = None,
    resamples: int = 1000,
    seed: int = 0,
    idle_s: float = IDLE_S,
) -> Report:
    """All figures, from one opening of the store. Costs a scan of the verdicts; resampling is some 10 ms a figure."""
    adjudicator = ADJUDICATOR.removeprefix("human:")
    with store.read() as connection:
        chosen = _choose(connection, selector)
        for statement in _WORDS.format(chosen=chosen, adjudicator=adjudicator).split(";"):
            connection.execute(statement)
        units = {
            measure: connection.execute(_UNITS.format(measure=measure)).fetchall()
            for measure in MEASURES
        }  # fmt: skip
        pace = connection.execute(_PACE.format(chosen=chosen, adjudicator=adjudicator), {"idle": idle_s}).fetchall()
        noise = {
            name: [Noise(value or "", *counts) for value, *counts in connection.execute(
                _NOISE.format(by=by, joined=joined)).fetchall()]
            for name, by, joined in (
                ("all", "'all'", ""), ("category", "category", ""), ("language", "language", ""),
                ("prompt", "prompt", "JOIN (SELECT DISTINCT example, prompt FROM origins WHERE prompt IS NOT NULL) AS made USING (example)"),
            )
        }  # fmt: skip
        spoke = connection.execute(
            "SELECT count(DISTINCT rater) FILTER (NOT starts_with(rater, 'judge:')), "
            "count(DISTINCT example) FILTER (NOT starts_with(rater, 'judge:')) FROM words"
        ).fetchone() or (0, 0)
    rows = units[on]

    def measured(patterns: Counter[Pattern], measure: Measure = on) -> Figure:
        return figure(_sample(patterns, measure), _level(measure), resamples=resamples, seed=seed)

    everybody = _people(rows)
    groups = {
        name: [(value, measured(found)) for value in sorted({row[at] for row in rows})
               if (found := _people([row for row in rows if row[at] == value]))]
        for at, name in enumerate(GROUPS)
    }  # fmt: skip
    return Report(
        on=on,
        overall={measure: measured(_people(units[measure]), measure) for measure in MEASURES},
        groups=groups,
        pairs=[(*pair, measured(found)) for pair, found in sorted(_by_pair(everybody).items())],
        judges=[
            (judge, figure(_sample(found, on), _level(on), pairs=against, resamples=resamples, seed=seed))
            for judge, found, against in _by_judge(rows)
        ],
        differ=_differ(everybody),
        pace=[Pace(*row) for row in pace],
        noise=noise,
        people=int(spoke[0]),
        decided=int(spoke[1]),
        contested=sum(n for found, n in _people(units["decision"]).items() if len({word for _, word in found}) > 1),
    )


def _choose(connection: "DuckDBPyConnection", selector: Selector | None) -> str:
    """The join that leaves only what the selector chose."""
    if selector is None or not described(selector):
        return ""
    sql, parameters = query(selector, "id AS example")
    connection.execute(f"CREATE TEMP TABLE chosen AS {sql}", parameters)
    return "SEMI JOIN chosen USING (example)"


def _level(measure: Measure) -> Level:
    return "ordinal" if measure in _ORDERED else "nominal"


def _sample(patterns: Counter[Pattern], measure: Measure) -> Sample:
    return sample(patterns, _ORDERED.get(measure))


def _people(rows: Sequence[tuple[Any, ...]]) -> Counter[Pattern]:
    """What people said of examples on which at least two spoke."""
    found: Counter[Pattern] = Counter()
    for *_, said, count in rows:
        words = frozenset((rater, word) for rater, word in said if not rater.startswith("judge:"))
        if len(words) > 1:
            found[words] += count
    return found


def _by_pair(everybody: Counter[Pattern]) -> dict[tuple[str, str], Counter[Pattern]]:
    found: dict[tuple[str, str], Counter[Pattern]] = {}
    for words, count in everybody.items():
        said = sorted(words)
        for at, one in enumerate(said):
            for other in said[at + 1 :]:
                found.setdefault((one[0], other[0]), Counter())[frozenset((one, other))] += count
    return found


def _by_judge(rows: Sequence[tuple[Any, ...]]) -> list[tuple[str, Counter[Pattern], list[tuple[str, str]]]]:
    """For each judge what it and people said of the same examples, and who is compared with it."""
    found: dict[str, Counter[Pattern]] = {}
    for *_, said, count in rows:
        people = [(rater, word) for rater, word in said if not rater.startswith("judge:")]
        for rater, word in said:
            if people and rater.startswith("judge:"):
                found.setdefault(rater, Counter())[frozenset((*people, (rater, word)))] += count
    return [
        (judge, patterns, [(person, judge) for person in sorted({rater for one in patterns for rater, _ in one} - {judge})])
        for judge, patterns in sorted(found.items())
    ]  # fmt: skip


def _differ(everybody: Counter[Pattern], most: int = 8) -> list[tuple[str, str, int]]:
    found: Counter[tuple[str, str]] = Counter()
    for words, count in everybody.items():
        said = sorted(word for _, word in words)
        for at, one in enumerate(said):
            for other in said[at + 1 :]:
                if one != other:
                    found[one, other] += count
    return [(one, other, count) for (one, other), count in found.most_common(most)]
