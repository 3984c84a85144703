"""The first row of retrieval: an imported CLIP as it is, ranked as transformers ranks it."""

import json
import shutil

import numpy as np
import pytest
import torch
import transformers
from commands import sensorium
from conftest import COLOURS, SHAPES
from formats import saved
from PIL import Image

from sensorium import importing, towers_imported, zero_shot
from sensorium.pretraining import pretrain
from sensorium.report.words import label
from sensorium.run import Run

NAMES = ["a", "small", "large", *COLOURS, *SHAPES]
CLIP = "zero-shot my_clip (mit, with a note)"


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A CLIP that knows the words of `tiny_data`, with a licence; read only."""
    folder = saved.words(saved.clip(tmp_path_factory.mktemp("models") / "my_clip"), NAMES)
    (folder / "README.md").write_text("---\nlicense: [mit, with a note]\n---\n")
    return folder


@pytest.fixture
def run(tiny_run, clip, tmp_path, empty_cache):
    """A copy of `tiny_run`, with that CLIP in the cache."""
    importing.whole(clip)
    return Run.open(shutil.copytree(tiny_run.folder, tmp_path / "run"))


def theirs(clip, data, records):
    """Similarities of transformers, float [texts, pictures], with their own pixels and ids."""
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    entries = json.loads((clip / "tokenizer.json").read_text())["model"]["vocab"]
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    deviation = np.array([0.26862954, 0.26130258, 0.27577711])
    pixels, ids = [], []
    for record in records:
        stem = record.key.rpartition(".")[0]
        picture = np.asarray(Image.open(data / f"{stem}.png").convert("RGB")) / 255
        pixels.append(((picture - mean) / deviation).transpose(2, 0, 1))
        words = (data / f"{stem}.txt").read_text().split()
        ids.append([3, *(entries[word] for word in words), entries["<|endoftext|>"]])
    with torch.no_grad():
        told = model(
            input_ids=torch.tensor(ids),
            pixel_values=torch.tensor(np.array(pixels), dtype=torch.float32),
        )
    return told.logits_per_text.double().numpy()


def test_it_is_the_first_row_and_ranks_as_transformers_does(run, clip, tiny_data):
    scores = [s for s in run.evaluate("train") if s["task"] == "retrieval"]
    records = run.records()
    table = theirs(clip, tiny_data, [records[at] for at in records.positions("train")])
    for score in scores:
        assert next(iter(score["controls"])) == CLIP
        row = score["controls"][CLIP]
        given = table if score["direction"] == "text_to_image" else table.T
        places = [(line > line[at]).sum() + 1 for at, line in enumerate(given)]
        k = int(score["metric"].partition("@")[2])
        assert row["value"] == pytest.approx(np.mean([place <= k for place in places]))
        assert row["interval"][0] <= row["value"] <= row["interval"][1]
        assert row["difference"] == pytest.approx(score["value"] - row["value"])
        assert row["difference_interval"][0] <= row["difference"] <= row["difference_interval"][1]
    assert len({score["controls"][CLIP]["value"] for score in scores}) > 2  # not all 0 or all 1


def test_vectors_are_those_of_transformers(run, clip, tiny_data):
    records = run.records()
    asked = [records[at] for at in records.positions("test")]
    told = zero_shot.models()[0]
    found = zero_shot.vectors(run, told, asked, {"text": 4, "image": 4})
    ours = found["text"] @ found["image"].T
    wanted = theirs(clip, tiny_data, asked)  # the same up to CLIP's scale
    np.testing.assert_allclose(ours / ours[0, 0], wanted / wanted[0, 0], rtol=1e-4)
    for vectors in found.values():
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_everywhere_it_is_shown_it_comes_first(run):
    told = sensorium("evaluate", run.folder)
    rows = told.out.splitlines()
    first = [rows[at + 1] for at, row in enumerate(rows) if row.strip().startswith("this run")]
    assert first
    assert all("zero-shot my_clip" in row for row in first)
    assert f"  {CLIP}" in rows  # in full: the licence of every weight is shown
    page = run.report().read_text()
    assert page.index(CLIP) < page.index("ConSE, nothing trained")
    assert (
        f"{zero_shot.models()[0]['name']}</b>, in the zero-shot row only. mit, with a note." in page
    )
    assert label(CLIP) == CLIP  # as its authors write it


def test_without_such_a_model_there_is_no_row(run, clip):
    shutil.rmtree(towers_imported.place(zero_shot.models()[0]["name"]))
    importing.tower(clip, "text"), importing.tower(clip, "image")  # towers alone compare nothing
    for score in run.evaluate("test"):
        assert not [name for name in score["controls"] if name.startswith("zero-shot")]


def test_a_model_whose_modalities_meet_is_none(run, tmp_path):
    importing.whole(saved.vilt(tmp_path / "vilt"))
    assert [x["architecture"] for x in zero_shot.models()] == ["clip"]


def test_features_are_kept_by_content(run, monkeypatch):
    before = run.evaluate("test")
    monkeypatch.setattr(towers_imported, "load", None)  # nothing is encoded again
    assert run.evaluate("test") == before


def test_damaged_weights_are_a_reason_and_no_end(run):
    file = towers_imported.place(zero_shot.models()[0]["name"]) / "weights.safetensors"
    file.write_bytes(bytes(file.stat().st_size))
    for score in run.evaluate("test"):
        row = score["controls"][CLIP]
        assert row["value"] is None
        assert "cannot be used" in row["reason"]


def test_records_that_it_cannot_read_are_a_reason(run):
    told = zero_shot.models()[0]
    records = run.records()
    asked = [records[at] for at in records.positions("test")]
    found = zero_shot.vectors(run, told, asked, {"text": 5, "image": 4})
    assert found == "it cannot read all of these records"


def test_a_long_licence_is_cut_in_the_row():
    told = {"name": "x", "source": "hf:a/b", "licence": "L" * 200}
    assert zero_shot.label(told) == f"zero-shot a/b ({'L' * 39}…)"


def test_two_models_of_one_name_are_told_apart(run, clip, tmp_path):
    other = shutil.copytree(clip, tmp_path / "my_clip")
    saved.edit(other, text_config={**json.loads((clip / "config.json").read_text())["text_config"],
                                   "layer_norm_eps": 1e-3})  # fmt: skip
    importing.whole(other)
    names = [zero_shot.label(told) for told in zero_shot.models()]
    assert len(set(names)) == 2
    assert all(name.startswith("zero-shot my_clip ") for name in names)


def test_a_run_on_the_models_own_towers_has_the_row_too(clip, tiny_data, tmp_path, empty_cache):
    importing.whole(clip)
    run = pretrain(tiny_data, "plain_projections", tower=str(clip), out=tmp_path / "run",
                   budget="2-steps", overrides=["optimiser.batch=8"])  # fmt: skip
    assert next(iter(run.scores("test")[0]["controls"])) == CLIP
