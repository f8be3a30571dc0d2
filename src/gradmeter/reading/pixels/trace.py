"""The operations of a forward pass, to recognise that another pass did the same."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class Trace:
    """Which operations ran, and which tensors each of them read and returned.

    Attributes:
        fingerprint: a hash of all that; tensors count by the order in which they appear, not by their values.
    """

    def __init__(self) -> None:
        self.fingerprint = 0
        self._numbers: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._count = 0

    def add(self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], result: Any) -> None:
        """Record an operation, unless it only looks something up, such as a shape."""
        if func is torch._C._set_grad_enabled:
            self.fingerprint = hash((self.fingerprint, func, args))
        if returned := self._numbered((result,)):
            read = self._numbered((*args, *kwargs.values()))
            self.fingerprint = hash((self.fingerprint, func, read, returned, torch.is_inference_mode_enabled()))

    def _numbered(self, values: tuple[Any, ...] | list[Any]) -> tuple[int, ...]:
        """The numbers of the tensors among the values, and in lists and tuples among them."""
        numbers: list[int] = []
        for value in values:
            if isinstance(value, Tensor):
                key = id(value)
                known = self._numbers.get(key)
                if known is None or known[0]() is not value:  # an identifier may be used again
                    self._count += 1
                    self._numbers[key] = known = weakref.ref(value), self._count
                numbers.append(known[1])
            elif isinstance(value, list | tuple):
                numbers += self._numbered(value)
        return tuple(numbers)
