"""Plans: read from YAML or a command, complete, hashed; what they say is what was written."""

import hashlib
import json

import pytest

from sensorium import shelf
from sensorium.comparison import plan as plans
from sensorium.comparison import refusals
from sensorium.comparison.plan import Budget, Plan, World, checked, from_command, load
from sensorium.errors import PlanError
from sensorium.recipe_yaml import read_yaml

TEXT = """\
question: Does it matter where states meet?
data: {data}
recipe: albef
size: micro
set: {{optimiser.batch: 8}}
axis: fusion
arms:
  merge: merge_attention
  co: {{use: co_attention, depth: 1}}
seeds: [11, 12, 13]
budget: 3k-samples
outcome: retrieval:text_to_image@1
margin: 0.05
prediction: {{low: -0.1, high: 0.1, why: nothing to interact about}}
sweep: {{learning_rate: [1.0e-3, 3.0e-3]}}
controls: [shuffled, only:image]
"""


@pytest.fixture
def file(tiny_data, tmp_path):
    written = tmp_path / "mine.yaml"
    written.write_text(TEXT.format(data=tiny_data))
    return written


def test_a_file_is_read_as_written(file, tiny_data):
    plan = load(file)
    assert plan.data == str(tiny_data)
    assert plan.names == ["merge", "co"]
    assert plan.seeds == (11, 12, 13)
    assert (plan.budget.amount, plan.budget.unit) == (3000, "samples")
    assert plan.sweep.learning_rate == (1e-3, 3e-3)
    assert plan.measure.first == 1
    assert plan.prediction.high == 0.1
    assert plan.controls == ("shuffled", "only:image")
    assert (plan.looks, plan.alpha, plan.at) == (20, 0.05, "budget")


def test_command_and_file_give_the_same_plan(file, tiny_data):
    from_file = load(file)
    told = from_command(
        str(tiny_data),
        "fusion=merge_attention,{use: co_attention, depth: 1}",
        "albef",
        seeds=[11, 12, 13],
        budget="3k-samples",
        overrides=["optimiser.batch=8"],
        margin=0.05,
        outcome="retrieval:text_to_image@1",
        controls=["shuffled", "only:image"],
        sweep={"learning_rate": [1e-3, 3e-3]},
        prediction={"low": -0.1, "high": 0.1, "why": "nothing to interact about"},
        question="Does it matter where states meet?",
    )
    assert told.names == ["merge_attention", "co_attention depth 1"]
    same = {"arms", "pinned"}
    assert told.model_dump(exclude=same) == from_file.model_dump(exclude=same)
    assert list(told.pinned.values()) == list(from_file.pinned.values())


@pytest.mark.parametrize(
    ("vary", "arms"),
    [
        ("fusion=merge_attention,co_attention",
         {"merge_attention": "merge_attention", "co_attention": "co_attention"}),
        ("optimiser.batch=8,16", {"8": 8, "16": 16}),
        ("objectives.0.temperature=0.05,0.1", {"0.05": 0.05, "0.1": 0.1}),
        ("teacher=null,{momentum: 0.9}", {"none": None, "momentum 0.9": {"momentum": 0.9}}),
        ("objectives=contrastive,[contrastive, matching]",
         {"contrastive": "contrastive", "contrastive + matching": ["contrastive", "matching"]}),
        ("recipe=clip,albef", {"clip": "clip", "albef": "albef"}),
        ("project=true,false", {"True": True, "False": False}),
    ],
)  # fmt: skip
def test_values_of_a_command(tiny_data, vary, arms):
    plan = from_command(str(tiny_data), vary, "albef", overrides=["optimiser.batch=8"]
                        if not vary.startswith("optimiser") else None)  # fmt: skip
    assert plan.arms == arms
    assert plan.seeds == (0, 1, 2, 3, 4)
    assert plan.axis == vary.partition("=")[0]
    assert set(plan.pinned) == set(arms)
    assert len(set(plan.pinned.values())) == len(arms)


