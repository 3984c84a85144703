"""How a scene looks: sprites tinted by colour, faint patterns, and pasting.

A drawing keeps its lights and darks and takes hue and chroma of its colour, in OKLab (Ottosson
2020), so that "a red cat" is visibly a cat and visibly red. What a sprite covers depends on kind
and size alone, never on its colour.
"""

from __future__ import annotations

import functools
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from sensorium.errors import DataError
from sensorium.world._kinds import DRAWINGS
from sensorium.world._scene import Scene, Thing

FILE = Path(__file__).parents[1] / "datasets" / "emoji64_noto.zip"
FINE = 128  # pixels: shapes are cut at this size, then made smaller
VISIBLE = 48  # of 255: fainter rims are cut off, so that boxes are tight around what is seen
SHARE = {"small": 0.66, "large": 0.94}  # longer side, of half the canvas

# OKLab lightness, chroma and hue (degrees) of each colour; `hidden` is a colour taken away.
TINTS = {
    "red": (0.57, 0.22, 27),
    "green": (0.60, 0.18, 143),
    "blue": (0.50, 0.20, 262),
    "yellow": (0.89, 0.18, 102),
    "purple": (0.47, 0.21, 308),
    "orange": (0.74, 0.18, 58),
    "white": (0.97, 0.0, 0),
    "brown": (0.40, 0.08, 52),
    "hidden": (0.55, 0.0, 0),
}
# The grounds: of middle lightness, so that white and brown both stand out, and of little chroma.
GROUND_TINTS = {
    "grey": (0.72, 0.0, 0),
    "sand": (0.76, 0.05, 85),
    "sky": (0.76, 0.05, 235),
    "mint": (0.78, 0.05, 165),
    "rose": (0.74, 0.05, 10),
    "lilac": (0.72, 0.05, 300),
    "slate": (0.64, 0.03, 250),
    "cream": (0.82, 0.03, 95),
    "hidden": (0.22, 0.0, 0),
}
FAINT = 0.045  # OKLab lightness by which a pattern differs from its ground


