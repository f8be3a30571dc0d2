"""Commands in processes forked from one that has PyTorch loaded, which tests can kill."""

import multiprocessing.connection
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from traceback import format_exception

from driven.running import Ended, run
from forked import fork_server

SECONDS = 120
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")


@dataclass(frozen=True)
class Blow:
    """A signal that a process sends to itself before a change to a file.

    Attributes:
        number: the signal.
        at: the number of the change; 1 is the first.
    """

    number: signal.Signals
    at: int


class Child:
    """A command that runs in another process.

    Args:
        words: the arguments.
        folder: the working directory.
        blow: the signal that it sends to itself; None for no signal.
    """

    def __init__(self, words: Sequence[bytes], folder: Path, blow: Blow | None = None) -> None:
        context = fork_server()
        self._receiver, sender = context.Pipe(duplex=False)
        self._process: ForkServerProcess = context.Process(target=_type, args=(list(words), folder, blow, sender))
        self._process.start()
        sender.close()

    def kill(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)

    def wait(self) -> Ended | None:
        """Wait for the command; return its result, or None if a signal ended the process."""
        ended: Ended | None = None
        try:
            if not self._receiver.poll(SECONDS):
                self.kill(signal.SIGKILL)
                raise AssertionError(f"still running after {SECONDS} seconds")
            ended = self._receiver.recv()
        except EOFError:
            pass
        self._process.join()
        return ended


def _type(words: list[bytes], folder: Path, blow: Blow | None, sender: "multiprocessing.connection.Connection") -> None:
    # The fork server ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if blow is not None:
        _schedule(blow)
    ended = run(words, folder)
    # Not every exception can be pickled.
    error = None if ended.traceback is None else RuntimeError("".join(format_exception(ended.traceback)))
    sender.send(Ended(ended.code, ended.stdout, ended.stderr, error))


def _schedule(blow: Blow) -> None:
    """Count changes to files with an audit hook, and send the signal before the given one."""
    changes_seen = 0

    def count(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal changes_seen
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not changes or not isinstance(path, str | bytes):
                return
        elif event not in _CHANGES:
            return
        changes_seen += 1
        if changes_seen == blow.at:
            os.kill(os.getpid(), blow.number)

    sys.addaudithook(count)
