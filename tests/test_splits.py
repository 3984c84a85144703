"""Splits go by group, in any order of the records, and keep what the data states."""

import dataclasses
import random
from collections import Counter

import pytest
from miniature import picture

from sensorium import splits
from sensorium.errors import DataError
from sensorium.records import SPLITS, Blob, Record, Records, Source


def record(number, text=None, image=None, group=None, split=None):
    fields = {
        "image": Blob(f"{number}.png", data=picture(number) if image is None else image),
        "text": f"text {number}" if text is None else text,
    }
    return Record(f"k{number}", Source("t", number), fields, group, split)


def records(items):
    return Records("t", list(items), {"image": "image", "text": "text"})


def by_key(found):
    return {r.key: r.split for r in found}


def crossing(found, names):
    """How many of the groups, given by key, are in more than one split."""
    sides: dict = {}
    for r in found:
        sides.setdefault(names[r.key], set()).add(r.split)
    return sum(len(side) > 1 for side in sides.values())


@pytest.mark.parametrize("count", [10, 57, 1000])
def test_shares(count):
    found = splits.assign(records(record(n) for n in range(count)))
    counts = Counter(r.split for r in found)
    assert counts["validation"] == counts["test"] == max(3, round(count / 10))
    assert counts["train"] == count - 2 * max(3, round(count / 10))
    assert found.notes == []


def test_the_order_of_records_does_not_matter_but_the_seed_does():
    items = [record(n, text=f"t{n // 2}", group=f"g{n // 5}" if n % 3 else None)
             for n in range(200)]  # fmt: skip
    first = by_key(splits.assign(records(items)))
    for seed in range(3):
        shuffled = random.Random(seed).sample(items, len(items))
        assert by_key(splits.assign(records(shuffled))) == first
    assert by_key(splits.assign(records(items), seed=1)) != first


def test_no_group_is_on_two_sides():
    names = {f"k{n}": f"g{n % 40}" for n in range(300)}
    found = splits.assign(records(record(n, group=names[f"k{n}"]) for n in range(300)))
    assert crossing(found, names) == 0
    counts = Counter(r.split for r in found)
    assert all(20 <= counts[split] <= 30 for split in ("validation", "test"))


def test_equal_pictures_and_equal_texts_join_and_chains_of_them():
    # 0-1 by picture, 1-2 by text (case and blanks aside), 2-3 by group: all four are one.
    chain = [
        record(0), record(1, image=picture(0), text="A  Boat"),
        record(2, text="a boat", group="g"), record(3, group="g"),
    ]  # fmt: skip
    found = splits.groups(records(chain + [record(n) for n in range(4, 30)]))
    assert len(set(found[:4])) == 1
    assert len(set(found)) == 27


def test_pictures_of_one_size_but_other_bytes_stay_apart():
    data = [picture(0, "BMP"), picture(1, "BMP")]
    assert len(data[0]) == len(data[1])
    found = splits.groups(records(record(n, image=data[n % 2]) for n in range(4)))
    assert found[0] == found[2] != found[1] == found[3]


def test_pictures_are_compared_wherever_they_are(tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(picture(0))
    tar = tmp_path / "t.tar"
    tar.write_bytes(b"x" * 7 + picture(0) + b"y")
    size = len(picture(0))
    blobs = [Blob("a.png", file), Blob("t.tar:a", tar, 7, size), Blob("m", data=picture(0))]
    items = [record(n) for n in range(3)]
    items = [dataclasses.replace(r, fields={**r.fields, "image": b})
             for r, b in zip(items, blobs, strict=True)]  # fmt: skip
    assert len(set(splits.groups(records(items)))) == 1


def test_any_shared_caption_joins():
    items = [record(0, text=["a", "b"]), record(1, text=["b", "c"]), record(2, text=["d", "e"])]
    found = splits.groups(records(items + [record(n) for n in range(3, 9)]))
    assert found[0] == found[1] != found[2]


def test_classes_do_not_join():
    found = splits.assign(records(record(n, text=f"class {n % 5}") for n in range(200)))
    assert Counter(r.split for r in found) == {"train": 160, "validation": 20, "test": 20}


def test_given_splits_are_kept():
    items = [record(n, split=SPLITS[n % 3], group="one") for n in range(30)]
    found = splits.assign(records(items))
    assert by_key(found) == by_key(items)
    assert found.notes == []


@pytest.mark.parametrize("missing", [("validation",), ("test",), ("validation", "test")])
def test_what_is_missing_is_drawn_from_train(missing):
    given = [split for split in SPLITS if split not in missing]
    items = [record(n, split=given[n % len(given)], group=f"g{n // len(given) // 2}-{n % 2}")
             for n in range(200)]  # fmt: skip
    found = splits.assign(records(items))
    before, after = by_key(items), by_key(found)
    assert set(after.values()) == set(SPLITS)
    assert all(after[key] == split for key, split in before.items() if split != "train")
    assert {before[key] for key, split in after.items() if split in missing} == {"train"}
    assert crossing(found, {r.key: r.group for r in items}) == 0
    assert "drawn from train by group" in found.notes[0]
    assert all(split in found.notes[0] for split in missing)


def test_a_group_that_reaches_into_a_stated_test_set_is_left_and_reported():
    items = [record(n, split="train") for n in range(50)]
    items += [record(100, split="test", text="text 0"), record(101, split="test")]
    found = splits.assign(records(items))
    assert found[0].split == "train"
    assert any(note.startswith("1 records of train share") for note in found.notes)


def test_records_without_a_split_among_others():
    items = [record(n, split="test" if n < 10 else None) for n in range(60)]
    found = splits.assign(records(items))
    assert Counter(r.split for r in found) == {"train": 45, "validation": 5, "test": 10}
    assert any("50 records state no split" in note for note in found.notes)


def test_only_test_stated_says_nothing():
    found = splits.assign(records(record(n, split="test") for n in range(50)))
    assert Counter(r.split for r in found) == {"train": 40, "validation": 5, "test": 5}
    assert "no train split" in found.notes[0]


def test_large_groups_still_leave_no_split_empty():
    sizes = [50, 30, 12, 8]
    items, names = [], {}
    for group, size in enumerate(sizes):
        for _ in range(size):
            items.append(record(len(items), group=f"g{group}"))
            names[items[-1].key] = group
    found = splits.assign(records(items))
    assert crossing(found, names) == 0
    assert set(Counter(r.split for r in found)) == set(SPLITS)
    assert {r.split for r in found if r.group == "g0"} == {"train"}


def test_too_few_groups_is_an_error():
    with pytest.raises(DataError, match="at least 3 groups"):
        splits.assign(records(record(n, group=f"g{n % 2}") for n in range(50)))


def test_assigning_twice_changes_nothing():
    first = splits.assign(records(record(n) for n in range(40)))
    again = splits.assign(Records("t", list(first), dict(first.fields)), seed=5)
    assert by_key(again) == by_key(first)
