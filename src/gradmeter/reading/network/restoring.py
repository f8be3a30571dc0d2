"""Restore what a network changes in its forward pass: weights, buffers, and the attributes that belong to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn.modules.batchnorm import _BatchNorm

# Names of the weights that a network changes in its forward pass, by network.
_changing_weights: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


@contextmanager
def restored_state(network: nn.Module, modules: Sequence[nn.Module], *, gradients: bool) -> Iterator[None]:
    """Restore the network's weights and buffers at exit, such as those of embeddings with `max_norm`, or counters.

    The attributes of a module whose weights or buffers changed are restored, too: they may say what these hold, for
    example for how many positions. So are its inner modules without weights and buffers. A module that is built further
    stays as the forward pass leaves it. So do changed weights where any module lost others, which may have been folded
    into them.

    The first call for a network copies all weights that may change; later ones copy those that did.

    Args:
        network: the network.
        modules: its modules.
        gradients: whether gradients of the weights are read; then a weight that is replaced by another one stays so.
    """
    buffers, is_first = _buffers(modules), network not in _changing_weights
    parts, copied = [*_weights(network), *buffers], [part for part in buffers if part.tensor is not part.given]
    before = {module: _State.of(module) for module in (modules if is_first else {part.module for part in parts})}
    with _versions_kept(part.tensor for part in parts):
        try:
            for part in copied:
                part.group[part.name] = part.tensor
            yield
        finally:
            changed: list[_Part] = []

            def restore() -> None:
                changed[:] = [part for part in parts if part.is_changed()]
                with torch.no_grad():
                    _restore(changed, before, gradients=gradients)
                    for part in copied:
                        part.give_back()

            despite_interrupt(restore)
    if is_first:
        written = {id(part.tensor) for part in changed}
        named = network.named_parameters(remove_duplicate=False)
        _changing_weights[network] = frozenset(name for name, weight in named if id(weight) in written)


def despite_interrupt(restore: Callable[[], object]) -> None:
    """Call a function that restores something; again if an interrupt (Ctrl-C) ends it, which is passed on."""
    try:
        restore()
    except KeyboardInterrupt:
        restore()
        raise


def _restore(changed: Sequence[_Part], before: Mapping[nn.Module, _State], *, gradients: bool) -> None:
    if not changed:  # the usual case
        return
    modules, now = {part.module for part in changed}, {module: _State.of(module) for module in before}
    left = {module for module in modules if before[module].is_built_further(now[module], gradients=gradients)}
    if any(state.has_lost_modules(now[module]) for module, state in before.items()):
        left.update(part.module for part in changed if isinstance(part.given, nn.Parameter))
    for module in modules - left:
        before[module].restore(module)
    for part in changed:
        if part.module not in left:
            part.restore()


class _State(NamedTuple):
    """What a module holds before the forward pass.

    Attributes:
        attributes: all that is no part of it, and what every module has.
        weights: by name.
        buffers: their names.
        inner: its inner modules by name.
    """

    attributes: dict[str, Any]
    weights: dict[str, nn.Parameter]
    buffers: set[str]
    inner: dict[str, nn.Module]

    @classmethod
    def of(cls, module: nn.Module) -> _State:
        """Refer to what a module holds now."""
        # The parts of a traced module are no dicts.
        return cls(
            vars(module).copy(),
            {name: weight for name, weight in module._parameters.items() if weight is not None},
            {name for name, buffer in module._buffers.items() if buffer is not None},
            {name: inner for name, inner in module._modules.items() if inner is not None},
        )

    def has_lost_modules(self, now: _State) -> bool:
        """Whether the module lost inner modules with weights or buffers."""
        return _has_others(self.inner, now.inner)

    def is_built_further(self, now: _State, *, gradients: bool) -> bool:
        """Whether the module has more parts, other inner modules, or other weights, if these have gradients."""
        replaced = (weight for name, weight in now.weights.items() if self.weights.get(name) is not weight)
        return (
            not now.weights.keys() <= self.weights.keys()
            or not now.buffers <= self.buffers
            or _has_others(now.inner, self.inner)
            or self.has_lost_modules(now)
            or (gradients and any(weight.requires_grad for weight in replaced))
        )

    def restore(self, module: nn.Module) -> None:
        """Give the module its inner modules and attributes back, but those that every module has, as hooks and mode."""
        attributes, inner = vars(module), dict(module._modules.items())
        for name in (self.attributes.keys() | attributes.keys()) - _OF_EVERY_MODULE - inner.keys():
            if name in self.attributes:
                attributes[name] = self.attributes[name]
            else:
                del attributes[name]
        for name, before in self.inner.items():
            if inner.get(name) is not before:
                module._modules[name] = before


def _has_others(modules: Mapping[str, nn.Module], others: Mapping[str, nn.Module]) -> bool:
    """Whether some of the modules are not the others of these names, but for those without weights and buffers."""
    return any(
        others.get(name) is not module and any(True for _ in chain(module.parameters(), module.buffers()))
        for name, module in modules.items()
    )


class _Part(NamedTuple):
    """A weight or buffer before the forward pass.

    Attributes:
        module: the module that it belongs to.
        group: the module's weights or buffers by name; those of a traced module are no dict.
        name: its name.
        given: the tensor itself.
        tensor: the same; a copy, which a backward pass can use, if `given` was created in inference mode.
        memory: the memory of `tensor`.
        version: its version counter.
        values: a copy of it.
    """

    module: nn.Module
    group: MutableMapping[str, Any]
    name: str
    given: Tensor
    tensor: Tensor
    memory: Tensor
    version: int
    values: Tensor

    @classmethod
    def of(cls, module: nn.Module, group: MutableMapping[str, Any], name: str, given: Tensor) -> _Part:
        """Copy what can be restored."""
        tensor = given.clone() if given.is_inference() else given
        return cls(module, group, name, given, tensor, tensor.data, tensor._version, tensor.detach().clone())

    def is_changed(self) -> bool:
        """Whether the module has another tensor now, or this one was written."""
        return not self._is_in_place() or _was_written(self.tensor, self.memory, self.version, self.values)

    def restore(self) -> None:
        """Give the module the tensor with its values back."""
        if not self._is_in_place():
            self.group[self.name] = self.tensor
        if _was_written(self.tensor, self.memory, self.version, self.values):
            if _is_plain(self.tensor):
                self.tensor.data = self.memory
            self.tensor.copy_(self.values)

    def give_back(self) -> None:
        """Replace an unchanged copy by the tensor itself."""
        if not self.is_changed():
            self.group[self.name] = self.given

    def _is_in_place(self) -> bool:
        # The buffers of a traced module have no `get`.
        return self.name in self.group and self.group[self.name] is self.tensor


def _weights(network: nn.Module) -> list[_Part]:
    """The weights that may change: of embeddings, and of modules that are not PyTorch's own."""
    names = _changing_weights.get(network)
    if names is not None and not names:  # the usual case
        return []
    return [
        _Part.of(module, module._parameters, name, parameter)
        for path, module in network.named_modules()
        for name, parameter in module._parameters.items()
        # Others, for example distributed ones, have no memory of their own.
        if type(parameter) is nn.Parameter and not parameter.is_inference()
        if (_may_change(module) if names is None else (f"{path}.{name}" if path else name) in names)
    ]


