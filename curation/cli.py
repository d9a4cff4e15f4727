"""The `curate` command."""

import sys

from curation.commands import Command, main

COMMANDS = {
    "import": Command(
        "Bring in examples from JSONL, CSV, Parquet or a Hugging Face folder; or what an evaluation found wrong.",
        "curation.config:ImportSettings", "curation.importers:import_command", "path",
        "curate import posts.csv columns.text=body constants.language=en",
    ),
    "ls": Command("List examples.", "curation.config:ListSettings", "curation.browse:ls_command", "text"),
    "show": Command(
        "Show one record whole: an example, completion, request, run or dataset version.",
        "curation.config:ShowSettings", "curation.browse:show_command", "id",
    ),
    "trace": Command(
        "Walk from an example back to its prompt, answer and file, and on to the versions it is in.",
        "curation.config:ShowSettings", "curation.trace:trace_command", "id", "curate trace ex1_3f9a",
    ),
    "stats": Command(
        "Count by status, label, category, language and axis; draw the coverage.",
        "curation.config:StatsSettings", "curation.stats:stats_command", None, "curate stats axis=topic",
    ),
    "checks": Command(
        "Run the automatic checks again, e.g. after an upgrade; only changes are appended.",
        "curation.config:ChecksSettings", "curation.recheck:checks_command",
    ),
    "dedup": Command(
        "Find exact and near-duplicates and say which pairs, how alike.",
        "curation.config:DedupSettings", "curation.twins:dedup_command", None, "curate dedup language=zh threshold=0.7",
    ),
    "agreement": Command(
        "How far reviewers agree with each other and with judges, how fast they decide, how many labels they changed.",
        "curation.config:AgreementSettings", "curation.review.show_agreement:agreement_command", None, "curate agreement on=label",
    ),
    "export": Command(
        "Write a numbered, deduplicated, split Hugging Face dataset version.",
        "curation.config:ExportSettings", "curation.export:export_command", "name", "curate export name=moderation",
    ),
    "versions": Command(
        "List the dataset versions; check=true compares every file with the manifest.",
        "curation.config:VersionsSettings", "curation.versions:versions_command", "name", "curate versions check=true",
    ),
    "diff": Command(
        "Say which examples came, went or changed between two dataset versions, and why.",
        "curation.config:VersionDiffSettings", "curation.changes:diff_command", "versions", "curate diff [moderation@1,moderation@2]",
    ),
}  # fmt: skip


def app() -> None:
    """Entry point of the console script."""
    sys.exit(main("curate", "Curate the examples of a workspace: import, check, deduplicate, trace, export.", COMMANDS))
