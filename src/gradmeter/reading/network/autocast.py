"""Autocast applies to the network's calls in a measurement, and not to the arithmetic of the measurement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

import torch

# Device types and dtypes of the autocast in which a measurement was called.
_autocast: ContextVar[tuple[tuple[str, torch.dtype], ...]] = ContextVar("_autocast", default=())


@contextmanager
def autocast_set_aside(devices: set[str]) -> Iterator[None]:
    """Disable autocast, which would round the arithmetic of a measurement, but for `autocast_of_caller`."""
    with ExitStack() as stack:
        enabled = tuple(
            (device, torch.get_autocast_dtype(device))
            for device in sorted(devices)
            if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)
        )
        if enabled:
            before = _autocast.set(enabled)
            stack.callback(_autocast.reset, before)
            for device, _ in enabled:
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


@contextmanager
def autocast_of_caller() -> Iterator[None]:
    """In a measurement, call the network's modules in the autocast in which the measurement was called.

    Without its cache, which may hold weights that were cast without gradients.
    """
    with ExitStack() as stack:
        for device, dtype in _autocast.get():
            stack.enter_context(torch.autocast(device, dtype=dtype, cache_enabled=False))
        yield
