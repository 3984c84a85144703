"""The model: shapes are refused where they are made; vectors are unit; the prior's cosine."""

import pytest
import torch
from torch import nn

from sensorium.fusion import none
from sensorium.model import Model, State


def state(b=3, t=2, d=4, **more):
    """A State of made numbers; `more` replaces its parts."""
    rng = torch.Generator().manual_seed(b + 10 * t)
    given = dict(
        tokens=torch.randn(b, t, d, generator=rng),
        real=torch.ones(b, t, dtype=torch.bool),
        order=torch.zeros(b, t, dtype=torch.int64),
        position=torch.zeros(1, t, 1, dtype=torch.int64),
        pooled=torch.randn(b, d, generator=rng),
    )
    return State(**given | more)


class Encoder(nn.Module):
    """An encoder of a width, perhaps with a prior."""

    def __init__(self, width, prior_width=0):
        super().__init__()
        self.width = width
        if prior_width:
            self.prior_width = prior_width


def model(space=6, project=True, prior=0.0, widths=(4, 4), known=0):
    """Two encoders `a` and `b` and no fusion."""
    encoders = {name: Encoder(w, known) for name, w in zip("ab", widths, strict=True)}
    return Model(encoders, none.Fusion(none.Spec(), {}), space, project, prior)


def unit(rows):
    """Rows divided by their lengths, the slow way."""
    return torch.stack([row / row.square().sum().sqrt() for row in rows])


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("tokens", torch.zeros(3, 3, 4)),  # another t
        ("tokens", torch.zeros(2, 2, 4)),  # another b
        ("tokens", torch.zeros(3, 2)),
        ("order", torch.zeros(3, 1, dtype=torch.int64)),
        ("order", torch.zeros(3, 2, dtype=torch.int32)),
        ("order", torch.zeros(3, 2)),
        ("pooled", torch.zeros(2, 4)),
        ("pooled", torch.zeros(3, 1, 4)),
    ],
)
def test_a_state_refuses_wrong_shapes_by_name(part, value):
    with pytest.raises(TypeError, match=f"state {part}: expected"):
        state(**{part: value})


def test_a_state_before_encoding_has_no_pooled():
    assert state(pooled=None).pooled is None
    with pytest.raises(AssertionError, match="pooled"):
        model().vector("a", state(pooled=None))


def test_a_vector_is_the_projection_at_unit_length():
    made, given = model(), state(b=5)
    found = made.vector("a", given)
    weight = made.projections["a"].weight
    by_hand = torch.stack(
        [torch.stack([(w * row).sum() for w in weight]) for row in given.pooled]
    )  # no bias
    assert found.dtype == torch.float32
    assert torch.allclose(found, unit(by_hand), atol=1e-5)
    assert torch.allclose(found.norm(dim=1), torch.ones(5), atol=1e-5)


@pytest.mark.parametrize("weight", [0.4, 1.0, 3.0])
def test_with_a_prior_the_cosine_is_the_weighted_mean_of_two_cosines(weight):
    made = model(prior=weight, known=3)
    rng = torch.Generator().manual_seed(1)
    left, right = (
        state(b=4, pooled=torch.randn(4, 4, generator=rng),
              prior=unit(torch.randn(4, 3, generator=rng)))
        for _ in range(2)
    )  # fmt: skip
    a, b = made.vector("a", left), made.vector("b", right)
    assert torch.allclose(a.norm(dim=1), torch.ones(4), atol=1e-5)
    assert torch.allclose(b.norm(dim=1), torch.ones(4), atol=1e-5)
    plain = model(known=3)
    plain.load_state_dict(made.state_dict())
    learned = plain.vector("a", left) @ plain.vector("b", right).T
    known = left.prior @ right.prior.T
    assert torch.allclose(a @ b.T, (learned + weight * known) / (1 + weight), atol=1e-5)
    assert a.shape == (4, made.vector_width("a")) == (4, 6 + 3)


def test_width_of_a_vector():
    assert model(prior=0.5, known=3).vector_width("a") == 9
    assert model(prior=0.0, known=3).vector_width("a") == 6  # weight 0: the prior takes no room
    assert model(prior=0.5, known=0).vector_width("a") == 6  # an encoder that knows nothing
    made = model(prior=0.0, known=3)
    assert made.vector("a", state(prior=unit(torch.ones(3, 3)))).shape == (3, 6)


def test_projections_keep_the_spread_of_what_they_read():
    """Weights of deviation width ** -0.5: unit-variance states stay of unit variance."""
    torch.manual_seed(0)
    made = model(space=300, widths=(100, 900))
    assert made.projections["a"].weight.shape == (300, 100)
    for name, width in (("a", 100), ("b", 900)):
        weight = made.projections[name].weight.detach()
        assert float(weight.std()) == pytest.approx(width**-0.5, rel=0.05)
        assert float(weight.mean()) == pytest.approx(0, abs=5 * width**-0.5 / weight.numel() ** 0.5)
        spread = made.projections[name](torch.randn(50, width)).detach().std()
        assert float(spread) == pytest.approx(1, rel=0.1)
        assert made.projections[name].bias is None


def test_without_projections_the_pooled_state_is_the_vector():
    made, given = model(space=4, project=False), state()
    assert not list(made.projections.parameters())
    assert torch.allclose(made.vector("a", given), unit(given.pooled), atol=1e-6)
    with pytest.raises(ValueError, match="b: expected width 4, found 5"):
        model(space=4, project=False, widths=(4, 5))


def test_half_precision_is_normalised_in_float32():
    """Squares of these overflow in half precision; the vector is of unit length all the same."""
    made = model(space=4, project=False)
    found = made.vector("a", state(pooled=torch.full((3, 4), 3e4, dtype=torch.float16)))
    assert torch.allclose(found, torch.full((3, 4), 0.5))


def test_each_modality_meets_its_own_encoder():
    class Marked(Encoder):
        def embed(self, look):
            return (self.width, look)

        def encode(self, state):
            return (self.width, state)

    class Tokens:
        modality = "b"

    class Look:
        tokens = Tokens

    encoders = {"a": Marked(4), "b": Marked(5)}
    made = Model(encoders, none.Fusion(none.Spec(), {}), 6)
    assert made.embed(Look) == (5, Look)
    assert made.encode("a", "x") == (4, "x")
    assert made.fuse(["x", "y"]) == ["x", "y"]
