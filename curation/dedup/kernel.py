"""The compiled inner loops of near-duplicate detection: text to shingles, to signatures, to buckets, to exact scores.

Every function runs without the GIL on plain arrays and writes only to the rows of its own items, so that a pool of
threads may split the work anywhere and the answer stays the same. Of the arrays that recur, `family` is uint8 (n,),
`size` uint32 (n,) the number of distinct shingles, `signature` uint8 (n, BINS * width), and `who` picks texts.

Sources: one-permutation hashing, Li, Owen & Zhang 2012 (NIPS); optimal densification, Shrivastava 2017 (ICML); b-bit
minwise hashing, Li & Koenig 2010 (WWW); banding, Leskovec, Rajaraman & Ullman, Mining of Massive Datasets, chapter 3.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
U8: TypeAlias = NDArray[np.uint8]
U32: TypeAlias = NDArray[np.uint32]
U64: TypeAlias = NDArray[np.uint64]
I64: TypeAlias = NDArray[np.int64]
F32: TypeAlias = NDArray[np.float32]

WORD3, CHAR5 = 0, 1
BINS = 128  # minima per signature
UNREADABLE = 0xFFFFFFFF  # the `size` of a text that Python must normalise first

TABLE = 0x20000  # code points with an entry in Texts.table; most of those beyond are ideographs and stay as they are
CODE = 0x1FFFFF  # bits of an entry: the code point it becomes, or its place in Texts.extra
SPACE, LEFT, RIGHT, HARD, EXPAND, PUNCT = 1 << 21, 1 << 22, 1 << 23, 1 << 24, 1 << 25, 1 << 26

_GOLDEN, _PRIME = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_K0, _K1, _K2 = np.uint64(0x8CB92BA72F3D8DD7), np.uint64(0xAEF17502108EF2D9), np.uint64(0xD1342543DE82EF95)
_K3, _K4 = np.uint64(0xF1357AEA2E62A9C5), np.uint64(0xA0761D6478BD642F)
_WALKS = np.argsort(np.random.Generator(np.random.PCG64(1)).random((BINS, BINS)), axis=1).astype(np.uint8)
_1, _32, _TOP, _FULL = np.uint64(1), np.uint64(32), np.uint64(57), np.uint64(0xFFFFFFFFFFFFFFFF)


class Texts(NamedTuple):
    """Texts as UTF-8, in memory once; `start` and `stop` (n,) are bytes into `data`, or below zero into `spare`."""

    data: U8
    spare: U8  # texts that Python normalised
    start: I64  # -1 - s: at s in `spare`
    stop: I64
    family: U8
    table: U32  # (TABLE,) what a code point of `data` becomes
    plain: U32  # (TABLE,) the same for text that is normalised
    extra: U32  # code points that become several: how many, and which


def jit(function: F) -> F:
    """Compile, without the GIL, and keep the machine code on disk where any folder for it can be written."""
    try:
        return cast(F, numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:  # a read-only installation and a read-only home: compile anew in every process
        return cast(F, numba.njit(nogil=True)(function))


@jit
def mix(h: np.uint64) -> np.uint64:
    """A bijection of 64 bits in which each input bit moves each output bit."""
    h = (h ^ (h >> _32)) * _PRIME
    h = (h ^ (h >> _32)) * _PRIME
    return h ^ (h >> _32)


# -- text to shingles --------------------------------------------------------------------------------------------


@jit
def decode(texts: Texts, which: int, codes: U32) -> int:
    """Write a text's normalised code points into `codes`; return how many, or -1 if Python must normalise it."""
    i, stop = texts.start[which], texts.stop[which]
    data, table, extra = texts.data, texts.table, texts.extra
    if i < 0:
        i, stop, data, table = -1 - i, -1 - stop, texts.spare, texts.plain
    n, gap, left = 0, False, False
    while i < stop:
        lead = np.int64(data[i])
        width = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        if i + width > stop:  # not UTF-8; never read past the text
            break
        if width == 1:
            code = lead
        elif width == 2:
            code = (lead & 0x1F) << 6 | (data[i + 1] & 0x3F)
        elif width == 3:
            code = (lead & 0x0F) << 12 | np.int64(data[i + 1] & 0x3F) << 6 | (data[i + 2] & 0x3F)
        else:
            code = (lead & 0x07) << 18 | np.int64(data[i + 1] & 0x3F) << 12
            code |= np.int64(data[i + 2] & 0x3F) << 6 | (data[i + 3] & 0x3F)
        i += width
        entry = np.int64(table[code]) if code < TABLE else code | (HARD if 0x2F800 <= code < 0x2FA20 else 0)
        if entry & (HARD | RIGHT) and (entry & HARD or left):
            return -1
        left = entry & LEFT != 0
        if entry & SPACE:
            gap = True
            continue
        at = entry & CODE
        for k in range(int(extra[at]) if entry & EXPAND else 1):
            piece = np.uint32(extra[at + 1 + k]) if entry & EXPAND else np.uint32(at)
            if piece == 32:
                gap = True
                continue
            if gap and n > 0:
                codes[n] = 32
                n += 1
            gap = False
            codes[n] = piece
            n += 1
    return n


