"""Near-duplicate detection beside its strongest peer, on one synthetic corpus: speed, memory, recall, precision.

    python benchmarks/near_dedup.py [--n 1000000] [--runs 3] [--threshold 0.8]

The corpus needs no data: words of random syllables (en, ms, ta) or ideographs (zh), 20-80 to a text, and for one base
text in five up to three planted twins with a similarity of about 0.95 down to 0.5. Each method runs in a process of its
own, so that peak memory is its own too, from texts in memory to the result, compiled code warm. Texts are normalised as
they are; we normalise them all the same, the peer does not. All but tilth-words use character 5-grams.

Recall is over the planted pairs that brute force puts at or over the threshold; precision is over all reported pairs,
each scored again by brute force. For rensa-flags both are over texts: those with an earlier near one.

The methods:

    tilth        near_pairs on an Arrow column
    tilth-words  the same with the families of the languages: word 3-grams for en and ms
    rensa        rensa's signature matrix on sets of 5-grams made in Python, then our banding and exact scores
    rensa-best   the same on 5-grams hashed by our compiled code: all that is left to rensa is the signatures
    rensa-flags  as rensa-best, then rensa's own index, which flags texts and scores nothing
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LANGUAGES = ("en", "zh", "ms", "ta")
TWINS = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5)
PERMUTATIONS = 128
BANDS, ROWS = 21, 6  # for rensa's signatures; what near_pairs uses at 0.8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=1, help="runs per method; the median is shown")
    parser.add_argument("--threshold", type=float, default=0.8)
    parser.add_argument("--methods", default="tilth,tilth-words,rensa,rensa-best,rensa-flags")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", nargs=2, metavar=("METHOD", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child[0], options.child[1], options)))
        return
    print(f"machine: {machine()}\ncorpus: {options.n:,} texts, threshold {options.threshold}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        truth = spawn("corpus", folder, options)
        print(
            f"planted pairs: {truth['planted']:,}, of them {truth['near']:,} near; "
            f"mean text {truth['characters']:.0f} characters, {truth['bytes']:.0f} bytes\n"
        )
        rows = []
        for method in options.methods.split(","):
            runs = [spawn(method, folder, options) for _ in range(options.runs)]
            rows.append({**runs[0], "rate": median(run["rate"] for run in runs)})
    report(rows, options)


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    ours = rows[0]["rate"]
    print("| method | texts/s | slower | peak RSS GB | recall | precision | pairs |\n|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['method']} | {row['rate']:,.0f} | x {ours / row['rate']:.1f} | {row['rss_gb']:.2f} "
            f"| {row['recall']:.4f} | {row['precision']:.4f} | {row['pairs']:,} |"
        )
    if options.json:
        print(json.dumps(rows))


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu)
    return f"{os.cpu_count()} cores, {cpu}, {platform.system()}, Python {platform.python_version()}"


def spawn(method: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, __file__, "--n", str(options.n), "--threshold", str(options.threshold)]
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run([*command, "--child", method, folder], check=False, capture_output=True, text=True, env=env)
    if done.returncode:
        raise SystemExit(f"{method} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def child(method: str, folder: str, options: argparse.Namespace) -> dict[str, Any]:
    from pyarrow import feather

    path = Path(folder) / "corpus.feather"
    if method == "corpus":
        return plant(options.n, path, options.threshold)
    options.truth = path.parent / "truth.json"
    table = feather.read_table(path, memory_map=False, columns=["text", "language"])
    result: dict[str, Any] = {"method": method, **RUNNERS[method](table, options)}
    return result


# -- the corpus --------------------------------------------------------------------------------------------------


def vocabulary(language: str, rng: Any, size: int = 20_000) -> list[str]:
    if language == "zh":
        signs = [chr(c) for c in range(0x4E00, 0x4E00 + 4000)]
        return ["".join(signs[k] for k in rng.integers(0, len(signs), rng.integers(1, 4))) for _ in range(size)]
    if language == "ta":
        consonants, vowels = "கஙசஞடணதநபமயரலவழளறன", ["", "ா", "ி", "ீ", "ு", "ூ", "ெ", "ே", "ை", "்"]
        syllables = [c + v for c in consonants for v in vowels]
        low, high = 2, 6
    else:
        starts, cores = ("bcdfghjklmnprstvwz", "aeiou") if language == "en" else ("bcdgjklmnpstrw", "aiue")
        ends = ("", "n", "r", "st", "ng") if language == "en" else ("", "n", "ng", "h")
        syllables = [a + b + c for a in starts for b in cores for c in ends]
        low, high = 1, 4
    return [
        "".join(syllables[k] for k in rng.integers(0, len(syllables), rng.integers(low, high))) for _ in range(size)
    ]


def plant(n: int, path: Path, threshold: float) -> dict[str, Any]:
    import numpy as np
    import pyarrow as pa
    from pyarrow import feather

    rng = np.random.default_rng(20261121)
    words = {language: vocabulary(language, rng) for language in LANGUAGES}
    joint = {language: "" if language == "zh" else " " for language in LANGUAGES}
    texts: list[str] = []
    languages: list[str] = []
    origin: list[int] = []  # index of the text that a twin was made from, or its own
    while len(texts) < n:
        language = LANGUAGES[len(texts) % 4]
        vocabulary_, base = words[language], len(texts)
        picks = (rng.random(rng.integers(20, 81)) ** 2 * len(vocabulary_)).astype(int)  # some words are common
        versions = [picks]
        if rng.random() < 0.2:
            for similarity in rng.choice(TWINS, rng.integers(1, 4)):
                versions.append(edited(picks, float(similarity), vocabulary_, rng))
        for version in versions[: n - base]:
            texts.append(joint[language].join(vocabulary_[k] for k in version))
            languages.append(language)
            origin.append(base)
    order = rng.permutation(n)
    place = np.empty(n, np.int64)
    place[order] = np.arange(n)
    groups: dict[int, list[int]] = {}
    for k, base in enumerate(origin):
        groups.setdefault(base, []).append(k)
    pairs = [(x, y) for group in groups.values() for i, x in enumerate(group) for y in group[i + 1 :]]
    truth = [(*sorted((int(place[x]), int(place[y]))), jaccard(texts[x], texts[y])) for x, y in pairs]
    (path.parent / "truth.json").write_text(json.dumps(truth))
    feather.write_feather(
        pa.table({"text": [texts[k] for k in order], "language": [languages[k] for k in order]}),
        path,
        compression="uncompressed",
    )
    return {
        "planted": len(truth),
        "near": sum(score >= threshold for *_, score in truth),
        "characters": sum(map(len, texts)) / n,
        "bytes": sum(len(text.encode()) for text in texts) / n,
    }


def edited(picks: Any, similarity: float, words: list[str], rng: Any) -> Any:
    """Replace words one by one until about as many 5-grams are left as the similarity wants."""
    total = sum(len(words[k]) + 1 for k in picks)
    lost, goal = 0.0, total * (1 - similarity) / (1 + similarity)
    version = picks.copy()
    for place in rng.permutation(len(picks)):
        cost = len(words[picks[place]]) + 4
        if lost and lost + cost / 2 > goal:
            break
        version[place] = int(rng.integers(len(words)))
        lost += cost
    return version


def jaccard(a: str, b: str) -> float:
    """Character 5-grams, as `true_jaccard`; the corpus is normalised as it is."""
    first, second = ({text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in (a, b))
    return len(first & second) / len(first | second)


# -- the methods -------------------------------------------------------------------------------------------------


def run_tilth(table: Any, options: argparse.Namespace, by_language: bool = False) -> dict[str, Any]:
    import numpy as np

    from curation.dedup.near import family_of, near_pairs, shingles

    column, languages = table["text"], table["language"].to_pylist()
    families = np.array([family_of(language) for language in languages], np.uint8) if by_language else None
    warm()
    start = time.perf_counter()
    pairs = near_pairs(column, families, threshold=options.threshold)
    seconds = time.perf_counter() - start
    rss = peak_rss_gb()
    texts = column.to_pylist()

    def score(i: int, j: int) -> float:
        if not by_language or languages[i] in ("zh", "ta"):
            return jaccard(texts[i], texts[j])
        first, second = shingles(texts[i], languages[i]), shingles(texts[j], languages[j])
        return len(first & second) / len(first | second)

    return {"rate": len(column) / seconds, "rss_gb": rss, **judged(pairs, options, score, known=not by_language)}


def run_tilth_words(table: Any, options: argparse.Namespace) -> dict[str, Any]:
    return run_tilth(table, options, by_language=True)


def run_rensa(table: Any, options: argparse.Namespace, best: bool = False) -> dict[str, Any]:
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    from curation.dedup import near

    texts = table["text"].to_pylist()
    warm()
    start = time.perf_counter()
    rows, sizes = [], []
    for matrix, size in matrices(texts, best):
        rows.append(np.array(matrix.to_rows(), np.uint32))
        sizes.append(size)
    signature, size = np.concatenate(rows).view(np.uint8), np.concatenate(sizes)
    rows.clear()
    spread = 4.5 * (options.threshold * (1 - options.threshold) / PERMUTATIONS) ** 0.5
    enough = int(signature.shape[1] * (options.threshold - spread))
    array = near._strings(table["text"])
    corpus = near._corpus(array, None, normalise=False)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        search = near._Search(pool, corpus, signature, size, options.threshold, enough, ROWS * 4)
        pairs = near._sorted(search.run(np.arange(len(texts), dtype=np.uint32), BANDS, None))
    seconds = time.perf_counter() - start
    rss = peak_rss_gb()
    judgement = judged(pairs, options, lambda i, j: jaccard(texts[i], texts[j]), known=True)
    return {"rate": len(texts) / seconds, "rss_gb": rss, **judgement}


def run_rensa_best(table: Any, options: argparse.Namespace) -> dict[str, Any]:
    return run_rensa(table, options, best=True)


def run_rensa_flags(table: Any, options: argparse.Namespace) -> dict[str, Any]:
    from rensa import RMinHashLSH

    texts = table["text"].to_pylist()
    warm()
    start = time.perf_counter()
    index = RMinHashLSH(options.threshold, PERMUTATIONS, 16)
    flags: list[bool] = []
    for matrix, _ in matrices(texts, best=True):
        flags += index.insert_matrix_and_query_duplicate_flags(matrix, len(flags))
    seconds = time.perf_counter() - start
    rss = peak_rss_gb()
    later = {b for _, b, score in json.loads(options.truth.read_text()) if score >= options.threshold}
    flagged = {i for i, flag in enumerate(flags) if flag}
    recall, precision = len(later & flagged) / max(1, len(later)), len(later & flagged) / max(1, len(flagged))
    rate = len(texts) / seconds
    return {"rate": rate, "rss_gb": rss, "recall": recall, "precision": precision, "pairs": len(flagged)}


def matrices(texts: list[str], best: bool) -> Iterator[tuple[Any, Any]]:
    """Rensa's signatures, with the size of each set, 20,000 texts at a time: all at once costs it memory, not time."""
    import numpy as np
    from rensa import RMinHash

    for low in range(0, len(texts), 20_000):
        part = texts[low : low + 20_000]
        if best:
            hashes, offsets, size = hashed(part)
            yield RMinHash.digest_matrix_from_flat_token_hashes(hashes, offsets, PERMUTATIONS, 42), size
        else:
            sets = [{text[i : i + 5] for i in range(max(1, len(text) - 4))} for text in part]
            size = np.array([len(each) for each in sets], np.uint32)
            yield RMinHash.digest_matrix_from_token_sets(sets, PERMUTATIONS, 42), size


