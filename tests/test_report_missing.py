"""The report's section of what is missing: its curves are where the numbers are."""

import re
import shutil
from html import unescape

import pytest
from few_runs import run_of

from sensorium import missing
from sensorium.report import missing as section
from sensorium.report.page import page
from sensorium.run import Run

classes = run_of("classes")
RATES = (0.0, 0.25, 1.0)


def score(modality, rate, value, **controls):
    told = {name: {"value": x, "interval": [0, 1]} for name, x in controls.items()}
    return {
        "task": "classification", "direction": "label", "metric": "accuracy", "better": "higher",
        "modality": modality, "rate": rate, "missing": round(100 * rate), "value": value,
        "interval": [value - 0.1, value + 0.1],
        "protocol": {"records": 100, "split": "test", "this_run": "a stand-in", "impute": "a mean",
                     "drop": "the whole ones", "drop_as_wrong": "they count as wrong",
                     "missing": "image missing in 1 of 100", "field": "shape"},
        "controls": told | {
            "drop": {"value": 0.8, "interval": [0, 1], "coverage": 1 - rate},
            "chance": {"value": 0.25, "interval": "exact"},
        },
    }  # fmt: skip


def three(modality="image"):
    return [
        score(modality, rate, 0.8 - rate / 2, impute=0.8 - rate / 4, drop_as_wrong=0.8 - 0.8 * rate,
              text_alone=0.3, complete=0.8)
        for rate in RATES
    ]  # fmt: skip


def heights(drawn, name, *attributes):
    """The values of some attributes of each element with a class, as numbers."""
    found = re.findall(rf"<\w+ [^>]*class=\"{name}\"[^>]*>", drawn)
    return [
        [float(re.search(rf' {at}="([-0-9.]+)%?"', one)[1]) for at in attributes] for one in found
    ]


def test_dots_and_intervals_are_where_the_numbers_are():
    """The scale is read from two gridlines, not from the code that draws."""
    drawn = section.curve(three()).draw()
    grid = [y for (y,) in heights(drawn, "grid", "y1")]
    top, zero = min(grid), max(grid)  # 1 and 0
    dots = heights(drawn, "dot", "cx", "cy")
    whiskers = heights(drawn, "whisker", "x1", "y1", "y2")
    assert [x for x, _ in dots] == [0, 25, 100]
    for (_, y), (_, low, high), rate in zip(dots, whiskers, RATES, strict=True):
        value = 0.8 - rate / 2
        assert (zero - y) / (zero - top) == pytest.approx(value, abs=0.003)
        assert (zero - low) / (zero - top) == pytest.approx(value - 0.1, abs=0.003)
        assert (zero - high) / (zero - top) == pytest.approx(value + 0.1, abs=0.003)
    ((luck,),) = heights(drawn, "chance", "y1")
    assert (zero - luck) / (zero - top) == pytest.approx(0.25, abs=0.003)
    ((alone,),) = heights(drawn, "reference", "y1")
    assert (zero - alone) / (zero - top) == pytest.approx(0.3, abs=0.003)


def test_every_line_is_named_and_what_is_said_aloud_has_the_numbers():
    drawn = unescape(section.curve(three()).draw())
    for text in ("this run", "filled in", "left out, as wrong", "words alone .300",
                 "no skill: 1 in 4", ">0 %<", ">25 %<", ">100 %<"):  # fmt: skip
        assert text in drawn, text
    said = re.search('aria-label="([^"]+)"', drawn)[1]
    assert ".800 where 0 in 100 records lack the picture, .300 where 100 do" in said


def test_a_figure_for_each_modality_and_all_numbers_in_a_table():
    made = unescape("".join(section.missing([*three(), *three("table")])))
    assert made.count("<figure>") == 2
    assert made.count("<table") == 2
    for text in ("No picture", "No table", ".675", ".575–.775", ".800 of 75 %", "a stand-in",
                 "Filled in: a mean"):  # fmt: skip
        assert text in made, text


def test_no_curve_of_a_single_rate_of_nothing():
    made = "".join(section.missing(three()[:1]))
    assert "<figure>" not in made
    assert "<table" in made


def test_a_page_has_the_section_where_such_scores_are_stored(classes, tmp_path):
    from sensorium.report.collecting import collect

    shutil.copytree(classes.folder, tmp_path / "run")
    run = Run.open(tmp_path / "run")
    assert 'id="missing"' not in page(collect(run))
    missing.evaluate(run, "test", RATES)
    made = page(collect(run))
    assert 'id="missing"' in made
    assert 'href="#missing"' in made
