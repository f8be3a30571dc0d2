"""Running the server until it is told to stop."""

from __future__ import annotations

import errno
import logging
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

# Open files that Ray needs to start and to answer some hundred connections; with too few it waits for ever.
_OPEN_FILES = 1024
# Seconds in which what was taken before the end is surely answered.
_ANSWERED_WITHIN = 120


def serve(application: Any, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Answer at a port of this machine until SIGINT or SIGTERM; what is being answered then is still answered.

    Args:
        application: as `gradmeter.apps.serving.application` makes it.
        host: address to listen at.
        port: likewise.
        on_ready: told the address once requests are answered.

    Raises:
        InputError: if it cannot listen there, or may open too few files.
    """
    _require_open_files()
    _require_free(host, port)
    stop = threading.Event()
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    with cluster():
        ray_serve.start(http_options={"host": host, "port": port})
        gate = ray_serve.run(application, name="gradmeter", route_prefix="/", logging_config={"log_level": "WARNING"})
        # Not before: Ray has handlers of its own, which end the process at once.
        before = {one: signal.signal(one, lambda *_: stop.set()) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            on_ready(f"http://{host}:{port}")
            stop.wait()
            with suppress(TimeoutError):
                gate.close.remote().result(timeout_s=_ANSWERED_WITHIN)
            ray_serve.shutdown()
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def _require_open_files() -> None:
    """Raise the limit of open files where it is low.

    Raises:
        InputError: if that is not allowed.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _OPEN_FILES:
        return
    if hard != resource.RLIM_INFINITY and hard < _OPEN_FILES:
        raise InputError(
            f"the server may open {hard:,} files; expected at least {_OPEN_FILES:,}: raise the limit (ulimit -n)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, hard))


def _require_free(host: str, port: int) -> None:
    """Refuse in a line what Ray's proxy would refuse in a hundred."""
    try:
        kind, protocol, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(kind, protocol) as found:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            found.bind(address)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InputError(f"port {port} of {host} is taken; give another --port") from error
        raise InputError(
            f"cannot listen at {host}, port {port}: {error.strerror}; give another --host or --port"
        ) from error
