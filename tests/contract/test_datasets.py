"""What every data set keeps, beside its own tests."""

from pathlib import Path

import pytest

from sensorium import shelf
from sensorium.errors import DataError
from sensorium.records import SPLITS, Records

NAMES = shelf.names("datasets")


@pytest.mark.parametrize("name", NAMES)
class TestDataset:
    def test_has_what_a_data_set_has(self, name):
        member = shelf.load("datasets", name)
        assert "\n" not in member.SUMMARY
        assert 10 < len(member.SUMMARY) < 100
        assert member.SOURCE
        assert len(member.LICENCE) > 10
        assert callable(member.get)

    def test_has_its_own_test(self, name):
        assert (Path(__file__).parents[1] / "datasets" / f"test_{name}.py").exists()

    def test_reads_whole_or_names_the_command(self, name, tmp_path, monkeypatch):
        monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path / "none"))
        member = shelf.load("datasets", name)
        found, see = None, None
        try:
            found = member.read()
        except DataError as error:
            see = error.see
        if found is not None:
            self.check(found, member)
        else:
            assert see == f"sensorium data get {name}"
        assert not (tmp_path / "none").exists()

    def check(self, found, member):
        assert isinstance(found, Records)
        assert found.licence == member.LICENCE
        assert {record.split for record in found} == set(SPLITS)
        assert len({record.key for record in found}) == len(found)
        assert set(found.fields.values()) >= {"image", "text"}
        assert all(record.fields.get(name) for record in found for name in found.fields)
