"""Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747): 70,000 grey product photos of 10 classes.

28 x 28 pixels. The text is the class's name, so this is a set for volume and for classification:
of a class, thousands of pictures share the one text. The official test split is kept; validation
is drawn from train.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from sensorium import splits
from sensorium.datasets._debian import Package
from sensorium.errors import DataError
from sensorium.records import Blob, Record, Records, Source, Value

SUMMARY = "70,000 grey 28 x 28 product photos of 10 classes (31 MB download)"
LICENCE = "MIT, Zalando SE. See doc/dataset-fashion-mnist in the data set's folder."
SOURCE = "Debian package dataset-fashion-mnist 0.0~git20200523.55506a9-1"
PACKAGE = Package(
    dataset="fashion_mnist",
    name="dataset-fashion-mnist",
    version="0.0~git20200523.55506a9-1",
    sha256="39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    size=30_900_652,
)
# The names and their order: https://github.com/zalandoresearch/fashion-mnist#labels
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_PARTS = (("train", "train"), ("t10k", "test"))


def get() -> Path:
    """The folder, downloaded where it is not there yet.

    Raises:
        DataError: see `Package.get`.
    """
    return PACKAGE.get()


def read() -> Records:
    """All pictures, training part first, in the files' order.

    Raises:
        DataError: not fetched yet, or a damaged file.
    """
    return splits.assign(read_folder(PACKAGE.found() / "datasets" / "fashion-mnist"))


def read_folder(folder: Path) -> Records:
    """The four idx files of a folder; the official splits only.

    Raises:
        DataError: a file is missing, damaged, or of another size than its header says.
    """
    records: list[Record] = []
    for part, split in _PARTS:
        file = folder / f"{part}-images-idx3-ubyte.gz"
        pictures = idx(file, 3)
        labels = idx(folder / f"{part}-labels-idx1-ubyte.gz", 1)
        if len(pictures) != len(labels):
            raise DataError(
                file=file, expected=f"{len(labels)} pictures, as labels", found=str(len(pictures))
            )
        if len(labels) and labels.max() >= len(CLASSES):
            raise DataError(file=file, expected="labels 0 to 9", found=str(labels.max()))
        for at, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=True), 1):
            name = f"{file.name} row {at}"
            fields: dict[str, Value] = {
                "image": Blob(name, data=png(picture)),
                "text": CLASSES[label],
            }
            records.append(Record(f"{part}-{at}", Source(file.name, at), fields, split=split))
    return Records("fashion_mnist", records, {"image": "image", "text": "text"}, licence=LICENCE)


def idx(file: Path, axes: int) -> np.ndarray:
    """A gzipped idx file of bytes, uint8 with `axes` axes (http://yann.lecun.com/exdb/mnist).

    Raises:
        DataError: missing, not gzip, not idx, or of another size than its header says.
    """
    try:
        with gzip.open(file) as stream:
            head = stream.read(4 + 4 * axes)
            if len(head) < 4 + 4 * axes or head[:4] != bytes((0, 0, 8, axes)):
                raise DataError(
                    file=file, expected=f"an idx file of bytes, {axes} axes", found=repr(head[:4])
                )
            shape = struct.unpack(f">{axes}I", head[4:])
            size = int(np.prod(shape, dtype=np.int64))
            data = stream.read(size + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(file=file, expected="a whole gzip file", found=str(error)) from None
    if len(data) != size:
        raise DataError(file=file, expected=f"{size:,} bytes", found=f"{len(data):,} or more")
    return np.frombuffer(data, np.uint8).reshape(shape)


def png(picture: np.ndarray) -> bytes:
    """A grey picture, uint8 [height, width], as PNG without compression: 3 microseconds, lossless.

    Source: PNG specification, third edition, sections 5 and 11.2.
    """
    height, width = picture.shape
    rows = np.zeros((height, width + 1), np.uint8)  # a row begins with its filter: 0, none
    rows[:, 1:] = picture
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (
            (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
            (b"IDAT", zlib.compress(rows.tobytes(), 0)),
            (b"IEND", b""),
        )
    )
