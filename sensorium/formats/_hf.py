"""Export in transformers' format, for models that have an exact counterpart there.

config.json, model.safetensors, and what makes the inputs: preprocessor_config.json, tokenizer.json
and tokenizer_config.json. The folder is loaded with transformers, where it is installed, and its
outputs are compared with ours.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from sensorium import building, draws, shelf
from sensorium.errors import UserError
from sensorium.files import write_new
from sensorium.formats import _check, _convert, _folder, _inputs
from sensorium.formats._check import Check
from sensorium.formats._config import Config
from sensorium.formats._names import below
from sensorium.formats._part import Tower
from sensorium.recipe import member

_PILLOW = {"bilinear": 2, "bicubic": 3}
_PROCESSORS = {"clip": "CLIPImageProcessor", "vit": "ViTImageProcessor"}


def write(run: Any, step: Any, folder: Path) -> Check:
    """Writes the folder and compares it; see the module.

    Raises:
        UserError: no format of ours has an exact counterpart of the model.
    """
    if run.recipe.prepare:
        raise _none(run, "its encoders stand on frozen towers")
    told = {name: _told(run, step, name) for name in run.recipe.modalities}
    texts = [name for name, x in told.items() if "vocabulary" in x]
    reader = run.reader(texts[0]).modality if texts else None
    ids = {
        "first": getattr(reader, "first", None),
        "last": getattr(reader, "last", None),
        "pad": 0,
    }
    swapped = ids["last"] == 2 and set(told) != {"text"}
    if swapped:
        ids["first"], ids["last"] = ids["last"], ids["first"]
    facts = ids | {
        "space": run.recipe.space,
        "project": run.recipe.project,
        "fusion": run.recipe.fusion["use"],
        "compared": set(building.compared(step)),
        "words": "text" in step.model.vocabularies and run.recipe.head.transform,
    }
    for name in shelf.names("formats"):
        format = shelf.load("formats", name)
        config = getattr(format, "written", lambda towers, facts: None)(told, facts)
        if config is not None:
            break
    else:
        raise _none(run, "its modules differ from those of " + ", ".join(_exact()))
    if swapped:
        step = _turned(step, ids)
    write_new(folder / _folder.CONFIG, [json.dumps(config, indent=1).encode()])
    _write_inputs(run, told, folder, config["model_type"], ids, swapped)
    opened = Config(
        config, format.DEFAULTS[config["model_type"]] | {"model_type": config["model_type"]},
        folder / _folder.CONFIG,
    )  # fmt: skip
    parts = {name: _like(part, told[name]) for name, part in format.towers(opened).items()}
    names = _names(format, opened, config, parts)
    state = {k: v for k, v in step.state_dict().items() if _ours(k, names)}
    theirs = _convert.to_theirs(state, names)
    data = save({key: value.clone() for key, value in sorted(theirs.items())}, {"format": "pt"})
    write_new(folder / _folder.WEIGHTS, [data])
    against = _check.library()
    if against is None:
        return Check(None)
    model = _check.theirs(folder, config["architectures"][0])
    rng = draws.generator("export", run.recipe.hash)
    if len(parts) > 1:
        return Check(against, _check.pair_rows(step, parts, model, rng))
    ((name, part),) = parts.items()
    inner = getattr(model, getattr(model, "base_model_prefix", ""), model)
    return Check(against, _check.tower_rows(step.model.encoders[name], part, inner, rng))


def _exact() -> list[str]:
    return [
        name for name in shelf.names("formats") if hasattr(shelf.load("formats", name), "written")
    ]


def _none(run: Any, why: str) -> UserError:
    return UserError(
        f"recipe {run.recipe.name} has no exact counterpart in transformers: {why}",
        expected="a model of the form " + ", ".join(_exact()),
        see="--to safetensors writes any model, --to onnx any that gives vectors",
    )


def _told(run: Any, step: Any, name: str) -> dict[str, Any]:
    """All that decides one modality's part: encoder, order, sizes."""
    _, spec = member("encoders", f"encoders.{name}", run.recipe.encoders[name])
    modality = run.reader(name).modality
    facts = {"encoder": spec.model_dump(mode="json"), "order": run.recipe.order.get(name, "full")}
    facts["kind"] = modality.name
    if modality.name == "image":
        own = modality.spec
        facts |= dict(size=own.size, patch=own.patch, crop=own.crop, resample=own.resample)
    if modality.name == "text":
        facts |= dict(vocabulary=modality.vocabulary, length=modality.length)
    return facts


def _like(part: Tower, told: dict[str, Any]) -> Tower:
    """The part as its config says it, with all options of our encoder."""
    return Tower(
        part.modality,
        told["encoder"],
        part.options,
        part.names,
        part.prefixes,
        part.left_out,
        part.order,
        part.ends,
        part.colours,
        part.inside,
        part.pooled,
    )


