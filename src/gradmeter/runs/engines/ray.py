"""Running tasks and actors with Ray, on the cores and GPUs of many machines."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa

from gradmeter.errors import GradmeterError, one_line
from gradmeter.runs.engines.node import Node
from gradmeter.runs.engines.processes import WorkerError, prepare_worker
from gradmeter.runs.interrupts import exits_on, interrupts_held_back
from gradmeter.stages import stage

Item = TypeVar("Item")
Event = TypeVar("Event")

# Largest number of tables that one Ray data set reads.
_MOST_TASKS = 4096
# How often Ray repeats a task whose process was killed.
_RETRIES = 3
# Options of the actor of a queue. It is started again, empty, if its process is killed.
_QUEUE = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise Ray prints to standard output, for example that a worker died and is replaced.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    # Attempts to reach a cluster that does not answer; by default 20.
    "RAY_NUM_REDIS_GET_RETRIES": "3",
    # By default a worker that is stopped continues for half a minute.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
    # By default, a proxy of the server that takes more than 5 seconds to start, as on a busy machine, is killed.
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    # By default gRPC prints, or aborts, if a process forks while a thread calls gRPC. Ray forks to start programs.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
}
# Seconds to wait for a connection to a cluster.
_CONNECT_TIMEOUT = 10
# Seconds to wait for the last events.
_LAST_EVENTS = 10
_TERMINATED = 128 + signal.SIGTERM  # the exit code that shells report


def configure_ray() -> None:
    """Set environment variables of Ray and gRPC unless they are set; some are read when Ray is first imported."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def require_ray() -> Any:
    """Import Ray; if RAY_ADDRESS names a cluster, check that it accepts connections.

    Returns:
        The module `ray`.

    Raises:
        GradmeterError: if Ray is not installed, or the cluster cannot be reached.
    """
    configure_ray()
    try:
        import ray
    except ImportError as error:
        raise GradmeterError("--engine ray needs Ray: pip install 'gradmeter[ray]'") from error
    if not ray.is_initialized() and (address := _remote_address()):
        _require_reachable(address)
    return ray


def starts_here() -> bool:
    """Return whether `cluster` starts Ray on this machine, and ends it with all of its processes."""
    import ray

    return not ray.is_initialized() and _remote_address() is None


@contextmanager
def cluster() -> Iterator[Any]:
    """Connect Ray to the cluster that RAY_ADDRESS names, or start it on this machine, while the block runs.

    Yields:
        The module `ray`.

    Raises:
        GradmeterError: if Ray is not installed, does not start, or the cluster cannot be reached.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    with _usual_exit_code(), exits_on(signal.SIGHUP):
        _start(ray)
        _exit_on_sigterm()
        with Node(ray) as node:
            try:
                yield ray
            finally:
                if node.is_alive():
                    # A shutdown that is broken off leaves Ray's processes for a minute.
                    with interrupts_held_back(signal.SIGTERM):
                        ray.shutdown()
                else:
                    # It would end this process at once, with exit code 1 and without a message, if its parent is
                    # process 1, as in a container. Ray's other processes are stopped by a handler of their own.
                    atexit.unregister(ray.shutdown)


def _start(ray: Any) -> None:
    """Connect Ray to a cluster, or start one.

    Raises:
        GradmeterError: if that fails.
    """
    address = _remote_address()
    try:
        # After Ctrl-C while it creates its connection in C++, Ray would not close it, and crash as the process ends.
        # A cluster elsewhere may not answer for minutes.
        with (
            stage(f"joining the Ray cluster at {address}" if address else "starting Ray"),
            _quiet(),
            _imports_from_here(),
            nullcontext() if address else interrupts_held_back(),
        ):
            ray.init(
                # Without an address Ray would connect to any cluster that runs on this machine.
                address=address or "local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
    except Exception as error:  # Ray raises errors of any type, such as Exception itself if a node starts too slowly
        if not address:
            place = f"{error.filename}: " if isinstance(error, OSError) and error.filename else ""  # such as ~/.ray
            raise GradmeterError(f"Ray does not start on this machine: {place}{one_line(error)}") from error
        raise _no_cluster(address, one_line(error)) from error


@contextmanager
def _usual_exit_code() -> Iterator[None]:
    """End this process with the usual exit code if SIGTERM arrives while Ray starts in the block.

    Ray installs a handler that raises SystemExit, so that its processes are stopped, too, but with the number of the
    signal as exit code. The earlier handler is restored after the block.
    """
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    except SystemExit as ended:
        if ended.code == signal.SIGTERM:
            signal.alarm(0)  # of Ray's second handler, see `_exit_on_sigterm`
            raise SystemExit(_TERMINATED) from None
        raise
    finally:
        # Ray installs its handler only in the main thread, too.
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _exit_on_sigterm() -> None:
    """End this process with the usual exit code if SIGTERM arrives, instead of with the handlers that Ray installed.

    One of them, in C++, prints a stack trace and sets an alarm, which aborts the process if Ray has not stopped after
    three seconds.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))


