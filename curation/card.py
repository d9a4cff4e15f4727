"""The dataset card: what is in a version, where it came from, what was checked, what was left out and why."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed

import pyarrow as pa
import yaml

from curation.checks import CHECKS
from curation.config import ExportSettings
from curation.records import LANGUAGE_NAMES
from curation.selection import described, query
from curation.store import Row, Store

_TASK_CATEGORIES = {
    "text-classification": ["text-classification"],
    "messages": ["text-generation"],
    "oasst": ["text-generation"],
    "tool-calls": ["text-generation"],
    "prompt-completion": ["text-generation"],
    "preference": ["text-generation"],
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What a card states, gathered in one look at the store."""

    splits: Sequence[str]
    by_label: list[Row]  # split, label, category, language, examples
    axes: list[Row]  # prompt, axis, value, examples
    origins: list[Row]  # kind, provider, model, examples
    prompts: list[Row]  # prompt, fingerprint, runs, examples
    files: list[Row]  # path, sha256, examples
    complaints: list[Row]  # check, decision, examples among the members
    left_out: list[Row]  # status, examples that the selector would take but for their status
    twins: Counter[str]  # kind of twin -> how many


def gather(store: Store, settings: ExportSettings, members: pa.Table, excluded: Mapping[str, str]) -> Facts:
    """Count everything the card says of these members (`id`, `split`, `label`, `category`, `language`)."""
    everyone = settings.model_copy(update={"status": ()})
    others, parameters = query(everyone, "status")
    with store.read() as connection:
        connection.register("members_arrow", members.select(["id", "split", "label", "category", "language"]))
        connection.execute("CREATE TEMP TABLE chosen AS SELECT * FROM members_arrow")
        # Of an example with several origins the first stands for it, so that shares add up to the whole.
        connection.execute(
            "CREATE TEMP TABLE first_origin AS SELECT DISTINCT ON (example) origins.* FROM origins "
            "SEMI JOIN chosen ON chosen.id = example ORDER BY example, origins.id"
        )

        def rows(sql: str, parameters: Sequence[object] = ()) -> list[Row]:
            return connection.execute(sql, list(parameters)).fetchall()

        return Facts(
            splits=[split for split in ("train", "validation", "test") if split in set(members["split"].to_pylist())],
            by_label=rows(
                "SELECT split, coalesce(label, ''), coalesce(category, ''), language, count(*) FROM chosen GROUP BY ALL ORDER BY ALL"
            ),
            axes=rows(
                "SELECT prompt, axis, axes ->> ('$.' || axis) AS value, count(*) FROM "
                "(SELECT prompt, axes, unnest(json_keys(axes)) AS axis FROM first_origin WHERE axes IS NOT NULL) "
                "GROUP BY ALL ORDER BY ALL"
            ),
            origins=rows(
                "SELECT kind, coalesce(provider, ''), coalesce(model, ''), count(*) FROM first_origin GROUP BY ALL ORDER BY 4 DESC, 1, 2, 3"
            ),
            prompts=rows(
                "SELECT first_origin.prompt, prompt_id, count(DISTINCT run), count(*) FROM first_origin "
                "JOIN completions ON completions.id = first_origin.completion "
                "JOIN requests ON requests.id = completions.request GROUP BY ALL ORDER BY ALL"
            ),
            files=rows(
                "SELECT path, body ->> '$.sha256', count(*) FROM first_origin WHERE path IS NOT NULL GROUP BY ALL ORDER BY ALL"
            ),
            complaints=rows(
                "SELECT author || '@' || version, decision, count(DISTINCT example) FROM verdicts "
                "SEMI JOIN chosen ON chosen.id = example WHERE decision <> 'keep' AND author NOT LIKE 'human:%' "
                "GROUP BY ALL ORDER BY ALL"
            ),
            left_out=[
                row for row in rows(f"SELECT status, count(*) FROM ({others}) GROUP BY ALL ORDER BY ALL", parameters)
                if settings.status and row[0] not in settings.status
            ],
            twins=Counter(reason.partition(" of ")[0].partition(" (")[0] for reason in excluded.values()),
        )  # fmt: skip


