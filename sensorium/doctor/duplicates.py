"""Which pictures are the same: byte for byte, or apart from coding, size and brightness.

*Near* means the same picture coded again, resized or slightly brightened; not a crop, not a mirror
image, not another photograph of the same scene. It is decided in two stages.

1. A 64-bit perceptual hash: the signs of the 64 lowest coefficients (without the mean) of the
   cosine transform of the grey picture at 32 x 32. The idea is pHash's (Zauner 2010,
   "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2.1), with zero
   in place of the median as threshold and a dead zone about it, because a symmetric drawing has
   coefficients that are nothing but rounding. Pairs at most 10 bits apart are found by
   multi-index hashing (Norouzi, Punjani and Fleet 2012, "Fast Search in Hamming Space with
   Multi-Index Hashing"): those of which one in four bands of 16 bits differs in at most one bit,
   which up to 7 bits are all and up to 10 are most.
2. Those pairs only: luminance at 32 x 32, slightly blurred, after the best gain and offset, may
   not differ in any eighth of the picture, nor its colour anywhere.

Time and comparisons grow with the number of pictures: no picture is compared with more than
`WINDOW` others of one bucket. Where a bucket is larger (thousands of alike pictures), pairs may
be missed, and `Near.capped` says so.

The thresholds were set on 1,543 emoji drawings and on 16 photographs with their quarters; no claim
goes beyond these. Copies found: all after JPEG at quality 40; all drawings and 97 % of photographs
at half the size; 92 % of the drawings (white clips) and all photographs when 10 % brighter; 91 and
97 % after half the size, JPEG 60 and 8 % brighter at once. Of 1.3 million different pairs the hash
lets 1,015 through, most of them hearts and circles of another colour (a difference hash, dHash:
5,176); the second stage keeps 9, such as `firefighter` and `woman firefighter`, which look alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32  # pixels a side of what is compared
BITS = 10  # most bits in which hashes of near pictures differ
SURE = 7  # up to which every pair is found
WINDOW = 64  # most others of one bucket that a picture is compared with
DIFFERENCE = 0.25  # most root mean square difference of an eighth, in units of the contrast
COLOUR = 24.0  # most difference of Cb or Cr, of 255, in any of 8 x 8 places
FLAT = 4.0  # least contrast (standard deviation of luminance) of a picture with a hash
_BANDS, _BAND = 4, 16
_DEAD = 0.05  # of the coefficients' root mean square: what is smaller counts as negative
_CHUNK = 4096  # pairs compared at a time


def _cosines() -> NDArray[np.float32]:
    """The nine lowest rows of the orthonormal cosine transform (DCT-II), float32 [9, SIDE]."""
    k, x = np.arange(9)[:, None], np.arange(SIDE)[None]
    rows = np.cos(np.pi * (2 * x + 1) * k / (2 * SIDE)) * np.sqrt(2 / SIDE)
    rows[0] /= np.sqrt(2)
    return rows.astype(np.float32)


_COSINES = _cosines()


@dataclass(frozen=True)
class Mark:
    """What one picture is compared by.

    code: the hash; luminance: float16 [SIDE, SIDE], blurred; colour: int8 [8, 8, 2], Cb and Cr
    about their middle.
    """

    code: int
    luminance: NDArray[np.float16]
    colour: NDArray[np.int8]


def mark(picture: Image.Image) -> Mark | None:
    """The mark of an RGB picture; None where it is all but one colour, and has nothing to compare.

    Args:
        picture: of any size; smaller than SIDE it is enlarged.
    """
    # BOX enlarges in steps, which would add edges of its own.
    way = Image.Resampling.BOX if min(picture.size) >= SIDE else Image.Resampling.BILINEAR
    small = picture.convert("YCbCr").resize((SIDE, SIDE), way)
    values = np.asarray(small, np.float32)
    light = values[:, :, 0]
    if light.std() < FLAT:
        return None
    coefficients = (_COSINES @ light @ _COSINES.T).ravel()[1:65]
    bits = coefficients > _DEAD * np.sqrt((coefficients**2).mean())
    colour = values[:, :, 1:].reshape(8, SIDE // 8, 8, SIDE // 8, 2).mean((1, 3)) - 128
    return Mark(
        int.from_bytes(np.packbits(bits).tobytes(), "big"),
        _blurred(light).astype(np.float16),
        np.clip(colour.round(), -128, 127).astype(np.int8),
    )


def _blurred(light: NDArray[np.floating]) -> NDArray[np.floating]:
    """Each axis by (1, 2, 1) / 4: what resizing does to an edge must not count as a difference."""
    rows = np.pad(light, ((1, 1), (0, 0)), mode="edge")
    rows = (rows[:-2] + 2 * rows[1:-1] + rows[2:]) / 4
    columns = np.pad(rows, ((0, 0), (1, 1)), mode="edge")
    return (columns[:, :-2] + 2 * columns[:, 1:-1] + columns[:, 2:]) / 4


@dataclass(frozen=True)
class Near:
    """Near pairs among some marks.

    pairs: int64 [pairs, 2], positions, the smaller first, sorted; compared: how many pairs of
    hashes were looked at; capped: whether a bucket was larger than what is compared.
    """

    pairs: NDArray[np.int64]
    compared: int
    capped: bool


def near(marks: Sequence[Mark]) -> Near:
    """All pairs of pictures that are the same apart from coding, size and brightness."""
    codes = np.array([m.code for m in marks], np.uint64)
    pairs, compared, capped = close(codes)
    kept = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(pairs), _CHUNK):
        chunk = pairs[start : start + _CHUNK]
        left, right = chunk.T
        kept.append(chunk[_same([marks[at] for at in left], [marks[at] for at in right])])
    return Near(np.concatenate(kept), compared, capped)


def close(codes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], int, bool]:
    """Pairs of 64-bit codes at most `BITS` bits apart; all of those at most `SURE` apart.

    Returns:
        int64 [pairs, 2] as in `Near`, how many pairs were compared, whether a bucket was capped.
    """
    n = len(codes)
    found, compared, capped = [np.zeros(0, np.int64)], 0, False
    for band in range(_BANDS):
        # Turned so that the band is on top: a bucket is then a stretch of the sorted codes, and
        # equal codes lie side by side in it.
        turned = np.bitwise_or(codes << np.uint64(band * _BAND), _right(codes, 64 - band * _BAND))
        order = np.argsort(turned, kind="stable")
        inside = turned[order]
        top = inside >> np.uint64(64 - _BAND)
        rank = np.arange(n)
        for flip in range(-1, _BAND):
            if flip < 0:
                first = rank + 1  # those after it: each pair of one bucket once
                end = np.searchsorted(top, top, "right")
                last = np.minimum(end, first + WINDOW)
                capped |= bool((last < end).any())
            else:
                bit = np.uint64(1 << (64 - _BAND + flip))
                # A pair whose bands differ in this bit: ask from the side where it is 0.
                asking = (inside & bit) == 0
                wanted = inside | bit
                start = np.searchsorted(top, wanted >> np.uint64(64 - _BAND), "left")
                end = np.searchsorted(top, wanted >> np.uint64(64 - _BAND), "right")
                middle = np.searchsorted(inside, wanted)
                first = np.maximum(start, np.minimum(middle - WINDOW // 2, end - WINDOW))
                last = np.where(asking, np.minimum(end, first + WINDOW), first)
                capped |= bool((asking & (end - start > WINDOW)).any())
            count = np.maximum(last - first, 0)
            left = np.repeat(rank, count)
            step = np.arange(len(left)) - np.repeat(np.cumsum(count) - count, count)
            right = np.repeat(first, count) + step
            compared += len(left)
            apart = np.bitwise_count(inside[left] ^ inside[right])
            alike = apart <= BITS
            if band:  # equal codes are neighbours in every order: the first band has them all
                alike &= apart > 0
            a, b = order[left[alike]], order[right[alike]]
            found.append(np.minimum(a, b) * n + np.maximum(a, b))
    every = np.sort(np.concatenate(found))
    once = every[np.diff(every, prepend=-1) > 0]  # bands find the same pairs
    return np.stack(np.divmod(once, max(n, 1)), axis=1), compared, capped


def _right(codes: NDArray[np.uint64], by: int) -> NDArray[np.uint64]:
    """Shifted right; by 64 gives 0, which numpy leaves undefined."""
    return codes >> np.uint64(by) if by < 64 else np.zeros_like(codes)


def _same(left: list[Mark], right: list[Mark]) -> NDArray[np.bool_]:
    """The second stage, bool [pairs]."""
    if not left:
        return np.zeros(0, bool)
    n, part = len(left), SIDE // 4
    x = np.stack([m.luminance for m in left]).astype(np.float32).reshape(n, -1)
    y = np.stack([m.luminance for m in right]).astype(np.float32).reshape(n, -1)
    x -= x.mean(axis=1, keepdims=True)
    y -= y.mean(axis=1, keepdims=True)
    power = (x * x).mean(axis=1)
    gain = (x * y).mean(axis=1) / np.maximum(power, 1e-9)
    rest = ((y - gain[:, None] * x) ** 2).reshape(n, 4, part, 4, part)
    worst = np.sqrt(rest.mean((2, 4)).max(axis=(1, 2)))
    contrast = np.minimum(np.abs(gain) * np.sqrt(power), y.std(axis=1))
    # The constant is rounding and coding noise: a faint picture is not judged by it alone.
    light = (gain > 0) & (worst <= DIFFERENCE * (contrast + 6))
    a = np.stack([m.colour for m in left]).astype(np.int16)
    b = np.stack([m.colour for m in right]).astype(np.int16)
    return light & (np.abs(a - b).max(axis=(1, 2, 3)) <= COLOUR)


def digest(data: bytes) -> bytes:
    """16 bytes that name a picture's bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()


def gathered(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Positions that pairs join, directly or through others; each group sorted, in order."""
    parent: dict[int, int] = {}

    def find(at: int) -> int:
        while parent.setdefault(at, at) != at:
            parent[at] = parent[parent[at]]
            at = parent[at]
        return at

    for a, b in pairs:
        parent[find(int(b))] = find(int(a))
    groups: dict[int, list[int]] = {}
    for at in sorted(parent):
        groups.setdefault(find(at), []).append(at)
    return sorted(groups.values())
