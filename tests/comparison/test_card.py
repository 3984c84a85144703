"""The card: every text within the canvas and beside no other, marks where the numbers are."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from drawn import LONG, drawn
from PIL import Image

from sensorium.comparison import card, findings
from sensorium.comparison.lettering import clipped, lines, paired, width
from sensorium.comparison.plan import Prediction, World

LOG2 = {"at": "threshold", "threshold": 0.7, "margin": 0.5,
        "prediction": Prediction(low=-2, high=0.5)}  # fmt: skip
NATS = {"outcome": "loss:matching", "controls": (), "prediction": None, "margin": 0.01}
LENGTHY = {"arms": {LONG: "merge_attention", "W" * 120: "co_attention"}}
CASES = {
    **{kind: (kind, {}) for kind in ("better", "worse", "equal", "unknown", "nothing")},
    **{f"{kind}, nats": (kind, NATS) for kind in ("better", "worse", "equal", "unknown")},
    **{f"{kind}, log2": (kind, LOG2) for kind in ("better", "worse", "unknown", "nothing")},
    "equal, log2": ("equal", LOG2 | {"margin": 0.1}),
    **{f"{kind}, long names": (kind, LENGTHY) for kind in ("better", "equal", "unknown")},
    "long names, log2": ("worse", LENGTHY | LOG2),
    "a world": ("better", {"data": World(world="binding", scenes=20_000_000, seed=7),
                           "equal_parameters": "fusion.mlp", "seeds": tuple(range(40))}),
    "long data": ("unknown", {"data": "x" * 200}),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """case -> findings, the SVG."""
    place, told = tmp_path_factory.mktemp("cards"), {}
    for at, (name, (kind, others)) in enumerate(CASES.items()):
        found = findings.read(drawn(place / str(at), kind, **others))
        told[name] = (found, card.svg(found, found.verdicts[0]))
    # The longest verdict that there is.
    found, _ = told["unknown"]
    words = "cannot tell: would need more items than 1,234,567, however many seeds"
    told["long verdict"] = (found, card.svg(found, found.verdicts[0] | {"words": words}))
    return told


def texts(picture: str) -> str:
    root = ElementTree.fromstring(picture)
    return "\n".join("".join(x.itertext()) for x in root.iter("{http://www.w3.org/2000/svg}text"))


def test_what_a_card_must_say(made):
    found, picture = made["better"]
    said = texts(picture)
    for told in (
        "co against merge", "emoji, micro size", "Better by 19.6 points.",
        "Varied: fusion of albef. 5 paired seeds, 30,000 samples each.",
        "This design finds 1.9 points in 8 of 10 trials.",
        "← merge better", "co better →", "95 % interval +18.2 to +21.0", "each of the 5 seeds",
        "predicted −1.0 to +25.0", "counts as equal: within 2.0",
        "co takes 1.05 times the tokens, 1.30 the FLOPs, 2.00 the parameters, 1.20 the seconds",
        "Says nothing about", "other sizes than micro, other data than emoji, any paper",
        f"plan {found.plan.hash[:4]} {found.plan.hash[4:8]}",
    ):  # fmt: skip
        assert told in said, told
    assert found.verdicts[0]["sentence"] in picture  # the accessible name


def test_all_four_verdicts_are_said_as_they_are(made):
    said = {name: texts(picture) for name, (_, picture) in made.items()}
    assert "Worse by 20.4 points." in said["worse"]
    assert "No difference larger than 2.0 points." in said["equal"]
    assert re.search(r"Cannot tell: would need \d+ seeds\.", said["unknown"])
    assert "Cannot tell: no arm learned." in said["nothing"]
    assert re.search(r"Worse by at least [\d.]+ doublings of samples\.", said["worse, log2"])
    assert re.search(r"Better by [\d.]+ nats\.", said["better, nats"])
    assert "No difference larger than 0.010 nats." in said["equal, nats"]


def test_marks_are_where_the_numbers_are(made):
    """From the printed ticks: ends of the interval, the dot, a tick for every seed."""
    found, picture = made["better"]
    verdict = found.verdicts[0]
    ticks = re.findall(r'<text x="([\d.]+)" y="450"[^>]*>([^<]+)<', picture)
    places = {float(t.replace("−", "-")): float(x) for x, t in ticks}
    low, high = min(places), max(places)
    unit = (places[high] - places[low]) / (high - low)

    def at(value: float) -> float:
        return places[0.0] + 100 * value * unit

    x1, x2 = map(float, re.search(r'x1="([\d.]+)" x2="([\d.]+)" y1="290"', picture).groups())
    assert (x1, x2) == pytest.approx([at(x) for x in verdict["interval"]], abs=0.2)
    dot = float(re.search(r'<circle cx="([\d.]+)"', picture)[1])
    assert dot == pytest.approx(at(verdict["difference"]), abs=0.2)
    each = [float(x) for x in re.findall(r'x1="([\d.]+)" x2="[\d.]+" y1="330"', picture)]
    assert each == pytest.approx([at(low) for low, _ in verdict["each"]], abs=0.2)
    x, wide = map(
        float, re.search(r'<rect x="([\d.]+)" y="232" width="([\d.]+)"', picture).groups()
    )
    assert (x, x + wide) == pytest.approx((at(-0.02), at(0.02)), abs=0.3)


def test_a_run_that_did_not_reach_the_threshold_is_a_line_to_its_side(made):
    found, picture = made["worse, log2"]
    assert sum(high is None for _, high in found.verdicts[0]["each"]) == 1
    assert picture.count('y1="330"') == 4
    x1, x2 = map(float, re.search(r'x1="([\d.]+)" x2="([\d.]+)" y1="340"', picture).groups())
    assert x1 < x2 == card.PLOT


def test_more_than_two_arms_have_a_card_a_pair(tmp_path):
    arms = {"merge": "merge_attention", "co": "co_attention", "cross": "cross_attention"}
    found = findings.read(drawn(tmp_path / "x", "unknown", arms=arms))
    card.write(found)
    assert "co against merge" in (found.folder / "verdict.svg").read_text("utf-8")
    assert "cross against merge" in (found.folder / "verdict-2.svg").read_text("utf-8")


def test_without_the_library_the_svg_is_written_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "vl_convert", None)
    found = findings.read(drawn(tmp_path / "x"))
    assert [x.name for x in card.write(found)] == ["verdict.svg"]
    assert "vl-convert-python" in card.PNG


def test_the_png_is_of_its_size_and_no_blank(tmp_path):
    pytest.importorskip("vl_convert")
    found = findings.read(drawn(tmp_path / "x"))
    assert [x.name for x in card.write(found)] == ["verdict.svg", "verdict.png"]
    picture = Image.open(io.BytesIO((found.folder / "verdict.png").read_bytes())).convert("RGB")
    assert picture.size == (1200, 630)
    assert picture.getpixel((600, 3)) == (26, 29, 33)
    assert picture.getpixel((600, 60)) == (252, 252, 250)
    dark = (np.asarray(picture.crop((80, 90, 700, 140)), int).sum(axis=2) < 150).sum()
    assert dark > 500  # the verdict is written


# --- how wide texts are ------------------------------------------------------------------------


def test_clipped_texts_fit():
    for text in (LONG, "W" * 100, "名" * 100, "short"):
        told = clipped(text, 200, 18)
        assert width(told, 18) <= 200
        assert told == text or told.endswith("…")
    assert clipped("short", 200, 18) == "short"


def test_of_two_texts_the_longer_gives_way():
    assert paired("a", "b", 100, 18) == ("a", "b")
    one, other = paired("short", "W" * 50, 200, 18)
    assert one == "short"
    assert width(one, 18) + width(other, 18) <= 200
    one, other = paired("V" * 50, "W" * 50, 200, 18)
    assert max(width(one, 18), width(other, 18)) <= 100


def test_lines_hold_all_words_in_order():
    text = "one two three four five six"
    assert " ".join(lines(text, 60, 18, 9)) == text
    assert len(lines(text, 60, 18, 2)) == 2
    assert lines(text, 60, 18, 2)[-1].endswith("…")


# --- in a browser ------------------------------------------------------------------------------

BOXES = """() => [...document.querySelectorAll('text')].map(e => {
  const b = e.getBBox(); return [e.textContent, b.x, b.y, b.x + b.width, b.y + b.height];
})"""


def chromium() -> str | None:
    """A browser on this machine, where there is one."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


