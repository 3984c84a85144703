"""The report: true to the scores, closed to the outside, safe with hostile data, readable."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sensorium import recipe as recipes
from sensorium.records import Blob
from sensorium.report import answers
from sensorium.report import collecting as report
from sensorium.report import page as report_page
from sensorium.report.charts import Curve, Markup, join, steps_of, tag
from sensorium.report.verdict import verdict
from sensorium.report.words import (
    LABELS,
    in_hundred,
    language,
    logarithm,
    odds,
    share,
)
from sensorium.run import Run

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "</style></title><svg onload=alert(3)>",
    "' autofocus onfocus=alert(4) x='",
    "\u202eright to left override",
    "https://example.org/a?b=<c>&d",
    "一只红色的船",
    "un bateau rouge " * 60,
)
OVERRIDES = [
    "encoders.image.width=32", "encoders.image.depth=1", "encoders.image.heads=2",
    "encoders.text.width=32", "encoders.text.depth=1", "encoders.text.heads=2",
    "space=16", "modalities.image.size=16", "modalities.image.patch=8", "optimiser.batch=8",
]  # fmt: skip


def photo(number: int, size: tuple[int, int] = (24, 20)) -> bytes:
    """A picture that differs in colour and place of a square."""
    array = np.full((size[1], size[0], 3), 40 + 5 * (number % 40), np.uint8)
    array[number % 12 : number % 12 + 6, number % 16 : number % 16 + 6] = (
        250,
        7 * number % 250,
        30,
    )
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def dataset(folder: Path) -> Path:
    """48 pictures with hostile captions, several captions, unusual field names, two bad records."""
    folder.mkdir()
    rows = []
    for at in range(48):
        name = f"p{at:02d}.png"
        (folder / name).write_bytes(photo(at))
        words: object = f"{HOSTILE[at % len(HOSTILE)]} {at}"
        if at >= 40 or at % 5 == 0:
            words = [words, f"{' '.join(HOSTILE[:4])} {at}"]
        split = "train" if at < 32 else "validation" if at < 40 else "test"
        rows.append({"bild <b>": name, "titel & text": words, "split": split})
    (folder / "damaged.png").write_bytes(b"\x89PNG no")
    rows.append({"bild <b>": "damaged.png", "titel & text": "damaged", "split": "train"})
    missing = "<img src=x onerror=alert(5)>.png"
    rows.append({"bild <b>": missing, "titel & text": "missing", "split": "train"})
    table = folder / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return table


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A finished tiny run on hostile data; no tower in the cache, so ConSE is not measured."""
    from sensorium.pretraining import pretrain

    place = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(place / "cache"))
        recipe = recipes.load("clip", "tiny", OVERRIDES, budget="5-steps")
        pretrain(dataset(place / "data"), recipe, out=place / "run")
        yield place / "run"


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    """The run again, to be damaged."""
    return Path(shutil.copytree(folder, tmp_path / "copy"))


@pytest.fixture(scope="module")
def page(folder) -> str:
    return Run.open(folder).report().read_text(encoding="utf-8")


