"""The parts that every transformer here is made of: attention, MLP, block, stack, packing, pooling.

One rule of attention (`views.visible`) holds everywhere: a token sees another that is real and
whose order is not greater than its own. A `table` is that rule as bool [n, 1, t, t], row sees
column; it is built once per encode and passed down. Letters: n = rows, t = tokens, d = width.

Sources: Vaswani et al. 2017 (arXiv 1706.03762) section 3; pre-norm as in ViT (arXiv 2010.11929)
equations 2 to 4; post-norm as in BERT (arXiv 1810.04805); packing as in Krell et al. 2021
(arXiv 2107.02027) section 3.2, first-fit, with the block-diagonal rule of their section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from sensorium.views import visible

Activation = Literal["gelu", "quick_gelu", "gelu_tanh"]
Norm = Literal["pre", "post"]

# Packing costs a gather, a scatter and a table. It is done when it leaves at most this share of
# the padded batch's slots; above it the arithmetic saved no longer pays for the moves.
WORTH_PACKING = 0.9


def activate(x: torch.Tensor, activation: Activation) -> torch.Tensor:
    """GELU (exact), its sigmoid approximation (CLIP) or its tanh approximation; shape kept."""
    if activation == "quick_gelu":
        return x * torch.sigmoid(1.702 * x)
    return F.gelu(x, approximate="tanh" if activation == "gelu_tanh" else "none")


class Attention(nn.Module):
    """Multi-head self-attention, scaled by the square root of a head's width.

    Args:
        width: d, a multiple of `heads`.
        dropout: of the attention weights, in training.
    """

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)  # queries, keys, values, in this order
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, table: torch.Tensor | None) -> torch.Tensor:
        """[n, t, d] -> [n, t, d].

        Args:
            x: [n, t, d].
            table: bool [n, 1, t, t], row sees column, or None where every token sees all.
        """
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(
            q, k, v, attn_mask=table, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(seen.transpose(1, 2).reshape(n, t, d))


class MLP(nn.Module):
    """Two linear maps with an activation between; [..., d] -> [..., d]."""

    def __init__(self, width: int, hidden: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.activation: Activation = activation
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(activate(self.up(x), self.activation))


class Block(nn.Module):
    """Attention and MLP, each with a residual; the norm before each (pre) or after each sum (post).

    Args:
        mlp: hidden width of the MLP over `width`.
        dropout: of attention weights and of both branches, in training.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp: float = 4.0,
        norm: Norm = "pre",
        activation: Activation = "gelu",
        eps: float = 1e-5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm: Norm = norm
        self.attention = Attention(width, heads, dropout)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.mlp = MLP(width, round(mlp * width), activation)
        self.mlp_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor, table: torch.Tensor | None) -> torch.Tensor:
        """[n, t, d] -> [n, t, d]; `table` as in `Attention`."""
        if self.norm == "pre":
            x = x + self.dropout(self.attention(self.attention_norm(x), table))
            return x + self.dropout(self.mlp(self.mlp_norm(x)))
        x = self.attention_norm(x + self.dropout(self.attention(x, table)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


class Stack(nn.Module):
    """Blocks one after another, over packed rows wherever a batch has padding worth removing.

    Packing happens here, outside the blocks, so a block may be compiled by itself.

    Attributes:
        packs: False where a row's bits must not depend on its batch-mates, e.g. in a frozen tower
            whose states are cached: then nothing is packed and the table is always used.
    """

    def __init__(self, depth: int, width: int, heads: int, **block) -> None:
        super().__init__()
        self.packs = True
        self.blocks = nn.ModuleList(Block(width, heads, **block) for _ in range(depth))

    def forward(
        self, tokens: torch.Tensor, real: torch.Tensor, order: torch.Tensor
    ) -> torch.Tensor:
        """[n, t, d] -> [n, t, d], zero where a token is not real.

        Args:
            tokens: [n, t, d].
            real: bool [n, t].
            order: int64 [n, t].
        """
        if not self.packs or tokens.is_meta:  # a meta tensor has no values to choose by
            return self._run(tokens, table(real, order)).masked_fill(~real[..., None], 0.0)
        # One small copy to the CPU an encode: lengths, and whether the order tells tokens apart.
        facts = torch.cat([real.sum(1), order.amax(1) - order.amin(1)]).cpu().numpy()
        lengths, ordered = facts[: len(real)], facts[len(real) :].any()
        if lengths.sum() == real.numel() and not ordered:
            return self._run(tokens, None)
        packing = pack_plan(real, lengths)
        if packing is None:
            tokens = self._run(tokens, table(real, order))
            return tokens.masked_fill(~real[..., None], 0.0)
        rule = table(packing.segment >= 0, pack(order, packing), packing.segment)
        return unpack(self._run(pack(tokens, packing), rule), packing)

    def _run(self, tokens: torch.Tensor, rule: torch.Tensor | None) -> torch.Tensor:
        for block in self.blocks:
            tokens = block(tokens, rule)
        return tokens


def table(
    real: torch.Tensor, order: torch.Tensor, segment: torch.Tensor | None = None
) -> torch.Tensor:
    """The one rule of attention, bool [n, 1, t, t], row sees column.

    Args:
        real: bool [n, t].
        order: int64 [n, t].
        segment: int64 [n, t]: where given, only tokens of an equal segment see each other.
    """
    sees = visible(real, order)
    if segment is not None:
        sees = sees & (segment[:, None, :] == segment[:, :, None])[:, None]
    # Padding sees itself: a softmax over nothing is NaN, and its gradient would reach real tokens.
    return sees | torch.eye(real.shape[1], dtype=torch.bool, device=real.device)


@dataclass(frozen=True)
class Packing:
    """Where each real token of [n, t] goes in rows of the same length t.

    Attributes:
        shape: (n, t) of the padded batch.
        source: int64 [k], flat index of each real token in the padded batch.
        target: int64 [k], flat index of the same token in the packed rows.
        segment: int64 [rows, t], which sequence a slot belongs to; -1 where it is empty.
    """

    shape: tuple[int, int]
    source: torch.Tensor
    target: torch.Tensor
    segment: torch.Tensor


def first_fit(lengths: np.ndarray, capacity: int) -> tuple[np.ndarray, np.ndarray, int]:
    """First-fit decreasing: each sequence, longest first, goes to the first row with space.

    Args:
        lengths: int [n], each at most `capacity`; sequences of length 0 take no space.

    Returns:
        row int64 [n], start int64 [n] within the row, number of rows.
    """
    row, start = np.zeros(len(lengths), np.int64), np.zeros(len(lengths), np.int64)
    space = np.full(len(lengths), capacity, np.int64)
    for at in np.argsort(-lengths, kind="stable"):
        if lengths[at] == 0:
            break
        chosen = int(np.argmax(space >= lengths[at]))
        row[at], start[at] = chosen, capacity - space[chosen]
        space[chosen] -= lengths[at]
    return row, start, int((space < capacity).sum())


def pack_plan(real: torch.Tensor, lengths: np.ndarray) -> Packing | None:
    """How to pack a batch, or None when it would leave more than `WORTH_PACKING` of the slots.

    Args:
        real: bool [n, t]; the real tokens of a row need not be adjacent.
        lengths: int [n], real tokens of each row, on the CPU.
    """
    n, t = real.shape
    total = int(lengths.sum())
    if total == 0 or total > WORTH_PACKING * n * t:
        return None
    row, start, rows = first_fit(lengths, t)
    if rows > WORTH_PACKING * n:
        return None
    # Real tokens in row-major order: within a sequence they stay in order, so the offset of a
    # token is its index minus the index of its sequence's first.
    firsts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    target = np.repeat(row * t + start, lengths) + np.arange(total) - firsts
    segment = np.full(rows * t, -1, np.int64)
    segment[target] = np.repeat(np.arange(n), lengths)
    source = real.flatten().nonzero().flatten()  # waits for a GPU, as the lengths already did
    return Packing(
        (n, t),
        source,
        torch.from_numpy(target).to(real.device),
        torch.from_numpy(segment).view(rows, t).to(real.device),
    )


def pack(tensor: torch.Tensor, packing: Packing) -> torch.Tensor:
    """[n, t, ...] -> [rows, t, ...], zero in empty slots."""
    rest = tensor.shape[2:]
    rows = tensor.new_zeros((packing.segment.numel(), *rest))
    rows = rows.index_copy(0, packing.target, tensor.flatten(0, 1)[packing.source])
    return rows.view(*packing.segment.shape, *rest)


def unpack(rows: torch.Tensor, packing: Packing) -> torch.Tensor:
    """[rows, t, ...] -> [n, t, ...], zero where nothing is real; inverse of `pack`."""
    n, t = packing.shape
    rest = rows.shape[2:]
    tensor = rows.new_zeros((n * t, *rest))
    tensor = tensor.index_copy(0, packing.source, rows.flatten(0, 1)[packing.target])
    return tensor.view(n, t, *rest)


def mean_pool(tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """Mean over real tokens: [n, t, d] -> [n, d]; zero where none is real."""
    weight = real[..., None].to(tokens.dtype)
    return (tokens * weight).sum(1) / weight.sum(1).clamp(min=1)


def last_pool(tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
    """The last real token (CLIP's end of text): [n, t, d] -> [n, d]."""
    places = torch.arange(real.shape[1], device=real.device)
    last = torch.where(real, places, 0).amax(1)
    return tokens[torch.arange(len(tokens), device=real.device), last]


def initialise(module: nn.Module, std: float = 0.02) -> None:
    """BERT's and ViT's initial weights: normal cut at two deviations, zero biases, unit norms.

    Draws from torch's global generator, module by module in order of definition, so a seed (or
    `torch.random.fork_rng` around the build) repeats them.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
