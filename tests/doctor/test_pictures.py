import io
import shutil

import numpy as np
import pytest
from clean_data import clean, rows, scene, sentence
from miniature import csv_of
from PIL import Image, ImageEnhance

from sensorium.doctor import examine


def _ids(diagnosis):
    return {finding.id for finding in diagnosis.findings} - {"towers-missing"}


def _found(diagnosis, name):
    return next(finding for finding in diagnosis.findings if finding.id == name)


def _truncated(path):
    data = (path / "003.png").read_bytes()
    (path / "003.png").write_bytes(data[: len(data) // 2])


def _jpeg_called_png(path):
    scene(3).save(path / "003.png", "JPEG", quality=95)


def _tiny(path):
    scene(3, (15, 40)).save(path / "003.png")


def _sliver(path):
    scene(3, (900, 100)).save(path / "003.png")


def _plain(path):
    Image.new("RGB", (50, 50), (200, 200, 210)).save(path / "003.png")


def _sixteen(path):
    grey = scene(3).convert("L")
    Image.fromarray(np.asarray(grey).astype(np.uint16) * 200).save(path / "003.png")


def _moving(path):
    scene(3).save(path / "003.png", save_all=True, append_images=[scene(50), scene(51)])


DEFECTS = {
    "unreadable-pictures": (_truncated, "warning"),
    "suffix-mismatch": (_jpeg_called_png, "note"),
    "tiny-pictures": (_tiny, "warning"),
    "extreme-aspect": (_sliver, "warning"),
    "single-colour": (_plain, "warning"),
    "unusual-mode": (_sixteen, "note"),
    "animated": (_moving, "note"),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_found_and_nothing_else(tmp_path, name):
    path = clean(tmp_path)
    plant, severity = DEFECTS[name]
    plant(tmp_path)
    diagnosis = examine(path)
    assert _ids(diagnosis) == {name}
    finding = _found(diagnosis, name)
    assert finding.severity == severity
    assert finding.what.startswith("1 ")
    assert len(finding.where) == 1
    assert finding.where[0].startswith("003.png: ")
    assert diagnosis.exit_code == (severity == "warning")


def test_more_than_a_tenth_damaged_is_unusable(tmp_path):
    path = clean(tmp_path)
    for at in range(5):
        file = tmp_path / f"{at:03d}.png"
        file.write_bytes(file.read_bytes()[:300])
    diagnosis = examine(path)
    assert diagnosis.exit_code == 2
    assert _found(diagnosis, "unreadable-pictures").found == "12%"
    assert diagnosis.facts["pictures"]["readable"] == 35


def test_nothing_readable_at_all(tmp_path):
    path = clean(tmp_path)
    for file in tmp_path.glob("*.png"):
        file.write_bytes(file.read_bytes()[:100])
    diagnosis = examine(path)
    assert diagnosis.exit_code == 2
    assert diagnosis.facts["pictures"]["width"] == [0, 0]


def test_a_bomb_is_refused_by_its_header(tmp_path):
    path = clean(tmp_path)
    Image.new("1", (20_000, 10_000)).save(tmp_path / "003.png")
    diagnosis = examine(path)
    assert _ids(diagnosis) == {"set-aside"}
    assert "20,000 x 10,000" in _found(diagnosis, "set-aside").where[0]


def test_the_same_bytes_in_one_split(tmp_path):
    path = clean(tmp_path)
    shutil.copy(tmp_path / "002.png", tmp_path / "005.png")
    diagnosis = examine(path)
    assert _ids(diagnosis) == {"exact-duplicates"}
    finding = _found(diagnosis, "exact-duplicates")
    assert finding.what == "2 pictures are copies of 1, byte for byte"
    assert finding.where == ("002.png = 005.png",)
    assert diagnosis.facts["duplicates"]["exact"] == 1
    assert diagnosis.facts["duplicates"]["near"] == 0


def test_the_same_bytes_in_two_splits(tmp_path):
    path = clean(tmp_path)
    shutil.copy(tmp_path / "000.png", tmp_path / "005.png")
    diagnosis = examine(path)
    assert _ids(diagnosis) == {"exact-duplicates", "leak-picture"}
    assert _found(diagnosis, "leak-picture").where == ("000.png (test) = 005.png (train)",)


def test_the_same_bytes_are_found_outside_the_sample(tmp_path):
    path = clean(tmp_path)
    for at in range(1, 40):
        shutil.copy(tmp_path / "000.png", tmp_path / f"{at:03d}.png")
    diagnosis = examine(path, most=3)
    assert diagnosis.facts["duplicates"]["exact"] == 1
    assert _found(diagnosis, "exact-duplicates").what.startswith("40 pictures are copies of 1, ")


def _again(path, source, target):
    picture = Image.open(path / source).convert("RGB")
    picture = ImageEnhance.Brightness(picture.resize((90, 68))).enhance(1.04)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=75)
    Image.open(io.BytesIO(out.getvalue())).save(path / target)


@pytest.mark.parametrize(
    ("source", "ids"),
    [("002.png", {"near-duplicates"}), ("001.png", {"near-duplicates", "leak-near-picture"})],
)
def test_the_same_picture_coded_again(tmp_path, source, ids):
    path = clean(tmp_path)
    _again(tmp_path, source, "005.png")
    diagnosis = examine(path)
    assert _ids(diagnosis) == ids
    places = _found(diagnosis, "near-duplicates").where
    assert len(places) == 1
    assert places[0].startswith(f"{source} '{sentence(int(source[:3]))[:20]}")
    assert "005.png" in places[0]
    if "leak-near-picture" in ids:
        assert "(validation) ~ 005.png" in _found(diagnosis, "leak-near-picture").where[0]


def test_pictures_of_one_palette_are_no_duplicates(tmp_path):
    path = clean(tmp_path, 60)
    for at in range(60):
        scene(at, palette=1).save(tmp_path / f"{at:03d}.png")
    assert _ids(examine(path)) == set()


def test_large_data_name_the_least(tmp_path):
    path = clean(tmp_path)
    for at in range(1, 20):
        _again(tmp_path, "000.png", f"{at:03d}.png")
    diagnosis = examine(path, most=30)
    assert _found(diagnosis, "near-duplicates").what.startswith("at least ")


def test_several_captions_of_one_picture_are_one_record(tmp_path):
    clean(tmp_path)
    table = [row | {"caption": f"{row['caption']} again"} for row in rows()]
    path = csv_of(tmp_path / "captions.csv", rows() + table)
    diagnosis = examine(path)
    assert _ids(diagnosis) == set()
    assert diagnosis.facts["records"] == 40
    assert diagnosis.facts["texts"]["each"] == [2, 2]
