"""The figures of the Overview page, each from the index and the narrow columns of a few tables."""

from dataclasses import dataclass
from datetime import date

from curation.store import Store


@dataclass(frozen=True, slots=True)
class Overview:
    """What a workspace holds.

    Args:
        statuses: status -> examples.
        prompts: (prompt, status, examples); an example that several prompts came to counts for each.
        rejects: (who, decision, reason without its particulars, examples).
        costs: (day, provider, model, answers, dollars, answers of unknown price).
        people: (reviewer, examples on which their word stands).
    """

    examples: int
    statuses: dict[str, int]
    prompts: list[tuple[str, str, int]]
    rejects: list[tuple[str, str, str, int]]
    costs: list[tuple[date, str, str, int, float, int]]
    people: list[tuple[str, int]]
    contested: int
    malformed: int


def overview(store: Store) -> Overview:
    """All figures in one opening of the store."""
    with store.read() as connection:

        def rows(sql: str) -> list[tuple]:  # type: ignore[type-arg]
            return connection.execute(sql).fetchall()

        statuses = dict(rows("SELECT status, count(*) FROM review GROUP BY status"))
        return Overview(
            examples=sum(statuses.values()),
            statuses=statuses,
            prompts=rows(
                "SELECT prompt, status, count(*) FROM (SELECT unnest(prompts) AS prompt, status FROM review) GROUP BY ALL ORDER BY 1, 2"
            ),
            rejects=rows("""
                SELECT author, decision, regexp_replace(split_part(reason, ':', 1), '[0-9]+', 'N', 'g') AS why, count(DISTINCT example)
                FROM verdicts WHERE decision IN ('drop', 'flag', 'unscored') GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3 LIMIT 50
            """),
            costs=rows("""
                SELECT CAST(completions.made_at AS DATE) AS day, coalesce(settings ->> '$.provider', '') AS provider, model,
                    count(*), coalesce(sum(cost_usd), 0), count(*) FILTER (cost_usd IS NULL)
                FROM completions LEFT JOIN runs ON runs.id = completions.run GROUP BY ALL ORDER BY ALL
            """),
            people=rows(
                "SELECT person, count(*) FROM (SELECT unnest(people) AS person FROM review) GROUP BY ALL ORDER BY 2 DESC, 1"
            ),
            contested=rows("SELECT count(*) FROM review WHERE contested")[0][0],
            malformed=rows("SELECT count(*) FROM malformed")[0][0],
        )


def axes(store: Store) -> list[str]:
    """The axes that any example was dealt by a prompt's grid, by name."""
    found = store.rows(
        "SELECT DISTINCT unnest(json_keys(axes)) AS axis FROM (SELECT DISTINCT axes FROM origins WHERE axes IS NOT NULL) ORDER BY axis"
    )
    return [row[0] for row in found]
