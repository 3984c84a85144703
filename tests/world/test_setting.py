import pytest

from sensorium.errors import RecipeError
from sensorium.world._setting import FOLDER, check, load, names


def test_the_shipped_settings_are_there_and_say_what_they_tell():
    wanted = {"binding", "synergy", "languages", "dropout", "ignored_factor", "plain", "noise"}
    assert wanted | {"bits", "spatial"} == set(names())
    for name in names():
        setting = load(name)
        assert setting.name == name
        assert len(setting.tells) > 60
        assert len(setting.tells_not) > 40
        assert load(name.replace("_", "-")) == setting


MISTAKES = [
    ("name", "bindin", [], "nearest  binding"),
    ("key", "plain", ["colour=3"], "colours"),
    ("inner key", "noise", ["missing.txt=0.1"], "nearest  text"),
    ("value", "plain", ["canvas=16"], "greater than or equal to 32"),
    ("value alone", "plain", ["canvas=300"], "expected less than or equal to 224, found 300"),
    ("factor", "plain", ["mentions=[kind_1, color_1]"], "nearest  colour_1"),
    ("split", "plain", ["split.over=[kind_9]"], "nearest  kind_1"),
    ("modulo", "plain", ["split.modulo=7"], "divisor"),
    ("too many kinds", "plain", ["kinds=70"], "at most"),
    ("knob without label", "plain", ["bits.synergy=1"], "rule: bits"),
    ("no knob", "bits", ["bits={}"], "at least one knob"),
    ("no carrier", "bits", ["words=1", "mentions=[colour_1, named_colour]"], "word"),
    ("leak", "bits", ["mentions=[colour_1, word, named_colour, ground]"], "ground"),
    ("dependent", "bits", ["distinct=true"], "false"),
    ("order unseen", "bits", ["relations=4"], "which thing is the first"),
    ("unequal values", "synergy", ["named_colours=4"], "same values"),
    ("label arity", "synergy", ["label.of=[colour_1]"], "takes 2"),
    ("table", "dropout", ["table={}"], "if and only if"),
    ("table factor", "dropout", ["table.kind.of=kind"], "nearest  kind_1"),
    ("table name", "dropout", ["table={label: {of: kind_1}}"], "that no other column has"),
    ("table fact", "dropout", ["table={fact.x: {of: kind_1}}"], "that no other column has"),
    ("languages", "plain", ["languages={en: 0.5}"], "add up to 1"),
    ("language", "plain", ["languages={english: 1}"], "english"),
    ("one language", "languages", ["translations.languages=[c1, c1]"], "two different"),
    ("relation", "plain", ["relations=2"], "two things"),
    ("places", "binding", ["places=9"], "one thing"),
    ("share", "noise", ["wrong_pairs=1"], "less than 1"),
]


@pytest.mark.parametrize(
    ("name", "changes", "said"), [x[1:] for x in MISTAKES], ids=[x[0] for x in MISTAKES]
)
def test_a_mistake_is_one_error_that_names_what_is_valid(name, changes, said):
    with pytest.raises(RecipeError) as caught:
        load(name, changes)
    assert said in str(caught.value)


def test_a_file_of_ones_own_is_named_with_the_row(tmp_path):
    file = tmp_path / "mine.yaml"
    text = (FOLDER / "plain.yaml").read_text().replace("kinds: 16\n", "kindz: 16\n", 1)
    file.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load(file)
    row = text.splitlines().index("kindz: 16") + 1
    assert f"mine.yaml row {row}, field kindz" in str(caught.value)
    assert "nearest  kinds" in str(caught.value)


def test_what_is_written_down_can_be_read_again():
    for name in names():
        setting = load(name)
        assert check(setting.model_dump(mode="json")).hash == setting.hash


def test_a_setting_and_its_changes_have_other_hashes():
    hashes = {load("plain", changes).hash for changes in ([], ["kinds=8"], ["canvas=64"])}
    assert len(hashes) == 3
