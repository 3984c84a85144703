import io

import numpy as np
import pytest
from clean_data import scene
from PIL import Image, ImageEnhance

from sensorium.datasets import emoji
from sensorium.doctor import duplicates
from sensorium.doctor.duplicates import close, gathered, mark, near
from sensorium.doctor.inspection import see


def _jpeg(picture: Image.Image, quality: int) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def _resized(picture: Image.Image, by: float) -> Image.Image:
    return picture.resize((round(picture.width * by), round(picture.height * by)))


COPIES = {
    "jpeg 80": lambda picture: _jpeg(picture, 80),
    "jpeg 40": lambda picture: _jpeg(picture, 40),
    "half": lambda picture: _resized(picture, 0.5),
    "larger": lambda picture: _resized(picture, 1.7),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.06),
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.9),
    "contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(1.1),
    "half, jpeg, brighter": lambda picture: _jpeg(
        ImageEnhance.Brightness(_resized(picture, 0.5)).enhance(1.05), 70
    ),
}


def _marks(pictures):
    found = [mark(picture) for picture in pictures]
    assert None not in found
    return found


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copies_are_found_and_nothing_else(copy):
    originals = [scene(number, (128, 96)) for number in range(60)]
    told = near(_marks([*originals, *map(copy, originals)]))
    assert [tuple(pair) for pair in told.pairs] == [(at, at + 60) for at in range(60)]


def test_different_pictures_of_one_palette_are_different():
    marks = _marks(scene(number, palette=3) for number in range(400))
    assert len(near(marks).pairs) == 0


def test_the_same_shape_in_another_colour_is_different():
    def disc(colour):
        picture = Image.new("RGB", (64, 64), "white")
        picture.paste(colour, (16, 16, 48, 48))
        return picture

    marks = _marks(map(disc, [(200, 30, 30), (30, 30, 200), (30, 120, 30)]))
    assert len(near(marks).pairs) == 0


def test_a_negative_is_another_picture():
    picture = scene(1)
    negative = Image.fromarray(255 - np.asarray(picture))
    assert len(near(_marks([picture, negative])).pairs) == 0


def test_one_colour_has_no_mark():
    assert mark(Image.new("RGB", (50, 50), (90, 10, 200))) is None


def test_emoji_are_told_apart_but_for_those_drawn_alike():
    """1,543 drawings, 1.2 million pairs: a false alarm in 10,000 would be 120 pairs."""
    records = emoji.read().records
    marks = [see(record.fields["image"], 64).mark for record in records]
    pairs = near(marks).pairs
    names = {tuple(records[at].fields["text"] for at in pair) for pair in pairs}
    assert ("man firefighter", "firefighter") in names
    assert not any({"heart", "circle"} & set(f"{a} {b}".split()) for a, b in names)
    assert len(pairs) <= 12


def test_close_agrees_with_brute_force():
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 2**64, 500, dtype=np.uint64)
    turned = []
    for code in codes:
        for bit in rng.choice(64, rng.integers(0, 11), replace=False):
            code = code ^ (np.uint64(1) << np.uint64(bit))
        turned.append(code)
    codes = np.concatenate([codes, np.array(turned, np.uint64)])
    apart = np.bitwise_count(codes[:, None] ^ codes[None, :])
    slow, loose = (
        {tuple(pair) for pair in np.argwhere(np.triu(apart <= most, 1))}
        for most in (duplicates.SURE, duplicates.BITS)
    )
    pairs, compared, capped = close(codes)
    assert len(slow) > 200
    assert not capped
    found = {tuple(pair) for pair in pairs}
    assert len(found) == len(pairs)
    assert slow <= found <= loose
    assert len(found) > 0.9 * len(loose)
    assert compared < 0.01 * len(codes) ** 2


def test_comparisons_are_not_quadratic():
    """Alike or not: the number of comparisons is bounded by a multiple of the number of codes."""
    most = duplicates.WINDOW * 4 * 17
    rng = np.random.default_rng(2)
    for count in (1000, 10_000, 100_000):
        _, random, capped = close(rng.integers(0, 2**64, count, dtype=np.uint64))
        assert not capped
        assert random <= count * (1 + 17 * 4 * count / 2**16)  # expected bucket sizes, doubled
    counted = []
    for count in (2_000, 20_000):
        pairs, equal, capped = close(np.full(count, 12345, np.uint64))
        assert capped
        assert len(pairs) <= duplicates.WINDOW * count
        assert equal <= most * count
        counted.append(equal)
    assert counted[1] == pytest.approx(10 * counted[0], rel=0.05)


def test_nothing_has_no_pairs():
    assert near([]).pairs.shape == (0, 2)
    assert near(_marks([scene(1)])).pairs.shape == (0, 2)


def test_gathered():
    assert gathered([(0, 5), (2, 3), (5, 9)]) == [[0, 5, 9], [2, 3]]
    assert gathered([]) == []
