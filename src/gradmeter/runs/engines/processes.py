"""Running independent tasks in worker processes on this machine, one thread each.

With one thread per worker, results do not depend on the number of cores, and small networks train faster in parallel
than one after the other with several threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Lock
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from gradmeter.errors import GradmeterError
from gradmeter.runs.interrupts import exits_on, interrupts_held_back, interrupts_ignored

Item = TypeVar("Item")
Event = TypeVar("Event")

# Parameters of glibc's mallopt, from malloc.h, and the largest mmap threshold that it accepts.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_LARGEST_THRESHOLD = 32 * 2**20

# Seconds to wait for the last events: a process that a killed worker started may hold the pipe open.
_LAST_EVENTS = 10

_events: tuple[Connection, Lock] | None = None  # in a worker: sends events to the parent process, one at a time


class WorkerError(GradmeterError, RuntimeError):
    """A worker process died before its task was done."""


def run_tasks(
    task: Callable[[Item, Callable[[Event], None]], None],
    items: Sequence[Item],
    workers: int,
    on_event: Callable[[Event], None],
) -> None:
    """Run task(item, emit) for every item, and call on_event in this process with every event that a task emits.

    The workers exit when this process exits, even if it is killed: they wait for the end of a pipe that only this
    process holds open.

    Args:
        task: a module-level function; items, events and errors must be picklable.
        items: the items, one task for each.
        workers: largest number of worker processes.
        on_event: called from a thread of this process.

    Raises:
        The first error that a task raises, after the other workers were stopped.
        WorkerError: if a worker was killed.
    """
    if not items:
        return
    context = get_context("spawn")
    stop, alive = context.Pipe(duplex=False)
    received, events = context.Pipe(duplex=False)
    listener = threading.Thread(target=_listen, args=(received, on_event), daemon=True)
    listener.start()
    pool = ProcessPoolExecutor(min(workers, len(items)), context, _prepare, (stop, events, context.Lock()))
    others = active_children()
    try:
        with exits_on(signal.SIGTERM, signal.SIGHUP):
            with interrupts_held_back():
                futures = [pool.submit(_work, task, item) for item in items]
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
    except BrokenProcessPool as error:
        raise WorkerError(
            "a worker process was killed, perhaps because memory ran out; run the same command again, it continues "
            "where it stopped"
        ) from error
    except BaseException:
        # Killed, because a worker that still imports modules would not see the end of the pipe for seconds.
        with interrupts_ignored():
            for process in active_children():
                if process not in others:
                    process.kill()
            pool.shutdown(cancel_futures=True)
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        alive.close()
        # No worker is left to send events: the listener gets the last ones, and then the end of the pipe.
        events.close()
        listener.join(_LAST_EVENTS)


def _listen(received: Connection, on_event: Callable[[Any], None]) -> None:
    with received:
        while True:
            try:
                event = received.recv()
            except (EOFError, OSError):  # an OSError if a worker was killed while it sent an event
                return
            on_event(event)


def _prepare(stop: Connection, events: Connection, lock: Lock) -> None:
    global _events
    _events = events, lock
    # Ctrl-C interrupts the whole process group; only the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_at_end_of, args=(stop,), daemon=True).start()
    prepare_worker()


def prepare_worker() -> None:
    """Use one thread in this process, and keep freed memory."""
    import torch  # not above: the gate of a server loads this module, and does not need PyTorch

    torch.set_num_threads(1)
    threadpool_limits(1)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc reuse large blocks; by default it returns them, and allocating new pages doubles the training time."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def _exit_at_end_of(stop: Connection) -> None:
    stop.poll(None)
    os._exit(1)


def _work(task: Callable[[Any, Callable[[Any], None]], None], item: Any) -> None:
    task(item, _emit)


def _emit(event: Any) -> None:
    assert _events is not None
    events, lock = _events
    with lock:
        events.send(event)
