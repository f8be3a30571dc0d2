"""The Ray node that a process belongs to, which others may kill: the kernel if memory runs out, an administrator."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

# Seconds until the end of a watched block is noticed.
_EVERY = 1.0
# Seconds in which Ray's other processes notice the end of the raylet, too. If the cluster ended before, its agents
# would wait a minute for it.
_GRACE = 2.0


class Node:
    """The node of this process. It lives as long as its raylet, Ray's process that starts the workers.

    Args:
        ray: the module `ray`, connected to a cluster.
    """

    def __init__(self, ray: Any) -> None:
        here = (node for node in ray.nodes() if node["NodeID"] == ray.get_runtime_context().get_node_id())
        # There is no such file if the raylet runs on another machine, as with ray://HOST:PORT.
        names = [node["RayletSocketName"] for node in here if os.path.exists(node["RayletSocketName"])]
        self._connection = _connection_to(names[0]) if names else None

    def __enter__(self) -> Self:
        """Return the node."""
        return self

    def __exit__(self, *error: object) -> None:
        """Stop watching the node."""
        if self._connection is not None:
            self._connection.close()

    def is_alive(self) -> bool:
        """Return whether the raylet runs; the cluster itself may no longer answer a question."""
        return self._is_alive_for(0)

    def _is_alive_for(self, seconds: float) -> bool:
        """Wait, at most until the raylet ends; True if it is not watched."""
        if self._connection is None:
            time.sleep(seconds)
            return True
        # The operating system closes the connection when the raylet ends; nothing is sent.
        end = select.poll()
        end.register(self._connection, select.POLLIN)
        return not end.poll(1000 * seconds)

    @contextmanager
    def watched(self, on_killed: Callable[[], None]) -> Iterator[None]:
        """Call `on_killed` when the node is killed while the block runs, or if the block then raises an error.

        It is called from another thread, because Ray's calls may then wait for ever, and no signal interrupts them.
        """
        ended = threading.Event()

        def watch() -> None:
            while not ended.is_set():
                if not self._is_alive_for(_EVERY):
                    if not ended.wait(_GRACE):
                        on_killed()
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        except Exception:
            if not self.is_alive():  # the error only says that Ray cannot reach an actor
                time.sleep(_GRACE)
                on_killed()
            raise
        finally:
            ended.set()
            thread.join()


def _connection_to(name: str) -> socket.socket | None:
    """A connection to the socket of a process, closed if the process has ended; None if the process is too busy."""
    connection = socket.socket(socket.AF_UNIX)
    connection.setblocking(False)
    try:
        connection.connect(name)
    except BlockingIOError:
        connection.close()
        return None
    except OSError:
        pass
    return connection
