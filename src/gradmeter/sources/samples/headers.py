"""Read the size of an image from its header within a time limit."""

from __future__ import annotations

import gc
import signal
from types import FrameType

from gradmeter.sources.samples.decoding import pixels
from gradmeter.sources.samples.sample import Unreadable

# CPU seconds until the first interruption, and between further ones: Python ignores exceptions raised in a destructor.
_SECONDS, _AGAIN = 0.5, 0.05


def pixels_in_time(content: bytes) -> int:
    """The number of pixels according to the header, as `pixels`, in at most half a second of CPU time.

    A header may be as long as the file: comments, fill bytes, tables of strips. Works only in the main thread of a
    process, because it is interrupted by a signal.

    Args:
        content: the content of the file.

    Raises:
        Unreadable: if it takes longer, or for the reasons of `pixels`.
    """
    signal.signal(signal.SIGVTALRM, _interrupt)
    collects = gc.isenabled()
    gc.disable()  # Python also ignores exceptions raised in the callbacks of a garbage collection
    signal.setitimer(signal.ITIMER_VIRTUAL, _SECONDS, _AGAIN)
    try:
        return pixels(content)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        if collects:
            gc.enable()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise Unreadable(f"its header takes more than {_SECONDS:g} seconds to read")
