"""Ray: the same work on the cores and GPUs of many machines."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pyarrow as pa

from gradmeter.errors import GradmeterError, one_line
from gradmeter.runs.engines.processes import WorkerError, prepare_worker

Item = TypeVar("Item")
Event = TypeVar("Event")

# Tables that one run of Ray Data reads.
_MOST_TASKS = 4096
# Times that a task begins anew after its process was killed.
_RETRIES = 3
# Unless told otherwise it tells its makers that it is used; the terminal, on standard output at that, what is of no use
# to who reads it (a worker died, and begins again); asks a cluster that does not answer twenty times; and goes on for
# half a minute when it is told to end.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",
    "RAY_NUM_REDIS_GET_RETRIES": "3",
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}
# Seconds within which a cluster takes a connection.
_REACHED_WITHIN = 10
# Seconds in which the last events surely arrive.
_LAST_EVENTS = 10


def configure_ray() -> None:
    """Give Ray its settings, some of which it reads when it is first imported; those of the environment stay."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)


def require_ray() -> Any:
    """The package; if RAY_ADDRESS names a cluster, it was seen that something answers there.

    Raises:
        GradmeterError: if it is not installed, or nothing answers.
    """
    configure_ray()
    try:
        import ray
    except ImportError as error:
        raise GradmeterError("--engine ray needs Ray: pip install 'gradmeter[ray]'") from error
    if not ray.is_initialized() and (address := _elsewhere()):
        _require_reachable(address)
    return ray


@contextmanager
def cluster() -> Iterator[Any]:
    """Ray, connected to the cluster that RAY_ADDRESS names, or started on this machine until the block ends.

    Raises:
        GradmeterError: if Ray is not installed, or there is no such cluster.
    """
    ray = require_ray()
    if ray.is_initialized():
        yield ray
        return
    # A user's own modules are found in the current folder, as they are by this process.
    paths = os.pathsep.join([os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])])
    elsewhere = _elsewhere()
    try:
        with _quiet():
            ray.init(
                # Without a word it would join whatever cluster was started on this machine last.
                address=elsewhere or "local",
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env=None if elsewhere else {"env_vars": {"PYTHONPATH": paths}},
            )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if not elsewhere:
            raise GradmeterError(f"Ray does not start on this machine: {one_line(error)}") from error
        raise _no_cluster(elsewhere, one_line(error)) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _elsewhere() -> str | None:
    """The cluster to join, if one is named; "local" is Ray's word for none."""
    named = os.environ.get("RAY_ADDRESS")
    return None if named in (None, "", "local") else named


def _require_reachable(address: str) -> None:
    """Say at once what Ray would find out in a quarter of an hour."""
    place = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = place.hostname, place.port
    except ValueError as error:
        raise _no_cluster(address, one_line(error)) from error
    if address == "auto":  # Ray's word for the one that runs on this machine
        return
    if host is None or port is None:
        raise _no_cluster(address, "no HOST:PORT")
    try:
        socket.create_connection((host, port), _REACHED_WITHIN).close()
    except OSError as error:
        raise _no_cluster(address, one_line(error)) from error