def hashed(texts: list[str]) -> tuple[Any, Any, Any]:
    """The 5-grams of all texts as one array of hashes, where each text ends, and how many of its own are distinct."""
    import numpy as np

    from curation.dedup import kernel, near

    array = near._strings(texts)
    corpus = near._corpus(array, None, normalise=False)
    most = max(len(text) for text in texts) + 5
    desk = kernel.Desk(
        np.empty(most, np.uint32),
        np.empty(most, np.uint64),
        np.empty(4 * most, np.uint64),
        np.zeros(4 * most, np.uint32),
    )
    size, parts = np.empty(len(texts), np.uint32), []
    for i in range(len(texts)):
        n, size[i], _ = kernel._load(corpus, i, desk, i + 1)
        parts.append(desk.hashes[:n].copy())
    offsets = np.cumsum([0, *map(len, parts)]).astype(np.uint64)
    return np.concatenate(parts), offsets, size


def warm() -> None:
    """Compile, or load, everything: alike and unalike texts, enough of them to be put into buckets."""
    from curation.dedup.near import near_pairs

    near_pairs(["the same words again " * 3 + str(k) for k in range(1500)] + [f"{k} " * 9 for k in range(1500)])


def judged(pairs: Any, options: argparse.Namespace, score: Any, known: bool) -> dict[str, Any]:
    """Recall and precision by brute force; `known`: the scores of the planted pairs hold for this method."""
    found = dict(zip(zip(pairs.a.tolist(), pairs.b.tolist(), strict=True), pairs.jaccard.tolist(), strict=True))
    right = sum(score(*pair) >= options.threshold for pair in found)
    first = {b: a for (a, b), value in found.items() if value == 1}
    planted = json.loads(options.truth.read_text())
    near = [(i, j) for i, j, value in planted if (value if known else score(i, j)) >= options.threshold]
    hits = 0
    for i, j in near:
        a, b = sorted((first.get(i, i), first.get(j, j)))  # twins are stars around their lowest index
        hits += a == b or (a, b) in found
    return {"recall": hits / max(1, len(near)), "precision": right / max(1, len(found)), "pairs": len(found)}


def peak_rss_gb() -> float:
    """VmHWM: ru_maxrss would count what the parent held before exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**30


RUNNERS = {
    "tilth": run_tilth,
    "tilth-words": run_tilth_words,
    "rensa": run_rensa,
    "rensa-best": run_rensa_best,
    "rensa-flags": run_rensa_flags,
}

if __name__ == "__main__":
    main()
