import hashlib
import zipfile

from sensorium import reading
from sensorium.datasets import emoji
from sensorium.pictures import decode


def test_every_member_is_a_record_and_every_picture_opens():
    found = reading.read("emoji")
    with zipfile.ZipFile(emoji.FILE) as archive:
        drawings = [name for name in archive.namelist() if name.startswith("img/")]
    assert sorted(f"img/{r.key}.webp" for r in found) == sorted(drawings)
    for record in found.records[::50]:
        blob = record.fields["image"]
        assert decode(blob.read(), blob.name).size == (64, 64)
    assert found.fields == {"image": "image", "text": "text"}
    assert found.rejected == []
    assert "Apache-2.0" in found.licence


def test_fields():
    found = {r.key: r for r in emoji.read()}
    dragon = found["1f004"].fields  # spot check against Unicode CLDR
    assert dragon["text"] == "mahjong red dragon"
    assert dragon["text_zh"] == "红中"
    assert dragon["text_zh_Hant"] == "紅中"
    assert "game" in dragon["keywords"]
    names = {name for record in found.values() for name in record.fields if "text_" in name}
    assert len(names) == 15
    assert all(record.fields[name] for record in found.values() for name in names)


def test_categories_are_those_of_unicode():
    # https://unicode.org/emoji/charts/full-emoji-list.html, one drawing of each group
    known = {
        "1f600": "smileys and emotion",
        "1f44d": "people and body",
        "1f436": "animals and nature",
        "1f34e": "food and drink",
        "1f697": "travel and places",
        "26bd": "activities",
        "1f528": "objects",
        "1f170": "symbols",
    }
    found = {r.key: r.fields["category"] for r in emoji.read()}
    assert {key: found.get(key) for key in known} == known
    assert set(found.values()) == set(emoji.CATEGORIES.values())


def test_no_picture_text_or_family_is_on_two_sides():
    sides: dict = {}
    for r in emoji.read():
        digest = hashlib.sha256(r.fields["image"].read()).hexdigest()
        for mark in (digest, ("text", r.fields["text"].casefold()), ("family", r.group)):
            sides.setdefault(mark, set()).add(r.split)
    assert all(len(side) == 1 for side in sides.values())


def test_families():
    assert emoji.family("man running") == emoji.family("woman running") == "person running"
    assert emoji.family("woman: blond hair") == emoji.family("person: blond hair")
    for name in ("mango", "woman’s hat", "man", "mantelpiece clock", "manual wheelchair"):
        assert emoji.family(name) == name


def test_nothing_to_fetch():
    assert emoji.get() == emoji.FILE
    assert emoji.FILE.with_suffix(".NOTICE").read_text().count("License") >= 3
