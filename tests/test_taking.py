"""`--tower`: a run on imported towers, end to end; what is asked in vain is told before torch."""

import json
import shutil

import pytest
from commands import sensorium
from conftest import COLOURS, SHAPES
from formats import saved
from test_cli import loaded_by

from sensorium import importing, taking, towers_imported
from sensorium.errors import RecipeError, UserError
from sensorium.pretraining import pretrain, resume
from sensorium.recipe import load
from sensorium.run import Run

SMALL = ("optimiser.batch=8", "encoders.image.components=16", "encoders.text.components=16")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders whose tokenizers know the words of `tiny_data`; read only."""
    place = tmp_path_factory.mktemp("models")
    saved.clip(place / "clip"), saved.vit(place / "vit"), saved.bert(place / "bert")
    for name in ("clip", "bert"):
        saved.words(place / name, ["a", "small", "large", *COLOURS, *SHAPES])
    return place


@pytest.fixture(scope="module")
def made(models, tiny_data, tmp_path_factory):
    """(a run of `lit` on a ViT and a BERT, its cache). Read only."""
    place = tmp_path_factory.mktemp("taken")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(place / "cache"))
        run = pretrain(
            tiny_data,
            "lit",
            tower=[f"image={models / 'vit'}", f"text={models / 'bert'}"],
            out=place / "run",
            budget="2-steps",
            overrides=list(SMALL),
        )
    return run, place / "cache"


@pytest.fixture
def opened(made, tmp_path, monkeypatch):
    """Copies of run and cache that a test may change."""
    run, cache = made
    monkeypatch.setenv("SENSORIUM_CACHE", str(shutil.copytree(cache, tmp_path / "cache")))
    return Run.open(shutil.copytree(run.folder, tmp_path / "run"))


# --- what is asked --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "given", "says"),
    [
        ("clip", ["image=x"], "lit, plain_projections"),
        ("albef", ["x"], "albef, which trains its own encoders"),
        ("lit", ["audio=x"], "image, text, found audio"),
        ("lit", ["imag=x"], "nearest  image"),
        ("lit", ["image=x", "image=y"], "one tower for image"),
        ("lit", ["image="], "image=SOURCE"),
    ],
)
def test_what_a_recipe_cannot_take(recipe, given, says):
    with pytest.raises(RecipeError) as caught:
        taking.wishes(load(recipe), given)
    assert says in str(caught.value).replace("\n", " ")


def test_a_folder_may_have_an_equals_sign():
    asked = taking.wishes(load("lit"), ["./my=model", "text=a=b"])
    assert asked == [taking.Wish(None, "./my=model"), taking.Wish("text", "a=b")]


def test_what_cannot_be_taken_is_told_before_torch(tiny_data, tmp_path):
    code = f"""
from sensorium import cli
try:
    cli.main(["pretrain", {str(tiny_data)!r}, "--recipe", "clip", "--tower", "image=x",
              "--out", {str(tmp_path / "run")!r}])
except SystemExit as end:
    assert end.code == 2
"""
    assert "torch" not in loaded_by(code)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("tower", "says"),
    [
        ("{}/bert-of-image", "expected a folder"),
        ("image={}/bert", "bert has a tower for text"),
        ("{}/pickled", "safe_serialization=True"),
        ("{}/strange", "nearest vit"),
    ],
)
def test_a_source_that_has_no_such_tower_leaves_no_run(
    tower, says, models, tiny_data, tmp_path, empty_cache
):
    for name in ("pickled", "strange"):
        if not (models / name).exists():
            shutil.copytree(models / "vit", models / name)
    (models / "pickled" / "model.safetensors").unlink(missing_ok=True)
    (models / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    saved.edit(models / "strange", model_type="vitt")
    told = sensorium("pretrain", tiny_data, "--tower", tower.format(models), "--out",
                     tmp_path / "run")  # fmt: skip
    assert told.code == 2
    assert says in told.words
    assert not (tmp_path / "run").exists()


def test_a_whole_models_folder_gives_both_and_no_third(models, empty_cache):
    recipe = load("plain_projections")
    asked = taking.wishes(recipe, [str(models / "clip")])
    taken = taking.taken(recipe, asked, lambda line: None)
    told = {name: towers_imported.facts(x["name"]) for name, x in taken.prepare.items()}
    assert {name: x["modality"] for name, x in told.items()} == {"image": "image", "text": "text"}
    assert taken.prepare["text"]["order"] == "causal"
    assert taken.modalities["text"]["tokenizer"] == "imported"
    both = taking.wishes(recipe, [str(models / "clip"), f"image={models / 'vit'}"])
    with pytest.raises(RecipeError, match="one tower for image"):
        taking.taken(recipe, both, lambda line: None)


def test_what_was_set_for_the_recipes_own_towers_goes(models, empty_cache):
    """lit takes roots of features, and a prior in MiniLM's space; neither holds elsewhere."""
    lit = load("lit")
    asked = taking.wishes(lit, [f"image={models / 'vit'}"])
    taken = taking.taken(lit, asked, lambda line: None)
    assert lit.encoders["image"]["root"]
    assert not taken.encoders["image"]["root"]
    assert (lit.prior > 0, taken.prior) == (True, 0.0)
    assert {x["prior"] for x in taken.encoders.values()} == {"none"}
    assert taken.prepare["text"] == lit.prepare["text"]
    assert taken.modalities["image"] == {"use": "image", "size": 32, "patch": 8}
    said = " ".join(taken.departures)
    assert "vit, licence not stated) instead of efficientnet_lite" in said
    assert taken.hash != lit.hash
    assert taking.taken(lit, [], lambda line: None) is lit


