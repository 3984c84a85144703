import pytest
from miniature import bad, good, picture

from sensorium import reading
from sensorium.datasets import tuxpaint
from sensorium.errors import DataError
from sensorium.pictures import decode
from sensorium.splits import normalised


def stamp(folder, name, caption, number=0):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(picture(number))
    if caption is not None:
        (folder / f"{name}.txt").write_text(
            f"{caption}\naf.utf8='n Voël\nde.utf8=Ein Vogel.\n", "utf-8"
        )


def test_a_miniature_of_the_package(tmp_path):
    stamp(tmp_path / "animals" / "birds", "heron", "A great blue heron.", 1)
    stamp(tmp_path / "animals" / "birds", "heron-2", "A great blue heron.", 2)
    stamp(tmp_path / "animals" / "birds", "heron_mirror", None, 3)
    stamp(tmp_path / "animals" / "birds" / "cartoon", "tux", "A penguin.", 4)
    stamp(tmp_path / "symbols" / "math", "0", "0", 5)
    stamp(tmp_path / "food", "pear", "A pear.", 6)
    stamp(tmp_path / "food", "plum", "A plum.", 7)
    (tmp_path / "food" / "plum.png").write_text("no picture")
    (tmp_path / "food" / "pear_desc_fr.ogg").write_bytes(b"OggS")
    (tmp_path / "food" / "nut.svg").write_text("<svg/>")
    items = list(tuxpaint.stamps(tmp_path))
    assert [(r.key, r.fields["text"], r.group) for r in good(items)] == [
        ("animals/birds/heron-2", "A great blue heron.", "A great blue heron."),
        ("animals/birds/heron", "A great blue heron.", "A great blue heron."),
        ("food/pear", "A pear.", "A pear."),
    ]
    assert [r.key for r in bad(items)] == ["food/plum"]


def test_not_fetched_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("SENSORIUM_CACHE", str(tmp_path))
    with pytest.raises(DataError) as error:
        reading.read("tuxpaint")
    assert error.value.see == "sensorium data get tuxpaint"


def test_the_package_itself():
    if not tuxpaint.PACKAGE.folder.is_dir():
        pytest.skip("tuxpaint is not fetched: sensorium data get tuxpaint")
    found = reading.read("tuxpaint")
    # counted in the package by `find`: .png with a .txt, without symbols and cartoon folders
    assert len(found) == 430
    assert found.rejected == []
    sides: dict = {}
    for r in found:
        sides.setdefault(normalised(r.fields["text"]), set()).add(r.split)
    assert all(len(side) == 1 for side in sides.values())
    for record in found.records[::40]:
        blob = record.fields["image"]
        decode(blob.read(), blob.name)
