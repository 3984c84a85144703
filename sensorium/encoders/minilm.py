"""The sentence tower all-MiniLM-L6-v2: texts -> one unit vector each, and its states.

BERT with 6 layers, 384 wide; a sentence is the mean over its real tokens, then unit length, as in
its model card (sentence-transformers/all-MiniLM-L6-v2). BERT's pooler was not trained and is left
out. Word, position and type tables keep their full size, so texts may have up to 512 tokens.

Source: Wang et al. 2020, MiniLM (arXiv 2002.10957); Reimers and Gurevych 2019 (arXiv 1908.10084).
"""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict
from torch.nn import functional as F

from sensorium.encoders import transformer
from sensorium.errors import RecipeError
from sensorium.layers import Cache
from sensorium.model import State

SUMMARY = "all-MiniLM-L6-v2, a frozen sentence tower"
WIDTH, LAYERS = 384, 6
VOCABULARY, LENGTH = 30_522, 512


class Spec(BaseModel):
    """Nothing to choose: the tower is as it was trained."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    use: Literal["minilm"] = "minilm"


class Encoder(transformer.Encoder):
    """The tower's transformer; `pooled` has unit length.

    Raises:
        RecipeError: the texts have another vocabulary, or more than 512 tokens.
    """

    def __init__(self, spec: Spec, modality: transformer.Text) -> None:
        if modality.vocabulary != VOCABULARY or modality.length > LENGTH:
            raise RecipeError(
                "encoder minilm",
                expected=f"texts cut by the tokenizer minilm, at most {LENGTH} tokens",
                found=f"a vocabulary of {modality.vocabulary}, {modality.length} tokens",
            )
        super().__init__(
            transformer.Spec(
                width=WIDTH,
                depth=LAYERS,
                heads=12,
                mlp=4.0,
                norm="post",
                eps=1e-12,
                dropout=0.0,
                types=2,
                embedding_norm=True,
                final_norm=False,
                pool="mean",
            ),
            SimpleNamespace(vocabulary=VOCABULARY, length=LENGTH),
        )
        self.stack.packs = False  # cached features must not depend on who shared their batch

    def encode(self, state: State, cache: Cache | None = None) -> State:
        """The same rows with encoded tokens and pooled [n, 384] of unit length."""
        state = super().encode(state)
        assert state.pooled is not None
        return replace(state, pooled=F.normalize(state.pooled, dim=-1))


def convert(original: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state dict of `Encoder` from a BertModel's (transformers' names)."""
    table = "embeddings."
    weights = {
        "words.weight": original[table + "word_embeddings.weight"],
        "positions.weight": original[table + "position_embeddings.weight"],
        "types.weight": original[table + "token_type_embeddings.weight"],
    }
    for part in ("weight", "bias"):
        weights[f"embedding_norm.{part}"] = original[f"{table}LayerNorm.{part}"]
        for at in range(LAYERS):
            old, new = f"encoder.layer.{at}.", f"stack.blocks.{at}."
            # One map for queries, keys and values, in this order.
            weights[f"{new}attention.qkv.{part}"] = torch.cat(
                [original[f"{old}attention.self.{x}.{part}"] for x in ("query", "key", "value")]
            )
            for ours, theirs in (
                ("attention.out", "attention.output.dense"),
                ("attention_norm", "attention.output.LayerNorm"),
                ("mlp.up", "intermediate.dense"),
                ("mlp.down", "output.dense"),
                ("mlp_norm", "output.LayerNorm"),
            ):
                weights[f"{new}{ours}.{part}"] = original[f"{old}{theirs}.{part}"]
    return weights
