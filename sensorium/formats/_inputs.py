"""How a model's own inputs are made: preprocessor_config.json and tokenizer.json, in our terms."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sensorium.errors import UserError, clip
from sensorium.formats._config import Config
from sensorium.formats._folder import read_json

PREPROCESSOR, TOKENIZER = "preprocessor_config.json", "tokenizer.json"
# Numbers of Pillow's filters that our pictures have.
FILTERS = {2: "bilinear", 3: "bicubic"}
DECODES = "[DEC]"  # what BLIP puts before a caption; its tokenizer_config.json does not say so
OURS = ("[CLS]", "[SEP]")  # how our texts call the entries before and after them


def pictures(
    folder: Path, options: dict[str, Any], colours: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """(options of the modality, options of the encoder, what differs and is only told).

    Args:
        folder: of the model.
        options: size and patch as the config has them.
        colours: mean and std where the file says nothing.

    Raises:
        UserError: a value that our pictures cannot express; names the key.
    """
    file = folder / PREPROCESSOR
    if not file.is_file():
        return (
            options,
            dict(colours),
            [f"no {PREPROCESSOR}: colours are normalised as in the first release"],
        )
    content = read_json(file)
    told = Config(content, {}, file)
    size, notes = options["size"], []
    if told.content.get("do_rescale", True) is not True:
        raise told.wrong("do_rescale", "True: colours from 0 to 1", content["do_rescale"])
    factor = content.get("rescale_factor", 1 / 255)
    if not isinstance(factor, int | float) or abs(factor - 1 / 255) > 1e-9:
        raise told.wrong("rescale_factor", "1/255", factor)
    options = dict(options)
    crop, resized = content.get("crop_size"), content.get("size", size)
    cut = bool(content.get("do_center_crop", False)) and crop is not None
    if cut and _side(told, "crop_size", crop) != size:
        raise told.wrong("crop_size", f"image_size of config.json, {size}", crop)
    if isinstance(resized, dict) and "shortest_edge" in resized and cut:
        shorter = _side(told, "size", resized["shortest_edge"])
        if shorter < size:
            raise told.wrong("size", f"at least crop_size, {size}", resized)
        options["crop"] = size / shorter
    else:
        if _side(told, "size", resized) != size:
            raise told.wrong("size", f"image_size of config.json, {size}", resized)
        if not cut:
            notes.append(
                "the model was trained on pictures squeezed to a square; ours are cut to one"
            )
    number = content.get("resample", 2)
    if number not in FILTERS:
        raise told.wrong("resample", "2 (bilinear) or 3 (bicubic)", number)
    options["resample"] = FILTERS[number]
    if content.get("do_normalize", True) is False:
        return options, dict(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)), notes
    given = {
        ours: _colour(told, key, colours[ours])
        for ours, key in (("mean", "image_mean"), ("std", "image_std"))
    }
    return options, given, notes


def _side(told: Config, key: str, value: Any) -> int:
    if isinstance(value, dict):
        sides = {value.get("height"), value.get("width")}
        value = sides.pop() if len(sides) == 1 else value
    if type(value) is not int or value < 1:
        raise told.wrong(key, "a square of so many pixels", value)
    return value


def _colour(told: Config, key: str, default: Any) -> tuple[float, float, float]:
    value = told.content.get(key, default)
    fits = isinstance(value, list | tuple) and len(value) == 3
    if not fits or not all(type(x) in (int, float) for x in value):
        raise told.wrong(key, "three numbers", value)
    red, green, blue = map(float, value)
    return red, green, blue


def tokenizer(folder: Path, ends: tuple[str, str], vocabulary: int) -> bytes:
    """tokenizer.json as our texts read it.

    The entries before and after a text get the names that ours have; ids stay as they are.

    Raises:
        UserError: there is none, it is damaged, has too many entries, or lacks those two.
    """
    file = folder / TOKENIZER
    if not file.is_file():
        raise UserError(
            file=file,
            expected="the tokenizer in the format of the library tokenizers",
            found="nothing there",
            see="AutoTokenizer.from_pretrained(NAME).save_pretrained(FOLDER) writes it",
        )
    content = read_json(file)
    first, last = _ends(folder, ends)
    model = content.get("model")
    entries = model.get("vocab") if isinstance(model, dict) else None
    added = content.get("added_tokens") or []
    if isinstance(entries, dict):
        known = set(entries)
    elif isinstance(entries, list):  # Unigram: [entry, score] in the order of the ids
        known = {str(x[0]) for x in entries if isinstance(x, list) and x}
    else:
        raise UserError(file=file, field="model.vocab", expected="entries", found=clip(entries))
    known |= {x.get("content") for x in added if isinstance(x, dict)}
    if ends[0] == DECODES and DECODES in known:
        first = DECODES
    for name in (first, last):
        if name not in known:
            raise UserError(
                f"no entry {name!r} before or after a text",
                file=file,
                expected="the special entries that the model was trained with",
            )
    renamed = dict(zip((first, last), OURS, strict=True))
    for name in OURS:  # an entry that has the name and another use
        if name in known and name not in renamed:
            renamed[name] = f"{name} of the source"
    changed = _renamed(content, renamed)
    data = json.dumps(changed, ensure_ascii=False).encode()
    _checked(file, data, vocabulary)
    return data


def _checked(file: Path, data: bytes, vocabulary: int) -> None:
    from tokenizers import Tokenizer

    try:
        made = Tokenizer.from_str(data.decode())
    except Exception as error:  # the library has no error class of its own
        raise UserError(file=file, expected="a tokenizer", found=clip(str(error))) from None
    largest = max(made.get_vocab().values())
    if largest >= vocabulary:
        raise UserError(
            file=file,
            expected=f"ids below vocab_size of config.json, {vocabulary}",
            found=f"id {largest}",
        )


def _ends(folder: Path, ends: tuple[str, str]) -> tuple[str, str]:
    """The entries before and after a text, as tokenizer_config.json names them."""
    file = folder / "tokenizer_config.json"
    told = read_json(file) if file.is_file() else {}
    if not told and (folder / "special_tokens_map.json").is_file():
        told = read_json(folder / "special_tokens_map.json")

    def named(*keys: str) -> str | None:
        for key in keys:
            value = told.get(key)
            value = value.get("content") if isinstance(value, dict) else value
            if isinstance(value, str):
                return value
        return None

    if ends == ("<pad>", "</s>"):  # SigLIP: nothing stands before a text; see its encoder
        return ends[0], named("eos_token") or ends[1]
    return (
        named("cls_token", "bos_token") or ends[0].replace(DECODES, OURS[0]),
        named("sep_token", "eos_token") or ends[1],
    )


def _renamed(content: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """A tokenizer's JSON with some entries called otherwise, and no padding, cutting or frame:
    ours do that."""
    model = dict(content["model"])
    entries = model["vocab"]
    if isinstance(entries, dict):
        model["vocab"] = {names.get(key, key): value for key, value in entries.items()}
    else:
        model["vocab"] = [[names.get(x[0], x[0]), *x[1:]] for x in entries]
    if model.get("unk_token") in names:
        model["unk_token"] = names[model["unk_token"]]
    added = [
        x | {"content": names.get(x.get("content"), x.get("content"))}
        for x in content.get("added_tokens") or []
    ]
    return content | {
        "model": model,
        "added_tokens": added,
        "post_processor": None,
        "padding": None,
        "truncation": None,
    }
