"""Receiving requests within limits of size, number and time."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from email.message import Message

from fastapi import HTTPException, Request
from ray.exceptions import RayError
from starlette.requests import ClientDisconnect

from gradmeter.apps.serving.room import NoRoom, Share
from gradmeter.errors import InputError
from gradmeter.sources.samples import Unreadable
from gradmeter.sources.samples.decoding import TooLarge, decode_text

# A body that is too large is read and dropped up to this multiple of the limit, so that the client gets the response
# instead of a broken connection.
_DRAINED = 4
# Memory of a decoded pixel, in RGB or grey in Pillow, and of a character.
_BYTES = 4
# Charsets whose bytes are UTF-8; an empty name says nothing.
_UTF8 = {"", "utf-8", "utf8", "us-ascii", "ascii"}


@dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Attributes:
        largest: largest request body in bytes.
        queue: number of requests that may wait or be answered at the same time; more are refused. Four times as many
            may be received at the same time.
        batch: largest batch.
        patience: seconds within which a request body must arrive.
        pixels: number of pixels of the largest image, by its header.
        characters: number of characters of the longest text.
        in_hand: memory in bytes for the content of all requests in progress, encoded and decoded; more are refused.

    Raises:
        InputError: for values with which no request could be answered.
    """

    largest: int = 16 * 2**20
    queue: int = 256
    batch: int = 32
    patience: float = 30.0
    pixels: int = 16 * 2**20
    characters: int = 100_000
    in_hand: int = 256 * 2**20

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("largest", "queue", "batch", "pixels", "characters", "in_hand"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}={getattr(self, name)}; expected at least 1")
        if not self.patience > 0:
            raise InputError(f"patience={self.patience:g}; expected more than 0 seconds")
        # Twice, because a request must leave as much memory free as it takes.
        needed = 2 * (self.largest + _BYTES * max(self.pixels, self.characters))
        if self.in_hand < needed:
            raise InputError(
                f"in_hand={self.in_hand:,} bytes; expected at least {needed:,}, twice the memory of the largest "
                "request; increase it, or reduce the limits of bytes, pixels or characters"
            )

    @property
    def receiving(self) -> int:
        """Number of requests that may be received at the same time."""
        return 4 * self.queue


async def received(request: Request, limits: Limits, share: Share, *, texts: bool = False) -> bytes:
    """Receive the body of a request.

    Args:
        request: the request.
        limits: limits of size and time.
        share: takes memory for the body.
        texts: whether the body is a text instead of the content of an image.

    Raises:
        HTTPException: 400 for an empty body, 408 if it is late, 413 if it is too large, 415 if it is a form, JSON
            or compressed, or of a type that no text has, or in another charset than UTF-8.
        ClientDisconnect: if the client disconnects.
        NoRoom: if there is no memory for it.
    """
    _require_content(request.headers.get("Content-Type", ""), texts=texts)
    if (encoding := request.headers.get("Content-Encoding", "").lower()) not in ("", "identity"):
        raise HTTPException(415, f"the body is compressed ({encoding!r}); send the content of the file as it is")
    # A body without a length is counted chunk by chunk. Leading zeros are stripped because `int` rejects numbers of
    # more than 4,300 digits.
    length = request.headers.get("Content-Length", "").lstrip("0")
    if not share.fits(min(int(length or "0"), limits.largest)):
        raise NoRoom
    content, size, is_full = bytearray(), 0, False
    too_large = f"the body has more than {limits.largest:,} bytes; send a smaller file"
    try:
        async with asyncio.timeout(limits.patience):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limits.largest and not is_full:
                    try:
                        share.take(len(chunk))
                        content += chunk
                    except NoRoom:
                        is_full = True
                elif size > _DRAINED * limits.largest:
                    raise HTTPException(413, too_large, {"Connection": "close"})
                if is_full or size > limits.largest:
                    content.clear()
                    share.release()
    except RayError as error:  # of the proxy, in some of the cases in which the client has disconnected
        raise ClientDisconnect from error
    except TimeoutError as error:
        reason = f"the body did not arrive within {limits.patience:g} seconds"
        raise HTTPException(408, reason, {"Connection": "close"}) from error
    if size > limits.largest:
        raise HTTPException(413, too_large)
    if is_full:
        raise NoRoom
    if not content:
        raise HTTPException(400, "the body is empty; send the content of a file by HTTP/1.1")
    return bytes(content)


def _require_content(content_type: str, *, texts: bool) -> None:
    """Refuse bodies that hold the content of a file, or a text, in another form.

    Raises:
        HTTPException: 415 for such a type.
    """
    kind = content_type.partition(";")[0].strip().lower()
    with_curl = "as with curl --data-binary " + ("@text.txt -H 'Content-Type: text/plain'" if texts else "@image.png")
    if (is_form := kind.startswith("multipart/")) or kind == "application/json":
        raise HTTPException(
            415,
            f"the body is {'a form' if is_form else 'JSON'}; send the content of the file or the text itself instead, "
            + with_curl,
        )
    # A classifier of texts would judge the body of every other type as a text, such as text=... of a form. curl gives
    # the type of a form to images, too, but a form is no image.
    if texts and kind and not kind.startswith("text/") and kind != "application/octet-stream":
        raise HTTPException(
            415,
            f"the body has the type {kind!r}; expected text/plain: send the text itself, {with_curl}",
        )
    # A text in UTF-16 or ISO-2022-JP may be valid UTF-8, but as another text.
    header = Message()
    header["Content-Type"] = content_type
    if texts and (charset := header.get_content_charset("")) not in _UTF8:
        raise HTTPException(415, f"the body has the charset {charset!r}; expected utf-8: encode the text as UTF-8")


def decoded_bytes(content: bytes, limits: Limits, pixels: Callable[[bytes], int] | None) -> int:
    """Return the memory in bytes that a file will take once it is decoded.

    Args:
        content: content of the file.
        limits: limits of pixels and characters.
        pixels: reads the number of pixels from the header of an image; None for texts.

    Raises:
        HTTPException: 400 if the file cannot be read, 413 if it is too large.
    """
    limit, unit = (limits.characters, "characters") if pixels is None else (limits.pixels, "pixels")
    try:
        size = len(decode_text(content)) if pixels is None else pixels(content)
    except TooLarge as error:
        raise HTTPException(413, f"{error}; expected at most {limit:,} {unit}") from error
    except Unreadable as error:
        raise HTTPException(400, f"the file cannot be read: {error}") from error
    if size > limit:
        raise HTTPException(413, f"the file has {size:,} {unit}; expected at most {limit:,}")
    return _BYTES * size
