"""Random views: each step against a slow reference, the draws against their distributions."""

import colorsys
import math

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter
from scipy.stats import kstest

from sensorium import augmentation, draws
from sensorium.augmentation import crop, jitter, simclr, turn_hue


def picture(side: int = 32, seed: int = 0) -> np.ndarray:
    """Smooth colours, uint8 [side, side, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


class Fixed:
    """Stands for a generator: gives the numbers it was given, in the order of `simclr`."""

    def __init__(self, crop=0.5, order=(0, 1, 2, 3), **told):
        names = ("jittered", "grey", "blurred", "flipped", "sigma", "b", "c", "s", "h")
        assert set(told) <= {*names}
        self.crop = np.broadcast_to(np.reshape(crop, (-1, 1)), (4, augmentation.TRIES))
        self.order = np.array(order)
        self.rest = np.array([told.get(name, 0.9999) for name in names])

    def random(self, shape):
        return self.rest if shape == len(self.rest) else self.crop

    def permutation(self, n):
        return self.order[:n]


WHOLE = (1 - 1e-12, 0.5, 0.5, 0.5)  # of the crop: all of a square picture


# the crop


def test_the_share_and_the_shape_of_crops():
    """Of a square: a share a and ratio r fit where |log r| <= -log a, so that the density of a is
    that of a uniform number times min(1, -log a / log(4/3)), and r given a is log-uniform."""
    rng = np.random.default_rng(0)
    boxes = np.array([crop(60, 60, rng) for _ in range(4000)])
    w, h = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes >= 0).all()
    assert (boxes <= 60).all()
    share, ratio = w * h / 3600, w / h
    grid = np.linspace(0.08, 1, 20001)
    density = np.minimum(1, -np.log(grid) / math.log(4 / 3))
    below = np.concatenate([[0], np.cumsum((density[1:] + density[:-1]) / 2)])
    assert kstest(share, lambda a: np.interp(a, grid, below / below[-1])).pvalue > 1e-4
    widest = np.minimum(math.log(4 / 3), -np.log(share))
    assert kstest((np.log(ratio) / widest + 1) / 2, "uniform").pvalue > 1e-4
    # Where it lies: uniform over the places where it fits.
    assert kstest(boxes[:, 0] / (60 - w), "uniform").pvalue > 1e-4
    assert kstest(boxes[:, 1] / (60 - h), "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(boxes[:, 0] / (60 - w), boxes[:, 1] / (60 - h))[0, 1]) < 0.08


@pytest.mark.parametrize(
    ("size", "want"), [((1000, 10), (1000 - 40 / 3) / 2), ((10, 1000), (1000 - 40 / 3) / 2)]
)
def test_where_nothing_fits_the_middle_is_taken(size, want):
    class Large:
        """Draws the whole area, which no strip's shape allows."""

        def random(self, shape):
            return np.full(shape, 0.99)

    left, top, right, bottom = crop(*size, Large())
    ratio = (right - left) / (bottom - top)
    assert ratio == pytest.approx(4 / 3 if size[0] > size[1] else 3 / 4)
    assert max(left, top) == pytest.approx(want)
    assert min(left, top) == 0


def test_a_crop_shows_its_part_of_the_picture():
    """Red tells the column and green the row: the corners of the view are those of the box."""
    array = np.zeros((64, 64, 3), np.uint8)
    array[..., 0] = 4 * np.arange(64)
    array[..., 1] = 4 * np.arange(64)[:, None]
    # Share 0.08 + 0.2 * 0.92 = 0.264, square; placed at a quarter and three quarters of the rest.
    side = 64 * math.sqrt(0.264)
    left, top = 0.25 * (64 - side), 0.75 * (64 - side)
    view = simclr(array, 32, Fixed((0.2, 0.5, 0.25, 0.75))).astype(float)
    at = (np.arange(32) + 0.5) * side / 32
    assert np.abs(view[16, :, 0] - 4 * (left + at - 0.5)).max() < 2.5
    assert np.abs(view[:, 16, 1] - 4 * (top + at - 0.5)).max() < 2.5


# the colours


