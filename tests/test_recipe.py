"""Recipes: complete, typed, every wrong key or value named with its line and the nearest."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sensorium import shelf
from sensorium.errors import RecipeError
from sensorium.recipe import SIZES, Recipe, check, load, parse_budget, read_yaml, sized, to_yaml

CLIP = shelf.path("recipes", "clip")


def changed(tmp_path, old, new):
    text = CLIP.read_text()
    assert old in text
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace(old, new, 1))
    return file


def test_yaml_reads_back_equal(tmp_path):
    for name in shelf.names("recipes"):
        recipe = load(name)
        file = tmp_path / f"{name}.yaml"
        file.write_text(to_yaml(recipe))
        again = load(file)
        assert again == recipe
        assert again.hash == recipe.hash


def test_a_field_of_a_later_version_changes_no_hash():
    """Runs of before can be opened when a recipe may say more than it could."""

    class Later(Recipe):
        more: str = "as before"

    content = load("lit").model_dump(mode="json")
    assert Later(**content).hash == load("lit").hash
    assert Later(**content, more="other").hash != load("lit").hash
    assert load("lit", overrides=["seed=1"]).hash != load("lit").hash


@pytest.mark.parametrize(
    ("old", "new", "field", "nearest"),
    [
        ("space: 512", "spcae: 512", "spcae", "space"),
        ("space: 512", "space: wide", "space", None),
        ("space: 512", "space: -1", "space", None),
        ("weight_decay: 0.2", "weight_deca: 0.2", "optimiser.weight_deca", "weight_decay"),
        ("use: vision_transformer", "use: vision_transfomer", None, "vision_transformer"),
        ("temperature: 0.07", "temprature: 0.07", "objectives.0.temprature", "temperature"),
        ("order: {text: causal}", "order: {text: casual}", "order.text", "causal"),
        ("order: {text: causal}", "order: {txt: causal}", "order.txt", "text"),
        ("budget: 2min", "budget: soon", "budget", None),
        ("    depth: 12", "    dept: 12", "encoders.image.dept", "depth"),
    ],
)
def test_mistakes_are_named(tmp_path, old, new, field, nearest):
    with pytest.raises(RecipeError) as caught:
        load(changed(tmp_path, old, new))
    assert caught.value.field == field
    assert caught.value.nearest == nearest


def test_the_line_is_right(tmp_path):
    file = changed(tmp_path, "space: 512", "spcae: 512")
    line = file.read_text().splitlines().index("spcae: 512") + 1
    with pytest.raises(RecipeError) as caught:
        load(file)
    assert (caught.value.file, caught.value.row) == ("mine.yaml", line)


def test_wrong_member_values_are_named_when_built():
    from sensorium.building import build

    recipe = load("clip", "tiny", ["objectives.0.temperature=-1"])
    with pytest.raises(RecipeError) as caught:
        build(recipe)
    assert caught.value.field == "objectives.0.temperature"


def test_broken_yaml_names_its_line(tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_text("name: x\nencoders: {image: [\nspace: 3\n")
    with pytest.raises(RecipeError) as caught:
        load(file)
    assert caught.value.row is not None
    file.write_text("- 1\n")
    with pytest.raises(RecipeError, match="a mapping"):
        load(file)
    with pytest.raises(RecipeError) as caught:
        load(tmp_path / "brokn.yaml")
    assert caught.value.nearest == "broken.yaml"


@pytest.mark.parametrize(
    "text", ["!!python/object/apply:os.system ['true']", "!!python/name:os.system"]
)
def test_yaml_names_no_code(tmp_path, text):
    file = tmp_path / "evil.yaml"
    file.write_text(CLIP.read_text().replace("name: clip", f"name: {text}"))
    with pytest.raises(RecipeError):
        load(file)


@pytest.mark.parametrize("use", ["os.system", "../training", "__init__", 3, None])
def test_a_member_names_no_code(use):
    content = read_yaml(CLIP)
    content["fusion"] = {"use": use}
    with pytest.raises(RecipeError):
        check(content)


def test_overrides_are_typed_and_refused():
    told = load(
        "clip", overrides=["optimiser.learning_rate=1e-3", "encoders.text.depth=2", "seed=4"]
    )
    assert told.optimiser.learning_rate == 0.001
    assert told.encoders["text"]["depth"] == 2
    assert told.seed == 4
    for text, nearest in [("optimizer.batch=3", "optimiser"), ("encoders.txt.depth=3", "text"),
                          ("seeed=1", "seed")]:  # fmt: skip
        with pytest.raises(RecipeError) as caught:
            load("clip", overrides=[text])
        assert caught.value.nearest == nearest
    for text in ("seed", "=3", "objectives.7.weight=1", "seed.x=1"):
        with pytest.raises(RecipeError):
            load("clip", overrides=[text])


def test_extends_one_level_and_no_more(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("extends: clip\nname: mine\nencoders: {text: {use: transformer, depth: 3}}\n")
    mine, clip = load(file), load("clip")
    assert mine.encoders["text"]["depth"] == 3
    assert mine.encoders["text"]["width"] == clip.encoders["text"]["width"]
    assert mine.encoders["image"] == clip.encoders["image"]
    # another member keeps none of the replaced one's options
    file.write_text("extends: clip\nname: mine\nencoders: {text: {use: minilm}}\n")
    assert load(file).encoders["text"] == {"use": "minilm"}
    file.write_text("extends: clp\nname: mine\n")
    with pytest.raises(RecipeError) as caught:
        load(file)
    assert caught.value.nearest == "clip"


@given(st.sampled_from(list(SIZES)))
def test_sizes_only_shrink(size):
    content = read_yaml(CLIP)
    smaller = sized(content, size)
    assert sized(content, "published")["encoders"] == content["encoders"]
    for modality in ("image", "text"):
        for key in ("width", "depth", "heads"):
            assert smaller["encoders"][modality][key] <= content["encoders"][modality][key]
        encoder = smaller["encoders"][modality]
        assert encoder["width"] % encoder["heads"] == 0
    assert smaller["modalities"]["image"]["size"] % smaller["modalities"]["image"]["patch"] == 0


@pytest.mark.parametrize(("size", "patches"), [("micro", 16), ("tiny", 64), ("small", 64)])
def test_pictures_are_cut_into_few_patches(size, patches):
    """4 x 4 at micro, else 8 x 8, whatever was published."""
    for name in ("clip", "albef", "visualbert", "coca", "simclr"):
        image = load(name, size).modalities["image"]
        assert (image["size"] // image["patch"]) ** 2 == patches


def test_micro_is_bounded_as_written():
    """Size 32, width 96 in 3 heads, depth 2, length 32, 1,000 words, space 96, fusion 2."""
    coca, albef, slip = (load(name, "micro") for name in ("coca", "albef", "slip"))
    assert coca.modalities["image"] == {"use": "image", "size": 32, "patch": 8}
    assert coca.modalities["text"]["length"] == 32
    assert coca.modalities["text"]["vocabulary"] == 1000
    for modality in ("image", "text"):
        encoder = coca.encoders[modality]
        assert (encoder["width"], encoder["depth"], encoder["heads"]) == (96, 2, 3)
    assert coca.encoders["image"]["queries"] == 16
    assert (coca.space, coca.fusion["depth"], coca.fusion["heads"]) == (96, 2, 3)
    assert albef.objectives[0]["queue"] == 512
    assert slip.objectives[1]["hidden"] == 192


def test_frozen_towers_keep_their_input():
    for size in SIZES:
        assert load("lit", size).modalities == load("lit").modalities


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [("2min", 120, "seconds"), ("90s", 90, "seconds"), ("1.5h", 5400, "seconds"),
     ("20k-samples", 20_000, "samples"), ("5-epochs", 5, "epochs"), ("1 epoch", 1, "epochs"),
     ("300-steps", 300, "steps")],
)  # fmt: skip
def test_budgets(text, amount, unit):
    told = parse_budget(text)
    assert (told.amount, told.unit) == (amount, unit)


@pytest.mark.parametrize("text", ["", "2", "-2min", "0s", "min", "2 fortnights", "1.2.3s", "nan s"])
def test_bad_budgets(text):
    with pytest.raises(RecipeError) as caught:
        parse_budget(text)
    assert caught.value.field == "budget"


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        (["variants.image=[{augment: true}]"], "variants.image"),
        (["modalities.question={use: text}", "encoders.question={use: nystroem}"], None),
        (["variants.text=[{field: x, augment: true}]"], "variants.text.0"),
        (["variants.sound=[{field: x}]"], "variants.sound"),
    ],
)
def test_what_cannot_be_read_is_refused(overrides, field):
    with pytest.raises(RecipeError) as caught:
        load("lit", overrides=overrides)
    assert caught.value.field == (field or "modalities.question")


def test_a_field_at_its_default_changes_no_hash():
    """Runs of before a field existed can still be opened."""
    recipe = load("clip")
    told = recipe.model_dump(mode="json", exclude_defaults=True)
    assert check(told).hash == recipe.hash
    fuller = told | {"teacher": None, "tune": None, "patience": None, "variants": {}, "targets": {}}
    assert check(fuller | {"head": {"transform": True}}).hash == recipe.hash
    assert check(told | {"patience": 3}).hash != recipe.hash


def test_another_member_keeps_the_options_that_it_has():
    """`fusion.use=...` alone must do: who changes one part does not know the others' options."""
    recipe = load("albef", "tiny", ["fusion.use=merge_attention"])
    assert recipe.fusion["depth"] == load("albef", "tiny").fusion["depth"]
    assert set(recipe.fusion) <= set(shelf.options("fusion", "merge_attention"))
    assert load("albef", overrides=["objectives.1.use=matching"]) == load("albef")
    with pytest.raises(RecipeError, match="no fusion called"):
        load("albef", overrides=["fusion.use=merge"])
    with pytest.raises(RecipeError, match="an option of merge_attention"):
        load("albef", overrides=["fusion.use=merge_attention", "fusion.ways=both"])
