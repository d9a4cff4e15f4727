"""The `ui` command."""

import sys

from curation.commands import Command, main_of_one

COMMANDS = {
    "ui": Command(
        "Serve the review app of a workspace in the browser.",
        "ui.config:UiSettings", "ui.serve:ui_command", None, "ui workspace=workspace port=8501",
    ),
}  # fmt: skip


def app() -> None:
    """Entry point of the console script."""
    sys.exit(main_of_one("ui", COMMANDS["ui"]))
