"""Which examples rest on which page: from the steps that a turn or an answer cites, over its outline, to the page that a step stands on."""

from dataclasses import dataclass
from datetime import datetime

from curation.store import Store


@dataclass(frozen=True, slots=True)
class Shelved:
    """A document as a list shows it."""

    id: str
    name: str
    title: str
    media_type: str
    path: str
    rendering: str
    pages: int
    cited_pages: int  # that an example which was not dropped cites
    examples: int  # not dropped, that cite a page
    outlined_by: str | None  # who wrote the outline that holds: rule:..., model:..., human:...; None if there is none
    made_at: datetime  # UTC


@dataclass(frozen=True, slots=True)
class Citation:
    """An example that cites a page, by a turn (from 0; None for a question's answer) and a step."""

    example: str
    status: str
    turn: int | None
    step: str
    page: int
    box: tuple[float, float, float, float]  # of the step, as shares of the page


# Ids are looked up in the outline that the example names, as it was when the example was made: a later edit moves nothing.
_CITED = """
WITH steps AS (
    SELECT outline, document, step->>'$.id' AS step, CAST(step->>'$.place.page' AS INTEGER) AS page,
        CAST(step->'$.place.box' AS DOUBLE[]) AS box
    FROM (
        SELECT outline, document, unnest(CAST(body->'$.steps' AS JSON[])) AS step
        FROM (SELECT DISTINCT ON (outline) outline, document, body FROM outlines)
    )
),
turns AS (
    SELECT id, outline, CASE WHEN task = 'dialogue' THEN number - 1 END AS turn, CAST(said->'$.cites' AS VARCHAR[]) AS cites
    FROM (
        SELECT id, task, body->>'$.outline' AS outline, unnest(said) AS said, generate_subscripts(said, 1) AS number
        FROM (
            SELECT id, task, body,
                CASE WHEN task = 'dialogue' THEN CAST(body->'$.turns' AS JSON[]) ELSE [CAST(body AS JSON)] END AS said
            FROM examples WHERE task IN ('dialogue', 'qa') AND body->>'$.outline' IS NOT NULL
        )
    )
),
cited AS (
    SELECT named.id AS example, steps.document, steps.page, steps.step, steps.box, named.turn
    FROM (SELECT id, outline, turn, unnest(cites) AS step FROM turns) AS named JOIN steps USING (outline, step)
)
"""


def shelved(store: Store) -> list[Shelved]:
    """The documents of a workspace, by name, the latest rendering of each first."""
    rows = store.rows(
        f"""{_CITED},
        counted AS (
            SELECT document, count(DISTINCT page) AS pages, count(DISTINCT cited.example) AS examples
            FROM cited JOIN status ON status.example = cited.example WHERE status.status <> 'dropped' GROUP BY document
        ),
        held AS (
            SELECT document, arg_max(author, (
                CASE WHEN starts_with(author, 'human:') THEN 2 WHEN starts_with(author, 'model:') THEN 1 ELSE 0 END, made_at, id
            )) AS author FROM outlines GROUP BY document
        )
        SELECT id, name, title, media_type, path, rendering, documents.pages, coalesce(counted.pages, 0),
            coalesce(counted.examples, 0), held.author, made_at
        FROM documents LEFT JOIN counted ON counted.document = documents.id LEFT JOIN held ON held.document = documents.id
        ORDER BY name, made_at DESC, id"""
    )
    return [Shelved(*row) for row in rows]


def citing(store: Store, document: str, page: int | None = None, *, dropped: bool = False) -> list[Citation]:
    """What cites a page of a document, or any of its pages: by page, example and turn.

    Args:
        document: its id.
        page: from 1.
        dropped: also by examples that were dropped.
    """
    rows = store.rows(
        f"""{_CITED}
        SELECT cited.example, status.status, turn, step, page, box
        FROM cited JOIN status ON status.example = cited.example
        WHERE document = ? AND (? IS NULL OR page = ?) AND (? OR status.status <> 'dropped')
        ORDER BY page, cited.example, turn, step""",
        [document, page, page, dropped],
    )
    return [Citation(example, status, turn, step, at, tuple(box)) for example, status, turn, step, at, box in rows]


def uncited(store: Store, document: str) -> list[int]:
    """The numbers of a document's pages that nothing cites, but for what was dropped."""
    rows = store.rows(
        f"""{_CITED}
        SELECT number FROM pages WHERE document = ? AND number NOT IN (
            SELECT page FROM cited JOIN status ON status.example = cited.example
            WHERE document = ? AND status.status <> 'dropped'
        ) ORDER BY number""",
        [document, document],
    )
    return [int(row[0]) for row in rows]
