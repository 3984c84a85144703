"""The page of a comparison: whole, true to the numbers, closed, fitting any screen."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser

import pytest
from drawn import LONG, drawn

from sensorium.comparison import findings, words
from sensorium.comparison.curves import mean_of
from sensorium.comparison.forest import Scale
from sensorium.comparison.page import page, plan_text
from sensorium.comparison.plan import Prediction, load
from sensorium.recipe_yaml import safe_yaml

HOSTILE = "<script>alert(1)</script>"
THREE = {"merge": "merge_attention", "co": "co_attention", "cross": "cross_attention"}
CASES = {
    "better": ("better", {}),
    "worse": ("worse", {"outcome": "loss:matching", "controls": (), "prediction": None}),
    "equal": ("equal", {"also": ("choice:caption_roles", "loss:masked_tokens")}),
    "unknown": ("unknown", {"arms": THREE, "seeds": tuple(range(12))}),
    "nothing": ("nothing", {}),
    "samples": ("worse", {"at": "threshold", "threshold": 0.7, "margin": 0.5,
                          "prediction": Prediction(low=-2, high=0.5)}),
    "unreached": ("nothing", {"at": "threshold", "threshold": 0.7, "margin": 0.5}),
    "long": ("unknown", {"arms": {LONG: "merge_attention", "b" * 90: "co_attention"}}),
    "hostile": ("better", {"arms": {HOSTILE: "merge_attention", '"><img src=x>': "co_attention"},
                           "question": f"Is {HOSTILE} safe?"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """case -> its findings."""
    place = tmp_path_factory.mktemp("pages")
    return {
        name: findings.read(drawn(place / name, kind, **others))
        for name, (kind, others) in CASES.items()
    }


class Reader(HTMLParser):
    """Elements, and the text of each section, table row and attribute-less place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {"": ""}
        self.rows: dict[str, list[tuple[str, list[str]]]] = {}
        self.titles: list[str] = []
        self._section = self._table = self._quiet = ""
        self._heading = False
        self.feed(text)

    def handle_starttag(self, name, attributes):
        given = dict(attributes)
        self.elements.append((name, given))
        if name in ("style", "script"):
            self._quiet = name
        if name == "section":
            self._section = given["id"]
            self.sections[self._section] = ""
        if name == "table":
            self._table = given.get("id") or given["class"].split()[-1]
        if name == "tr":
            self.rows.setdefault(self._table, []).append((given.get("class") or "", []))
        if name in ("th", "td") and self._table:
            self.rows[self._table][-1][1].append("")
        self._heading = name == "h1"

    def handle_endtag(self, name):
        if name == self._quiet:
            self._quiet = ""
        if name == "table":
            self._table = ""

    def handle_data(self, data):
        if self._quiet:
            return
        self.sections[self._section] += data
        if self._heading:
            self.titles.append(data)
        if self.rows.get(self._table) and self.rows[self._table][-1][1]:
            self.rows[self._table][-1][1][-1] += data


@pytest.mark.parametrize("case", CASES)
def test_everything_that_a_referee_asks_for_is_there(made, case):
    found = made[case]
    read = Reader(page(found))
    assert list(read.sections)[1:] == [
        "difference", "scores", "learning", "cost", "arms", "plan", "silence", "next",
    ]  # fmt: skip
    assert read.titles == [words.title(found.verdicts)]
    plan = found.plan
    assert plan.hash in read.sections["plan"]
    assert plan.question in read.sections[""]
    for arm in plan.names:
        for section in ("difference", "scores", "cost", "arms"):
            assert arm in read.sections[section], section
    for verdict in found.verdicts:
        assert verdict["sentence"] in read.sections["difference"]
    for told in (plan.size, str(plan.budget), "seeds"):
        assert told in read.sections["silence"]
    assert ("no rate was" in read.sections["silence"]) == (plan.sweep is None)
    if not plan.controls:
        assert "No control was run" in read.sections["scores"]


def test_the_forest_has_a_row_a_seed_and_what_was_judged(made):
    found = made["unknown"]
    rows = Reader(page(found)).rows["forest"]
    kinds = [kind.split()[0] for kind, _ in rows[1:]]
    pair = ["group", "named", *["seed"] * 12, "run", "predicted", "equal"]
    assert kinds == pair * 2
    for verdict in found.verdicts:
        for (low, _), seed in zip(verdict["each"], found.plan.seeds, strict=True):
            figure = f"{100 * low:+.1f}".replace("-", "−")
            assert [f"seed {seed}", figure] in [cells[:2] for _, cells in rows], figure
        mean = f"{100 * verdict['difference']:+.1f}".replace("-", "−")
        assert mean in [cells[1] for kind, cells in rows if kind == "run"]
    named = [cells[0] for kind, cells in rows if kind == "named"]
    assert named == ["← merge betterco better →", "← merge bettercross better →"]


def test_less_is_better_swaps_the_ends(made):
    """Of a loss, a difference above 0 means that the arm is worse than the first."""
    named = [cells for kind, cells in Reader(page(made["worse"])).rows["forest"] if kind == "named"]
    assert named == [["← co bettermerge better →"]]
    assert made["worse"].verdicts[0]["difference"] > 0