def test_texts_are_within_the_canvas_and_beside_each_other(made, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if chromium() is None:
        pytest.skip("no chromium on this machine (CHROMIUM names one)")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        window = browser.new_page(viewport={"width": card.WIDTH, "height": card.HEIGHT})
        for name, (_, picture) in made.items():
            file = tmp_path / "card.svg"
            file.write_text(picture, "utf-8")
            window.goto(file.as_uri())
            boxes = window.evaluate(BOXES)
            assert len(boxes) > 15, name
            for text, left, top, right, bottom in boxes:
                # Ticks are centred on the plot's ends; all else keeps the margins.
                edge = 40 if re.fullmatch(r"[+−]?[\d.]+", text) else card.LEFT - 1
                assert left >= edge, (name, text)
                assert right <= card.RIGHT + 1, (name, text)
                assert top >= 8, (name, text)
                assert bottom <= card.HEIGHT - 16, (name, text)
            for at, (text, left, top, right, bottom) in enumerate(boxes):
                for other, x1, y1, x2, y2 in boxes[at + 1 :]:
                    apart = min(right, x2) - max(left, x1) < 1 or min(bottom, y2) - max(top, y1) < 6
                    assert apart, (name, text, other)
        browser.close()


def test_the_card_in_the_documents_is_whole():
    """Of the size that is sent."""
    file = Path(__file__).parents[2] / "docs" / "verdict.png"
    assert Image.open(file).size == (card.WIDTH, card.HEIGHT)
