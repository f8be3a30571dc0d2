"""Hooks that ignore calls of the network from other threads during a measurement."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any


class OfThisThread:
    """A hook that runs only in the thread that registers it, and not in copies of the network."""

    def __init__(self, hook: Callable[..., Any]) -> None:
        self._hook, self._thread = hook, threading.get_ident()

    def __call__(self, *args: Any) -> Any:
        """Run the hook, if this is its thread."""
        return self._hook(*args) if threading.get_ident() == self._thread else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Another thread may copy or pickle the network meanwhile."""
        return partial, (_ignored,)


def _ignored(*args: Any) -> None:
    """A hook that does nothing."""
