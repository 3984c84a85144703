"""The parts that every transformer here is made of: attention, MLP, block, stack, pooling.

One rule of attention (`views.visible`) holds everywhere: a token sees another that is real and
whose order is not greater than its own, within its sequence, across modalities, and among tokens
that a cache holds. A `table` is that rule as bool [n, 1, t, t], row sees column; it is built once
per encode and passed down. Letters: n = rows, t = tokens, m = tokens of a memory, d = width.

Sources: Vaswani et al. 2017 (arXiv 1706.03762) section 3; pre-norm as in ViT (arXiv 2010.11929)
equations 2 to 4; post-norm as in BERT (arXiv 1810.04805); self-attention, cross-attention, MLP in
one block as in ALBEF and BLIP (salesforce/BLIP `models/med.py`).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from sensorium.caching import Cache
from sensorium.packing import pack, pack_plan, unpack
from sensorium.views import visible

Activation = Literal["gelu", "quick_gelu", "gelu_tanh"]
Norm = Literal["pre", "post"]


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

    def forward(
        self, x: torch.Tensor, table: torch.Tensor | None, cache: Cache | None = None
    ) -> torch.Tensor:
        """[n, t, d] -> [n, t, d].

        Args:
            x: [n, t, d].
            table: bool [n, 1, t, t], row sees column, or None where every token sees all. With a
                cache [n, 1, t, held + t].
            cache: holds the keys and values of the tokens before these.
        """
        n, t, d = x.shape
        q, k, v = self.qkv(x).view(n, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if cache is not None:
            k, v = cache.extend(self, "", (k, v), axis=2)
        seen = F.scaled_dot_product_attention(
            q, k, v, attn_mask=table, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(seen.transpose(1, 2).reshape(n, t, d))


class CrossAttention(nn.Module):
    """Multi-head attention from one sequence to another, whose width may differ.

    Args:
        width: d of what asks.
        memory: width of what is asked.
        inner: width of queries, keys and values together, a multiple of `heads`; None: `width`.
        dropout: of the attention weights, in training.
    """

    def __init__(
        self, width: int, memory: int, heads: int, inner: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        inner = inner or width
        self.heads, self.dropout = heads, dropout
        self.size = inner // heads  # of one head
        self.q = nn.Linear(width, inner)
        self.kv = nn.Linear(memory, 2 * inner)  # keys, values, in this order
        self.out = nn.Linear(inner, width)

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor,
        table: torch.Tensor,
        rows: torch.Tensor | None = None,
        cache: Cache | None = None,
        place: str = "",
    ) -> torch.Tensor:
        """[n, t, d] -> [n, t, d]. A token that sees nothing gets zeros, whatever is there unseen.

        Args:
            x: [n, t, d].
            memory: [b, m, width of the memory].
            table: bool [n, 1, t, m], row sees column; with a cache [n, 1, t, held + m].
            rows: int64 [n], which row of the memory each row of x asks; None where n = b. Keys
                and values are projected for the b rows and gathered after.
            cache: holds the keys and values of the memory given before.
            place: where one module is called at several, which this is.
        """
        q = self.q(x).unflatten(-1, (self.heads, self.size)).transpose(1, 2)
        kv = self.kv(memory).unflatten(-1, (2, self.heads, self.size))
        k, v = kv.permute(2, 0, 3, 1, 4)
        if rows is not None:
            k, v = k[rows], v[rows]
        if cache is not None:
            k, v = cache.extend(self, place, (k, v), axis=2)
        # A softmax over nothing is NaN in some kernels: who sees nothing looks at everything, and
        # what comes of it is set to zero.
        blind = ~table.any(-1, keepdim=True)
        seen = F.scaled_dot_product_attention(
            q, k, v, attn_mask=table | blind, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out(seen.transpose(1, 2).flatten(2)).masked_fill(blind[:, 0], 0.0)


class MLP(nn.Module):
    """Two linear maps with an activation between; [..., d] -> [..., d]."""

    def __init__(self, width: int, hidden: int, activation: Activation = "gelu") -> None:
        super().__init__()
        self.activation: Activation = activation
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down(activate(self.up(x), self.activation))


class Crossing(nn.Module):
    """Cross-attention with its residual; the norm before it (of x alone) or after the sum."""

    def __init__(
        self,
        width: int,
        memory: int,
        heads: int,
        inner: int | None = None,
        norm: Norm = "pre",
        eps: float = 1e-5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.norm: Norm = norm
        self.attention = CrossAttention(width, memory, heads, inner, dropout)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        memory: torch.Tensor,
        table: torch.Tensor,
        rows: torch.Tensor | None = None,
        cache: Cache | None = None,
        place: str = "",
    ) -> torch.Tensor:
        """[n, t, d] -> [n, t, d]; arguments as of `CrossAttention`."""
        if self.norm == "pre":
            asks = self.attention_norm(x)
            return x + self.dropout(self.attention(asks, memory, table, rows, cache, place))
        seen = self.dropout(self.attention(x, memory, table, rows, cache, place))
        return self.attention_norm(x + seen)


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

    def forward(
        self, x: torch.Tensor, table: torch.Tensor | None, cache: Cache | None = None
    ) -> torch.Tensor:
        """[n, t, d] -> [n, t, d]; `table` and `cache` as in `Attention`."""
        return self.feed(self.attend(x, table, cache))

    def attend(
        self, x: torch.Tensor, table: torch.Tensor | None, cache: Cache | None = None
    ) -> torch.Tensor:
        """The first half: attention, residual, norm."""
        if self.norm == "pre":
            return x + self.dropout(self.attention(self.attention_norm(x), table, cache))
        return self.attention_norm(x + self.dropout(self.attention(x, table, cache)))

    def feed(self, x: torch.Tensor) -> torch.Tensor:
        """The second half: MLP, residual, norm."""
        if self.norm == "pre":
            return x + self.dropout(self.mlp(self.mlp_norm(x)))
        return self.mlp_norm(x + self.dropout(self.mlp(x)))


class CrossBlock(Block):
    """Self-attention, cross-attention, MLP: the block of ALBEF's, BLIP's and CoCa's upper texts.

    Args:
        memory: width of the memory. The others as of `Block`.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        memory: int,
        mlp: float = 4.0,
        norm: Norm = "pre",
        activation: Activation = "gelu",
        eps: float = 1e-5,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(width, heads, mlp, norm, activation, eps, dropout)
        self.cross = Crossing(width, memory, heads, norm=norm, eps=eps, dropout=dropout)

    def forward(  # type: ignore[override]  # a memory more than a Block
        self,
        x: torch.Tensor,
        table: torch.Tensor | None,
        memory: torch.Tensor,
        across: torch.Tensor,
        rows: torch.Tensor | None = None,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """[n, t, d] -> [n, t, d]; `table` as in `Attention`, the rest as in `CrossAttention`."""
        x = self.attend(x, table, cache)
        return self.feed(self.cross(x, memory, across, rows, cache))


class Stack(nn.Module):
    """Blocks one after another, over packed rows wherever a batch has padding worth removing.

    Packing happens here, outside the blocks, so a block may be compiled by itself. Without blocks
    (depth 0) tokens leave as they came.

    Attributes:
        packs: False where a row's bits must not depend on its batch-mates, e.g. in a frozen tower
            whose states are cached: then nothing is packed and the table is always used.
    """

    def __init__(self, depth: int, width: int, heads: int, **block) -> None:
        super().__init__()
        self.packs = True
        self.blocks = nn.ModuleList(Block(width, heads, **block) for _ in range(depth))

    def forward(
        self,
        tokens: torch.Tensor,
        real: torch.Tensor,
        order: torch.Tensor,
        cache: Cache | None = None,
    ) -> torch.Tensor:
        """[n, t, d] -> [n, t, d], zero where a token is not real.

        Args:
            tokens: [n, t, d]; with a cache, the new ones.
            real: bool [n, t].
            order: int64 [n, t].
            cache: holds what this stack saw before; nothing is packed then.
        """
        if cache is not None:
            held = cache.extend(self, "", (real, order), axis=1)
            rule = table(*held)[:, :, held[0].shape[1] - real.shape[1] :]
            return self._run(tokens, rule, cache).masked_fill(~real[..., None], 0.0)
        # A meta tensor has no values to choose by.
        if not self.packs or tokens.is_meta or not len(self.blocks):
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

    def _run(
        self, tokens: torch.Tensor, rule: torch.Tensor | None, cache: Cache | None = None
    ) -> torch.Tensor:
        for block in self.blocks:
            tokens = block(tokens, rule, cache)
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


def across(order: torch.Tensor, memory_real: torch.Tensor, memory_order: torch.Tensor):
    """The same rule between two sequences: bool [n, 1, t, m], a token sees one of the memory.

    Args:
        order: int64 [n, t], of who asks.
        memory_real: bool [n, m].
        memory_order: int64 [n, m].
    """
    t = order.shape[1]
    real = torch.cat([torch.ones_like(order, dtype=torch.bool), memory_real], 1)
    return visible(real, torch.cat([order, memory_order], 1))[:, :, :t, t:]


class Pool(nn.Module):
    """Queries that learn what to ask a sequence: [n, t, d] -> [n, queries, d].

    One cross-attention and a norm, as the attentional poolers of CoCa (Yu et al. 2022, arXiv
    2205.01917, section 3.2).
    """

    def __init__(self, queries: int, width: int, heads: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(queries, width))
        self.attention = CrossAttention(width, width, heads)
        self.norm = nn.LayerNorm(width, eps=eps)
        # As mlfoundations/open_clip has it: queries of spread 0.02 would all ask the same.
        nn.init.normal_(self.queries)

    def forward(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """Every query sees every real token, bool [n, t]."""
        asks = self.queries.to(tokens.dtype).expand(len(tokens), -1, -1)
        sees = real[:, None, None, :].expand(-1, 1, asks.shape[1], -1)
        return self.norm(self.attention(asks, tokens, sees))


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
