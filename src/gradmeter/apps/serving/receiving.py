"""What the server takes upon itself: how much, how many, how long."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import HTTPException, Request

from gradmeter.apps.serving.room import NoRoom, Share
from gradmeter.errors import InputError
from gradmeter.sources.samples import Unreadable
from gradmeter.sources.samples.decoding import TooLarge, decode_text

# Times the largest image that are received and dropped, so that who sends it reads the answer; then it hangs up.
_HEARD_OUT = 4
# Of a decoded pixel, in RGB or grey as Pillow holds them, and of a character.
_BYTES = 4


@dataclass(frozen=True)
class Limits:
    """What the server takes upon itself.

    Attributes:
        largest: bytes of the largest file.
        queue: requests that wait or are answered at once; more are refused. Four times as many may be on their way.
        batch: images that the network is given at once, at most.
        patience: seconds within which an image must arrive.
        pixels: of the largest image, as its header has it.
        characters: of the longest text.
        in_hand: bytes that all requests may take together, sent and decoded; more are refused.

    Raises:
        InputError: for values that leave nothing to do.
    """

    largest: int = 16 * 2**20
    queue: int = 256
    batch: int = 32
    patience: float = 30.0
    pixels: int = 16 * 2**20
    characters: int = 100_000
    in_hand: int = 256 * 2**20

    def __post_init__(self) -> None:
        """Check them."""
        for name in ("largest", "queue", "batch", "pixels", "characters", "in_hand"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; expected at least 1")
        if not self.patience > 0:
            raise InputError(f"patience={self.patience:g}; expected seconds, more than 0")
        # Twice: a request leaves as much free as it takes.
        needed = 2 * (self.largest + _BYTES * max(self.pixels, self.characters))
        if self.in_hand < needed:
            raise InputError(
                f"in_hand={self.in_hand:,} bytes; expected at least {needed:,}, twice what the largest request takes: "
                "allow more, or fewer bytes or pixels of a request"
            )

    @property
    def on_their_way(self) -> int:
        """Requests that may be on their way at once."""
        return 4 * self.queue


async def received(request: Request, limits: Limits, share: Share) -> bytes:
    """What was sent, if there is something, it is small enough and comes in time.

    Args:
        request: that it is sent with.
        limits: of its size and time.
        share: takes the room for it.

    Raises:
        HTTPException: 400, 408, 413 or 415 otherwise.
        NoRoom: if there is no room for it.
    """
    if request.headers.get("Content-Type", "").lower().startswith("multipart/"):
        raise HTTPException(415, "a form; send the image itself, as curl --data-binary @image.png does")
    if (encoding := request.headers.get("Content-Encoding", "identity").lower()) != "identity":
        raise HTTPException(415, f"compressed as {encoding!r}; send the file as it is")
    # Of a body without a length the parts are counted as they come. Python reads no number of 5,000 digits, not even
    # where most are zeros.
    length = request.headers.get("Content-Length", "").lstrip("0")
    if not share.fits(min(int(length or "0"), limits.largest)):
        raise NoRoom
    content, size, is_full = bytearray(), 0, False
    too_large = f"more than {limits.largest:,} bytes; send a smaller image"
    try:
        async with asyncio.timeout(limits.patience):
            async for part in request.stream():
                size += len(part)
                if size <= limits.largest and not is_full:
                    try:
                        share.take(len(part))
                        content += part
                    except NoRoom:
                        is_full = True
                elif size > _HEARD_OUT * limits.largest:
                    raise HTTPException(413, too_large, {"Connection": "close"})
                if is_full or size > limits.largest:
                    content.clear()
                    share.release()
    except TimeoutError as error:
        reason = f"the image did not arrive within {limits.patience:g} seconds"
        raise HTTPException(408, reason, {"Connection": "close"}) from error
    if size > limits.largest:
        raise HTTPException(413, too_large)
    if is_full:
        raise NoRoom
    if not content:
        raise HTTPException(400, "nothing was sent; expected the content of an image file")
    return bytes(content)


def decoded_bytes(content: bytes, limits: Limits, pixels: Callable[[bytes], int] | None) -> int:
    """How many bytes a file will take when it is decoded.

    Args:
        content: of the file.
        limits: of its size.
        pixels: of an image, from its header alone; None where texts are expected.

    Raises:
        HTTPException: 400 or 413 for what will not be decoded.
    """
    most, what = (limits.characters, "characters") if pixels is None else (limits.pixels, "pixels")
    try:
        size = len(decode_text(content)) if pixels is None else pixels(content)
    except TooLarge as error:
        raise HTTPException(413, f"{error}; expected at most {most:,} pixels: send a smaller one") from error
    except Unreadable as error:
        raise HTTPException(400, f"it cannot be read: {error}") from error
    if size > most:
        raise HTTPException(413, f"{size:,} {what}; expected at most {most:,}: send a smaller one")
    return _BYTES * size
