"""Small models with random weights, saved as transformers saves them, for tests to import."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import transformers
from reference import randomise
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

WORDS = 320  # entries: our texts have at least 300
TEXT = dict(
    vocab_size=WORDS,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    max_position_embeddings=20,
)
PICTURE = dict(
    image_size=32,
    patch_size=8,
    hidden_size=32,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=72,
)


def save(model: torch.nn.Module, folder: Path, ends=("[CLS]", "[SEP]"), **more) -> Path:
    """Writes a model with random weights and a tokenizer of `WORDS` entries; returns the folder."""
    randomise(model)
    model.eval().save_pretrained(folder, **more)
    tokenizer(folder, ends)
    return folder


def tokenizer(folder: Path, ends=("[CLS]", "[SEP]"), words: int = WORDS) -> None:
    """tokenizer.json and tokenizer_config.json: words `w5` ..., the last id after a text."""
    first, last = ends
    entries = {"[PAD]": 0, "[UNK]": 1, "[MASK]": 2, first: 3}
    entries |= {f"w{at}": at for at in range(4, words - 1)} | {last: words - 1}
    made = Tokenizer(models.WordLevel(entries, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["[PAD]", "[UNK]", "[MASK]", first, last])
    made.save(str(folder / "tokenizer.json"))
    told = {"cls_token": first, "sep_token": last, "eos_token": {"content": last}}
    (folder / "tokenizer_config.json").write_text(json.dumps(told))


def words(folder: Path, named: list[str]) -> Path:
    """Gives the entries from id 4 on these names."""
    content = json.loads((folder / "tokenizer.json").read_text())
    entries = content["model"]["vocab"]
    for at, word in enumerate(named, 4):
        entries[word] = entries.pop(f"w{at}")
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def clip_config() -> transformers.CLIPConfig:
    """Both towers at different sizes."""
    return transformers.CLIPConfig(
        text_config=dict(TEXT, eos_token_id=WORDS - 1, bos_token_id=3, pad_token_id=0),
        vision_config=PICTURE,
        projection_dim=16,
    )


def clip(folder: Path, **more) -> Path:
    """A CLIPModel."""
    return save(
        transformers.CLIPModel(clip_config()), folder, ("<|startoftext|>", "<|endoftext|>"), **more
    )


def siglip(folder: Path) -> Path:
    """A SiglipModel."""
    text = dict(TEXT, hidden_size=32, num_attention_heads=4, pad_token_id=1, projection_size=32)
    config = transformers.SiglipConfig(text_config=text, vision_config=PICTURE)
    return save(transformers.SiglipModel(config), folder, ("<pad>", "</s>"))


def vit(folder: Path) -> Path:
    """A ViTModel with its pooler."""
    return save(transformers.ViTModel(transformers.ViTConfig(**PICTURE)), folder)


def bert(folder: Path, kind: str = "BertModel") -> Path:
    """A BERT of any head."""
    return save(getattr(transformers, kind)(transformers.BertConfig(**TEXT)), folder)


def edit(folder: Path, name: str = "config.json", **changes) -> Path:
    """Changes keys of a JSON file; `a__b=1` is a key below another."""
    file = folder / name
    content = json.loads(file.read_text()) if file.is_file() else {}
    for path, value in changes.items():
        node = content
        *above, key = path.split("__")
        for step in above:
            node = node[step]
        node[key] = value
    file.write_text(json.dumps(content))
    return folder


def vilt(folder: Path, kind: str = "ViltForImageAndTextRetrieval") -> Path:
    """A ViLT of any head."""
    sizes = PICTURE | TEXT | dict(num_hidden_layers=3)
    return save(getattr(transformers, kind)(transformers.ViltConfig(**sizes)), folder)


def blip(folder: Path, kind: str) -> Path:
    """A BLIP of any head."""
    text = dict(
        TEXT, encoder_hidden_size=32, bos_token_id=3, eos_token_id=5, pad_token_id=0, sep_token_id=5
    )
    config = transformers.BlipConfig(
        text_config=text, vision_config=PICTURE, image_text_hidden_size=8
    )
    return save(getattr(transformers, kind)(config), folder)


def visual_bert(folder: Path, kind: str) -> Path:
    """A VisualBERT of any head; its regions have 10 values."""
    config = transformers.VisualBertConfig(**TEXT, visual_embedding_dim=10)
    return save(getattr(transformers, kind)(config), folder)


def lxmert(folder: Path, kind: str) -> Path:
    """A LXMERT of any head; its regions have 10 values."""
    sizes = {key: value for key, value in TEXT.items() if key != "num_hidden_layers"}
    config = transformers.LxmertConfig(
        **sizes, l_layers=2, r_layers=1, x_layers=3, visual_feat_dim=10, num_qa_labels=7
    )
    return save(getattr(transformers, kind)(config), folder)


def flava(folder: Path) -> Path:
    """A FlavaModel."""
    fused = {key: TEXT[key] for key in TEXT if key not in ("vocab_size", "max_position_embeddings")}
    config = transformers.FlavaConfig(
        text_config=TEXT, image_config=PICTURE, multimodal_config=fused, hidden_size=24,
        projection_dim=8,
    )  # fmt: skip
    return save(transformers.FlavaModel(config), folder)


def align(folder: Path) -> Path:
    """An AlignModel with a small EfficientNet."""
    vision = dict(
        image_size=32, width_coefficient=0.1, depth_coefficient=0.1, hidden_dim=64,
        depthwise_padding=[],
    )  # fmt: skip
    config = transformers.AlignConfig(text_config=TEXT, vision_config=vision, projection_dim=24)
    return save(transformers.AlignModel(config), folder)