@jit
def _chain(values: Any, n: int) -> np.uint64:
    h = _GOLDEN * np.uint64(n)
    for i in range(n):
        h = mix(h + np.uint64(values[i]))
    return h


@jit
def _words(codes: U32, n: int, table: U32, out: U64) -> int:
    """Hash each word of the text, bare of the punctuation around it."""
    count, i = 0, 0
    while i < n:
        end = i
        while end < n and codes[end] != 32:
            end += 1
        a, b = i, end
        while a < b and codes[a] < TABLE and table[codes[a]] & PUNCT:
            a += 1
        while a < b and codes[b - 1] < TABLE and table[codes[b - 1]] & PUNCT:
            b -= 1
        if a < b:
            h = np.uint64(b - a)
            for k in range(a, b):
                h = (h ^ np.uint64(codes[k])) * _K0
                h ^= h >> np.uint64(29)
            out[count] = mix(h)
            count += 1
        i = end + 1
    return count


@jit
def shingle(codes: U32, n: int, family: int, table: U32, out: U64) -> int:
    """Hash the shingles of a normalised text into `out`, repeats included; return how many (`n` if it is below 1)."""
    if n <= 0:
        return n
    if family == CHAR5:
        if n < 5:
            out[0] = _chain(codes, n)
            return 1
        for i in range(n - 4):
            h = np.uint64(codes[i]) * _K0 + np.uint64(codes[i + 1]) * _K1 + np.uint64(codes[i + 2]) * _K2
            out[i] = mix(h + np.uint64(codes[i + 3]) * _K3 + np.uint64(codes[i + 4]) * _K4)
        return n - 4
    words = _words(codes, n, table, out)
    if words < 3:
        out[0] = _chain(out, words) if words else _chain(codes, n)
        return 1
    for i in range(words - 2):
        out[i] = mix(out[i] * _K0 + out[i + 1] * _K1 + out[i + 2] * _K2)
    return words - 2


@jit
def _slots(n: int) -> np.uint64:
    """The mask of a hash table that n shingles fill to at most a half."""
    size = 16
    while size < 2 * n:
        size *= 2
    return np.uint64(size - 1)


class Desk(NamedTuple):
    """Working memory of one task: `seen` and `stamp` are a hash table, with nothing in it where the stamp is old."""

    codes: U32
    hashes: U64
    seen: U64
    stamp: U32


@jit
def _desk(texts: Texts, who: U32, lo: int, hi: int) -> Desk:
    room = 8
    for x in range(lo, hi):  # normalising at most doubles a text: two bytes become up to four characters
        room = max(room, 8 + 2 * abs(texts.stop[who[x]] - texts.start[who[x]]))
    slots = _slots(room) + _1
    seen, stamp = np.empty(slots, np.uint64), np.zeros(slots, np.uint32)
    return Desk(np.empty(room, np.uint32), np.empty(room, np.uint64), seen, stamp)


