"""A kernel head over frozen features: likeness to anchors, whitened; what follows is linear.

Few pairs and good features call for few free parameters and a bent space: each item is described
by its Gaussian likeness to anchors from the training split, centred and whitened with shrinkage
(kernel PCA), all in closed form; only the projection that follows is trained. Nothing depends on
the other items of a gallery.

Sources: Nystroem features, Williams and Seeger 2001; kernel PCA and its centring, Schoelkopf et
al. 1998 (section 3 and appendix B); root of non-negative features before the norm, Perronnin et al.
2010. `prior` keeps a vector that needs no training beside what is learned: a text's own sentence
vector, and ConSE (Norouzi et al. 2014) for a picture, both in the text tower's space.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from torch.nn import functional as F

from sensorium import draws
from sensorium.layers import mean_pool
from sensorium.model import State
from sensorium.views import Look

SUMMARY = "likeness to anchors, whitened in closed form, over frozen features"
_CHUNK = 1024  # items whose prior is made together
LEAST_VARIANCE = 1e-6  # share of all variance; float32 kernels are exact to about 1e-7


class Values(Protocol):
    """What this encoder asks of a modality: values per token."""

    channels: int


class Spec(BaseModel):
    """Form of the head."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["nystroem"] = "nystroem"
    anchors: int = Field(1500, ge=2, description="training items that others are compared with")
    components: int = Field(1500, ge=2, description="principal components that are kept")
    gamma: float = Field(2.0, gt=0, description="over the mean squared distance of anchors")
    shrinkage: float = Field(1e-3, gt=0, description="of the whitening, share of all variance")
    root: bool = Field(False, description="square root of (non-negative) features first")
    dropout: float = Field(0.0, ge=0, lt=1, description="of the components, while training")
    prior: Literal["none", "own", "conse"] = Field(
        "none", description="kept beside what is learned: the features themselves, or ConSE"
    )


class Encoder(nn.Module):
    """The mean of an item's features -> components. `width` is the number of components.

    `fit` comes before use; what it finds is kept in buffers and so in checkpoints.
    """

    fits = True
    anchors: torch.Tensor
    used: torch.Tensor
    distance: torch.Tensor
    column_mean: torch.Tensor
    whitening: torch.Tensor
    prior_mean: torch.Tensor
    classifier: torch.Tensor
    class_vectors: torch.Tensor

    def __init__(self, spec: Spec, modality: Values) -> None:
        super().__init__()
        self.spec, self.width = spec, spec.components
        m, r, c = spec.anchors, spec.components, modality.channels
        self.register_buffer("anchors", torch.zeros(m, c))
        self.register_buffer("used", torch.zeros(m))  # 1 for an anchor, 0 for an empty place
        self.register_buffer("distance", torch.ones(1))  # mean squared, between anchors
        self.register_buffer("column_mean", torch.zeros(m))
        self.register_buffer("whitening", torch.zeros(m, r))
        self.dropout = nn.Dropout(spec.dropout)
        self.prior_width = 0
        if spec.prior != "none":
            from sensorium import conse

            self.prior_width = c if spec.prior == "own" else conse.WIDTH
            self.register_buffer("prior_mean", torch.zeros(self.prior_width))
        if spec.prior == "conse":
            self.register_buffer("classifier", torch.zeros(conse.CLASSES, c + 1))
            self.register_buffer("class_vectors", torch.zeros(conse.CLASSES, conse.WIDTH))

    @torch.no_grad()
    def fit(self, features: np.ndarray, seed: int) -> None:
        """Finds everything in closed form.

        Args:
            features: float32 [items, c] of the training split, at least 2 different items.
            seed: key of the choice of anchors where there are more items than places.
        """
        chosen = np.sort(draws.order(len(features), seed, "anchors")[: self.spec.anchors])
        z = self._normed(self._here(features[chosen]))
        n = len(z)
        self.used[:n] = 1
        self.anchors[:n] = z
        squared = _squared_distance(z.double(), z.double())
        self.distance.fill_(squared.mean().clamp(min=1e-12))
        kernel = torch.exp(-self.spec.gamma * squared / squared.mean().clamp(min=1e-12))
        mean = kernel.mean(dim=0)
        centred = kernel - mean[None] - mean[:, None] + mean.mean()
        variance, directions = torch.linalg.eigh(centred / n)
        # A direction has variance v before and v / (v + shrinkage * all) after: small ones fade,
        # and those that are rounding alone are left out.
        whole = variance.clamp(min=0).sum().clamp(min=1e-12)
        real = variance > LEAST_VARIANCE * whole
        variance = torch.where(real, variance, whole)
        scale = real * (variance * (variance + self.spec.shrinkage * whole)).rsqrt() / n**0.5
        kept = min(n, self.width)
        whitening = (directions * scale)[:, -kept:].flip(1)
        components = centred @ whitening
        whitening = whitening / components.square().mean().sqrt()
        self.column_mean[:n] = mean.float()
        self.whitening[:n, :kept] = whitening.float()
        if self.spec.prior == "conse":
            from sensorium import conse

            classifier, vectors = conse.tables()
            self.classifier.copy_(classifier)
            self.class_vectors.copy_(vectors)
        if self.spec.prior != "none":
            # A part at a time: the votes for all classes are as large as the features.
            total = torch.zeros(self.prior_width, dtype=torch.float64, device=self.anchors.device)
            for start in range(0, len(features), _CHUNK):
                part = self._here(features[start : start + _CHUNK])
                total += self._raw_prior(part).double().sum(dim=0)
            self.prior_mean.copy_(total / len(features))

    def _here(self, features: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(features)).to(self.anchors.device)

    def _normed(self, x: torch.Tensor) -> torch.Tensor:
        if self.spec.root:
            x = x.clamp(min=0).sqrt()
        return F.normalize(x, dim=-1)

    def _raw_prior(self, x: torch.Tensor) -> torch.Tensor:
        if self.spec.prior == "own":
            return F.normalize(x, dim=-1)
        from sensorium import conse

        logits = x @ self.classifier[:, :-1].T + self.classifier[:, -1]
        return F.normalize(conse.mixed(logits, self.class_vectors), dim=-1)

    def embed(self, look: Look) -> State:
        """values float [b, 1, c] -> State."""
        tokens = look.tokens
        assert tokens.values is not None, "nystroem reads values"
        return State(
            tokens=tokens.values.float(),
            real=tokens.real,
            order=look.order,
            position=tokens.position,
        )

    def encode(self, state: State) -> State:
        """pooled [b, components]; prior [b, p] where asked for."""
        x = mean_pool(state.tokens, state.real)
        kernel = torch.exp(
            -self.spec.gamma * _squared_distance(self._normed(x), self.anchors) / self.distance
        )
        n = self.used.sum().clamp(min=1)
        own = (kernel @ self.used / n)[:, None]
        centred = kernel - own - self.column_mean + (self.column_mean @ self.used / n)
        pooled = self.dropout(centred @ self.whitening)
        prior = None
        if self.spec.prior != "none":
            prior = F.normalize(self._raw_prior(x) - self.prior_mean, dim=-1)
        return replace(
            state,
            tokens=pooled[:, None],
            real=state.real[:, :1],
            order=state.order[:, :1],
            position=state.position[:, :1],
            pooled=pooled,
            prior=prior,
        )


def _squared_distance(x: torch.Tensor, anchors: torch.Tensor) -> torch.Tensor:
    """[n, m] between unit vectors; rows of zeros are empty places, whose value nobody reads."""
    return (2 - 2 * x @ anchors.T).clamp(min=0)
