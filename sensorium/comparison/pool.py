"""Where the runs of a comparison are carried out: processes of this machine, Ray, or Slurm.

All three call the same function with the same task; what they give is the same table. Each run has
one thread, so that two runs on two cores do not wait for each other and bits do not depend on how
many run at once. What is done already is read and sent nowhere.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path
from typing import Any

from sensorium.comparison.running import Task, carry_out, done
from sensorium.errors import MissingExtra, RunError, Stopped, UserError, unknown
from sensorium.stopping import signals

WHERE = ("processes", "ray", "submitit")
EACH = 0.2  # seconds between looks at whether to stop
SAVING = 30.0  # seconds that runs have to save when they are asked to stop
Each = Callable[[dict[str, Any]], None]
Stopping = Callable[[], bool]
Results = Generator[tuple[Task, Any], None, None]


def run_all(
    tasks: Sequence[Task], on: str = "processes", workers: int | None = None,
    each: Each = lambda result: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """The results of all tasks, in their order; those that exist already are only read.

    Args:
        on: one of `WHERE`.
        workers: runs at a time; by default one a core.
        each: told each result when it is there.

    Raises:
        UserError: no such executor, or a mistake that a run met, which is named.
        MissingExtra: the executor's library is not installed.
        RunError: a run's process was killed; what is done stays, the same command goes on.
        Stopped: SIGTERM or SIGINT; runs have saved, the same command goes on.
    """
    if on not in WHERE:
        raise unknown("executor", on, WHERE)
    submit = {"processes": _processes, "ray": _ray, "submitit": _submitit}[on]
    found: dict[str, dict[str, Any]] = {}
    left = []
    for task in tasks:
        if (known := done(task)) is None:
            left.append(task)
        else:
            found[task.name] = known
            each(known)
    if left:
        count = workers or max(1, os.cpu_count() or 1)
        # Closed at once, not when the error that ends it is forgotten: workers end with it.
        with signals() as stopping, closing(submit(left, count, stopping)) as results:
            for task, result in results:
                if isinstance(result, UserError):
                    result.what = f"run {task.name}: {result.what}"
                    raise result
                found[task.name] = result
                each(result)
    return [found[task.name] for task in tasks]


def told(task: Task) -> dict[str, Any] | UserError:
    """`carry_out` with one thread; a user's mistake is a value, for executors wrap what is raised.

    A run that was asked to stop is a `Stopped`.
    """
    import torch

    torch.set_num_threads(1)
    try:
        return carry_out(task)
    except UserError as error:
        if isinstance(error, Stopped):
            error.see = None  # not by itself: the comparison goes on with it
        return error


def _stop(stopping: Stopping, left: int) -> None:
    if stopping():
        raise Stopped(f"stopped with {left} runs to do; what is done and trained is kept, the same "
                      "command goes on")  # fmt: skip


# --- processes ---------------------------------------------------------------------------------


def _begin() -> None:
    """In a new process: a signal to the whole terminal is the parent's to answer, and a process
    without a parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None, "it was spawned"

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _worker(task: Task) -> dict[str, Any] | UserError:
    result = told(task)
    if isinstance(result, Stopped):
        os._exit(result.exit_code)  # it takes no other run
    return result


def _processes(tasks: list[Task], workers: int, stopping: Stopping) -> Results:
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        min(workers, len(tasks)), multiprocessing.get_context("spawn"), _begin
    )
    waiting: dict[Future[Any], Task] = {}
    try:
        for task in tasks:
            waiting[pool.submit(_worker, task)] = task
        while waiting:
            _stop(stopping, len(waiting))
            ready, _ = wait(waiting, EACH, FIRST_COMPLETED)
            for future in ready:
                yield waiting.pop(future), future.result()
    except BrokenProcessPool:
        _stop(stopping, len(waiting) + 1)
        raise RunError(
            file=Path(tasks[0].folder), expected="runs that end by themselves",
            found="a process that was killed; what is done stays, the same command goes on",
        ) from None  # fmt: skip
    finally:
        own = set(multiprocessing.active_children()) - before
        if waiting:  # futures are not cancelled: a pool that breaks complains of one that was
            _end(own)
        pool.shutdown()


def _end(processes: set[Any]) -> None:
    """Asks processes to save and end, and ends those that do not."""
    for process in processes:
        process.terminate()
    latest = time.monotonic() + SAVING
    for process in processes:
        process.join(max(0.0, latest - time.monotonic()))
        process.kill()


# --- other machines ----------------------------------------------------------------------------


def _ray(tasks: list[Task], workers: int, stopping: Stopping) -> Results:
    try:
        import ray
    except ImportError:
        raise MissingExtra("--on ray", "the library ray", "cluster") from None
    began = not ray.is_initialized()
    if began:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    waiting = {}
    try:
        remote = ray.remote(num_cpus=1, max_retries=0)(told)
        waiting = {remote.remote(task): task for task in tasks}
        while waiting:
            _stop(stopping, len(waiting))
            ready, _ = ray.wait(list(waiting), timeout=EACH)
            for reference in ready:
                yield waiting.pop(reference), ray.get(reference)
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
        if began:
            ray.shutdown()


def _submitit(tasks: list[Task], workers: int, stopping: Stopping) -> Results:
    try:
        import submitit
    except ImportError:
        raise MissingExtra("--on submitit", "the library submitit", "cluster") from None
    # Slurm where it is; else submitit's own processes on this machine.
    executor = submitit.AutoExecutor(folder=Path(tasks[0].folder) / "jobs")
    executor.update_parameters(cpus_per_task=1, timeout_min=24 * 60)
    waiting: dict[Any, Task] = {}
    left = list(reversed(tasks))
    try:
        while left or waiting:
            _stop(stopping, len(left) + len(waiting))
            while left and len(waiting) < workers:
                task = left.pop()
                waiting[executor.submit(told, task)] = task
            for job in [job for job in waiting if job.done()]:
                yield waiting.pop(job), job.result()
            time.sleep(EACH)
    finally:
        for job in waiting:
            job.cancel()
