"""Independent tasks in worker processes of this machine, one thread each.

One thread per worker makes results independent of the number of cores, and small networks train faster side by side
than one after the other on several threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.queues import Queue
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

from gradmeter.errors import GradmeterError

Item = TypeVar("Item")
Event = TypeVar("Event")

# From glibc's malloc.h; the threshold is the largest that it accepts.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_THRESHOLD = 32 * 2**20

# Seconds in which the last events surely arrive.
_LAST_EVENTS = 10

_queue: Queue[Any] | None = None  # of this worker, to its parent


class WorkerError(GradmeterError, RuntimeError):
    """A worker process ended without an answer."""


def run_tasks(
    task: Callable[[Item, Callable[[Event], None]], None],
    items: Sequence[Item],
    workers: int,
    on_event: Callable[[Event], None],
) -> None:
    """Run task(item, emit) for every item; what a task emits arrives at on_event, in this process.

    Workers end when this process ends, however it ends: they hold one end of a pipe whose other end only it has.

    Args:
        task: a function of a module; items, events and errors must be picklable.
        items: one task each.
        workers: processes at once.
        on_event: called from a thread of this process.

    Raises:
        Whatever a task raises, first come, after the other workers were stopped.
        WorkerError: if a worker was killed.
    """
    if not items:
        return
    context = get_context("spawn")
    stop, alive = context.Pipe(duplex=False)
    queue: Queue[Any] = context.Queue()
    listener = threading.Thread(target=_listen, args=(queue, on_event), daemon=True)
    listener.start()
    pool = ProcessPoolExecutor(min(workers, len(items)), context, _prepare, (stop, queue))
    try:
        futures = [pool.submit(_work, task, item) for item in items]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process was killed, perhaps for memory; run the same command again, it goes on where it stood"
        ) from error
    except BaseException:
        alive.close()  # the workers see the end of the pipe and stop in the middle of their tasks
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        alive.close()
        queue.put(None)
        # Not for ever: a worker that was stopped while it wrote to the queue keeps its lock.
        queue.cancel_join_thread()
        listener.join(_LAST_EVENTS)


def _listen(queue: Queue[Any], on_event: Callable[[Any], None]) -> None:
    for event in iter(queue.get, None):
        on_event(event)


def _prepare(stop: Connection, queue: Queue[Any]) -> None:
    global _queue
    _queue = queue
    # Ctrl-C reaches the whole process group; the parent decides what happens then.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(stop,), daemon=True).start()
    prepare_worker()


def prepare_worker() -> None:
    """One thread for this process, and memory that is kept."""
    torch.set_num_threads(1)
    threadpool_limits(1)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks; by default it returns them, and new pages cost half of the training time."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _end_with(stop: Connection) -> None:
    stop.poll(None)
    os._exit(1)


def _work(task: Callable[[Any, Callable[[Any], None]], None], item: Any) -> None:
    assert _queue is not None
    task(item, _queue.put)
