"""Images read in a process of its own, with bounded memory and time.

A header can lie: a TIFF of 16 x 16 pixels may lie in one tile of a gigabyte, an AVIF of 16 x 16 may hold a frame of 268
megapixels, and decoders have had errors that end the process. A header can be long, too: a TIFF of 8 x 8 pixels may
list four million strips. Whatever an image does, it does it there.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Generic, TypeVar, cast

from PIL import Image

from gradmeter.sources.samples.decoding import TooLarge
from gradmeter.sources.samples.sample import Unreadable

_STATM_DATA = 5  # the field of /proc/self/statm that counts pages of data
_ERRORS = {error.__name__: error for error in (Unreadable, TooLarge)}

Result = TypeVar("Result", bound=Image.Image | int)


class Isolated(Generic[Result]):
    """A function of images in another process, which is started anew where an image has ended it.

    The process ends with this one. It sends back numbers, pixels and words, nothing that is unpickled. Of threads that
    call at the same time one waits for the other.

    Args:
        function: from the content of a file to an image or a number; it is sent to the process.
        memory: bytes that one image may take there (on Linux).
        seconds: that it may take.
    """

    def __init__(self, function: Callable[[bytes], Result], *, memory: int, seconds: float) -> None:
        self._function, self._memory, self._seconds = function, memory, seconds
        self._lock = threading.Lock()
        self._ready = False
        self._start()

    def __call__(self, content: bytes) -> Result:
        """What the function makes of an image; raises `Unreadable`."""
        with self._lock:
            return self._answer(content)

    def _answer(self, content: bytes) -> Result:
        if self._process.poll() is not None:
            self._start()
        try:
            if not self._ready:
                self._connection.recv_bytes()
                self._ready = True
            self._connection.send_bytes(content)
            if not self._connection.poll(self._seconds):
                self.close()
                raise Unreadable(f"it takes more than {self._seconds:g} seconds to read")
            head = json.loads(self._connection.recv_bytes())
            if "reason" in head:
                raise _ERRORS[head["error"]](head["reason"])
            if "number" in head:
                return cast(Result, head["number"])
            image = Image.frombytes(head["mode"], tuple(head["size"]), self._connection.recv_bytes())
            return cast(Result, image)
        except (EOFError, OSError) as error:
            self.close()
            raise Unreadable("the process that reads it came to an unexpected end") from error

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
        self._connection.send((self._function, self._memory))
        self._ready = False


def _main() -> None:
    connection = Connection(int(sys.argv[1]))
    function, memory = connection.recv()
    _limit(memory)
    connection.send_bytes(b"ready")
    with suppress(EOFError, ConnectionError):  # the other process has ended, perhaps in the middle of a message
        while True:
            for message in _messages(function, connection.recv_bytes()):
                connection.send_bytes(message)


def _messages(function: Callable[[bytes], Image.Image | int], content: bytes) -> list[bytes]:
    """What `Isolated` is sent of one image."""
    try:
        result = function(content)
        if isinstance(result, int):
            return [json.dumps({"number": result}).encode()]
        head = {"mode": result.mode, "size": result.size}
        return [json.dumps(head).encode(), result.tobytes()]
    except MemoryError:
        reason, error = "not enough memory to read it", Unreadable
    except Unreadable as refusal:
        reason, error = str(refusal), type(refusal)
    return [json.dumps({"reason": reason, "error": error.__name__}).encode()]


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
