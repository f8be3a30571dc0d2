"""What the server takes upon itself: how much, how many, how long."""

import asyncio
from dataclasses import dataclass

from fastapi import HTTPException, Request

from gradmeter.errors import InputError

# Times the largest image that are received and dropped, so that who sends it reads the answer; then it hangs up.
_HEARD_OUT = 4


@dataclass(frozen=True)
class Limits:
    """What the server takes upon itself.

    Attributes:
        largest: bytes of the largest image.
        queue: requests that wait or are answered at once; more are refused.
        batch: images that the network is given at once, at most.
        patience: seconds within which an image must arrive.

    Raises:
        InputError: for values that leave nothing to do.
    """

    largest: int = 16 * 2**20
    queue: int = 256
    batch: int = 32
    patience: float = 30.0

    def __post_init__(self) -> None:
        """Check them."""
        for name in ("largest", "queue", "batch"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; expected at least 1")
        if not self.patience > 0:
            raise InputError(f"patience={self.patience:g}; expected seconds, more than 0")


async def received(request: Request, limits: Limits) -> bytes:
    """What was sent, if there is something, it is small enough and comes in time.

    Raises:
        HTTPException: 400, 408, 413 or 415 otherwise.
    """
    if request.headers.get("Content-Type", "").lower().startswith("multipart/"):
        raise HTTPException(415, "a form; send the image itself, as curl --data-binary @image.png does")
    content, size = bytearray(), 0
    too_large = f"more than {limits.largest:,} bytes; send a smaller image"
    try:
        async with asyncio.timeout(limits.patience):
            async for part in request.stream():
                size += len(part)
                if size <= limits.largest:
                    content += part
                elif size > _HEARD_OUT * limits.largest:
                    raise HTTPException(413, too_large, {"Connection": "close"})
    except TimeoutError as error:
        reason = f"the image did not arrive within {limits.patience:g} seconds"
        raise HTTPException(408, reason, {"Connection": "close"}) from error
    if size > limits.largest:
        raise HTTPException(413, too_large)
    if not content:
        raise HTTPException(400, "nothing was sent; expected the content of an image file")
    return bytes(content)
