"""Which parameters of a fine-tuned Step train, and LoRA's updates of those that do not.

| method | trains | stays as it was, without dropout |
| --- | --- | --- |
| full | everything | nothing |
| linear | the heads | the whole model beneath them |
| freeze | fusion and the heads | the encoders |
| lora | low-rank updates of attention and MLP matrices, and the heads | encoders and fusion |

The heads are the objectives' own parameters, the projections into the shared space and the heads
over vocabularies; a word table that such a head is tied to belongs to its encoder.

Sources: LoRA, Hu et al. 2021 (arXiv 2106.09685) section 4.1, equation 3: h = W x + B A x, A drawn,
B zero, W fixed; A as in microsoft/LoRA `loralib/layers.py`. The scale alpha / r is 1, as the paper
sets alpha once to the r it tries. Norms and biases stay as they were.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from types import MethodType
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn.utils import parametrize

from sensorium import draws
from sensorium.errors import RecipeError
from sensorium.layers import MLP, Attention, CrossAttention
from sensorium.teacher import teacher_of

if TYPE_CHECKING:
    from sensorium.recipe import Tune
    from sensorium.step import Step

_UPDATED = ".parametrizations.weight."  # what torch calls the parts of an updated matrix


class Update(nn.Module):
    """LoRA: a matrix [rows, columns] -> the same with B A added, of rank r.

    `a` is [r, columns], drawn; `b` is [rows, r], zero, so that at first nothing changes.
    """

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.empty(rank, columns))
        self.b = nn.Parameter(torch.zeros(rows, rank))
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight + self.b @ self.a


def adapt(step: Step, tune: Tune, seed: int, new: Collection[str] = ()) -> None:
    """Makes a Step train what a method trains, in place; frozen parts draw no dropout any more.

    Args:
        step: with the weights to begin from.
        tune: method and, for LoRA, the rank.
        seed: key of LoRA's draws.
        new: names of parameters that nothing trained before: they train by every method, and so
            does a fusion with any of them.

    Raises:
        RecipeError: the method would train nothing of this model.
    """
    if tune.method == "full":
        return
    model = step.model
    frozen = list(model.encoders.values())
    if tune.method != "freeze" and not any(name.startswith("model.fusion.") for name in new):
        frozen.append(model.fusion)
    for part in frozen:
        part.requires_grad_(False)
        _still(part)
    if tune.method != "freeze":
        model.absent.requires_grad_(False)
    for name, parameter in model.named_parameters(prefix="model"):
        if name in new:
            parameter.requires_grad_(True)
    if tune.method == "lora":
        _update(model, frozen, tune.rank, seed)
    if step.teacher is not None:  # it follows the model parameter by parameter: the same ones
        step.teacher = teacher_of(model)
    if not any(p.requires_grad for p in step.parameters()):
        raise RecipeError(
            f"method {tune.method} trains nothing of this model",
            field="tune.method",
            expected="parameters outside its encoders"
            + ("" if tune.method == "freeze" else " and its fusion"),
            found="none",
            see="--method full",
        )


def _update(model: nn.Module, frozen: list[nn.Module], rank: int, seed: int) -> None:
    """Puts an update beside each attention and MLP matrix."""
    found = [linear for part in frozen for linear in _matrices(part)]
    if not found:
        raise RecipeError(
            "method lora trains nothing of this model",
            field="tune.method",
            expected="attention or MLP matrices in its encoders or its fusion",
            found="none",
            see="--method full, or linear",
        )
    side = min(min(linear.weight.shape) for linear in found)
    if rank > side:
        raise RecipeError(
            field="tune.rank",
            expected=f"{side} or less, the smaller side of the smallest matrix",
            found=str(rank),
        )
    # A is drawn from the global stream, which is keyed here and given back after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(draws.integer(seed, "lora"))
        for linear in found:
            rows, columns = linear.weight.shape
            update = Update(rows, columns, rank).to(linear.weight.device)
            parametrize.register_parametrization(linear, "weight", update)


def _matrices(part: nn.Module) -> Iterator[nn.Linear]:
    """The linear maps of attention and of MLPs, in the order of the modules."""
    for module in part.modules():
        if isinstance(module, Attention | CrossAttention | MLP):
            for linear in module.children():
                if isinstance(linear, nn.Linear):
                    yield linear


def _still(part: nn.Module) -> None:
    """Keeps a module in evaluation mode, whatever mode the Step is put into."""
    part.eval()
    for module in part.modules():
        object.__setattr__(module, "train", MethodType(_as_it_is, module))


def _as_it_is(module: nn.Module, mode: bool = True) -> nn.Module:
    return module


def plain(step: Step) -> dict[str, torch.Tensor]:
    """The Step's state with LoRA's updates added to their matrices: names as without LoRA."""
    made = {}
    for name, value in step.state_dict().items():
        place, _, rest = name.partition(_UPDATED)
        if not rest:
            made[name] = value
        elif rest == "original":
            linear = step.get_submodule(place)
            assert isinstance(linear, nn.Linear)
            made[f"{place}.weight"] = linear.weight.detach()
    return made
