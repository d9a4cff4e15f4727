"""Near-duplicates of any script, each with its exact score: MinHash proposes a pair, true Jaccard decides.

A text becomes the set of its shingles: word 3-grams where words are written apart, character 5-grams (code points)
elsewhere. Signatures find pairs that may be near (banding, see `_banding`), every one of them is then scored on the
texts themselves, so no pair is ever reported on an estimate and nothing is kept of a text but 128 bytes or so.

What bounds the work:

- Texts with equal shingle sets are collapsed first. They come back as star pairs (lowest index, other, 1.0), and only
  the lowest index meets the rest of the corpus. A pair with any of its twins is thus left unsaid; what holds for one of
  them holds for all, and `curation.dedup.clusters` reads pairs that way.
- A bucket of more than `HOT` texts, say of one template with a word replaced, is not compared in full: its members are
  paired with its leaders (the members, first come first, that are near no leader), and texts that share a leader are
  not compared again. Clusters stay whole, and each text of such a cluster is also paired with the one that `keep` would
  keep, by index, in its place: order texts by priority if you have one. Time is linear in the size of the bucket.
"""

import ctypes
import math
import os
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from curation.dedup import kernel
from curation.dedup.clusters import components, group
from curation.dedup.kernel import CHAR5, F32, I64, U8, U32, U64, WORD3, Texts
from curation.errors import InputError
from curation.records import normalised

__all__ = ["CHAR5", "WORD3", "Pairs", "family_of", "near_pairs", "shingles", "true_jaccard"]

HOT = 64  # members of a bucket that are still compared each with each
EXHAUSTIVE = 1024  # a corpus of so few distinct texts is one bucket: every pair is looked at

_IN_BUCKET = (64, 4, 8)  # of a hot bucket: leaders, links per member, exact scores per member
_IN_CLUSTER = (4096, 1, 64)
_MISSED = 0.002  # of the pairs exactly at the threshold, the share that banding may miss
_CHUNK = 4096  # texts per task
_WORK = 16384  # comparisons per task
_BLOCK = 4  # bands held in memory at a time

# Languages whose words stand apart; whichever is not here is compared by characters, which is right for any script.
_SPACED = (
    " af ar az bg bs ca ceb cs cy da de el en eo es et eu fa fi fil fr ga gl he hi hr ht hu hy id is it jv ka kk ko lt "
    "lv mk mr ms mt nb ne nl nn no pa pl ps pt ro ru sk sl so sq sr su sv sw tl tr uk ur uz vi yo zu "
)

