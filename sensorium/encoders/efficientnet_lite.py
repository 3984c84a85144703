"""EfficientNet-Lite0: pictures -> 49 states of 1,280 values, their mean, and 1,000 class scores.

EfficientNet-B0 (Tan and Le 2019, arXiv 1905.11946, table 1) without squeeze-and-excitation, with
ReLU6 for swish, stem and head of fixed width. Three details decide whether published weights give
published scores: the norm's epsilon is 1e-3; padding is TensorFlow's SAME, one more at the right
and bottom where a stride of two needs an odd amount; pixels enter as (x - 127) / 128.

Source: tensorflow/tpu `models/official/efficientnet/lite/efficientnet_lite_builder.py`. Checked
against the PyPI package efficientnet-lite-pytorch with equal weights.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from typing import Literal, Protocol

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn
from torch.nn import functional as F

from sensorium.errors import RecipeError
from sensorium.model import State
from sensorium.views import Look

SUMMARY = "EfficientNet-Lite0, a frozen picture tower with ImageNet classes"
WIDTH, CLASSES = 1280, 1000
EPS = 1e-3  # of the norms
STRIDE = 32  # a state stands for 32 x 32 pixels
# kernel, stride, expansion, channels out, repeats (arXiv 1905.11946, table 1)
STAGES = (
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
)


class PictureSpec(Protocol):
    """Side of the picture and of a patch, pixels."""

    size: int
    patch: int


class Picture(Protocol):
    """What this encoder asks of a modality."""

    spec: PictureSpec


class Spec(BaseModel):
    """Nothing to choose: the tower is as it was trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["efficientnet_lite"] = "efficientnet_lite"