@pytest.mark.parametrize(
    ("written", "amount", "unit"),
    [
        ("30k-samples", 30_000, "samples"),
        ("30000 samples", 30_000, "samples"),
        ("2m-tokens", 2e6, "tokens"),
        ("3e12-flops", 3e12, "flops"),
        ("3t-flops", 3e12, "flops"),
        ("1.5P flops", 1.5e15, "flops"),
        ("300-steps", 300, "steps"),
        ("90s", 90, "seconds"),
        ("2min", 120, "seconds"),
        ("1h", 3600, "seconds"),
        ({"amount": 5, "unit": "steps"}, 5, "steps"),
        (Budget(amount=5, unit="steps"), 5, "steps"),
    ],
)
def test_budgets(file, written, amount, unit):
    content = read_yaml(file) | {"budget": written, "set": {"optimiser.batch": 2}}
    assert checked(content).budget == Budget(amount=amount, unit=unit)


@pytest.mark.parametrize(
    "written",
    ["", "many", "0-samples", "-3-steps", "5-epochs", "3", 3, None, "1.2.3s", "nan-steps", "9e99s"],
)
def test_budgets_that_are_none(file, written):
    with pytest.raises(PlanError) as caught:
        checked(read_yaml(file) | {"budget": written})
    assert caught.value.field == "budget"
    assert "30k-samples" in caught.value.expected


def test_the_hash_is_of_what_is_not_the_default_and_of_the_analysis(file):
    plan = load(file)
    content = {"analysis": plans.ANALYSIS, "plan": json.loads(plan.model_dump_json(
        exclude_defaults=True))}  # fmt: skip
    text = json.dumps(content, sort_keys=True)
    assert plan.hash == hashlib.sha256(text.encode()).hexdigest()

    class Later(Plan):
        more: str = "as before"

    assert Later(**dict(plan)).hash == plan.hash


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("question", "Another?"),
        ("seeds", [11, 12, 14]),
        ("budget", "3001-samples"),
        ("margin", 0.051),
        ("alpha", 0.01),
        ("looks", 21),
        ("threshold", 0.9),
        ("outcome", "retrieval:text_to_image@2"),
        ("prediction", {"low": -0.1, "high": 0.11}),
        ("sweep", {"learning_rate": [1e-3]}),
        ("controls", ["shuffled"]),
        ("family", "fusion"),
        ("size", "tiny"),
        ("set", {"optimiser.batch": 9}),
        ("equal_parameters", "fusion.mlp"),
        ("arms", {"merge": "merge_attention", "co": "co_attention"}),
    ],
)
def test_every_change_is_another_hash(file, key, value):
    content = read_yaml(file)
    assert checked(content).hash == load(file).hash
    assert checked(content | {key: value}).hash != load(file).hash


def test_another_analysis_is_another_hash(file, monkeypatch):
    before = load(file).hash
    monkeypatch.setattr(plans, "ANALYSIS", plans.ANALYSIS + 1)
    assert load(file).hash != before


def test_a_kept_plan_reads_back_equal(file, tmp_path):
    plan = load(file)
    again = checked(json.loads(plan.model_dump_json()))
    assert again == plan
    assert again.hash == plan.hash
    assert checked(json.loads(plan.model_dump_json(exclude_defaults=True))).hash == plan.hash


def test_a_plan_over_a_changed_recipe_is_refused(file, tmp_path):
    mine = tmp_path / "recipe.yaml"
    mine.write_text(shelf.path("recipes", "albef").read_text())
    kept = json.loads(checked(read_yaml(file) | {"recipe": str(mine)}).model_dump_json())
    assert checked(kept).pinned == kept["pinned"]
    mine.write_text(mine.read_text().replace("space: 256", "space: 64"))
    with pytest.raises(PlanError) as caught:
        checked(kept)
    assert caught.value.field == "pinned.merge"
    assert caught.value.expected.startswith("the recipe that the plan was written with")


