"""The kernel head against slow loops, exact kernel PCA and closed forms."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sensorium.encoders.nystroem import Encoder, Spec
from sensorium.model import State


class Features:
    channels = 6


def items(n, seed=0, c=6):
    return np.random.default_rng(seed).normal(size=(n, c)).astype(np.float32)


def state(x):
    n = len(x)
    return State(
        tokens=torch.from_numpy(x)[:, None],
        real=torch.ones(n, 1, dtype=torch.bool),
        order=torch.zeros(n, 1, dtype=torch.int64),
        position=torch.zeros(1, 1, 1, dtype=torch.int64),
    )


def fitted(x, seed=0, **options):
    encoder = Encoder(Spec(**options), Features())
    encoder.fit(x, seed)
    return encoder.eval()


def kernel(a, b, gamma, scale):
    """exp(-gamma |x - y|^2 / scale) of unit vectors, one pair at a time."""
    unit = lambda v: v / math.sqrt(sum(float(z) ** 2 for z in v))  # noqa: E731
    return np.array(
        [[math.exp(-gamma * float(((unit(x) - unit(y)) ** 2).sum()) / scale) for y in b] for x in a]
    )


def test_without_shrinkage_it_is_kernel_pca():
    """Inner products of components equal the centred kernel of Schoelkopf et al., appendix B,
    whitened: K_new C / n (C K C / n)^-1 (C K C / n)^-1 C K_new^T up to one scale."""
    x, y, gamma = items(12), items(5, 1), 2.0
    encoder = fitted(x, anchors=12, components=11, gamma=gamma, shrinkage=1e-12)
    unit = F.normalize(torch.from_numpy(x).double(), dim=1)
    scale = float(torch.cdist(unit, unit).square().mean())
    k, new, n = kernel(x, x, gamma, scale), kernel(y, x, gamma, scale), 12
    one = np.full((n, n), 1 / n)
    centred = k - one @ k - k @ one + one @ k @ one
    given = new - new.mean(1, keepdims=True) - k.mean(0) + k.mean()
    inverse = np.linalg.pinv(centred / n, rcond=1e-9)
    # whitened coordinates have inner products given inverse^2 given^T / n
    expected = given @ inverse @ inverse @ given.T / n
    with torch.no_grad():
        found = encoder.encode(state(y)).pooled.double().numpy()
    products = found @ found.T
    ratio = products[0, 0] / expected[0, 0]
    np.testing.assert_allclose(products, expected * ratio, rtol=2e-2, atol=2e-2 * abs(ratio))


def test_training_components_are_white_and_of_unit_spread():
    encoder = fitted(items(200), anchors=200, components=6, shrinkage=1e-9)
    with torch.no_grad():
        pooled = encoder.encode(state(items(200))).pooled
    covariance = (pooled.T @ pooled / 200).numpy()
    np.testing.assert_allclose(covariance, np.eye(6), atol=2e-3)


def test_shrinkage_fades_weak_directions():
    """Variance v becomes v / (v + shrinkage * all): the order of strength survives."""
    encoder = fitted(items(60), anchors=60, components=20, shrinkage=0.1)
    with torch.no_grad():
        pooled = encoder.encode(state(items(60))).pooled
    spread = pooled.var(dim=0)
    assert (spread[:-1] >= spread[1:] - 1e-5).all()
    assert spread[0] > 3 * spread[-1]


def test_an_item_does_not_depend_on_its_company():
    encoder = fitted(items(50), anchors=30, components=10)
    with torch.no_grad():
        together = encoder.encode(state(items(8, 3))).pooled
        alone = torch.cat([encoder.encode(state(row[None])).pooled for row in items(8, 3)])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)


def test_empty_places_have_no_influence():
    """More places than items: the same components, then zeros."""
    tight = fitted(items(20), anchors=20, components=8)
    roomy = fitted(items(20), anchors=64, components=32)
    with torch.no_grad():
        a = tight.encode(state(items(5, 2))).pooled
        b = roomy.encode(state(items(5, 2))).pooled
    assert b.shape == (5, 32)
    assert (b[:, 20:] == 0).all()
    ratio = (b[:, :8].norm() / a.norm()).item()  # only the overall scale may differ
    torch.testing.assert_close(b[:, :8].abs(), a.abs() * ratio, atol=2e-3, rtol=2e-3)


def test_anchors_are_keyed():
    a, b, c = (fitted(items(50), seed, anchors=10, components=5).anchors for seed in (0, 0, 1))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_own_prior_is_the_centred_unit_feature():
    x, y = items(30), items(4, 5)
    encoder = fitted(x, anchors=10, components=4, prior="own")
    mean = F.normalize(torch.from_numpy(x), dim=1).mean(dim=0)
    expected = F.normalize(F.normalize(torch.from_numpy(y), dim=1) - mean, dim=1)
    with torch.no_grad():
        torch.testing.assert_close(encoder.encode(state(y)).prior, expected)


def test_a_checkpoint_holds_what_was_fitted():
    encoder = fitted(items(30), anchors=10, components=4, prior="own")
    again = Encoder(Spec(anchors=10, components=4, prior="own"), Features())
    again.load_state_dict(encoder.state_dict())
    with torch.no_grad():
        a, b = (x.eval().encode(state(items(4, 5))) for x in (encoder, again))
    assert torch.equal(a.pooled, b.pooled)
    assert torch.equal(a.prior, b.prior)


@pytest.mark.towers
def test_conse_prior_equals_a_slow_mixture(efficientnet_lite, minilm):
    from sensorium import conse

    class Pictures:
        channels = 1280

    x = np.abs(items(6, 0, 1280))
    encoder = Encoder(Spec(anchors=6, components=3, prior="conse"), Pictures())
    encoder.fit(x, 0)
    classifier, names = conse.tables()
    logits = torch.from_numpy(x) @ classifier[:, :-1].T + classifier[:, -1]
    raw = []
    for row in logits:
        votes = [math.exp(float(v - row.max()) / conse.TEMPERATURE) for v in row]
        mixed = sum(v * name for v, name in zip(votes, names, strict=True))
        raw.append(mixed / mixed.norm())
    raw = torch.stack(raw)
    expected = F.normalize(raw - raw.mean(dim=0), dim=1)
    with torch.no_grad():
        torch.testing.assert_close(
            encoder.eval().encode(state(x)).prior, expected, atol=1e-4, rtol=1e-3
        )