def test_dots_are_where_the_numbers_are(made):
    """Places on the axis, computed from its printed ends."""
    found = made["better"]
    text = page(found)
    table = text[text.index('class="scores forest"') :].partition("</table>")[0]
    head = table[: table.index("</thead>")]
    ticks = [(float(x), t) for x, t in re.findall(r'x="([\d.]+)%"[^>]*>([^<]+)</text>', head)]
    values = [float(t.replace("−", "-")) for _, t in ticks]
    places = [float(x) for x in re.findall(r'<circle cx="([\d.]+)%" cy="50%" r="3"', table)]
    told = [100 * low for low, _ in found.verdicts[0]["each"]]
    wanted = [100 * (x - values[0]) / (values[-1] - values[0]) for x in told]
    assert places == pytest.approx(wanted, abs=0.01)
    left, wide = map(
        float, re.search(r'<rect x="([\d.]+)%" width="([\d.]+)%"[^>]*class="zone"', table).groups()
    )
    unit = 100 / (values[-1] - values[0])
    assert (left, wide) == pytest.approx(((-2 - values[0]) * unit, 4 * unit), abs=0.02)


def test_scores_are_those_of_the_runs(made):
    found = made["equal"]
    rows = {cells[0]: (kind, cells) for kind, cells in Reader(page(found)).rows["levels"][2:]}
    for arm in ("merge", "co"):
        values = [row["value"] for row in found.rows if (row["arm"], row["stage"]) == (arm, "run")]
        kind, cells = rows[arm]
        assert kind == "run"
        assert cells[1] == f"{sum(values) / len(values):.3f}"[1:]
    assert rows["partner shuffled"][1][1] == ".500"
    assert rows["image alone"][1][1] == ".500"
    assert rows["best possible"][1][1] == ".960"
    assert rows["no skill"] == ("luck", ["no skill", ".500", "", ""])
    also = [cells for _, cells in Reader(page(found)).rows["also"][1:]]
    assert also[0] == ["forced choice against caption roles", "co .610, merge .580",
                       "+3.0 (+1.2 to +4.8)"]  # fmt: skip
    assert also[1][2] == "+0.030 (+0.012 to +0.048)"


def test_what_differs_is_the_axis_alone(made):
    text = page(made["better"])
    section = text[text.index('id="arms"') : text.index('id="plan"')]
    paths = re.findall(r'<p class="theirs mono"[^>]*>([^<]+)</p>', section)
    assert "fusion.use" in paths
    assert all(path.startswith("fusion.") for path in paths)
    assert "merge_attention" in section
    assert "co_attention" in section


def test_what_recipes_say_of_themselves_is_no_difference(tmp_path):
    """Of whole recipes: names and sources differ, and say nothing of what is done."""
    arms = {"clip": "clip", "slip": "slip"}
    asked = "retrieval:text_to_image@1"
    found = findings.read(drawn(tmp_path / "x", axis="recipe", arms=arms, outcome=asked))
    text = page(found)
    section = text[text.index('id="arms"') : text.index('id="plan"')]
    paths = re.findall(r'<p class="theirs mono"[^>]*>([^<]+)</p>', section)
    assert any(path.startswith("objectives.") for path in paths)
    assert not {path.split(".")[0] for path in paths} & {"name", "summary", "source", "published"}


def test_costs_are_ratios_to_the_first_arm(made):
    rows = {cells[0]: cells[1:] for _, cells in Reader(page(made["better"])).rows["costs"][1:]}
    assert [x.partition(" ×")[0] for x in rows["merge"]] == ["1.00"] * 6
    assert [x.partition(" ×")[0] for x in rows["co"]] == [
        "1.00", "1.05", "1.30", "1.00", "2.00", "1.20",
    ]  # fmt: skip
    assert rows["merge"][2].endswith("3.1 T")


def test_curves_show_each_seed_the_mean_luck_and_the_threshold(made):
    text = page(made["samples"])
    section = text[text.index('id="learning"') : text.index('id="cost"')]
    assert section.count('class="seed a1"') == section.count('class="seed a2"') == 5
    assert section.count('class="arm a1"') == section.count('class="arm a2"') == 1
    assert section.count('class="hatch"') == 1
    assert "threshold .700" in section
    assert "no skill: .500" in section
    assert "30,000 samples" in section


def test_the_mean_curve_is_over_looks_that_all_runs_have():
    runs = [[(1.0, 0.5), (2.0, 0.7), (3.0, 0.9)], [(1.0, 0.7), (3.0, 0.5)]]
    assert mean_of(runs) == [(1.0, pytest.approx(0.6)), (3.0, pytest.approx(0.7))]


def test_a_scale_holds_all_that_is_drawn(made):
    for name, found in made.items():
        scale = Scale.over(found.verdicts, found.plan)
        assert scale.ticks[0] <= 0 <= scale.ticks[-1], name
        assert 0 in scale.ticks, name
        for verdict in found.verdicts:
            for limits in (*verdict["each"], verdict["interval"]):
                for value in (x for x in limits if x is not None):
                    shown = scale.factor * value
                    assert scale.ticks[0] - 1e-9 <= shown <= scale.ticks[-1] + 1e-9, name


