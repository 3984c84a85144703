"""Tokens and batches refuse wrong shapes where they are made, and pad only to the longest."""

import pytest
import torch

from sensorium.records import Source
from sensorium.tokens import Batch, Tokens, collate


def texts(*lengths, start=1):
    parts = []
    for at, t in enumerate(lengths):
        ids = torch.arange(start + 100 * at, start + 100 * at + t)[None]
        parts.append(
            Tokens(
                "text",
                real=torch.ones(1, t, dtype=torch.bool),
                position=torch.arange(t)[None, :, None],
                ids=ids,
            )
        )
    return parts


def test_collate_pads_to_the_longest_only():
    joined = collate(texts(3, 5, 1))
    assert joined.ids.shape == (3, 5)
    for row, part in enumerate(texts(3, 5, 1)):
        t = part.ids.shape[1]
        assert torch.equal(joined.ids[row, :t], part.ids[0])
        assert joined.real[row].tolist() == [True] * t + [False] * (5 - t)
        assert torch.equal(joined.position[row, :t, 0], torch.arange(t))


def test_collate_to_a_length():
    joined = collate(texts(3, 2), 8)
    assert joined.ids.shape == (2, 8)
    assert joined.real.sum().item() == 5


def test_collate_nests():
    """Joining joined parts equals joining all at once."""
    parts = texts(2, 4, 3, 1)
    nested = collate([collate(parts[:2]), collate(parts[2:])])
    whole = collate(parts)
    assert torch.equal(nested.ids, whole.ids)
    assert torch.equal(nested.real, whole.real)


def test_values_and_ids_do_not_mix():
    image = Tokens(
        "image",
        real=torch.ones(1, 2, dtype=torch.bool),
        position=torch.zeros(1, 2, 2, dtype=torch.int64),
        values=torch.zeros(1, 2, 3, dtype=torch.uint8),
    )
    with pytest.raises(TypeError, match="ids or all with values"):
        collate([texts(2)[0], image])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": torch.zeros(1, 3, dtype=torch.int64)}, r"ids: expected \[1, 2\]"),
        ({"ids": torch.zeros(1, 2)}, "int64, found"),
        ({"real": torch.ones(1, 2)}, "bool"),
        ({"position": torch.zeros(1, 3, 1, dtype=torch.int64)}, "position"),
        ({"values": torch.zeros(1, 2, 4)}, "either ids or values"),
        ({"ids": None}, "either ids or values"),
        ({"position": torch.zeros(5, 2, 1, dtype=torch.int64)}, "first side 1 or 1"),
    ],
)
def test_wrong_shapes_are_named(change, message):
    right = {
        "modality": "text",
        "real": torch.ones(1, 2, dtype=torch.bool),
        "position": torch.zeros(1, 2, 1, dtype=torch.int64),
        "ids": torch.zeros(1, 2, dtype=torch.int64),
    }
    Tokens(**right)
    with pytest.raises(TypeError, match=message):
        Tokens(**(right | change))


def test_batch_counts_its_records():
    tokens = collate(texts(1, 2))
    right = {
        "keys": ("a", "b"),
        "sources": (Source("x"), Source("x")),
        "tokens": {("text", 0): tokens},
        "present": {"text": torch.ones(2, dtype=torch.bool)},
    }
    assert len(Batch(**right)) == 2
    for change in (
        {"keys": ("a",)},
        {"present": {}},
        {"present": {"text": torch.ones(3, dtype=torch.bool)}},
        {"tokens": {("image", 0): tokens}},
    ):
        with pytest.raises(TypeError):
            Batch(**(right | change))
