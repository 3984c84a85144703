"""Picture files: bytes -> an upright RGB picture. Loads no torch: the doctor decodes too.

Decoding is defensive: formats come from a short list, the header is read first and a picture that
claims more than `MAX_PIXELS` is refused before any pixel is decoded, JPEGs are decoded near the
size that is wanted (`Image.draft`), and transparency is laid on white.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sensorium.errors import DataError
from sensorium.layouts._header import FORMATS, HEAD, MAX_PIXELS, SUFFIXES, what

__all__ = ["FORMATS", "MAX_PIXELS", "SUFFIXES", "decode", "opened", "upright"]


def opened(data: bytes, name: str) -> Image.Image:
    """A picture whose header was read and whose pixels were not.

    Raises:
        DataError: no bytes, not a picture of a known format, or more than `MAX_PIXELS`.
    """
    if not data:
        raise DataError(file=name, expected="a picture", found="0 bytes")
    try:
        picture = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError:
        raise DataError(
            file=name,
            expected=f"at most {MAX_PIXELS:,} pixels",
            found="a header that claims far more",
        ) from None
    except (UnidentifiedImageError, OSError, ValueError):
        raise DataError(
            file=name, expected=f"a picture ({', '.join(FORMATS)})", found=what(data[:HEAD])
        ) from None
    if picture.width * picture.height > MAX_PIXELS:
        raise DataError(
            file=name,
            expected=f"at most {MAX_PIXELS:,} pixels",
            found=f"{picture.width:,} x {picture.height:,}",
        )
    return picture


def upright(picture: Image.Image, name: str, near: int | None = None) -> Image.Image:
    """Decodes an opened picture: upright, RGB, transparency on white.

    Args:
        picture: as `opened` gives it.
        name: what errors call it.
        near: the shorter side that will be needed, in pixels: JPEGs are then decoded at the
            smallest of the codec's scales that is not smaller.

    Raises:
        DataError: the picture is truncated or damaged.
    """
    try:
        if near is not None and picture.format == "JPEG":
            picture.draft("RGB", (near, near))
        picture = ImageOps.exif_transpose(picture)
        if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
            above = picture.convert("RGBA")
            picture = Image.new("RGBA", above.size, (255, 255, 255, 255))
            picture.alpha_composite(above)
        elif picture.mode.startswith("I;16"):
            picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, EOFError, IndexError) as error:
        raise DataError(file=name, expected="a whole picture", found=str(error)) from None


def decode(data: bytes, name: str, near: int | None = None) -> Image.Image:
    """`opened`, then `upright`.

    Raises:
        DataError: as both.
    """
    return upright(opened(data, name), name, near)
