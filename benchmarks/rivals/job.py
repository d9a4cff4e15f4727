"""What every runner is told, and what it says when it is done; nothing but the standard library, for any venv.

A runner is called with one JSON object and prints one: `wall_s` and `cpu_s` of the work, from when all is imported to when the
last row is kept, children included, and the texts that came out, as how many `rows` and how many of them `usable`.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

SYSTEM = "You write what people post online in Singapore. " * 4
MODEL = {"anthropic": "claude-haiku-4-5", "together": "openai/gpt-oss-20b", "openai": "local-model"}
MOST_TOKENS = 1000


@dataclass(frozen=True)
class Job:
    how: str  # which way of asking, where a runner has several
    url: str  # of the loopback server
    n: int
    in_flight: int
    folder: str  # to keep things in; the same again after a kill

    @property
    def openai_url(self) -> str:
        return f"{self.url}/openai/v1"


def prompt(number: int) -> str:
    """The request of one row; no other has the same body."""
    return (
        f'Write post number {number}: what somebody thinks of it. Answer with exactly 1 object:\n- "text": the post\n'
    )


def usable(text: object) -> bool:
    """Whether an answer is the object that was asked for, in a code fence or not."""
    if not isinstance(text, str):
        return False
    bare = text.strip().removeprefix("```json").removeprefix("```")
    try:
        found, _ = json.JSONDecoder().raw_decode(bare.strip())
    except ValueError:
        return False
    return isinstance(found, dict) and bool(found.get("text"))


def texts_of(texts: Iterable[object]) -> tuple[int, int]:
    """How many rows there are, and how many of them can be used."""
    kept = [text for text in texts if text]
    return len(kept), sum(map(usable, kept))


def run(work: Callable[[Job], tuple[int, int]]) -> None:
    """Do the job of the command line: `work` gives the rows and those that can be used."""
    job = Job(**json.loads(sys.argv[1]))
    os.chdir(job.folder)
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    rows, good = work(job)
    done = {"wall_s": time.perf_counter() - wall, "cpu_s": sum(os.times()[:4]) - cpu, "rows": rows, "usable": good}
    Path(job.folder, "done.json").write_text(json.dumps(done))
