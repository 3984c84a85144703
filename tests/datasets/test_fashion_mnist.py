import gzip
import io
import struct
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from sensorium import reading, splits
from sensorium.datasets import fashion_mnist
from sensorium.errors import DataError

NAMES = [
    f"{part}-{what}-ubyte.gz"
    for part in ("train", "t10k")
    for what in ("images-idx3", "labels-idx1")
]


def idx(array) -> bytes:
    """The idx format: two zeros, 8 for bytes, the number of axes, their lengths, the bytes."""
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return gzip.compress(head + array.tobytes())


@pytest.fixture
def mini(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 40), ("t10k", 20)):
        arrays[part] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(arrays[part]))
        labels = np.arange(count, dtype=np.uint8) % 10
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    return tmp_path, arrays


def test_a_miniature_of_the_package(mini):
    folder, arrays = mini
    found = splits.assign(fashion_mnist.read_folder(folder))
    assert Counter(r.split for r in found) == {"train": 36, "validation": 4, "test": 20}
    assert [r.key for r in found if r.split == "test"] == [f"t10k-{n}" for n in range(1, 21)]
    assert [r.fields["text"] for r in found][:10] == list(fashion_mnist.CLASSES)
    pixels = [np.asarray(Image.open(io.BytesIO(r.fields["image"].read()))) for r in found]
    np.testing.assert_array_equal(pixels, np.concatenate([arrays["train"], arrays["t10k"]]))


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (3, 300)])
def test_png_is_lossless(shape):
    picture = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    image = Image.open(io.BytesIO(fashion_mnist.png(picture)))
    image.verify()  # checks every chunk's checksum
    image = Image.open(io.BytesIO(fashion_mnist.png(picture)))
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), picture)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("damage", ["missing", "not gzip", "cut", "not idx", "short", "long"])
def test_a_damaged_file_is_named(mini, name, damage):
    folder, _ = mini
    file = folder / name
    data = gzip.decompress(file.read_bytes())
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(
            {
                "not gzip": data,
                "cut": file.read_bytes()[:-20],
                "not idx": gzip.compress(b"\x93NUMPY" + data),
                "short": gzip.compress(data[:-1]),
                "long": gzip.compress(data + b"x"),
            }[damage]
        )
    with pytest.raises(DataError, match=name):
        fashion_mnist.read_folder(folder)


def test_not_fetched_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path))
    with pytest.raises(DataError) as error:
        reading.read("fashion_mnist")
    assert error.value.see == "sensorium data get fashion_mnist"


def test_the_package_itself():
    if not fashion_mnist.PACKAGE.folder.is_dir():
        pytest.skip("fashion_mnist is not fetched: sensorium data get fashion_mnist")
    found = reading.read("fashion_mnist")
    # counts from the data set's own README: 60,000 and 10,000, 6,000 and 1,000 of each class
    counts = Counter(r.split for r in found)
    assert counts["test"] == 10_000
    assert counts["train"] + counts["validation"] == 60_000
    assert set(Counter(r.fields["text"] for r in found).values()) == {7_000}