def _remote_address() -> str | None:
    """The address in RAY_ADDRESS; None if Ray is to be started on this machine."""
    address = os.environ.get("RAY_ADDRESS")
    return None if address in (None, "", "local") else address


def _require_reachable(address: str) -> None:
    """Check that a cluster accepts connections; Ray itself would try for a quarter of an hour.

    Raises:
        GradmeterError: if the address is invalid, or nothing answers.
    """
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _no_cluster(address, one_line(error)) from error
    if address == "auto":  # the cluster that already runs on this machine
        return
    if host is None or port is None:
        raise _no_cluster(address, "no HOST:PORT")
    try:
        socket.create_connection((host, port), _CONNECT_TIMEOUT).close()
    except OSError as error:
        raise _no_cluster(address, one_line(error)) from error


def _no_cluster(address: str, reason: str) -> GradmeterError:
    return GradmeterError(
        f"RAY_ADDRESS={address}: no Ray cluster can be joined there ({reason}); expected the HOST:PORT that ray start "
        "printed, and RAY_AUTH_MODE=token where it asks for a token"
    )


@contextmanager
def _imports_from_here() -> Iterator[None]:
    """While the block runs, new processes import modules from the current folder if this process does.

    Otherwise they must not: Ray's own processes would run a file of the user's that is named like a module of Python,
    such as queue.py, and not start.
    """
    if not {"", os.getcwd()} & {*sys.path}:
        yield
        return
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), *filter(None, [before])])
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence standard error for C++ while the block runs, where Ray prints its log level; progress stays visible."""
    try:
        stderr = os.dup(2)
    except OSError:  # standard error is closed
        yield
        return
    with (
        open(os.devnull, "wb") as devnull,
        open(stderr, "w", 1, encoding=getattr(sys.stderr, "encoding", None), errors="backslashreplace") as visible,
        redirect_stderr(visible),
    ):
        os.dup2(devnull.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)


def actors(ray: Any, workers: int, *, gpus: bool) -> int:
    """The number of actors: `workers`, or if that is 0, the number of GPUs or cores of the cluster.

    Raises:
        GradmeterError: if the cluster has no GPU or no core.
    """
    available = int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0))
    if not available:
        raise GradmeterError(f"the Ray cluster has no {'GPU' if gpus else 'core'}; give --device cpu or add nodes")
    return workers or available


def run_tasks_on_ray(
    task: Callable[[Item, Callable[[Event], None]], None],
    items: Sequence[Item],
    workers: int,
    on_event: Callable[[Event], None],
) -> None:
    """Run task(item, emit) for every item, as `run_tasks` does, on the cores of a Ray cluster.

    All machines of the cluster must see the same files at the same paths. A task whose process or machine fails is
    started again on another one.

    Args:
        task: a module-level function; items, events and errors must be picklable.
        items: the items, one task for each.
        workers: largest number of tasks that run at the same time.
        on_event: called from a thread of this process.

    Raises:
        The first error that a task raises, after the other tasks were stopped.
        WorkerError: if the process of a task was killed at every attempt.
    """
    if not items:
        return
    with cluster() as ray:
        from ray.util.queue import Queue

        queue = Queue(actor_options=_QUEUE)
        listener = threading.Thread(target=_listen, args=(queue, on_event), daemon=True)
        listener.start()
        remote = ray.remote(_work).options(num_cpus=1, max_retries=_RETRIES)
        waiting, running = list(items), list[Any]()
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    running.append(remote.remote(task, waiting.pop(0), queue, os.getcwd()))
                done, running = ray.wait(running)
                ray.get(done)
        except ray.exceptions.RayError as error:
            raise _original_error(error) from None
        finally:
            with suppress(ray.exceptions.RayError):  # if Ray was killed, everything is gone
                for running_task in running:
                    ray.cancel(running_task, force=True)
                queue.put(None)
                listener.join(_LAST_EVENTS)


def _listen(queue: Any, on_event: Callable[[Any], None]) -> None:
    from ray.exceptions import RayError

    with suppress(RayError):  # the queue ended, because Ray was killed or stops
        for event in iter(queue.get, None):
            on_event(event)


def _work(task: Callable[[Any, Callable[[Any], None]], None], item: Any, queue: Any, folder: str) -> None:
    os.chdir(folder)
    prepare_worker()
    task(item, queue.put)


def _original_error(error: Any) -> BaseException:
    """The GradmeterError that a task or an actor raised, or a WorkerError that names another cause."""
    cause = getattr(error, "cause", None)
    # Ray appends lines to the message.
    message = str(cause).strip().partition("\n")[0]
    if isinstance(cause, GradmeterError):
        return type(cause)(message)
    reason = str(error).strip().rpartition("\n")[2] if cause is None else f"{type(cause).__name__}: {message}"
    return WorkerError(f"a worker failed ({reason}); run the same command again, it continues where it stopped")


def fetched(reference: Any) -> Any:
    """Return an object that the driver stored with `ray.put`, in a task or an actor.

    Raises:
        GradmeterError: if a module of the object is missing here. Ray would repeat the task again and again.
    """
    import ray

    try:
        return ray.get(reference)
    except ray.exceptions.RaySystemError as error:
        reason = str(error).partition("\n")[0]  # then Ray's traceback
        raise GradmeterError(
            f"a worker of the Ray cluster cannot load the network or the data ({reason}); expected the same "
            "modules on all machines: install them there, or add their folder to PYTHONPATH before ray start"
        ) from None


def through_actors(
    ray: Any,
    tables: Sequence[Callable[[], pa.Table]],
    actor: type,
    arguments: Mapping[str, Any],
    *,
    count: int,
    gpus: bool,
) -> Iterator[pa.Table]:
    """Read tables with tasks of Ray Data, and pass each table as a whole to one of several actors.

    The work of a killed process is repeated by another one.

    Args:
        ray: the module that `cluster` yields.
        tables: module-level functions that each read one table; all tables have the same columns.
        actor: a class; its `__call__` takes a table and returns a table.
        arguments: keyword arguments for its `__init__`.
        count: number of actors.
        gpus: whether each actor gets its own GPU.

    Yields:
        The tables that the actors return, in any order.

    Raises:
        The first GradmeterError that an actor or a task raises.
        WorkerError: for any other error there.
    """
    from ray.util.queue import Queue

    handles = Queue(actor_options=_QUEUE)
    try:
        # Ray keeps a record of every task of a data set, and there may be millions: use several data sets.
        for start in range(0, len(tables), _MOST_TASKS):
            chunk = tables[start : start + _MOST_TASKS]
            mapped = _mapped(
                chunk, {"handles": handles, "actor": actor, "arguments": arguments}, count=count, gpus=gpus
            )
            yield from mapped.iter_batches(batch_size=None, batch_format="pyarrow")
    except ray.exceptions.RayError as error:
        raise _original_error(error) from None
    finally:
        # After an error Ray may keep the actors, and their cores, until its references are garbage collected.
        with suppress(ray.exceptions.RayError):  # if Ray was killed, everything is gone
            for handle in handles.get_nowait_batch(handles.qsize()):
                ray.kill(handle)
            handles.shutdown(force=True)  # `__ray_terminate__` would be repeated, with a message, as any task of it


class _Actor:
    """Registers its handle, so that it can be killed, and creates the actor at its first table.

    It is not created in `__init__`, because Ray would start an actor again and again if that raised an error.
    """

    def __init__(self, handles: Any, actor: type, arguments: Mapping[str, Any]) -> None:
        import ray

        handles.put(ray.get_runtime_context().current_actor)
        self._actor: Any = None
        self._create = partial(actor, **arguments)

    def __call__(self, table: pa.Table) -> pa.Table:
        if self._actor is None:
            self._actor = self._create()
        return self._actor(table)


def _mapped(tables: Sequence[Callable[[], pa.Table]], arguments: Mapping[str, Any], *, count: int, gpus: bool) -> Any:
    """A lazy Ray data set of the tables that actors return for the given ones."""
    from ray.data import ActorPoolStrategy, DataContext, read_datasource

    # Errors are raised as errors of gradmeter; Ray's log files have the details.
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)
    context = DataContext.get_current().copy()
    # Do not split tables; their order does not matter.
    context.target_max_block_size = None
    context.execution_options.preserve_order = False
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    with context.current(context):
        read = read_datasource(
            _datasource(tables),
            override_num_blocks=len(tables),
            concurrency=count,
            # Reading mostly waits for disks and networks; leave the cores to the actors.
            num_cpus=0,
        )
        return read.map_batches(
            _Actor,
            batch_size=None,
            batch_format="pyarrow",
            fn_constructor_kwargs=dict(arguments),
            compute=ActorPoolStrategy(size=count),
            num_cpus=1,
            num_gpus=1 if gpus else None,
        )


def _datasource(tables: Sequence[Callable[[], pa.Table]]) -> Any:
    from ray.data import Datasource
    from ray.data.block import BlockMetadata
    from ray.data.datasource import ReadTask

    class Tables(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, parallelism: int, *_: Any, **__: Any) -> list[Any]:
            unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(_OneBlock(table), unknown) for table in tables]

    return Tables()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _OneBlock:
    """A function that returns a table as a list of one block, as a `ReadTask` expects."""

    table: Callable[[], pa.Table]

    def __call__(self) -> Iterable[pa.Table]:
        return [self.table()]
