"""Import, status, stats and export of many examples: seconds and peak memory of each command, beside bare DuckDB.

    python benchmarks/store.py [--n 1000000]

The examples are the word soup of near_dedup.py in four languages with its planted twins, under six categories, as JSONL.
Each command runs in a process of its own, with the processes it starts; memory is that of all of them together, sampled.
Bare DuckDB reads the same JSONL into a table, counts it by language and category, and copies it to Parquet: no checks,
no origins, no history, no duplicates, no splits. Aims: each command under a minute and under 2 GB for a million.

    import         curate import: rows read, checked and stored with their origins and verdicts
    status         every example's status, folded from its verdicts and counted
    stats          curate stats, the coverage map included
    export         curate export: near-duplicates left out, splits by cluster, Parquet, card, manifest
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from near_dedup import ROOT, machine, plant
from pyarrow import feather

MOST_S, MOST_MB = 60.0, 2048.0
CATEGORIES = ("none", "race", "religion", "gender", "spam", "phishing")
ALL = "status=[kept,passed,new,unscored,flagged,dropped]"  # the checks think little of word soup
CURATE = "from curation.cli import app; app()"
STATUS = """
import sys; from pathlib import Path; from curation.store import Store
print(Store(Path(sys.argv[1])).rows("SELECT status, count(*) FROM status GROUP BY status ORDER BY status"))
"""
BARE = "import duckdb, sys; duckdb.connect(sys.argv[1], config={'memory_limit': '2GB'}).execute(sys.argv[2])"


def write_corpus(n: int, path: Path) -> None:
    table = path.with_suffix(".feather")
    plant(n, table, 0.8)
    columns = feather.read_table(table, memory_map=False)
    with path.open("w", encoding="utf-8") as file:
        for row, (text, language) in enumerate(
            zip(columns["text"].to_pylist(), columns["language"].to_pylist(), strict=True)
        ):
            category = CATEGORIES[row % len(CATEGORIES)]
            label = {"label": "allowed" if category == "none" else "disallowed", "category": category}
            fields = {"text": text, "language": language, **label, "severity": 0 if category == "none" else 1 + row % 3}
            file.write(json.dumps(fields, ensure_ascii=False) + "\n")


def measured(code: str, *arguments: str) -> tuple[float, float]:
    """Seconds and peak MB of a Python process and all those it starts."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    began, peak = time.perf_counter(), 0.0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen([sys.executable, "-c", code, *arguments], env=env, stdout=said, stderr=said)
        while process.poll() is None:
            peak = max(peak, memory_mb(process.pid))
            time.sleep(0.02)
        seconds = time.perf_counter() - began
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"{arguments} failed:\n{said.read().decode()}")
    return seconds, peak


def memory_mb(pid: int) -> float:
    """What a process and those below it hold now."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        children = [
            pid for task in Path(f"/proc/{pid}/task").iterdir() for pid in (task / "children").read_text().split()
        ]
    except OSError:
        return 0.0  # it is gone
    own = int(status.split("VmRSS:")[1].split()[0]) / 1024 if "VmRSS:" in status else 0.0
    return own + sum(memory_mb(int(child)) for child in children)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    n = parser.parse_args().n
    print(f"machine: {machine()}\n{n:,} examples", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus, bare = folder / "corpus.jsonl", str(folder / "bare.duckdb")
        write_corpus(n, corpus)
        place = f"workspace={folder / 'workspace'}"
        read = f"CREATE TABLE examples AS FROM read_json('{corpus}')"
        count = "SELECT label, category, language, count(*) FROM examples GROUP BY ALL"
        copy = f"COPY (FROM examples ORDER BY text) TO '{folder / 'bare.parquet'}' (COMPRESSION zstd)"
        print("\n| command | s | of 60 s | peak MB | of 2 GB | bare DuckDB s | aims |\n|---|---|---|---|---|---|---|")
        for command, ours, peer in (
            ("import", (CURATE, "import", str(corpus), place), read),
            ("status", (STATUS, str(folder / "workspace")), count),
            ("stats", (CURATE, "stats", place), count),
            ("export", (CURATE, "export", "name=bench", ALL, place), copy),
        ):
            seconds, peak = measured(*ours)
            bare_seconds, _ = measured(BARE, bare, peer)
            aims = "met" if seconds < MOST_S and peak < MOST_MB else "MISSED"
            print(
                f"| {command} | {seconds:.1f} | {seconds / MOST_S:.0%} | {peak:,.0f} | {peak / MOST_MB:.0%} "
                f"| {bare_seconds:.1f} | {aims} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
