"""Running the server until SIGINT or SIGTERM."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ray import serve as ray_serve

from gradmeter.errors import InputError
from gradmeter.runs.engines.ray import cluster

# Open files that Ray needs to start and to answer some hundred connections; with fewer it hangs.
_OPEN_FILES = 1024
# Seconds to wait for the requests in progress when the server stops.
_SHUTDOWN_TIMEOUT = 120


def serve(application: Any, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Serve an application until SIGINT or SIGTERM; requests in progress are then still answered.

    Args:
        application: the result of `gradmeter.apps.serving.application`.
        host: address to listen on.
        port: port to listen on.
        on_ready: called with the URL of the server once it answers requests.

    Raises:
        InputError: if the address or port cannot be used, or the limit of open files is too low.
    """
    _require_open_files()
    require_free_port(host, port)
    # By default Ray gives way to all other programs, which is for computations that nobody waits for.
    os.environ.setdefault("RAY_worker_niceness", "0")
    stop = threading.Event()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with cluster():
        ray_serve.start(http_options={"host": host, "port": port})
        gate = ray_serve.run(application, name="gradmeter", route_prefix="/", logging_config={"log_level": "WARNING"})
        # Only now, because Ray installs handlers of its own, which end the process at once.
        handlers = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            on_ready(f"http://{host}:{port}")
            stop.wait()
            with suppress(TimeoutError):
                gate.close.remote().result(timeout_s=_SHUTDOWN_TIMEOUT)
            ray_serve.shutdown()
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)


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


def require_free_port(host: str, port: int) -> None:
    """Check that the server can listen on a port; Ray's proxy would report it in a hundred lines.

    Raises:
        InputError: if it cannot.
    """
    try:
        family, protocol, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} of {host} is already in use; give another --port") from error
        raise InputError(
            f"cannot listen on {host}, port {port}: {error.strerror}; give another --host or --port"
        ) from error
