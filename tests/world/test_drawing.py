"""Drawings: boxes are what is seen, colours differ, kinds differ, and pasting is what it says."""

import colorsys
import itertools

import numpy as np
import pytest
from PIL import Image
from skimage import color

from sensorium.world import _drawing
from sensorium.world._kinds import DRAWINGS, KINDS
from sensorium.world._scene import COLOURS, GROUNDS, SHAPES, STRIPES, Scene, Thing

from .scenes import changed, two

CANVASES = (32, 57, 64, 224)


def touched(inside: np.ndarray) -> bool:
    """Whether all four sides of a box hold something."""
    return all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))


def test_there_are_at_least_64_drawings_and_eight_shapes_of_one_word_each():
    assert len(DRAWINGS) >= 64
    assert len(set(KINDS)) == len(KINDS) == len(DRAWINGS) + len(SHAPES)
    assert all(kind.isalpha() and kind.islower() for kind in KINDS)
    assert len(set(DRAWINGS.values())) == len(DRAWINGS)


@pytest.mark.parametrize("canvas", CANVASES)
@pytest.mark.parametrize("size", ["small", "large"])
def test_a_sprite_touches_all_four_sides_of_its_box(canvas, size):
    longest = _drawing.side(size, canvas)
    for kind in KINDS:
        alpha = _drawing.sprite(kind, "red", longest)[:, :, 3]
        assert touched(alpha >= 40), kind  # by what is plainly seen
        # A faint rim may be cut off: at most a sixth of the length that was asked for.
        assert longest * 5 / 6 <= max(alpha.shape) <= longest, kind
        assert _drawing.extent(kind, size, canvas) == alpha.shape[::-1]


def test_what_is_covered_does_not_depend_on_the_colour():
    for kind in KINDS[::7]:
        red, white = (_drawing.sprite(kind, colour, 15) for colour in ("red", "white"))
        assert (red[:, :, 3] == white[:, :, 3]).all()


@pytest.mark.parametrize("stripes", STRIPES)
def test_boxes_are_the_bounds_of_what_changed_on_the_canvas(stripes):
    for seed, kind in enumerate(KINDS[::3]):
        scene = two((kind, "heart"), ("purple", "red"), canvas=64, stripes=stripes, seed=seed)
        seen = changed(scene)
        covered = np.zeros_like(seen)
        for thing in scene.things:
            x0, y0, x1, y1 = thing.box
            inside = seen[y0:y1, x0:x1]
            assert touched(inside), thing
            covered[y0:y1, x0:x1] = True
        assert not seen[~covered].any()


def test_pasting_is_alpha_composition_as_pillow_does_it():
    scene = two(("octopus", "ring"), ("white", "brown"), ("large", "large"), canvas=128)
    page = Image.fromarray(_drawing.draw(Scene("a", 128, (), None, "sand", "none", None, {})))
    page = page.convert("RGBA")
    for thing in scene.things:
        sprite = _drawing.sprite(thing.kind, thing.colour, _drawing.side(thing.size, 128))
        page.alpha_composite(Image.fromarray(sprite), thing.box[:2])
    expected = np.asarray(page.convert("RGB")).astype(int)
    assert abs(_drawing.draw(scene).astype(int) - expected).max() <= 1


def test_a_box_that_does_not_fit_its_drawing_is_refused():
    scene = Scene("a", 32, (Thing("cat", "red", "large", (0, 0, 3, 3)),), None, "sand", "none",
                  None, {})  # fmt: skip
    with pytest.raises(ValueError, match="15 x 14"):
        _drawing.draw(scene)


def mean_lab(kind: str, colour: str, longest: int) -> np.ndarray:
    sprite = _drawing.sprite(kind, colour, longest)
    lab = color.rgb2lab(sprite[:, :, :3] / 255.0)
    return lab[sprite[:, :, 3] > 127].mean(0)


@pytest.mark.parametrize("longest", [11, 15])
def test_colours_of_one_kind_are_far_apart(longest):
    """CIE 76 in Lab of the mean colour; 20 is a difference that nobody overlooks."""
    nearest = []
    for kind in KINDS:
        means = {colour: mean_lab(kind, colour, longest) for colour in COLOURS}
        for first, second in itertools.combinations(COLOURS, 2):
            far = np.linalg.norm(means[first] - means[second])
            nearest.append((far, kind, first, second))
    assert min(nearest)[0] > 20, min(nearest)


