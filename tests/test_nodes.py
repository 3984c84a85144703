"""Nodes are keys: equal by value, frozen, and they name what they are made from."""

import dataclasses

import pytest
import torch

from sensorium.nodes import Embed, Encode, Fuse, Given, Read, Rows
from sensorium.views import View

IMAGE, TEXT, LATER = View("image"), View("text"), View("text", order="causal")


@dataclasses.dataclass(frozen=True)
class Turned:
    """A pairing: each record's picture meets the text `by` places on."""

    by: int

    @property
    def inputs(self):
        return (Read(Encode(IMAGE)),)

    def rows(self, got, batch):
        at = torch.arange(len(batch))
        return Rows({"image": at, "text": (at + self.by) % len(batch)})


def made():
    """Nodes that all differ, made anew at each call."""
    return [
        Embed(View("image")),
        Embed(View("text")),
        Embed(View("text", 1)),
        Embed(View("text", order="causal")),
        Embed(View("text"), "teacher"),
        Encode(View("text")),
        Encode(View("text"), "teacher"),
        Fuse((Encode(View("image")), Encode(View("text")))),
        Fuse((Encode(View("text")), Encode(View("image")))),
        Fuse((Encode(View("image")), Encode(View("text"))), Turned(1)),
        Fuse((Encode(View("image")), Encode(View("text"))), Turned(2)),
        Read(Encode(View("text"))),
        Read(Encode(View("text")), "pooled"),
        Read(Fuse((Encode(View("image")), Encode(View("text")))), part=0),
        Read(Fuse((Encode(View("image")), Encode(View("text")))), part=1),
    ]


def test_nodes_are_equal_by_value_and_only_then():
    for at, one in enumerate(made()):
        for to, other in enumerate(made()):
            assert (one == other) == (at == to)
            if at == to:
                assert one is not other
                assert hash(one) == hash(other)


def test_nodes_are_keys():
    table = {node: at for at, node in enumerate(made())}
    assert [table[node] for node in made()] == list(range(len(made())))


def test_nodes_cannot_be_changed():
    for node in made():
        name = dataclasses.fields(node)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(node, name, None)


def test_inputs_are_what_a_node_is_computed_from():
    assert not hasattr(Embed(TEXT), "inputs")
    assert Encode(LATER, "teacher").inputs == (Embed(LATER, "teacher"),)
    parts = (Encode(IMAGE), Encode(TEXT))
    assert Fuse(parts).inputs == parts
    assert Fuse(parts, Turned(1)).inputs == (*parts, Read(Encode(IMAGE)))
    assert Read(Fuse(parts), part=1).inputs == (Fuse(parts),)
    assert Read(Encode(IMAGE)).inputs == (Encode(IMAGE),)


def test_a_read_knows_its_view_and_who_computes_it():
    parts = (Encode(IMAGE, "teacher"), Encode(LATER, "teacher"))
    assert Read(Fuse(parts), "logits", 1).view == LATER
    assert Read(Fuse(parts), "logits", 1).who == "teacher"
    assert Read(Encode(IMAGE)).view == IMAGE
    assert Read(Encode(TEXT)) == Read(Encode(TEXT), "vector", 0)


def test_rows_are_equally_many_of_each_modality():
    with pytest.raises(TypeError, match="equally many"):
        Rows({"image": torch.arange(2), "text": torch.arange(3)})


def test_given_puts_a_view_among_the_others():
    given = Given({"image": IMAGE, "text": TEXT}, meets=True)
    hidden = given.plain("text", order="causal", rank=1)
    assert hidden == View("text", order="causal", rank=1)
    assert given.fuse(hidden) == Fuse((Encode(IMAGE), Encode(hidden)))
    assert given.seen(hidden) == (given.fuse(hidden), 1)
    assert given.logits(hidden, "teacher").of.parts[0] == Encode(IMAGE, "teacher")
    alone = Given({"text": TEXT})
    assert alone.seen(LATER) == (Encode(LATER), 0)
