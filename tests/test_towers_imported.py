"""What the cache says of imported models, and the commands that put them there."""

import json

import numpy as np
import pytest
from commands import sensorium
from formats import saved

from sensorium import cache, importing, towers_imported
from sensorium.errors import RunError, UserError
from sensorium.prepare import Reader
from sensorium.recipe import load


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of several formats; read only."""
    place = tmp_path_factory.mktemp("models")
    saved.clip(place / "clip"), saved.vit(place / "vit"), saved.siglip(place / "siglip")
    saved.vilt(place / "vilt")
    (place / "clip" / "README.md").write_text("---\nlicense: mit\n---\n")
    return place


@pytest.fixture
def cached(empty_cache):
    """An empty cache of the test's own."""
    return empty_cache


def test_import_prints_licence_kind_and_the_error_of_each_layer(models, cached):
    told = sensorium("cache", "import", models / "clip")
    assert told.code == 0, told.err
    towers = importing.towers_kept()
    assert [x.modality for x in towers] == ["image", "text"]
    for tower in towers:
        assert f"{tower.name}\n  licence   mit\n" in told.out
        assert f"clip, the {tower.modality} tower, {tower.width} values" in told.out
        for layer, absolute, relative in tower.rows:
            assert f"    {layer:<24}{absolute:>10}{relative:>10}\n" in told.out
    assert "clip, the whole model of image and text" in told.out
    assert "image: vector" in told.out  # a row of the whole model alone
    listed = sensorium("cache", "list").out.splitlines()
    names = [tower.name for tower in towers] + [f"clip-whole-{towers[0].weight_hash[:12]}"]
    for name in names:
        assert [line for line in listed if line.endswith(f"  {name}  licence mit")]


def test_one_part_is_imported_alone(models, cached):
    assert sensorium("cache", "import", models / "clip", "--part", "text").code == 0
    assert [told["modality"] for told in towers_imported.every()] == ["text"]


def test_a_model_without_towers_is_kept_as_a_whole(models, cached):
    told = sensorium("cache", "import", models / "vilt")
    assert told.code == 0, told.err
    assert ["recipe" in x for x in towers_imported.every()] == [True]
    assert "vilt, the whole model of" in told.out


def test_a_tower_alone_is_no_mistake(models, cached):
    told = sensorium("cache", "import", models / "vit")
    assert (told.code, told.err) == (0, "")
    assert "the image tower" in told.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["vit", "--part", "text"], "vit has a tower for image"),
        (["vit", "--part", "imge"], "nearest  image"),
        (["vitt"], "nearest  vit"),
    ],
)
def test_mistakes_of_import(arguments, says, models, cached):
    told = sensorium("cache", "import", models / arguments[0], *arguments[1:])
    assert told.code == 2
    assert says in told.err
    assert towers_imported.every() == []


def test_a_pickle_and_an_unknown_kind_are_refused(models, cached, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text((models / "vit" / "config.json").read_text())
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    told = sensorium("cache", "import", folder)
    assert (told.code, "safe_serialization=True" in told.words) == (2, True)
    saved.edit(folder, model_type="vitt")
    told = sensorium("cache", "import", folder)
    assert (told.code, "nearest  vit" in told.err) == (2, True)


def test_a_damaged_copy_counts_as_absent(models, cached):
    made = importing.tower(models / "vit")
    (made.folder / "weights.safetensors").write_bytes(b"short")
    assert towers_imported.every() == []
    assert made.name not in towers_imported.licences()
    with pytest.raises(UserError, match="damaged copy"):
        towers_imported.weight_hash({"use": "imported", "name": made.name, "sha256": "x"})
    (made.folder / "import.json").write_text(json.dumps([1]))
    assert towers_imported.facts(made.name) is None


def test_the_tokenizer_is_verified(models, cached):
    made = importing.tower(models / "clip", "text")
    assert json.loads(towers_imported.tokenizer(made.name))["model"]["vocab"]["w9"] == 9
    file = made.folder / "tokenizer.json"
    file.write_bytes(file.read_bytes().replace(b"w9", b"w0"))
    with pytest.raises(RunError, match="sha256"):
        towers_imported.tokenizer(made.name)
    picture = importing.tower(models / "vit")
    with pytest.raises(UserError, match="without a tokenizer"):
        towers_imported.tokenizer(picture.name)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_features_are_what_the_tower_gives_alone(name, models, cached):
    """Long and short texts together: cut at the model's length, as SigLIP's tower demands."""
    made = importing.tower(models / name, "text")
    told = towers_imported.facts(made.name)
    recipe = load("lit")
    recipe = recipe.model_copy(
        update={
            "modalities": {"text": towers_imported.reading(told, "text")},
            "prepare": {"text": towers_imported.preparing(told, made.width, made.order)},
        }
    )
    reader = Reader(recipe, "text")
    texts = ["w5 w6", " ".join(f"w{at}" for at in range(10, 60)), "w7", "w8 w9 w10 w11 w12"]
    given = reader.encode(texts)
    assert given.shape == (4, 1, made.width)
    encoder, own = made.load(), made.reader()
    from reference import text_look

    for text, row in zip(texts, given[:, 0], strict=True):
        tokens = own.tokens(text, None)
        look = text_look(tokens.ids, tokens.real, made.order)
        alone = encoder.encode(encoder.embed(look)).pooled[0].detach().numpy()
        np.testing.assert_allclose(row, alone, atol=2e-6)


def test_nothing_is_listed_that_was_not_imported(cached):
    (cache.folder("towers") / "mine").mkdir()
    assert towers_imported.every() == []
    assert sensorium("cache", "list").code == 0
