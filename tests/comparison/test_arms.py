"""Arms: complete recipes that differ under the axis alone; a second difference is named."""

import copy
import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sensorium import shelf
from sensorium.comparison import arms
from sensorium.errors import PlanError
from sensorium.recipe import check, load, members

from .plans import plan

MERGE = {"use": "merge_attention"}
AUGMENTED = [{"augment": True}, {"augment": True}]
CONTRAST = {"use": "contrastive", "temperature": 0.1}

# recipe, axis, the first arm, the second arm, the other path in which the second differs.
TWO_THINGS = [
    ("albef", "fusion", "merge_attention", {**MERGE, "teacher": None}, "teacher.momentum"),
    ("albef", "fusion", "cross_attention", {**MERGE, "teacher.momentum": 0.9}, "teacher.momentum"),
    ("albef", "fusion", "cross_attention", {**MERGE, "budget": "9min"}, "budget"),
    ("albef", "fusion", "cross_attention", {**MERGE, "seed": 7}, "seed"),
    ("albef", "fusion", "cross_attention", {**MERGE, "size": "tiny"}, "size"),
    ("albef", "fusion", "cross_attention", {**MERGE, "space": 64}, "space"),
    ("albef", "fusion", "cross_attention", {**MERGE, "project": False}, "project"),
    ("albef", "fusion", "cross_attention", {**MERGE, "order": {"text": "causal"}}, "order.text"),
    ("albef", "fusion", "cross_attention", {**MERGE, "head.transform": False}, "head.transform"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "modalities.text.tokenizer": "minilm"}, "modalities.text.tokenizer"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "modalities.text.length": 16}, "modalities.text.length"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "modalities.text.vocabulary": 400}, "modalities.text.vocabulary"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "modalities.image.patch": 4}, "modalities.image.patch"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "modalities.image.crop": 0.9}, "modalities.image.crop"),
    ("albef", "fusion", "cross_attention", {**MERGE, "variants.image": AUGMENTED},
     "variants.image.0.augment"),
    ("slip", "fusion", "merge_attention", {"use": "co_attention", "variants": {}},
     "variants.image.1.augment"),
    ("mural", "fusion", "merge_attention",
     {"use": "co_attention", "variants.text": [{"field": "other"}]}, "variants.text.0.field"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "encoders.text.depth": 1}, "encoders.text.depth"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "encoders.text.mlp": 2}, "encoders.text.mlp"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "encoders.image.class_token": False}, "encoders.image.class_token"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "encoders.image.pool": "mean"}, "encoders.image.pool"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "objectives.0.queue": 0}, "objectives.0.queue"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "objectives.1.negatives": "random"}, "objectives.1.negatives"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "objectives.2.edits.0.rate": 0.3}, "objectives.2.edits.0.rate"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "objectives.2.weight": 2}, "objectives.2.weight"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "objectives": ["matching"]}, "objectives.1.use"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "optimiser.batch": 32}, "optimiser.batch"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "optimiser.learning_rate": 1e-3}, "optimiser.learning_rate"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "optimiser.schedule": "linear"}, "optimiser.schedule"),
    ("albef", "fusion", "cross_attention", {**MERGE, "optimiser": {"clip": None}},
     "optimiser.clip"),
    ("albef", "fusion", "cross_attention", {**MERGE, "choose": "loss"}, "choose"),
    ("albef", "fusion", "cross_attention", {**MERGE, "most_epochs": 3}, "most_epochs"),
    ("albef", "fusion", "cross_attention",
     {**MERGE, "targets": {"label": {"use": "label"}}}, "targets.label.use"),
    ("albef", "fusion.depth", 1, {"fusion.depth": 2, "fusion.heads": 1}, "fusion.heads"),
    ("albef", "fusion.use", "merge_attention",
     {"fusion.use": "co_attention", "fusion.depth": 1}, "fusion.depth"),
    ("clip", "optimiser.batch", 64, {"optimiser.batch": 128, "optimiser.beta2": 0.9},
     "optimiser.beta2"),
    ("clip", "objectives.0.temperature", 0.05,
     {"objectives.0.temperature": 0.1, "objectives.0.largest_scale": 50},
     "objectives.0.largest_scale"),
    ("clip", "objectives", [CONTRAST], {"objectives": ["generation"], "order.text": "full"},
     "order.text"),
    ("clip", "encoders.text", {"depth": 1}, {"depth": 2, "encoders.image.depth": 1},
     "encoders.image.depth"),
    ("clip", "encoders.text", {"pool": "mean"}, {"pool": "last", "modalities.text.length": 9},
     "modalities.text.length"),
    ("clip", "teacher", None, {"momentum": 0.9, "objectives.0.soft": 0.4}, "objectives.0.soft"),
    ("clip", "modalities.image", {"size": 16, "patch": 8}, {"size": 32, "space": 32}, "space"),
    ("clip", "order", {"text": "full"}, {"text": "causal", "encoders.text.pool": "mean"},
     "encoders.text.pool"),
    ("clip", "fusion", "merge_attention", {"recipe": "slip", **MERGE, "depth": 1},
     "objectives.1.use"),
    ("albef", "fusion", "cross_attention", {**MERGE, "modality_dropout": {"text": 0.3}},
     "modality_dropout.text"),
    ("albef", "modality_dropout", {}, {"modality_dropout": {"text": 0.3}, "order.text": "causal"},
     "order.text"),
    ("lit", "start", "random", {"start": "cca", "prior": 0.9}, "prior"),
]  # fmt: skip

