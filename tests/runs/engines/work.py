"""Functions that other processes import: tasks of workers, and a parent of workers."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import torch

from forked import fork_server
from gradmeter.errors import DataError, GradmeterError
from gradmeter.runs.engines import processes

Emit = Callable[[object], None]


def square(item: tuple[Path, int], emit: Emit) -> None:
    folder, number = item
    for share in (0.5, 1.0):
        emit((number, share))
    (folder / f"{number}.txt").write_text(f"{number**2} {os.getpid()} {torch.get_num_threads()}")


def refuse_zero(seconds: float, emit: Emit) -> None:
    """Fail at once for 0, otherwise sleep."""
    if seconds == 0:
        raise DataError("no zero")
    emit(os.getpid())
    time.sleep(seconds)


def killed(while_writing: bool, emit: Emit) -> None:
    """Kill this process, as the kernel does if memory runs out; optionally while it sends an event."""
    emit("alive")
    if while_writing:
        assert processes._events is not None
        pipe, lock = processes._events
        lock.acquire()
        os.write(pipe.fileno(), b"\0\0")
    os.kill(os.getpid(), signal.SIGKILL)


def killed_once(marker: Path, emit: Emit) -> None:
    """Kill this process unless the marker exists; create the marker first."""
    if not marker.exists():
        if marker.parent.exists():
            marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    emit("done")


def kill_queue(number: int, emit: Emit) -> None:
    """Kill the process of the queue of events."""
    import ray

    queue = emit.__self__  # type: ignore[attr-defined]
    ray.kill(queue.actor, no_restart=False)
    emit(f"done {number}")


def sleep() -> None:
    """Start two workers that sleep, and print their ids."""
    processes.get_context = lambda method: fork_server()  # type: ignore[assignment]
    processes.run_tasks(refuse_zero, [600, 601], 2, lambda pid: print(pid, flush=True))


def refuse_table() -> NoReturn:
    """Fail instead of returning a table."""
    raise GradmeterError("no table")
