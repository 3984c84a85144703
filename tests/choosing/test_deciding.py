"""The division of a budget: what it promises, and that what was decided is kept."""

import json

import pytest

from sensorium.choosing import deciding
from sensorium.choosing.deciding import LEAST, SHARES, Pace, Request
from sensorium.errors import RunError, UserError

PACES = [Pace(0.1, 3.0, 40), Pace(0.05, 2.0), Pace(0.3, 5.0, None, 4.0)]


def handed_out(lengths, workers):
    """When the last of some runs ends that are handed out one by one, by doing it."""
    free = [0.0] * workers
    for length in lengths:
        at = free.index(min(free))
        free[at] += length
    return max(free)


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("seeds", [2, 3, 7])
@pytest.mark.parametrize("best", [0, 1, 2])
def test_whatever_recipe_is_best_the_runs_end_within_the_budget(workers, seeds, best):
    left = 900.0
    each = deciding.seconds_each(left, PACES, seeds, workers)
    run = [pace.around + pace.steps(each) * pace.step for pace in PACES]
    first = handed_out(run * seeds, workers)
    second = handed_out([run[best]] * seeds * (len(SHARES) + 1), workers)
    starts = 2 * (deciding.STARTS + 4.0)
    assert first + second + starts <= left


def test_nothing_is_left_over_that_could_be_used():
    each = deciding.seconds_each(900, PACES, 3, 2)
    assert deciding.wall(each, PACES, 3, 2) <= 900
    assert deciding.wall(each * 1.01, PACES, 3, 2) > 900


def test_by_hand_one_worker_two_equal_recipes():
    """Two seeds: 4 runs of the two, 8 of the best, 4 s of start twice: 12 (1 + t) + 8 = 128."""
    assert deciding.seconds_each(128, [Pace(0.01, 1.0)] * 2, 2, 1) == pytest.approx(9)


def test_a_recipe_that_is_done_early_leaves_its_time_to_others():
    alone = deciding.seconds_each(900, [Pace(0.1, 3.0), Pace(0.1, 3.0)], 3, 2)
    early = deciding.seconds_each(900, [Pace(0.1, 3.0, 30), Pace(0.1, 3.0)], 3, 2)
    assert early > alone
    assert Pace(0.1, 3.0, 30).steps(early) == 30
    assert Pace(0.1, 3.0).steps(early) == int(early / 0.1)


def test_the_least_budget_is_told_and_is_enough():
    least = deciding.wall(deciding.least_each(PACES), PACES, 3, 2)
    assert deciding.seconds_each(least - 0.1, PACES, 3, 2) is None
    each = deciding.seconds_each(least + 0.1, PACES, 3, 2)
    assert all(pace.steps(each) >= min(LEAST, pace.most or LEAST) for pace in PACES)


def test_a_budget_that_no_machine_can_do_with_is_refused():
    with pytest.raises(UserError, match=r"at least about \d+ s for 24 runs"):
        deciding.refuse_small(5, 4, 3, 2)
    deciding.refuse_small(3600, 4, 3, 2)


REQUEST = Request("emoji", None, None, 360.0, 3)


def written(folder, **changed):
    import hashlib

    body = {"request": {"data": "emoji", "fields": None, "label": None, "budget": 360.0,
                        "seeds": 3} | changed}  # fmt: skip
    text = json.dumps(body, sort_keys=True)
    deciding.write(folder, {"hash": hashlib.sha256(text.encode()).hexdigest(), **body})


def test_a_decision_is_read_back_for_the_same_request_alone(tmp_path):
    assert deciding.known(tmp_path, REQUEST) is None
    written(tmp_path)
    assert deciding.known(tmp_path, REQUEST)["request"]["seeds"] == 3
    with pytest.raises(RunError, match="budget"):
        deciding.known(tmp_path, Request("emoji", None, None, 720.0, 3))
    with pytest.raises(RunError, match="label"):
        deciding.known(tmp_path, Request("emoji", None, "category", 360.0, 3))


def test_a_decision_that_was_edited_after_is_refused(tmp_path):
    written(tmp_path)
    file = tmp_path / deciding.CHOICE
    file.write_text(file.read_text("utf-8").replace("360", "720"), "utf-8")
    with pytest.raises(RunError, match="another content"):
        deciding.known(tmp_path, REQUEST)


def test_a_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "letters.txt").write_text("dear", "utf-8")
    with pytest.raises(RunError, match=r"letters\.txt"):
        deciding.known(tmp_path, REQUEST)
