"""Reports of runs that compare nothing: their scores, examples and verdicts; pages as closed and
readable as any."""

import html
import io
import json
import re

import pytest
from few_runs import run_of
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sensorium.report import collecting as report
from sensorium.report.facts import Example, Examples, Gap
from sensorium.report.gallery import examples
from sensorium.report.page import page
from sensorium.report.scores import before_after
from sensorium.report.scores import scores as scores_of
from sensorium.report.verdict import skilled, verdict
from sensorium.report.words import IDLE, figure, idle, luck_of
from sensorium.run import Run
from sensorium.terminal import WIDTH, protocol_lines, score_lines

KINDS = ("words", "written", "classes", "pictures", "bare")
words, written, classes, pictures, bare = map(run_of, KINDS)
PROTOCOL = {
    "split": "test", "records": 40, "ties": "ties lose", "interval": "Wilson, 95 %", "step": 3,
    "chosen_on": "validation, by loss",
}  # fmt: skip


def score(task, direction, metric, value, interval, better="higher", **controls):
    """A hand-made score; a control is (value, interval of the difference) or a value."""
    told = {}
    for name, one in controls.items():
        if isinstance(one, tuple):
            told[name] = {"value": one[0], "interval": [one[0]] * 2, "difference": value - one[0],
                          "difference_interval": list(one[1])}  # fmt: skip
        else:
            told[name] = {"value": one, "interval": "exact"}
    return {"task": task, "direction": direction, "metric": metric, "better": better,
            "value": value, "interval": list(interval) if interval else None,
            "protocol": PROTOCOL, "controls": told}  # fmt: skip


def told(text):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


# --- pages -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_shows_all_scores_and_no_search(kind, request):
    run = Run.open(request.getfixturevalue(kind).folder)
    whole = run.report().read_text("utf-8")
    text = told(whole)
    facts = report.collect(run)
    assert facts.shown is None
    assert "What it finds" not in whole
    assert "sensorium search" not in whole
    for one in run.scores():
        assert figure(one["metric"], one["value"]) in text
        assert one["metric"] in text
        for beside in one["controls"].values():
            if beside["value"] is not None:
                assert figure(one["metric"], beside["value"]) in text
    assert facts.verdict.title in text
    assert not re.search(r'(src|href)="(?!#|data:)', whole)


def test_examples_agree_with_the_model(words, written, classes):
    for run in (words, written, classes):
        for made in report.collect(Run.open(run.folder)).examples:
            assert isinstance(made, Examples)
            assert made.rows
            assert made.of == 4
            for one in made.rows:
                assert one.picture is not None
                if one.right is not None:
                    assert one.right == (one.truth == one.answer)
                    assert 0 < one.certainty <= 1
                if one.hole and one.truth != "(end)":
                    # What was hidden is not shown beside its hole.
                    assert one.before == "" or one.before.endswith(" ")


def test_next_words_show_what_came_before_and_nothing_after(written):
    made = next(x for x in report.collect(Run.open(written.folder)).examples if x.rows[0].hole)
    texts = {text for record in written.records() for text in [record.fields["text"]]}
    for one in made.rows:
        assert one.after == ""
        ending = "" if one.truth == "(end)" else one.truth
        assert any(text.startswith((one.before + ending).strip()) for text in texts)


def test_captions_stand_beside_those_that_are_found(written):
    made = next(x for x in report.collect(Run.open(written.folder)).examples if x.key == "captions")
    known = {record.fields["text"] for record in written.records()}
    assert {one.truth for one in made.rows} <= known
    assert {one.beside for one in made.rows} <= known


def test_data_that_moved_is_a_sentence(words, tmp_path):
    run = Run.open(words.folder)
    run.info["data"] = str(tmp_path / "gone.jsonl")
    facts = report.collect(run)
    assert [type(one) for one in facts.examples] == [Gap]
    assert "No examples: no data at" in told(page(facts))


def test_what_to_try_next_is_what_the_run_can_do(words, written, classes):
    commands = {
        name: " ".join(command for _, command in report.uses(run, {name}))
        for name, run in (("prediction", words), ("captioning", written),
                          ("classification", classes))
    }  # fmt: skip
    assert "finetune" in commands["prediction"]
    assert "sensorium caption" in commands["captioning"]
    assert "sensorium predict" in commands["classification"]
    assert "--words WORDS" in commands["classification"]
    found = report.uses(words, {"retrieval"}, "sensorium search x y")
    assert found[0] == ("Find pictures by words", "sensorium search x y")