def _no_cluster(address: str, reason: str) -> GradmeterError:
    return GradmeterError(
        f"RAY_ADDRESS={address}: no Ray cluster can be joined there ({reason}); expected the HOST:PORT that ray start "
        "printed, and RAY_AUTH_MODE=token where it asks for a token"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on standard error, not even from C++, where Ray tells which log level it was told."""
    try:
        kept = os.dup(2)
    except OSError:  # there is none
        yield
        return
    with open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def actors(ray: Any, wanted: int, *, gpus: bool) -> int:
    """How many actors hold the network: as many as are wanted, or as there are GPUs, or cores.

    Raises:
        GradmeterError: if a GPU is asked for and the cluster has none.
    """
    there = int(ray.cluster_resources().get("GPU" if gpus else "CPU", 0))
    if not there:
        raise GradmeterError(f"the Ray cluster has no {'GPU' if gpus else 'core'}; give --device cpu or add nodes")
    return wanted or there


def run_tasks_on_ray(
    task: Callable[[Item, Callable[[Event], None]], None],
    items: Sequence[Item],
    workers: int,
    on_event: Callable[[Event], None],
) -> None:
    """As `run_tasks`, on the cores of a cluster whose machines see the same files at the same paths.

    A task whose process or machine fails begins again elsewhere, where it stood if it keeps what it has done.

    Args:
        task: a function of a module; items, events and errors must be picklable.
        items: one task each.
        workers: tasks at once, at most.
        on_event: called from a thread of this process.

    Raises:
        Whatever a task raises, first come, after the other tasks were stopped.
        WorkerError: if its process was killed again and again.
    """
    if not items:
        return
    with cluster() as ray:
        from ray.util.queue import Queue

        queue = Queue(actor_options={"num_cpus": 0})
        listener = threading.Thread(target=_listen, args=(queue, on_event), daemon=True)
        listener.start()
        remote = ray.remote(_work).options(num_cpus=1, max_retries=_RETRIES)
        left, running = list(items), list[Any]()
        try:
            while left or running:
                while left and len(running) < workers:
                    running.append(remote.remote(task, left.pop(0), queue, os.getcwd()))
                done, running = ray.wait(running)
                ray.get(done)
        except ray.exceptions.RayError as error:
            raise _told(error) from None
        finally:
            for one in running:
                ray.cancel(one, force=True)
            queue.put(None)
            listener.join(_LAST_EVENTS)


def _listen(queue: Any, on_event: Callable[[Any], None]) -> None:
    for event in iter(queue.get, None):
        on_event(event)


def _work(task: Callable[[Any, Callable[[Any], None]], None], item: Any, queue: Any, folder: str) -> None:
    os.chdir(folder)
    prepare_worker()
    task(item, queue.put)


def _told(error: Any) -> BaseException:
    """What went wrong in another process, in the words that were used there."""
    cause = getattr(error, "cause", None)
    # Ray adds lines of its own.
    said = str(cause).strip().partition("\n")[0]
    if isinstance(cause, GradmeterError):
        return type(cause)(said)
    reason = str(error).strip().rpartition("\n")[2] if cause is None else f"{type(cause).__name__}: {said}"
    return WorkerError(f"a worker failed ({reason}); run the same command again, it goes on where it stood")


def through_actors(
    ray: Any,
    tables: Sequence[Callable[[], pa.Table]],
    actor: type,
    arguments: Mapping[str, Any],
    *,
    count: int,
    gpus: bool,
) -> Iterator[pa.Table]:
    """Tables are read by tasks of Ray Data, and each goes whole to one of several actors.

    What a killed process had in hand is done again by another.

    Args:
        ray: as `cluster` yields it.
        tables: functions of a module that read one table each, of the same columns.
        actor: a class; what its `__call__` makes of a table comes back, in any order.
        arguments: of its `__init__`.
        count: of actors.
        gpus: whether each has a GPU to itself.

    Raises:
        Whatever a GradmeterError in an actor or task says.
        WorkerError: for other errors there.
    """
    from ray.util.queue import Queue

    begun = Queue(actor_options={"num_cpus": 0})
    try:
        # Ray keeps a record of every task of a run: there may be millions of tables, and not of tasks.
        for at in range(0, len(tables), _MOST_TASKS):
            some = tables[at : at + _MOST_TASKS]
            answers = _mapped(some, {"begun": begun, "actor": actor, "arguments": arguments}, count=count, gpus=gpus)
            yield from answers.iter_batches(batch_size=None, batch_format="pyarrow")
    except ray.exceptions.RayError as error:
        raise _told(error) from None
    finally:
        # After an error Ray may leave them with their cores until something collects what it left behind.
        for one in begun.get_nowait_batch(begun.qsize()):
            ray.kill(one)
        begun.shutdown()


class _Actor:
    """An actor that says at its beginning that it is there.

    What goes wrong at its beginning goes wrong at the first table: Ray would begin it again and again.
    """

    def __init__(self, begun: Any, actor: type, arguments: Mapping[str, Any]) -> None:
        import ray

        begun.put(ray.get_runtime_context().current_actor)
        self._made: Any = None
        self._make = partial(actor, **arguments)

    def __call__(self, table: pa.Table) -> pa.Table:
        if self._made is None:
            self._made = self._make()
        return self._made(table)


def _mapped(tables: Sequence[Callable[[], pa.Table]], arguments: Mapping[str, Any], *, count: int, gpus: bool) -> Any:
    """The Ray data set of what actors make of tables; nothing is done before it is asked for."""
    from ray.data import ActorPoolStrategy, DataContext, read_datasource

    # What goes wrong comes back as an error of ours; Ray's own log has the rest.
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)
    context = DataContext.get_current().copy()
    # A table is a unit of the result: it is not cut, and the order does not matter.
    context.target_max_block_size = None
    context.execution_options.preserve_order = False
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    with context.current(context):
        read = read_datasource(
            _datasource(tables),
            override_num_blocks=len(tables),
            concurrency=count,
            # Reading waits for disks and networks; the cores are the actors'.
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
            return [ReadTask(_Reading(table), unknown) for table in tables]

    return Tables()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class _Reading:
    """A table as what Ray asks a task for: blocks, here one."""

    table: Callable[[], pa.Table]

    def __call__(self) -> Iterable[pa.Table]:
        return [self.table()]
