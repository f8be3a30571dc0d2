"""Hooks that ignore calls of the network from other threads during a measurement."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any


def of_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a hook so that it runs only in the thread that registers it."""
    thread = threading.get_ident()

    def wrapper(*args: Any) -> Any:
        return hook(*args) if threading.get_ident() == thread else None

    return wrapper