def test_before_and_after_of_a_tuned_run():
    rows = [
        {"which": "new", "metric": "accuracy", "better": "higher", "before": 0.25, "after": 0.75,
         "difference": 0.5, "difference_interval": [0.4, 0.6], "records": 10},
        {"which": "old", "metric": "text to image, recall@1", "better": "higher", "before": 0.4,
         "after": 0.1, "difference": -0.3, "difference_interval": None, "records": 10},
        {"which": "old", "metric": "matching loss", "better": "lower", "before": 0.5,
         "after": 1.25, "difference": 0.75, "difference_interval": [0.5, 1.0], "records": 10},
    ]  # fmt: skip
    text = told("".join(before_after(rows)))
    assert "accuracy .250 .750 0.500 0.400 to 0.600" in text
    assert "recall@1 .400 .100 −0.300 too few" in text
    assert "matching loss 0.50 1.25 0.750" in text
    assert "as tuned" not in text
    mixed = told(
        "".join(before_after([rows[0] | {"tuned": 0.5}, {"which": "old", "reason": "gone"}]))
    )
    assert "accuracy .250 .500 .750" in mixed
    assert "gone" in mixed


def test_the_zero_shot_answer_or_why_there_is_none():
    row = {"which": "new", "metric": "accuracy", "better": "higher", "before": 0.25, "after": 0.75,
           "difference": 0.5, "difference_interval": [0.4, 0.6], "records": 10}  # fmt: skip
    none = row | {"zero_shot": {"value": None, "reason": "the source compares no pictures"}}
    assert "zero-shot, by class names not measured: the source compares no pictures" in told(
        "".join(before_after([none]))
    )
    some = row | {"zero_shot": {"value": 0.5, "interval": [0.4, 0.6], "prompts": ["{}"]}}
    assert "by class names .500 (.400 – .600)" in told("".join(before_after([some])))
    assert "zero-shot" not in told("".join(before_after([row])))


def test_a_class_is_called_as_its_field(classes):
    run = Run.open(classes.folder)
    facts = report.collect(run)
    assert "the right shape" in facts.verdict.title
    assert facts.examples[0].heads[-2:] == ("shape", "named")
    assert any(line.startswith("shape  ") for line in shown(run.scores()))
    assert "label" not in told("".join(scores_of(facts)))


@pytest.mark.parametrize(
    ("rights", "said"),
    [
        ((False, False), "None of them is right."),
        ((True, False), "One of them is right."),
        ((True, True), "Two of them are right."),
    ],
)
def test_how_many_examples_are_right(rights, said):
    rows = [Example(None, "a", "", False, "x", "x", right, 0.5, None) for right in rights]
    given = Examples("k", "n", "t", "", ("words", "kind", "named"), "test", 9, rows, True)
    assert (
        told("".join(examples(given))).split("Two drawn")[1].partition(" words ")[0].endswith(said)
    )


# --- the verdict -------------------------------------------------------------------------------


def test_a_sentence_for_every_task():
    sentences = {
        "Its first guess of a hidden word is right 31 times in 100. The most frequent word: 15 ":
            score("prediction", "masked_tokens", "top guess", 0.31, (0.2, 0.4),
                  unigram=(0.15, (0.1, 0.2)), chance=0.001),
        "Its first guess of the next word is right 31 times in 100. The most frequent word: 15 ":
            score("prediction", "generation_1", "top guess", 0.31, (0.2, 0.4),
                  unigram=(0.15, (0.1, 0.2)), chance=0.001),
        "Words tell the own picture from a wrong one 83 times in 100. Luck: 50 times.":
            score("matching", "text_to_image", "forced choice", 0.83, (0.7, 0.9), chance=0.5),
        "It names the right kind 83 times in 100. The most frequent class: 40 times.":
            score("classification", "kind", "accuracy", 0.83, (0.7, 0.9), chance=0.25,
                  majority=(0.4, (0.3, 0.5))),
        "Its captions reach a CIDEr-D of 1.20. The most frequent caption: 0.40.":
            score("captioning", "image_to_text", "CIDEr-D", 1.2, (1, 1.4),
                  constant=(0.4, (0.6, 1.0))),
        "Its loss (two views of a picture) is 1.20. Untrained weights: 2.00.":
            score("loss", "image_self_supervision", "loss", 1.2, (1, 1.4), "lower",
                  untrained=(2.0, (-1.0, -0.6)), chance=2.7),
    }  # fmt: skip
    for sentence, one in sentences.items():
        said = verdict([one])
        assert said.title.startswith(sentence)
        assert said.skill


def test_what_knows_nothing_must_be_beaten():
    """Beyond chance and level with the most frequent word is no skill; less is better of losses."""
    level = score("prediction", "masked_tokens", "top guess", 0.31, (0.25, 0.4),
                  unigram=(0.3, (-0.02, 0.04)), chance=0.001)  # fmt: skip
    said = verdict([level])
    assert not said.skill
    assert said.title.startswith("No better than the most frequent word yet: its first guess")
    assert "paired difference from it is −2.0 to 4.0" in said.lines[1]
    worse = score("loss", "x", "loss", 3.0, (2.9, 3.1), "lower", chance=2.7)
    assert not skilled(worse)
    assert "lies above what luck gives" in verdict([worse]).lines[1]
    assert skilled(worse | {"value": 2.0, "interval": [1.9, 2.1]})
    few = score("loss", "x", "loss", 2.0, None, "lower", chance=2.7)
    few["protocol"] = PROTOCOL | {"interval": "none: fewer than 5 batches"}
    assert verdict([few]).skill
    assert "No interval: fewer than 5 batches." in verdict([few]).lines


