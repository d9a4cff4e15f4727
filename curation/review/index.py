"""The table `review`: one row per example, so that a queue, a filter or a count scans narrow columns and joins nothing.

The view `status` folds every verdict at each look, which takes seconds for a million examples. Here the fold is kept, and only the
examples that something was said of since are folded again. The marks are row counts: the tables behind it are appended to only.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from curation.store import Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# An adjudicator is a person whose word ends a disagreement; it is no independent word, so it does not count among `people`.
ADJUDICATOR = "human:adjudicator:"

_FRESH = """
CREATE TEMP TABLE fresh AS
SELECT id AS example FROM examples WHERE rowid >= $examples
UNION SELECT example FROM verdicts WHERE rowid >= $verdicts
UNION SELECT example FROM origins WHERE rowid >= $origins
"""

# The same fold as the view `status` (a test compares them), and beside it what the queues are ordered by.
_FOLD = """
WITH words AS (
    SELECT example, author, max(made_at) AS made_at,
        arg_max({{'decision': decision, 'labels': labels, 'score': score}}, (made_at, id)) AS word
    FROM verdicts WHERE {part_of_example} GROUP BY example, author
),
folded AS (
    SELECT example,
        arg_max(word, made_at) FILTER (starts_with(author, 'human:') AND word.decision IN ('keep', 'drop', 'flag')) AS person,
        max(CASE word.decision WHEN 'drop' THEN 3 WHEN 'flag' THEN 2 WHEN 'unscored' THEN 1 WHEN 'keep' THEN 0 END)
            FILTER (NOT starts_with(author, 'human:')) AS automatic,
        list(substr(author, 7) ORDER BY author)
            FILTER (starts_with(author, 'human:') AND NOT starts_with(author, '{adjudicator}')
                AND word.decision IN ('keep', 'drop', 'flag')) AS people,
        count(DISTINCT {{'decision': word.decision, 'label': word.labels ->> '$.label', 'category': word.labels ->> '$.category'}})
            FILTER (starts_with(author, 'human:') AND NOT starts_with(author, '{adjudicator}')
                AND word.decision IN ('keep', 'drop', 'flag')) AS opinions,
        max(made_at) FILTER (starts_with(author, 'human:') AND NOT starts_with(author, '{adjudicator}')) AS last_opinion,
        max(made_at) FILTER (starts_with(author, '{adjudicator}') AND word.decision <> 'retract') AS adjudicated,
        max(1 - abs(2 * word.score - 1)) FILTER (starts_with(author, 'judge:') AND word.score BETWEEN 0 AND 1) AS torn,
        max(CASE word.decision WHEN 'drop' THEN 3 WHEN 'flag' THEN 2 WHEN 'keep' THEN 0 END)
            FILTER (starts_with(author, 'check:')) AS checks_say,
        list_distinct(list(CASE word.decision WHEN 'drop' THEN 3 WHEN 'flag' THEN 2 WHEN 'keep' THEN 0 END)
            FILTER (starts_with(author, 'judge:') AND word.decision IN ('keep', 'drop', 'flag'))) AS judges_say,
        list_distinct(list(word.labels ->> '$.label')
            FILTER (starts_with(author, 'judge:') AND word.labels IS NOT NULL)) AS judged_labels
    FROM words GROUP BY example
),
made AS (
    SELECT example, list_sort(list_distinct(list(prompt))) AS prompts
    FROM origins WHERE prompt IS NOT NULL AND {part_of_example} GROUP BY example
)
INSERT INTO review
SELECT examples.id, task, language, label, category, severity,
    coalesce(person.labels ->> '$.label', label), coalesce(person.labels ->> '$.category', category),
    coalesce(CAST(person.labels ->> '$.severity' AS INTEGER), severity),
    CASE person.decision WHEN 'keep' THEN 'kept' WHEN 'drop' THEN 'dropped' WHEN 'flag' THEN 'flagged' ELSE
        CASE automatic WHEN 3 THEN 'dropped' WHEN 2 THEN 'flagged' WHEN 1 THEN 'unscored' WHEN 0 THEN 'passed' ELSE 'new' END
    END,
    CASE automatic WHEN 3 THEN 'dropped' WHEN 2 THEN 'flagged' WHEN 1 THEN 'unscored' WHEN 0 THEN 'passed' ELSE 'new' END,
    coalesce(people, []),
    coalesce(opinions, 0) > 1 AND (adjudicated IS NULL OR adjudicated < last_opinion),
    greatest(
        coalesce(torn, 0), CASE automatic WHEN 3 THEN 0.25 WHEN 2 THEN 0.75 WHEN 1 THEN 1 WHEN 0 THEN 0 ELSE 0.5 END
    ),
    greatest(len(list_distinct(list_append(coalesce(judges_say, []), checks_say))) - 1, 0)
        + greatest(len(list_distinct(list_append(coalesce(judged_labels, []), label))) - 1, 0),
    coalesce(prompts, []), made_at
