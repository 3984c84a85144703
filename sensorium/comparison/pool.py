"""Where the runs of a comparison are carried out: processes of this machine, Ray, or Slurm.

All three call the same function with the same task; what they give is the same table. Each run has
one thread, so that two runs on two cores do not wait for each other and bits do not depend on how
many run at once.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from sensorium.comparison.running import Task, carry_out
from sensorium.errors import RunError, UserError, unknown

WHERE = ("processes", "ray", "submitit")
Each = Callable[[dict[str, Any]], None]


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
        UserError: an executor whose library is missing, a mistake that a run met.
        RunError: a run's process was killed; what is done stays, the same command goes on.
    """
    if on not in WHERE:
        raise unknown("executor", on, WHERE)
    submit = {"processes": _processes, "ray": _ray, "submitit": _submitit}[on]
    found: dict[str, dict[str, Any]] = {}
    for task, result in submit(list(tasks), workers or max(1, os.cpu_count() or 1)):
        found[task.name] = result
        each(result)
    return [found[task.name] for task in tasks]


def one_thread() -> None:
    """Before torch is used in a worker: one thread, and signals left to the parent."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch

    torch.set_num_threads(1)


def told(task: Task) -> dict[str, Any]:
    """`carry_out`, with a user's mistake as a value: exceptions with keywords do not travel."""
    try:
        return carry_out(task)
    except UserError as error:
        return {"mistake": error.lines, "name": task.name}


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    if "mistake" in result:
        raise UserError(f"{result['name']}: {'; '.join(result['mistake'])}")
    return result


def _processes(tasks: list[Task], workers: int) -> Iterator[tuple[Task, dict[str, Any]]]:
    os.environ["OMP_NUM_THREADS"] = "1"  # what a spawned process begins with
    pool = ProcessPoolExecutor(
        min(workers, len(tasks) or 1), multiprocessing.get_context("spawn"), one_thread
    )
    waiting: dict[Future[Any], Task] = {}
    try:
        for task in tasks:
            waiting[pool.submit(told, task)] = task
        while waiting:
            ready, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ready:
                task = waiting.pop(future)
                yield task, _checked(future.result())
    except BrokenProcessPool:
        raise RunError(
            file=Path(tasks[0].folder), expected="runs that end by themselves",
            found="a process that was killed; what is done stays, the same command goes on",
        ) from None  # fmt: skip
    finally:
        for future in waiting:
            future.cancel()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list((pool._processes or {}).values()):
            process.terminate()


def _ray(tasks: list[Task], workers: int) -> Iterator[tuple[Task, dict[str, Any]]]:
    try:
        import ray
    except ImportError:
        raise UserError("ray", expected="the library ray: pip install 'sensorium[cluster]'",
                        found="none") from None  # fmt: skip
    began = not ray.is_initialized()
    if began:
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    try:
        remote = ray.remote(num_cpus=1)(_alone)
        waiting = {remote.remote(task): task for task in tasks}
        while waiting:
            ready, _ = ray.wait(list(waiting))
            for reference in ready:
                task = waiting.pop(reference)
                yield task, _checked(ray.get(reference))
    finally:
        if began:
            ray.shutdown()


def _submitit(tasks: list[Task], workers: int) -> Iterator[tuple[Task, dict[str, Any]]]:
    try:
        import submitit
    except ImportError:
        raise UserError("submitit", expected="the library submitit: pip install "
                        "'sensorium[cluster]'", found="none") from None  # fmt: skip
    if not tasks:
        return
    # Slurm where it is; else submitit's own processes on this machine.
    executor = submitit.AutoExecutor(folder=Path(tasks[0].folder) / "jobs")
    executor.update_parameters(
        cpus_per_task=1, timeout_min=24 * 60, slurm_array_parallelism=workers
    )
    jobs = executor.map_array(_alone, tasks)
    for task, job in zip(tasks, jobs, strict=True):
        yield task, _checked(job.result())


def _alone(task: Task) -> Any:
    one_thread()
    return told(task)
