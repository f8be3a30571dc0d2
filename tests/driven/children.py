"""Commands in processes of their own, forked from one that has PyTorch loaded, and killed where a test says."""

import multiprocessing
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from traceback import format_exception

from driven.running import Ended, run

SECONDS = 120
# What the process from which the others are forked has loaded; none of it runs a network there. The last is loaded by
# PyTorch's first backward pass.
_LOADED = [
    "driven.children",
    "gradmeter.apps.workflows.fit",
    "gradmeter.apps.workflows.judge",
    "gradmeter.apps.workflows.open_trust",
    "skops.io",
    "torch.fx.experimental.symbolic_shapes",
]
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree")


@dataclass(frozen=True)
class Blow:
    """A signal that a process sends to itself.

    Attributes:
        number: of the signal.
        at: of the changes of files below its folder, the one before which it is sent; 1 is the first.
    """

    number: signal.Signals
    at: int


class Child:
    """A command that runs in another process.

    Args:
        words: as a shell gives them.
        folder: the current one.
        blow: what befalls it.
    """

    def __init__(self, words: Sequence[bytes], folder: Path, blow: Blow | None = None) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_LOADED)
        self._receiver, sender = context.Pipe(duplex=False)
        self._process: ForkServerProcess = context.Process(target=_type, args=(list(words), folder, blow, sender))
        self._process.start()
        sender.close()

    def kill(self, number: signal.Signals) -> None:
        """Send a signal."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)

    def wait(self) -> Ended | None:
        """How the command ended; None where a signal ended the process."""
        ended: Ended | None = None
        try:
            if not self._receiver.poll(SECONDS):
                self.kill(signal.SIGKILL)
                raise AssertionError(f"no end after {SECONDS} seconds")
            ended = self._receiver.recv()
        except EOFError:
            pass
        self._process.join()
        return ended


def _type(words: list[bytes], folder: Path, blow: Blow | None, sender: "multiprocessing.connection.Connection") -> None:
    # The server from which this process is forked ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if blow is not None:
        _await(blow, str(folder))
    ended = run(words, folder)
    # Not every exception can be sent.
    told = None if ended.traceback is None else RuntimeError("".join(format_exception(ended.traceback)))
    sender.send(Ended(ended.code, ended.stdout, ended.stderr, told))


def _await(blow: Blow, folder: str) -> None:
    seen = 0

    def look(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not changes or not isinstance(path, str | bytes):
                return
        elif event not in _CHANGES:
            return
        seen += 1
        if seen == blow.at:
            os.kill(os.getpid(), blow.number)

    sys.addaudithook(look)
