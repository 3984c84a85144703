"""Nodes are keys: equal by value, frozen, and they name what they are made from."""

import dataclasses

import pytest

from sensorium.nodes import Embed, Encode, Fuse, Read
from sensorium.views import View

IMAGE, TEXT, LATER = View("image"), View("text"), View("text", order="causal")


def made():
    """Nodes that all differ, made anew at each call."""
    return [
        Embed(View("image")),
        Embed(View("text")),
        Embed(View("text", 1)),
        Embed(View("text", order="causal")),
        Encode(View("text")),
        Fuse((Encode(View("image")), Encode(View("text")))),
        Fuse((Encode(View("text")), Encode(View("image")))),
        Fuse((Embed(View("text")), Encode(View("image")))),
        Read(Encode(View("text")), "text"),
        Read(Encode(View("text")), "image"),
        Read(Fuse((Encode(View("image")), Encode(View("text")))), "text", part=0),
        Read(Fuse((Encode(View("image")), Encode(View("text")))), "text", part=1),
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
    assert Encode(LATER).inputs == (Embed(LATER),)
    parts = (Encode(IMAGE), Embed(TEXT))
    assert Fuse(parts).inputs == parts
    assert Read(Fuse(parts), "text", part=1).inputs == (Fuse(parts),)
    assert Read(Encode(IMAGE), "image").inputs == (Encode(IMAGE),)


def test_a_read_gives_the_first_vector_unless_told():
    assert Read(Encode(TEXT), "text") == Read(Encode(TEXT), "text", "vector", 0)
