"""What reading one image may take, its header as its pixels."""

from __future__ import annotations

from collections.abc import Callable

from gradmeter.sources.samples.isolated import Isolated, Result

# Bytes in all and for each pixel (JPEG 2000 takes 20), and seconds.
_MEMORY, _MEMORY_PER_PIXEL, _SECONDS = 192 * 2**20, 24, 5.0


def isolated(function: Callable[[bytes], Result], pixels: int) -> Isolated[Result]:
    """A function of images in a process of its own.

    Args:
        function: from what is sent to an image or a number.
        pixels: of the largest image.
    """
    return Isolated(function, memory=_MEMORY + _MEMORY_PER_PIXEL * pixels, seconds=_SECONDS)
