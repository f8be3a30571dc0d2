"""The measured network: which modules own its parameters, and the state in which it is called."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from gradmeter.errors import InputError, UnsupportedModelError, one_line
from gradmeter.names import listed
from gradmeter.reading.hooks import OfThisThread
from gradmeter.reading.inputs import Inputs
from gradmeter.stages import stage

_MAX_LISTED_ROWS = 5
# A pruned one is called bias_orig.
_BIAS = re.compile(r"(^|_)bias(_(ih|hh)(_l\d+(_reverse)?)?)?(_orig)?$")
_NO_VALUES = "is on the device meta and has no values; expected a network with its weights"
_QUANTISED = ("torch.ao.nn.quantized", "torch.nn.quantized")
# A measurement changes state that all threads share: the network's mode and hooks, and the random generators.
_measuring_lock = threading.RLock()
if hasattr(os, "register_at_fork"):
    # A process forked during a measurement of another thread would have its state, and wait for it without end.
    os.register_at_fork(
        before=_measuring_lock.acquire,
        after_in_parent=_measuring_lock.release,
        after_in_child=_measuring_lock.release,
    )
# Names of the weights that a network changes in its forward pass, by network.
_changing_weights: WeakKeyDictionary[nn.Module, frozenset[str]] = WeakKeyDictionary()
# Device types and dtypes of the autocast in which a measurement was called.
_autocast: ContextVar[tuple[tuple[str, torch.dtype], ...]] = ContextVar("_autocast", default=())


class NotFinite(InputError):
    """The logits or gradients of some samples are not finite.

    Attributes:
        rows: indices of these samples in the batch.
        has_logits: whether their logits are finite and only the gradients are not.
    """

    def __init__(self, message: str, rows: Sequence[int] = (), *, has_logits: bool = False) -> None:
        super().__init__(message)
        self.rows, self.has_logits = rows, has_logits

    @classmethod
    def of(cls, rows: Sequence[int], samples: int, *, has_logits: bool = False) -> NotFinite:
        """The error for these rows of a batch of `samples` samples."""
        subject = "gradient is" if has_logits else "logits are"
        return cls(
            f"the network's {subject} not finite for {len(rows)} of {samples} samples (index "
            f"{listed(rows, _MAX_LISTED_ROWS)}); expected finite numbers: check the input and the weights",
            rows,
            has_logits=has_logits,
        )


def unwrapped(model: nn.Module) -> nn.Module:
    """The network without torch.compile, which hides its operations, and without wrappers for several devices."""
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(model.module)
    if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        return unwrapped(inner)
    return model


def owned_parameters(network: nn.Module, *, biases: bool) -> dict[str, dict[str, nn.Parameter]]:
    """The parameters to measure, by name, for each module that owns some directly ("root" is the network itself).

    A shared parameter belongs to its first owner.

    Raises:
        UnsupportedModelError: if a parameter has no gradient, if there is no parameter, or if the name of a layer
            cannot be used in readings.
    """
    owners: dict[str, dict[str, nn.Parameter]] = {}
    seen: set[int] = set()
    for layer, module in network.named_modules():
        if type(module).__module__.startswith(_QUANTISED):
            raise UnsupportedModelError(
                f"layer {layer!r} ({type(module).__name__}) is quantised and has no gradient; "
                "expected the network before quantisation"
            )
        if isinstance(module, torch.jit._script.RecursiveScriptModule):
            raise UnsupportedModelError(
                f"layer {layer or 'root'!r} was compiled by torch.jit.script, which hides its operations; expected the "
                "network before compilation, or a torch.jit.trace of it"
            )
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen or (not biases and _BIAS.search(_computed_name(layer, module, name))):
                continue
            seen.add(id(parameter))
            _require_differentiable(f"{layer}.{name}" if layer else name, parameter)
            if not parameter.numel():  # an empty tensor has no statistics
                continue
            owners.setdefault(layer or "root", {})[name] = parameter
    if not owners:
        raise UnsupportedModelError("the network has no parameters; expected a trained classifier")
    modules = dict(network.named_modules())
    reserved = [name for name in ("all", "root") if name in modules and (name == "all" or "root" in owners)]
    if reserved:
        raise UnsupportedModelError(
            f"the network has a layer called {reserved[0]!r}, a name that readings reserve for the whole network; "
            "expected another name"
        )
    for layer in owners:
        try:
            layer.encode()
        except UnicodeEncodeError as error:
            raise UnsupportedModelError(
                f"the network has a layer called {layer!r}, which is not valid Unicode and cannot name a column; "
                "expected another name"
            ) from error
    return owners


def _computed_name(layer: str, module: nn.Module, name: str) -> str:
    """The name of the parameter that is computed from a parameter, or its own name."""
    return layer.rpartition(".")[2] if isinstance(module, parametrize.ParametrizationList) else name


def _require_differentiable(name: str, parameter: nn.Parameter) -> None:
    if isinstance(parameter, nn.parameter.UninitializedParameter):
        problem = "is not initialised; expected a trained network: call it once on a batch first"
    elif parameter.is_complex():
        problem = f"has dtype {parameter.dtype}, for which minimum and maximum are undefined; expected a real dtype"
    elif not parameter.is_floating_point():
        problem = f"has dtype {parameter.dtype}, which has no gradient; expected a network that is not quantised"
    elif parameter.is_meta:
        problem = _NO_VALUES
    elif parameter.is_inference():
        problem = "was created under torch.inference_mode; expected a network that can be trained"
    else:
        return
    raise UnsupportedModelError(f"parameter {name!r} {problem}")


def require_independent_samples(network: nn.Module) -> None:
    """Check that no module normalises over the batch in its current mode.

    Raises:
        InputError: if a BatchNorm is in train mode.
        UnsupportedModelError: if a BatchNorm has no running statistics, because it mixes the samples in every mode.
    """
    norms = [module for module in modules_of(network) if isinstance(module, _BatchNorm)]
    mixing = [norm for norm in norms if norm.training or norm.running_mean is None or norm.running_var is None]
    for name, module in network.named_modules() if mixing else ():
        if not any(module is norm for norm in mixing):
            continue
        layer = f"layer {name or 'root'!r} ({type(module).__name__})"
        if module.running_mean is None or module.running_var is None:
            raise UnsupportedModelError(
                f"{layer} has no running statistics and normalises over the batch, so per-sample gradients are "
                "undefined; expected track_running_stats=True"
            )
        raise InputError(
            f"{layer} is in train mode and mixes the samples of a batch; "
            "expected a trained network in eval mode: call model.eval() first"
        )


def modules_of(network: nn.Module) -> list[nn.Module]:
    """The modules of a network, each once. For a single sample the time of `nn.Module.modules` would count."""
    modules, seen = [network], {network}
    for module in modules:  # the list grows meanwhile
        for child in module._modules.values():
            if child is not None and child not in seen:
                seen.add(child)
                modules.append(child)
    return modules


def parameters_of(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """The parameters that the modules own directly; shared ones several times."""
    return [parameter for module in modules for parameter in module._parameters.values() if parameter is not None]


@contextmanager
def measuring(network: nn.Module, *, gradients: bool = True) -> Iterator[None]:
    """Switch to eval mode, differentiable parameters, enabled gradients and eager execution; restore all of it at exit.

    Autocast applies to the network's calls (`answer`) only. Calls from several threads are serialised.

    Args:
        network: the network.
        gradients: False to disable gradients instead, and leave the parameters as they are.

    Raises:
        UnsupportedModelError: if the network overwrites in place a tensor that its backward pass needs.
    """
    with ExitStack() as stack:
        stack.enter_context(_measuring_lock)
        modules = modules_of(network)
        parameters = parameters_of(modules)
        training = [module for module in modules if module.training]
        frozen = [parameter for parameter in parameters if gradients and not parameter.requires_grad]
        devices = {parameter.device for parameter in parameters if parameter.is_cuda}
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))
        stack.enter_context(_autocast_set_aside({"cpu", *(parameter.device.type for parameter in parameters)}))
        # If the compiler is not loaded, nothing is compiled; importing it would take a second.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_restored_buffers(modules))
        stack.enter_context(_restored_weights(network))
        stack.enter_context(_without_backward_hooks(modules))
        stack.enter_context(_uncached_parametrizations())
        if gradients:
            stack.enter_context(_recurrent_layers_without_cudnn(modules))
        stack.enter_context(attention_without_fast_path())
        try:
            for module in training:
                module.training = False
            for parameter in frozen:
                parameter.requires_grad_(True)
            yield
        except RuntimeError as error:
            if "modified by an inplace operation" in str(error):
                raise UnsupportedModelError(
                    "the network overwrites in place a tensor that its backward pass needs; expected a network that "
                    "can be trained: use an out-of-place operation instead"
                ) from error
            raise
        finally:
            for module in training:
                module.training = True
            for parameter in frozen:
                parameter.requires_grad_(False)


@contextmanager
def _autocast_set_aside(devices: set[str]) -> Iterator[None]:
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
    # A traced network is called in no measurement, and the second look of an exported judge cannot read a ContextVar.
    enabled = () if torch.compiler.is_compiling() else _autocast.get()
    with ExitStack() as stack:
        for device, dtype in enabled:
            stack.enter_context(torch.autocast(device, dtype=dtype, cache_enabled=False))
        yield


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
    for module in modules:
        if isinstance(module, nn.RNNBase) and any(parameter.device.type != "cpu" for parameter in module.parameters()):
            handles.append(module.register_forward_pre_hook(switch_off))
            handles.append(module.register_forward_hook(switch_back, prepend=True, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _uncached_parametrizations() -> Iterator[None]:
    """Ignore the cache of `parametrize.cached`: weights computed without gradients are detached from the parameters."""
    enabled = parametrize._cache_enabled
    parametrize._cache_enabled = 0
    try:
        yield
    finally:
        parametrize._cache_enabled = enabled


@contextmanager
def attention_without_fast_path() -> Iterator[None]:
    """Disable the fused transformer layers that PyTorch uses without gradients.

    They do not call the layers inside, and ignore a dropout that a probe enables.
    """
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
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


@contextmanager
def _restored_weights(network: nn.Module) -> Iterator[None]:
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
def _restored_buffers(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Restore the network's buffers at exit, for example a counter of its calls.

    Buffers created in inference mode, which a backward pass cannot use, are replaced by copies meanwhile. A BatchNorm
    in eval mode only reads its buffers, which are not copied: there may be hundreds.
    """
    buffers = [
        (module, name, buffer, buffer.data, None if buffer.is_inference() else buffer._version, buffer.clone())
        for module in modules
        for name, buffer in module._buffers.items()
        # The class of a traced network has no `forward`.
        if buffer is not None
        and (buffer.is_inference() or getattr(type(module), "forward", None) is not _BatchNorm.forward)
    ]
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
                        module._buffers[name] = buffer
                    if version is not None and _was_written(buffer, memory, version, values):
                        if _is_plain(buffer):
                            buffer.data = memory
                        buffer.copy_(values)


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
    except NotImplementedError:  # PyTorch does not compare some dtypes, for example complex32
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


