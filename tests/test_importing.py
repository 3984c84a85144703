"""Reading another library's folder: what is refused, what is kept, what is compared."""

import json
import shutil
import sys

import pytest
import torch
from formats import saved
from safetensors.torch import load_file, save_file

from sensorium import cache, importing
from sensorium.errors import MissingExtra, RunError, UserError
from sensorium.formats import _check, _convert, _folder


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One folder a format; read only."""
    place = tmp_path_factory.mktemp("models")
    saved.clip(place / "clip"), saved.vit(place / "vit"), saved.bert(place / "bert")
    return place


@pytest.fixture
def folder(models, tmp_path, empty_cache):
    """A copy of a BERT that a test may damage."""
    return shutil.copytree(models / "bert", tmp_path / "bert")


def weights(folder, change):
    """Rewrites a folder's weights."""
    file = folder / "model.safetensors"
    found = load_file(file)
    change(found)
    save_file(found, file, {"format": "pt"})


def refused(folder, **about):
    with pytest.raises(UserError) as caught:
        importing.tower(folder)
    error = caught.value
    for key, wanted in about.items():
        assert wanted in str(getattr(error, key)), error.lines
    return error


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.pt", "last.ckpt", "weights.pth", "flax_model.msgpack"]
)
def test_a_pickle_alone_is_refused_with_the_way_to_convert(name, folder):
    (folder / "model.safetensors").rename(folder / name)
    (folder / name).write_bytes(b"\x80\x04cos\nsystem\n(S'touch opened'\ntR.")
    error = refused(folder, what=name, see="safe_serialization=True")
    assert error.expected == "safetensors"
    with pytest.raises(UserError, match="safe_serialization"):
        importing.tower(folder / name)  # named itself
    (folder / "config.json").unlink()
    refused(folder, what=name)


def test_a_pickle_beside_safetensors_is_not_opened(folder):
    (folder / "pytorch_model.bin").write_bytes(b"no pickle")
    assert importing.tower(folder).architecture == "bert"


@pytest.mark.parametrize("key", ["auto_map", "trust_remote_code"])
def test_a_config_names_no_code(key, folder):
    saved.edit(folder, **{key: {"AutoModel": "modeling_evil.Model"}})
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    refused(folder, field=key)


def test_the_class_is_chosen_by_us_not_by_the_file(folder, monkeypatch):
    """`architectures` may say anything; only model_type decides, among ours."""
    saved.edit(folder, architectures=["os.system"])
    assert importing.tower(folder).check.against.startswith("transformers 5")


def test_an_unknown_architecture_gets_the_nearest(folder):
    saved.edit(folder, model_type="bertt")
    assert refused(folder, field="model_type", found="bertt").nearest == "bert"


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("hidden_act", "relu", "gelu"),
        ("layer_norm_eps", 0, "above 0"),
        ("layer_norm_eps", "small", "above 0"),
        ("hidden_size", 0, "whole number"),
        ("num_attention_heads", 7, "divisor"),
        ("num_hidden_layers", 2.5, "whole number"),
        ("quantization_config", {"bits": 4}, "plain weights"),
    ],
)
def test_a_value_that_ours_cannot_express_is_named(key, value, expected, folder):
    saved.edit(folder, **{key: value})
    refused(folder, field=key, expected=expected, file="config.json")


def test_another_eps_is_taken_over_and_not_assumed(folder):
    """A wrong eps would pass a look at shapes and names; the comparison sees it."""
    saved.edit(folder, layer_norm_eps=0.05)
    ours = importing.tower(folder)
    assert ours.encoder["eps"] == 0.05
    opened = importing.open_folder(folder)
    part = opened.format.towers(opened.config)["text"]
    wrong = importing.built(part.encoder | {"eps": 1e-12}, importing.sizes(part.options))
    wrong.load_state_dict(ours.load().state_dict())
    with pytest.raises(UserError, match="embeddings of our modules is not what transformers"):
        importing.compared(opened, part, wrong.eval(), "key")