# recipe, axis, the arms.
ONE_THING = [
    ("albef", "fusion", ["cross_attention", "merge_attention"]),
    ("albef", "fusion", ["cross_attention", "co_attention", "additive", "concatenate"]),
    ("albef", "fusion", [{"depth": 1}, {"depth": 2}]),
    ("albef", "fusion", [{"fusion.depth": 1}, {"fusion.depth": 2, "fusion.heads": 1}]),
    ("albef", "fusion", [MERGE, {**MERGE, "depth": 1, "heads": 1}]),
    ("albef", "fusion.use", ["cross_attention", "merge_attention"]),
    ("albef", "fusion.use", ["merge_attention", "co_attention"]),
    ("albef", "fusion.depth", [1, 2, 3]),
    ("albef", "fusion.dropout", [0.0, 0.1]),
    ("albef", "fusion.ways", ["one", "both"]),
    ("albef", "teacher", [None, {"momentum": 0.9}]),
    ("albef", "teacher.momentum", [0.9, 0.99]),
    ("clip", "teacher", [None, {"momentum": 0.9}]),
    ("albef", "objectives", ["matching", "masked_tokens"]),
    ("albef", "objectives", [["contrastive", "matching"], ["contrastive", "masked_tokens"]]),
    ("albef", "objectives", [["contrastive", "matching"], "contrastive"]),
    ("albef", "objectives.0.soft", [0.0, 0.4]),
    ("albef", "objectives.0.queue", [0, 512]),
    ("albef", "objectives.0", [{"temperature": 0.1}, {"temperature": 0.07, "queue": 64}]),
    ("albef", "objectives.1.negatives", ["random", "hard"]),
    ("albef", "objectives.2.edits.0.rate", [0.15, 0.5]),
    ("albef", "objectives.2.edits.0", [{"rate": 0.15}, {"rate": 0.3}]),
    ("albef", "objectives.2.weight", [0.5, 1]),
    ("clip", "objectives", ["contrastive", "generation"]),
    ("clip", "objectives", [[CONTRAST], ["contrastive"]]),
    ("slip", "objectives", ["contrastive", ["contrastive", "image_self_supervision"]]),
    ("mural", "objectives", ["contrastive", ["contrastive", "translation_contrast"]]),
    ("mural", "objectives.1.weight", [0.1, 1.0]),
    ("clip", "optimiser.batch", [64, 128]),
    ("clip", "optimiser", [{"batch": 64}, {"batch": 128, "warmup": 0.1}]),
    ("clip", "optimiser.schedule", ["cosine", "linear"]),
    ("clip", "optimiser.learning_rate", [1e-3, 1e-5]),
    ("clip", "optimiser.clip", [None, 1.0]),
    ("clip", "order.text", ["full", "causal"]),
    ("clip", "encoders.text.pool", ["mean", "last"]),
    ("clip", "encoders.text", [{"depth": 1}, {"depth": 2, "mlp": 2}]),
    ("clip", "encoders", [{"text": {"depth": 1}}, {"text": {"depth": 2}, "image": {"depth": 1}}]),
    ("clip", "encoders.image.class_token", [True, False]),
    ("clip", "modalities.image.patch", [4, 8]),
    ("clip", "modalities.text.tokenizer", ["trained", "minilm"]),
    ("clip", "modalities", [{"text": {"length": 9}}, {"text": {"length": 16}}]),
    ("clip", "space", [32, 64]),
    ("slip", "variants.image", [AUGMENTED, [{"augment": True}]]),
    ("slip", "variants", [{}, {"image": AUGMENTED}]),
    ("albef", "modality_dropout", [{}, {"image": 0.3, "text": 0.3}]),
    ("albef", "modality_dropout.text", [0.1, 0.3]),
    ("lit", "prior", [0.0, 0.9]),
    ("lit", "start", ["random", "cca"]),
    ("clip", "recipe", ["clip", "slip", "albef"]),
    ("clip", "fusion", [{"recipe": "clip", "use": "merge_attention"}, "co_attention"]),
    ("visualbert", "fusion", ["merge_attention", "co_attention"]),
    ("albef", "head.transform", [True, False]),
]


