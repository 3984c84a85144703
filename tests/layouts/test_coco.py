import json

import pytest
from miniature import bad, good, picture

from sensorium.errors import DataError
from sensorium.layouts import coco


def content(count=3, captions=2):
    """As the official captions_*.json: ids have gaps, annotations are in no useful order."""
    images = [
        {"license": 1, "file_name": f"{n:012d}.jpg", "coco_url": "http://x", "height": 7,
         "width": 9, "date_captured": "2013-11-14 11:18:45", "flickr_url": "http://y", "id": n}
        for n in range(9, 9 + 5 * count, 5)
    ]  # fmt: skip
    annotations = [
        {"image_id": image["id"], "id": 100 * c + image["id"], "caption": f"{c} of {image['id']}. "}
        for c in range(captions)
        for image in reversed(images)
    ]
    return {"info": {}, "licenses": [], "images": images, "annotations": annotations}


def write(json_path, folder, found):
    json_path.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    json_path.write_text(json.dumps(found))
    for image in found["images"]:
        (folder / image["file_name"]).write_bytes(picture(image["id"], "JPEG"))
    return json_path


@pytest.mark.parametrize(
    "place", [".", "images", "train2017", "images/train2017", "../train2017", "../images",
              "../images/train2017", ".."],
)  # fmt: skip
def test_several_captions_stay_several_wherever_the_pictures_are(tmp_path, place):
    here = tmp_path / "data" / "annotations"
    path = write(here / "captions_train2017.json", here / place, content())
    assert coco.recognise(path)
    found = list(coco.read(path))
    assert [r.key for r in found] == ["9", "14", "19"]
    assert found[0].fields["text"] == ["0 of 9.", "1 of 9."]
    assert found[1].fields["image"].read() == picture(14, "JPEG")
    assert str(found[1].source) == "captions_train2017.json row 2"
    assert {r.split for r in found} == {None}


def test_the_official_folder_has_splits(tmp_path):
    for part, first in (("train2017", 2), ("val2017", 3)):
        found = content(first, 1)
        for image in found["images"]:
            image["id"] += 1000 * first
        for annotation in found["annotations"]:
            annotation["image_id"] += 1000 * first
        write(tmp_path / "annotations" / f"captions_{part}.json", tmp_path / part, found)
    assert coco.recognise(tmp_path)
    items = list(coco.read(tmp_path))
    assert [r.split for r in items] == ["train"] * 2 + ["validation"] * 3
    assert items[0].fields["text"] == "0 of 9."  # a single caption is a text


def test_what_is_wrong_is_set_aside_with_its_row(tmp_path):
    found = content(4, 1)
    path = write(tmp_path / "captions.json", tmp_path, found)
    (tmp_path / found["images"][1]["file_name"]).unlink()
    found["images"][2]["file_name"] = "../captions.json"
    found["images"] += [{"id": 9, "file_name": "again.jpg"}, {"id": 77}, "x"]
    found["annotations"] += [
        {"image_id": 12345, "caption": "of nobody"},
        {"image_id": 9, "caption": None},
        7,
    ]
    found["annotations"] = [a for a in found["annotations"]
                            if not isinstance(a, dict) or a["image_id"] != 24]  # fmt: skip
    path.write_text(json.dumps(found))
    items = list(coco.read(path))
    assert [r.key for r in good(items)] == ["9"]
    reasons = [f"{r.source.row}: {r.reason}" for r in bad(items)]
    assert reasons[0] == "2: no file 000000000014.jpg"
    assert "leads out" in reasons[1]
    assert reasons[2] == "4: no caption: no annotation of this image has one"
    assert reasons[3] == "5: key '9' is already that of captions.json row 1"
    assert "77" in reasons[4]
    assert "'x'" in reasons[5]
    assert len(reasons) == 9
    assert "of nobody" in reasons[6]
    assert bad(items)[6].source.file == "captions.json annotations"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"images": [', "expected JSON"),
        ('{"images": {}, "annotations": []}', "a list 'images'"),
        ('{"images": [], "info": 1}', "a list 'annotations'"),
        ('{"images": [], "annotations": [{"bbox": [1, 2, 3, 4]}]}', "annotations with a caption"),
        ('{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": []}', "'a.jpg' in one of"),
    ],
)
def test_what_cannot_be_read_at_all_is_an_error(tmp_path, text, words):
    path = tmp_path / "captions_x.json"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        list(coco.read(path))
    assert words in str(error.value)
    assert "captions_x.json" in str(error.value)


def test_recognises_by_the_beginning_alone(tmp_path):
    path = tmp_path / "a.json"
    for text, yes in (('\ufeff {"info": {}, "images": [', True), ("[]", False), ("{}", False),
                      ('{"annotations" : []}', True)):  # fmt: skip
        path.write_text(text)
        assert coco.recognise(path) == yes