Found = tuple[U32, U32, F32]
Progress = Callable[[str, int, int], None]  # stage, done, total


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of texts by index, `a < b`, sorted by (a, b), with their exact Jaccard similarity."""

    a: U32  # (n,)
    b: U32  # (n,)
    jaccard: F32  # (n,)

    def __len__(self) -> int:
        return len(self.a)


def family_of(language: str) -> int:
    """Which shingles texts of a language tag such as `en` or `zh-Hant` are compared by: WORD3 or CHAR5."""
    return WORD3 if f" {language.partition('-')[0].lower()} " in _SPACED else CHAR5


def near_pairs(
    texts: pa.Array | pa.ChunkedArray | Sequence[str],
    families: Sequence[int] | U8 | None = None,
    *,
    threshold: float = 0.8,
    normalise: bool = True,
    threads: int | None = None,
    progress: Progress | None = None,
) -> Pairs:
    """Find the pairs of texts whose shingle sets have a Jaccard similarity of at least `threshold`.

    Args:
        texts: (n,) strings; Arrow strings are read in place. A null is an empty text, which is near nothing.
        families: (n,) WORD3 or CHAR5 each, see `family_of`; texts of different families are never compared.
            None: CHAR5 for all, which works in every language.
        threshold: in (0, 1]. A pair is missed at the threshold with probability 0.002, above it with less; at
            thresholds under 0.1 with more.
        normalise: False if the texts have been through `records.normalised`; the result is the same.
        threads: all available cores if None. The result does not depend on it.
        progress: called with (stage, done, total); the stages are "sketch" (texts) and "compare" (bands).

    Returns:
        Every pair found, except that twins are stars and hot buckets are led (see the module's head).

    Raises:
        InputError: the threshold is out of range, or `families` does not fit `texts`.
    """
    if not 0 < threshold <= 1:
        raise InputError(f"threshold is {threshold!r}; it must be over 0 and at most 1, e.g. 0.8")
    array = _strings(texts)
    corpus = _corpus(array, families, normalise)
    n = len(array)
    bands, rows = _banding(threshold)
    width = 1 if rows >= 5 else 2  # few rows: more bits each, or unrelated texts would share buckets
    signature = np.empty((n, kernel.BINS * width), np.uint8)
    size, digest = np.empty(n, np.uint32), np.empty(n, np.uint64)
    with ThreadPoolExecutor(threads or _cores()) as pool:
        corpus = _sketch(pool, corpus, width, signature=signature, size=size, digest=digest, progress=progress)
        distinct, found = _twins(size, digest)
        spread = 4.5 * math.sqrt(threshold * (1 - threshold) / kernel.BINS)  # misses fewer than 1 in 10,000
        enough = int(signature.shape[1] * max(0.0, threshold - spread))
        search = _Search(pool, corpus, signature, size, threshold, enough, rows * width)
        found += search.run(distinct, bands, progress)
    return _sorted(found)


def shingles(text: str, language: str) -> set[tuple[str, ...]]:
    """A text's shingles in plain Python: the definition that the compiled code follows, for tests and explanations."""
    clean = normalised(text)
    if family_of(language) == CHAR5:
        return {tuple(clean[i : i + 5]) for i in range(max(1, len(clean) - 4))} if clean else set()
    words = tuple(word for token in clean.split() if (word := bare(token)))
    if not words:
        return {(clean,)} if clean else set()
    return {words[i : i + 3] for i in range(max(1, len(words) - 2))}


def true_jaccard(a: str, b: str, language: str) -> float:
    """The Jaccard similarity of two texts of one language by definition, slow; 0.0 if either is empty."""
    first, second = shingles(a, language), shingles(b, language)
    return len(first & second) / len(first | second) if first and second else 0.0


# -- reading -----------------------------------------------------------------------------------------------------


def _strings(texts: Any) -> pa.ChunkedArray:
    try:
        array = texts if isinstance(texts, pa.Array | pa.ChunkedArray) else pa.array(texts, pa.large_string())
        array = array.cast(pa.large_string())
    except (pa.ArrowException, TypeError, UnicodeError) as error:
        raise InputError(f"texts must be an Arrow string array or a sequence of str: {error}") from error
    array = array.fill_null("") if array.null_count else array
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _corpus(array: pa.ChunkedArray, families: Sequence[int] | U8 | None, normalise: bool) -> Texts:
    """The texts as the compiled code reads them: in the memory of `array`, which must outlive them."""
    n = len(array)
    family = np.full(n, CHAR5, np.uint8) if families is None else np.asarray(families)
    if family.shape != (n,) or not np.isin(family, (WORD3, CHAR5)).all():
        raise InputError(f"families must be {n} values, WORD3 or CHAR5, one per text; got shape {family.shape}")
    data, start, stop = _places(array.chunks)
    table, plain, extra = _tables()
    first = table if normalise else plain
    return Texts(data, _frozen(b"\0"), start, stop, family.astype(np.uint8), first, plain, extra)


def _places(chunks: list[Any]) -> tuple[U8, I64, I64]:
    """Where each text lies, in bytes from the lowest address of any chunk: nothing is copied, however many chunks."""
    n = sum(map(len, chunks))
    start, stop = np.empty(n, np.int64), np.empty(n, np.int64)
    buffers = [chunk.buffers() for chunk in chunks]
    held = [data for _, _, data in buffers if data is not None and data.size]
    if not held:
        return _frozen(b"\0"), np.zeros(n, np.int64), np.zeros(n, np.int64)
    base, end = min(data.address for data in held), max(data.address + data.size for data in held)
    at = 0
    for chunk, (_, offsets, data) in zip(chunks, buffers, strict=True):
        if len(chunk):
            places = np.frombuffer(offsets, np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
            shift = data.address - base if data is not None and data.size else 0
            start[at : at + len(chunk)], stop[at : at + len(chunk)] = places[:-1] + shift, places[1:] + shift
        at += len(chunk)
    # One array over all chunks and what lies between them, of which only the places of texts are ever read.
    return _frozen((ctypes.c_uint8 * (end - base)).from_address(base)), start, stop


def _frozen(buffer: Any) -> U8:
    data = np.frombuffer(buffer, np.uint8)
    data.flags.writeable = False  # one type for the compiler
    return data


def bare(token: str) -> str:
    a, b = 0, len(token)
    while a < b and unicodedata.category(token[a])[0] == "P":
        a += 1
    while a < b and unicodedata.category(token[b - 1])[0] == "P":
        b -= 1
    return token[a:b]


@lru_cache(maxsize=1)
def _tables() -> tuple[U32, U32, U32]:
    """What each code point becomes under `records.normalised`, if that can be said of it without its neighbours.

    A code point is LEFT or RIGHT if normalising may join or swap it with one that follows or precedes it; a text in
    which LEFT meets RIGHT, or with a HARD one, is left to Python. That is rare in text as it is usually written.
    Source: Unicode Standard Annex 15, sections 1.3 and 9.
    """
    every = [chr(code) for code in range(kernel.TABLE)]
    split = "\U0010ffff"  # inert: lets one call normalise all code points, each by itself
    composed = unicodedata.normalize("NFKC", split.join(every)).split(split)
    folded = split.join(composed).casefold().split(split)
    apart = unicodedata.normalize("NFKD", split.join(every)).split(split)
    halves = [unicodedata.decomposition(c).split() for c in every]
    joins = [half for half in halves if len(half) == 2 and half[0][0] != "<"]
    firsts, seconds = {chr(int(half[0], 16)) for half in joins}, {chr(int(half[1], 16)) for half in joins}
    firsts |= {c for c, half in zip(every, halves, strict=True) if half and half[0][0] != "<"}
    flags, plain, extra = np.zeros((2, kernel.TABLE), np.uint32), np.arange(kernel.TABLE, dtype=np.uint32), [0]
    for code, (c, whole, fold, parts) in enumerate(zip(every, composed, folded, apart, strict=True)):
        if c.isspace():
            plain[code] |= kernel.SPACE
        elif unicodedata.category(c)[0] == "P":
            plain[code] |= kernel.PUNCT
        entry = ord(fold) if len(fold) == 1 else kernel.EXPAND | len(extra)
        if len(fold) != 1:
            extra += [len(fold), *map(ord, fold)]
        if len(fold) == 1 and fold.isspace():
            entry |= kernel.SPACE
        if unicodedata.combining(parts[-1]) or whole[-1] in firsts:
            entry |= kernel.LEFT
        if unicodedata.combining(parts[0]) or parts[0] in seconds:
            entry |= kernel.RIGHT
        if len(fold) > 4 or any("\u1100" <= part <= "\u11ff" for part in whole):
            entry |= kernel.HARD
        flags[0, code] = entry
    return flags[0], plain, np.array(extra, np.uint32)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# -- searching ---------------------------------------------------------------------------------------------------


def _banding(threshold: float) -> tuple[int, int]:
    """The most rows whose S-curve 1 - (1 - t^rows)^bands misses at most `_MISSED` at t with the minima there are."""
    for rows in range(16, 0, -1):
        hit = threshold**rows
        bands = 1 if hit >= 1 - _MISSED else math.ceil(math.log(_MISSED) / math.log1p(-hit))
        if bands * rows <= kernel.BINS and bands <= 64:
            return bands, rows
    return 64, 1


def _sketch(
    pool: ThreadPoolExecutor,
    corpus: Texts,
    width: int,
    *,
    signature: U8,
    size: U32,
    digest: U64,
    progress: Progress | None,
) -> Texts:
    """Fill the arrays; return the corpus with the texts that only Python could normalise."""

    def run(who: U32) -> None:
        lows = range(0, len(who), _CHUNK)
        tasks = [
            pool.submit(kernel.sketch, corpus, who, lo, min(lo + _CHUNK, len(who)), width, signature, size, digest)
            for lo in lows
        ]
        for lo, task in zip(lows, tasks, strict=True):
            task.result()
            if progress and len(who) == len(size):
                progress("sketch", min(lo + _CHUNK, len(who)), len(who))

    run(np.arange(len(size), dtype=np.uint32))
    hard = np.flatnonzero(size == kernel.UNREADABLE).astype(np.uint32)
    if len(hard):
        raw = [corpus.data[corpus.start[i] : corpus.stop[i]].tobytes() for i in hard]
        clean = [normalised(text.decode("utf-8", "replace")).encode() for text in raw]
        ends = np.cumsum([len(text) for text in clean], dtype=np.int64)
        corpus.start[hard] = -1 - np.concatenate(([0], ends[:-1]))
        corpus.stop[hard] = -1 - ends
        corpus = corpus._replace(spare=_frozen(b"".join(clean)))
        run(hard)
    return corpus


def _twins(size: U32, digest: U64) -> tuple[U32, list[Found]]:
    """The lowest index of each distinct shingle set, and the star pairs of the others with it."""
    who = np.flatnonzero(size).astype(np.uint32)
    members, starts = group(digest[who], who)
    first = np.repeat(members[starts[:-1]], np.diff(starts))
    other = first != members
    alone = np.ones(len(size), np.bool_)
    alone[members[other]] = False
    stars = (first[other], members[other], np.ones(int(other.sum()), np.float32))
    return who[alone[who]], [stars]


@dataclass(frozen=True, slots=True)
class _Search:
    """The comparison of distinct texts, band by band."""

    pool: ThreadPoolExecutor
    corpus: Texts
    signature: U8
    size: U32
    threshold: float
    enough: int  # equal bytes of two signatures without which a pair is not scored
    step: int  # bytes of a signature per band

    def run(self, who: U32, bands: int, progress: Progress | None) -> list[Found]:
        hot, leader = np.zeros(len(self.size), np.uint64), np.full(len(self.size), -1, np.int64)
        if len(who) <= EXHAUSTIVE:
            return list(self._compare(who, np.array([0, len(who)]), hot, leader, 0))
        found: list[Found] = []
        keys = np.empty((_BLOCK, len(who)), np.uint64)
        for low in range(0, bands, _BLOCK):
            block = range(low, min(low + _BLOCK, bands))
            self._keys(who, low, keys[: len(block)])
            buckets = list(self.pool.map(lambda k: group(k, who), keys[: len(block)]))
            for band, (members, starts) in zip(block, buckets, strict=True):
                sizes = np.diff(starts)
                large = np.repeat(sizes > HOT, sizes)
                hot[members[large]] |= np.uint64(1 << band)
                found += self._compare(members[~large], _ends(sizes[sizes <= HOT]), hot, leader, band)
                found += self._lead(members[large], _ends(sizes[sizes > HOT]), leader, _IN_BUCKET)
                if progress:
                    progress("compare", band + 1, bands)
        return found + self._settled(found, hot)

    def _settled(self, found: list[Found], hot: U64) -> list[Found]:
        """Each text that was in a hot bucket, paired with the one that keeping the lowest indices would keep."""
        if not hot.any():
            return []
        label = components(len(hot), *(np.concatenate([part[k] for part in found], dtype=np.int64) for k in (0, 1)))
        touched = np.zeros(len(hot), np.bool_)
        touched[label[hot > 0]] = True
        who = np.flatnonzero(touched[label]).astype(np.uint32)
        members, starts = group(label[who].astype(np.uint64), who)
        return list(self._lead(members, starts, np.full(len(hot), -1, np.int64), _IN_CLUSTER))

    def _keys(self, who: U32, first: int, keys: U64) -> None:
        def task(lo: int) -> None:
            hi = min(lo + 16 * _CHUNK, len(who))
            kernel.band_keys(self.signature, self.corpus.family, who, lo, hi, first, self.step, keys)

        list(self.pool.map(task, range(0, len(who), 16 * _CHUNK)))

    def _compare(self, members: U32, starts: I64, hot: U64, leader: I64, band: int) -> Iterable[Found]:
        sizes = np.diff(starts)

        def task(part: tuple[int, int]) -> Found:
            return kernel.compare(
                self.corpus, self.signature, self.size, hot, leader, members, starts, part[0], part[1],
                band, self.step, self.threshold, self.enough,
            )  # fmt: skip

        return self.pool.map(task, _parts(sizes * (sizes - 1) // 2))

    def _lead(self, members: U32, starts: I64, leader: I64, effort: tuple[int, int, int]) -> Iterable[Found]:
        def task(part: tuple[int, int]) -> Found:
            return kernel.lead(
                self.corpus, self.signature, self.size, leader, members, starts, part[0], part[1],
                effort[0], effort[1], effort[2], self.threshold, self.enough,
            )  # fmt: skip

        return self.pool.map(task, _parts(np.diff(starts)))


def _ends(sizes: I64) -> I64:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(sizes, dtype=np.int64)))


def _parts(work: I64) -> list[tuple[int, int]]:
    """Cut buckets into runs of about `_WORK`; the cuts do not depend on the number of threads."""
    if not len(work):
        return []
    total = np.cumsum(work)
    cuts = np.searchsorted(total, np.arange(_WORK, total[-1], _WORK)) + 1
    edges = np.unique(np.concatenate(([0], cuts, [len(work)])))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def _sorted(found: list[Found]) -> Pairs:
    a, b = (np.concatenate([part[k] for part in found], dtype=np.uint32) for k in (0, 1))
    key = a.astype(np.uint64) << np.uint64(32) | b.astype(np.uint64)
    order = np.unique(key, return_index=True)[1]
    return Pairs(a[order], b[order], np.concatenate([part[2] for part in found], dtype=np.float32)[order])
