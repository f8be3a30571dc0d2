"""Memory and time limits for reading one image, header and pixels alike."""

from __future__ import annotations

from collections.abc import Callable

from gradmeter.sources.samples.isolated import Isolated, Result

# Bytes in total and per pixel (JPEG 2000 needs 20), and seconds.
_MEMORY, _MEMORY_PER_PIXEL, _SECONDS = 192 * 2**20, 24, 5.0


def isolated(function: Callable[[bytes], Result], pixels: int) -> Isolated[Result]:
    """Return a function that runs `function` in a process of its own, with limited memory and time.

    Args:
        function: takes the content of an image file.
        pixels: number of pixels of the largest image.
    """
    return Isolated(function, memory=_MEMORY + _MEMORY_PER_PIXEL * pixels, seconds=_SECONDS)
