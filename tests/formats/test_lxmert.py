"""LXMERT folders against transformers, with random weights saved by it."""

import pytest

from formats import saved
from sensorium import importing


@pytest.mark.parametrize("kind", ["LxmertForPreTraining", "LxmertModel"])
def test_both_stacks_the_crossings_and_the_heads(kind, tmp_path, empty_cache):
    whole = importing.whole(saved.lxmert(tmp_path / "lx", kind))
    layers = [row.layer for row in whole.check.rows]
    assert layers[:2] == ["text: encoded", "image: encoded"]
    assert sorted(layers[2:8]) == sorted(
        f"{name}: fusion layer {at}" for at in range(3) for name in ("image", "text")
    )
    headed = kind == "LxmertForPreTraining"
    assert layers[8:] == (["joint", "matching", "words"] if headed else ["joint"])
    assert max(row.absolute for row in whole.check.rows) <= 1e-5
    patches = {x for x in whole.new if x.startswith("model.encoders.image.")}
    assert patches == {
        f"model.encoders.image.{x}" for x in ("patch.bias", "patch.weight", "positions.weight")
    }
    assert any("regions and boxes" in line for line in whole.left_out)
    assert any("detector's classes" in line for line in whole.left_out) == headed
