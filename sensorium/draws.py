"""Keyed randomness: a draw depends on what it is for, never on when or where it is made.

Every draw names its key, e.g. (seed, epoch, record key, variant, purpose); a pairwise draw names
both records. No global generator is read, so worker count, batching and resume cannot change one.
"""

from __future__ import annotations

import hashlib

import numpy as np

Key = int | str


def _digest(key: tuple[Key, ...], size: int) -> bytes:
    # Length-prefixed parts with their type: (1, "2") and ("1", 2) and ("12",) all differ.
    state = hashlib.blake2b(digest_size=size)
    for part in key:
        kind = b"i" if isinstance(part, int) else b"s"
        data = str(part).encode()
        state.update(kind + len(data).to_bytes(4, "little") + data)
    return state.digest()


def generator(*key: Key) -> np.random.Generator:
    """A counter-based generator (Philox 4x64, Salmon et al. 2011) for one key."""
    return np.random.Generator(np.random.Philox(key=int.from_bytes(_digest(key, 16), "little")))


def integer(*key: Key) -> int:
    """A 63-bit integer for one key."""
    return int.from_bytes(_digest(key, 8), "little") >> 1


def uniform(*key: Key) -> float:
    """A number in [0, 1) for one key: one hash, no generator."""
    return (int.from_bytes(_digest(key, 8), "little") >> 11) / 2**53


def sample(names: list[str], count: int, *key: Key) -> list[int]:
    """Places of at most `count` of the names, ascending.

    Each name has its own draw for one key, so neither order nor company decides, and a smaller
    sample lies within a larger one.
    """
    if len(names) <= count:
        return list(range(len(names)))
    drawn = sorted(range(len(names)), key=lambda at: (uniform(*key, names[at]), names[at]))
    return sorted(drawn[:count])


def order(count: int, *key: Key) -> np.ndarray:
    """A permutation of range(count), int64 [count], for one key."""
    return generator(*key).permutation(count)
