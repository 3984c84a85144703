"""Runs a function in several processes that meet over gloo: what every test of ranks shares.

The processes are forks of a server that has loaded torch and done nothing else, so that they start
at once and inherit no threads. They meet at a file, not at a port. Nothing waits for ever: a
process that fails ends the others, and all end at the deadline.
"""

from __future__ import annotations

import datetime
import multiprocessing
import pickle
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(
    [
        "torch.distributed.checkpoint.state_dict",
        "torch.distributed.device_mesh",
        "torch.distributed.fsdp",
        "sensorium.building",
    ]
)


def together(function: Callable[..., Any], *args: Any, processes: int = 2, seconds: float = 90):
    """What `function(*args)` returns in each process, in the order of their ranks.

    Args:
        function: of a module, so that its name finds it; its arguments must pickle.
        processes: how many; 1 is a world of one.
        seconds: until all are ended.

    Raises:
        AssertionError: one failed, with its traceback, or they were not done in time.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        children = [
            _context.Process(
                target=_run, args=(function, args, rank, processes, folder, seconds), daemon=True
            )
            for rank in range(processes)
        ]
        for child in children:
            child.start()
        end = time.monotonic() + seconds
        while any(child.is_alive() for child in children) and time.monotonic() < end:
            if any(child.exitcode not in (None, 0) for child in children):
                break
            time.sleep(0.01)
        late = [rank for rank, child in enumerate(children) if child.is_alive()]
        for child in children:
            child.kill()
            child.join()
        told = [folder / f"{rank}.pickle" for rank in range(processes)]
        answers = [pickle.loads(file.read_bytes()) if file.exists() else None for file in told]
        for rank, answer in enumerate(answers):
            if answer is not None and answer[0] == "failed":
                raise AssertionError(f"process {rank} of {processes}:\n{answer[1]}")
        if any(answer is None for answer in answers):
            raise AssertionError(f"not done in {seconds} s: processes {late} of {processes}")
        return [answer[1] for answer in answers]


def _run(function, args, rank: int, processes: int, folder: Path, seconds: float) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    try:
        dist.init_process_group(
            "gloo",
            init_method=f"file://{folder / 'meeting'}",
            rank=rank,
            world_size=processes,
            timeout=datetime.timedelta(seconds=seconds),
        )
        answer = ("done", function(*args))
        dist.barrier()  # none leaves while another still needs it
        dist.destroy_process_group()
    except BaseException:
        answer = ("failed", traceback.format_exc())
    part = folder / f"{rank}.part"
    part.write_bytes(pickle.dumps(answer))
    part.rename(folder / f"{rank}.pickle")
    raise SystemExit(answer[0] == "failed")
