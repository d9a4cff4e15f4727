"""Splits that follow clusters: near twins, translations of one text and edits of it never straddle train and test."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from curation.config import SplitSettings
from curation.dedup.clusters import components
from curation.dedup.near import Pairs
from curation.errors import InputError


def families(ids: Sequence[str], pairs: Pairs, parents: Mapping[str, str]) -> list[str]:
    """The name of each example's family: the lowest id among those it is joined to by a near pair, or by descent.

    Args:
        ids: (n,) sorted.
        parents: child id -> the id it was translated or edited from; parents need not be among `ids`.
    """
    known = {identity: row for row, identity in enumerate(ids)}
    for parent in sorted(set(parents.values()) | set(parents)):
        known.setdefault(parent, len(known))
    a = np.concatenate((pairs.a.astype(np.int64), np.array([known[child] for child in parents], dtype=np.int64)))
    b = np.concatenate((pairs.b.astype(np.int64), np.array([known[p] for p in parents.values()], dtype=np.int64)))
    lowest: NDArray[np.int64] = components(len(known), a, b)
    names = list(known)
    return [names[lowest[row]] for row in range(len(ids))]


def shares(settings: SplitSettings) -> dict[str, float]:
    """The splits that get anything, with their shares.

    Raises:
        InputError: the shares do not add up to 1.
    """
    given = {"train": settings.train, "validation": settings.validation, "test": settings.test}
    if abs(sum(given.values()) - 1) > 1e-6:
        said = ", ".join(f"split.{name}={share:g}" for name, share in given.items())
        raise InputError(f"{said}: the shares add up to {sum(given.values()):g}, not 1")
    return {name: share for name, share in given.items() if share > 0}


def assign(names: Sequence[str], splits: Mapping[str, float], seed: int) -> list[str]:
    """The split of each family, drawn by a hash of its name: more data never moves a family that stays the same."""
    drawn: dict[str, str] = {}
    for name in set(names):
        luck = int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little") / 2**64
        for split, share in splits.items():
            drawn[name] = split
            luck -= share
            if luck < 0:
                break
    return [drawn[name] for name in names]
