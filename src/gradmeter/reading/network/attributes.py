"""Restore what a network keeps in attributes between its calls, such as the positions of the longest text so far."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Attributes that every module has: its parameters, buffers, submodules, hooks and mode.
_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
# Types of most attributes, none of which holds a tensor.
_PLAIN = frozenset({bool, int, float, str, type(None), torch.dtype, torch.device})
# A container of more elements is taken for a vocabulary.
_MANY = 1000


@contextmanager
def restored_attributes(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Restore the attributes of modules that change a buffer, or tensors in attributes.

    Others than tensors say what these are, for example for how many positions. Tensors that were created in inference
    mode, which a backward pass cannot use, are replaced by copies meanwhile.

    Args:
        modules: those that may keep tensors, see `may_keep_tensors`.
    """
    before = [_Attributes(module) for module in modules]
    try:
        for attributes in before:
            attributes.replace_inference_tensors()
        yield
    finally:
        for attributes in before:
            attributes.restore()


def may_keep_tensors(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """The modules that may have tensors as attributes. PyTorch's own have one where a hook computes a weight."""
    return [
        module
        for module in modules
        if (module._forward_pre_hooks or not type(module).__module__.startswith("torch.nn."))
        and not isinstance(module, torch.jit.ScriptModule)
    ]


class _Attributes:
    """The attributes of a module beside its parameters, buffers and submodules."""

    def __init__(self, module: nn.Module) -> None:
        self._module, self._values = module, vars(module).copy()
        self._elements = _elements_of(module)
        self._copies = {
            name: value.copy() for name in self._elements if type(value := self._values[name]) in (dict, list)
        }
        self._parts, self._buffers, self._versions = _parts(module), *_buffers(module)

    def replace_inference_tensors(self) -> None:
        """Replace tensors that were created in inference mode."""
        for name in self._elements:
            value = self._values[name]
            if isinstance(value, Tensor) and value.is_inference():
                vars(self._module)[name] = value.clone()

    def restore(self) -> None:
        """Restore the attributes if tensors changed, but not those of a module that was built meanwhile."""
        if not _are_same(_parts(self._module), self._parts) or not self._tensors_changed():
            return
        now = vars(self._module)
        for name in now.keys() - self._values.keys():
            del now[name]
        for name in self._values.keys() - _OF_EVERY_MODULE:
            now[name] = value = self._values[name]
            if (copy := self._copies.get(name)) is not None:
                value.clear()
                (value.update if isinstance(value, dict) else value.extend)(copy)

    def _tensors_changed(self) -> bool:
        buffers, versions = _buffers(self._module)
        if not _are_same(buffers, self._buffers) or versions != self._versions:
            return True
        elements = _elements_of(self._module)
        pairs = [(elements.get(name, []), self._elements.get(name, [])) for name in elements | self._elements]
        changed = [element for now, before in pairs if not _are_same(now, before) for element in (*now, *before)]
        return any(isinstance(element, Tensor) for element in changed)


def _parts(module: nn.Module) -> list[Any]:
    return [*module._parameters.values(), *module._modules.values()]


def _buffers(module: nn.Module) -> tuple[list[Tensor | None], list[int | None]]:
    """A module's buffers, and their counts of writes."""
    buffers = [*module._buffers.values()]
    return buffers, [None if buffer is None or buffer.is_inference() else buffer._version for buffer in buffers]


def _elements_of(module: nn.Module) -> dict[str, list[Any]]:
    """What a module's attributes hold, by name, without those that cannot hold a tensor."""
    return {
        name: [*_elements(value)]
        for name, value in vars(module).items()
        if type(value) not in _PLAIN and name not in _OF_EVERY_MODULE
    }


def _elements(value: Any) -> Iterator[Any]:
    """The value itself, or what is in a container and in those inside."""
    if type(value) in (dict, list, tuple) and len(value) <= _MANY:
        for element in value.values() if isinstance(value, dict) else value:
            yield from _elements(element)
    else:
        yield value


def _are_same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    return len(first) == len(second) and all(map(lambda one, other: one is other, first, second))
