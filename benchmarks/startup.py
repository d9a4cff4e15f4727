"""How long `synth --help` and `curate --help` take beyond `python -c pass`.

    python benchmarks/startup.py [--runs 11]

Medians of processes started in turn, so that a busy machine slows all three alike. Aim: less than 0.3 s more.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

from near_dedup import ROOT, machine

MOST_S = 0.3
BARE = "python -c pass"
CASES = {
    BARE: [sys.executable, "-c", "pass"],
    "synth --help": [sys.executable, "-c", "from synth.cli import app; app()", "--help"],
    "curate --help": [sys.executable, "-c", "from curation.cli import app; app()", "--help"],
}


def seconds(command: list[str]) -> float:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env=env, cwd=Path.home())
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11)
    runs = parser.parse_args().runs
    print(f"machine: {machine()}\nmedian of {runs}\n\n| command | s | more than bare | of the aim |\n|---|---|---|---|")
    for command in CASES.values():
        seconds(command)  # bytecode is written, files are in the cache
    rounds = [{name: seconds(command) for name, command in CASES.items()} for _ in range(runs)]
    took = {name: median(round_[name] for round_ in rounds) for name in CASES}
    worst = 0.0
    for name, s in took.items():
        more = s - took[BARE]
        worst = max(worst, more)
        print(f"| {name} | {s:.3f} | {more:.3f} | {more / MOST_S:.0%} |")
    print(f"\naim: less than {MOST_S} s more: {'met' if worst < MOST_S else 'MISSED'}")


if __name__ == "__main__":
    main()
