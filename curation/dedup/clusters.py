"""What near pairs say of a whole corpus: which texts belong together, and which to keep."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from curation.dedup.kernel import F32, I64, U32, U64, jit
from curation.errors import InputError

if TYPE_CHECKING:
    from curation.dedup.near import Pairs


@dataclass(frozen=True, slots=True)
class Removals:
    """Texts not kept, in rising order of index, and why: "near-duplicate of `of` (0.87)"."""

    item: U32  # (m,)
    of: U32  # (m,) the kept text that it duplicates
    jaccard: F32  # (m,)


def connected(n: int, pairs: "Pairs") -> I64:
    """Single-linkage clusters of n texts: each text's label (n,) is the lowest index in its cluster."""
    _check(n, pairs)
    return components(n, pairs.a, pairs.b)


def keep(n: int, pairs: "Pairs", priority: NDArray[Any] | None = None) -> tuple[NDArray[np.bool_], Removals]:
    """Go through the texts in order of priority and keep each one that is not near one kept before it.

    Pairs of score 1 join equal shingle sets, which share all their other pairs: what is said of one of them is said of
    all. So star pairs lose nothing, and twins of a text that is removed are removed for the same reason.

    Args:
        n: number of texts.
        pairs: what `near_pairs` found among them.
        priority: (n,) numbers, lower goes first, ties by index; by index alone if None.

    Returns:
        Which texts are kept (n,), and of the others the most similar text kept before them, with the score.
    """
    _check(n, pairs)
    ranks = np.arange(n) if priority is None else np.asarray(priority)
    if ranks.shape != (n,):
        raise InputError(f"priority must be {n} numbers, one per text; got shape {ranks.shape}")
    same = pairs.jaccard == 1
    twin = components(n, pairs.a[same], pairs.b[same])
    a, b, score = twin[pairs.a[~same]], twin[pairs.b[~same]], pairs.jaccard[~same]
    source = np.concatenate((a, b))
    order = np.argsort(source, kind="stable")
    near, weight = np.concatenate((b, a))[order], np.concatenate((score, score))[order]
    starts = np.searchsorted(source[order], np.arange(n + 1))
    of, why = _greedy(np.argsort(ranks, kind="stable"), twin, starts, near, weight)
    kept = of == np.arange(n)
    item = np.flatnonzero(~kept)
    return kept, Removals(item.astype(np.uint32), of[item].astype(np.uint32), why[item])


def group(keys: U64, who: U32) -> tuple[U32, I64]:
    """Gather the items `who` (m,) of equal key (m,); those that share their key with nobody are left out.

    Returns:
        `members` and `starts`: group k is `members[starts[k]:starts[k + 1]]`, in the order of `who`.
    """
    members, starts = np.empty(len(who), np.uint32), np.zeros(len(who) // 2 + 1, np.int64)
    groups = _gather(keys, who, members, starts)
    return members[: starts[groups]].copy(), starts[: groups + 1].copy()


def _check(n: int, pairs: "Pairs") -> None:
    if len(pairs.b) and int(pairs.b.max()) >= n:
        raise InputError(
            f"a pair names text {int(pairs.b.max())}, but there are {n}: are these another corpus's pairs?"
        )


@jit
def components(n: int, a: Any, b: Any) -> I64:
    """The lowest index that each of n items is joined to by the pairs (a[k], b[k])."""
    label = np.arange(n)
    for k in range(a.size):
        x, y = np.int64(a[k]), np.int64(b[k])
        while label[x] != x:
            label[x] = label[label[x]]
            x = label[x]
        while label[y] != y:
            label[y] = label[label[y]]
            y = label[y]
        label[max(x, y)] = min(x, y)
    for k in range(n):
        label[k] = label[label[k]]  # a label never exceeds its index, so the one it points to is final
    return label


@jit
def _greedy(order: I64, twin: I64, starts: I64, near: I64, weight: F32) -> tuple[I64, F32]:
    """For each text the one that stands for it (itself, if kept) and their score."""
    n = order.size
    of, why = np.empty(n, np.int64), np.empty(n, np.float32)
    best, score = np.full(n, -1, np.int64), np.zeros(n, np.float32)  # per set of twins, the most similar text kept
    for i in order:
        own = twin[i]
        if best[own] < 0:
            best[own], score[own] = i, 1
            for k in range(starts[own], starts[own + 1]):
                if weight[k] > score[near[k]]:
                    best[near[k]], score[near[k]] = i, weight[k]
        of[i], why[i] = best[own], score[own]
    return of, why


@jit
def _gather(keys: U64, who: U32, members: U32, starts: I64) -> int:
    n, size = keys.size, 16
    while size < 2 * n:
        size *= 2
    mask, one = np.uint64(size - 1), np.uint64(1)
    head = np.full(size, -1, np.int32)
    follow, tail, count = np.full(n, -1, np.int32), np.empty(n, np.int32), np.zeros(n, np.int32)
    for x in range(n):
        slot = keys[x] & mask
        while head[slot] >= 0 and keys[head[slot]] != keys[x]:
            slot = (slot + one) & mask
        first = np.int64(head[slot])
        if first < 0:
            head[slot] = x
            first = np.int64(x)
        else:
            follow[tail[first]] = x
        tail[first] = x
        count[first] += 1
    groups, at = 0, 0
    for x in range(n):
        if count[x] > 1:
            y = np.int64(x)
            while y >= 0:
                members[at] = who[y]
                at += 1
                y = follow[y]
            groups += 1
            starts[groups] = at
    return groups
