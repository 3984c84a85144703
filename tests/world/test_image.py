"""The picture's bytes: Pillow reads back exactly what was drawn."""

import io

import numpy as np
import pytest
from PIL import Image

from sensorium.world import _drawing, _setting, image

from .scenes import two


@pytest.mark.parametrize("canvas", [32, 33, 100, 224])
def test_the_png_holds_the_pixels_that_were_drawn(canvas):
    scene = two(canvas=canvas, stripes="lattice")
    data = image.emit(scene, _setting.load("binding"), ("a",))["image"]
    opened = Image.open(io.BytesIO(data))
    assert (opened.format, opened.mode, opened.size) == ("PNG", "RGB", (canvas, canvas))
    assert (np.asarray(opened) == _drawing.draw(scene)).all()
    opened = Image.open(io.BytesIO(data))
    opened.verify()  # checks every chunk's CRC


def test_any_height_and_width():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 7, 3), np.uint8)
    assert (np.asarray(Image.open(io.BytesIO(image.png(pixels)))) == pixels).all()