def _names(format: Any, opened: Config, config: dict[str, Any], parts: dict[str, Tower]) -> Any:
    """Our Step's weights -> theirs."""
    if len(parts) > 1:
        return format.whole(opened, ()).all_names
    ((name, part),) = parts.items()
    headed = config["architectures"][0] in getattr(format, "HEADED", {})
    before, extra = format.HEADED[config["architectures"][0]] if headed else ("", {})
    return below(f"model.encoders.{name}.", before, part.names) | dict(extra)


def _ours(name: str, names: Any) -> bool:
    """Whether the other format has the weight: a teacher, stand-ins and other heads it has not."""
    from sensorium.formats._names import place

    return place(name, names) is not None


def _turned(step: Any, ids: dict[str, Any]) -> Any:
    """A copy whose word table has the rows before and after a text exchanged.

    An `eos_token_id` of 2 means something else to CLIP in transformers: the text's largest id (its
    issue 24773), so no end of ours may have it.
    """
    step = copy.deepcopy(step)
    rows = [ids["first"], ids["last"]]
    with torch.no_grad():
        words = step.model.encoders["text"].words.weight
        words[rows] = words[list(reversed(rows))].clone()
    return step


def _write_inputs(
    run: Any, told: dict[str, Any], folder: Path, kind: str, ids: dict[str, Any], swapped: bool
) -> None:
    for name, facts in told.items():
        if facts["kind"] == "image":
            encoder = facts["encoder"]
            size = facts["size"]
            content = {
                "image_processor_type": _PROCESSORS.get(kind, "CLIPImageProcessor"),
                "do_resize": True,
                "size": {"shortest_edge": round(size / facts["crop"])},
                "do_center_crop": True,
                "crop_size": {"height": size, "width": size},
                "resample": _PILLOW[facts["resample"]],
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_normalize": True,
                "do_convert_rgb": True,
                "image_mean": list(encoder["mean"]),
                "image_std": list(encoder["std"]),
            }
            if kind == "vit":  # its processor neither crops nor keeps the sides' ratio
                content |= {"do_center_crop": False, "size": {"height": size, "width": size}}
                content["image_processor_type"] = "ViTImageProcessor"
            data = json.dumps(content, indent=1).encode()
            write_new(folder / _inputs.PREPROCESSOR, [data])
        if facts["kind"] == "text":
            _write_tokenizer(run.reader(name).modality, facts["length"], folder, ids, swapped)
            if kind == "bert" and facts["encoder"]["pool"] in ("mean", "first"):
                mean = facts["encoder"]["pool"] == "mean"
                (folder / "1_Pooling").mkdir()
                pooling = {
                    "word_embedding_dimension": facts["encoder"]["width"],
                    "pooling_mode_cls_token": not mean,
                    "pooling_mode_mean_tokens": mean,
                }
                data = json.dumps(pooling, indent=1).encode()
                write_new(folder / "1_Pooling" / "config.json", [data])


def _write_tokenizer(
    modality: Any, length: int, folder: Path, ids: dict[str, Any], swapped: bool
) -> None:
    """tokenizer.json that puts the two special entries around a text by itself."""
    content = json.loads(modality.state()[_inputs.TOKENIZER])
    first, last = _inputs.OURS
    if swapped:
        entries = content["model"]["vocab"]
        entries[first], entries[last] = ids["first"], ids["last"]
        for added in content["added_tokens"]:
            if added["content"] in (first, last):
                added["id"] = entries[added["content"]]
        content["added_tokens"].sort(key=lambda added: added["id"])
    special = {
        name: {"id": name, "ids": [ids[at]], "tokens": [name]}
        for name, at in ((first, "first"), (last, "last"))
    }
    piece = [{"SpecialToken": {"id": first, "type_id": 0}},
             {"Sequence": {"id": "A", "type_id": 0}},
             {"SpecialToken": {"id": last, "type_id": 0}}]  # fmt: skip
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": piece,
        "pair": [*piece, {"Sequence": {"id": "B", "type_id": 1}},
                 {"SpecialToken": {"id": last, "type_id": 1}}],
        "special_tokens": special,
    }  # fmt: skip
    known = {x["content"] for x in content["added_tokens"]}
    told = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": length,
        "bos_token": first,
        "eos_token": last,
        "cls_token": first,
        "sep_token": last,
    }
    for key, name in (("pad_token", "[PAD]"), ("mask_token", "[MASK]"), ("unk_token", "[UNK]")):
        if name in known or name in content["model"]["vocab"]:
            told[key] = name
    text = json.dumps(content, ensure_ascii=False).encode()
    write_new(folder / _inputs.TOKENIZER, [text])
    write_new(folder / "tokenizer_config.json", [json.dumps(told, indent=1).encode()])