class Convolution(nn.Module):
    """Convolution with SAME padding, batch norm, and ReLU6 where `active`.

    The norm always uses its stored statistics: a tower never learns them from a batch.
    """

    mean: torch.Tensor
    variance: torch.Tensor

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        active: bool = True,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.groups, self.active = kernel, stride, groups, active
        self.filters = nn.Parameter(torch.empty(out, channels // groups, kernel, kernel))
        self.scale, self.shift = nn.Parameter(torch.ones(out)), nn.Parameter(torch.zeros(out))
        self.register_buffer("mean", torch.zeros(out))
        self.register_buffer("variance", torch.ones(out))
        # The source's fan-out; a filter of its own channel feeds one channel, not all.
        nn.init.normal_(self.filters, std=(2 * groups / (out * kernel**2)) ** 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, channels, h, w] -> [n, out, ceil(h / stride), ceil(w / stride)]."""
        missing = [self._missing(side) for side in x.shape[2:]]
        if any(amount % 2 for amount in missing):  # one more at the bottom and the right
            sides = [(amount // 2, amount - amount // 2) for amount in reversed(missing)]
            x, padding = F.pad(x, (*sides[0], *sides[1])), [0, 0]
        else:
            padding = [amount // 2 for amount in missing]
        # The norm's statistics are fixed, so it is folded into the filters: one pass less.
        scale = self.scale * torch.rsqrt(self.variance + EPS)
        filters, shift = self.filters * scale[:, None, None, None], self.shift - self.mean * scale
        x = F.conv2d(x, filters, shift, self.stride, padding, groups=self.groups)
        return F.relu6(x, inplace=True) if self.active else x

    def _missing(self, side: int) -> int:
        """Pixels of padding along a side, so that ceil(side / stride) windows fit."""
        return max((-(-side // self.stride) - 1) * self.stride + self.kernel - side, 0)


class Bottleneck(nn.Module):
    """Inverted residual (MobileNetV2, arXiv 1801.04381): widen, filter each channel, narrow."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expand = Convolution(channels, inner) if expansion > 1 else nn.Identity()
        self.depthwise = Convolution(inner, inner, kernel, stride, groups=inner)
        self.project = Convolution(inner, out, active=False)
        self.residual = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[n, channels, h, w] -> [n, out, ceil(h / stride), ceil(w / stride)]."""
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class Encoder(nn.Module):
    """The tower over pictures whose side is a multiple of 32 (trained at 224).

    Raises:
        RecipeError: the pictures have another side.
    """

    width = WIDTH

    def __init__(self, spec: Spec, modality: Picture) -> None:
        super().__init__()
        self.side, self.patch = modality.spec.size, modality.spec.patch
        if self.side % STRIDE:
            raise RecipeError(
                "encoder efficientnet_lite",
                expected=f"pictures whose size is a multiple of {STRIDE}",
                found=f"size {self.side}",
            )
        self.stem = Convolution(3, 32, kernel=3, stride=2)
        blocks, channels = [], 32
        for kernel, stride, expansion, out, repeats in STAGES:
            for at in range(repeats):
                blocks.append(
                    Bottleneck(channels, out, kernel, stride if at == 0 else 1, expansion)
                )
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = Convolution(channels, WIDTH)
        self.classifier = nn.Linear(WIDTH, CLASSES)
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def embed(self, look: Look) -> State:
        """Patches [n, p, c] of a look -> State whose tokens are normalised pixels [n, p, c].

        A patch that is not real becomes the mean pixel, whatever it held.

        Raises:
            TypeError: the look has ids, or not all patches of the picture.
        """
        tokens, patches = look.tokens, (self.side // self.patch) ** 2
        if tokens.values is None or tokens.values.shape[1] != patches:
            raise TypeError(
                f"efficientnet_lite: expected the values of {patches} patches, found "
                f"{tokens.modality} {'ids' if tokens.values is None else tokens.values.shape[1]}"
            )
        pixels = (tokens.values.to(self.stem.filters.dtype) - 127) / 128
        return State(
            tokens=pixels.masked_fill(~tokens.real[..., None], 0.0),
            real=tokens.real,
            order=look.order,
            position=tokens.position,
        )

    def encode(self, state: State) -> State:
        """State with tokens [n, (side / 32)^2, 1280], all real, and their mean [n, 1280]."""
        n, grid, patch = len(state.tokens), self.side // self.patch, self.patch
        pixels = state.tokens.view(n, grid, grid, patch, patch, 3)
        # Colours last is how patches are stored and how the convolutions want them: one copy.
        pixels = pixels.transpose(2, 3).reshape(n, self.side, self.side, 3).permute(0, 3, 1, 2)
        x = self.head(self.blocks(self.stem(pixels)))
        tokens = x.flatten(2).transpose(1, 2)
        side, device = x.shape[2], x.device
        places = torch.arange(side, device=device)
        return replace(
            state,
            tokens=tokens,
            real=torch.ones(tokens.shape[:2], dtype=torch.bool, device=device),
            order=torch.zeros(tokens.shape[:2], dtype=torch.int64, device=device),
            position=torch.cartesian_prod(places, places)[None],
            pooled=tokens.mean(1),
        )

    def classes(self, pooled: torch.Tensor) -> torch.Tensor:
        """Logits [n, 1000] of ImageNet-1k's classes, in the order of `class_names`."""
        return self.classifier(pooled)


def class_names() -> tuple[str, ...]:
    """Names of the 1,000 classes; several words for one class are separated by commas."""
    text = (resources.files("sensorium.encoders") / "imagenet_classes.txt").read_text("utf-8")
    return tuple(text.splitlines())


def convert(original: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of `Encoder` from that of efficientnet-lite-pytorch."""
    outer = {"_conv_stem": "stem", "_bn0": "stem", "_conv_head": "head", "_bn1": "head"}
    inner = {"_expand_conv": "expand", "_bn0": "expand", "_depthwise_conv": "depthwise",
             "_bn1": "depthwise", "_project_conv": "project", "_bn2": "project"}  # fmt: skip
    norm = {"weight": "scale", "bias": "shift", "running_mean": "mean", "running_var": "variance"}
    weights = {}
    for name, value in original.items():
        *place, part, what = name.split(".")
        if part == "_fc":
            weights[f"classifier.{what}"] = value
        elif what != "num_batches_tracked":
            block = f"blocks.{place[1]}.{inner[part]}" if place else outer[part]
            weights[f"{block}.{norm[what] if '_bn' in part else 'filters'}"] = value
    return weights
