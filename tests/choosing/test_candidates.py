"""Which recipes take part, by what the data hold; what is refused, by its name."""

import io

import pytest
from PIL import Image

from sensorium import towers
from sensorium.choosing import candidates
from sensorium.choosing.candidates import ADDITIVE, JOINT
from sensorium.errors import DataError


def table(folder, rows=60, **columns):
    """A CSV of pictures of their own and texts, with further columns: name -> row -> cell."""
    folder.mkdir()
    lines = [",".join(["picture", "caption", *columns])]
    for at in range(rows):
        out = io.BytesIO()
        Image.new("RGB", (48, 32), (at * 4 % 256, at * 7 % 256, at)).save(out, "PNG")
        (folder / f"{at}.png").write_bytes(out.getvalue())
        cells = [str(column(at)) for column in columns.values()]
        lines.append(",".join([f"{at}.png", f"thing number {at}", *cells]))
    file = folder / "things.csv"
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


def names(subject):
    return [one.name for one in candidates.of(subject)[0]]


def test_pictures_and_texts_are_compared_by_search(tmp_path):
    file = table(tmp_path / "a", shape=lambda at: "ab"[at % 2])
    subject = candidates.examine(str(file))
    assert subject.modalities == ("image", "text")
    assert subject.outcome == "retrieval:text_to_image@1"
    assert subject.luck == 1 / subject.test
    assert subject.could_be == ("shape",)
    assert names(subject) == ["lit", "plain_projections", "clip", "albef"]
    assert all(one.shipped for one in candidates.of(subject)[0])


def test_recipes_without_their_towers_are_left_out_and_named(tmp_path, monkeypatch):
    subject = candidates.examine(str(table(tmp_path / "a")))
    monkeypatch.setattr(towers, "available", lambda name: False)
    made, notes = candidates.of(subject, fetch=False)
    assert [one.name for one in made] == ["clip", "albef"]
    assert [note.split()[0] for note in notes] == ["lit", "plain_projections"]


def test_with_a_label_each_modality_stands_alone_and_all_together(tmp_path):
    file = table(tmp_path / "a", shape=lambda at: "abb"[at % 3], price=lambda at: at * 3)
    subject = candidates.examine(str(file), None, "shape")
    assert names(subject) == ["pictures alone", "texts alone", ADDITIVE, JOINT]
    assert subject.fields == {"picture": "image", "caption": "text", "shape": "label"}
    assert subject.classes == 2
    assert subject.pixels == 48
    told = {"picture": "image", "caption": "text", "price": "table"}
    three = candidates.examine(str(file), told, "shape")
    assert names(three) == ["pictures alone", "table alone", "texts alone", ADDITIVE, JOINT]
    joint = candidates.of(three)[0][-1].recipe
    assert set(joint.modalities) == {"image", "table", "text"}


def test_luck_with_a_label_is_the_commonest_class_of_the_test_split(tmp_path):
    from sensorium import reading

    file = table(tmp_path / "a", shape=lambda at: "abb"[at % 3])
    subject = candidates.examine(str(file), None, "shape")
    read = reading.read(str(file), subject.fields, train=("image", "text", "label"))
    tested = [read[at].fields["shape"] for at in read.positions("test")]
    assert subject.luck == max(map(tested.count, "ab")) / len(tested)
    assert subject.test == len(tested)


def test_the_joint_and_the_additive_recipe_differ_in_fusion_alone(tmp_path):
    from sensorium.comparison.arms import differences

    file = table(tmp_path / "a", shape=lambda at: "ab"[at % 2])
    made = {
        x.name: x.recipe for x in candidates.of(candidates.examine(str(file), None, "shape"))[0]
    }
    found = differences(made[ADDITIVE], made[JOINT])
    assert found
    assert all(path.startswith("fusion") for path in found)


def test_small_pictures_are_read_small(synergy):
    subject = candidates.examine(str(synergy), None, "label")
    recipe = candidates.of(subject)[0][0].recipe
    assert subject.pixels == 32
    assert recipe.modalities["image"]["size"] == 32


@pytest.mark.parametrize(
    ("fields", "label", "wanted"),
    [
        ({"caption": "text"}, None, "pictures and texts, or --label"),
        ({"caption": "text", "price": "table"}, None, "pictures and texts, or --label"),
        ({"caption": "text"}, "shape", "two modalities or more"),
        (None, "shap", "nearest  shape"),
        (None, "same", "only 'one'"),
        (None, "caption", "60 different values in 60 records"),
        ({"picure": "image", "caption": "text"}, None, "nearest  picture"),
    ],
)
def test_what_no_choice_can_be_made_for_is_refused(tmp_path, fields, label, wanted):
    file = table(
        tmp_path / "a", shape=lambda at: "ab"[at % 2], price=lambda at: at, same=lambda at: "one"
    )
    with pytest.raises(DataError, match=wanted):
        candidates.examine(str(file), fields, label)
