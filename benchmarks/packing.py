"""Packed texts against texts padded to 77 tokens, as CLIP encodes them (P3).

    python -m benchmarks.packing            recipe clip's text encoder at small and published size
    python -m benchmarks.packing --rough    a look on a busy machine; nothing is written

Captions of natural length, forward and backward, the same weights in all arms:
    packed                    our encoder on the batch as it is collated, padded to its longest
    packed from 77            our encoder on the same texts padded to 77
    longest                   our encoder without packing, padded to the longest
    transformers, 77          CLIPTextModel on 77 tokens: causal attention, no padding removed
    transformers, longest     the same on texts padded to the longest, which no one publishes
and the same in bfloat16 (autocast), whose results are compared more loosely. open_clip's encoder
is the same computation; transformers' is the one installed beside the tests.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from benchmarks import captions
from benchmarks.sidebyside import (
    LIMIT,
    Against,
    Clock,
    Results,
    comparison,
    equal,
    publish,
    rough_clock,
    show,
    timed,
)
from sensorium import draws
from sensorium.encoders import transformer
from sensorium.modalities import text
from sensorium.prepare import single
from sensorium.tokens import Tokens, collate
from sensorium.views import View, look

WIDE = 77
WORLDS = {"small": (256, 6, 8, 128), "published": (512, 12, 8, 32)}  # width, depth, heads, texts
TARGETS = {"float32": 4.5, "bfloat16": 8.0}
LOOSE = 0.05  # of results in bfloat16: eight bits of fraction, twelve layers


@dataclass(frozen=True)
class World:
    """Our encoder, transformers' with the same weights, and texts at both lengths."""

    ours: transformer.Encoder
    theirs: nn.Module
    natural: Tokens
    wide: Tokens

    @property
    def facts(self) -> dict[str, Any]:
        lengths = self.natural.real.sum(1)
        return {
            "texts": len(lengths),
            "mean tokens": round(float(lengths.float().mean()), 2),
            "longest": int(lengths.max()),
            "token ratio to 77": round(WIDE * len(lengths) / int(lengths.sum()), 2),
            "width": self.ours.width,
            "depth": self.ours.spec.depth,
        }


def world(width: int, depth: int, heads: int, count: int) -> World:
    """CLIP's text encoder of a size over `count` emoji captions, random weights."""
    records = captions.records()
    reader = text.Modality(text.Spec(length=WIDE))
    reader.fit(records, "text")
    some = [records[at] for at in draws.sample([x.key for x in records], count, "packing")]
    rows = [reader.tokens(reader.read(x.fields["text"], "text"), None) for x in some]
    # As CLIP's: the highest id ends a text. transformers takes an end of 2 for another format.
    highest, last = reader.vocabulary - 1, reader.last
    for row in rows:
        was = row.ids.clone()
        row.ids[was == last], row.ids[was == highest] = highest, last
    theirs = clip(width, depth, heads, reader.vocabulary, highest)
    spec = transformer.Spec(
        width=width, depth=depth, heads=heads, eps=1e-5, activation="quick_gelu", pool="last"
    )
    ours = transformer.Encoder(spec, reader)
    copy(ours, theirs)
    return World(ours, theirs, collate(rows), collate(rows, WIDE))


def clip(width: int, depth: int, heads: int, vocabulary: int, last: int) -> nn.Module:
    """transformers' CLIPTextModel with weights of its own drawing."""
    import transformers

    torch.manual_seed(0)
    config = transformers.CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        max_position_embeddings=WIDE,
        hidden_act="quick_gelu",
        bos_token_id=None,
        eos_token_id=last,
    )
    return transformers.CLIPTextModel(config)


def pairs(
    ours: transformer.Encoder, theirs: nn.Module
) -> list[tuple[str, nn.Parameter, list[nn.Parameter]]]:
    """(name, our parameter, theirs); queries, keys and values of ours are one."""
    table = theirs.embeddings
    told = [
        ("words", ours.words.weight, [table.token_embedding.weight]),
        ("positions", ours.positions.weight, [table.position_embedding.weight]),
    ]
    parts = [("final norm", ours.final_norm, [theirs.final_layer_norm])]
    for at, (block, layer) in enumerate(zip(ours.stack.blocks, theirs.encoder.layers, strict=True)):
        own = layer.self_attn
        parts += [
            (f"{at} qkv", block.attention.qkv, [own.q_proj, own.k_proj, own.v_proj]),
            (f"{at} out", block.attention.out, [own.out_proj]),
            (f"{at} attention norm", block.attention_norm, [layer.layer_norm1]),
            (f"{at} up", block.mlp.up, [layer.mlp.fc1]),
            (f"{at} down", block.mlp.down, [layer.mlp.fc2]),
            (f"{at} mlp norm", block.mlp_norm, [layer.layer_norm2]),
        ]
    for name, mine, yours in parts:
        for kind in ("weight", "bias"):
            told.append((f"{name} {kind}", getattr(mine, kind), [getattr(x, kind) for x in yours]))
    return told


