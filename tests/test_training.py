"""The loop on a toy: guards, choice of the best step, stopping, accumulation of facts."""

import itertools
import json
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import nn

from sensorium import files
from sensorium.errors import EXIT_NUMERIC, NonFinite, Stopped
from sensorium.optimiser import build, rate
from sensorium.recipe import Optimiser, load
from sensorium.records import Source
from sensorium.step import Loss, Outcome
from sensorium.tokens import Batch
from sensorium.training import Plan, Progress, restore, train, update

RECIPE = load("clip", "tiny", ["optimiser.batch=2"])


class Toy(nn.Module):
    """A Step of one weight; `poison` makes a chosen step's loss or gradient bad."""

    def __init__(self, poison: str = "", at: int = -1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[2.0]]))
        self.poison, self.at, self.calls = poison, at, 0

    def follow(self) -> None:
        """It has no teacher."""

    def commit(self, outcome: Outcome, batch: Batch) -> None:
        """It keeps nothing."""

    def forward(self, batch: Batch) -> Outcome:
        value = (self.weight**2).sum()
        if self.calls == self.at:
            if self.poison == "loss":
                value = value * float("nan")
            elif self.poison == "infinite":
                value = value / 0.0
            elif self.poison == "gradient":
                value = value + (self.weight * 0).sqrt().sum()  # 0, with an infinite slope
        self.calls += 1
        one = torch.ones(())
        return Outcome(value, {"toy": Loss(value, one, one)}, {})


def batches(first: int, last: int) -> Iterator[Batch]:
    for at in range(first, last):
        yield Batch((f"a{at}", f"b{at}"), (Source("x"),) * 2, {}, {})


def run(folder, step=None, steps=10, every=2, scores=None, **more):
    step = step or Toy()
    folder.mkdir(exist_ok=True)
    adam = build(step, RECIPE.optimiser)
    told = iter(scores or itertools.count())  # better each time: saved each time
    validate = lambda _: {"score": float(next(told))}  # noqa: E731
    progress = more.pop("progress", Progress())
    done = train(
        step, adam, batches, validate, RECIPE, Plan(steps, every), folder, progress, **more
    )
    return step, adam, done


@pytest.mark.parametrize("poison", ["loss", "infinite", "gradient"])
def test_not_finite_stops_before_the_update(tmp_path, poison):
    step = Toy(poison, at=4)
    with pytest.raises(NonFinite) as caught:
        run(tmp_path / "bad", step, every=1)
    assert caught.value.exit_code == EXIT_NUMERIC
    assert "toy" in str(caught.value)
    assert "a4" in str(caught.value)
    # what was applied is exactly the four steps before
    again = Toy()
    adam = build(again, RECIPE.optimiser)
    for at, batch in enumerate(batches(0, 4)):
        for group in adam.param_groups:
            group["lr"] = rate(at, 10, RECIPE.optimiser)
        update(again, adam, batch, RECIPE.optimiser.clip)
    assert torch.equal(step.weight, again.weight)
    assert restore(Toy(), build(Toy(), RECIPE.optimiser), RECIPE, tmp_path / "bad").step == 4


def test_the_best_step_on_validation_is_kept(tmp_path):
    _, _, done = run(tmp_path, scores=[0.1, 0.5, 0.4, 0.5, 0.2, 0.3])
    assert (done.best_step, done.best_score) == (2, 0.5)  # the first of equals
    assert (tmp_path / "checkpoints" / "step-00000002").is_dir()
    assert (tmp_path / "checkpoints" / "step-00000010").is_dir()


def test_stop_saves_that_very_step(tmp_path):
    asked = iter([False] * 5 + [True] * 9)
    with pytest.raises(Stopped) as caught:
        run(tmp_path, every=4, stopping=lambda: next(asked))
    assert "resume" in str(caught.value)
    step = Toy()
    adam = build(step, RECIPE.optimiser)
    progress = restore(step, adam, RECIPE, tmp_path)
    assert progress.step == 5
    _, _, done = run(tmp_path, step, progress=progress)
    _, _, straight = run(tmp_path / "whole")
    assert done.order == straight.order


