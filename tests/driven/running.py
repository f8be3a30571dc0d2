"""Run a command of gradmeter in this process, which has PyTorch loaded, as a shell would run it."""

import io
import os
import signal
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from unittest import mock

from driven.privileges import unprivileged
from gradmeter.apps.cli import main
from gradmeter.runs.measuring import filling, streaming

SECONDS = 60
PART, BATCH = 4, 2
"""Samples in a part and in a batch; small, so that few files make several."""


@dataclass(frozen=True)
class Ended:
    """The result of a command: exit code and output, and the exception that a shell would show as a traceback."""

    code: int
    stdout: bytes
    stderr: bytes
    traceback: BaseException | None = None


class Hanging(BaseException):
    """A command did not end in time."""


def run(words: Sequence[bytes], folder: Path, encoding: str = "utf-8") -> Ended:
    """Run gradmeter in a folder.

    Args:
        words: the arguments.
        folder: the working directory.
        encoding: the encoding of the terminal.
    """
    outputs = [io.BytesIO(), io.BytesIO()]
    stdout = io.TextIOWrapper(outputs[0], encoding, errors="strict", write_through=True)
    stderr = io.TextIOWrapper(outputs[1], encoding, errors="backslashreplace", write_through=True)
    code, traceback = 0, None
    with _typed(words, folder), redirect_stdout(stdout), redirect_stderr(stderr), _as_in_a_shell(), unprivileged():
        try:
            with _limited():
                main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 0
        except BaseException as error:
            code, traceback = 1, error
    return Ended(code, outputs[0].getvalue(), outputs[1].getvalue(), traceback)


@contextmanager
def _typed(words: Sequence[bytes], folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        with mock.patch.object(sys, "argv", ["gradmeter", *map(os.fsdecode, words)]):
            yield
    finally:
        os.chdir(before)


@contextmanager
def _as_in_a_shell() -> Iterator[None]:
    """Show warnings instead of raising them as in tests, and use small parts."""
    with (
        warnings.catch_warnings(),
        mock.patch.dict(os.environ, COLUMNS="160", NO_COLOR="1"),
        mock.patch.object(streaming, "PART", PART),
        mock.patch.object(filling, "BATCH", BATCH),
        mock.patch.object(sys, "dont_write_bytecode", True),
    ):
        warnings.resetwarnings()
        for ignored in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", ignored)
        yield


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise Hanging(f"still running after {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