def owning_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that own parameters directly, by name."""
    return {
        name or "root": module
        for name, module in network.named_modules()
        if any(True for _ in module.parameters(recurse=False))
    }


def logits_of(network: nn.Module, inputs: Inputs, owners: Mapping[str, nn.Module]) -> Tensor:
    """Call the network.

    Args:
        network: the network.
        inputs: inputs of N samples.
        owners: modules that must not be called with gradients disabled, by name.

    Returns:
        Logits [N, C]; if gradients are enabled, they can be differentiated with respect to the parameters.

    Raises:
        InputError: if the network returns something else.
        NotFinite: if logits are not finite.
        UnsupportedModelError: if one of the modules is called with gradients disabled, or if the logits are detached.
    """
    with _reject_disabled_gradients(owners):
        logits = answer(network, inputs)
    samples = inputs.samples
    if isinstance(logits, Tensor) and logits.is_complex():
        raise InputError(f"the network returned logits of dtype {logits.dtype}; expected a real dtype")
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[0] != samples or logits.shape[1] < 2:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(
            f"the network returned {given}; expected logits of shape ({samples}, classes >= 2)"
            f"{_advice(logits, samples)}"
        )
    if rows := not_finite(logits):
        raise NotFinite.of(rows, samples)
    if torch.is_grad_enabled() and not logits.requires_grad:
        raise UnsupportedModelError(
            "the network's logits do not depend differentiably on its parameters (detached, or converted to an integer "
            "dtype); expected logits that can be differentiated with respect to the weights"
        )
    return logits


def _advice(output: Any, samples: int) -> str:
    """What to return instead of an output that is no logits [N, C]; empty if that is not clear."""
    if not isinstance(output, Tensor):
        return '; of several outputs, return the logits alone, or a dict with "logits"'
    # As of binary classifiers, whose loss is a binary cross entropy.
    if tuple(output.shape) in ((samples,), (samples, 1)):
        return "; of one logit z for two classes, return the logits 0 and z"
    if output.dim() == 1 and samples == 1:
        return "; keep the axis of the samples for a single one, too, with flatten(1) in place of squeeze()"
    return ""


def not_finite(logits: Tensor) -> list[int]:
    """Indices of the rows of logits [N, C] that contain NaN or infinity."""
    finite = torch.isfinite(logits.detach())
    if finite.all():
        return []
    rows: list[int] = (~finite.all(dim=1)).nonzero().flatten().tolist()
    return rows


def answer(network: nn.Module, inputs: Inputs) -> Any:
    """The output of a network, or its `.logits` attribute or entry if it has one."""
    # Copies, because a network may modify its input in place, which belongs to the user and is used again.
    inputs = inputs.map(lambda tensor: tensor.clone())
    with autocast_of_caller():
        output = network(*inputs.args, **inputs.kwargs)
    if isinstance(output, Mapping) and "logits" in output:
        return output["logits"]
    return getattr(output, "logits", output)


@contextmanager
def _reject_disabled_gradients(owners: Mapping[str, nn.Module]) -> Iterator[None]:
    """Raise UnsupportedModelError if one of the modules is called with gradients disabled."""

    def check_for(layer: str) -> Callable[[nn.Module, Any], None]:
        def check(module: nn.Module, args: Any) -> None:
            if not torch.is_grad_enabled():
                raise UnsupportedModelError(
                    f"layer {layer!r} is called under torch.no_grad or torch.inference_mode and has no gradient there; "
                    "expected a forward pass without them: freeze parameters with requires_grad_(False) instead"
                )

        return check

    handles = [module.register_forward_pre_hook(OfThisThread(check_for(name))) for name, module in owners.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def weights_hash(network: nn.Module) -> str:
    """SHA-256 hex digest of parameters and buffers, with their names, shapes and dtypes, and of `adapters_in_use`.

    Raises:
        UnsupportedModelError: if the network's state_dict() fails, or has tensors without values.
    """
    try:
        digest, state = hashlib.sha256(), network.state_dict()
    except Exception as error:  # networks may override state_dict
        raise UnsupportedModelError(
            f"state_dict() of {type(network).__name__} failed with {type(error).__name__}: {one_line(error)}; expected "
            "the network's parameters and buffers"
        ) from error
    with stage("hashing the weights", len(state)) as advance:
        for name, value in sorted(state.items()):
            if isinstance(value, Tensor):  # a module may add other state
                if value.is_meta:
                    raise UnsupportedModelError(f"{name!r} {_NO_VALUES}")
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
                for part in _wrapped(value):
                    numbers = part.detach().cpu().resolve_conj().resolve_neg()
                    dense = numbers if numbers.layout == torch.strided else numbers.to_dense()
                    digest.update(dense.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            advance(1)
    for name, adapters in adapters_in_use(network):
        digest.update(f"{name} {adapters}\0".encode())
    return digest.hexdigest()


def adapters_in_use(network: nn.Module) -> list[tuple[str, tuple[str, ...]]]:
    """The layers that have adapters, as of peft, and which of these they use now: the weights do not tell."""
    return [
        (name, () if module.disable_adapters else tuple([active] if isinstance(active, str) else active))
        for name, module in network.named_modules()
        if isinstance(getattr(type(module), "disable_adapters", None), property)
        # Before peft 0.15 a layer that it saves whole, as a new last one, has no list of them; layers of others may
        # have nothing but a list.
        for active in (getattr(module, "active_adapter", getattr(module, "active_adapters", ())) or (),)
    ]


def wraps_numbers(tensor: Tensor) -> bool:
    """Whether other tensors hold its numbers, as those of a quantised weight of torchao."""
    return hasattr(tensor, "__tensor_flatten__")


def is_spread(tensor: Tensor) -> bool:
    """Whether each process has a part of a tensor only, as with FSDP and tensor parallelism (DTensor)."""
    return hasattr(tensor, "full_tensor")


def _wrapped(tensor: Tensor) -> Iterator[Tensor]:
    """The tensors that hold the numbers of one that wraps them; else the tensor itself, with the parts of all."""
    if is_spread(tensor):
        yield from _wrapped(tensor.full_tensor())  # type: ignore[attr-defined]
        return
    if not wraps_numbers(tensor):
        yield tensor
        return
    names, _ = tensor.__tensor_flatten__()  # type: ignore[attr-defined]
    for name in names:
        yield from _wrapped(getattr(tensor, name))