class Reader(HTMLParser):
    """Elements with their attributes, and the text of every table row by the table's class."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, list[tuple[str, list[str]]]] = {}
        self.text: list[str] = []
        self._table, self._quiet = "", ""
        self.feed(text)

    def handle_starttag(self, name, attributes):
        given = dict(attributes)
        self.elements.append((name, given))
        if name in ("style", "script"):
            self._quiet = name
        if name == "table":
            self._table = (given.get("class") or "").split(" ")[0]
        elif name == "tr":
            self.rows.setdefault(self._table, []).append((given.get("class") or "", []))
        elif name in ("td", "th"):
            self.rows[self._table][-1][1].append("")

    def handle_endtag(self, name):
        if name == self._quiet:
            self._quiet = ""
        if name == "table":
            self._table = ""

    def handle_data(self, data):
        if not self._quiet:
            self.text.append(data)
        if self._table and self.rows.get(self._table) and self.rows[self._table][-1][1]:
            self.rows[self._table][-1][1][-1] += data

    @property
    def whole(self) -> str:
        return " ".join("".join(self.text).split())


# --- closed, safe, small -----------------------------------------------------------------------


def test_nothing_outside_is_asked_for(page):
    for name, attributes in Reader(page).elements:
        for key in ("src", "href", "srcset", "poster", "action", "data", "xlink:href"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (name, key, value[:60])
    assert "@import" not in page
    assert not re.search(r"url\((?!data:)", page)
    assert "default-src &#x27;none&#x27;" in page


def test_hostile_captions_are_text(page):
    read = Reader(page)
    names = [name for name, _ in read.elements]
    assert names.count("script") == 1
    assert names.count("style") == 1
    for _, attributes in read.elements:
        assert not [key for key in attributes if key.startswith("on") or key == "autofocus"]
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    # ... and they are on the page: nothing was dropped to be safe.
    for text in HOSTILE[:4]:
        assert text in read.whole or any(text in (a.get("alt") or "") for _, a in read.elements), (
            text
        )
    assert "<img src=x onerror=alert(5)>.png" in read.whole


def test_a_page_is_escaped_by_construction():
    assert tag("p", "<b>", title='"&') == '<p title="&quot;&amp;">&lt;b&gt;</p>'
    assert tag("p", Markup("<b>"), None) == "<p><b></p>"
    assert join("<", Markup("<"), 1) == "&lt;<1"


def test_the_content_policy_names_the_script(page):
    import base64
    import hashlib

    script = re.search(r"<script>(.*?)</script>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"sha256-{digest}" in page


def test_budgets(page):
    bare = re.sub(r"data:image/webp;base64,[A-Za-z0-9+/=]+", "", page)
    assert len(bare.encode()) < 400_000
    assert report_page.SCRIPT.stat().st_size < 30_000
    pictures = re.findall(r"data:image/webp;base64,([A-Za-z0-9+/=]+)", page)
    assert pictures
    assert max(map(len, pictures)) < 12_000


def test_readable_without_script(page):
    """The one thing that needs the script is not offered without it."""
    button = [attributes for name, attributes in Reader(page).elements if name == "button"]
    assert len(button) == 1
    assert "hidden" in button[0]


def test_surrogates_in_names_do_not_stop_the_page(copy):
    line = {"file": "bad\udcff.png", "row": None, "key": None, "field": None, "reason": "\ud800"}
    (copy / "rejected.jsonl").write_text(json.dumps(line) + "\n")
    assert "bad?.png" in Run.open(copy).report().read_text(encoding="utf-8")


# --- true --------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_evaluation(folder, page):
    rows = Reader(page).rows
    scores = json.loads((folder / "evaluation" / "test.json").read_text())
    blocks = list(dict.fromkeys(score["direction"] for score in scores))
    for table, metrics in (("scores", ["recall@1"]), ("more", ["recall@5", "recall@10"])):
        groups: list[list[tuple[str, list[str]]]] = []
        for kind, cells in rows[table][1:]:
            if kind == "group":
                groups.append([])
            else:
                groups[-1].append((kind, cells))
        assert len(groups) == len(blocks)
        for direction, group in zip(blocks, groups, strict=True):
            found = {cells[0]: cells[1:] for _, cells in group}
            assert group[0][1][0] == "this run"
            assert group[-1][1][0] == "no skill"
            for at, metric in enumerate(metrics):
                score = next(
                    s for s in scores if (s["direction"], s["metric"]) == (direction, metric)
                )
                assert set(found) == {"this run", *(LABELS[key] for key in score["controls"])}
                for label, one in {"this run": score, **score["controls"]}.items():
                    cells = found[LABELS.get(label, label)]
                    text = " ".join(cells) if table == "scores" else cells[at * (len(cells) > 1)]
                    if one["value"] is None:
                        assert one["reason"] in text
                        continue
                    assert share(one["value"]) in text
                    if isinstance(one["interval"], list):
                        assert " – ".join(map(share, one["interval"])) in text


def test_conse_that_was_not_measured_gives_its_reason(page):
    assert "ConSE, nothing trained" in page
    assert "not measured: tower" in Reader(page).whole


def test_controls_of_any_name_are_rows(copy):
    file = copy / "evaluation" / "test.json"
    scores = json.loads(file.read_text())
    for score in scores:
        score["controls"]["plain_projections"] = {"value": 0.25, "interval": [0.1, 0.4]}
        score["controls"]["my_own_control"] = {"value": 0.5, "interval": [0.4, 0.6]}
    file.write_text(json.dumps(scores))
    rows = Reader(Run.open(copy).report().read_text("utf-8")).rows["scores"]
    names = [cells[0] for _, cells in rows]
    assert names.count("plain projections") == 2
    assert names.count("my own control") == 2
    assert names[-1] == "no skill"


def test_counts_set_aside_fields_and_surroundings(folder, page):
    read = Reader(page)
    splits = json.loads((folder / "splits.json").read_text())
    for split in ("train", "validation", "test"):
        assert f"{split} {list(splits.values()).count(split)}," in read.whole
    aside = (folder / "rejected.jsonl").read_text().splitlines()
    assert len(aside) == 2
    assert "2 records set aside." in read.whole
    assert json.loads(aside[0])["reason"][:40] in read.whole
    assert "titel & text" in read.whole
    info = json.loads((folder / "run.json").read_text())
    assert info["environment"]["versions"]["torch"] in read.whole
    assert info["recipe_hash"][:4] in read.whole
    assert "nothing was taken from elsewhere" in read.whole
    assert "another seed agrees" in read.whole or "Train longer" in read.whole


def test_long_lists_of_what_was_set_aside_are_counted(copy):
    lines = [{"file": f"{at}.png", "row": at, "field": "x", "reason": "r"} for at in range(25)]
    (copy / "rejected.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    text = Reader(Run.open(copy).report().read_text("utf-8")).whole
    assert "25 records set aside." in text
    assert "and 15 more" in text
    assert "9.png" in text
    assert "10.png" not in text


def test_gallery_and_failures_agree_with_the_ranks(folder):
    from sensorium.evaluation import pairs
    from sensorium.tasks import retrieval

    run = Run.open(folder)
    shown = report.collect(run).shown
    records = run.records()
    asked = [records[at] for at in records.positions("test")]
    columns = {name: run.column(name, asked) for name in ("text", "image")}
    table = run.embed("text", columns["text"]) @ run.embed("image", columns["image"]).T
    ranks = retrieval.rank(table, pairs(columns["text"], columns["image"]).right()).ranks
    assert shown.queries == len(ranks)
    assert [answer.rank for answer in shown.worst][:1] == [max(ranks)]
    texts = [answers.clipped(text) for text in columns["text"].items]
    for answer in shown.gallery + shown.worst:
        assert ranks[texts.index(answer.query)] == answer.rank
        right = [picture.rank for picture in answer.found if picture.right]
        assert not right or min(right) == answer.rank
    again = report.collect(Run.open(folder)).shown
    assert [a.query for a in again.gallery] == [a.query for a in shown.gallery]


def test_what_is_missing_is_said(copy):
    """Data that moved, no test scores, no scores, not finished: each a page, none a traceback."""
    run = Run.open(copy)
    run.note(data=str(copy / "gone.jsonl"))
    text = Reader(run.report().read_text("utf-8")).whole
    assert "No pictures: no data at" in text

    (copy / "evaluation" / "test.json").unlink()
    text = Reader(Run.open(copy).report().read_text("utf-8")).whole
    assert "of the validation split, which also chose the step" in text

    (copy / "evaluation" / "validation.json").unlink()
    text = Reader(Run.open(copy).report().read_text("utf-8")).whole
    assert "Trained, not scored yet." in text
    assert "sensorium evaluate" in text

    for key in ("best_step", "best_score", "training_seconds"):
        run.info.pop(key)
    run.note()
    text = Reader(Run.open(copy).report().read_text("utf-8")).whole
    assert "Training has not finished: 5 of 5 steps." in text
    assert "sensorium resume" in text

    (copy / "log.jsonl").unlink()
    (copy / "splits.json").unlink()
    for key in ("plan", "samples", "calibration"):
        run.info.pop(key)
    run.note()
    text = Reader(Run.open(copy).report().read_text("utf-8")).whole
    assert "it stopped before its first step" in text
    assert "nothing was logged yet" in text


def test_a_run_of_one_step(copy):
    lines = [json.loads(x) for x in (copy / "log.jsonl").read_text().splitlines()]
    kept = [line for line in lines if line["step"] <= 1]
    (copy / "log.jsonl").write_text("".join(json.dumps(x) + "\n" for x in kept))
    Run.open(copy).note(plan={"steps": 1, "evaluate_every": 1}, best_step=1)
    shutil.copytree(copy / "checkpoints" / "step-00000005", copy / "checkpoints" / "step-00000001",
                    dirs_exist_ok=True)  # fmt: skip
    assert "1 step<" in Run.open(copy).report().read_text("utf-8")


def test_a_picture_of_twelve_megapixels_a_bomb_and_a_fragment():
    out = io.BytesIO()
    Image.effect_noise((4000, 3000), 60).convert("RGB").save(out, "JPEG", quality=40)
    small = answers.thumbnail(Blob("12mp.jpg", data=out.getvalue()))
    with Image.open(io.BytesIO(small)) as picture:
        assert (picture.format, picture.size) == (
            "WEBP",
            (answers.SIDE, answers.SIDE),
        )
    assert answers.thumbnail(Blob("cut.jpg", data=out.getvalue()[:2000])) is None
    bomb = bytearray(photo(0))
    bomb[16:24] = (60_000).to_bytes(4, "big") * 2
    assert answers.thumbnail(Blob("bomb.png", data=bytes(bomb))) is None


# --- the verdict -------------------------------------------------------------------------------


def score(value, interval, chance=0.006, direction="text_to_image", split="test", **controls):
    """A hand-made score."""
    given = {name: {"value": v, "interval": i} for name, (v, i) in controls.items()}
    return {
        "task": "retrieval", "direction": direction, "metric": "recall@1", "value": value,
        "interval": list(interval),
        "protocol": {"split": split, "records": 174},
        "controls": {**given, "chance": {"value": chance, "interval": "exact"}},
    }  # fmt: skip


def test_verdict_with_skill():
    said = verdict([score(0.384, (0.315, 0.458), conse=(0.213, [0.159, 0.28]))])
    assert said.skill
    assert said.title == (
        "Words find the right picture first 38 times in 100. Luck finds it 0.6 times."
    )
    assert "It beats ConSE (nothing trained) by 17.1 points (.384 against .213;" in said.lines[1]
    assert "174 records of the test split" in said.lines[0]


def test_verdict_without_skill():
    said = verdict([score(0.0115, (0.003, 0.041), conse=(0.2, [0.15, 0.26]))])
    assert not said.skill
    assert said.title.startswith("No better than luck yet: words find the right picture first 1.1")
    assert "holds what luck gives" in said.lines[1]
    below = verdict([score(0.0, (0.0, 0.004))])
    assert "first 0 times in 100" in below.title
    assert "lies below what luck gives" in below.lines[1]


@pytest.mark.parametrize(
    ("interval", "words"),
    [((0.03, 0.12), "It beats plain projections by 7.4 points"),
     ((-0.02, 0.12), "do not tell it apart from plain projections"),
     ((-0.12, -0.01), "It does worse than plain projections")],
)  # fmt: skip
def test_the_paired_difference_decides_where_it_is_known(interval, words):
    """The two intervals overlap in every case; only the paired one speaks."""
    score = {
        "task": "retrieval", "direction": "text_to_image", "metric": "recall@1",
        "value": 0.384, "interval": [0.31, 0.46],
        "protocol": {"records": 174, "split": "test"},
        "controls": {
            "plain_projections": {"value": 0.31, "interval": [0.25, 0.38],
                                  "difference": 0.074, "difference_interval": list(interval)},
            "chance": {"value": 1 / 174, "interval": "exact"},
        },
    }  # fmt: skip
    assert words in verdict([score]).lines[1]


def test_verdict_that_overlaps_a_control_says_so():
    said = verdict([score(0.31, (0.246, 0.383), conse=(0.24, [0.18, 0.31]))])
    assert said.skill
    assert "overlaps that of ConSE (nothing trained), .180 to .310" in said.lines[1]
    assert "do not tell the two apart" in said.lines[1]
    both = verdict([score(0.31, (0.246, 0.383), conse=(0.24, [0.18, 0.31]), own=(0.3, [0.2, 0.4]))])
    assert "overlaps those of own, .200 to .400; of ConSE (nothing trained)" in both.lines[1]
    behind = verdict([score(0.1, (0.06, 0.15), conse=(0.24, [0.18, 0.31]))])
    assert behind.lines[1].startswith(
        "It does worse than ConSE (nothing trained): .100 against .240;"
    )


def test_verdict_on_validation_and_with_a_weak_second_direction():
    said = verdict(
        [
            score(0.01, (0.003, 0.04), direction="image_to_text", split="validation"),
            score(0.3, (0.24, 0.37), split="validation"),
        ]
    )
    assert said.title.startswith("Words find")
    assert "which also chose the step" in said.lines[0]
    assert said.lines[-1] == (
        "Pictures find the right words first 1.0 times in 100, which is no better than luck."
    )


def test_verdict_names_a_control_that_is_missing():
    one = score(0.3, (0.24, 0.37))
    one["controls"]["conse"] = {"value": None, "reason": "tower minilm is not in the cache"}
    assert verdict([one]).lines[1] == (
        "ConSE (nothing trained) was not measured: tower minilm is not in the cache."
    )


# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.384, ".384"), (0, ".000"), (1, "1.000"), (0.0001, "<.001"), (0.9999, ">.999")],
)
def test_share(value, text):
    assert share(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.384, "38"), (0.0057, "0.6"), (0, "0"), (1, "100"), (0.996, "99.6"), (0.0994, "9.9"),
     (0.0996, "10"), (0.125, "13"), (0.00002, "0.002"), (0.99999, "99.9")],
)  # fmt: skip
def test_in_hundred(value, text):
    assert in_hundred(value) == text


def test_luck_with_its_origin():
    assert odds(1 / 174) == "1 in 174"
    assert odds(0.0213) == ".021"
    assert logarithm(float(np.log(256))) == "ln 256 = 5.55"
    assert logarithm(5.3) == "5.30"


@given(st.floats(-1e3, 1e3), st.floats(1e-3, 1e4))
def test_ticks_are_few_and_enclose(low, span):
    ticks = steps_of(low, low + span)
    assert 2 <= len(ticks) <= 6
    assert ticks[0] <= low + 1e-6 * span
    assert ticks[-1] >= low + span - 1e-6 * span


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.floats(0, 20), min_size=1, max_size=30),
    st.floats(0.1, 20),
    st.booleans(),
)
def test_labels_of_a_curve_stay_inside(values, luck, lower):
    last = max(len(values) - 1, 1)
    points = [(float(at), value) for at, value in enumerate(values)]
    curve = Curve("t", "r", "s", last, [("a line", points, True)], [(luck, "no skill")],
                  chosen=(0, values[0], "here, chosen"), lower=lower)  # fmt: skip
    drawn = curve.draw()
    for y in re.findall(r'<text [^>]*y="([\d.-]+)"', drawn):
        assert 0 <= float(y) <= 250
    assert "nan" not in drawn


def test_languages():
    assert language("一只红色的船") == "zh"
    assert language("赤いボート") == "ja"
    assert language("배") == "ko"
    assert language("a boat, 船") is None
    assert language("un bateau", "text_fr") == "fr"
    assert language("a boat", "caption") is None


def test_chinese_is_marked(page):
    marked = [one for one in Reader(page).elements if one[1].get("lang") == "zh"]
    assert marked
    assert all(a.get("dir") == "auto" or name == "img" for name, a in marked)


# --- the look ----------------------------------------------------------------------------------


def tokens(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9A-F]{6})", block))


def contrast(a: str, b: str) -> float:
    """WCAG 2.2, relative luminance and contrast ratio."""

    def luminance(colour: str) -> float:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_text_colours_can_be_read():
    style = report_page.STYLE.read_text()
    light, system, chosen, print_ = (
        tokens(block) for block in re.findall(r":root[^{]*\{\s*color-scheme:[^}]*\}", style)
    )
    assert system == chosen, "dark by system and dark by the button differ"
    assert {**light, "paper": "#FFFFFF"} == print_
    for scheme in (light, chosen, print_):
        for name in ("ink", "ink-2", "ink-3", "signal", "chance", "focus", "warn", "bad"):
            assert contrast(scheme[name], scheme["paper"]) >= 4.5, name
        for name in ("ink", "ink-2"):
            assert contrast(scheme[name], scheme["panel"]) >= 4.5, name
    used = set(re.findall(r"var\(--([a-z0-9-]+)\)", style))
    assert used <= {*light, "sans", "serif", "mono"}


def chromium() -> str | None:
    """A browser on this machine, where there is one."""
    named = os.environ.get("CHROMIUM")
    return named or next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if chromium() is None:
        pytest.skip("no chromium on this machine (CHROMIUM names one)")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=chromium(), args=flags)
        yield opened
        opened.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_a_tuned_page_does_not_scroll_sideways(browser, copy, width):
    """The widest table of before and after: with the column of weights as tuned, long names."""
    run = Run.open(copy)
    row = {"which": "new", "metric": "image_self_supervision loss", "better": "lower",
           "before": 12.25, "tuned": 10.5, "after": 11.75, "difference": -0.5,
           "difference_interval": [-10.412, -10.123], "records": 10}  # fmt: skip
    shot = {"zero_shot": {"value": None, "reason": "the source compares no pictures with texts"}}
    old = {"which": "old", "metric": "image_to_text, recall@10", "better": "higher"}
    rows = [row, row | shot, row | old | {"difference_interval": None},
            {"which": "old", "reason": "the source's data is gone"}]  # fmt: skip
    window = browser.new_page(viewport={"width": width, "height": 800})
    for some in (rows, [{k: v for k, v in one.items() if k != "tuned"} for one in rows]):
        run.info["before_and_after"] = some
        path = copy / "tuned.html"
        path.write_text(report_page.page(report.collect(run)), "utf-8")
        window.goto(path.as_uri())
        assert window.locator("table.tuned").count() == 1
        assert window.evaluate("document.documentElement.scrollWidth") <= width
        # Nothing of the table is cut or runs into what stands beside it.
        inside = "[...document.querySelectorAll('table.tuned :is(th, td)')]"
        assert window.evaluate(f"{inside}.filter(e => e.scrollWidth > e.clientWidth).length") == 0
    window.close()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_in_a_browser(browser, folder, page, width):
    window = browser.new_page(viewport={"width": width, "height": 800}, color_scheme="light")
    told, asked = [], []
    window.on("console", lambda message: told.append(message.text))
    window.on("pageerror", lambda error: told.append(str(error)))
    window.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    window.on("request", lambda request: asked.append(request.url))
    window.goto((folder / "report.html").as_uri())
    window.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    assert window.evaluate("document.documentElement.scrollWidth") <= width
    asked = [url for url in asked if not url.startswith("data:")]
    assert asked == [(folder / "report.html").as_uri()]
    small = window.evaluate(
        """[...document.querySelectorAll('body *')].filter(e => e.childNodes.length
           && [...e.childNodes].some(n => n.nodeType == 3 && n.data.trim())
           && parseFloat(getComputedStyle(e).fontSize) < 12).map(e => e.outerHTML)"""
    )
    assert small == []

    ground = "getComputedStyle(document.body).backgroundColor"
    assert window.evaluate(ground) == "rgb(252, 252, 250)"
    window.click("#theme")
    assert window.evaluate(ground) == "rgb(20, 23, 26)"
    assert window.get_attribute("#theme", "aria-pressed") == "true"
    window.click("#theme")
    assert window.evaluate(ground) == "rgb(252, 252, 250)"

    window.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
    window.keyboard.press("Tab")
    ring = window.evaluate(
        "(s => [s.outlineStyle, s.outlineWidth])(getComputedStyle(document.activeElement))"
    )
    assert ring == ["solid", "2px"]
    assert told == []
    window.close()
