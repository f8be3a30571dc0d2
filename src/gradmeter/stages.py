"""Phases of long computations, reported to a progress display if there is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Advance = Callable[[int], None]
"""Reports the number of steps done since the last call."""
Show = Callable[[str, int | None], AbstractContextManager[Advance]]
"""Context manager that shows a phase; takes its name and its number of steps."""

_show: ContextVar[Show | None] = ContextVar("show", default=None)


@contextmanager
def stage(name: str, steps: int | None = None) -> Iterator[Advance]:
    """Report a phase of a long computation; does nothing if no progress is shown.

    Args:
        name: what the phase does.
        steps: the number of steps, None if unknown.
    """
    show = _show.get()
    if show is None:
        yield lambda done: None
        return
    with show(name, steps) as advance:
        yield advance


@contextmanager
def show_stages(show: Show) -> Iterator[None]:
    """Show the phases of the current thread with `show` while the block runs."""
    token = _show.set(show)
    try:
        yield
    finally:
        _show.reset(token)
