"""The head over frozen features: the mean of real tokens, nothing else."""

from types import SimpleNamespace

import torch
from reference import image_look

from sensorium.encoders import projection


def test_pooled_is_the_mean_of_real_tokens():
    encoder = projection.Encoder(projection.Spec(), SimpleNamespace(channels=3)).eval()
    values = torch.arange(24.0).view(2, 4, 3)
    real = torch.tensor([[True, True, False, False], [True, True, True, True]])
    state = encoder.encode(encoder.embed(image_look(values, real)))
    assert encoder.width == 3
    torch.testing.assert_close(state.pooled[0], values[0, :2].mean(0))
    torch.testing.assert_close(state.pooled[1], values[1].mean(0))


def test_dropout_is_only_in_training():
    encoder = projection.Encoder(projection.Spec(dropout=0.5), SimpleNamespace(channels=64))
    look = image_look(torch.ones(1, 1, 64))
    assert (encoder.encode(encoder.embed(look)).pooled == 0).any()
    encoder.eval()
    assert (encoder.encode(encoder.embed(look)).pooled == 1).all()
