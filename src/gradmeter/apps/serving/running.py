"""Running the server until SIGINT or SIGTERM."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ray import serve as ray_serve
from ray.exceptions import RayError
from ray.serve.schema import ApplicationStatus

from gradmeter.errors import GradmeterError, InputError, one_line
from gradmeter.runs.engines.node import Node
from gradmeter.runs.engines.ray import cluster, starts_here

# Open files that Ray needs to start and to answer some hundred connections; with fewer it hangs.
_OPEN_FILES = 1024
# Seconds to wait for the requests in progress when the server stops.
_SHUTDOWN_TIMEOUT = 120
_NAME = "gradmeter"


def serve(
    application: Any, host: str, port: int, on_ready: Callable[[str], None], on_killed: Callable[[], None]
) -> None:
    """Serve an application until SIGINT or SIGTERM; requests in progress are then still answered.

    Args:
        application: the result of `gradmeter.apps.serving.application`.
        host: address to listen on.
        port: port to listen on.
        on_ready: called with the URL of the server once it answers requests.
        on_killed: called, from any thread, if Ray was killed on this machine. It must end the process: Ray's calls may
            never return.

    Raises:
        InputError: if the address or port cannot be used, or the limit of open files is too low.
        GradmeterError: if Ray does not start.
    """
    _require_open_files()
    # By default Ray gives way to all other programs, which is for computations that nobody waits for.
    os.environ.setdefault("RAY_worker_niceness", "0")
    stop = threading.Event()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    is_own = starts_here()
    with reserved_port(host, port), cluster() as ray, Node(ray) as node, node.watched(on_killed):
        gate = _started(application, host, port)
        # Only now, because Ray installs handlers of its own, which end the process at once.
        handlers = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            on_ready(address_of(host, port))
            stop.wait()
            _close(gate)
            if not is_own:  # otherwise it ends with Ray, which is faster
                ray_serve.shutdown()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


def _started(application: Any, host: str, port: int) -> Any:
    """Start the application; return the handle of its gate.

    Raises:
        GradmeterError: if Ray cannot start it.
    """
    try:
        ray_serve.start(http_options={"host": host, "port": port})
        return ray_serve.run(application, name=_NAME, route_prefix="/", logging_config={"log_level": "WARNING"})
    except (KeyboardInterrupt, SystemExit):
        # The server already answers requests for up to a second before Ray says that it runs.
        with suppress(RayError, RuntimeError):
            started = ray_serve.status().applications.get(_NAME)
            if started is not None and started.status is ApplicationStatus.RUNNING:
                _close(ray_serve.get_app_handle(_NAME))
        raise
    except (RayError, RuntimeError, TimeoutError) as error:
        raise GradmeterError(
            f"Ray did not start the server ({one_line(error)}); on a machine that is busy or short of memory, wait and "
            "try again"
        ) from error


def _close(gate: Any) -> None:
    """Refuse new requests, and wait until those in progress are answered."""
    with suppress(TimeoutError):
        gate.close.remote().result(timeout_s=_SHUTDOWN_TIMEOUT)


def _require_open_files() -> None:
    """Raise the limit of open files if it is too low.

    Raises:
        InputError: if the limit cannot be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _OPEN_FILES:
        return
    if hard != resource.RLIM_INFINITY and hard < _OPEN_FILES:
        raise InputError(
            f"the limit of open files is {hard:,}; the server needs at least {_OPEN_FILES:,}: raise it with ulimit -n"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, hard))


def address_of(host: str, port: int) -> str:
    """Return the URL of a server."""
    return f"http://[{host}]:{port}" if _is_ipv6(host) else f"http://{host}:{port}"


@contextmanager
def reserved_port(host: str, port: int) -> Iterator[None]:
    """Reserve a port while the block runs; only Ray's proxy, of this user, can then listen on it.

    Ray's proxies share ports (SO_REUSEPORT). Without the reservation, two servers that start at the same time would
    both listen, and each would receive half of the requests.

    Raises:
        InputError: if the server cannot listen there; Ray's proxy would report it in a hundred lines.
    """
    with _bound(host, port) as reservation:
        # Ray's proxy may bind the port, too, but no other reservation, which does not share it when it binds.
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        yield


def require_free_port(host: str, port: int) -> None:
    """Check that the server can listen on a port.

    Raises:
        InputError: if it cannot.
    """
    _bound(host, port).close()


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that is bound to a port as Ray's proxy will be.

    Raises:
        InputError: if the port is in use, or the address is not one of this machine.
    """
    if not host:  # to a socket, this means all addresses
        raise InputError("--host is empty; expected an address, such as 127.0.0.1, or 0.0.0.0 for the whole network")
    bound = socket.socket(socket.AF_INET6 if _is_ipv6(host) else socket.AF_INET)
    try:
        # Otherwise connections of a server that has ended would block the port for a minute.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except (OSError, TypeError) as error:
        bound.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} of {host} is already in use; give another --port") from error
        # A name that cannot be encoded is a TypeError.
        reason = error.strerror if isinstance(error, OSError) else "not a valid host name"
        raise InputError(f"cannot listen on {host!r}, port {port}: {reason}; give another --host or --port") from error
    return bound


def _is_ipv6(host: str) -> bool:
    return ":" in host