def test_the_log_has_every_step_and_its_no_skill_value(tmp_path):
    run(tmp_path, steps=6, every=3)
    lines = files.read_lines(tmp_path / "log.jsonl")
    assert [x["step"] for x in lines if x["split"] == "train"] == list(range(1, 7))
    assert [x["step"] for x in lines if x["split"] == "validation"] == [0, 3, 6]
    assert all(x["toy/no_skill"] == 1.0 for x in lines if x["split"] == "train")
    json.dumps(lines)


def test_disk_full_leaves_the_last_good_checkpoint(tmp_path, monkeypatch):
    import errno
    import os

    from sensorium.errors import RunError

    written, real = [0], os.write

    def full(descriptor, data):
        written[0] += len(data)
        if written[0] > 30_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(RunError, match="No space left"):
        run(tmp_path, steps=2000, every=1)
    monkeypatch.undo()
    step = Toy()
    progress = restore(step, build(step, RECIPE.optimiser), RECIPE, tmp_path)
    assert progress.step > 0


def test_rate_warms_up_and_falls_to_zero():
    options = Optimiser(learning_rate=2.0, warmup=0.1)
    rates = [rate(at, 100, options) for at in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == pytest.approx(2.0)
    assert rates[55] == pytest.approx(1.0)  # half way through the cosine
    assert rates[99] < 0.01
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_only_matrices_decay():
    module = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    adam = build(module, Optimiser(weight_decay=0.3))
    decayed = {id(p) for p in adam.param_groups[0]["params"]}
    assert adam.param_groups[0]["weight_decay"] == 0.3
    assert adam.param_groups[1]["weight_decay"] == 0.0
    assert decayed == {id(module[0].weight)}


class Spy(Toy):
    """Notes what each step sees: how far training is, and a draw of the stream dropout reads."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[float, float]] = []

    def forward(self, batch: Batch) -> Outcome:
        self.seen.append((batch.progress, torch.rand(()).item()))
        return super().forward(batch)


def test_schedules_know_how_far_training_is_and_dropout_is_of_the_step(tmp_path):
    spy, again = Spy(), Spy()
    run(tmp_path / "one", spy, steps=8)
    run(tmp_path / "two", again, steps=8)
    assert [share for share, _ in spy.seen] == [at / 8 for at in range(8)]
    assert len({draw for _, draw in spy.seen}) == 8
    assert spy.seen == again.seen


def test_patience_ends_a_run_that_gets_no_better(tmp_path, monkeypatch):
    patient = RECIPE.model_copy(update={"patience": 2})
    monkeypatch.setattr(sys.modules[__name__], "RECIPE", patient)
    scores = [0.1, 0.5, 0.4, 0.5, 0.9, 0.3]  # looks at steps 0, 2, 4, 6, ...
    _, _, done = run(tmp_path / "whole", scores=scores)
    assert (done.step, done.best_step) == (6, 2)
    # Stopped at step 5 and gone on: a look that is taken again does not count twice.
    asked = iter([False] * 4 + [True] * 9)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", scores=scores, stopping=lambda: next(asked))
    step = Toy()
    progress = restore(step, build(step, patient.optimiser), patient, tmp_path / "stopped")
    _, _, done = run(tmp_path / "stopped", step, progress=progress, scores=[0.4, 0.5, 0.9])
    assert (done.step, done.best_step) == (6, 2)


def test_a_step_that_is_not_applied_moves_no_teacher(tmp_path):
    followed = []

    class Taught(Toy):
        def follow(self):
            followed.append(self.calls)

    with pytest.raises(NonFinite):
        run(tmp_path, Taught("loss", at=3), every=1)
    assert followed == [1, 2, 3]  # after each of the three updates, not after the fourth forward
