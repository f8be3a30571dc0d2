"""Decompression bombs take little memory and time of the server, and other requests are answered."""

import io
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import numpy as np
import psutil
import pytest
from PIL import Image

from apps.serving.small import ADDRESS, assert_right, png, post, processes, running
from sources.samples.pictures import LONG_HEADERS, encoded, in_one_tile

pytest.importorskip("ray", reason="the extra serve is not installed")
pytest.importorskip("ray.serve", reason="the extra serve is not installed")

# Ray leaves resources open and forks a process with threads, which would be errors here.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]

MIB = 2**20
PIXELS, IN_HAND = 2**20, 32 * MIB
# One process reads headers, one image at a time: 192 MiB and 24 bytes a pixel (`apps.serving.isolation`). If it was
# killed, the next one starts an interpreter of about 64 MiB. The server holds the bodies.
ONE_IMAGE = 192 * MIB + 24 * PIXELS + 64 * MIB + IN_HAND


@pytest.fixture(scope="module", autouse=True)
def server(cluster: object) -> Iterator[None]:
    with running(largest=4 * MIB, pixels=PIXELS, in_hand=IN_HAND):
        for _ in range(3):
            assert_right(post(png(200)), 200)
        yield


@dataclass
class Seen:
    """Peak memory of the server during an attack, and the latencies of ordinary requests."""

    before: int
    peak: int = 0
    seconds: list[float] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)

    @property
    def taken(self) -> int:
        """Peak memory minus memory before the attack, in bytes."""
        return self.peak - self.before


def taken() -> int:
    total = 0
    for one in processes():
        try:
            memory = one.memory_info()
            total += memory.rss - memory.shared
        except psutil.NoSuchProcess:
            pass
    return total


@contextmanager
def watched() -> Iterator[Seen]:
    """Watch the memory and send ordinary requests while the block runs."""
    seen, stop = Seen(taken()), threading.Event()

    def look() -> None:
        while not stop.wait(0.02):
            seen.peak = max(seen.peak, taken())

    def ask() -> None:
        while not stop.wait(0.05):
            begun = time.monotonic()
            seen.codes[post(png(200)).status_code] += 1
            seen.seconds.append(time.monotonic() - begun)
            begun = time.monotonic()
            assert httpx.get(f"{ADDRESS}/health", timeout=5).status_code == 200

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(one) for one in (look, ask)]
        try:
            yield seen
        finally:
            time.sleep(0.2)
            stop.set()
        for one in running:
            one.result()


