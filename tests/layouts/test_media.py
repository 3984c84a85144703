"""Hostile paths never open."""

import os
from pathlib import Path

import pytest
from miniature import picture

from sensorium.layouts import _media
from sensorium.layouts._media import Root, Unusable

linked = pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="needs links")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A root beside a secret; opening anything outside the root fails the test."""
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    (root / "a.png").write_bytes(picture(1))
    (tmp_path / "secret.png").write_bytes(picture(2))
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root-2" / "b.png").write_bytes(picture(3))

    def guarded(path, *args, **more):
        assert Path(os.path.realpath(path)).is_relative_to(root), f"opened {path}"
        return open(path, *args, **more)

    monkeypatch.setattr(_media, "open", guarded, raising=False)
    return root


def test_what_is_inside_opens(place):
    root = Root(place)
    for told in ("a.png", "./a.png", "sub/../a.png", str(place / "a.png")):
        blob = root.picture(told)
        assert blob.name == "a.png"
        assert blob.read() == picture(1)


@pytest.mark.parametrize(
    "told",
    [
        "../secret.png",
        "sub/../../secret.png",
        "../root-2/b.png",  # a sibling whose name begins alike
        "/etc/passwd",
        "sub/../../root/../secret.png",
    ],
)
def test_what_leads_out_does_not(place, told):
    with pytest.raises(Unusable, match="leads out"):
        Root(place).picture(told)
    with pytest.raises(Unusable, match="leads out"):
        Root(place).picture(str(place / told))


@linked
def test_links(place):
    (place / "out.png").symlink_to(place.parent / "secret.png")
    (place / "away").symlink_to(place.parent / "root-2")
    (place / "in.png").symlink_to("a.png")
    (place / "nothing.png").symlink_to("gone.png")
    (place / "ring.png").symlink_to("ring.png")
    (place / "passwd.txt").symlink_to("/etc/passwd")
    root = Root(place)
    for told in ("out.png", "away/b.png"):
        with pytest.raises(Unusable, match="leads out"):
            root.picture(told)
    with pytest.raises(Unusable, match="leads out"):
        root.texts("passwd.txt")
    for told in ("nothing.png", "ring.png"):
        with pytest.raises(Unusable, match="nothing"):
            root.picture(told)
    assert root.picture("in.png").read() == picture(1)


@linked
def test_a_root_that_is_itself_a_link(place):
    (place.parent / "alias").symlink_to(place)
    assert Root(place.parent / "alias").picture("a.png").name == "a.png"
    assert Root(place.parent / "alias").picture(str(place / "a.png")).name == "a.png"


@linked
def test_what_is_no_file(place):
    os.mkfifo(place / "pipe.png")  # opening it would wait for ever
    for told, words in (
        ("pipe.png", "no regular file"),
        ("sub", "a folder"),
        ("gone.png", "no file"),
        ("a.png/b.png", "no file"),
        ("", "empty"),
        ("a\0.png", "zero byte"),
        ("\ud800.png", "\ud800"),
        ("x" * 5000, "xxx"),
        ("https://example.org/a.png", "web address"),
    ):
        with pytest.raises(Unusable) as error:
            Root(place).picture(told)
        assert words in str(error.value)


def test_texts(place):
    (place / "a.txt").write_bytes("\ufeffein Hund\r\n\r\n  a dog \n".encode())
    (place / "b.txt").write_bytes(b"one\n")
    (place / "c.txt").write_bytes(b" \n\n")
    (place / "d.txt").write_bytes(b"caf\xe9")
    (place / "e.txt").write_bytes(b"x" * (_media.MAX_TEXT + 1))
    root = Root(place)
    assert root.texts("a.txt") == ["ein Hund", "a dog"]
    assert root.texts("b.txt") == "one"
    for name, words in (("c.txt", "empty"), ("d.txt", "UTF-8"), ("e.txt", "more than")):
        with pytest.raises(Unusable, match=words):
            root.texts(name)
