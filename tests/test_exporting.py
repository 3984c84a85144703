"""What is written for other programs gives what the run gives, by their own hands."""

import json
import sys

import numpy as np
import pytest
import torch
import transformers
from conftest import TINY
from formats import saved
from reference import text_look
from safetensors.torch import load_file

from sensorium import building, exporting, importing
from sensorium.errors import MissingExtra, RunError, UserError
from sensorium.formats import _check
from sensorium.fusion.none import Fusion, Spec
from sensorium.model import Model
from sensorium.prepare import one
from sensorium.pretraining import pretrain
from sensorium.recipe import check, load
from sensorium.recipe_yaml import read_yaml
from sensorium.records import Blob
from sensorium.run import Run
from sensorium.step import Step

LIMIT = dict(atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def run(tiny_run):
    return Run.open(tiny_run.folder)


def vectors(run):
    """What the run gives for three texts and three pictures of its data."""
    records = run.records().records[:3]
    texts = [record.fields[run.fields["text"]] for record in records]
    texts = [x.read().decode() if isinstance(x, Blob) else str(x) for x in texts]
    pictures = [record.fields[run.fields["image"]] for record in records]
    made = {"text": np.stack([run.vector("text", x, "t") for x in texts])}
    made["image"] = np.stack([run.vector("image", x, "i") for x in pictures])
    return texts, pictures, made


# --- safetensors ----------------------------------------------------------------------------------


def test_plain_weights_recipe_and_tokenizer(run, tmp_path):
    told = exporting.export(run, "safetensors", tmp_path / "out")
    weights = load_file(tmp_path / "out" / "model.safetensors")
    state = run.step.state_dict()
    assert {f"model.{k}" if not k.startswith("objectives.") else k for k in weights} == set(state)
    assert torch.equal(
        weights["encoders.text.words.weight"], state["model.encoders.text.words.weight"]
    )
    recipe = check(read_yaml(tmp_path / "out" / "recipe.yaml"))
    assert recipe.hash == run.recipe.hash
    own = run.folder / "modalities" / "text" / "tokenizer.json"
    assert json.loads((tmp_path / "out" / "text" / "tokenizer.json").read_text()) == json.loads(
        own.read_text()
    )
    assert "model.safetensors" in told.files
    assert all(float(error) == 0 for _, error, _ in told.rows)
    assert str(tmp_path / "out") in str(told)


def test_a_folder_in_use_and_an_unknown_form_are_refused(run, tmp_path):
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("kept")
    with pytest.raises(RunError, match="new or empty"):
        exporting.export(run, "safetensors", tmp_path / "used")
    with pytest.raises(UserError) as caught:
        exporting.export(run, "onx", tmp_path / "new")
    assert caught.value.nearest == "onnx"
    assert sorted(x.name for x in tmp_path.iterdir()) == ["used"]


def test_nothing_appears_where_outputs_differ(run, tmp_path, monkeypatch):
    wrong = _check.Check("x", [_check.Row("text vector", 0.5, 0.5)])
    monkeypatch.setattr(exporting, "_writer", lambda to: lambda run, step, folder: wrong)
    with pytest.raises(UserError, match="text vector"):
        exporting.export(run, "safetensors", tmp_path / "out")
    assert not list(tmp_path.iterdir())


# --- transformers ---------------------------------------------------------------------------------


def test_a_run_of_clip_in_transformers_hands(run, tmp_path):
    """From words and pictures to vectors with its tokenizer, processor and model."""
    told = exporting.export(run, "hf", tmp_path / "hf")
    assert told.check.against.startswith("transformers")
    assert max(row.absolute for row in told.check.rows) <= 1e-5
    texts, pictures, want = vectors(run)
    model = transformers.CLIPModel.from_pretrained(tmp_path / "hf").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    # PyTorch's image library may be missing: the processor that stands on Pillow is asked.
    processor = transformers.CLIPImageProcessorPil.from_pretrained(tmp_path / "hf")
    given = tokenizer(texts, padding=True, return_tensors="pt")
    images = [run.reader("image").read(x, "i") for x in pictures]  # of the size, not resized again
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        out = model(given["input_ids"], pixels, given["attention_mask"])
    torch.testing.assert_close(out.text_embeds.numpy(), want["text"], **LIMIT)
    torch.testing.assert_close(out.image_embeds.numpy(), want["image"], **LIMIT)
    assert model.config.text_config.eos_token_id != 2  # it would mean the largest id


def test_export_and_import_give_the_run_back(run, tmp_path, empty_cache):
    exporting.export(run, "hf", tmp_path / "hf")
    whole = importing.whole(tmp_path / "hf")
    texts, _, want = vectors(run)
    reader = whole.reader("text")
    got = np.concatenate([whole.embed("text", one(reader, x, "t")) for x in texts])
    np.testing.assert_allclose(got, want["text"], atol=1e-5)
    ours, theirs = run.step.model.encoders["image"], whole.step.model.encoders["image"]
    state = theirs.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in ours.state_dict().items())


