"""Tasks for worker processes, which import them by name."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gradmeter.errors import DataError
from gradmeter.runs.engines import processes

Emit = Callable[[object], None]


def square(item: tuple[Path, int], emit: Emit) -> None:
    folder, number = item
    for share in (0.5, 1.0):
        emit((number, share))
    (folder / f"{number}.txt").write_text(f"{number**2} {os.getpid()} {torch.get_num_threads()}")


def refuse_zero(seconds: int, emit: Emit) -> None:
    """Fail at once for 0, else take so many seconds."""
    if seconds == 0:
        raise DataError("no zero")
    emit(os.getpid())
    time.sleep(seconds)


def killed(while_writing: bool, emit: Emit) -> None:
    """Die as if for want of memory, if wanted with the lock of the event queue in hand."""
    emit("alive")
    time.sleep(0.2)
    if while_writing:
        assert processes._queue is not None
        processes._queue._wlock.acquire()
    os.kill(os.getpid(), signal.SIGKILL)


def killed_once(marker: Path, emit: Emit) -> None:
    """Die likewise unless the marker is there."""
    if not marker.exists():
        if marker.parent.exists():
            marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    emit("done")


def where(item: None, emit: Emit) -> None:
    """Tell the current folder."""
    emit(os.getcwd())