def _may_change(module: nn.Module) -> bool:
    return isinstance(module, nn.Embedding | nn.EmbeddingBag) or not type(module).__module__.startswith("torch.nn.")


def _buffers(modules: Iterable[nn.Module]) -> list[_Part]:
    """The buffers. A BatchNorm in eval mode only reads its own, which are not copied: there may be hundreds."""
    return [
        _Part.of(module, module._buffers, name, buffer)
        for module in modules
        for name, buffer in module._buffers.items()
        # The class of a traced network has no `forward`.
        if buffer is not None
        and (buffer.is_inference() or getattr(type(module), "forward", None) is not _BatchNorm.forward)
    ]


def _was_written(tensor: Tensor, memory: Tensor, version: int, values: Tensor) -> bool:
    """Whether a tensor had another memory, version counter or other values before.

    Writes through `.data` and by fused operations, as of quantisation-aware training, are not counted.
    """
    if tensor._version != version or not _is_plain(tensor):
        return tensor._version != version
    if tensor.data_ptr() != memory.data_ptr() or tensor.shape != memory.shape:
        return True
    # Booleans are masks, often large ones, whose comparison would take longer than a small network's forward pass; a
    # single one is a flag.
    if tensor.dtype == torch.bool and tensor.numel() > 1:
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