# --- the run --------------------------------------------------------------------------------------


def test_a_run_names_its_towers_by_hash_and_searches(opened):
    towers = {name: x["name"] for name, x in opened.recipe.prepare.items()}
    assert sorted(x.rpartition("-")[0] for x in towers.values()) == ["bert-text", "vit-image"]
    for name, options in opened.recipe.prepare.items():
        assert options["sha256"] == importing.kept(towers[name]).weight_hash
        assert opened.reader(name).tower.width == options["width"]
    found = opened.search("a small red circle", k=3)
    assert len(found) == 3
    assert set(opened.scores("test")[0]["controls"]) >= {"plain_projections", "partner_shuffled"}


def test_texts_are_read_with_the_imported_tokenizer(opened):
    own = json.loads((opened.folder / "modalities" / "text" / "tokenizer.json").read_text())
    assert own["model"]["vocab"]["purple"] == 11
    reader = opened.reader("text")
    assert reader.modality.tokens("small purple", None).ids.tolist() == [[3, 5, 11, 319]]
    assert reader.modality.decode([3, 5, 11, 319]) == "small purple"


def test_the_report_shows_their_licence(opened):
    page = opened.report().read_text()
    for name, options in opened.recipe.prepare.items():
        assert f"{options['name']}</b>, reads the {name}, frozen. not stated." in page


def test_without_its_tower_it_opens_no_more_and_says_how(opened, models):
    shutil.rmtree(towers_imported.place(opened.recipe.prepare["image"]["name"]))
    again = Run.open(opened.folder)  # JSON only
    with pytest.raises(UserError, match=r"vit-image-[0-9a-f]{12} is not in the cache") as caught:
        again.search("red")
    assert caught.value.see == f"sensorium cache import {models / 'vit'} --part image"
    opened.note(best_step=None)
    with pytest.raises(UserError, match="is not in the cache"):
        resume(opened.folder)
    told = sensorium(*caught.value.see.split()[1:])  # what it says helps
    assert told.code == 0, told.err
    assert Run.open(opened.folder).reader("image").tower.width == 32


def test_other_weights_under_the_source_are_not_taken(opened, models, tmp_path):
    """The source changed since: importing it again gives another name, and the run says so."""
    other = shutil.copytree(models / "vit", tmp_path / "vit")
    saved.edit(other, layer_norm_eps=1e-3)
    shutil.rmtree(towers_imported.place(opened.recipe.prepare["image"]["name"]))
    assert importing.tower(other).name != opened.recipe.prepare["image"]["name"]
    with pytest.raises(UserError, match="is not in the cache"):
        Run.open(opened.folder).reader("image")


def test_it_resumes_as_if_it_had_not_stopped(made, opened):
    run, _ = made
    for name in ("index", "evaluation", "controls"):
        shutil.rmtree(opened.folder / name)
    opened.note(best_step=None)
    again = resume(opened.folder)
    assert again.scores("test") == run.scores("test")


def test_a_tower_that_knows_none_of_the_words_is_told(models, tiny_data, tmp_path, empty_cache):
    saved.bert(tmp_path / "bert")  # to its tokenizer all words are unknown
    told = sensorium("pretrain", tiny_data, "--tower", tmp_path / "bert", "--tower",
                     models / "vit", "--out", tmp_path / "run", *SMALL)  # fmt: skip
    assert told.code == 2
    assert "a tower that tells items of text apart" in told.words
    assert not (tmp_path / "run" / "run.json").exists()
