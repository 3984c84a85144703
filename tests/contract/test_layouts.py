"""What every layout keeps, beside its own tests."""

import inspect
from pathlib import Path

import pytest
from miniature import good

from sensorium import shelf
from sensorium.errors import DataError
from sensorium.reading import ORDER
from sensorium.records import Blob

NAMES = shelf.names("layouts")


def test_the_order_of_trying_names_only_layouts():
    assert sorted(ORDER) == NAMES


@pytest.mark.parametrize("name", NAMES)
class TestLayout:
    def test_has_what_a_layout_has(self, name):
        layout = shelf.load("layouts", name)
        assert "\n" not in layout.SUMMARY
        assert 10 < len(layout.SUMMARY) < 100
        assert list(inspect.signature(layout.recognise).parameters) == ["path"]
        assert list(inspect.signature(layout.read).parameters) == ["path", "fields"]

    def test_has_its_own_test(self, name):
        assert (Path(__file__).parents[1] / "layouts" / f"test_{name}.py").exists()

    def test_recognises_nothing_in_what_is_not_its_own(self, name, tmp_path):
        layout = shelf.load("layouts", name)
        (tmp_path / "notes.txt").write_text("x")
        (tmp_path / "void").mkdir()
        for path in (tmp_path / "gone", tmp_path / "notes.txt", tmp_path / "void"):
            assert layout.recognise(path) is False

    def test_a_file_of_random_bytes_ends_in_an_error_or_in_refusals(self, name, tmp_path):
        layout = shelf.load("layouts", name)
        data = bytes((n * n * 7 + n // 3) % 256 for n in range(5000))
        for suffix in (".csv", ".jsonl", ".json", ".parquet", ".tar"):
            path = tmp_path / f"a{suffix}"
            path.write_bytes(data)
            if layout.recognise(path):
                usable, said = [], path.name
                try:
                    usable = good(layout.read(path))
                except DataError as error:
                    said = str(error)
                assert path.name in said
                assert not any(isinstance(v, Blob) for r in usable for v in r.fields.values())