GUESS = score("prediction", "generation", "top guess", 0.31, (0.25, 0.4),
              unigram=(0.2, (0.05, 0.15)), chance=0.001)  # fmt: skip
SURE = score("prediction", "generation", "nats per token", 2.1, (2.0, 2.2), "lower",
             unigram=(2.82, (-0.8, -0.6)), chance=6.9)  # fmt: skip
UNSURE = score("prediction", "generation", "nats per token", 4.35, (4.0, 4.7), "lower",
               unigram=(2.82, (1.2, 1.8)), chance=6.9)  # fmt: skip


def test_skill_in_words_needs_nats_as_well():
    assert verdict([GUESS, SURE]).skill
    assert verdict([GUESS, SURE]).title == (
        "Its first guess of the next word is right 31 times in 100. The most frequent word: 20 "
        "times."
    )
    said = verdict([GUESS, UNSURE])
    assert not said.skill
    assert said.title == (
        "Its first guess of the next word is right 31 times in 100, but by nats it is worse than "
        "the most frequent word: 4.35 against 2.82."
    )
    # What the guesses themselves show stays below: they do beat the control.
    assert any("It beats the most frequent word by 11.0 points" in line for line in said.lines)
    # Level is not worse; nats of another objective say nothing of these guesses.
    level = score("prediction", "generation", "nats per token", 2.8, (2.0, 3.2), "lower",
                  unigram=(2.82, (-0.5, 0.4)), chance=6.9)  # fmt: skip
    assert "by nats it is no better than the most frequent" in verdict([GUESS, level]).title
    assert verdict([GUESS, UNSURE | {"direction": "masked_tokens"}]).skill


def test_which_of_guesses_and_nats_has_no_skill_is_said():
    blind = score("prediction", "generation", "top guess", 0.2, (0.1, 0.3),
                  unigram=(0.2, (-0.05, 0.05)), chance=0.001)  # fmt: skip
    said = verdict([blind, SURE])
    assert not said.skill
    assert said.title.startswith("No better than the most frequent word yet")
    assert "By nats it is better than the most frequent word: 2.10 against 2.82." in said.lines
    assert "By nats it is worse than" in " ".join(verdict([blind, UNSURE]).lines)
    first = score("retrieval", "text_to_image", "recall@1", 0.4, (0.3, 0.5), chance=0.01)
    assert verdict([first, GUESS, UNSURE]).lines[-1] == (
        "Its first guess of the next word is right 31 times in 100 (the most frequent word: 20 "
        "times), but by nats it is worse than the most frequent word: 4.35 against 2.82."
    )


def test_skill_in_classes_needs_nats_as_well():
    right = score("classification", "kind", "accuracy", 0.83, (0.7, 0.9), chance=0.25,
                  majority=(0.4, (0.3, 0.5)))  # fmt: skip
    nats = score("classification", "kind", "nats per record", 3.0, (2.5, 3.5), "lower",
                 chance=1.39, majority=(1.2, (1.3, 2.3)))  # fmt: skip
    assert verdict([right]).skill
    assert not verdict([right, nats]).skill
    assert "worse than the most frequent class: 3.00 against 1.20" in verdict([right, nats]).title


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.booleans())
def test_the_strongest_idle_control_is_told(chance, unigram, other, less):
    better = "lower" if less else "higher"
    one = score("prediction", "x", "top guess", 0.5, (0.4, 0.6), better,
                chance=chance, unigram=unigram, vectors=other)  # fmt: skip
    strongest = (min if less else max)([(chance, "chance"), (unigram, "unigram")])
    assert one["controls"][idle(one)]["value"] == strongest[0]
    assert "vectors" not in IDLE


