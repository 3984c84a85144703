"""The head over words at hidden places only, against the same head at every position (P6).

    python -m benchmarks.vocabulary            V = 30,522, 15 % hidden
    python -m benchmarks.vocabulary --rough    a look on a busy machine; nothing is written

Arms, states given, forward and backward, loss and gradients equal:
    hidden places                 our head, tied to the word table, on the states of hidden places
    BertForMaskedLM(labels=)      transformers' model itself, its states given: logits everywhere
    hidden places, table alone    our head without transform
    cross_entropy(h @ W.T)        the plain expression, logits everywhere

Memory is told twice. `held` is what autograd keeps for backward, weights and given states left out,
each storage once. `resident` is how much the process grew at most, in a process of its own; the
gradient of the word table is in it, and is the same in every arm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.sidebyside import (
    Against,
    Clock,
    Results,
    comparison,
    equal,
    publish,
    results,
    rough_clock,
    show,
    timed,
)
from sensorium.model import Vocabulary

IGNORED = -100
SIZE = {"rows": 32, "length": 64, "width": 256, "entries": 30_522, "rate": 0.15}
TARGETS = {"time": 5.5, "memory": 6.0}
PEERS = {
    "hidden places": "BertForMaskedLM(labels=)",
    "hidden places, table alone": "cross_entropy(h @ W.T)",
}


class _States(nn.Module):
    """Stands where BERT's encoder stands and gives the states it holds."""

    def __init__(self, states: torch.Tensor) -> None:
        super().__init__()
        self.states = nn.Parameter(states)

    def forward(self, *args: object, **options: object) -> Any:
        return _Output((self.states,))


class _Output(tuple):
    """A tuple of states with the two names that transformers reads."""

    hidden_states = None
    attentions = None


@dataclass(frozen=True)
class World:
    """States [n, t, d], which places are hidden, the words there, and both heads."""

    bert: nn.Module
    full: Vocabulary
    plain: Vocabulary
    places: torch.Tensor
    truth: torch.Tensor
    labels: torch.Tensor

    @property
    def states(self) -> nn.Parameter:
        return self.bert.bert.states

    @property
    def words(self) -> nn.Parameter:
        return self.bert.cls.predictions.decoder.weight

    def tensors(self, ours: bool) -> list[tuple[str, torch.Tensor]]:
        """What gets a gradient, by one name in all arms."""
        told: list[tuple[str, torch.Tensor]] = [("states", self.states), ("words", self.words)]
        head = self.bert.cls.predictions
        for name, mine, theirs in (
            ("linear weight", self.full.transform.weight, head.transform.dense.weight),
            ("linear bias", self.full.transform.bias, head.transform.dense.bias),
            ("norm weight", self.full.norm.weight, head.transform.LayerNorm.weight),
            ("norm bias", self.full.norm.bias, head.transform.LayerNorm.bias),
            ("bias", self.full.bias, head.bias),
        ):
            told.append((name, mine if ours else theirs))
        return told


def world(rows: int, length: int, width: int, entries: int, rate: float) -> World:
    """Drawn states and words; a share `rate` of the places is hidden."""
    import transformers

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=entries,
        hidden_size=width,
        intermediate_size=width,
        num_hidden_layers=0,
        num_attention_heads=1,
        max_position_embeddings=1,
    )
    bert = transformers.BertForMaskedLM(config)
    words = bert.cls.predictions.decoder.weight
    bert.bert = _States(torch.randn(rows, length, width))
    count = rows * length
    places = torch.randperm(count)[: max(1, round(rate * count))].sort().values
    truth = torch.randint(entries, places.shape)
    labels = torch.full((count,), IGNORED)
    labels[places] = truth
    full, plain = Vocabulary(entries, width), Vocabulary(entries, width, transform=False)
    made = World(bert, full, plain, places, truth, labels.view(rows, length))
    with torch.no_grad():
        for (_, mine), (_, theirs) in zip(made.tensors(True), made.tensors(False), strict=True):
            if mine is not theirs:  # no zeros and no ones, so that no swap of two goes unseen
                theirs.add_(0.1 * torch.randn(theirs.shape))
                mine.copy_(theirs)
        words.mul_(3.0)
    return made


