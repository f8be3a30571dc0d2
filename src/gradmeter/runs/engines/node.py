"""The Ray node that a process belongs to, which others may kill: the kernel if memory runs out, an administrator."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Seconds between two looks at the node.
_EVERY = 1.0


class Node:
    """The node of this process. It lives as long as its raylet, Ray's process that starts the workers.

    Args:
        ray: the module `ray`, connected to a cluster.
    """

    def __init__(self, ray: Any) -> None:
        here = (node for node in ray.nodes() if node["NodeID"] == ray.get_runtime_context().get_node_id())
        # With ray://HOST:PORT the raylet runs on another machine.
        self._sockets = [node["RayletSocketName"] for node in here if os.path.exists(node["RayletSocketName"])]

    def is_alive(self) -> bool:
        """Return whether the raylet accepts connections; the cluster itself may no longer answer a question."""
        for name in self._sockets:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.setblocking(False)
                try:
                    probe.connect(name)
                except BlockingIOError:  # it is busy
                    pass
                except (ConnectionRefusedError, FileNotFoundError):  # killed, or told to stop
                    return False
        return True

    @contextmanager
    def watched(self, on_killed: Callable[[], None]) -> Iterator[None]:
        """Call `on_killed` soon after the node was killed while the block runs, or if the block then raises an error.

        It is called from another thread, because Ray's calls may then wait for ever, and no signal interrupts them.
        """
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(_EVERY):
                if not self.is_alive():
                    on_killed()
                    return

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        except Exception:
            if not self.is_alive():  # the error only says that Ray cannot reach an actor
                on_killed()
            raise
        finally:
            ended.set()
            thread.join()
