"""A measurement in a process of its own: its memory is its own, and whatever ends it ends nothing else."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Result = TypeVar("Result")

_LONGEST = 140  # characters of another package's message that people get to see


class MeasurementError(Exception):
    """A measurement that gave no result; the message is one line for the page."""


def alone(task: Callable[..., Result], *arguments: Any, seconds: float) -> Result:
    """Run task(*arguments) in a new process and return its result.

    Args:
        task: a function of a module; arguments and result must be picklable.
        arguments: handed on.
        seconds: after which the process is stopped.

    Raises:
        MeasurementError: if the task raises, is killed or takes too long.
    """
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, task, arguments), daemon=True)
    process.start()
    sender.close()
    try:
        if not receiver.poll(seconds):
            raise MeasurementError(f"stopped after {seconds:g} s without a result")
        result, error = receiver.recv()
    except EOFError:
        raise MeasurementError("its process was killed, perhaps for memory") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if error is not None:
        raise MeasurementError(error)
    answer: Result = result
    return answer


def one_line(error: BaseException) -> str:
    """Kind and message of an error, in one line that is not too long for a table."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1].rstrip() + "\N{HORIZONTAL ELLIPSIS}"


def _answer(sender: Connection, task: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    warnings.simplefilter("ignore")
    try:
        sender.send((task(*arguments), None))
    except Exception as error:  # whatever another package raises is a result here
        sender.send((None, one_line(error)))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
