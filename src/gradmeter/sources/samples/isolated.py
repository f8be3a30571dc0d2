"""Decode images in a separate process with bounded memory and time.

The header of an image cannot be trusted: a TIFF of 16 x 16 pixels may have one tile of a gigabyte, an AVIF of 16 x 16 a
frame of 268 megapixels, a TIFF of 8 x 8 pixels a list of four million strips. Decoders have had bugs that crash the
process. None of this affects the calling process.
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
    """Calls a function of encoded images in another process, which is restarted after a crash.

    The other process ends with this one. It sends numbers, pixels and text; nothing from it is unpickled. Calls from
    several threads are serialised.

    Args:
        function: maps the content of a file to an image or a number. It is pickled and sent to the other process.
        memory: the bytes that one image may take (on Linux).
        seconds: the time that one image may take.
    """

    def __init__(self, function: Callable[[bytes], Result], *, memory: int, seconds: float) -> None:
        self._function, self._memory, self._seconds = function, memory, seconds
        self._lock = threading.Lock()
        self._ready = False
        self._start()

    def __call__(self, content: bytes) -> Result:
        """Apply the function to the content of a file; raises `Unreadable`."""
        with self._lock:
            return self._call(content)

    def _call(self, content: bytes) -> Result:
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
            raise Unreadable("the process that reads it ended unexpectedly") from error

    def close(self) -> None:
        """Kill the other process."""
        self._process.kill()
        self._process.wait()
        self._connection.close()

    def _start(self) -> None:
        self._connection, remote = Pipe()
        with remote:
            # In a new session, Ctrl-C at a terminal reaches only the server, which can then finish its requests.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(remote.fileno())],
                pass_fds=[remote.fileno()],
                start_new_session=True,
            )
        self._connection.send((self._function, self._memory))
        self._ready = False


def _main() -> None:
    connection = Connection(int(sys.argv[1]))
    function, memory = connection.recv()
    _limit(memory)
    connection.send_bytes(b"ready")
    with suppress(EOFError, ConnectionError):  # the parent process has ended, perhaps in the middle of a message
        while True:
            for message in _messages(function, connection.recv_bytes()):
                connection.send_bytes(message)


def _messages(function: Callable[[bytes], Image.Image | int], content: bytes) -> list[bytes]:
    """The messages that answer one call of `Isolated`."""
    try:
        result = function(content)
        if isinstance(result, int):
            return [json.dumps({"number": result}).encode()]
        head = {"mode": result.mode, "size": result.size}
        return [json.dumps(head).encode(), result.tobytes()]
    except MemoryError:
        reason, error = "not enough memory to read it", Unreadable
    except Unreadable as unreadable:
        reason, error = str(unreadable), type(unreadable)
    return [json.dumps({"reason": reason, "error": error.__name__}).encode()]


def _limit(memory: int) -> None:
    """Limit the memory that this process may allocate beyond its present use, in bytes."""
    if sys.platform != "linux":
        return
    used = int(Path("/proc/self/statm").read_text().split()[_STATM_DATA]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = used + memory
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    _main()