@jit
def _load(texts: Texts, i: int, desk: Desk, mark: int) -> tuple[int, int, np.uint64]:
    """Put text i on the desk; return its shingles' number, how many are distinct, and the sum of these hashes.

    The number is -1 if Python must normalise the text first. Each use of a desk has a greater `mark`.
    """
    n = shingle(desk.codes, decode(texts, i, desk.codes), texts.family[i], texts.plain, desk.hashes)
    mask, distinct, total = _slots(n), 0, np.uint64(0)
    for k in range(n):
        h = desk.hashes[k]
        slot = h & mask
        while desk.stamp[slot] == mark and desk.seen[slot] != h:
            slot = (slot + _1) & mask
        if desk.stamp[slot] != mark:
            desk.stamp[slot], desk.seen[slot] = mark, h
            distinct += 1
            total += h
    return n, distinct, total


# -- shingles to signatures and band keys ------------------------------------------------------------------------


@jit
def sketch(texts: Texts, who: U32, lo: int, hi: int, width: int, signature: U8, size: U32, digest: U64) -> None:
    """Fill `signature`, `size` and `digest` (n,), which is equal for equal shingle sets, of the texts `who[lo:hi]`."""
    desk = _desk(texts, who, lo, hi)
    least, filled = np.empty(BINS, np.uint64), np.empty(BINS, np.uint8)
    for x in range(lo, hi):
        i = who[x]
        n, distinct, total = _load(texts, i, desk, x - lo + 1)
        size[i] = UNREADABLE if n < 0 else distinct
        digest[i] = mix(total + np.uint64(texts.family[i]))
        if n <= 0:
            continue
        least[:] = _FULL
        for k in range(n):
            h = desk.hashes[k]
            least[h >> _TOP] = min(least[h >> _TOP], h)
        _densify(least, filled)
        for k in range(BINS):
            h = mix(least[k])
            for part in range(width):
                signature[i, k * width + part] = np.uint8((h >> np.uint64(8 * part)) & np.uint64(255))


@jit
def _densify(least: U64, filled: U8) -> None:
    """Give each empty bin the minimum of the first full one on a walk of its own over all bins."""
    for k in range(BINS):
        filled[k] = least[k] != _FULL
    for k in range(BINS):
        step = 0
        while not filled[k] and not filled[_WALKS[k, step]]:
            step += 1
        if not filled[k]:
            least[k] = least[_WALKS[k, step]]


@jit
def band_keys(signature: U8, family: U8, who: U32, lo: int, hi: int, first: int, step: int, keys: U64) -> None:
    """Hash `step` bytes of each signature for each band from `first` on into `keys` (bands, m), columns lo:hi."""
    for x in range(lo, hi):
        i = who[x]
        for band in range(keys.shape[0]):
            h = np.uint64(family[i] + 1)
            for k in range((first + band) * step, (first + band + 1) * step):
                h = (h + np.uint64(signature[i, k])) * _K1
                h ^= h >> _32
            keys[band, x] = mix(h)


# -- buckets to scores -------------------------------------------------------------------------------------------


@jit
def _jaccard(texts: Texts, i: int, j: int, size: U32, desk: Desk, filled: int, loaded: int, mark: int) -> float:
    """The exact score of j and of i, whose `filled` shingles were loaded with the mark `loaded`."""
    n = shingle(desk.codes, decode(texts, j, desk.codes), texts.family[j], texts.plain, desk.hashes)
    mask, shared = _slots(filled), 0
    for k in range(n):
        slot = desk.hashes[k] & mask
        while desk.stamp[slot] >= loaded:
            if desk.seen[slot] == desk.hashes[k]:
                shared += desk.stamp[slot] != mark  # a shingle that j repeats counts once
                desk.stamp[slot] = mark
                break
            slot = (slot + _1) & mask
    return shared / (np.int64(size[i]) + np.int64(size[j]) - shared)


@jit
def _promising(signature: U8, size: U32, family: U8, i: int, j: int, threshold: float, enough: int) -> bool:
    if family[i] != family[j] or min(size[i], size[j]) < threshold * max(size[i], size[j]) - 1e-6:
        return False
    same = np.int32(0)
    for k in range(signature.shape[1]):
        same += np.int32(signature[i, k] == signature[j, k])
    return bool(same >= enough)