def test_hue_is_turned_as_colorsys_turns_it():
    array = picture(16)
    for turn in (-0.1, -0.03, 0.0, 0.07, 0.1, 0.5):
        got = np.asarray(turn_hue(Image.fromarray(array), turn)).astype(float)
        want = np.zeros_like(got)
        for at in np.ndindex(16, 16):
            h, s, v = colorsys.rgb_to_hsv(*array[at] / 255)
            want[at] = np.array(colorsys.hsv_to_rgb((h + turn) % 1, s, v)) * 255
        # Pillow's hue has 255 steps, a step changes a channel by 6 in 255; saturation rounds too.
        assert np.abs(got - want).max() < 8
        assert np.abs(got - want).mean() < 2
    grey = np.repeat(picture(16)[..., :1], 3, axis=2)
    assert np.array_equal(np.asarray(turn_hue(Image.fromarray(grey), 0.3)), grey)


def test_hue_wraps_without_a_step():
    """A turn by the whole circle changes nothing that no turn does not."""
    array = Image.fromarray(picture(16))
    assert turn_hue(array, 1.0).tobytes() == turn_hue(array, 0.0).tobytes()
    assert (
        turn_hue(array, -0.25).tobytes() == turn_hue(array, 1 - round(0.25 * 255) / 255).tobytes()
    )


def luma(x: np.ndarray) -> np.ndarray:
    return np.round(x @ [0.299, 0.587, 0.114])[..., None]


@pytest.mark.parametrize("factor", [0.6, 1.0, 1.4])
def test_brightness_contrast_and_saturation_are_mixtures(factor):
    array = picture(16).astype(float)
    middle = np.round(luma(array).mean())
    towards = {0: np.zeros_like(array), 1: np.full_like(array, middle), 2: luma(array)}
    for at, other in towards.items():
        factors = [1.0, 1.0, 1.0, 0.0]
        factors[at] = factor
        got = np.asarray(jitter(Image.fromarray(picture(16)), tuple(factors), [at]))
        want = np.clip(other + factor * (array - other), 0, 255)
        assert np.abs(got - want).max() <= 1.5


def test_the_order_of_the_colour_steps_counts():
    image, factors = Image.fromarray(picture(16)), (0.6, 1.4, 1.4, 0.1)
    one = image
    for at in (3, 0, 2, 1):
        one = jitter(one, factors, [at])
    assert jitter(image, factors, [3, 0, 2, 1]).tobytes() == one.tobytes()
    assert jitter(image, factors, [1, 2, 0, 3]).tobytes() != one.tobytes()


def test_a_grey_view_is_the_luma():
    array = picture(32)
    view = simclr(array, 32, Fixed(WHOLE, grey=0.1)).astype(float)
    assert np.abs(view - luma(array.astype(float))).max() <= 1
    assert np.ptp(view, axis=2).max() == 0


NONE = {"jittered": 0.79, "b": 0.5, "c": 0.5, "s": 0.5, "h": 0.5}


@pytest.mark.parametrize(
    ("drawn", "factors"),
    [
        ({}, (1, 1, 1, 0)),
        ({"b": 0.0}, (0.6, 1, 1, 0)),
        ({"b": 1.0}, (1.4, 1, 1, 0)),
        ({"c": 0.0}, (1, 0.6, 1, 0)),
        ({"c": 1.0}, (1, 1.4, 1, 0)),
        ({"s": 0.0}, (1, 1, 0.6, 0)),
        ({"s": 1.0}, (1, 1, 1.4, 0)),
        ({"h": 0.0}, (1, 1, 1, -0.1)),
        ({"h": 1.0}, (1, 1, 1, 0.1)),
    ],
)
def test_factors_are_spread_around_no_change(drawn, factors):
    """The ends of the draws give 1 - s and 1 + s with SLIP's strengths."""
    array = picture(32)
    view = simclr(array, 32, Fixed(WHOLE, **NONE | drawn))
    want = jitter(Image.fromarray(array), factors, range(4))
    assert np.array_equal(view, np.asarray(want))