def arms(given: World) -> dict[str, Callable[[], torch.Tensor]]:
    """name -> the mean loss, a scalar with gradient."""

    def hidden(head: Vocabulary) -> torch.Tensor:
        # As step.Forward reads logits and masked_tokens scores them.
        logits = head(given.states.flatten(0, 1)[given.places], given.words)
        return F.cross_entropy(logits.float(), given.truth, reduction="sum") / len(given.truth)

    def everywhere() -> torch.Tensor:
        logits = given.states @ given.words.T
        return F.cross_entropy(logits.flatten(0, 1), given.labels.flatten(), ignore_index=IGNORED)

    return {
        "hidden places": lambda: hidden(given.full),
        "BertForMaskedLM(labels=)": lambda: given.bert(labels=given.labels).loss,
        "hidden places, table alone": lambda: hidden(given.plain),
        "cross_entropy(h @ W.T)": everywhere,
    }


def trained(given: World, name: str) -> dict[str, torch.Tensor]:
    """One arm forward and backward; gradients of before are dropped."""
    for _, tensor in (*given.tensors(True), *given.tensors(False)):
        tensor.grad = None
    loss = arms(given)[name]()
    loss.backward()
    return {"loss": loss}


def check(given: World) -> dict[str, dict[str, float]]:
    """The largest differences of our arms to their peers.

    Raises:
        Unequal: an arm computes something else.
    """

    def found(name: str) -> Results:
        return results(lambda: trained(given, name), given.tensors(name in PEERS))

    return {name: equal(found(name), found(peer)) for name, peer in PEERS.items()}


# --- memory ---------------------------------------------------------------------------------------


def held(given: World, name: str) -> int:
    """Bytes that autograd keeps for backward beside weights and states, each storage once."""
    known = {x.untyped_storage().data_ptr() for x in given.bert.parameters()}
    known |= {x.untyped_storage().data_ptr() for x in given.full.parameters()}
    known |= {x.untyped_storage().data_ptr() for x in (given.places, given.truth, given.labels)}
    kept: dict[int, torch.UntypedStorage] = {}  # held here, so that no address comes twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = arms(given)[name]()
    total = sum(storage.nbytes() for storage in kept.values())
    del loss
    return total


def resident(name: str) -> int:
    """Bytes by which a process of its own grew at most in one repetition of an arm."""
    told = subprocess.run(
        [sys.executable, "-m", "benchmarks.vocabulary", "--grow", name],
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    return json.loads(told.stdout)["bytes"]


def grow(name: str) -> int:
    """How much this process grew at most; every code path was warm before, at a small size."""
    trained(world(rows=2, length=8, width=16, entries=100, rate=0.5), name)
    given = world(**SIZE)
    before = _since()
    trained(given, name)
    return _peak() - before


def _since() -> int:
    """Forgets the peak so far: the bytes resident now (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """The most bytes that were resident since (Linux; `ru_maxrss` counts the parent's too)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(x for x in lines if x.startswith("VmHWM")).split()[1])


def memory(given: World) -> dict[str, Any]:
    """Megabytes of every arm, and how many times more a peer takes."""
    told: dict[str, Any] = {}
    kinds: dict[str, Callable[[str], int]] = {"held": lambda name: held(given, name)}
    if Path("/proc/self/clear_refs").exists():
        kinds["resident"] = resident
    for kind, measured in kinds.items():
        found = {name: measured(name) for name in arms(given)}
        told[kind] = {
            "megabytes": {name: round(x / 1e6, 1) for name, x in found.items()},
            "ratios": {
                name: {
                    "of": peer,
                    "ratio": round(found[peer] / found[name], 2),
                    "target": TARGETS["memory"],
                    "met": found[peer] / found[name] >= TARGETS["memory"],
                }
                for name, peer in PEERS.items()
            },
        }
    return told


def measure(given: World, clock: Clock) -> dict[str, Any]:
    """Differences, memory, times and ratios."""
    told: dict[str, Any] = {"largest differences": check(given), "memory": memory(given)}
    runs = {name: (lambda name=name: trained(given, name)) for name in arms(given)}
    against = [Against(peer, name, TARGETS["time"]) for name, peer in PEERS.items()]
    return told | comparison(timed(runs, clock=clock), against)


def main(arguments: list[str]) -> None:
    """Measures, and writes benchmarks/results/vocabulary.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rough", action="store_true", help="write nothing")
    parser.add_argument("--grow", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.grow:
        print(json.dumps({"bytes": grow(options.grow)}))
        return
    clock = rough_clock if options.rough else time.perf_counter
    told: dict[str, Any] = {"targets": TARGETS, "facts": SIZE}
    told["head"] = measure(world(**SIZE), clock)
    show(f"head over words: {SIZE}", told["head"])
    for kind, found in told["head"]["memory"].items():
        print(f"  {kind}:", found["megabytes"], [x["ratio"] for x in found["ratios"].values()])
    print("  differences", told["head"]["largest differences"], flush=True)
    publish("vocabulary", told, options.rough)


if __name__ == "__main__":
    main(sys.argv[1:])