def test_another_activation_is_seen_by_the_comparison(folder):
    opened = importing.open_folder(folder)
    part = opened.format.towers(opened.config)["text"]
    wrong = importing.built(
        part.encoder | {"activation": "quick_gelu"}, importing.sizes(part.options)
    )
    wrong.load_state_dict(importing.tower(folder).load().state_dict())
    with pytest.raises(UserError, match=r"block [01] of our modules"):
        importing.compared(opened, part, wrong.eval(), "key")


def test_an_error_that_is_no_number_is_refused(tmp_path):
    nothing = torch.full((2,), float("nan"))
    check = _check.Check("x", [_check.row("block 3", nothing, torch.zeros(2))])
    with pytest.raises(UserError, match="block 3"):
        check.refuse(tmp_path)


def test_a_missing_weight_is_named(folder):
    name = "encoder.layer.1.attention.self.key.bias"
    weights(folder, lambda found: found.pop(name))
    refused(folder, what=f"weight {name} is missing", expected="[24]")


def test_a_weight_too_many_is_named(folder):
    weights(folder, lambda found: found.update({"encoder.layer.7.lora.weight": torch.zeros(2)}))
    refused(folder, what="no part of ours", found="encoder.layer.7.lora.weight")


def test_another_shape_is_named(folder):
    name = "encoder.layer.0.intermediate.dense.weight"
    weights(folder, lambda found: found.update({name: torch.zeros(41, 24)}))
    refused(folder, what=name, expected="[40, 24]", found="[41, 24]")


def test_damaged_files_are_named(folder):
    (folder / "model.safetensors").write_bytes(b"\xff" * 64)
    refused(folder, file="model.safetensors", expected="safetensors")
    (folder / "config.json").write_text("{")
    refused(folder, file="config.json", expected="JSON")
    (folder / "config.json").write_text("[1]")
    refused(folder, expected="a mapping")


def test_nothing_there_gets_the_nearest(folder):
    with pytest.raises(UserError) as caught:
        importing.tower(folder.parent / "brt")
    assert caught.value.nearest == "bert"
    (folder / "model.safetensors").unlink()
    refused(folder, expected="model.safetensors")


# --- several files -----------------------------------------------------------------------------


def test_parts_with_an_index_are_read_as_one(folder):
    whole = importing.tower(folder).load().state_dict()
    found = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{at}-of-00002.safetensors" for at in (1, 2)]
    places = {name: names[at % 2] for at, name in enumerate(sorted(found))}
    for name in names:
        save_file({k: v for k, v in found.items() if places[k] == name}, folder / name)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    again = importing.tower(folder)
    assert all(torch.equal(v, whole[k]) for k, v in again.load().state_dict().items())
    (folder / names[1]).unlink()
    refused(folder, file=names[1], found="nothing there")
    index.write_text(json.dumps({"weight_map": {"a": "../bert/secret.safetensors"}}))
    refused(folder, field="weight_map", found="../bert")


def test_half_precision_is_read_as_float32(folder):
    whole = importing.tower(folder).load().state_dict()
    weights(folder, lambda found: found.update({k: v.half() for k, v in found.items()}))
    saved.edit(folder, dtype="float16")
    again = importing.tower(folder)
    assert max(row.absolute for row in again.check.rows) <= 1e-5
    for name, value in again.load().state_dict().items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, whole[name].half().float(), atol=0, rtol=0)


# --- what is kept --------------------------------------------------------------------------------


def test_what_is_kept_is_used_again_and_verified(folder, monkeypatch):
    first = importing.tower(folder)
    assert first.folder.parent == cache.root() / "towers"
    assert importing.kept(first.name) == first
    assert importing.towers_kept() == [first]
    monkeypatch.setattr(_convert, "to_ours", None)  # not converted again
    lines = []
    assert importing.tower(folder, progress=lines.append) == first
    assert "compared with transformers" in lines[-1]
    file = first.folder / "weights.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(RunError, match="sha256"):
        first.load()
    file.write_bytes(data[:-1])
    assert importing.towers_kept() == []
    with pytest.raises(UserError, match="no imported tower"):
        importing.kept(first.name)


