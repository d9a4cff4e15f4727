"""Take the pictures of every page: light and dark, 1280 and 1920 wide, of a full and an empty workspace.

    python docs/screenshots/take.py [--workspace FOLDER] [--to docs/screenshots] [--only overview,review]

Needs the development extra and a Chromium.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))

from ui_kit import browsing, open_page, serving, settled

PAGES = ("overview", "review", "adjudicate", "duplicates", "agreement", "documents", "runs", "datasets", "models")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, help="a workspace to show; one is made, if not given")
    parser.add_argument("--to", type=Path, default=Path(__file__).parent)
    parser.add_argument("--only", default="", help="pages, by their names in the address")
    parser.add_argument("--looks", default="light-1280,dark-1280,light-1920,dark-1920")
    parser.add_argument("--no-empty", action="store_true")
    given = parser.parse_args()
    pages = given.only.split(",") if given.only else PAGES
    with tempfile.TemporaryDirectory() as folder, browsing() as browser:
        workspaces = {"full": given.workspace or filled(Path(folder) / "workspace")}
        if not given.no_empty:
            workspaces["empty"] = Path(folder) / "empty"
        for state, workspace in workspaces.items():
            with serving(workspace.resolve()) as address:
                for look in given.looks.split(","):
                    scheme, width = look.split("-")
                    tab = open_page(browser, address, "ann", scheme=scheme, width=int(width), height=900)
                    for name in pages:
                        tab.goto(f"{address}/{'' if name == 'overview' else name}")
                        settled(tab)
                        tab.wait_for_timeout(700)  # fonts and pictures
                        path = given.to / f"{name}-{state}-{look}.png"
                        tab.screenshot(path=path)
                        print(path, flush=True)
                    tab.context.close()


def filled(workspace: Path) -> Path:
    raise SystemExit(f"give a workspace ({workspace} is not made yet)")


if __name__ == "__main__":
    main()
