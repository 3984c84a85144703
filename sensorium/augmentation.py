"""Random views of a picture, drawn from a given generator alone.

SimCLR's views (Chen et al. 2020, arXiv 2002.05709, appendix A) with the strengths that SLIP uses
(Mu et al. 2022, arXiv 2112.12750; facebookresearch/SLIP, datasets.py: "not strengthened"). The
colours follow torchvision's ColorJitter on PIL pictures (pytorch/vision,
transforms/_functional_pil.py), except that hue turns by a period of 255, which is Pillow's, and so
wraps without a step. Their blur is given for pictures of 224 pixels; here it is scaled with the
size, so that a small picture loses no more than a large one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

AREA, RATIO, TRIES = (0.08, 1.0), (3 / 4, 4 / 3), 10
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.4, 0.1
JITTERED, GREY, BLURRED, FLIPPED = 0.8, 0.2, 0.5, 0.5  # how often
BLUR, AT = (0.1, 2.0), 224  # standard deviation in pixels, of a picture so wide

Box = tuple[float, float, float, float]


def simclr(array: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """One random view: crop, colours, grey, blur, mirrored.

    Args:
        array: uint8 [height, width, 3].
        size: side of the view.
        rng: all that decides; each call takes equally many numbers from it.

    Returns:
        uint8 [size, size, 3].
    """
    height, width = array.shape[:2]
    box = crop(width, height, rng)
    jittered, grey, blurred, flipped, sigma, *turns = rng.random(9).tolist()
    order = rng.permutation(4).tolist()
    picture = Image.fromarray(array).resize((size, size), Image.Resampling.BILINEAR, box=box)
    if jittered < JITTERED:
        # Factors in [1 - s, 1 + s]; the hue's turn in [-s, s].
        strengths = (BRIGHTNESS, CONTRAST, SATURATION, HUE)
        b, c, s, h = (s * (2 * u - 1) for s, u in zip(strengths, turns, strict=True))
        picture = jitter(picture, (1 + b, 1 + c, 1 + s, h), order)
    if grey < GREY:
        picture = picture.convert("L").convert("RGB")
    if blurred < BLURRED:
        radius = (BLUR[0] + sigma * (BLUR[1] - BLUR[0])) * size / AT
        picture = picture.filter(ImageFilter.GaussianBlur(radius))
    if flipped < FLIPPED:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(picture)


def crop(width: int, height: int, rng: np.random.Generator) -> Box:
    """A box of random area and shape inside a picture: left, top, right, bottom in pixels.

    Its share of the area is uniform in `AREA`, the logarithm of width to height is uniform in
    that of `RATIO`, drawn anew until the box fits; after `TRIES` in vain, the middle.
    """
    share, shape, x, y = rng.random((4, TRIES))
    area = (AREA[0] + share * (AREA[1] - AREA[0])) * width * height
    low, high = (math.log(side) for side in RATIO)
    ratio = np.exp(low + shape * (high - low))
    w, h = np.sqrt(area * ratio), np.sqrt(area / ratio)
    fits = np.flatnonzero((w <= width) & (h <= height))
    if len(fits):
        at = fits[0]
        left, top = x[at] * (width - w[at]), y[at] * (height - h[at])
        right, bottom = min(width, left + w[at]), min(height, top + h[at])
        return float(left), float(top), float(right), float(bottom)
    wide, tall = min(width, height * RATIO[1]), min(height, width / RATIO[0])
    left, top = (width - wide) / 2, (height - tall) / 2
    return left, top, left + wide, top + tall


def jitter(
    picture: Image.Image, factors: tuple[float, float, float, float], order: Sequence[int]
) -> Image.Image:
    """Changes the colours of an RGB picture.

    Args:
        factors: of brightness (towards black), contrast (towards the mean grey), saturation
            (towards its own grey), each 1 for no change; and the turn of the hue, 1 for a circle.
        order: in which order the four are applied, a permutation of 0 to 3.
    """
    for at in order:
        if at == 3:
            picture = turn_hue(picture, factors[3])
        else:
            picture = _ENHANCE[at](picture).enhance(factors[at])
    return picture


_ENHANCE = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


def turn_hue(picture: Image.Image, turn: float) -> Image.Image:
    """An RGB picture whose hue is turned by a share of the circle, to the nearest 1/255."""
    hue, saturation, value = picture.convert("HSV").split()
    table = (np.arange(256) + round(turn * 255)) % 255
    return Image.merge("HSV", (hue.point(table.tolist()), saturation, value)).convert("RGB")
