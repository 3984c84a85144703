"""Carries out one run of a comparison in forks of this process and kills them; the last one ends.

    python killed_run.py FOLDER SEED

FOLDER holds a decided comparison whose run of that seed of the first arm is not begun. Prints how
many forks were killed. Run by test_running.py.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # a fork must not inherit a pool of threads

import torch

torch.set_num_threads(1)

from sensorium import training  # noqa: E402
from sensorium.comparison import running  # noqa: E402
from sensorium.comparison.arena import Arena  # noqa: E402
from sensorium.comparison.running import Task, carry_out  # noqa: E402

LINES = (0, 1, 4, 8, 11)  # of the log: eight steps and five looks, so the last is near the end
training.SAVE_EVERY = 0.0  # so that most goings-on begin in the midst of training


def forked(task: Task) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        carry_out(task)
        code = 0
    finally:
        os._exit(code)


def lines(task: Task) -> int:
    """How many lines a run's log has; -1 before its folder is there."""
    log = task.place / "log.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else -int(not task.place.exists())


def main() -> None:
    folder, seed = sys.argv[1], int(sys.argv[2])
    warm = Task(folder, "run", "cold", seed + 1)
    plan, arms = running._decided(folder)
    recipe = running.recipe_of(warm, plan, arms)
    Arena.of(plan, Path(folder), recipe).columns(recipe)  # read once, for all forks
    # Another seed's run loads what is loaded late, so that the forks are alike.
    assert os.waitpid(forked(warm), 0)[1] == 0
    task, rng, done = Task(folder, "run", "cold", seed), random.Random(7), 0
    while True:
        child = forked(task)
        ended = (0, 0)
        # Instants over the life of a run: when it has written so much, and a moment later.
        while done < len(LINES) and lines(task) < LINES[done] and ended[0] == 0:
            ended = os.waitpid(child, os.WNOHANG)
            time.sleep(0.001)
        if done < len(LINES) and ended[0] == 0:
            time.sleep(rng.random() * 0.02)
            os.kill(child, signal.SIGKILL)
        status = ended[1] if ended[0] else os.waitpid(child, 0)[1]
        if status == 0:
            break
        assert os.WIFSIGNALED(status), f"it failed by itself with {status}"
        done += 1
    assert Path(task.place, "result.json").exists()
    print(done)


if __name__ == "__main__":
    main()
