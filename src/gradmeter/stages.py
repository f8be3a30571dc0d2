"""Phases of long work, for whoever shows progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

Advance = Callable[[int], None]
"""Says how many steps were done since the last call."""
Show = Callable[[str, int | None], AbstractContextManager[Advance]]
"""Shows a phase, from its name and its number of steps, while its block runs."""

_show: ContextVar[Show | None] = ContextVar("show", default=None)


@contextmanager
def stage(name: str, steps: int | None = None) -> Iterator[Advance]:
    """A phase of long work; nothing happens where nobody shows progress.

    Args:
        name: what is being done.
        steps: how many there are; None where nobody can know.
    """
    show = _show.get()
    if show is None:
        yield lambda done: None
        return
    with show(name, steps) as advance:
        yield advance


@contextmanager
def stages_shown(show: Show) -> Iterator[None]:
    """Show the phases that this thread goes through while the block runs."""
    before = _show.set(show)
    try:
        yield
    finally:
        _show.reset(before)