def sent(content: bytes, times: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(min(times, 32)) as pool:
        return [*pool.map(post, [content] * times)]


def square(side: int, kind: str, **options: object) -> bytes:
    return encoded(Image.new("L", (side, side)), kind, **options).getvalue()


def sixteen_bits(side: int) -> bytes:
    return encoded(Image.fromarray(np.zeros((side, side), np.uint16)), "PNG").getvalue()


def frames(side: int, kind: str, **options: object) -> bytes:
    more = [Image.new("L", (side, side), shade) for shade in (1, 2, 3)]
    return square(side, kind, save_all=True, append_images=more, **options)


def upside_down(side: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return square(side, "JPEG", exif=exif)


BOMBS: dict[str, Callable[[int], bytes]] = {
    "PNG": lambda side: square(side, "PNG"),
    "PNG of 16 bits": sixteen_bits,
    "JPEG turned by EXIF": upside_down,
    "progressive JPEG": lambda side: square(side, "JPEG", progressive=True),
    "JPEG 2000": lambda side: square(side, "JPEG2000"),
    "TIFF": lambda side: square(side, "TIFF", compression="tiff_deflate"),
    "TIFF in one large tile": lambda side: in_one_tile(16, side // 16 * 16, zlib.compress(bytes(side**2))),
    "frames of GIF": lambda side: frames(side, "GIF"),
    "frames of TIFF": lambda side: frames(side, "TIFF", compression="tiff_deflate"),
    "frames of WEBP": lambda side: frames(side, "WEBP"),
    "AVIF": lambda side: square(side, "AVIF", speed=10),
}


@pytest.mark.parametrize("name", BOMBS)
def test_more_pixels_than_are_taken_are_refused_by_the_header(name: str) -> None:
    kind = name.split()[-1]
    Image.init()
    if kind in ("WEBP", "AVIF") and kind not in Image.SAVE:
        pytest.skip(f"Pillow writes no {kind} here")
    answer = post(BOMBS[name](1056))
    assert answer.status_code == 413, answer.text
    assert "1,115,136 pixels" in answer.json()["detail"]
    assert answer.json()["detail"].count("\n") == 0
    assert post(BOMBS[name](64)).status_code == 200


def test_bombs_take_neither_memory_nor_time() -> None:
    """Without limits, ten bombs took gigabytes, and an ordinary request waited for all of them."""
    bomb = square(9_400, "PNG")
    with watched() as seen:
        codes = {answer.status_code for answer in sent(bomb, 10)}
    assert codes == {413}
    assert seen.taken < 64 * MIB
    assert set(seen.codes) == {200}
    assert max(seen.seconds) < 2


@pytest.mark.exhaustive
def test_a_long_header_takes_little_memory() -> None:
    """Headers read in threads of the server took a gigabyte with four requests."""
    with watched() as seen:
        codes = {answer.status_code for answer in sent(LONG_HEADERS["strips of TIFF"](4_000_000), 4)}
    assert codes == {400}
    assert seen.taken < ONE_IMAGE
    assert set(seen.codes) == {200}


@pytest.mark.parametrize("side", [14_000, 200_000])
def test_what_pillow_does_not_open_is_too_large_as_well(side: int) -> None:
    content = bytearray(square(64, "PNG"))
    head = content.index(b"IHDR")
    content[head + 4 : head + 12] = side.to_bytes(4) * 2
    content[head + 17 : head + 21] = zlib.crc32(content[head : head + 17]).to_bytes(4)
    assert post(bytes(content)).status_code == 413


def test_what_is_allowed_is_bounded_together() -> None:
    """Of a hundred requests of the largest allowed size, some are answered and the others refused at once."""
    allowed = encoded(Image.effect_noise((1024, 1024), 90), "PNG").getvalue()
    assert len(allowed) > MIB / 2
    with watched() as seen:
        answers = sent(allowed, 100)
    codes = Counter(answer.status_code for answer in answers)
    assert set(codes) == {200, 503}
    assert all(answer.headers["Retry-After"] == "1" for answer in answers if answer.status_code == 503)
    # Beside what is counted, allocators keep what other threads may use again.
    assert seen.taken < 5 * IN_HAND
    # Large ones leave room for small ones.
    assert set(seen.codes) == {200}
    assert post(allowed).status_code == 200


@pytest.mark.exhaustive
def test_those_who_go_away_do_not_free_what_is_still_held() -> None:
    allowed = square(1024, "PNG")
    with watched() as seen:
        for _ in range(60):
            with pytest.raises(httpx.TimeoutException):
                httpx.post(f"{ADDRESS}/judge", content=allowed, timeout=0.001)
    assert seen.taken < 4 * IN_HAND
    until = time.monotonic() + 30
    while "gradmeter_in_hand_bytes 0.0" not in httpx.get(f"{ADDRESS}/metrics").text:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert post(allowed).status_code == 200


@pytest.mark.exhaustive
def test_a_header_that_lies_takes_no_more_than_one_that_does_not() -> None:
    Image.init()
    if "AVIF" not in Image.SAVE:
        pytest.skip("Pillow writes no AVIF here")
    content = bytearray(square(9_000, "AVIF", speed=10))
    place = content.index(b"ispe") + 8
    content[place : place + 8] = (16).to_bytes(4) * 2
    assert Image.open(io.BytesIO(content)).size == (16, 16)
    with watched() as seen:
        sent(bytes(content), 4)
    assert seen.taken < ONE_IMAGE
    assert_right(post(png(200)), 200)
