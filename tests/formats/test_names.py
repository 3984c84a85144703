"""Tables of names: read in both directions, and what they refuse."""

import pytest
import torch
from safetensors.torch import load_file

from formats import saved
from sensorium import importing
from sensorium.formats import _convert
from sensorium.formats._names import Place, Shaped, below, matches, place

WHOLE = {
    "clip": saved.clip,
    "siglip": saved.siglip,
    "vilt": saved.vilt,
    "vilt words": lambda folder: saved.vilt(folder, "ViltForMaskedLM"),
    "blip": lambda folder: saved.blip(folder, "BlipForImageTextRetrieval"),
    "blip words": lambda folder: saved.blip(folder, "BlipForConditionalGeneration"),
    "lxmert": lambda folder: saved.lxmert(folder, "LxmertForPreTraining"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_each_table_has_an_inverse(name, tmp_path, empty_cache):
    """Every weight that an import reads comes back under its name, to the bit."""
    folder = WHOLE[name](tmp_path / "model")
    before = load_file(folder / "model.safetensors")
    whole = importing.whole(folder)
    opened = importing.open_folder(folder)
    table = opened.format.whole(opened.config, opened.weights.shapes.keys()).all_names
    state = whole.step.state_dict()
    after = _convert.to_theirs(state, table, tuple(whole.new))
    left = sum(int(line.split("(")[1].split()[0]) for line in whole.left_out)
    assert len(after) == len(before) - left > 20
    for key, value in after.items():
        if key.startswith("rank_output"):  # a difference of two rows
            torch.testing.assert_close(value, before[key])
        else:
            assert torch.equal(value, before[key]), key


FORMS = {  # form: (theirs, ours)
    "patch": (torch.arange(24.0).view(2, 3, 2, 2), None),
    "vector": (torch.arange(3.0).view(1, 1, 3), torch.arange(3.0)),
    "table": (torch.arange(6.0).view(1, 2, 3), torch.arange(6.0).view(2, 3)),
    "scalar": (torch.tensor(2.0), torch.tensor([2.0])),
    "turned": (torch.arange(6.0).view(2, 3), torch.arange(6.0).view(2, 3).T),
    "flipped": (torch.tensor([[1.0], [2.0]]), torch.tensor([[2.0], [1.0]])),
    "rank": (torch.tensor([[5.0, 6.0]]), torch.tensor([[5.0, 6.0], [0.0, 0.0]])),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_and_its_inverse(form):
    theirs, ours = FORMS[form]
    if form == "patch":  # written out: row, column, colour
        places = [(y, x, c) for y in range(2) for x in range(2) for c in range(3)]
        ours = torch.stack([torch.stack([one[c, y, x] for y, x, c in places]) for one in theirs])
    where = Place(("name",), form)
    assert where.shapes(ours.shape) == [tuple(theirs.shape)]
    made = where.to_ours([theirs], ours.shape)
    assert torch.equal(made, ours)
    assert torch.equal(where.to_theirs(made)["name"], theirs)


@pytest.mark.parametrize("form", ["one row", "types"])
def test_a_form_without_a_way_back_says_so(form):
    with pytest.raises(ValueError, match="no way back"):
        Place(("name", "other"), form).to_theirs(torch.zeros(2, 3))


def test_several_of_theirs_are_one_of_ours():
    where = place("a.3.qkv.bias", {"a.*.qkv.*": ("b.*.q.*", "b.*.k.*", "b.*.v.*")})
    assert where == Place(("b.3.q.bias", "b.3.k.bias", "b.3.v.bias"))
    parts = [torch.full((2,), float(at)) for at in range(3)]
    whole = where.to_ours(parts, torch.Size([6]))
    assert whole.tolist() == [0, 0, 1, 1, 2, 2]
    assert all(
        torch.equal(x, y) for x, y in zip(where.to_theirs(whole).values(), parts, strict=True)
    )


def test_a_name_that_two_lines_match_is_a_mistake_of_ours():
    with pytest.raises(ValueError, match="matches 2 lines"):
        place("a.b", {"a.*": "x.*", "*.b": "y.*"})
    assert place("c.d.e", {"a.*": "x.*"}) is None


def test_patterns():
    assert matches("a.b.c", ["a.**"])
    assert matches("a.b.c", ["a.*.c"])
    assert matches("x.embeddings.ids", ["**embeddings.ids"])
    assert not matches("a.b.c", ["a.*"])
    assert not matches("aXb", ["a.b"])


def test_a_table_below_another():
    table = {"a.*": "b.*", "c": Shaped("d", "table"), "e": ("f", "g")}
    assert below("x.", "y.", table) == {
        "x.a.*": "y.b.*",
        "x.c": Shaped("y.d", "table"),
        "x.e": ("y.f", "y.g"),
    }
