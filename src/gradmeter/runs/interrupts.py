"""Ctrl-C while processes start."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Hold Ctrl-C back in this thread and in processes that start in the block.

    A terminal sends it to all processes of a command, and one that is still importing modules would show a traceback.
    This process receives it after the block; the others must ignore it before they do other work.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
