"""Pictures: what is refused before it is decoded, what is decoded, patches and their inverse."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from sensorium import draws
from sensorium.augmentation import simclr
from sensorium.errors import DataError
from sensorium.modalities import image
from sensorium.pictures import decode, opened
from sensorium.records import Blob


def scene(width: int = 60, height: int = 40) -> np.ndarray:
    """uint8 [height, width, 3]: red grows to the right, green downwards, blue is constant."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    pixels[..., 2] = 90
    return pixels


def encoded(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(data, kind, **options)
    return data.getvalue()


def modality(**spec) -> image.Modality:
    return image.Modality(image.Spec(**spec))


def blob(data: bytes, name: str = "a.png") -> Blob:
    return Blob(name, data=data)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and that has no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


# what is refused


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a picture, found 0 bytes"),
        (b"no picture at all", "expected a picture .*found text 'no picture at all'"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "expected a picture"),
        (bomb(2**30, 2**30), "expected at most 175,000,000 pixels, found a header"),
    ],
)
def test_refused_by_its_header(data, message):
    for ask in (
        lambda: opened(data, "a.png"),
        lambda: decode(data, "a.png"),
        lambda: modality().read(blob(data), "photo"),
    ):
        with pytest.raises(DataError, match=message) as error:
            ask()
        assert error.value.file == "a.png"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_every_format_is_read_and_a_cut_one_is_refused(kind):
    data = encoded(scene(), kind)
    read = opened(data, "a")
    assert (read.format, read.size) == (kind, (60, 40))
    assert decode(data, "a").size == (60, 40)
    with pytest.raises(DataError, match="expected a"):
        decode(data[: len(data) // 3], "a")


@pytest.mark.parametrize("value", [None, 3, b"bytes", ["a.png"], np.zeros((4, 4, 3))])
def test_what_is_no_picture(value):
    with pytest.raises(DataError, match="photo\nexpected a picture"):
        modality().read(value, "photo")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"gone\.png\nexpected a readable file"):
        modality().read(tmp_path / "gone.png", "photo")


def test_size_must_be_whole_patches():
    with pytest.raises(ValidationError, match="size 60 is not a multiple of patch 8"):
        image.Spec(size=60, patch=8)


# what is decoded


def test_transparency_is_white():
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4, :, 3] = 255
    for data in (
        encoded(pixels),
        encoded(Image.fromarray(pixels).convert("LA")),
        encoded(Image.fromarray(pixels), "WEBP", lossless=True),
    ):
        got = np.asarray(decode(data, "a"))
        assert (got[:4] == 0).all()
        assert (got[4:] == 255).all()


def test_a_palette_with_a_transparent_colour_is_white():
    picture = Image.new("P", (8, 8), 1)
    picture.putpalette([0, 0, 0, 200, 10, 10])
    picture.paste(0, (0, 0, 8, 4))
    got = np.asarray(decode(encoded(picture, "PNG", transparency=0), "a"))
    assert (got[:4] == 255).all()
    assert (got[4:] == [200, 10, 10]).all()


def test_sixteen_bits_grey_and_cmyk():
    deep = np.full((8, 8), 0x80FF, np.uint16)
    assert np.asarray(decode(encoded(Image.fromarray(deep)), "a")).tolist()[0][0] == [128] * 3
    grey = Image.new("L", (8, 8), 77)
    assert decode(encoded(grey), "a").getpixel((0, 0)) == (77, 77, 77)
    ink = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    red, green, blue = decode(encoded(ink, "JPEG", quality=95), "a").getpixel((4, 4))
    assert red > 200 > 100 > max(green, blue)


def test_pictures_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate by 90 degrees clockwise
    data = encoded(scene(), "JPEG", exif=exif, quality=95)
    upright = np.asarray(decode(data, "a")).astype(int)
    assert upright.shape == (60, 40, 3)
    want = np.rot90(scene(), -1).astype(int)
    assert np.abs(upright - want).mean() < 4


@pytest.mark.parametrize("side", [16, 24, 64, 80])
def test_reading_keeps_the_centre_square(side):
    """Red tells the column and green the row of the source: the crop is the middle."""
    got = modality(size=side, patch=8).read(blob(encoded(scene(120, 80))), "photo").astype(int)
    assert got.shape == (side, side, 3)
    middle = got[side // 2, side // 2]
    assert abs(middle[0] - 128) < 8
    assert abs(middle[1] - 128) < 8
    # 80 of 120 columns are kept: 20/119 to 99/119 of the range; all rows.
    left, right = got[:, 0, 0].mean(), got[:, -1, 0].mean()
    assert abs(left - 255 * 20 / 119) < 8
    assert abs(right - 255 * 99 / 119) < 8
    assert got[0, :, 1].mean() < 12
    assert got[-1, :, 1].mean() > 243


def test_crop_keeps_a_share_of_the_shorter_side():
    got = modality(size=64, patch=8, crop=0.5).read(blob(encoded(scene(80, 80))), "a").astype(int)
    assert abs(got[0, 32, 1] - 64) < 8
    assert abs(got[-1, 32, 1] - 191) < 8


def test_a_large_jpeg_decoded_small_is_close_to_the_whole():
    draws = np.random.default_rng(0)
    smooth = Image.fromarray(draws.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    data = encoded(smooth.resize((1600, 1200), Image.Resampling.BICUBIC), "JPEG", quality=95)
    small = modality(size=64, patch=8).read(blob(data, "a.jpg"), "photo").astype(int)
    whole = Image.open(io.BytesIO(data)).crop((200, 0, 1400, 1200))
    want = np.asarray(whole.resize((64, 64), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(small - want).mean() < 4
    # A shift by one pixel would be seen.
    assert np.abs(small[:, 1:] - want[:, :-1]).mean() > 8


def test_extreme_shapes_are_read():
    for width, height in ((1, 1), (500, 2), (2, 500)):
        got = modality(size=16, patch=8).read(blob(encoded(scene(width, height))), "photo")
        assert got.shape == (16, 16, 3)


# patches


def test_a_patch_is_its_square_row_by_row():
    array = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    tokens = modality(size=16, patch=4).tokens(array, None)
    assert tokens.values.dtype == torch.uint8
    for at, (row, column) in enumerate(tokens.position[0].tolist()):
        square = array[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        assert tokens.values[0, at].tolist() == square.ravel().tolist()
    assert tokens.position[0, :5].tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0]]


# random views


def test_a_random_view_is_simclrs_at_the_size_of_the_input():
    array = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    view = modality(size=16, patch=4).augment(array, draws.generator("a"))
    assert view.tobytes() == simclr(array, 16, draws.generator("a")).tobytes()
    assert modality(size=16, patch=4).tokens(view, None).values.shape == (1, 16, 48)
