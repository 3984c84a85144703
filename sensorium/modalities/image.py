"""Still pictures: bytes -> uint8 array [height, width, 3] -> patch tokens [1, patches, values].

Bytes are decoded by `pictures.py`, near the size that is wanted; pixels stay uint8 until an encoder
normalises them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sensorium.augmentation import simclr
from sensorium.errors import DataError, clip
from sensorium.pictures import SUFFIXES, decode
from sensorium.records import Blob, Record
from sensorium.tokens import Tokens

SUMMARY = "still pictures as square patches"
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class Spec(BaseModel):
    """How a picture becomes patches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["image"] = "image"
    size: int = Field(64, ge=8, le=1024, description="side of the square input, pixels")
    patch: int = Field(8, ge=1, description="side of a patch, pixels")
    crop: float = Field(1.0, gt=0, le=1, description="share of the shorter side that is kept")
    resample: Literal["bilinear", "bicubic"] = "bicubic"

    @model_validator(mode="after")
    def _whole_patches(self):
        if self.size % self.patch:
            raise ValueError(f"size {self.size} is not a multiple of patch {self.patch}")
        return self


class Modality:
    """Reads pictures and cuts them into patches."""

    name = "image"
    target = False
    suffixes = SUFFIXES

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.tokens_per_item = (spec.size // spec.patch) ** 2
        self.channels = 3 * spec.patch**2
        self._position = torch.from_numpy(
            np.indices((spec.size // spec.patch,) * 2).reshape(2, -1).T.astype(np.int64).copy()
        )[None]

    def fit(self, records: list[Record], field: str) -> None:
        """Pictures need nothing learned from data."""

    def state(self) -> dict[str, bytes]:
        """Files that a run must keep to read the same way again: none."""
        return {}

    def load(self, folder: Path) -> None:
        """Reads back what `state` gave: nothing."""

    def read(self, value: object, name: str) -> np.ndarray:
        """One field's picture, uint8 [size, size, 3]: centre crop of the resized picture.

        Raises:
            DataError: the value is no picture, or damaged.
        """
        if isinstance(value, str | Path):
            value = Blob(str(value), Path(value))
        if not isinstance(value, Blob):
            raise DataError(name, expected="a picture", found=clip(value))
        spec = self.spec
        near = round(spec.size / spec.crop)
        picture = decode(value.read(), value.name, near)
        scale = near / min(picture.size)
        width, height = (max(spec.size, round(side * scale)) for side in picture.size)
        left, top = (width - spec.size) / 2, (height - spec.size) / 2
        box = tuple(v / scale for v in (left, top, left + spec.size, top + spec.size))
        box = (max(0.0, box[0]), max(0.0, box[1]), min(picture.width, box[2]),
               min(picture.height, box[3]))  # fmt: skip
        # One resampling from the crop's box: nothing outside the crop is ever scaled.
        resized = picture.resize(
            (spec.size, spec.size), _RESAMPLING[spec.resample], box=box, reducing_gap=3.0
        )
        return np.asarray(resized)

    def augment(self, array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A random view of one picture, uint8 [size, size, 3], as SimCLR and SLIP draw them.

        Args:
            array: uint8 [height, width, 3], e.g. as `read` gives it.
            rng: all that decides.
        """
        return simclr(array, self.spec.size, rng)

    def tokens(self, array: np.ndarray, rng: np.random.Generator | None) -> Tokens:
        """Patches of one picture, row by row: values uint8 [1, patches, patch * patch * 3].

        Args:
            array: uint8 [size, size, 3].
            rng: unused; `augment` comes before, where a view asks for it.
        """
        values = torch.from_numpy(patchify(array, self.spec.patch))[None]
        return Tokens(
            modality="image",
            values=values,
            real=torch.ones(values.shape[:2], dtype=torch.bool),
            position=self._position,
        )


def patchify(array: np.ndarray, patch: int) -> np.ndarray:
    """[height, width, c] -> [patches, patch * patch * c]; a patch is read row by row."""
    height, width, c = array.shape
    blocks = array.reshape(height // patch, patch, width // patch, patch, c)
    return blocks.transpose(0, 2, 1, 3, 4).reshape(-1, patch * patch * c)
