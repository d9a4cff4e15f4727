"""The store's schema, as numbered functions that run on open. A function that has shipped is never edited."""

from collections.abc import Callable

from duckdb import DuckDBPyConnection

_TABLES = """
CREATE TABLE runs (id VARCHAR, settings VARCHAR, code VARCHAR, made_at TIMESTAMP);
CREATE TABLE run_events (id VARCHAR, run VARCHAR, kind VARCHAR, body VARCHAR, made_at TIMESTAMP);
CREATE TABLE prompts (id VARCHAR, name VARCHAR, body VARCHAR, made_at TIMESTAMP);
CREATE TABLE requests (
    id VARCHAR, prompt VARCHAR, prompt_id VARCHAR, variables VARCHAR, messages VARCHAR, provider VARCHAR, model VARCHAR,
    sampling VARCHAR, slot BIGINT, attempt INTEGER, made_at TIMESTAMP
);
CREATE TABLE completions (
    id VARCHAR, request VARCHAR, run VARCHAR, text VARCHAR, finish VARCHAR, input_tokens BIGINT, output_tokens BIGINT,
    cost_usd DOUBLE, latency_s DOUBLE, model VARCHAR, raw VARCHAR, slot BIGINT, made_at TIMESTAMP
);
CREATE TABLE malformed (id VARCHAR, completion VARCHAR, position INTEGER, reason VARCHAR, made_at TIMESTAMP);
CREATE TABLE examples (
    id VARCHAR, task VARCHAR, language VARCHAR, label VARCHAR, category VARCHAR, severity INTEGER, body VARCHAR,
    content VARCHAR, text_hash UBIGINT, made_at TIMESTAMP
);
CREATE TABLE origins (
    id VARCHAR, example VARCHAR, kind VARCHAR, prompt VARCHAR, provider VARCHAR, model VARCHAR, axes VARCHAR,
    completion VARCHAR, parent VARCHAR, path VARCHAR, body VARCHAR, made_at TIMESTAMP
);
CREATE TABLE verdicts (
    id VARCHAR, example VARCHAR, author VARCHAR, version VARCHAR, decision VARCHAR, reason VARCHAR, score DOUBLE,
    labels VARCHAR, made_at TIMESTAMP
);
CREATE TABLE assets (id VARCHAR, media_type VARCHAR, bytes BIGINT, document VARCHAR, page INTEGER, made_at TIMESTAMP);
CREATE TABLE dedups (id VARCHAR, examples BIGINT, pairs BIGINT, threshold DOUBLE, selector VARCHAR, made_at TIMESTAMP);
CREATE TABLE near_pairs (dedup VARCHAR, a VARCHAR, b VARCHAR, jaccard FLOAT);
CREATE TABLE versions (
    id VARCHAR, name VARCHAR, number INTEGER, selector VARCHAR, manifest VARCHAR, folder VARCHAR, made_at TIMESTAMP
);
CREATE TABLE members (version VARCHAR, example VARCHAR, split VARCHAR);
"""

# The fold: each author's last word counts; a person's outweighs every automatic one, and among people the latest.
# Among checks and judges the strictest wins. `retract` takes an author's word back.
_STATUS = """
CREATE VIEW status AS
WITH words AS (
    SELECT example, author, author LIKE 'human:%' AS human, max(made_at) AS made_at,
        arg_max({'decision': decision, 'labels': labels}, (made_at, id)) AS word
    FROM verdicts GROUP BY example, author
),
folded AS (
    SELECT example,
        arg_max(word, made_at) FILTER (human AND word.decision IN ('keep', 'drop', 'flag')) AS person,
        max(CASE word.decision WHEN 'drop' THEN 3 WHEN 'flag' THEN 2 WHEN 'unscored' THEN 1 WHEN 'keep' THEN 0 END)
            FILTER (NOT human) AS automatic
    FROM words GROUP BY example
)
SELECT examples.id AS example,
    CASE person.decision WHEN 'keep' THEN 'kept' WHEN 'drop' THEN 'dropped' WHEN 'flag' THEN 'flagged' ELSE
        CASE automatic WHEN 3 THEN 'dropped' WHEN 2 THEN 'flagged' WHEN 1 THEN 'unscored' WHEN 0 THEN 'passed'
        ELSE 'new' END
    END AS status,
    person.labels AS labels
FROM examples LEFT JOIN folded ON folded.example = examples.id
"""


def first(connection: DuckDBPyConnection) -> None:
    connection.execute(_TABLES)
    connection.execute(_STATUS)


def second(connection: DuckDBPyConnection) -> None:
    """Paid requests whose answer never came, and batches: what a provider works off within a day."""
    connection.execute("""
        ALTER TABLE requests ADD COLUMN output_schema VARCHAR;
        CREATE TABLE losses (id VARCHAR, run VARCHAR, request VARCHAR, reason VARCHAR, cost_usd DOUBLE, made_at TIMESTAMP);
        CREATE TABLE batches (
            id VARCHAR, run VARCHAR, provider VARCHAR, model VARCHAR, requests BIGINT, cost_usd DOUBLE, made_at TIMESTAMP
        );
        CREATE TABLE batch_members (id VARCHAR, batch VARCHAR, request VARCHAR);
        CREATE TABLE batch_events (id VARCHAR, batch VARCHAR, kind VARCHAR, body VARCHAR, made_at TIMESTAMP);
    """)


def third(connection: DuckDBPyConnection) -> None:
    """Documents, their pages, and the outlines of SOPs."""
    connection.execute("""
        CREATE TABLE documents (
            id VARCHAR, sha256 VARCHAR, name VARCHAR, path VARCHAR, media_type VARCHAR, title VARCHAR, pages INTEGER,
            rendering VARCHAR, made_at TIMESTAMP
        );
        CREATE TABLE pages (
            id VARCHAR, document VARCHAR, number INTEGER, image VARCHAR, width INTEGER, height INTEGER, text VARCHAR,
            blocks VARCHAR, made_at TIMESTAMP
        );
        CREATE TABLE outlines (
            id VARCHAR, outline VARCHAR, document VARCHAR, author VARCHAR, body VARCHAR, made_at TIMESTAMP
        );
    """)


def fourth(connection: DuckDBPyConnection) -> None:
    """One row per example with what reviewing asks of it, kept up to date by `curation/review/index.py`.

    `review_mark` says how many rows of each table it has taken in; all of them are only ever appended to.
    """
    connection.execute("""
        CREATE TABLE review (
            example VARCHAR, task VARCHAR, language VARCHAR, label VARCHAR, category VARCHAR, severity INTEGER,
            said_label VARCHAR, said_category VARCHAR, said_severity INTEGER, status VARCHAR, automatic VARCHAR,
            people VARCHAR[], contested BOOLEAN, uncertain FLOAT, disagreement INTEGER, prompts VARCHAR[], made_at TIMESTAMP
        );
        CREATE TABLE review_mark (examples BIGINT, verdicts BIGINT, origins BIGINT);
        INSERT INTO review_mark VALUES (0, 0, 0);
    """)


MIGRATIONS: tuple[Callable[[DuckDBPyConnection], None], ...] = (first, second, third, fourth)
