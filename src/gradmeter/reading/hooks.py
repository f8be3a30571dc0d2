"""Hooks of one measurement, which ignore calls of the network from other threads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle


class Hooks:
    """Hooks on modules inside a `with` block.

    They run only in the thread of the block. Afterwards they do nothing, even if an interrupt (Ctrl-C) kept some from
    being removed.

    Attributes:
        thread: the thread of the block; None after it.
    """

    def __init__(self) -> None:
        self._handles: list[RemovableHandle] = []
        self.thread: int | None = threading.get_ident()

    def __enter__(self) -> Hooks:
        """Begin the block."""
        return self

    def __exit__(self, *error: object) -> None:
        """Switch the hooks off, and remove them."""
        self.thread = None
        for handle in self._handles:
            handle.remove()

    def before(self, module: nn.Module, hook: Callable[..., Any], **options: Any) -> None:
        """Register a forward pre-hook, with the options of `register_forward_pre_hook`."""
        self._handles.append(module.register_forward_pre_hook(Hook(hook, self), **options))

    def after(self, module: nn.Module, hook: Callable[..., Any], **options: Any) -> None:
        """Register a forward hook, before the user's, which may replace the output."""
        self._handles.append(module.register_forward_hook(Hook(hook, self), prepend=True, **options))


class Hook:
    """A hook that runs only inside the block of `hooks`, in its thread, and not in copies of the network."""

    def __init__(self, hook: Callable[..., Any], hooks: Hooks) -> None:
        self._hook, self._hooks = hook, hooks

    def __call__(self, *args: Any) -> Any:
        """Run the hook, if this is its thread."""
        return self._hook(*args) if threading.get_ident() == self._hooks.thread else None

    def __reduce__(self) -> tuple[Any, ...]:
        """Another thread may copy or pickle the network meanwhile."""
        return partial, (_ignored,)


def _ignored(*args: Any) -> None:
    """A hook that does nothing."""
