"""Ctrl-C while processes start or are stopped, and in code that swallows it."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back in this process and in processes that start in the block.

    A terminal sends it to all processes of a command, and one that is still importing modules would show a traceback,
    as would one that this process does not finish starting. This process receives it after the block; the others must
    ignore it before they do other work.
    """
    held: list[tuple[int, FrameType | None]] = []
    handler = signal.getsignal(signal.SIGINT)
    # The mask holds the signal back in the other processes, but here another thread may receive it for the main thread.
    has_handler = callable(handler) and threading.current_thread() is threading.main_thread()
    if has_handler:
        signal.signal(signal.SIGINT, lambda number, frame: held.append((number, frame)))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if has_handler:
            signal.signal(signal.SIGINT, handler)
            if held and callable(handler):
                handler(*held[0])


@contextmanager
def interrupts_ignored(*others: signal.Signals) -> Iterator[None]:
    """Ignore Ctrl-C while the block cleans up, also after a first Ctrl-C. Has an effect only in the main thread.

    Args:
        others: other signals to ignore.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *others)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupts_kept() -> Iterator[None]:
    """Let Ctrl-C end the block as KeyboardInterrupt, at the latest after it, although its code may swallow that.

    Python ignores an exception in the callback of a weak reference, with a traceback, and a library may turn it into an
    error of its own. Has an effect only in the main thread.
    """
    handler, show = signal.getsignal(signal.SIGINT), sys.unraisablehook
    if not callable(handler) or threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupts: list[KeyboardInterrupt] = []

    def keep(number: int, frame: FrameType | None) -> None:
        try:
            handler(number, frame)
        except KeyboardInterrupt as interrupt:
            interrupts.append(interrupt)
            raise

    def show_others(ignored: Any) -> None:
        if ignored.exc_type is not KeyboardInterrupt:
            show(ignored)

    signal.signal(signal.SIGINT, keep)
    sys.unraisablehook = show_others
    try:
        yield
    except Exception as error:
        if interrupts:
            raise KeyboardInterrupt from error
        raise
    finally:
        sys.unraisablehook = show
        signal.signal(signal.SIGINT, handler)
    if interrupts:
        raise KeyboardInterrupt
