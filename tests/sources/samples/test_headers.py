"""Reading a header takes a bounded time, however long the header is."""

import time

import pytest
from PIL import Image

from gradmeter.sources.samples import Unreadable
from gradmeter.sources.samples.decoding import TooLarge
from gradmeter.sources.samples.headers import pixels_in_time
from sources.samples.pictures import LONG_HEADERS, encoded, gradient

pytestmark = pytest.mark.slow


def test_sizes_are_those_of_the_header() -> None:
    assert pixels_in_time(encoded(Image.fromarray(gradient()), "PNG").getvalue()) == 12 * 8
    with pytest.raises(TooLarge):
        pixels_in_time(b"P6\n60000 60000\n255\n")


@pytest.mark.parametrize("kind", LONG_HEADERS)
def test_a_long_header_is_refused_in_time(kind: str) -> None:
    content = LONG_HEADERS[kind](30_000_000)
    start = time.process_time()
    with pytest.raises(Unreadable, match=r"0\.5 seconds"):
        pixels_in_time(content)
    # The limit is half a second, but a busy machine may interrupt late. Without a limit, it takes up to ten seconds.
    assert time.process_time() - start < 3
    assert pixels_in_time(encoded(Image.fromarray(gradient()), "PNG").getvalue()) == 12 * 8
