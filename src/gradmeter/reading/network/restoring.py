"""Restore the weights and buffers that a network changes in its forward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn.modules.batchnorm import _BatchNorm

# Names of the weights that a network changes in its forward pass, by network.
_changing_weights: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


@contextmanager
def restored_weights(network: nn.Module) -> Iterator[None]:
    """Restore weights that the network changes in its forward pass, for example of embeddings with `max_norm`.

    The first call for a network copies all weights that may change; later ones copy those that did.
    """
    names = _changing_weights.get(network)
    watched = _weights_that_may_change(network) if names is None else _named(network, names)
    before = {name: (weight, weight.data, weight._version, weight.data.clone()) for name, weight in watched.items()}
    changed = set()
    with _versions_kept(watched.values()):
        try:
            yield
        finally:
            for name, (weight, memory, version, values) in before.items():
                if _was_written(weight, memory, version, values):
                    changed.add(name)
                    weight.data = memory
                    memory.copy_(values)
    if names is None:
        _changing_weights[network] = frozenset(changed)


def _weights_that_may_change(network: nn.Module) -> dict[str, nn.Parameter]:
    """Weights of embeddings, and of modules that are not PyTorch's own, by name."""
    return {
        f"{path}.{name}" if path else name: parameter
        for path, module in network.named_modules()
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) or not type(module).__module__.startswith("torch.nn.")
        for name, parameter in module._parameters.items()
        # Others, for example distributed ones, have no memory of their own.
        if type(parameter) is nn.Parameter and not parameter.is_inference()
    }


def _named(network: nn.Module, names: frozenset[str]) -> dict[str, nn.Parameter]:
    if not names:  # the usual case
        return {}
    return {name: weight for name, weight in network.named_parameters(remove_duplicate=False) if name in names}


@contextmanager
def restored_buffers(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Restore the network's buffers at exit, for example a counter of its calls.

    Where a module replaced a buffer, its other attributes are restored, too: they may say what the buffer is, such as
    for how many positions. Buffers created in inference mode, which a backward pass cannot use, are replaced by copies
    meanwhile. A BatchNorm in eval mode only reads its buffers, which are not copied: there may be hundreds.
    """
    buffers = [
        (module, name, buffer, buffer.data, None if buffer.is_inference() else buffer._version, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        # The class of a traced network has no `forward`.
        if buffer is not None
        and (buffer.is_inference() or getattr(type(module), "forward", None) is not _BatchNorm.forward)
    ]
    before = {module: (vars(module).copy(), _given(module)) for module in {module for module, *_ in buffers}}
    with _versions_kept(buffer for _, _, buffer, _, version, _ in buffers if version is not None):
        try:
            for module, name, _, _, version, values in buffers:
                if version is None:
                    module._buffers[name] = values
            yield
        finally:
            with torch.no_grad():
                for module, name, buffer, memory, version, values in buffers:
                    # The buffers of a traced module are not a dict and have no `get`.
                    if name not in module._buffers or module._buffers[name] is not buffer:
                        if version is not None and _given(module) == before[module][1]:
                            _restore_attributes(module, before[module][0])
                        module._buffers[name] = buffer
                    if version is not None and _was_written(buffer, memory, version, values):
                        if _is_plain(buffer):
                            buffer.data = memory
                        buffer.copy_(values)


def _given(module: nn.Module) -> set[str]:
    """Names of the parts of a module that there are, which a module that is built meanwhile changes."""
    parts = (module._parameters, module._buffers, module._modules)
    return {name for group in parts for name, part in group.items() if part is not None}


def _restore_attributes(module: nn.Module, values: Mapping[str, Any]) -> None:
    """Restore attributes, but those that every module has: its parts, hooks and mode."""
    for name in values.keys() - _OF_EVERY_MODULE:
        vars(module)[name] = values[name]


def _was_written(tensor: Tensor, memory: Tensor, version: int, values: Tensor) -> bool:
    """Whether a tensor had another memory, version counter or other values before.

    Writes through `.data` and by fused operations, as of quantisation-aware training, are not counted.
    """
    if tensor._version != version or not _is_plain(tensor):
        return tensor._version != version
    if tensor.data_ptr() != memory.data_ptr() or tensor.shape != memory.shape:
        return True
    # Booleans are masks, often large ones, whose comparison would take longer than a small network's forward pass.
    if tensor.dtype == torch.bool:
        return False
    try:
        return not torch.equal(tensor, values)
    except RuntimeError:  # PyTorch does not compare some dtypes, for example complex32
        return False


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is one of PyTorch's own whose elements have memory, each its own."""
    own = type(tensor) is Tensor or type(tensor) is nn.Parameter
    strided = tensor.layout == torch.strided and not tensor.is_nested and not tensor.is_meta
    return own and strided and 0 not in tensor.stride()  # an expanded one cannot be written


@contextmanager
def _versions_kept(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Restore the version counters of tensors at exit: to who compares them, nothing was written."""
    with ExitStack() as stack:
        for tensor in tensors:  # PyTorch 2.6 takes one at a time
            stack.enter_context(_unsafe_preserve_version_counter(tensor))
        yield