def test_the_order_is_the_one_drawn():
    array, ends = picture(32), NONE | {"b": 1.0, "c": 1.0, "s": 1.0, "h": 1.0}
    view = simclr(array, 32, Fixed(WHOLE, order=(2, 3, 1, 0), **ends))
    want = jitter(Image.fromarray(array), (1.4, 1.4, 1.4, 0.1), (2, 3, 1, 0))
    assert np.array_equal(view, np.asarray(want))


@pytest.mark.parametrize(
    ("step", "share"), [("jittered", 0.8), ("grey", 0.2), ("blurred", 0.5), ("flipped", 0.5)]
)
def test_a_step_is_taken_below_its_share(step, share):
    array = picture(64)
    taken, left = (simclr(array, 64, Fixed(WHOLE, **{step: share + by})) for by in (-0.001, 0.001))
    assert not np.array_equal(taken, array)
    assert np.array_equal(left, array)


# blur and mirror


@pytest.mark.parametrize("drawn", [0.25, 0.5, 1.0])
def test_blur_is_gaussian_and_scales_with_the_size(drawn):
    array = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    view = simclr(array, 224, Fixed(WHOLE, blurred=0.1, sigma=drawn)).astype(float)
    sigma = 0.1 + drawn * 1.9
    want = gaussian_filter(array.astype(float), (sigma, sigma, 0), mode="nearest")
    # Pillow's is three passes of a box: close, and far closer than another width would be.
    apart = np.abs(view - want).mean()
    other = gaussian_filter(array.astype(float), (1.3 * sigma, 1.3 * sigma, 0), mode="nearest")
    assert apart < 4
    assert np.abs(view - other).mean() > 1.5 * apart
    small = array[:56, :56]
    view = simclr(small, 56, Fixed(WHOLE, blurred=0.1, sigma=1.0)).astype(float)
    quarter = Image.fromarray(small).filter(ImageFilter.GaussianBlur(2 / 4))
    assert np.array_equal(view, np.asarray(quarter))


def test_mirrored_is_mirrored():
    array = picture(32)
    assert np.array_equal(simclr(array, 32, Fixed(WHOLE)), array)
    assert np.array_equal(simclr(array, 32, Fixed(WHOLE, flipped=0.1)), array[:, ::-1])


def test_how_often_each_step_is_taken():
    """On a picture where each leaves a trace: mirrored by brighter on the right, grey, jittered."""
    array = np.zeros((24, 24, 3), np.uint8)
    array[...] = np.linspace(60, 180, 24).astype(np.uint8)[:, None]
    array[..., 2] = 30
    views = [simclr(array, 16, draws.generator("view", at)).astype(int) for at in range(2000)]
    mirrored = sum(v[:, 0, 0].mean() > v[:, -1, 0].mean() for v in views)
    grey = sum(int(np.ptp(v, axis=2).max() == 0) for v in views)
    # Red and green are equal until the hue is turned; a turn that rounds to none leaves them so.
    turned = sum((v[..., 0] != v[..., 1]).any() for v in views)
    for count, share in ((mirrored, 0.5), (grey, 0.2), (turned, 0.8 * 0.8 * (1 - 1 / 51))):
        assert abs(count - 2000 * share) < 5 * math.sqrt(2000 * share * (1 - share))


# keyed


def test_the_generator_decides_alone():
    array = picture(40)
    before = array.copy()
    first, again = (simclr(array, 24, draws.generator("r", 1)) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert np.array_equal(array, before)
    assert simclr(array, 24, draws.generator("r", 2)).tobytes() != first.tobytes()


def test_every_view_takes_equally_many_draws():
    """What follows in the same stream does not depend on what was drawn."""
    after = set()
    for side in (24, 40):
        rng = np.random.default_rng(5)
        for _ in range(30):
            simclr(picture(side), 16, rng)
        after.add(rng.random())
    assert len(after) == 1


@pytest.mark.parametrize("shape", [(1, 1), (2, 50), (50, 2), (9, 7)])
def test_any_shape_becomes_the_size(shape):
    array = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    for at in range(20):
        view = simclr(array, 16, draws.generator(at))
        assert view.shape == (16, 16, 3)
        assert view.dtype == np.uint8