def render(settings: ExportSettings, facts: Facts, contents: str) -> str:
    """The card as Markdown with the YAML header that the Hub and `datasets` read.

    Args:
        contents: a hash of the data files. `datasets` 5 keys its cache by the last part of a folder's name and this header, so
            that without it all first versions of all datasets would be one.
    """
    total = sum(row[-1] for row in facts.by_label)
    languages = sorted({row[3] for row in facts.by_label})
    header = {
        "pretty_name": settings.name,
        "license": settings.licence,
        "language": languages,
        "task_categories": _TASK_CATEGORIES[settings.format],
        "size_categories": [_size(total)],
        "tags": ["tilth", *(["synthetic"] if any(row[0] == "generated" for row in facts.origins) else [])],
        "configs": [
            {
                "config_name": "default",
                "description": f"contents {contents}",
                "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in facts.splits],
            }
        ],
    }
    named = [LANGUAGE_NAMES.get(code, code) for code in languages]
    sections = [
        f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---",
        f"# {settings.name}",
        f"{total:,} examples in {', '.join(named)}, as `{settings.format}`. Made by tilth {installed('tilth')}.",
        "## Counts",
        "<!-- counts -->\n" + _counts(facts, languages) + "\n\n" + _splits(facts) + "\n<!-- end -->",
        "## Where it came from",
        _table(
            ("origin", "provider", "model", "examples", "share"),
            [(*row, f"{row[-1] / total:.1%}") for row in facts.origins],
        ),
    ]
    if facts.prompts:
        sections += ["Prompts:", _table(("prompt", "fingerprint", "runs", "examples"), facts.prompts)]
    if facts.files:
        sections += ["Files:", _table(("file", "sha256", "examples"), facts.files)]
    if facts.axes:
        sections += ["## Coverage of the prompts' axes", _table(("prompt", "axis", "values"), _axis_rows(facts.axes))]
    sections += [
        "## Checks",
        "Each example went through: "
        + "; ".join(f"`{check.name}@{check.version}` ({check.about.rstrip('.')})" for check in CHECKS)
        + ".",
        _table(("check", "decision", "examples that a person kept all the same"), facts.complaints)
        if facts.complaints
        else "No member has a complaint against it.",
        "## Left out",
        _left_out(facts),
        "The reason for each twin is in `manifest.json` under `excluded`.",
        "## Lineage",
        f"Selected by {_selector(settings)}; duplicates: {settings.dedup} at Jaccard {settings.threshold:g}; splits by hash of the family "
        f"(twins, translations and edits stay together), seed {settings.seed}. `curate trace ID` walks from any id back to its "
        "prompt, answer or file.",
        "## Licence and use",
        f"Licence: {settings.licence}. Text of harmful categories is here to train and test classifiers, not to be published.",
    ]
    return "\n\n".join(sections) + "\n"


def _counts(facts: Facts, languages: Sequence[str]) -> str:
    cells: Counter[tuple[str, str, str]] = Counter()
    for _, label, category, language, n in facts.by_label:
        cells[label, category, language] += n
    rows: list[Row] = []
    for label, category in dict.fromkeys((label, category) for label, category, _ in sorted(cells)):
        numbers = [cells[label, category, language] for language in languages]
        rows.append((label, category, *numbers, sum(numbers)))
    totals = [sum(n for (_, _, own), n in cells.items() if own == language) for language in languages]
    rows.append(("all", "", *totals, sum(totals)))
    return _table(("label", "category", *languages, "all"), rows)


def _splits(facts: Facts) -> str:
    sizes: Counter[str] = Counter()
    for split, *_, n in facts.by_label:
        sizes[split] += n
    return _table(("split", "examples"), [(split, sizes[split]) for split in facts.splits])


def _axis_rows(axes: Sequence[Row]) -> list[Row]:
    grouped: dict[tuple[str, str], list[str]] = {}
    for prompt, axis, value, n in axes:
        grouped.setdefault((prompt, axis), []).append(f"{value} {n:,}")
    return [(prompt, axis, ", ".join(values)) for (prompt, axis), values in grouped.items()]


def _left_out(facts: Facts) -> str:
    rows: list[Row] = [(f"status {status}", n) for status, n in facts.left_out]
    rows += [(kind, n) for kind, n in sorted(facts.twins.items())]
    return _table(("why", "examples"), rows) if rows else "Nothing was left out."


def _selector(settings: ExportSettings) -> str:
    return "`" + " ".join(f"{name}=[{','.join(values)}]" for name, values in described(settings).items()) + "`"


def _table(headings: Sequence[str], rows: Sequence[Row]) -> str:
    def line(cells: Sequence[object]) -> str:
        shown = (f"{cell:,}" if isinstance(cell, int) else str(cell).replace("|", "\\|") for cell in cells)
        return "| " + " | ".join(shown) + " |"

    return "\n".join([line(headings), "|" + "---|" * len(headings), *map(line, rows)])


def _size(total: int) -> str:
    for bound, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if total < bound:
            return name
    return "1M<n<10M"