@torch.no_grad()
def copy(ours: transformer.Encoder, theirs: nn.Module) -> None:
    """Their weights into ours."""
    for _, mine, yours in pairs(ours, theirs):
        mine.copy_(torch.cat([x.detach() for x in yours]))


# --- the arms -------------------------------------------------------------------------------------


def encode(given: World, tokens: Tokens, packs: bool) -> torch.Tensor:
    """Pooled states [n, d] of ours, under the causal order."""
    given.ours.stack.packs = packs
    seen = look(View("text", order="causal"), single("text", tokens))
    pooled = given.ours.encode(given.ours.embed(seen)).pooled
    given.ours.stack.packs = True
    assert pooled is not None
    return pooled


def runs(given: World) -> dict[str, Callable[[], torch.Tensor]]:
    """name -> forward, pooled states [n, d]."""
    return {
        "packed": lambda: encode(given, given.natural, True),
        "packed from 77": lambda: encode(given, given.wide, True),
        "longest": lambda: encode(given, given.natural, False),
        "transformers, 77": lambda: given.theirs(input_ids=given.wide.ids).pooler_output,
        "transformers, longest": lambda: given.theirs(input_ids=given.natural.ids).pooler_output,
    }


def train(given: World, run: Callable[[], torch.Tensor], half: bool) -> dict[str, torch.Tensor]:
    """One arm forward and backward; its pooled states."""
    given.ours.zero_grad()
    given.theirs.zero_grad()
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        pooled = run()
    # Any gradient does, the same in all arms and different for each value.
    pooled.float().backward(torch.linspace(-1, 1, pooled.numel()).view_as(pooled) / len(pooled))
    return {"pooled": pooled}


def _found(given: World, name: str, half: bool) -> Results:
    values = {k: v.detach().float() for k, v in train(given, runs(given)[name], half).items()}
    gradients: dict[str, torch.Tensor | None] = {}
    for at, mine, yours in pairs(given.ours, given.theirs):
        held = yours if name.startswith("transformers") else [mine]
        gradients[at] = torch.cat([x.grad for x in held if x.grad is not None])
    return Results(values, gradients)


def check(given: World) -> dict[str, dict[str, float]]:
    """The largest differences of each arm to transformers' on 77 tokens, in float32.

    In bfloat16, of pooled states alone, to those of float32.

    Raises:
        Unequal: an arm computes something else.
    """
    reference = _found(given, "transformers, 77", False)
    told = {}
    for name in runs(given):
        told[name] = equal(_found(given, name, False), reference, LIMIT)
        loose = Results(_found(given, name, True).values, {})
        told[f"{name}, bfloat16"] = equal(loose, Results(reference.values, {}), LOOSE)
    return told


def measure(given: World, clock: Clock) -> dict[str, Any]:
    """Differences, times and ratios of one World."""
    told: dict[str, Any] = {"facts": given.facts, "largest differences": check(given)}
    for kind, half in (("float32", False), ("bfloat16", True)):
        arms: dict[str, Callable[[], object]] = {
            name: partial(train, given, run, half) for name, run in runs(given).items()
        }
        if half:
            # What the target speaks of: the step that people run today.
            run = runs(given)["transformers, 77"]
            arms = {**arms, "transformers, 77, float32": partial(train, given, run, False)}
        peer = "transformers, 77" + (", float32" if half else "")
        against = [Against(peer, "packed", TARGETS[kind]), Against("longest", "packed")]
        against += [Against(peer, "packed from 77"), Against("transformers, longest", "packed")]
        if half:
            against.append(Against("transformers, 77", "packed"))
        told[kind] = comparison(timed(arms, clock=clock), against)
    return told


def main(arguments: list[str]) -> None:
    """Measures the worlds named, or all, and writes benchmarks/results/packing.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("worlds", nargs="*", help="of " + ", ".join(WORLDS))
    parser.add_argument("--rough", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    clock = rough_clock if options.rough else time.perf_counter
    told: dict[str, Any] = {"targets": TARGETS}
    for name in options.worlds or WORLDS:
        given = world(*WORLDS[name])
        told[name] = measure(given, clock)
        for kind in TARGETS:
            show(f"{name}, {kind}: {given.facts}", told[name][kind])
        print("  differences", told[name]["largest differences"], flush=True)
    publish("packing", told, options.rough or bool(options.worlds))


if __name__ == "__main__":
    main(sys.argv[1:])
