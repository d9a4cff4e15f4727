"""Take the pictures of every page: light and dark, 1280 and 1920 wide, of a full and an empty workspace.

    python docs/screenshots/take.py [--workspace FOLDER] [--to docs/screenshots] [--only overview,review]

Needs the development extra and a Chromium.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))

from PIL import Image as Picture
from ui_kit import browsing, open_page, serving, settled

from curation.journal import Writer
from curation.records import Decision
from curation.review.decide import decided
from curation.store import Store

PAGES = ("overview", "review", "adjudicate", "duplicates", "agreement", "documents", "runs", "datasets", "models")


WHAT = {
    "review": "?prompt=sop_dialogue",
    "datasets": "?version=moderation@2",
}  # what is looked at on a page, in its address


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
                        tab.goto(f"{address}/{'' if name == 'overview' else name}{WHAT.get(name, '')}")
                        settled(tab)
                        tab.wait_for_timeout(700)  # fonts and pictures
                        path = given.to / f"{name}-{state}-{look}.png"
                        tab.screenshot(path=path)
                        with Picture.open(path) as taken:
                            taken.convert("RGB").quantize(192).save(path, optimize=True)  # a third of the bytes
                        print(path, flush=True)
                    tab.context.close()


COMMANDS = """
synth run suite=moderation n=30
synth run prompt=sop_dialogue documents=SOPS n=16 language=[en,zh]
synth run prompt=ecommerce n=16
synth run prompt=general_ok n=60 seed=1 offline.fault_rate=0.2
curate dedup threshold=0.7 n=0
curate export name=moderation task=moderation label=[allowed,disallowed] format=messages
synth run prompt=general_harmful n=80 seed=2
curate export name=moderation task=moderation label=[allowed,disallowed] format=messages
train run dataset=moderation recipe=tiny name=first max_steps=60
train run dataset=moderation recipe=tiny name=second max_steps=60 learning_rate=1e-3
train eval first dataset=moderation split=test
"""


def filled(workspace: Path) -> Path:
    """A workspace that the real commands fill, and on which three people have decided."""
    root = Path(__file__).parent.parent.parent
    environ = {**os.environ, "PYTHONPATH": str(root)}
    for line in COMMANDS.split("\n"):
        if words := line.replace("SOPS", str(root / "docs/examples/sops")).split():
            print("$", line, flush=True)
            program = {"curate": "curation"}.get(words[0], words[0])
            code = f"from {program}.cli import app; app()"
            subprocess.run(
                [sys.executable, "-c", code, *words[1:]],
                cwd=workspace.parent,
                env=environ,
                check=True,
                stdout=subprocess.DEVNULL,
            )
    store, dice = Store(workspace), random.Random(3)
    ids = [row[0] for row in store.rows("SELECT id FROM examples WHERE task = 'moderation' ORDER BY md5(id) LIMIT 240")]
    at = datetime.now(UTC) - timedelta(hours=3)
    with Writer(store) as writer:
        for name, chosen, strict in (("ann", ids[:160], 0.2), ("bob", ids[60:240], 0.25), ("mei", ids[100:200], 0.15)):
            for number, one in enumerate(chosen):
                roll = random.Random(one).random() * 0.7 + dice.random() * 0.3  # people mostly agree
                word = Decision.DROP if roll < strict else Decision.FLAG if roll < strict + 0.06 else Decision.KEEP
                reason = "reads like a template" if word is Decision.DROP else ""
                writer.append(decided([one], name, word, reason=reason, at=at + timedelta(seconds=9 * number)))
    return workspace


if __name__ == "__main__":
    main()
