"""A choice from beginning to end on a tiny world: killed and resumed it ends as undisturbed; what
is done is not done again; its page says what its answers say."""

import json
import re
import shutil

import pytest

from sensorium.choosing import candidates, conducting, deciding
from sensorium.comparison import pool, running
from sensorium.errors import RunError, Stopped

SMALL = {"width": 12, "depth": 1, "heads": 1}


def in_turn(most=None):
    """An executor: one run after the other in this process, until `most` are done."""

    def executor(tasks, workers, stopping):
        for at, task in enumerate(tasks):
            if at == most:
                raise Stopped("stopped")
            yield task, pool.told(task)

    return executor


@pytest.fixture(scope="module")
def asked(synergy, tmp_path_factory):
    """What `choose` takes, with classifiers so small that a test can train them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SENSORIUM_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(candidates, "_ENCODERS", {
            "image": {"use": "vision_transformer", **SMALL},
            "text": {"use": "transformer", **SMALL},
        })  # fmt: skip
        patch.setattr(candidates, "_OPTIMISER", {**candidates._OPTIMISER, "batch": 16})
        patch.setattr(deciding, "seconds_each", lambda *given: 0.1)
        subject = candidates.examine(str(synergy), None, "label")
        taking, _ = candidates.of(subject)
        request = deciding.Request(str(synergy), None, "label", 600.0, 2)
        yield patch, (request, subject, taking)


def choose(asked, out, most=None):
    patch, given = asked
    patch.setattr(pool, "_processes", in_turn(most))
    return conducting.choose(*given, out, workers=1)


@pytest.fixture(scope="module")
def finished(asked, tmp_path_factory):
    """(folder as it was decided, before the first run; the folder finished, its result)."""
    decided = tmp_path_factory.mktemp("choices") / "decided"
    patch, _ = asked
    with patch.context() as inner:
        inner.setattr(conducting, "_first", stop)
        with pytest.raises(Stopped):
            choose(asked, decided)
    whole = decided.parent / "whole"
    shutil.copytree(decided, whole)
    return decided, whole, choose(asked, whole)


def stop(*given):
    raise Stopped("stopped")


def told(folder):
    """All that a choice found, to the byte."""
    names = ["choice.json", "result.json", "runs.parquet", "report.html", "arms.json", "plan.json"]
    names += sorted(x.relative_to(folder).as_posix() for x in folder.glob("runs/*/items.parquet"))
    return {name: (folder / name).read_bytes() for name in names}


def test_all_is_decided_before_the_first_run(finished):
    decided, whole, result = finished
    assert not (decided / "runs").exists()
    assert (decided / "choice.json").read_bytes() == (whole / "choice.json").read_bytes()
    assert result["choice"] == json.loads((decided / "choice.json").read_text("utf-8"))["hash"]
    content = json.loads((decided / "choice.json").read_text("utf-8"))
    assert set(content["arms"]) == {
        x if share == 1 else deciding.share_name(x, share)
        for x in content["candidates"] for share in (1, *deciding.SHARES)
    }  # fmt: skip


@pytest.mark.parametrize("most", [0, 3])
def test_stopped_and_resumed_it_ends_as_undisturbed(asked, finished, tmp_path, most):
    decided, whole, _ = finished
    shutil.copytree(decided, tmp_path / "whole")
    with pytest.raises(Stopped):
        choose(asked, tmp_path / "whole", most)
    choose(asked, tmp_path / "whole")
    mine, theirs = told(tmp_path / "whole"), told(whole)
    for name in theirs:
        assert name == "report.html" or mine[name] == theirs[name], name
    # The page says where the recommended recipe lies.
    at = [str(x).encode() for x in (tmp_path / "whole", whole)]
    assert mine.pop("report.html").replace(at[0], at[1]) == theirs.pop("report.html")
    assert mine == theirs


def test_what_is_done_is_not_done_again(asked, finished, monkeypatch):
    _, whole, result = finished
    monkeypatch.setattr(running, "_train", None)
    assert choose(asked, whole) == result


def test_another_request_in_the_same_folder_is_refused(asked, finished):
    _, (request, subject, taking) = asked
    other = deciding.Request(request.data, None, "label", 601.0, 2)
    with pytest.raises(RunError, match="budget"):
        conducting.choose(other, subject, taking, finished[1], workers=1)


def test_shares_are_nested_and_of_the_right_size(asked, finished):
    from pathlib import Path

    from sensorium.comparison.arena import Arena
    from sensorium.comparison.plan import Plan
    from sensorium.recipe import check

    _, whole, result = finished
    plan = Plan(**json.loads((whole / "plan.json").read_text("utf-8"))["plan"])
    recipe = check(json.loads((whole / "arms.json").read_text("utf-8"))[result["best"]]["recipe"])
    arena = Arena.of(plan, Path(whole), recipe)
    parts = [running.part_of(arena, share, 0) for share in (0.125, 0.25, 0.5, 1.0)]
    train = set(arena.records.positions("train"))
    assert [len(part) for part in parts] == [round(x * len(train)) for x in (0.125, 0.25, 0.5, 1)]
    for small, large in zip(parts, [*parts[1:], train], strict=True):
        assert set(small) <= set(large)
    assert running.part_of(arena, 0.25, 1) != parts[1]


def test_an_arm_on_a_share_sees_no_other_record(asked, finished, monkeypatch):
    """What a run on an eighth is given to train on, seen at the loader."""
    _, whole, result = finished
    seen = []
    plain = running.Batches

    def batches(records, columns, modalities, positions, *others):
        seen.append(len(positions))
        return plain(records, columns, modalities, positions, *others)

    monkeypatch.setattr(running, "Batches", batches)
    name = deciding.share_name(result["best"], 0.125)
    task = running.Task(str(whole), "run", name, 77)
    running.carry_out(task)
    shutil.rmtree(task.place)
    assert seen == [round(0.125 * result["subject"]["train"])]


def test_the_page_says_every_answer_and_asks_for_nothing(finished):
    import html

    _, whole, result = finished
    page = (whole / "report.html").read_text("utf-8")
    plain = html.unescape(page)
    assert "<h1" in page
    for text in [result["title"], *(x["question"] for x in result["answers"]),
                 *(x["sentence"] for x in result["answers"])]:  # fmt: skip
        assert text in plain
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert plain.count("<section") == 7
    for name in result["costs"]:
        assert name in plain


def test_the_recommended_recipe_is_kept_and_can_be_read(finished):
    from sensorium import recipe

    _, whole, result = finished
    kept = recipe.load(whole / "recipes" / f"{result['recipe']}.yaml")
    assert kept.name == result["recipe"]


def test_a_recipe_that_diverges_costs_only_itself():
    """Validation means of those of which every run ended."""

    def run(arm, score, failed=""):
        return {"arm": arm, "failed": failed, "curve": [{"outcome": score}]}

    content = {"candidates": ["a", "b"]}
    results = [run("a", 0.2), run("a", 0.4), run("b", 0.9), run("b", 0, "at step 3: loss")]
    assert conducting.validated(results, content) == {"a": pytest.approx(0.3)}