def test_other_weights_have_another_name(folder):
    first = importing.tower(folder)
    weights(folder, lambda found: found["pooler.dense.bias"].add_(1))
    second = importing.tower(folder)
    assert first.name != second.name
    assert first.weight_hash != second.weight_hash


def test_a_frozen_tower_does_not_depend_on_its_batch(models, empty_cache):
    from reference import text_look

    ours = importing.tower(models / "bert").load()
    assert not any(p.requires_grad for p in ours.parameters())
    assert not ours.training
    ids = torch.randint(4, 300, (4, 9))
    real = torch.arange(9) < torch.tensor([9, 2, 3, 2])[:, None]
    with torch.no_grad():
        many = ours.encode(ours.embed(text_look(ids, real))).pooled
        turned = ours.encode(ours.embed(text_look(ids.flip(0), real.flip(0)))).pooled.flip(0)
    assert torch.equal(many, turned)


def test_texts_may_be_shorter_than_the_models(models, empty_cache):
    imported = importing.tower(models / "bert")
    from types import SimpleNamespace

    short = imported.load(SimpleNamespace(vocabulary=saved.WORDS, length=7))
    assert short.positions.weight.shape == (7, 24)
    with pytest.raises(UserError, match=r"words\.weight"):
        imported.load(SimpleNamespace(vocabulary=99, length=7))


def test_the_word_table_is_cut_to_the_tokenizers_entries(folder):
    saved.tokenizer(folder, words=310)
    imported = importing.tower(folder)
    assert imported.options["vocabulary"] == 310 == imported.reader().vocabulary
    assert imported.load(imported.reader()).words.weight.shape == (310, 24)
    assert "10 rows of the word table are left out" in imported.notes[0]
    saved.tokenizer(folder, words=330)
    refused(folder, file="tokenizer.json", found="id 329")


def test_without_transformers_the_comparison_is_skipped_and_that_is_kept(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    lines = []
    first = importing.tower(folder, progress=lines.append)
    assert first.check.against is None
    assert first.rows == []
    assert "not compared" in lines[-1]
    facts = json.loads((first.folder / "import.json").read_text())
    assert facts["check"] == {"against": None, "rows": []}
    monkeypatch.delitem(sys.modules, "transformers")
    again = importing.tower(folder)  # now it is there, so it is asked
    assert again.check.against
    facts = json.loads((again.folder / "import.json").read_text())
    assert [row["layer"] for row in facts["check"]["rows"]] == [
        "embeddings", "block 0", "block 1", "pooled"]  # fmt: skip
    assert again.rows[0][0] == "embeddings"
    assert float(again.rows[0][1]) <= 1e-5


# --- licence and inputs --------------------------------------------------------------------------


def test_the_licence_is_told_first(folder):
    assert importing.tower(folder).licence == "not stated"
    (folder / "LICENSE.txt").write_text("\n  MIT License\n\nCopyright")
    assert _folder.licence(folder) == "MIT License"
    card = folder / "README.md"
    card.write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n")
    assert _folder.licence(folder) == "apache-2.0"
    card.write_text("---\nlicense: other\nlicense_name: my-terms\n---\n")
    assert _folder.licence(folder) == "other (my-terms)"
    card.write_text("---\nlicense: [unclosed\n---\n")
    assert _folder.licence(folder) == "MIT License"


@pytest.fixture
def pictures(models, tmp_path, empty_cache):
    return shutil.copytree(models / "vit", tmp_path / "vit")


def preprocessor(folder, **content):
    (folder / "preprocessor_config.json").write_text(json.dumps(content))
    return folder


def test_pictures_are_read_as_the_preprocessor_says(pictures):
    preprocessor(
        pictures, do_center_crop=True, size={"shortest_edge": 40}, resample=2,
        crop_size={"height": 32, "width": 32}, image_mean=[0.1, 0.2, 0.3], image_std=[1, 0.9, 0.8],
    )  # fmt: skip
    imported = importing.tower(pictures)
    assert imported.options == dict(use="image", size=32, patch=8, crop=0.8, resample="bilinear")
    assert tuple(imported.encoder["mean"]) == (0.1, 0.2, 0.3)
    assert imported.load().spec.std == (1.0, 0.9, 0.8)
    assert imported.notes == []
    plain = importing.tower(preprocessor(pictures, do_normalize=False, size=32))
    assert plain.encoder["std"] == [1.0, 1.0, 1.0]
    squeezed = importing.tower(preprocessor(pictures, size={"height": 32, "width": 32}))
    assert "squeezed" in squeezed.notes[0]


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (dict(size=48), "size"),
        (dict(size={"height": 32, "width": 40}), "size"),
        (dict(size=32, resample=0), "resample"),
        (dict(size=32, rescale_factor=1.0), "rescale_factor"),
        (dict(size=32, do_rescale=False), "do_rescale"),
        (dict(size=32, image_mean=[0.5]), "image_mean"),
        (dict(do_center_crop=True, size={"shortest_edge": 16}, crop_size=32), "size"),
        (dict(do_center_crop=True, size={"shortest_edge": 64}, crop_size=48), "crop_size"),
    ],
)
def test_pictures_that_ours_cannot_express_are_named(content, key, pictures):
    refused(preprocessor(pictures, **content), field=key, file="preprocessor_config.json")


