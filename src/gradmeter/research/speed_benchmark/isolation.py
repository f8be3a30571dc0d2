"""Measurements in separate processes: each has its own memory, and a crash ends only that measurement."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from gradmeter.runs.interrupts import interrupts_held_back

Result = TypeVar("Result")

_MAX_CHARACTERS = 140  # of an error message on the page


class MeasurementError(Exception):
    """A measurement failed; the message is one line for the page."""


def run_isolated(task: Callable[..., Result], *arguments: Any, seconds: float) -> Result:
    """Run task(*arguments) in a new process and return its result.

    Args:
        task: a module-level function; its arguments and its result must be picklable.
        arguments: passed to the task.
        seconds: time limit, after which the process is killed.

    Raises:
        MeasurementError: if the task raises, is killed or exceeds the time limit.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_result, args=(sender, task, arguments), daemon=True)
    with interrupts_held_back():
        process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise MeasurementError(f"stopped after {seconds:g} s without a result")
        answer: tuple[Result, str | None] = receiver.recv()
    except EOFError:
        raise MeasurementError("the process was killed, perhaps because memory ran out") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    result, error = answer
    if error is not None:
        raise MeasurementError(error)
    return result


def one_line(error: BaseException) -> str:
    """Type and message of an error in one line, cut to the width of a table."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _send_result(sender: Connection, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent handles it
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    warnings.simplefilter("ignore")
    try:
        sender.send((task(*arguments), None))
    except Exception as error:  # any error of a measured package is a result
        sender.send((None, one_line(error)))


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
