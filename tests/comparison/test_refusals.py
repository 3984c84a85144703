"""Everything that can be refused before a comparison runs is: one sentence, before torch loads."""

import csv
import json
import subprocess
import sys

import pytest

from sensorium.comparison import contents, measure
from sensorium.comparison.plan import checked, from_command
from sensorium.comparison.refusals import CONTROLS
from sensorium.errors import DataError, PlanError, UserError

TWINS = {"data": {"world": "binding", "scenes": 500}}


def content(where, /, **changes):
    """A plan that is refused by nobody, with some fields changed; None takes one away."""
    made = {
        "question": "Merge or co-attention?",
        "data": str(where),
        "recipe": "albef",
        "axis": "fusion",
        "arms": {"merge": "merge_attention", "co": "co_attention"},
        "seeds": [1, 2],
        "budget": "4k-samples",
        "outcome": "retrieval:text_to_image@1",
        "set": {"optimiser.batch": 8},
    }
    made |= changes
    return {key: value for key, value in made.items() if value is not None}


def test_the_plan_itself_is_refused_by_nobody(tiny_data):
    assert checked(content(tiny_data)).names == ["merge", "co"]
    assert checked(content("", **TWINS, outcome="choice:caption_colours", threshold=0.9))


REFUSED = {
    "one arm": ({"arms": {"merge": "merge_attention"}}, "arms", "at least two arms"),
    "no arm": ({"arms": {}}, "arms", "found 0: none"),
    "an axis that does not exist": ({"axis": "fusoin"}, "axis", "nearest  fusion"),
    "an axis too deep": ({"axis": "fusion.depth.more"}, "axis", "found 'more'"),
    "equal arms": (
        {"arms": {"a": "merge_attention", "b": {"use": "merge_attention", "mlp": 4.0}}},
        "arms", "a and b, the same recipe",
    ),
    "no member": ({"arms": {"a": "add", "b": "co_attention"}}, "arms.a", "one of additive"),
    "no option": (
        {"arms": {"a": "co_attention", "b": {"use": "merge_attention", "inner": 3}}},
        "arms.b", "an option of merge_attention",
    ),
    "a wrong value": (
        {"axis": "optimiser.batch", "set": {}, "arms": {"a": 8, "b": "many"}}, "arms.b", "integer"
    ),
    "two differences": (
        {"arms": {"a": "merge_attention", "b": {"use": "co_attention", "teacher": None}}},
        "arms.b", "teacher.momentum (0.995, none)",
    ),
    "no seed": ({"seeds": []}, "seeds", "at least two seeds"),
    "one seed": ({"seeds": 1}, "seeds", "one tells no spread"),
    "seeds twice": ({"seeds": [3, 4, 3]}, "seeds", "found 3 twice"),
    "a negative seed": ({"seeds": [3, -4]}, "seeds", "found -4"),
    "seeds that are no numbers": ({"seeds": "few"}, "seeds", "expected"),
    "an unknown outcome": ({"outcome": "acuracy"}, "outcome", "nearest  accuracy"),
    "an outcome without its field": ({"outcome": "choice"}, "outcome", "expected choice:FIELD"),
    "a retrieval of itself": (
        {"outcome": "retrieval:text_to_text@1"}, "outcome", "retrieval:text_to_image@10"
    ),
    "a retrieval of the first none": (
        {"outcome": "retrieval:text_to_image@0"}, "outcome", "retrieval:text_to_image@10"
    ),
    "a retrieval of what no arm has": (
        {"outcome": "retrieval:text_to_audio@1"}, "outcome", "found 'audio', which merge lacks"
    ),
    "a loss of what is not learned": (
        {"outcome": "loss:machting"}, "outcome", "nearest  matching"
    ),
    "a loss that one arm lacks": (
        {"axis": "objectives", "outcome": "loss:matching",
         "arms": {"a": ["contrastive", "matching"], "b": ["contrastive"]}},
        "outcome", "which b lacks",
    ),
    "classes where none are told": ({"outcome": "accuracy"}, "outcome", "but there is none"),
    "a field that is not there": ({"outcome": "choice:twin"}, "outcome", "a field of"),
    "a probe of nothing": ({"outcome": "probe:colour"}, "outcome", "a field of"),
    "a further outcome that is none": ({"also": ["probe:colour"]}, "also", "a field of"),
    "absence of a stranger": (
        {"outcome": "choice:text without tabel"}, "outcome", "found 'tabel', which merge lacks"
    ),
    "a threshold in per cent": ({"threshold": 90}, "threshold", "0.9 is 90 %"),
    "a threshold above one": ({"threshold": 1.01}, "threshold", "never reached"),
    "a threshold that is no number": ({"threshold": float("nan")}, "threshold", "never reached"),
    "a threshold below zero": ({"threshold": -0.1}, "threshold", "above chance"),
    "a threshold at chance": (  # four of the forty are tested: one found first is a quarter
        {"threshold": 0.2}, "threshold", "reached without learning"
    ),
    "a threshold of a choice at chance": (
        {**TWINS, "outcome": "choice:caption_colours", "threshold": 0.5},
        "threshold", "a share above chance, 0.5",
    ),
    "a loss below zero": (
        {"outcome": "loss:matching", "threshold": 0.0}, "threshold", "which none goes below"
    ),
    "judged by a threshold that is not given": (
        {"at": "threshold"}, "threshold", "for at is threshold"
    ),
    "no margin": ({"margin": 0}, "margin", "a positive difference in shares"),
    "a negative margin": ({"margin": -0.02}, "margin", "a positive difference"),
    "an endless margin": ({"margin": float("inf")}, "margin", "a positive difference"),
    "a margin in points": ({"margin": 2}, "margin", "0.02 is two points"),
    "a prediction upside down": (
        {"prediction": {"low": 0.3, "high": 0.2}}, "prediction", "low at most high"
    ),
    "a prediction in points": (
        {"prediction": {"low": 40, "high": 52}}, "prediction", "0.5 is 50 points"
    ),
    "a sweep of nothing": ({"sweep": {}}, "sweep", "found nothing"),
    "a sweep of no values": ({"sweep": {"learning_rate": []}}, "sweep", "found nothing"),
    "a sweep to zero": (
        {"sweep": {"learning_rate": [0.1, 0]}}, "sweep.learning_rate", "positive numbers"
    ),
    "a sweep of one twice": (
        {"sweep": {"weight_decay": [0.1, 0.1]}}, "sweep.weight_decay", "each value once"
    ),
    "a sweep of the axis": (
        {"axis": "optimiser.weight_decay", "arms": {"a": 0.1, "b": 0.2, "c": 0.3},
         "sweep": {"learning_rate": [0.1], "weight_decay": [0.1]}},
        "arms", "the same recipe",
    ),
    "a sweep within the axis": (
        {"axis": "optimiser", "arms": {"a": {"warmup": 0.1}, "b": {"warmup": 0.2}},
         "sweep": {"learning_rate": [0.1]}},
        "sweep.learning_rate", "tuned away",
    ),
    "a sweep of something else": ({"sweep": {"batch": [8]}}, "sweep.batch", "learning_rate"),
    "an unknown control": ({"controls": ["shufled"]}, "controls", "nearest  shuffled"),
    "a control of a stranger": ({"controls": ["only:audio"]}, "controls", "only:image"),
    "a control twice": ({"controls": ["shuffled", "shuffled"]}, "controls", "each control once"),
    "a budget below one step": ({"budget": "7-samples"}, "budget", "1 step of merge (8 records)"),
    "a budget of no step": ({"budget": "0.5-steps"}, "budget", "at least 1 steps"),
    "too few tokens": ({"budget": "7-tokens"}, "budget", "before a look"),
    "one step to reach a threshold": (
        {"budget": "15-samples", "at": "threshold", "threshold": 0.9}, "budget", "2 steps of merge"
    ),
    "a budget that one arm cannot spend": (
        {"axis": "optimiser.batch", "set": {}, "arms": {"a": 8, "b": 64}, "budget": "60-samples"},
        "budget", "1 step of b (64 records)",
    ),
    "epochs": ({"budget": "5-epochs"}, "budget", "samples, tokens, flops, steps or seconds"),
    "a run that may end early": (
        {"set": {"patience": 3}}, "arms.merge", "trains to the end of its budget"
    ),
    "sizes by a word": (
        {"equal_parameters": "fusion.norm"}, "equal_parameters", "the path of a number"
    ),
    "sizes by nothing": (
        {"equal_parameters": "fusion.mpl"}, "equal_parameters", "None in merge"
    ),
    "an unknown key": ({"outcom": "accuracy"}, "outcom", "nearest  outcome"),
    "an unknown size": ({"size": "mikro"}, "size", "nearest  micro"),
    "an unknown recipe": ({"recipe": "albeff"}, "recipe", "nearest  albef"),
    "an unknown setting": (
        {"data": {"world": "bindin", "scenes": 500}}, "data", "nearest  binding"
    ),
    "a knob that does not exist": (
        {"data": {"world": "binding", "scenes": 500, "set": {"kindz": 8}}}, "data", "nearest  kinds"
    ),
    "a world without scenes": (
        {"data": {"world": "binding", "scenes": 3}}, "data.scenes", "greater than or equal to 100"
    ),
    "no question": ({"question": ""}, "question", "at least 1 character"),
    "no axis": ({"axis": None}, "axis", "expected a value"),
    "an error rate of one half": ({"alpha": 0.5}, "alpha", "less than 0.5"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_is_refused_in_one_sentence(case, tiny_data):
    changes, field, told = REFUSED[case]
    with pytest.raises(PlanError) as caught:
        checked(content(tiny_data, **changes))
    assert caught.value.field == field
    assert told in str(caught.value), str(caught.value)
    assert len(str(caught.value).splitlines()) <= 3
    assert caught.value.exit_code == 2


def test_a_swept_axis_is_refused_as_equal_or_by_name(tiny_data):
    """Arms that differ in what is tuned away are the same recipe; said one way or the other."""
    with pytest.raises(PlanError):
        from_command(
            str(tiny_data),
            "optimiser.learning_rate=1e-3,1e-4",
            "albef",
            sweep={"learning_rate": [1e-3, 1e-4]},
            overrides=["optimiser.batch=8"],
        )


@pytest.fixture
def words(tmp_path):
    """A table without pictures."""
    file = tmp_path / "words.csv"
    with open(file, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["caption", "kind"])
        writer.writerows([f"a story of number {at}", "even" if at % 4 else "odd"]
                         for at in range(60))  # fmt: skip
    return file


def test_data_without_the_modality(words):
    with pytest.raises(DataError, match="a field with pictures"):
        checked(content(words))


def test_data_without_what_a_variant_reads(tiny_data):
    arms = {"a": ["contrastive"], "b": ["contrastive", "translation_contrast"]}
    told = {"axis": "objectives", "recipe": "mural", "arms": arms}
    with pytest.raises(DataError) as caught:
        checked(content(tiny_data, **told))
    assert "reads as a variant of text" in str(caught.value)


def test_data_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match="no such path"):
        checked(content(tmp_path / "none"))


def test_a_world_without_the_modality():
    with pytest.raises(DataError, match="label, which the recipe reads"):
        checked(content("", **TWINS, outcome="accuracy", set={
            "targets": {"label": {"use": "label"}}, "optimiser.batch": 8,
            "objectives": [{"use": "classification"}]}))  # fmt: skip
    with pytest.raises(DataError, match="found no such field"):
        checked(content("", **TWINS, fields={"picture": "image", "caption": "text"}))


def test_a_threshold_above_what_is_possible_in_a_world():
    """A table that is right 75 % of the time, and nothing else that tells the kind."""
    asked = measure.read("accuracy")
    held = contents.of_world("dropout", 500, {"table.kind.reliability": 0.75}, None, ("table",))
    floor, best = held.bounds(asked)
    assert (floor, best) == (pytest.approx(1 / 16), pytest.approx(1.0))  # the picture shows it too
    noisy = {"world": "dropout", "scenes": 500, "set": {"missing.image": 0.5,
             "table.kind.reliability": 0.75}}  # fmt: skip
    # 0.5 seen, and of the unseen half three in four are told by the table: 0.875.
    with pytest.raises(PlanError) as caught:
        checked(content("", data=noisy, outcome="accuracy", threshold=0.9, recipe="visualbert",
                        set={"targets": {"label": {"use": "label"}}, "optimiser.batch": 8,
                             "objectives": [{"use": "classification"}]}))  # fmt: skip
    assert "at most 0.875, the best possible" in str(caught.value)


def test_the_bounds_of_data_are_counted(words):
    """The commonest class of the test split, by hand; one of so many in a gallery."""
    from sensorium import reading

    records = reading.read(str(words), {"caption": "text", "kind": "label"}, train=("text",))
    held = contents.of_data(str(words), {"caption": "text", "kind": "label"}, ("text", "label"))
    tested = [records[at].fields["kind"] for at in records.positions("test")]
    share = max(tested.count("even"), tested.count("odd")) / len(tested)
    assert held.bounds(measure.read("accuracy"))[0] == pytest.approx(share)
    assert held.bounds(measure.read("probe:kind"))[0] == pytest.approx(share)
    assert held.bounds(measure.read("choice:caption")) == (0.5, 1.0)
    at_two = held.bounds(measure.read("retrieval:text_to_image@2"))[0]
    assert at_two == pytest.approx(2 / len(tested))
    assert held.train == len(records.positions("train"))


@pytest.mark.parametrize("case", ["one arm", "a threshold in per cent", "a probe of nothing", None])
def test_torch_is_never_loaded(case, tiny_data, tmp_path):
    """Neither for a refusal nor for a plan that is accepted."""
    changes = REFUSED[case][0] if case else {}
    file = tmp_path / "plan.yaml"
    file.write_text(json.dumps(content(tiny_data, **changes)))
    code = (
        "import sys\nfrom sensorium.comparison import plan\n"
        "from sensorium.errors import UserError\n"
        f"try: plan.load({str(file)!r}); print('accepted')\n"
        "except UserError as error: print('refused')\n"
        "print([x for x in ('torch', 'PIL') if x in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["refused" if case else "accepted", "[]"], done.stderr


def test_nothing_raises_but_our_errors(tiny_data):
    """Nonsense in any field is a mistake of the user's, told as one."""
    for key in content(tiny_data):
        for nonsense in ([], {}, "", 0, -1, True, 1e300, "\0", {"a": {"b": []}}, [[1]], "a=b=c"):
            changed = content(tiny_data) | {key: nonsense}
            try:
                checked(changed)
            except UserError:
                continue


def test_controls_are_known():
    assert CONTROLS == ("shuffled", "additive", "untrained")
