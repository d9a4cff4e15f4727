"""`curate checks`: run the automatic checks again and append what changed."""

import json
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from curation.checks import CHECKS, CONFORMANCE, run_checks
from curation.config import ChecksSettings
from curation.journal import Writer, open_store
from curation.records import EXAMPLE, Decision, Verdict
from curation.selection import nothing_selected, query
from curation.shelf import outlines_of
from curation.store import Store
from curation.tables import verdict_row

CHUNK = 5_000
Word = tuple[str, str, str]  # version, decision, reason


def checks_command(settings: ChecksSettings) -> int:
    store = open_store(settings.workspace)
    only = settings.only or None
    tally: Counter[tuple[str, str]] = Counter()
    examples = changed = 0
    with Writer(store) as writer:
        for chunk in _chunks(store, settings):
            before = _last_words(store, [identity for identity, _ in chunk])
            found = [(identity, EXAMPLE.validate_json(body)) for identity, body in chunk]
            outlines = outlines_of(store, (example for _, example in found))
            for identity, example in found:
                examples += 1
                verdicts = run_checks(example, only=only, outlines=outlines)
                tally.update((verdict.by, str(verdict.decision)) for verdict in verdicts)
                news = list(_news(identity, verdicts, before.get(identity, {}), settings.only))
                changed += len(news)
                writer.append([verdict_row(verdict) for verdict in news])
    if not examples:
        raise nothing_selected(store, settings)
    counts = [{"check": by, "decision": decision, "examples": count} for (by, decision), count in sorted(tally.items())]
    if settings.as_json:
        print(json.dumps({"examples": examples, "changed": changed, "counts": counts}))
        return 0
    console = Console(highlight=False, markup=False)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("check")
    table.add_column("decision")
    table.add_column("examples", justify="right")
    for row in counts:
        table.add_row(str(row["check"]), str(row["decision"]), f"{row['examples']:,}")
    console.print(table)
    console.print(f"{examples:,} examples checked, {changed:,} verdicts appended. Next:  curate ls status=flagged")
    return 0


def _chunks(store: Store, settings: ChecksSettings) -> Iterator[list[tuple[str, str]]]:
    """(id, body) of the selected examples by rising id, a chunk an opening: nobody else waits long."""
    sql, parameters = query(settings, "id, body")
    last = ""
    while chunk := store.rows(f"{sql} AND id > ? ORDER BY id LIMIT {CHUNK}", [*parameters, last]):
        yield [(identity, body) for identity, body in chunk]
        last = chunk[-1][0]


def _last_words(store: Store, ids: list[str]) -> dict[str, dict[str, Word]]:
    """example -> check -> the last it said."""
    found: dict[str, dict[str, Word]] = {}
    for example, author, version, decision, reason in store.rows(
        "SELECT example, author, version, decision, reason FROM verdicts "
        "WHERE author LIKE 'check:%' AND example IN (SELECT unnest(?)) ORDER BY made_at, id",
        [ids],
    ):
        found.setdefault(example, {})[author] = (version, decision, reason)
    return found


def _news(example: str, verdicts: list[Verdict], before: dict[str, Word], only: tuple[str, ...]) -> Iterator[Verdict]:
    """The verdicts that say something new, and a KEEP for each check that complained before and no longer does."""
    for verdict in verdicts:
        author, _, version = verdict.by.partition("@")
        if before.get(author) != (version, str(verdict.decision), verdict.reason):
            yield verdict
    complaining = {verdict.by.partition("@")[0] for verdict in verdicts}
    for by in (*(check.by for check in CHECKS), CONFORMANCE):
        author = by.partition("@")[0]
        was = before.get(author)
        if was and was[1] != Decision.KEEP and author not in complaining and (not only or author[6:] in only):
            yield Verdict(example=example, by=by, decision=Decision.KEEP, reason="passes now")