def test_the_hue_of_a_tint_is_the_colours_and_not_the_drawings():
    wanted = {"red": 0, "orange": 33, "yellow": 54, "green": 120, "blue": 220, "purple": 278}
    for kind in KINDS:
        for colour, hue in wanted.items():
            sprite = _drawing.sprite(kind, colour, 32)
            pixels = sprite[:, :, :3][sprite[:, :, 3] > 127] / 255
            strong = [
                h * 360
                for h, s, v in (colorsys.rgb_to_hsv(*p) for p in pixels[::5])
                if s > 0.3 and v > 0.3
            ]
            turn = np.angle(np.mean(np.exp(1j * np.radians(strong)))) - np.radians(hue)
            off = abs(np.degrees(np.angle(np.exp(1j * turn))))
            assert off < 18, (kind, colour, off)


def test_the_tint_keeps_the_drawings_lights_and_darks():
    """The order of lightness within the drawing survives: rank correlation with the original."""
    for kind in DRAWINGS:
        alpha, relative = _drawing._cut(kind, 32)
        for colour in COLOURS:
            sprite = _drawing.sprite(kind, colour, 32)
            light = color.rgb2lab(sprite[:, :, :3] / 255.0)[:, :, 0][alpha > 127]
            original = relative[alpha > 127]
            if original.std() < 0.02:
                continue  # one flat colour has no order
            ranks = [np.argsort(np.argsort(x)) for x in (light, original)]
            assert np.corrcoef(*ranks)[0, 1] > 0.85, (kind, colour)


def test_kinds_differ_when_small():
    """Outline and lightness of two kinds at 15 pixels, centred: never nearly the same."""

    def canvas_of(kind):
        sprite = _drawing.sprite(kind, "green", 15)
        grey = sprite[:, :, :3].mean(-1) * (sprite[:, :, 3] / 255)
        frame = np.zeros((16, 16))
        y, x = (16 - grey.shape[0]) // 2, (16 - grey.shape[1]) // 2
        frame[y : y + grey.shape[0], x : x + grey.shape[1]] = grey
        return (frame - frame.mean()).ravel() / np.linalg.norm(frame - frame.mean())

    drawn = np.stack([canvas_of(kind) for kind in KINDS])
    alike = drawn @ drawn.T - 2 * np.eye(len(KINDS))
    first, second = np.unravel_index(alike.argmax(), alike.shape)
    assert alike.max() < 0.93, (KINDS[first], KINDS[second], alike.max())


@pytest.mark.parametrize("canvas", CANVASES)
def test_every_ground_and_pattern_is_another_picture_and_patterns_are_faint(canvas):
    seen = {}
    for ground, stripes in itertools.product((*GROUNDS, "hidden"), STRIPES):
        picture = _drawing.draw(Scene("a", canvas, (), None, ground, stripes, None, {}))
        assert picture.shape == (canvas, canvas, 3)
        assert picture.dtype == np.uint8
        seen[ground, stripes] = picture
        plain = seen[ground, "none"]
        off = abs(picture.astype(int) - plain).max()
        assert (2 <= off <= 40) if stripes != "none" else off == 0, (ground, stripes, off)
    assert len({picture.tobytes() for picture in seen.values()}) == len(seen)


def test_every_colour_stands_out_from_every_ground():
    for ground in GROUNDS:
        behind = color.rgb2lab(_drawing._ground(ground, "none", 32)[0, 0] / 255.0)
        for colour in COLOURS:
            assert np.linalg.norm(mean_lab("circle", colour, 15) - behind) > 15, (ground, colour)


def test_drawing_a_scene_twice_gives_the_same_and_leaves_the_ground_alone():
    scene = two()
    first = _drawing.draw(scene)
    two_more = _drawing.draw(two(("whale", "bus"), ("green", "white"), seed=3))
    assert (two_more != first).any()
    assert (_drawing.draw(scene) == first).all()
