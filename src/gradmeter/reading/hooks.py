"""Hooks of a measurement, which heed its own thread: another one may call the same network meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def of_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The same hook for calls from the thread that registers it; calls from others pass it by."""
    thread = threading.get_ident()

    def called(*args: Any) -> Any:
        return hook(*args) if threading.get_ident() == thread else None

    return called
