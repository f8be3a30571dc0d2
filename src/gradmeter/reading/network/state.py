"""The state in which a network is called in a measurement: its mode, gradients, hooks and the switches of PyTorch."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.network.autocast import autocast_set_aside
from gradmeter.reading.network.restoring import despite_interrupt, restored_state
from gradmeter.reading.network.structure import modules_of, parameters_of

# Where attention with biases by position keeps them for each device, in timm and transformers.
_CACHED_BIASES = "attention_bias_cache"
# A measurement changes state that all threads share: the network's mode and hooks, and the random generators.
_measuring_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A process forked during a measurement of another thread would have its state, and wait for it without end.
    os.register_at_fork(
        before=_measuring_lock.acquire,
        after_in_parent=_measuring_lock.release,
        after_in_child=_measuring_lock.release,
    )


@contextmanager
def measuring(
    network: nn.Module, *, gradients: bool = True, of: Collection[nn.Parameter] | None = None
) -> Iterator[None]:
    """Switch to eval mode, differentiable parameters, enabled gradients and eager execution; restore all of it at exit.

    Autocast applies to the network's calls (`answer`) only. Calls from several threads are serialised.

    Args:
        network: the network.
        gradients: False to disable gradients instead, and leave the parameters as they are.
        of: the parameters that are differentiable, while the others are not; None for all.

    Raises:
        UnsupportedModelError: if the network overwrites in place a tensor that a backward pass needs.
    """
    # Not in the stack, from which an interrupt may remove it before it is released.
    with _measuring_lock, ExitStack() as stack:
        modules = modules_of(network)
        parameters = parameters_of(modules)
        chosen = None if of is None else {id(parameter) for parameter in of}
        switched = [
            (parameter, wanted)
            for parameter in parameters
            if gradients and parameter.requires_grad != (wanted := chosen is None or id(parameter) in chosen)
        ]
        devices = {parameter.device for parameter in parameters if parameter.is_cuda}
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))
        stack.enter_context(autocast_set_aside({"cpu", *(parameter.device.type for parameter in parameters)}))
        # If the compiler is not loaded, nothing is compiled; importing it would take a second.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        if gradients:
            stack.enter_context(_computed_weights_put_back(modules))
        stack.enter_context(restored_state(network, modules, gradients=gradients))
        stack.enter_context(_without_backward_hooks(modules))
        stack.enter_context(_uncached_parametrizations())
        if [module for module in modules if _CACHED_BIASES in vars(module)]:
            stack.enter_context(without_cached_biases(modules))
        if gradients:
            stack.enter_context(_recurrent_layers_without_cudnn(modules))
        stack.enter_context(attention_without_fast_path())
        stack.enter_context(eval_mode(modules))
        try:
            for parameter, wanted in switched:
                parameter.requires_grad_(wanted)
            yield
        except RuntimeError as error:
            if "modified by an inplace operation" in str(error):
                raise UnsupportedModelError(
                    "the network overwrites in place a tensor that a backward pass needs, of the same call or an "
                    "earlier one, as an embedding with max_norm does with its weight; use an out-of-place operation "
                    "instead"
                ) from error
            raise
        finally:
            despite_interrupt(lambda: [parameter.requires_grad_(not wanted) for parameter, wanted in switched])


@contextmanager
def eval_mode(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Switch modules to eval mode without a call of their `train`, and back at exit."""
    training = [module for module in modules if module.training]
    try:
        for module in training:
            module.training = False
        yield
    finally:

        def switch_back() -> None:
            for module in training:
                module.training = True

        despite_interrupt(switch_back)


