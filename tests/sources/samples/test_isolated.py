"""An image that crashes or blocks its decoder does not affect this process or the next image."""

import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import psutil
import pytest
from PIL import Image

from gradmeter.sources.samples import Unreadable
from gradmeter.sources.samples.decoding import ImageDecoder, TooLarge, pixels
from gradmeter.sources.samples.isolated import Isolated
from sources.samples.pictures import encoded, gradient, in_one_tile

pytestmark = pytest.mark.slow

PICTURE = encoded(Image.fromarray(gradient()), "PNG").getvalue()


@pytest.fixture
def decoder() -> Iterator[Isolated[Image.Image]]:
    decoder = Isolated(ImageDecoder("RGB"), memory=100 * 2**20, seconds=60)
    yield decoder
    decoder.close()


def test_pixels_are_those_of_the_decoder(decoder: Isolated[Image.Image]) -> None:
    for _ in range(2):
        assert np.array_equal(decoder(PICTURE), gradient())
    with pytest.raises(Unreadable):
        decoder(b"hello")
    assert decoder(PICTURE).size == (12, 8)


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_memory_is_bounded(decoder: Isolated[Image.Image]) -> None:
    side = 9_000
    with pytest.raises(Unreadable, match="memory"):
        decoder(encoded(Image.new("L", (side, side)), "PNG").getvalue())
    tiled = in_one_tile(16, 16_000, zlib.compress(bytes(16_000**2)))
    decoder = Isolated(ImageDecoder("L"), memory=100 * 2**20, seconds=60)
    with suppress(Unreadable):
        decoder(tiled)
    assert decoder(PICTURE).size == (12, 8)
    decoder.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"__import__('time').sleep(600)", "0.5 seconds"),
        (b"__import__('os')._exit(1)", "process"),
        (b"1 / 0", "process"),
    ],
)
def test_one_that_hangs_or_ends_its_decoder_does_not_end_this_process(content: bytes, reason: str) -> None:
    decoder = Isolated(eval, memory=2**30, seconds=0.5)
    for _ in range(2):
        with pytest.raises(Unreadable, match=reason):
            decoder(content)
    image = decoder(b"__import__('PIL.Image').Image.new('L', (3, 2), 7)")
    assert (image.mode, image.size, image.getpixel((0, 0))) == ("L", (3, 2), 7)
    decoder.close()


def test_numbers_come_back_and_kinds_of_errors() -> None:
    sizes = Isolated(pixels, memory=100 * 2**20, seconds=60)
    assert sizes(PICTURE) == 12 * 8
    with pytest.raises(TooLarge):
        sizes(b"P6\n60000 60000\n255\n")
    sizes.close()


def test_threads_get_the_answers_to_their_own_images(decoder: Isolated[Image.Image]) -> None:
    sides = range(1, 60)
    contents = [encoded(Image.new("L", (side, side)), "PNG").getvalue() for side in sides]
    with ThreadPoolExecutor(8) as pool:
        assert [image.width for image in pool.map(decoder, contents)] == [*sides]


def test_its_process_ends_with_the_one_that_began_it() -> None:
    code = (
        "import os; from gradmeter.sources.samples.decoding import ImageDecoder; "
        "from gradmeter.sources.samples.isolated import Isolated; "
        f"d = Isolated(ImageDecoder('L'), memory=2**30, seconds=9); d({PICTURE!r}); "
        "print(d._process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    pid = int(subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False).stdout)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
