"""Translation contrast: one tower for both texts, chance, and who takes part."""

import math

import pytest
import torch
from torch.nn import functional as F

from sensorium.errors import RecipeError
from sensorium.nodes import Given
from sensorium.objectives import contrastive
from sensorium.objectives.translation_contrast import Objective, Spec
from sensorium.records import Source
from sensorium.step import plan
from sensorium.tokens import Batch
from sensorium.views import View

VIEWS = {"image": View("image"), "text": View("text")}
GIVEN = Given(VIEWS, variants={"text": 1})


def batch(n, translated=None, translations=None):
    every = torch.ones(n, dtype=torch.bool)
    return Batch(
        keys=tuple(map(str, range(n))),
        sources=(Source("x"),) * n,
        tokens={},
        present={
            "image": torch.zeros(n, dtype=torch.bool),  # a pair of texts needs no picture
            "text": every,
            "text#1": every if translated is None else torch.tensor(translated),
        },
        identity={
            "text": torch.arange(n) + 10,
            "text#1": torch.tensor(translations or [50 + x for x in range(n)]),
        },
    )


def texts(n, seed):
    rng = torch.Generator().manual_seed(seed)
    draw = lambda: F.normalize(torch.randn(n, 4, generator=rng), dim=1)  # noqa: E731
    return {"text": draw(), "translation": draw()}


def by_torch(text, translation, scale):
    """F.cross_entropy of both directions, halved."""
    logits, own = scale * text @ translation.T, torch.arange(len(text))
    there, back = F.cross_entropy(logits, own), F.cross_entropy(logits.T, own)
    return ((there + back) / 2).item()


def test_equals_cross_entropy_of_both_directions():
    got = texts(6, 1)
    loss = Objective(Spec(temperature=0.2), GIVEN).score(got, batch(6))
    assert loss.mean.item() == pytest.approx(by_torch(*got.values(), 5.0), rel=1e-5)
    assert loss.count.item() == 6


def test_both_texts_go_through_the_tower_of_text_and_no_picture_is_looked_at():
    nodes = plan({"it": Objective(Spec(), GIVEN)})
    assert {node.view.modality for node in nodes if hasattr(node, "view")} == {"text"}
    assert {node.view.variant for node in nodes if hasattr(node, "view")} == {0, 1}


def test_records_that_lack_the_translation_take_no_part():
    got = {name: x.requires_grad_() for name, x in texts(5, 2).items()}
    made = Objective(Spec(), GIVEN)
    loss = made.score(got, batch(5, [True, False, True, True, True]))
    loss.sum.backward()
    kept = [0, 2, 3, 4]
    expected = by_torch(*(x.detach()[kept] for x in got.values()), 1 / 0.07)
    assert loss.mean.item() == pytest.approx(expected, rel=1e-5)
    assert loss.count.item() == made.count(batch(5, [True, False, True, True, True])).item() == 4
    assert loss.chance.item() == pytest.approx(math.log(4))
    assert all(x.grad[1].abs().max() == 0 for x in got.values())


def test_equal_translations_are_positives():
    """Two texts of one translation pull each other's translation."""
    made, got = Objective(Spec(temperature=1.0), GIVEN), texts(3, 3)

    def pull(translations):
        given = got | {"translation": got["translation"].clone().requires_grad_()}
        made.score(given, batch(3, translations=translations)).sum.backward()
        return (given["translation"].grad[1] @ got["text"][0]).item()  # smaller: brings closer

    assert pull([50, 50, 51]) < pull([50, 51, 52])
    same = {name: torch.ones(3, 4) / 2 for name in got}
    loss = made.score(same, batch(3, translations=[50, 50, 51]))
    assert loss.mean.item() == pytest.approx(math.log(3), rel=1e-5)
    assert loss.chance.item() == pytest.approx(math.log(3), rel=1e-5)


def test_a_text_that_is_anothers_translation_is_no_negative_by_hand():
    """Text 2 is translation 0: in rows 0 and 2, both ways, two share the target."""
    made, got = Objective(Spec(temperature=0.5), GIVEN), texts(3, 6)
    loss = made.score(got, batch(3, translations=[12, 51, 52]))
    logits = 2 * got["text"] @ got["translation"].T
    total = 0.0
    for rows in (logits.tolist(), logits.T.tolist()):
        for row, right in zip(rows, ((0, 2), (1,), (0, 2)), strict=True):
            norm = math.log(sum(map(math.exp, row)))
            total += sum(norm - row[at] for at in right) / len(right) / 2
    assert loss.sum.item() == pytest.approx(total, rel=1e-5)
    assert loss.chance.item() == pytest.approx(math.log(3))


def test_nothing_translated_is_a_finite_zero_with_a_graph():
    got = {name: x.requires_grad_() for name, x in texts(3, 4).items()}
    loss = Objective(Spec(), GIVEN).score(got, batch(3, [False] * 3))
    loss.mean.backward()
    assert loss.mean.item() == 0
    assert got["text"].grad.abs().max() == 0


def test_the_temperature_is_its_own_and_bounded():
    made = Objective(Spec(temperature=0.5), GIVEN)
    other = contrastive.Objective(contrastive.Spec(), GIVEN)
    assert made.log_scale is not other.log_scale
    assert made.scale.item() == pytest.approx(2.0)
    made.score(texts(4, 5), batch(4)).mean.backward()
    assert made.log_scale.grad.abs().max() > 0
    with torch.no_grad():
        made.log_scale.fill_(20.0)
    assert made.scale.item() == 100.0
    other_way = {"text": torch.eye(4), "translation": torch.eye(4).roll(1, 0)}
    made.log_scale.grad = None
    made.score(other_way, batch(4)).mean.backward()
    assert made.log_scale.grad.item() > 0  # out of bounds, and still asked to come back
    made.after(other_way, batch(4))
    assert made.log_scale.item() == pytest.approx(math.log(100))


def test_a_translation_must_be_declared():
    with pytest.raises(RecipeError, match="a variant 1") as caught:
        Objective(Spec(), Given(VIEWS))
    assert caught.value.lines[0] == "field variants.text"


def test_pairs_of_two_variants_are_another_than_the_text():
    given = Given(VIEWS, variants={"text": 2})
    made = Objective(Spec(source=1, variant=2), given)
    assert [view.name for view in made.views] == ["text#1", "text#2"]
    with pytest.raises(RecipeError, match="another than the translation"):
        Objective(Spec(source=2, variant=2), given)
    with pytest.raises(RecipeError, match="a variant 3"):
        Objective(Spec(source=3), given)