@pytest.mark.parametrize(
    ("old", "new", "row", "field", "near"),
    [
        ("margin: 0.05", "margn: 0.05", 13, "margn", "margin"),
        ("margin: 0.05", "margin: wide", 13, "margin", None),
        ("budget: 3k-samples", "budget: 3k-smaples", 11, "budget", None),
        ("size: micro", "size: mirco", 4, "size", "micro"),
        ("low: -0.1", "lo: -0.1", 14, "prediction.lo", "low"),
        ("learning_rate: [", "learning_rat: [", 15, "sweep.learning_rat", "learning_rate"),
        ("seeds: [11, 12, 13]", "seeds: [11]", 10, "seeds", None),
        ("seeds: [11, 12, 13]", "seeds: [11, twelve]", 10, "seeds.1", None),
        ("axis: fusion", "axis: fusoin", 6, "axis", "fusion"),
        ("  merge: merge_attention", "  merge: merge_atention", 8, "arms.merge", "merge_attention"),
        ("use: co_attention, depth", "use: co_attention, dept", 9, "arms.co", "depth"),
        ("depth: 1", "depth: 1, space: 9", 9, "arms.co", None),
        ("[shuffled, ", "[shufled, ", 16, "controls", "shuffled"),
        ("outcome: retrieval", "outcome: retreival", 12, "outcome", "retrieval"),
        ("recipe: albef", "recipe: albeff", 3, "recipe", "albef"),
        ("optimiser.batch: 8", "optimiser.bach: 8", 5, "set", "batch"),
    ],
)
def test_the_line_and_the_nearest_are_told(file, old, new, row, field, near):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(PlanError) as caught:
        load(file)
    assert (caught.value.field, caught.value.nearest) == (field, near), str(caught.value)
    assert str(caught.value).startswith(f"mine.yaml row {row}"), str(caught.value)


def test_files_that_are_no_plan(tmp_path):
    file = tmp_path / "mine.yaml"
    for text, told in [
        ("- a\n- b\n", "expected a mapping"),
        ("question: [\n", "expected YAML"),
        ("question: !!python/object:os.system {}\n", "expected YAML"),
        ("question: which?\n", "field data"),
        ("data: {world: binding, sceens: 3}\n", "nearest  scenes"),
        ("prediction: 3\n", "expected a mapping of low, high, why"),
    ]:
        file.write_text(text)
        with pytest.raises(Exception, match=told):
            load(file)
    with pytest.raises(Exception, match="a readable plan"):
        load(tmp_path / "none.yaml")


def test_one_mistake_is_one_short_message(file):
    """Not one of pydantic's or of a traceback."""
    file.write_text(file.read_text().replace("fusion", "fusoin", 1))
    with pytest.raises(PlanError) as caught:
        load(file)
    lines = str(caught.value).splitlines()
    assert len(lines) <= 3
    assert "pydantic" not in str(caught.value)


def test_a_world_is_data():
    told = World(world="binding", scenes=5000, seed=3, set={"kinds": 8})
    assert Plan(question="?", data=told, recipe="clip", axis="space", arms={"a": 1, "b": 2},
                seeds=(1, 2), budget=Budget(amount=1, unit="steps"), outcome="accuracy",
                ).data == told  # fmt: skip


def test_what_is_refused_on_the_command_line_has_no_line(tiny_data):
    with pytest.raises(PlanError) as caught:
        from_command(str(tiny_data), "fusion", "albef")
    assert caught.value.field == "vary"
    with pytest.raises(PlanError, match="twice"):
        from_command(str(tiny_data), "fusion=co_attention,co_attention", "albef")
    with pytest.raises(PlanError, match="a YAML value"):
        from_command(str(tiny_data), "fusion={a,b", "albef")
    assert refusals.Place().error("axis").row is None
