"""ViT folders against transformers, with random weights saved by it."""

import pytest
import torch
import transformers
from reference import image_look, pixels

from formats import saved
from sensorium import importing
from sensorium.errors import UserError


@pytest.mark.parametrize("kind", ["ViTModel", "ViTForImageClassification"])
def test_states_and_pooled(kind, tmp_path, empty_cache):
    config = transformers.ViTConfig(**saved.PICTURE)
    folder = saved.save(getattr(transformers, kind)(config), tmp_path / "vit")
    imported = importing.tower(folder)
    ours, theirs = imported.load(), transformers.ViTModel.from_pretrained(folder).eval()
    values = torch.randint(0, 256, (3, 16, 192), dtype=torch.uint8)
    with torch.no_grad():
        got = ours.encode(ours.embed(image_look(values)))
        want = theirs(pixel_values=pixels(values, 8, ours.spec)).last_hidden_state
    torch.testing.assert_close(got.tokens, want, atol=1e-5, rtol=0)
    torch.testing.assert_close(got.pooled, want[:, 0], atol=1e-5, rtol=0)
    assert max(row.absolute for row in imported.check.rows) <= 1e-5
    assert len(imported.left_out) == 1  # the pooler, or the classifier


@pytest.mark.parametrize(
    ("key", "value"), [("qkv_bias", False), ("num_channels", 1), ("patch_size", 7)]
)
def test_what_our_transformer_lacks_is_named(key, value, tmp_path, empty_cache):
    folder = saved.edit(saved.vit(tmp_path / "vit"), **{key: value})
    with pytest.raises(UserError) as caught:
        importing.tower(folder)
    assert caught.value.field == key