@contextmanager
def _computed_weights_put_back(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Put back the weights that `torch.nn.utils.spectral_norm`, `weight_norm` and `prune` compute before each call.

    With the graph of the measurement the network could not be copied, and the user may still need the earlier ones.
    """
    computed = [
        (vars(module), name)
        for module in modules
        for hook in module._forward_pre_hooks.values()
        if any(kind.__module__.startswith("torch.nn.utils.") for kind in type(hook).__mro__)
        for name in (str(getattr(hook, "name", "") or getattr(hook, "_tensor_name", "")),)
        if isinstance(vars(module).get(name), Tensor)
    ]
    before = [attributes[name] for attributes, name in computed]
    try:
        yield
    finally:
        for (attributes, name), weight in zip(computed, before, strict=True):
            attributes[name] = weight


@contextmanager
def _recurrent_layers_without_cudnn(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Disable cuDNN and MIOpen in recurrent layers, because they have no backward pass in eval mode."""
    before: list[bool] = []

    def switch_off(module: nn.Module, args: Any) -> None:
        before.append(torch.backends.cudnn.enabled)
        torch.backends.cudnn.enabled = False

    def switch_back(module: nn.Module, args: Any, output: Any) -> None:
        # Also called after an error, even if `switch_off` was not called because an earlier hook failed.
        if before:
            torch.backends.cudnn.enabled = before.pop()

    handles = []
    try:
        for module in modules:
            if isinstance(module, nn.RNNBase) and any(weight.device.type != "cpu" for weight in module.parameters()):
                handles.append(module.register_forward_pre_hook(switch_off))
                handles.append(module.register_forward_hook(switch_back, prepend=True, always_call=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _uncached_parametrizations() -> Iterator[None]:
    """Ignore the cache of `parametrize.cached`: weights computed without gradients are detached from the parameters."""
    enabled = parametrize._cache_enabled
    parametrize._cache_enabled -= enabled
    try:
        yield
    finally:
        # A block of `cached` in another thread may have begun or ended.
        parametrize._cache_enabled += enabled
        if not parametrize._cache_enabled:
            parametrize._cache = {}


@contextmanager
def without_cached_biases(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let the attention of LeViT, EfficientFormer and TinyViT compute its biases at each call, not once in eval mode.

    Those of a call without gradients have none, and those of a call with gradients belong to a graph that the first
    backward pass frees. Other threads keep them as ever.
    """
    aside = [(module, biases) for module in modules if type(biases := vars(module).get(_CACHED_BIASES)) is dict]
    try:
        for module, biases in aside:
            setattr(module, _CACHED_BIASES, _Forgotten(biases))
        yield
    finally:
        for module, biases in aside:
            setattr(module, _CACHED_BIASES, biases)


class _Forgotten(MutableMapping[str, Tensor]):
    """A dict that holds nothing in this thread: what is set can be read, but is not said to be there."""

    def __init__(self, kept: dict[str, Tensor]) -> None:
        self._kept, self._thread = kept, threading.get_ident()
        self._last: dict[str, Tensor] = {}

    def _is_mine(self) -> bool:
        return threading.get_ident() == self._thread

    def __contains__(self, key: object) -> bool:
        return not self._is_mine() and key in self._kept

    def __getitem__(self, key: str) -> Tensor:
        return (self._last if self._is_mine() else self._kept)[key]

    def __setitem__(self, key: str, value: Tensor) -> None:
        (self._last if self._is_mine() else self._kept)[key] = value

    def __delitem__(self, key: str) -> None:
        del self._kept[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    def __reduce__(self) -> tuple[Any, ...]:
        """Another thread may copy or pickle the network meanwhile."""
        return dict, (self._kept.copy(),)


@contextmanager
def attention_without_fast_path() -> Iterator[None]:
    """Disable the fused transformer layers that PyTorch uses without gradients.

    They do not call the layers inside, and ignore a dropout that a probe enables.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _without_backward_hooks(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Set aside the modules' backward hooks, which could change the measured gradients and would see those of probes.

    `torch.func` does not support them, and hooks of parameters do not run in a measurement, either.
    """
    kinds = ("_backward_hooks", "_backward_pre_hooks")
    aside = [(module, kind, hooks) for module in modules for kind in kinds if (hooks := vars(module).get(kind))]
    try:
        for module, kind, _ in aside:
            setattr(module, kind, OrderedDict())
        yield
    finally:
        for module, kind, hooks in aside:
            setattr(module, kind, hooks)