def test_a_text_tower_needs_its_tokenizer(folder):
    (folder / "tokenizer.json").write_text("{}")
    refused(folder, file="tokenizer.json", field="model.vocab")
    saved.tokenizer(folder, ends=("<first>", "<last>"))
    assert importing.tower(folder).reader().first == 3  # they are named in its config
    (folder / "tokenizer_config.json").unlink()
    refused(folder, what="no entry '[CLS]'")
    (folder / "tokenizer.json").unlink()
    refused(folder, file="tokenizer.json", see="save_pretrained")


# --- hf:NAME ------------------------------------------------------------------------------------


def test_the_local_cache_is_asked_before_the_network(models, tmp_path, empty_cache, monkeypatch):
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    place = tmp_path / "hf" / "hub" / "models--owner--small-bert"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("abc123")
    shutil.copytree(models / "bert", place / "snapshots" / "abc123")
    imported = importing.tower("hf:owner/small-bert")
    assert imported.name.startswith("owner-small-bert-text-")
    assert imported.source == "hf:owner/small-bert"
    assert _folder.find("hf:owner/small-bert@abc123").name == "abc123"
    with pytest.raises(MissingExtra, match=r"sensorium\[hf\]"):
        importing.tower("hf:owner/another")
    (place / "snapshots" / "abc123" / "model.safetensors").unlink()
    with pytest.raises(MissingExtra):  # half a snapshot is none
        importing.tower("hf:owner/small-bert")


def test_without_network_the_error_says_so(tmp_path, empty_cache, monkeypatch):
    import huggingface_hub

    asked = {}

    def refuse(name, **how):
        asked.update(how, name=name)
        raise OSError("Cannot reach the hub\nat all")

    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(UserError) as caught:
        importing.tower("hf:owner/small")
    assert "Cannot reach the hub" in caught.value.found
    assert asked["name"] == "owner/small"
    assert not [x for x in asked["allow_patterns"] if x.endswith((".bin", ".py", ".pt", "*"))
                and x != "LICENSE*"]  # fmt: skip


@pytest.mark.parametrize("name", ["hf:../etc", "hf:a/b/c", "hf:", "hf:a/..", "hf:-x"])
def test_a_name_of_another_form_is_refused(name):
    with pytest.raises(UserError, match="OWNER/NAME"):
        importing.tower(name)
