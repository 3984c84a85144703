"""ConSE against slow loops: ten classes vote as published, all at the temperature of the prior."""

import math

import numpy as np
import pytest
import torch

from sensorium import conse, prepare, towers
from sensorium.prepare import Column


def unit(count, width, seed):
    """Unit rows, float32 [count, width]."""
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return rows / rows.square().sum(dim=1, keepdim=True).sqrt()


def shares(rows, classes, seed):
    """Probabilities of which all matter: between 1 and 3 parts each."""
    parts = 1 + 2 * torch.rand(rows, classes, generator=torch.Generator().manual_seed(seed))
    return parts / parts.sum(dim=1, keepdim=True)


def slow(row, classes, top):
    """The paper's sum over the likeliest classes, in Python's own numbers, then unit length."""
    likeliest = sorted(range(len(row)), key=lambda at: -row[at])[:top]
    whole = [sum(row[at] * classes[at][c] for at in likeliest) for c in range(len(classes[0]))]
    length = math.sqrt(sum(x * x for x in whole))
    return [x / length for x in whole]


def test_the_ten_likeliest_of_more_classes_vote():
    p, classes = shares(4, 17, 0), unit(17, 6, 1)
    found = conse.vectors(p, classes)
    for row, vector in zip(p.tolist(), found.tolist(), strict=True):
        assert vector == pytest.approx(slow(row, classes.tolist(), 10), abs=1e-5)
    # Eleven, nine and all are other vectors: the number is not idle here.
    for top in (9, 11, 17):
        other = torch.tensor([slow(row, classes.tolist(), top) for row in p.tolist()])
        assert (found - other).abs().max() > 0.01


def test_more_likely_classes_weigh_more():
    """Two classes on two axes: the tangent of the angle is the ratio of their shares."""
    p = torch.tensor([[0.2, 0.6, *[0.0] * 10]])
    found = conse.vectors(p, torch.eye(12))
    assert float(found[0, 1] / found[0, 0]) == pytest.approx(3.0, rel=1e-5)


def test_vectors_are_of_unit_length_whatever_the_shares_sum_to():
    p, classes = shares(5, 13, 2), unit(13, 4, 3)
    found = conse.vectors(p, classes)
    assert torch.allclose(found.square().sum(dim=1), torch.ones(5), atol=1e-5)
    assert torch.allclose(conse.vectors(p * 0.01, classes), found, atol=1e-5)


def test_mixed_is_the_mean_under_a_softmax_at_temperature_two():
    logits = 4 * torch.randn(3, 14, generator=torch.Generator().manual_seed(4))
    classes = unit(14, 5, 5)
    found = conse.mixed(logits, classes).tolist()
    for row, vector in zip(logits.tolist(), found, strict=True):
        votes = [math.exp(x / 2) for x in row]
        wanted = [
            sum(v * classes[at][c].item() for at, v in enumerate(votes)) / sum(votes)
            for c in range(5)
        ]
        assert vector == pytest.approx(wanted, abs=1e-5)


def test_mixed_is_a_mean_and_keeps_its_length():
    """Votes sum to one: a coordinate that all classes share stays, and disagreement shortens."""
    logits = torch.randn(3, 12, generator=torch.Generator().manual_seed(6))
    same = torch.full((12, 1), 0.7)
    assert torch.allclose(conse.mixed(logits, same), torch.full((3, 1), 0.7), atol=1e-6)
    assert (conse.mixed(logits, torch.eye(12)).norm(dim=1) < 0.95).all()


def test_tables_join_a_name_with_its_first_synonym(monkeypatch):
    """The towers replaced by made ones: what is summed, and the order of weight and bias."""
    rng = np.random.default_rng(0)
    asked = []

    class Reader:
        def __init__(self, recipe, name):
            self.modality = name

    def column(reader, records, field):
        asked.extend(record.fields[field] for record in records)
        count = 2 * len(records)
        made.append(rng.standard_normal((count, 1, 3)).astype(np.float32))
        index = [[2 * at, 2 * at + 1] for at in range(len(records))]
        return Column("text", made[0], index, np.arange(count), True), []

    class Tower:
        classifier = torch.nn.Linear(2, 1000)

    made = []
    monkeypatch.setattr(prepare, "Reader", Reader)
    monkeypatch.setattr(prepare, "column", column)
    monkeypatch.setattr(towers, "load", lambda name, modality: Tower)
    head, names = conse.tables.__wrapped__()
    assert torch.equal(head[:, :2], Tower.classifier.weight)
    assert torch.equal(head[:, 2], Tower.classifier.bias)
    assert len(asked) == conse.CLASSES
    assert all(whole.startswith(first) and "," not in first for whole, first in asked)
    for at in (0, 7, 999):
        both = made[0][2 * at, 0] + made[0][2 * at + 1, 0]
        assert names[at].tolist() == pytest.approx((both / np.linalg.norm(both)).tolist(), abs=1e-5)
