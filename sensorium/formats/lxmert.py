"""LXMERT: a BERT of words, one of regions, and layers in which both ask each other.

Tan and Bansal 2019 (arXiv 1908.07490). Names of transformers' `LxmertModel`. Its pictures are a
detector's regions with boxes, which nothing here reads: ours are patches, whose linear map and
places start from random weights; all else is the model's. Checked against
huggingface/transformers models/lxmert/modeling_lxmert.py with equal weights, on random regions.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from sensorium.formats import _met, bert
from sensorium.formats._check import Row, row
from sensorium.formats._config import Config
from sensorium.formats._names import Names, Shaped, Theirs, below
from sensorium.formats._part import Tower, Whole

SUMMARY = "LXMERT: words and patches ask each other"
CLASSES = {"lxmert": "LxmertModel"}
DEFAULTS: dict[str, dict[str, Any]] = {
    "lxmert": dict(
        vocab_size=30522,
        hidden_size=768,
        num_attention_heads=12,
        intermediate_size=3072,
        hidden_act="gelu",
        max_position_embeddings=512,
        type_vocab_size=2,
        l_layers=9,
        x_layers=5,
        r_layers=5,
        visual_feat_dim=2048,
    )
}
EPS = 1e-12  # of all its norms; its config has no such key

TEXT: Names = {name: theirs for name, theirs in bert.NAMES.items() if not name.startswith("pooler")}
IMAGE: Names = {
    name: tuple(x.replace("encoder.layer.", "encoder.r_layers.") for x in theirs)
    if isinstance(theirs, tuple)
    else str(theirs).replace("encoder.layer.", "encoder.r_layers.")
    for name, theirs in bert.NAMES.items()
    if name.startswith("stack.")
}
_SHARED = "encoder.x_layers.*.visual_attention."
FUSION: dict[str, Theirs] = {
    "model.fusion.crossings.*.attention.q.*": _SHARED + "att.query.*",
    "model.fusion.crossings.*.attention.kv.*": (_SHARED + "att.key.*", _SHARED + "att.value.*"),
    "model.fusion.crossings.*.attention.out.*": _SHARED + "output.dense.*",
    "model.fusion.crossings.*.attention_norm.*": _SHARED + "output.LayerNorm.*",
    "model.fusion.pooler.linear.*": "pooler.dense.*",
}
for _ours, _theirs in (("text", "lang"), ("image", "visn")):
    _own = f"encoder.x_layers.*.{_theirs}_self_att."
    FUSION |= below(
        f"model.fusion.layers.*.{_ours}.",
        "",
        {
            "attention.qkv.*": tuple(f"{_own}self.{x}.*" for x in ("query", "key", "value")),
            "attention.out.*": _own + "output.dense.*",
            "attention_norm.*": _own + "output.LayerNorm.*",
            "mlp.up.*": f"encoder.x_layers.*.{_theirs}_inter.dense.*",
            "mlp.down.*": f"encoder.x_layers.*.{_theirs}_output.dense.*",
            "mlp_norm.*": f"encoder.x_layers.*.{_theirs}_output.LayerNorm.*",
        },
    )
HEADS: Names = {
    "model.vocabularies.text.transform.*": "cls.predictions.transform.dense.*",
    "model.vocabularies.text.norm.*": "cls.predictions.transform.LayerNorm.*",
    "model.vocabularies.text.bias": "cls.predictions.bias",
    "objectives.matching.head.*": Shaped("cls.seq_relationship.*", "flipped"),
}
_OTHER = "a head of another form"
LEFT_OUT = {
    "**embeddings.position_ids": "counts up; no weight",
    "**encoder.visn_fc.**": "reads a detector's regions and boxes",
    "cls.predictions.decoder.*": "tied to the word table",
    "obj_predict_head.**": "tells a detector's classes",
    "answer_head.**": _OTHER,
}
NOTES = (
    "pictures are patches where the model has a detector's regions: their linear map and places "
    "are new, and nothing it says of a picture is worth anything before training",
    "weights for an absent modality are new: the model never lacks one",
)
SIZE, PATCH = 192, 32  # 36 patches for its 36 regions


def towers(config: Config) -> dict[str, Tower]:
    """None: its words and its regions were trained together, and regions are not read here."""
    return {}


def whole(config: Config, names: Collection[str]) -> Whole:
    """The whole model: two stacks, and cross-attention both ways.

    Raises:
        UserError: a value that our modules cannot express; names the key.
    """
    block = config.block(depth="l_layers")
    activation = config.activation()
    headed = "cls.predictions.transform.dense.weight" in names
    if headed:
        config.activation(only="gelu")
    before = "lxmert." if any(name.startswith("lxmert.") for name in names) else ""
    form = block | dict(norm="post", activation=activation, eps=EPS, final_norm=False)
    text = Tower(
        "text",
        dict(
            use="transformer", **form, types=config.count("type_vocab_size"),
            embedding_norm=True, pool="first",
        ),
        dict(
            use="text", tokenizer="trained", length=config.count("max_position_embeddings", 3),
            vocabulary=config.count("vocab_size", 1, 200_000),
        ),
        TEXT,
    )  # fmt: skip
    image = Tower(
        "image",
        dict(
            use="vision_transformer", **(form | dict(depth=config.count("r_layers"))),
            class_token=False, pool="mean",
        ),
        dict(use="image", size=SIZE, patch=PATCH),
        IMAGE,
    )  # fmt: skip
    fused = {k: v for k, v in form.items() if k != "width"} | dict(depth=config.count("x_layers"))
    matching = {"use": "matching", "negatives": "random", "replace": "text"}
    words = {"use": "masked_tokens", "edits": [{"use": "hide", "rate": 0.15}]}
    patches = tuple(f"model.encoders.image.{x}.*" for x in ("patch", "positions"))
    new = ("model.absent.*", *patches)
    return Whole(
        recipe=dict(
            fusion=dict(
                use="cross_attention", **fused, ways="both", order="cross_first", lead="text",
                pool="pooler",
            ),
            objectives=[words, matching] if headed else [matching],
        ),
        towers={"image": image, "text": text},
        prefixes={"text": before, "image": before},
        names=below("", before, FUSION) | dict(HEADS if headed else {}),
        reference="LxmertForPreTraining" if headed else "LxmertModel",
        left_out=LEFT_OUT,
        new=new if headed else (*new, "objectives.matching.**"),
        notes=NOTES,
    )  # fmt: skip


@torch.no_grad()
def rows(step: Any, parts: dict[str, Tower], model: Any, rng: np.random.Generator) -> list[Row]:
    """The comparison, on random regions that enter ours by the model's own maps."""
    looks, given = _met.seen(parts, rng)
    del given["pixel_values"]
    trunk = getattr(model, "lxmert", model)
    n, p = looks["image"].tokens.real.shape
    width = trunk.config.visual_feat_dim
    regions = torch.from_numpy(rng.standard_normal((n, p, width), dtype=np.float32))
    boxes = torch.from_numpy(rng.random((n, p, 4), dtype=np.float32))
    given |= {"visual_feats": regions, "visual_pos": boxes}
    out = _met.asked(trunk, **given)
    embedded = {m: step.model.embed(look) for m, look in looks.items()}
    inside = trunk.encoder.visn_fc(regions, boxes)
    embedded["image"] = replace(embedded["image"], tokens=inside)
    entered = {m: _met.encoded(step, m, state) for m, state in embedded.items()}
    told = {"text": out.language_hidden_states, "image": out.vision_hidden_states}
    depth = len(step.model.fusion.layers)
    met = _met.meet(step, entered)
    made = []
    for name, hidden in told.items():
        real = entered[name].real
        before = hidden[len(hidden) - depth - 1]
        made.append(row(f"{name}: encoded", entered[name].tokens[real], before[real]))
    made += _met.rows(met, {name: list(hidden[-depth:]) for name, hidden in told.items()})
    made.append(row("joint", met.joint, out.pooled_output))
    if hasattr(model, "cls"):
        score, words = model.cls(out.language_output, out.pooled_output)[::-1]
        made += _met.heads(step, met, score.flip(1), words)  # theirs: class 1 is a match
    return made