def test_the_plan_on_the_page_is_the_plan(made, tmp_path):
    plan = made["better"].plan
    told = safe_yaml().load(plan_text(plan))
    assert type(plan)(**told).hash == plan.hash
    # As a file it is refused only for what these data lack.
    (tmp_path / "plan.yaml").write_text(plan_text(plan))
    with pytest.raises(Exception, match="caption_colours"):
        load(tmp_path / "plan.yaml")


# --- closed and safe ---------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_nothing_outside_is_asked_for_and_names_are_text(made, case):
    text = page(made[case])
    read = Reader(text)
    names = [name for name, _ in read.elements]
    assert names.count("script") == names.count("style") == 1
    assert "img" not in names
    for name, attributes in read.elements:
        assert not [key for key in attributes if key.startswith("on")], name
        for key in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:", "#")), (name, key, value)
    assert "@import" not in text
    assert not re.search(r"url\((?!data:)", text)
    assert len(text.encode()) < 400_000


# --- in a browser ------------------------------------------------------------------------------


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


OVERLAPS = """() => {
  const lines = [...document.querySelectorAll('main :is(th, td, p, h1, h2, dt, dd, .ends span)')]
    .filter(e => e.innerText && e.innerText.trim() && getComputedStyle(e).position != 'absolute');
  const boxes = lines.map(e => {
    const range = document.createRange(); range.selectNodeContents(e);
    return [e, range.getBoundingClientRect()];
  });
  const found = [];
  for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
    const [a, x] = boxes[i], [b, y] = boxes[j];
    if (a.contains(b) || b.contains(a)) continue;
    const wide = Math.min(x.right, y.right) - Math.max(x.left, y.left);
    const high = Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top);
    if (wide > 2 && high > 4) found.push([a.innerText.slice(0, 40), b.innerText.slice(0, 40)]);
  }
  return found;
}"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(made, browser, tmp_path, width, scheme):
    window = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    told, asked = [], []
    window.on("console", lambda message: told.append(message.text))
    window.on("pageerror", lambda error: told.append(str(error)))
    window.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    window.on("request", lambda request: asked.append(request.url))
    for name, found in made.items():
        file = tmp_path / f"{name}.html"
        file.write_text(page(found), "utf-8")
        window.goto(file.as_uri())
        assert window.evaluate("document.documentElement.scrollWidth") <= width, name
        assert window.evaluate(OVERLAPS) == [], name
        dark = window.evaluate("getComputedStyle(document.body).backgroundColor")
        assert dark == ("rgb(20, 23, 26)" if scheme == "dark" else "rgb(252, 252, 250)")
    assert told == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    window.close()


def test_in_print_it_is_light_and_has_no_navigation(made, browser, tmp_path):
    window = browser.new_page(viewport={"width": 720, "height": 1000}, color_scheme="dark")
    file = tmp_path / "print.html"
    file.write_text(page(made["better"]), "utf-8")
    window.goto(file.as_uri())
    window.emulate_media(media="print", color_scheme="dark")
    assert window.evaluate("getComputedStyle(document.body).backgroundColor") == (
        "rgb(255, 255, 255)"
    )
    assert not window.locator("nav").is_visible()
    assert window.evaluate("document.documentElement.scrollWidth") <= 720
    window.close()


# --- reading a folder --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("file", "change", "told"),
    [
        ("result.json", lambda x: x | {"plan": "0" * 64}, "by analysis"),
        ("result.json", lambda x: x | {"analysis": 0}, "judges again"),
        ("plan.json", lambda x: x | {"plan": x["plan"] | {"margin": 0.5}}, "hashed"),
        ("plan.json", lambda x: x | {"plan": {}}, "expected a plan"),
        ("arms.json", None, "found none"),
        ("runs.parquet", None, "table of runs"),
    ],
)
def test_a_damaged_comparison_is_no_comparison(tmp_path, file, change, told):
    folder = drawn(tmp_path / "x")
    place = folder / file
    if change is None:
        place.unlink()
    else:
        place.write_text(json.dumps(change(json.loads(place.read_text()))))
    with pytest.raises(findings.RunError, match=told):
        findings.read(folder)


def test_a_conducted_comparison_is_published(finished):
    """The engine's own folder: floors of the world, a page and a card beside the result."""
    plan, folder, result = finished
    found = findings.read(folder)
    assert found.chance == result["floor"]["chance"] == 0.5  # one of two captions
    read = Reader((folder / "report.html").read_text("utf-8"))
    assert read.titles == [words.title(result["verdicts"])]
    for name in plan.names:
        values = [row["value"] for row in found.runs(name)]
        assert len(values) == len(plan.seeds)
        assert words.level(sum(values) / len(values), "share") in read.sections["scores"]
    assert plan.hash[:4] in (folder / "verdict.svg").read_text("utf-8")
    assert set(found.costs["warm"]) >= set(words.COSTS)
