"""SigLIP's text tower, beside tests/formats/test_siglip.py, which compares it."""

from types import SimpleNamespace

import pytest
import torch
from reference import image_look, text_look

from sensorium.encoders import siglip_text


def encoder(**spec):
    texts = SimpleNamespace(vocabulary=50, length=9)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return siglip_text.Encoder(siglip_text.Spec(width=32, depth=1, heads=4, **spec), texts)


def test_texts_are_filled_and_their_first_entry_is_left_out():
    ours = encoder(pad=7).eval()
    ids = torch.tensor([[3, 11, 12, 13], [3, 14, 0, 0]])
    real = torch.tensor([[True] * 4, [True, True, False, False]])
    state = ours.embed(text_look(ids, real))
    filled = torch.tensor([[11, 12, 13, 7, 7, 7, 7, 7], [14, 7, 7, 7, 7, 7, 7, 7]])
    torch.testing.assert_close(state.tokens, ours.words(filled) + ours.positions.weight)
    assert state.real.all()
    other = torch.where(torch.arange(4) == 0, 9, ids)
    assert torch.equal(ours.embed(text_look(other, real)).tokens, state.tokens)


def test_the_last_place_is_pooled_into_its_own_width():
    ours = encoder(out=5).eval()
    state = ours.encode(ours.embed(text_look(torch.tensor([[3, 11, 12]]))))
    torch.testing.assert_close(state.pooled, ours.head(state.tokens[:, -1]))
    assert state.pooled.shape == (1, 5)


def test_pictures_and_texts_that_are_too_long_are_refused():
    with pytest.raises(TypeError, match="expected ids, found image"):
        encoder().embed(image_look(torch.zeros(1, 4, 12)))
    with pytest.raises(TypeError, match="at most 9 tokens, found 10"):
        encoder().embed(text_look(torch.zeros(1, 10, dtype=torch.int64)))
