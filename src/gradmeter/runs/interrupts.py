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
def interrupts_held_back(*others: signal.Signals) -> Iterator[None]:
    """Hold Ctrl-C, and other signals, back in this process and in processes that start in the block.

    A terminal sends it to all processes of a command, and one that is still importing modules would show a traceback,
    as would one that this process does not finish starting. This process receives it after the block; the others must
    ignore it before they do other work.
    """
    held: list[tuple[int, FrameType | None]] = []
    numbers = (signal.SIGINT, *others)
    is_main = threading.current_thread() is threading.main_thread()
    handlers = {number: handler for number in numbers if is_main and callable(handler := signal.getsignal(number))}
    # The mask holds signals back in the other processes, but here another thread may receive them for the main thread.
    for number in handlers:
        signal.signal(number, lambda number, frame: held.append((number, frame)))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if held:
            first, frame = held[0]
            handlers[signal.Signals(first)](first, frame)


@contextmanager
def exits_on(*numbers: signal.Signals) -> Iterator[None]:
    """Let signals that would end this process at once end it as SystemExit while the block runs, so that it cleans up.

    The exit code is the one that shells report. A signal that is ignored, as by nohup, or that has a handler is left
    alone. Has an effect only in the main thread.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    is_main = threading.current_thread() is threading.main_thread()
    fatal = [number for number in numbers if is_main and signal.getsignal(number) is signal.SIG_DFL]
    for number in fatal:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in fatal:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Ignore Ctrl-C while the block cleans up, also after a first Ctrl-C. Has an effect only in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


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
