"""Help for the training tests: dataset versions in the exact layout of `curate export`, and settings that keep runs small."""

import contextlib
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curation.formats import SCHEMAS
from curation.records import EXAMPLE, content_id
from train.config import RunSettings
from train.data import Version, open_version
from train.runs import Run

BAD = ("bet", "casino", "payout", "odds", "jackpot")
GOOD = ("lunch", "garden", "library", "train", "music")


def write_version(
    home: Path, splits: dict[str, Sequence[dict[str, Any]]], *, format: str = "text-classification", number: int = 1
) -> Version:
    """A version `home/<number>` that holds these rows (id, language and the like are filled in), as an export writes it."""
    folder = home / str(number)
    (folder / "data").mkdir(parents=True)
    members: dict[str, list[str]] = {}
    for split, given in splits.items():
        rows = [_filled(row) for row in given]
        members[split] = [row["id"] for row in rows]
        table = pa.Table.from_pylist(rows, schema=SCHEMAS[format])
        pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet", compression="zstd")
    (folder / "README.md").write_text("---\nlicense: cc0-1.0\n---\n", encoding="utf-8")
    files = {str(path.relative_to(folder)): sha256(path) for path in sorted(folder.rglob("*")) if path.is_file()}
    manifest = {
        "name": home.name,
        "selector": {},
        "options": {"format": format, "dedup": "near", "threshold": 0.8, "seed": 0, "split": {}, "licence": "cc0-1.0"},
        "code": "tilth 0.1.0",
        "splits": {split: len(rows) for split, rows in members.items()},
        "files": files,
        "members": members,
        "excluded": {},
    }
    text = json.dumps(manifest, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return open_version(str(folder), home)


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    filled = {
        "language": "en",
        "label": None,
        "category": None,
        "severity": None,
        "prompt": "p",
        "source": "generated",
        **row,
    }
    return {"id": content_id("ex", row), **filled}


def moderation_rows(n: int, start: int = 0) -> list[dict[str, Any]]:
    """Posts, every other one disallowed; which is which can be told from the words."""
    rows = []
    for i in range(start, start + n):
        bad = i % 2 == 1
        words = BAD if bad else GOOD
        text = f"Post {i}: the {words[i % 5]} near the {words[(i // 5) % 5]} and the {words[(i // 25) % 5]}."
        rows.append(
            {
                "text": text,
                "surface": "post",
                "label": "disallowed" if bad else "allowed",
                "category": "gambling" if bad else "none",
                "severity": 2 if bad else 0,
            }
        )
    return rows


def moderation_version(home: Path, train: int = 48, held_out: int = 16) -> Version:
    """A small text-classification version with the splits train, validation and test."""
    counts = {"train": (train, 0), "validation": (held_out, train), "test": (held_out, train + held_out)}
    return write_version(home, {split: moderation_rows(n, start) for split, (n, start) in counts.items()})


def settings(tmp_path: Path, version: Version, **given: Any) -> RunSettings:
    """For `train run`: no trackers, runs below `tmp_path`, logged at every step."""
    small: dict[str, Any] = {"recipe": "tiny", "model": "tiny", "max_steps": 6, "max_length": 128, "log_every": 1}
    fixed = {"dataset": str(version.folder), "runs_dir": tmp_path / "runs", "report_to": ("none",)}
    return RunSettings(**{**small, **fixed, **given})


def run_snippet(run: Run) -> dict[str, Any]:
    """What the names of the card's "Load it" stand for, after its code has run in the run's folder."""
    card = (run.folder / "README.md").read_text(encoding="utf-8")
    code = card.partition("## Load it")[2].partition("```python\n")[2].partition("```")[0]
    found: dict[str, Any] = {}
    with contextlib.chdir(run.folder):
        exec(code, found)  # it is what we tell people to run
    return found


class Dies:
    """Stands where Ctrl-C is listened for, and kills the training in its 3rd step, without a checkpoint of that step."""

    def __init__(self) -> None:
        self.steps = 0

    @property
    def asked(self) -> bool:
        self.steps += 1
        if self.steps == 3:
            raise KeyboardInterrupt
        return False

    def listen(self) -> Any:
        return contextlib.nullcontext()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def as_example(fields: dict[str, Any]) -> Any:
    """A record of an example, by its `task`."""
    return EXAMPLE.validate_python({"language": "en", **fields})