def test_the_tables_are_long_enough():
    assert min(len(TWO_THINGS), len(ONE_THING)) >= 40


@pytest.mark.parametrize(("recipe", "axis", "one", "other", "second"), TWO_THINGS)
def test_a_second_difference_is_refused_by_name(recipe, axis, one, other, second):
    with pytest.raises(PlanError) as caught:
        arms.derive(plan(axis, {"one": one, "other": other}, recipe))
    assert caught.value.field == "arms.other"
    assert caught.value.expected == f"a difference from one in {axis} alone"
    named = caught.value.found.removeprefix("differences in ")
    assert f"{second} (" in named
    # Nothing that the axis covers is complained of.
    assert f", {axis}." not in f", {named}"


@pytest.mark.parametrize(("recipe", "axis", "values"), ONE_THING)
def test_a_difference_in_the_axis_alone_is_accepted(recipe, axis, values):
    asked = plan(axis, {f"arm {at}": value for at, value in enumerate(values)}, recipe)
    made = arms.derive(asked)
    assert [arm.name for arm in made] == list(asked.arms)
    for at, arm in enumerate(made):
        for before in made[:at]:
            assert arms.differences(before.recipe, arm.recipe)
    # Each arm has what was asked for at the axis, where that is one plain value.
    for arm, value in zip(made, values, strict=True):
        if not isinstance(value, dict | list) and axis not in ("recipe", "objectives", "fusion"):
            assert arms.reach(arm.recipe.model_dump(mode="json"), axis) == value


@pytest.mark.parametrize("key", ["data", "fields", "seeds", "set", "threshold"])
def test_what_is_the_plans_is_no_arms(key):
    other = {"use": "merge_attention", key: "own"}
    with pytest.raises(PlanError, match=f"{key} is the plan's, and the same for all arms"):
        arms.derive(plan("fusion", {"one": "co_attention", "other": other}))


@pytest.mark.parametrize(
    ("recipe", "axis", "one", "other"),
    [
        ("albef", "fusion", "merge_attention", MERGE),
        ("albef", "fusion.depth", 2, 2),
        ("albef", "fusion", {"depth": 2}, {"mlp": 4.0}),  # the defaults, written out
        ("clip", "objectives", ["contrastive"], "contrastive"),
        ("clip", "recipe", "clip", "clip"),
        ("albef", "objectives.1", {}, {"weight": 1}),
    ],
)
def test_equal_arms_are_refused(recipe, axis, one, other):
    with pytest.raises(PlanError) as caught:
        arms.derive(plan(axis, {"a": one, "b": other}, recipe))
    assert caught.value.expected == "arms that differ"
    assert caught.value.found == "a and b, the same recipe"


