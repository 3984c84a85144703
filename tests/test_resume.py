"""The three levels of "the same": bits after a kill, order under other workers, close elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import TINY

from sensorium import cache, shelf
from sensorium.errors import EXIT_STOPPED, DataError, Stopped
from sensorium.pretraining import pretrain, resume

HERE = Path(__file__).parent


def killed_runs(data, place, kills, seed, *options):
    """Finished runs as forked_trainer.py tells them; the first was not interrupted."""
    place.mkdir(parents=True, exist_ok=True)
    prepared = {"recipe=lit", "recipe=plain_projections"}
    if prepared & set(options):  # towers of this machine, features of the test's own
        shutil.copytree(cache.root() / "towers", place / "cache" / "towers")
    told = subprocess.run(
        [sys.executable, str(HERE / "forked_trainer.py"), str(data), str(place), str(kills),
         str(seed), *options],
        capture_output=True, text=True, timeout=3500,
        env=os.environ | {"SENSORIUM_CACHE": str(place / "cache")},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-3000:]
    return [json.loads(line) for line in told.stdout.splitlines()]


def assert_bits(finished):
    whole, *others = finished
    for other in others:
        assert other["state"] == whole["state"], "weights or optimiser differ"
        assert other["order"] == whole["order"], "another order of samples"
        assert other["log"] == whole["log"]
        assert other["scores"] == whole["scores"]
        assert other["before_and_after"] == whole["before_and_after"]


@pytest.mark.timeout(900)  # minutes on a machine that has other work
def test_bits_after_kills_at_random_instants(tiny_data, tmp_path):
    """45 kills -9 in forked trainers, several of each run."""
    finished = killed_runs(tiny_data, tmp_path, 45, 0, "budget=40-steps")
    assert sum(run["kills"] for run in finished) == 45
    assert_bits(finished)


@pytest.mark.towers
def test_bits_of_lit_and_its_controls(tiny_data, tmp_path, minilm, efficientnet_lite):
    """The main recipe draws dropout and trains two controls: twelve kills change nothing."""
    finished = killed_runs(tiny_data, tmp_path, 12, 2, "recipe=lit", "budget=12-steps")
    assert sum(run["kills"] for run in finished) == 12
    assert_bits(finished)


def test_bits_of_all_that_recipes_do(tiny_data, tmp_path):
    """Queue, teacher, hidden words, hard partners, two random views, a translation, classes and
    dropout in one recipe: eight kills change nothing."""
    finished = killed_runs(tiny_data, tmp_path, 8, 3, "recipe=combined", "budget=10-steps")
    assert sum(run["kills"] for run in finished) == 8
    assert_bits(finished)


MANY = {"clip": (500, 60)}  # kills and steps, where others have 24 and 12


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*shelf.names("recipes"), "combined"])
def test_bits_after_many_kills(name, tiny_data, tmp_path, request):
    """python -m pytest -m heavy tests/test_resume.py: writes benchmarks/results/kills.json."""
    if name in ("lit", "plain_projections"):
        request.getfixturevalue("minilm"), request.getfixturevalue("efficientnet_lite")
    kills, steps = MANY.get(name, (24, 12))
    options = (f"recipe={name}", f"budget={steps}-steps")
    finished = killed_runs(tiny_data, tmp_path, kills, 1, *options)
    assert sum(run["kills"] for run in finished) == kills
    assert_bits(finished)
    runs = len(finished) - 1
    tell_kills(name, {"steps": steps, "kills": kills, "runs_killed_and_resumed": runs})


@pytest.mark.heavy
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    ("name", "task", "method"),
    [("clip", "classification", "lora"), ("coca", "captioning", "full")],
)
def test_bits_of_tuned_runs_after_many_kills(name, task, method, tiny_data, tmp_path):
    """Killed while it copies its source, reads, trains, scores and asks before and after."""
    options = (f"recipe={name}", "budget=12-steps", f"task={task}", f"method={method}")
    finished = killed_runs(tiny_data, tmp_path, 24, 1, *options)
    assert sum(run["kills"] for run in finished) == 24
    assert_bits(finished)
    facts = {"steps": 12, "kills": 24, "runs_killed_and_resumed": len(finished) - 1}
    tell_kills(f"{name}, {task} by {method}", facts)


def tell_kills(name, facts):
    """Adds what passed to the committed results, with date, commit and machine."""
    from benchmarks.machine import machine, write_result

    file = HERE.parent / "benchmarks" / "results" / "kills.json"
    told = json.loads(file.read_text()) if file.exists() else {}
    here = machine()
    facts |= {"date": here["date"], "commit": here["commit"]}
    recipes = told.get("recipes", {}) | {name: facts}
    result = (
        "passed: weights, optimiser, order of samples, log and scores equal by SHA-256 to the "
        "uninterrupted run; recipes at tiny size and below"
    )
    content = {
        "command": "python -m pytest -m heavy tests/test_resume.py",
        "result": result,
        "kills": sum(recipe["kills"] for recipe in recipes.values()),
        "recipes": dict(sorted(recipes.items())),
    }
    write_result("kills", content)


def test_order_is_the_same_with_workers(tiny_data, tmp_path):
    """What is hidden, cropped and paired too: every draw belongs to a record and its epoch."""
    options = ("recipe=combined", "budget=6-steps")
    without = killed_runs(tiny_data, tmp_path / "0", 0, 0, *options, "workers=0")
    two = killed_runs(tiny_data, tmp_path / "2", 0, 0, *options, "workers=2")
    assert_bits([*without, *two])


def command(*arguments, cache):
    return subprocess.Popen(
        [sys.executable, "-m", "sensorium", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"SENSORIUM_CACHE": str(cache), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def pretrain_command(data, out, cache, steps):
    options = ["--recipe", "clip", "--size", "tiny", "--budget", f"{steps}-steps", "--out", out]
    return command("pretrain", data, *options, *TINY, cache=cache)


def wait_for_steps(out, process, least=3):
    log = out / "log.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if log.exists() and log.read_text().count('"train"') >= least:
            return
        time.sleep(0.02)
    raise AssertionError(f"no steps: {process.communicate(timeout=5)}")


def final_state(out):
    from forked_trainer import told

    return told(out)


def test_bits_after_kills_of_fresh_processes(tiny_data, tmp_path):
    """Five kills of the command as a user runs it, each resumed by `sensorium resume`."""
    whole = pretrain_command(tiny_data, tmp_path / "whole", tmp_path / "cache", 300)
    assert whole.wait(120) == 0, whole.stderr.read()
    out = tmp_path / "killed"
    process = pretrain_command(tiny_data, out, tmp_path / "cache", 300)
    for number in range(5):
        wait_for_steps(out, process, 3 + 40 * number)
        process.kill()
        process.wait()
        process = command("resume", out, cache=tmp_path / "cache")
    assert process.wait(120) == 0, process.stderr.read()
    assert_bits([final_state(tmp_path / "whole"), final_state(out)])


def test_sigterm_saves_and_exits_with_its_code(tiny_data, tmp_path):
    out = tmp_path / "run"
    process = pretrain_command(tiny_data, out, tmp_path / "cache", 5000)
    wait_for_steps(out, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == EXIT_STOPPED
    assert f"sensorium resume {out}" in err
    assert "Traceback" not in err
    steps = sorted(int(x.name.split("-")[1]) for x in (out / "checkpoints").glob("step-*"))
    logged = out.joinpath("log.jsonl").read_text().splitlines()
    assert steps[-1] == json.loads(logged[-1])["step"]


def test_the_second_trainer_is_told_by_whom(tiny_data, tmp_path):
    out = tmp_path / "run"
    first = pretrain_command(tiny_data, out, tmp_path / "cache", 5000)
    try:
        wait_for_steps(out, first)
        second = command("resume", out, cache=tmp_path / "cache")
        _, err = second.communicate(timeout=60)
        assert second.returncode == 2
        assert str(first.pid) in err
        assert "in use" in err
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()


def interrupted(data, out, monkeypatch, at=5):
    """A run that was asked to stop before step `at` and saved."""
    from sensorium import pretraining

    real = pretraining.train

    def asked(*arguments):
        step = iter(range(1000))
        return real(*arguments[:9], lambda: next(step) >= at, *arguments[10:])

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "train", asked)
        with pytest.raises(Stopped):
            pretrain(data, "clip", out=out, size="tiny", budget="12-steps", overrides=list(TINY))


def test_changed_data_are_refused_and_named(tiny_data, tmp_path, empty_cache, monkeypatch):
    data = tmp_path / "shapes"
    shutil.copytree(tiny_data, data)
    out = tmp_path / "run"
    interrupted(data, out, monkeypatch)
    before = (out / "splits.json").read_bytes()
    gone = (data / "07.png").read_bytes()
    (data / "07.png").unlink()
    with pytest.raises(DataError, match=r"07\.png[^$]*1 of them gone"):
        resume(out)
    (data / "07.png").write_bytes((data / "08.png").read_bytes() + b"another")
    with pytest.raises(DataError, match=r"07\.png[^$]*contents that the run began with"):
        resume(out)
    assert (out / "splits.json").read_bytes() == before
    (data / "07.png").write_bytes(gone)
    assert resume(out).info["best_step"] >= 0


def test_the_order_of_rows_in_the_file_does_not_matter(
    tiny_data, tmp_path, empty_cache, monkeypatch
):
    data, file = tmp_path / "shapes", tmp_path / "list.csv"
    shutil.copytree(tiny_data, data)
    file.write_text(_relative(data, range(40)))
    interrupted(file, tmp_path / "run", monkeypatch)
    whole = pretrain(
        file, "clip", out=tmp_path / "whole", size="tiny", budget="12-steps", overrides=list(TINY)
    )
    file.write_text(_relative(data, reversed(range(40))))
    again = resume(tmp_path / "run")
    assert again.info["order"] == whole.info["order"]


def _relative(data, order):
    lines = [f"{data.name}/{at:02d}.png,{(data / f'{at:02d}.txt').read_text()}" for at in order]
    return "file,text\n" + "\n".join(lines) + "\n"


def test_a_damaged_newest_checkpoint_is_told(tiny_data, tmp_path, empty_cache, monkeypatch):
    out = tmp_path / "run"
    interrupted(tiny_data, out, monkeypatch, at=9)
    newest = sorted((out / "checkpoints").glob("step-*"))[-1] / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    lines = []

    class Told:
        def say(self, what, text):
            lines.append((what, text))

        def progress(self, *_):
            pass

    resume(out, Told())
    assert [text for what, text in lines if what == "damaged" and "model.safetensors" in text]


def test_a_stop_while_reading_exits_with_its_code(tiny_data, tmp_path, empty_cache):
    """Asked at the first record: nothing to save yet, and the run can be resumed."""

    class Asks:
        def say(self, what, text):
            pass

        def progress(self, what, done, total, note=""):
            if done == 1:
                os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    with pytest.raises(Stopped) as caught:
        pretrain(tiny_data, "clip", out=out, size="tiny", budget="4-steps",
                 overrides=list(TINY), watcher=Asks())  # fmt: skip
    assert caught.value.exit_code == EXIT_STOPPED
    assert resume(out).info["plan"]["steps"] == 4


def test_the_callers_random_stream_is_left_alone(tiny_data, tmp_path, empty_cache):
    import torch

    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    pretrain(tiny_data, "clip", out=tmp_path / "run", size="tiny", budget="4-steps",
             overrides=list(TINY))  # fmt: skip
    assert torch.equal(torch.rand(3), expected)
