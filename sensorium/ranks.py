"""Several processes that train one model: the only parallel words an objective may use.

One rule holds with DDP and with FSDP2, which both average the gradients of all processes: every
process computes the loss of *all* records, and the backward of what is exchanged adds up over
processes. Then the average of the gradients is the gradient of one process on the joined batch,
and no loss is multiplied by anything. Without torch.distributed each word is the identity.

All processes have equally many records (pad with absent ones), and run the same in the same order:
one that skips a word leaves the others waiting.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from sensorium.step import Loss


def size() -> int:
    """How many processes train together; 1 where nothing is distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if size() > 1 else 0


class _Gather(torch.autograd.Function):
    """[b, ...] of each process -> [size * b, ...]; backward adds what all of them say of mine."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.rows = len(x)
        parts = [torch.empty_like(x) for _ in range(size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad[rank() * ctx.rows : (rank() + 1) * ctx.rows]


class _Sum(torch.autograd.Function):
    """x of each process -> their sum; backward adds what all of them say of it."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        grad = grads[0].contiguous().clone()
        dist.all_reduce(grad)
        return grad


def gather(x: torch.Tensor) -> torch.Tensor:
    """The rows of all processes, in the order of their ranks, with gradient: local rows meet
    global columns.

    Args:
        x: [b, ...], b equal in all processes.

    Returns:
        [size * b, ...]; mine begin at rank * b.
    """
    if size() == 1:
        return x
    if x.dtype == torch.bool:  # not every backend carries truth values
        return _Gather.apply(x.to(torch.uint8).contiguous()).bool()
    return _Gather.apply(x.contiguous())


def sum(x: torch.Tensor) -> torch.Tensor:
    """The sum over all processes, with gradient; any shape, equal in all of them."""
    return x if size() == 1 else _Sum.apply(x.contiguous())


def share(loss: Loss) -> Loss:
    """The loss of all processes' records, from that of mine: sum, count and parts are totalled.

    `chance` is the mean of theirs, weighted by their counts.
    """
    if size() == 1:
        return loss
    count = sum(loss.count)
    return replace(
        loss,
        sum=sum(loss.sum),
        count=count,
        chance=sum(loss.chance.detach() * loss.count) / count.clamp(min=1),
        parts={name: sum(part) for name, part in loss.parts.items()},
    )