def test_names_and_notes_may_differ(tmp_path):
    """Two files that train the same and say different things are one recipe."""
    for name in ("one", "other"):
        (tmp_path / f"{name}.yaml").write_text(
            f"extends: albef\nname: {name}\nsummary: {name}\nsource: {name}\n"
            f"departures: [{name}]\npublished: {{batch: {len(name)}}}\n"
        )
    one, other = (str(tmp_path / f"{x}.yaml") for x in ("one", "other"))
    assert arms.differences(load(one), load(other)) == []
    made = arms.derive(
        plan("fusion.depth", {"a": {"recipe": one, "fusion.depth": 1},
                              "b": {"recipe": other, "fusion.depth": 2}})
    )  # fmt: skip
    assert [arm.recipe.name for arm in made] == ["one", "other"]


def test_what_is_tuned_for_each_arm_may_differ():
    chosen = {"a": {"use": "merge_attention"},
              "b": {"use": "co_attention", "optimiser.learning_rate": 0.01}}  # fmt: skip
    with pytest.raises(PlanError, match=r"optimiser\.learning_rate"):
        arms.derive(plan("fusion", chosen))
    tuned = {"learning_rate": (1e-3, 1e-2)}
    assert len(arms.derive(plan("fusion", chosen, sweep=tuned))) == 2
    with pytest.raises(PlanError, match=r"optimiser\.learning_rate"):
        arms.derive(plan("fusion", chosen, sweep={"weight_decay": (0.1, 0.2)}))


def test_arms_that_differ_in_what_is_tuned_alone_are_equal():
    with pytest.raises(PlanError, match="the same recipe"):
        arms.derive(plan("optimiser.learning_rate", {"a": 1e-3, "b": 1e-4},
                         sweep={"learning_rate": (1e-3, 1e-4)}))  # fmt: skip


def test_what_is_held_fixed_reaches_every_arm():
    asked = plan("fusion", {"a": "merge_attention", "b": "co_attention"},
                 set={"optimiser.batch": 24, "encoders.text.depth": 1})  # fmt: skip
    for arm in arms.derive(asked):
        assert arm.recipe.optimiser.batch == 24
        assert arm.recipe.encoders["text"]["depth"] == 1
        assert arm.recipe.size == "micro"


def test_another_fusion_keeps_the_options_that_it_has_too():
    """Depth, heads and norm are held fixed; a choice that the other does not have is dropped."""
    asked = plan("fusion", {"a": "merge_attention", "b": "co_attention"}, "visualbert")
    one, other = (arm.recipe.fusion for arm in arms.derive(asked))
    assert (one["pool"], other["pool"]) == ("pooler", "first")
    for key in ("depth", "heads", "norm", "eps", "dropout"):
        assert one[key] == other[key] == load("visualbert", "micro").fusion[key]
    assert "types" not in other


def test_an_axis_covers_its_own_path_and_not_one_that_begins_alike():
    """`objectives.1` is not `objectives.10`."""
    content = load("clip", "micro").model_dump(mode="json")
    content["objectives"] = [{"use": "contrastive", "weight": 1.0 + at} for at in range(11)]
    one = check(content)
    content["objectives"][10]["weight"] = 5.0
    made = [arms.Arm("a", one), arms.Arm("b", check(content))]
    with pytest.raises(PlanError, match=r"objectives\.10\.weight"):
        arms.refuse_differences(made, "objectives.1")
    arms.refuse_differences(made, "objectives.10")


def test_a_mapping_by_modality_is_replaced_and_encoders_are_merged():
    held = {"modality_dropout": {"image": 0.3}}
    values = {"none": {}, "text": {"text": 0.2}}
    made = arms.derive(plan("modality_dropout", values, set=held))
    assert [arm.recipe.modality_dropout for arm in made] == [{}, {"text": 0.2}]
    made = arms.derive(plan("encoders", {"a": {"text": {"depth": 1}}, "b": {}}))
    assert made[0].recipe.encoders["image"] == made[1].recipe.encoders["image"]
    assert made[0].recipe.encoders["text"] == made[1].recipe.encoders["text"] | {"depth": 1}


