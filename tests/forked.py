"""Processes that are forked from one in which PyTorch and gradmeter are loaded, so that they start in milliseconds.

A forked command differs from one that a shell starts only in this: the modules in `LOADED` are there at its start.
Tests of what is imported start Python anew.
"""

import multiprocessing
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from types import TracebackType
from typing import Self

SECONDS = 300
"""Time limit of a command."""

LOADED = (
    "gradmeter.apps.cli.commands",
    "gradmeter.apps.cli.tables",
    "gradmeter.apps.workflows.evaluate",
    "gradmeter.apps.workflows.fit",
    "gradmeter.apps.workflows.judge",
    "gradmeter.apps.workflows.open_trust",
    "gradmeter.research.ood_benchmark.run",
    "gradmeter.research.speed_benchmark.run",
    "gradmeter.research.study.run",
    "gradmeter.sources.models.timm_models",
    "skops.io",
    "torch.fx.experimental.symbolic_shapes",  # PyTorch's first backward pass imports it
)
"""What the fork server imports. None of these modules runs a network or starts a thread."""


def fork_server() -> ForkServerContext:
    """The context whose processes are forked from one with the modules in `LOADED`.

    A process that a test kills must not use it: the fork server ends if a client dies in the middle of a request.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*LOADED])
    return context


class Forked:
    """A function in a process of its own, as if a shell had started it; with the methods of `subprocess.Popen`.

    Args:
        function: the function, which reads its arguments from sys.argv.
        arguments: the rest of sys.argv.
        cwd: the working directory.
        env: the environment.
        own_group: whether the process leads a process group, as it does if a terminal starts it.
    """

    def __init__(
        self,
        function: Callable[[], None],
        arguments: Sequence[str],
        *,
        cwd: Path | None,
        env: Mapping[str, str],
        own_group: bool = False,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forked-")
        self._outputs = tuple(Path(self._folder.name) / name for name in ("out", "err"))
        context = fork_server()
        forkserver.ensure_running()
        # Since Python 3.14, who asks the fork server for a process must have its key.
        key = getattr(forkserver._forkserver, "_forkserver_authkey", None)
        self._process: ForkServerProcess = context.Process(
            target=_run, args=(function, [*arguments], cwd or Path.cwd(), dict(env), own_group, self._outputs, key)
        )
        self._process.start()

    @property
    def pid(self) -> int:
        """The id of the process."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code; negative after a signal, None while the process runs."""
        return self._process.exitcode

    poll = returncode.fget

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal if the process still runs."""
        if self._process.is_alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process."""
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = SECONDS) -> tuple[str, str]:
        """Wait for the end of the process; return what it wrote to standard output and to standard error.

        Raises:
            TimeoutExpired: if it still runs after this number of seconds.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired("gradmeter", timeout)
        return self.output(), self.output(1)

    def output(self, stream: int = 0) -> str:
        """Return what the process wrote until now to standard output, or with 1 to standard error."""
        path = self._outputs[stream]
        return path.read_text() if path.exists() else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.kill()
        self._process.join(SECONDS)
        self._folder.cleanup()


def run(
    function: Callable[[], None], arguments: Sequence[str], *, cwd: Path | None, env: Mapping[str, str]
) -> CompletedProcess[str]:
    """Run a function in a process of its own to its end; see `Forked`."""
    with Forked(function, arguments, cwd=cwd, env=env) as process:
        out, err = process.communicate()
        assert process.returncode is not None
        return CompletedProcess(arguments, process.returncode, out, err)


def _run(
    function: Callable[[], None],
    arguments: list[str],
    cwd: Path,
    env: dict[str, str],
    own_group: bool,
    outputs: tuple[Path, Path],
    key: bytes | None,
) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # the fork server ignores Ctrl-C
    if own_group:
        os.setsid()
    for descriptor, path in enumerate(outputs, start=1):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    # Processes that this one forks come from the same fork server; Python would start another one.
    forkserver._forkserver.ensure_running = lambda: None  # type: ignore[attr-defined]
    forkserver._forkserver._forkserver_authkey = key  # type: ignore[attr-defined]
    sys.argv = ["gradmeter", *arguments]
    sys.path.insert(0, "")
    function()