@jit
def _met(signature: U8, hot: U64, i: int, j: int, band: int, step: int) -> bool:
    """Whether an earlier band put i and j into one bucket that was compared in full."""
    for b in range(band):
        k = b * step
        while k < (b + 1) * step and signature[i, k] == signature[j, k]:
            k += 1
        if k == (b + 1) * step and not (hot[i] >> np.uint64(b)) & _1:
            return True
    return False


@jit
def _joined(leader: I64, i: int, j: int) -> bool:
    return bool(leader[i] == j or leader[j] == i or (leader[i] >= 0 and leader[i] == leader[j]))


@jit
def _grown(values: Any) -> Any:
    more = np.empty(2 * values.size, values.dtype)
    more[: values.size] = values
    return more


@jit
def compare(
    texts: Texts, signature: U8, size: U32, hot: U64, leader: I64, members: U32, starts: I64, lo: int, hi: int,
    band: int, step: int, threshold: float, enough: int,
) -> tuple[U32, U32, F32]:  # fmt: skip
    """The near pairs within each of the buckets lo:hi, every member against every other that it is not joined to."""
    desk = _desk(texts, members, starts[lo], starts[hi])
    a, b, score = np.empty(64, np.uint32), np.empty(64, np.uint32), np.empty(64, np.float32)
    found, mark = 0, 0
    for bucket in range(lo, hi):
        for x in range(starts[bucket], starts[bucket + 1]):
            i, loaded, filled = members[x], 0, 0
            for y in range(x + 1, starts[bucket + 1]):
                j = members[y]
                if _joined(leader, i, j) or _met(signature, hot, i, j, band, step):
                    continue
                if not _promising(signature, size, texts.family, i, j, threshold, enough):
                    continue
                if not loaded:
                    mark += 1
                    loaded, filled = mark, _load(texts, i, desk, mark)[0]
                mark += 1
                value = _jaccard(texts, i, j, size, desk, filled, loaded, mark)
                if value >= threshold:
                    if found == a.size:
                        a, b, score = _grown(a), _grown(b), _grown(score)
                    a[found], b[found], score[found] = i, j, value
                    found += 1
    return a[:found], b[:found], score[:found]


@jit
def lead(
    texts: Texts, signature: U8, size: U32, leader: I64, members: U32, starts: I64, lo: int, hi: int,
    most: int, links: int, tries: int, threshold: float, enough: int,
) -> tuple[U32, U32, F32]:  # fmt: skip
    """Near pairs within each of the buckets lo:hi, in time linear in their members.

    A member that is near no leader becomes one, up to `most`; the others are paired with up to `links` leaders, at the
    cost of up to `tries` scores. `leader` (n,) remembers each text's first leader: two that share one are joined.
    """
    desk = _desk(texts, members, starts[lo], starts[hi])
    a, b, score = np.empty(64, np.uint32), np.empty(64, np.uint32), np.empty(64, np.float32)
    leaders = np.empty(most, np.uint32)
    found, mark = 0, 0
    for bucket in range(lo, hi):
        count = 0
        for x in range(starts[bucket], starts[bucket + 1]):
            i, loaded, filled, joined, tried = members[x], 0, 0, 0, 0
            for y in range(min(count, most)):
                j = leaders[y]
                if joined == links or tried == tries:
                    break
                if _joined(leader, i, j):
                    joined += 1
                    continue
                if not _promising(signature, size, texts.family, i, j, threshold, enough):
                    continue
                if not loaded:
                    mark += 1
                    loaded, filled = mark, _load(texts, i, desk, mark)[0]
                mark, tried = mark + 1, tried + 1
                value = _jaccard(texts, i, j, size, desk, filled, loaded, mark)
                if value >= threshold:
                    if found == a.size:
                        a, b, score = _grown(a), _grown(b), _grown(score)
                    a[found], b[found], score[found] = min(i, j), max(i, j), value
                    found, joined = found + 1, joined + 1
                    if leader[i] < 0:
                        leader[i] = j
            if not joined:
                # Past the cap the newest half of the leaders take turns, so that runs of alike texts still meet.
                leaders[count if count < most else most // 2 + count % (most - most // 2)] = i
                count += 1
    return a[:found], b[:found], score[:found]
