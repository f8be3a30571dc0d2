"""The size of an image from its header, in a bounded time."""

from __future__ import annotations

import gc
import signal
from types import FrameType

from gradmeter.sources.samples.decoding import pixels
from gradmeter.sources.samples.sample import Unreadable

# Until the first interruption, and from one to the next: a destructor swallows an exception that is raised in it.
_SECONDS, _AGAIN = 0.5, 0.05


def pixels_in_time(content: bytes) -> int:
    """`pixels`, or `Unreadable` where the header takes more than half a second of the processor.

    Formats have headers as long as the file: comments, fill bytes, tables of strips. Only the main thread of a process
    can be interrupted so.

    Args:
        content: of the file.
    """
    signal.signal(signal.SIGVTALRM, _refuse)
    collects = gc.isenabled()
    gc.disable()  # so do the callbacks of a collection
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS, _AGAIN)
    try:
        return pixels(content)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if collects:
            gc.enable()


def _refuse(number: int, frame: FrameType | None) -> None:
    raise Unreadable(f"its header takes more than {_SECONDS:g} seconds to read")