def side(size: str, canvas: int) -> int:
    """Pixels of the longer side of a thing of this size."""
    return round(SHARE[size] * (canvas // 2))


def extent(kind: str, size: str, canvas: int) -> tuple[int, int]:
    """(width, height) in pixels of what is drawn, whatever the colour."""
    height, width = _alpha(kind, side(size, canvas)).shape
    return width, height


def draw(scene: Scene) -> np.ndarray:
    """The picture, uint8 [canvas, canvas, 3] in sRGB.

    Raises:
        ValueError: a box is not as large as its thing.
    """
    pixels = _ground(scene.ground, scene.stripes, scene.canvas).copy()
    for thing in scene.things:
        _paste(pixels, thing, side(thing.size, scene.canvas))
    return pixels


def _paste(pixels: np.ndarray, thing: Thing, longest: int) -> None:
    x0, y0, x1, y1 = thing.box
    place = pixels[y0:y1, x0:x1]
    drawn = sprite(thing.kind, thing.colour, longest)
    if drawn.shape[:2] != place.shape[:2]:
        raise ValueError(f"{thing}: its drawing is {drawn.shape[1]} x {drawn.shape[0]} pixels")
    alpha = drawn[:, :, 3:].astype(np.uint16)
    # alpha * sprite + (255 - alpha) * ground, of 255, rounded; at most 255 * 255 + 127.
    place[:] = (drawn[:, :, :3] * alpha + place * (255 - alpha) + 127) // 255


@functools.lru_cache(maxsize=2048)  # 72 kinds, 8 colours, 2 sizes: 50 MB at 224 pixels
def sprite(kind: str, colour: str, longest: int) -> np.ndarray:
    """A drawing in its colour, sRGB and alpha, uint8 [h, w, 4]."""
    alpha, relative = _cut(kind, longest)
    light, chroma, hue = TINTS[colour]
    # A light colour has no room above it: there the drawing's lights, not its middle, are as light
    # as the colour, or a white lion would have no face.
    lights = float(np.percentile(relative[alpha > 127], 85))
    shifted = relative - lights * float(np.clip((light - 0.8) / 0.15, 0, 1))
    return np.dstack([_tinted(shifted, light, chroma, hue), alpha])


@functools.lru_cache(maxsize=1024)
def _alpha(kind: str, longest: int) -> np.ndarray:
    """How far each pixel is covered, uint8 [h, w]; no border row or column is empty."""
    return _cut(kind, longest)[0]


@functools.lru_cache(maxsize=1024)
def _cut(kind: str, longest: int) -> tuple[np.ndarray, np.ndarray]:
    """(alpha uint8 [h, w], OKLab lightness relative to the drawing's own middle, [h, w])."""
    drawing = _drawing(kind)
    scale = longest / max(drawing.size)
    width, height = (max(1, round(length * scale)) for length in drawing.size)
    small = np.asarray(drawing.resize((width, height), Image.Resampling.LANCZOS))
    alpha = small[:, :, 3].copy()
    alpha[alpha < VISIBLE] = 0
    rows, columns = np.flatnonzero(alpha.any(1)), np.flatnonzero(alpha.any(0))
    inside = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    light = _lightness(small[:, :, :3])
    middle = float(np.median(light[alpha > 127]))
    relative = light - middle if kind in DRAWINGS else np.zeros_like(light)  # a shape is flat
    return alpha[inside], relative[inside]


@functools.lru_cache(maxsize=256)
def _drawing(kind: str) -> Image.Image:
    """The kind as RGBA, cut tight."""
    if kind in DRAWINGS:
        try:
            with zipfile.ZipFile(FILE) as archive:
                data = archive.read(f"img/{DRAWINGS[kind]}.webp")
        except (OSError, zipfile.BadZipFile, KeyError) as error:
            raise DataError(
                file=FILE, expected="the archive that comes with sensorium", found=str(error),
                see="pip install --force-reinstall sensorium",
            ) from None  # fmt: skip
        picture = Image.open(io.BytesIO(data)).convert("RGBA")
    else:
        picture = Image.fromarray(_shape(kind))
    return picture.crop(picture.getchannel("A").getbbox())


def _shape(kind: str) -> np.ndarray:
    """A plain shape, uint8 [FINE, FINE, 4], cut from its formula with 4 x 4 points a pixel."""
    axis = (np.arange(FINE * 4) + 0.5) / (FINE * 2) - 1
    x, y = axis[None, :], axis[:, None]
    radius, angle = np.hypot(x, y), np.arctan2(x, -y)
    if kind == "circle":
        inside = radius < 1
    elif kind == "ring":
        inside = (radius < 1) & (radius > 0.55)
    elif kind == "square":
        inside = np.maximum(abs(x), abs(y)) < 0.86
    elif kind == "diamond":
        inside = abs(x) * 1.25 + abs(y) < 1
    elif kind == "triangle":
        inside = (y < 0.8) & (abs(x) * 1.75 < y + 0.95)
    elif kind == "cross":
        inside = (np.minimum(abs(x), abs(y)) < 0.32) & (np.maximum(abs(x), abs(y)) < 1)
    elif kind == "star":  # five points: straight edges between radius 1 and 0.45
        turn = np.abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
        tip, notch = np.array([0.0, 1.0]), 0.45 * np.array([np.sin(np.pi / 5), np.cos(np.pi / 5)])
        along = notch - tip
        px, py = radius * np.sin(turn) - tip[0], radius * np.cos(turn) - tip[1]
        inside = along[0] * py - along[1] * px < 0
    elif kind == "heart":
        u, v = x * 1.2, 0.15 - y * 1.2
        inside = (u**2 + v**2 - 1) ** 3 - u**2 * v**3 < 0
    else:
        raise ValueError(f"no kind called {kind!r}")
    shares = np.broadcast_to(inside, (FINE * 4, FINE * 4)).reshape(FINE, 4, FINE, 4).mean((1, 3))
    pixels = np.full((FINE, FINE, 4), 128, np.uint8)
    pixels[:, :, 3] = np.round(shares * 255)
    return pixels


def _tinted(relative: np.ndarray, light: float, chroma: float, hue: float) -> np.ndarray:
    """Lights and darks [h, w] around a colour's own lightness, uint8 [h, w, 3]."""
    lightness = light + relative
    # What would be lighter than white is drawn closer to it, so that light details stay.
    ceiling = light + (1 - light) * np.tanh(relative / max(1 - light, 1e-3))
    lightness = np.where(relative > 0, ceiling, np.maximum(lightness, 0.12))
    # Near black and near white there is little room for chroma.
    room = np.clip(np.where(relative > 0, (1 - lightness) / (1 - light), lightness / light), 0, 1)
    return _srgb(lightness, chroma * np.sqrt(room), hue)


@functools.lru_cache(maxsize=128)
def _ground(ground: str, stripes: str, canvas: int) -> np.ndarray:
    """The empty canvas, uint8 [canvas, canvas, 3]."""
    light, chroma, hue = GROUND_TINTS[ground]
    pattern = _pattern(stripes, canvas)
    return _srgb(light + FAINT * pattern, np.full_like(pattern, chroma), hue)


def _pattern(stripes: str, canvas: int) -> np.ndarray:
    """The faint pattern, float [canvas, canvas] within -1 and 1, of mean near 0."""
    turn = 2 * np.pi * 8 * (np.arange(canvas) + 0.5) / canvas  # eight periods; dots four
    x, y = np.broadcast_to(turn[None, :], (canvas, canvas)), turn[:, None]
    if stripes == "none":
        return np.zeros((canvas, canvas))
    if stripes == "across":
        return np.sin(y) + 0 * x
    if stripes == "down":
        return np.sin(x) + 0 * y
    if stripes == "rising":
        return np.sin(x + y)
    if stripes == "falling":
        return np.sin(x - y)
    if stripes == "grid":
        return np.maximum(np.sin(x), np.sin(y)) - 0.4
    if stripes == "lattice":
        return np.maximum(np.sin(x + y), np.sin(x - y)) - 0.4
    if stripes == "dots":
        return np.maximum(np.sin(x / 2), 0) * np.maximum(np.sin(y / 2), 0) * 2 - 0.4
    raise ValueError(f"no stripes called {stripes!r}")


def _lightness(rgb: np.ndarray) -> np.ndarray:
    """OKLab lightness, float [h, w] in 0 to 1, of uint8 sRGB [h, w, 3]."""
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    cones = np.cbrt(linear @ _CONES.T)
    return cones @ np.array([0.2104542553, 0.7936177850, -0.0040720468])


_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)


def _srgb(light: np.ndarray, chroma: np.ndarray, hue: float) -> np.ndarray:
    """uint8 sRGB [h, w, 3] of OKLab lightness and chroma [h, w] at one hue in degrees."""
    a, b = chroma * np.cos(np.radians(hue)), chroma * np.sin(np.radians(hue))
    cones = np.stack(
        [
            light + 0.3963377774 * a + 0.2158037573 * b,
            light - 0.1055613458 * a - 0.0638541728 * b,
            light - 0.0894841775 * a - 1.2914855480 * b,
        ],
        axis=-1,
    )
    linear = np.clip(cones**3 @ np.linalg.inv(_CONES).T, 0, 1)
    value = np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(np.clip(value, 0, 1) * 255).astype(np.uint8)
