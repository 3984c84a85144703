import json

import pytest
from miniature import bad, good, jsonl_of, pictures

from sensorium.errors import DataError
from sensorium.layouts import jsonl


@pytest.fixture
def three(tmp_path):
    pictures(tmp_path / "img", 3)
    return tmp_path


def test_lines(three):
    path = jsonl_of(
        three / "t.jsonl",
        [
            {"id": 7, "img": "img/000.png", "text": ["a dog", "ein Hund"], "score": 0.5},
            {"id": 8, "img": "img/001.png", "text": "a cat", "more": {"a": [1]}},
        ],
    )
    first, second = jsonl.read(path)
    assert (first.key, str(first.source)) == ("7", "t.jsonl row 1")
    assert first.fields["text"] == ["a dog", "ein Hund"]
    assert first.fields["score"] == 0.5
    assert second.fields["more"] == "{'a': [1]}"


def test_a_list_in_one_file(three):
    path = three / "t.json"
    path.write_text("\ufeff" + json.dumps([{"image": "img/000.png", "caption": "a"}, "x"]))
    assert jsonl.recognise(path)
    items = list(jsonl.read(path))
    assert good(items)[0].fields["caption"] == "a"
    assert str(bad(items)[0]) == "t.json row 2: expected a JSON object, found 'x'"
    path.write_text('[{"image": ')
    with pytest.raises(DataError, match=r"t\.json"):
        list(jsonl.read(path))


def test_broken_lines_are_named_and_the_rest_is_read(three):
    path = three / "t.jsonl"
    path.write_bytes(
        b"\xef\xbb\xbf"
        + b'{"img": "img/000.png", "text": "a"}\n'
        + b'{"img": "img/001.png", "text": \n'
        + b"\n"
        + b"[1]\n"
        + b'{"img": "img/001.png", "text": "caf\xe9"}\n'
        + b"[" * 100_000
        + b"\n"
        + b'{"img": "img/002.png", "text": "d", "score": NaN}'
    )
    items = list(jsonl.read(path))
    assert [r.fields["text"] for r in good(items)] == ["a", "d"]
    assert good(items)[1].fields["score"] is None
    assert [(r.source.row, r.reason.split(" found ")[0]) for r in bad(items)] == [
        (2, "expected JSON,"),
        (4, "expected a JSON object,"),
        (5, "expected JSON,"),
        (6, "expected JSON,"),
    ]
    assert "Expecting value at line 1, column" in bad(items)[0].reason


def test_a_path_that_is_no_text_is_refused(three):
    path = jsonl_of(
        three / "t.jsonl",
        [{"img": "img/000.png"}, {"img": 5}, {"img": None}, {"img": ["a", "b"]}, {"x": 1},
         {"img": "../t.jsonl"}, *[{"img": "img/001.png"}] * 6],
    )  # fmt: skip
    assert [(r.source.row, r.field) for r in bad(jsonl.read(path))] == [
        (2, "img"), (3, "img"), (4, "img"), (6, "img"),
    ]  # fmt: skip


def test_recognises(three):
    assert not jsonl.recognise(three)
    (three / "coco.json").write_text(' {"images": []}')
    assert not jsonl.recognise(three / "coco.json")
