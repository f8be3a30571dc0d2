"""Images decoded in a process of its own, with bounded memory and time.

A header can lie: a TIFF of 16 x 16 pixels may lie in one tile of a gigabyte, an AVIF of 16 x 16 may hold a frame of 268
megapixels, and decoders have had errors that end the process. Whatever an image does, it does it there.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from gradmeter.samples.sample import Unreadable

_STATM_DATA = 5  # the field of /proc/self/statm that counts pages of data


class IsolatedDecoder:
    """A decoder of images in another process, which is started anew where an image has ended it.

    The process ends with this one. It sends back pixels and words, nothing that is unpickled.

    Args:
        decoder: from the content of a file to an image; it is sent to the process.
        memory: bytes that decoding one image may take there (on Linux).
        seconds: that it may take.
    """

    def __init__(self, decoder: Callable[[bytes], Image.Image], *, memory: int, seconds: float) -> None:
        self._decoder, self._memory, self._seconds = decoder, memory, seconds
        self._ready = False
        self._start()

    def __call__(self, content: bytes) -> Image.Image:
        """Decode an image; raises `Unreadable`."""
        if self._process.poll() is not None:
            self._start()
        if not self._ready:
            self._connection.recv_bytes()
            self._ready = True
        try:
            self._connection.send_bytes(content)
            if not self._connection.poll(self._seconds):
                self.close()
                raise Unreadable(f"it takes more than {self._seconds:g} seconds to decode")
            head = json.loads(self._connection.recv_bytes())
            if "reason" in head:
                raise Unreadable(head["reason"])
            return Image.frombytes(head["mode"], tuple(head["size"]), self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            self.close()
            raise Unreadable("its decoder came to an unexpected end") from error

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _start(self) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            # A session of its own: Ctrl-C at a terminal is for the server, which answers what it has taken.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._connection.send((self._decoder, self._memory))
        self._ready = False


def _main() -> None:
    connection = Connection(int(sys.argv[1]))
    decoder, memory = connection.recv()
    _limit(memory)
    connection.send_bytes(b"ready")
    with suppress(EOFError):  # the other process has ended
        while True:
            _answer(connection, decoder, connection.recv_bytes())


def _answer(connection: Connection, decoder: Callable[[bytes], Image.Image], content: bytes) -> None:
    try:
        image = decoder(content)
        pixels = image.tobytes()
    except Unreadable as error:
        connection.send_bytes(json.dumps({"reason": str(error)}).encode())
    except MemoryError:
        connection.send_bytes(json.dumps({"reason": "not enough memory to decode it"}).encode())
    else:
        connection.send_bytes(json.dumps({"mode": image.mode, "size": image.size}).encode())
        connection.send_bytes(pixels)


def _limit(memory: int) -> None:
    """Bound what this process may take beyond what it has."""
    if sys.platform != "linux":
        return
    has = int(Path("/proc/self/statm").read_text().split()[_STATM_DATA]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = has + memory
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    _main()