@pytest.mark.parametrize("kind", ["clip", "bert", "vit"])
def test_import_and_export_give_the_file_back(kind, tmp_path, empty_cache):
    """Every weight that was read is written again, under its name, to the bit."""
    folder = getattr(saved, kind)(tmp_path / kind)
    if kind == "clip":
        made = importing.whole(folder)
    else:
        made = Tower(importing.tower(folder))
    exporting.export(made, "hf", tmp_path / "again")
    before = load_file(folder / "model.safetensors")
    after = load_file(tmp_path / "again" / "model.safetensors")
    left = {k for k in before if k.startswith("pooler")} if kind == "vit" else set()
    assert set(after) == set(before) - left
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    old, new = (json.loads((x / "config.json").read_text()) for x in (folder, tmp_path / "again"))
    for key in ("hidden_size", "vocab_size", "image_size", "layer_norm_eps", "hidden_act"):
        assert new.get(key) == old.get(key), key


class Tower:
    """An imported tower alone, as what `export` asks of a run."""

    def __init__(self, imported):
        self.imported = imported
        name = imported.modality
        self.recipe = check(
            dict(
                name="one", summary="one", source="one", modalities={name: imported.options},
                encoders={name: imported.encoder},
                objectives=[{"use": "contrastive"}],
            )
        )  # fmt: skip
        encoder = imported.load()
        model = Model({name: encoder}, Fusion(Spec(), {name: encoder.width}), 8, compared=())
        self.step = Step(model, {})

    def reader(self, modality):
        class Reader:
            frozen = None

        Reader.modality = self.imported.reader()
        return Reader


def test_a_bert_with_its_head_over_words(tmp_path, empty_cache):
    recipe = load(
        "bert", "tiny", ["encoders.text.width=32", "encoders.text.heads=4", "encoders.text.depth=2"]
    )
    folder = saved.bert(tmp_path / "vocabulary")
    reader = importing.tower(folder).reader()
    step = building.build(recipe, {"text": reader}).eval()
    with torch.no_grad():
        for parameter in step.parameters():
            parameter += 0.02 * torch.randn(parameter.shape)

    class Made:
        def __init__(self):
            self.recipe, self.step = recipe, step

        def reader(self, modality):
            return type("Reader", (), {"modality": reader, "frozen": None})

    told = exporting.export(Made(), "hf", tmp_path / "hf")
    assert max(row.absolute for row in told.check.rows) <= 1e-5
    theirs = transformers.BertForMaskedLM.from_pretrained(tmp_path / "hf").eval()
    ids = torch.randint(4, 300, (2, 7))
    encoder = step.model.encoders["text"]
    with torch.no_grad():
        states = encoder.encode(encoder.embed(text_look(ids))).tokens
        got = step.model.logits("text", states.flatten(0, 1))
        want = theirs(input_ids=ids).logits.flatten(0, 1)
    torch.testing.assert_close(got, want, **LIMIT)


def test_what_has_no_counterpart_is_refused(tmp_path, empty_cache):
    whole = importing.whole(saved.siglip(tmp_path / "siglip"))
    with pytest.raises(UserError, match="no exact counterpart") as caught:
        exporting.export(whole, "hf", tmp_path / "out")
    assert "clip" in caught.value.expected
    assert not (tmp_path / "out").exists()


def test_without_transformers_the_comparison_is_skipped(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    told = exporting.export(run, "hf", tmp_path / "hf")
    assert told.check.against is None
    facts = json.loads((tmp_path / "hf" / "export.json").read_text())
    assert facts["check"] == {"against": None, "rows": []}


# --- onnx -----------------------------------------------------------------------------------------


def test_both_graphs_give_the_runs_vectors(run, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    told = exporting.export(run, "onnx", tmp_path / "onnx")
    assert [x for x in told.files if x.endswith(".onnx")] == ["image.onnx", "text.onnx"]
    assert max(row.absolute for row in told.check.rows) <= 1e-5
    assert len(told.check.rows) == 4
    texts, pictures, want = vectors(run)

    def answer(name, **given):
        session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / f"{name}.onnx"))
        return session.run(None, given)[0]

    tokens = run.reader("text").modality.batch(texts)
    got = answer("text", ids=tokens.ids.numpy(), real=tokens.real.numpy())
    np.testing.assert_allclose(got, want["text"], atol=1e-5)
    images = np.stack([run.reader("image").read(x, "i") for x in pictures])
    np.testing.assert_allclose(answer("image", picture=images), want["image"], atol=1e-5)


def test_the_towers_of_a_model_that_fuses_leave_too(tiny_data, tmp_path, empty_cache):
    """What stands for an absent picture or text is part of the graph there."""
    pytest.importorskip("onnxruntime")
    met = pretrain(
        tiny_data, "albef", out=tmp_path / "run", size="tiny", budget="2-steps",
        overrides=[*TINY, "fusion.depth=1", "fusion.heads=1", "objectives.0.queue=8"],
    )  # fmt: skip
    told = exporting.export(met, "onnx", tmp_path / "onnx")
    assert max(row.absolute for row in told.check.rows) <= 1e-5


def test_without_onnx_the_extra_is_named(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtra, match=r"sensorium\[onnx\]"):
        exporting.export(run, "onnx", tmp_path / "out")
    assert not list(tmp_path.iterdir())