def test_a_stranger_is_told_with_the_nearest():
    for axis, value, near in [
        ("fusion", "merge_atention", "merge_attention"),
        ("fusion.use", "co_atention", "co_attention"),
        ("objectives", ["contrastive", "matchin"], "matching"),
        ("encoders.text", "transfomer", "transformer"),
        ("objectives.2.edits", ["hid"], "hide"),
    ]:
        with pytest.raises(PlanError) as caught:
            arms.derive(plan(axis, {"a": "none" if axis == "fusion" else value, "b": value}))
        assert caught.value.nearest == near, axis


@pytest.mark.parametrize(
    ("axis", "near"),
    [
        ("fusoin", "fusion"),
        ("fusion.dept", "depth"),
        ("optimiser.bach", "batch"),
        ("encoders.txt", "text"),
        ("encoders.text.widt", "width"),
        ("objectives.3.weight", None),
        ("objectives.0.temprature", "temperature"),
        ("space.wide", None),
        ("teacher.momentun", "momentum"),
        ("modality_dropuot", None),
    ],
)
def test_an_axis_that_does_not_exist(axis, near):
    with pytest.raises(PlanError) as caught:
        arms.derive(plan(axis, {"a": 1, "b": 2}))
    assert caught.value.field == "axis"
    if near:
        assert caught.value.nearest == near


@pytest.mark.parametrize("axis", ["seed", "budget", "size", "name", "published"])
def test_some_fields_are_no_axis(axis):
    with pytest.raises(PlanError, match="a path of the recipe that changes what is trained"):
        arms.derive(plan(axis, {"a": 1, "b": 2}))


def _other(value):
    """A different value of the same type, or None where none is sure to be valid."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value / 2 + 0.001
    return value + 1 if isinstance(value, int) else None


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_else_is_changed_is_found(data):
    """A drawn change of any number or switch is the one path found, and covered by itself alone."""
    recipe = load(data.draw(st.sampled_from(["albef", "clip", "slip", "coca"])), "micro")
    whole = arms.complete(recipe)
    found = {
        path: value
        for path, value in arms.leaves(whole).items()
        if _other(value) is not None and path.split(".")[0] not in arms.FACTS
    }
    path = data.draw(st.sampled_from(sorted(found)))
    changed = copy.deepcopy(whole)
    owner, _, key = path.rpartition(".")
    holder = arms.reach(changed, owner) if owner else changed
    if isinstance(holder, list):
        holder[int(key)] = _other(found[path])
    else:
        holder[key] = _other(found[path])
    try:
        other = check(changed)
    except Exception:
        return  # not a valid value: told before
    assert arms.differences(recipe, other) == [path]
    made = [arms.Arm("a", recipe), arms.Arm("b", other)]
    arms.refuse_differences(made, path)
    arms.refuse_differences(made, path.split(".")[0] if "." in path else path)
    with pytest.raises(PlanError) as caught:
        arms.refuse_differences(made, "fusion.depth" if path != "fusion.depth" else "space")
    assert path in str(caught.value)


def test_defaults_are_those_of_the_members():
    """Read from the source, they equal what the class itself says."""
    for kind in ("fusion", "objectives", "encoders", "modalities", "edits"):
        for name in shelf.names(kind):
            told = shelf.load(kind, name).Spec.model_fields
            for key, value in shelf.defaults(kind, name).items():
                assert json.dumps(value) == json.dumps(told[key].get_default()), (kind, name, key)
            plain = {
                k for k, f in told.items() if not f.is_required() and f.default_factory is None
            }
            assert plain - set(shelf.defaults(kind, name)) == set(), (kind, name)


def test_a_complete_recipe_is_the_same_recipe():
    for name in shelf.names("recipes"):
        recipe = load(name, "micro")
        assert arms.differences(recipe, check(arms.complete(recipe))) == []
        kinds = [(kind, path) for kind, path, _ in members(recipe)]
        assert len(kinds) == len(set(kinds))


def test_the_usual_outcome():
    assert arms.usual_outcome("clip") == "retrieval:text_to_image@1"
    assert arms.usual_outcome("albef") == "retrieval:text_to_image@1"
    assert arms.usual_outcome("visualbert") == "loss:masked_tokens"
    assert arms.usual_outcome("bert").startswith("loss:")


def test_loads_no_torch():
    import subprocess

    code = "import sys; from sensorium.comparison import plan; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stdout + done.stderr