FROM examples LEFT JOIN folded ON folded.example = examples.id LEFT JOIN made ON made.example = examples.id
WHERE {part_of_id}
"""
_AT_ONCE = 125_000  # examples that are folded together: bounds the memory, about 0.4 GB


@dataclass(frozen=True, slots=True)
class Marks:
    """How many rows of each table are there, or have been taken in."""

    examples: int
    verdicts: int
    origins: int

    def __sub__(self, other: "Marks") -> int:
        """Rows that are here and not there."""
        return self.examples - other.examples + self.verdicts - other.verdicts + self.origins - other.origins


def behind(store: Store) -> int:
    """How many rows the index has not taken in yet."""
    with store.read() as connection:
        taken, there = _marks(connection)
    return there - taken


def refresh(store: Store) -> int:
    """Take in what was appended since the last time; returns how many examples were folded again.

    Costs one opening for reading where nothing was appended, else one write transaction of about the size of the news.
    """
    if not behind(store):
        return 0
    with store.write() as connection:
        taken, there = _marks(connection)
        whole = taken.examples == 0 or any(
            now < then
            for now, then in (
                (there.examples, taken.examples),
                (there.verdicts, taken.verdicts),
                (there.origins, taken.origins),
            )
        )  # a table that has shrunk was changed by hand: its row numbers say nothing any more
        if whole:
            connection.execute("DELETE FROM review")
            count = there.examples
        else:
            connection.execute(
                _FRESH, {"examples": taken.examples, "verdicts": taken.verdicts, "origins": taken.origins}
            )
            connection.execute("DELETE FROM review WHERE example IN (FROM fresh)")
            row = connection.execute("SELECT count(*) FROM fresh").fetchone()
            count = int(row[0]) if row else 0
        parts = count // _AT_ONCE + 1
        for part in range(parts):
            connection.execute(_fold(part, parts, whole=whole))
        connection.execute(
            "UPDATE review_mark SET examples = ?, verdicts = ?, origins = ?",
            [there.examples, there.verdicts, there.origins],
        )
    return count


def _fold(part: int, parts: int, *, whole: bool) -> str:
    def of(column: str) -> str:
        mine = f"hash({column}) % {parts} = {part}"
        return mine if whole else f"{column} IN (SELECT example FROM fresh WHERE hash(example) % {parts} = {part})"

    return _FOLD.format(part_of_example=of("example"), part_of_id=of("examples.id"), adjudicator=ADJUDICATOR)


def _marks(connection: "DuckDBPyConnection") -> tuple[Marks, Marks]:
    """What was taken in, and what there is."""
    row = connection.execute("""
        SELECT examples, verdicts, origins, (SELECT count(*) FROM examples), (SELECT count(*) FROM verdicts),
            (SELECT count(*) FROM origins) FROM review_mark
    """).fetchone()
    assert row is not None
    return Marks(*row[:3]), Marks(*row[3:])