def test_whether_pictures_are_used_is_said():
    used = score("prediction", "masked_tokens", "top guess", 0.5, (0.4, 0.6),
                 partner_shuffled=(0.2, (0.2, 0.4)), chance=0.001)  # fmt: skip
    unused = score("prediction", "masked_tokens", "top guess", 0.5, (0.4, 0.6),
                   partner_shuffled=(0.49, (-0.02, 0.04)), chance=0.001)  # fmt: skip
    assert "No use of pictures" not in " ".join(verdict([used]).lines)
    assert "No use of pictures is shown in guessing hidden words" in " ".join(
        verdict([unused]).lines
    )
    # Of two tasks each sentence names its own.
    captions = score("captioning", "image_to_text", "CIDEr-D", 1.2, (1, 1.4),
                     partner_shuffled=(1.1, (-0.1, 0.3)), constant=(0.4, (0.6, 1.0)))  # fmt: skip
    said = [x for x in verdict([captions, unused]).lines if "o use of pictures" in x]
    assert said[0].startswith("No use of pictures is shown in writing captions: ")
    assert said[1:] == [
        "Its first guess of a hidden word is right 50 times in 100 (luck: 0.1 times); no use of "
        "pictures is shown."
    ]
    # Of nats less is better: a shuffled picture that costs more shows use.
    nats = score("prediction", "x", "nats per token", 2.0, (1.9, 2.1), "lower",
                 partner_shuffled=(2.5, (-0.6, -0.4)), chance=5.0)  # fmt: skip
    assert "No use of pictures" not in " ".join(verdict([nats]).lines)


def test_less_is_better_of_amounts():
    lost = score("loss", "x", "loss", 2.0, (1.9, 2.1), "lower", chance=3.0,
                 vectors=(1.5, (0.3, 0.7)))  # fmt: skip
    assert "It does worse than its vectors alone: 2.00 against 1.50" in verdict([lost]).lines[1]
    won = score("loss", "x", "loss", 2.0, (1.9, 2.1), "lower", chance=3.0,
                vectors=(2.5, (-0.7, -0.3)))  # fmt: skip
    assert "It beats its vectors alone by 0.50 (2.00 against 2.50" in verdict([won]).lines[1]


def test_other_tasks_are_one_short_sentence_each_and_three_at_most():
    level = score("matching", "text_to_image", "forced choice", 0.5, (0.4, 0.6), chance=0.5)
    said = verdict([
        score("retrieval", "text_to_image", "recall@1", 0.4, (0.3, 0.5), chance=0.01),
        score("captioning", "image_to_text", "CIDEr-D", 1.2, (1, 1.4), constant=(0.4, (0.6, 1.0))),
        level,
        level | {"direction": "image_to_text", "value": 0.9, "interval": [0.8, 1.0]},
        level | {"metric": "forced choice, hard", "value": 0.9, "interval": [0.8, 1.0]},
        GUESS, SURE,
        score("loss", "image_self_supervision", "loss", 1.2, (1, 1.4), "lower", chance=2.7),
    ])  # fmt: skip
    assert said.title.startswith("Words find the right picture first 40 times")
    assert said.lines[1:] == [
        "Its captions reach a CIDEr-D of 1.20 (the most frequent caption: 0.40).",
        "Words tell the own picture from a wrong one 50 times in 100, no better than luck (50 "
        "times).",
        "Its first guess of the next word is right 31 times in 100 (the most frequent word: 20 "
        "times).",
    ]


def test_figures():
    assert figure("top guess", 0.384) == ".384"
    assert figure("nats per token", 2.384) == "2.38"
    assert luck_of("loss", 5.545177) == "ln 256 = 5.55"
    assert luck_of("accuracy", 0.25) == "1 in 4"


# --- the terminal ------------------------------------------------------------------------------


def shown(scores, **more):
    file = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    console = Console(file=file, width=WIDTH, highlight=False, soft_wrap=True)
    for line in (*score_lines(scores, console, **more), *protocol_lines(scores)):
        console.print(line)
    file.seek(0)
    return file.read().splitlines()


@pytest.mark.parametrize("kind", KINDS)
def test_the_terminal_tells_every_task(kind, request):
    run = request.getfixturevalue(kind)
    scores = run.scores()
    for metric in (None, *dict.fromkeys(one["metric"] for one in scores)):
        lines = shown(scores, metric=metric)
        assert any("this run" in line for line in lines)
        assert all(len(line) <= WIDTH for line in lines if not line.startswith(tuple("clmpr")))
    assert json.dumps(scores, allow_nan=False)


def test_amounts_have_an_axis_of_their_own():
    nats = score("prediction", "masked_tokens", "nats per token", 2.0, (1.5, 2.5), "lower",
                 unigram=(4.0, (-3, -1)), chance=8.0)  # fmt: skip
    lines = shown([nats])
    assert lines[1] == "hidden words  40 records, test split; less is better"
    axis, own, luck = lines[0], lines[2], lines[4]
    assert own.index("●") == axis.index("2", 46)
    assert luck.index(":", 46) == axis.index("8", 46)
    assert "2.00  1.50–2.50" in own


def test_without_luck_no_line_of_luck():
    lines = shown([score("captioning", "image_to_text", "CIDEr-D", 1.2, (1, 1.4),
                         constant=(0.4, (0.6, 1.0)))])  # fmt: skip
    assert not [line for line in lines[2:4] if ":" in line]
