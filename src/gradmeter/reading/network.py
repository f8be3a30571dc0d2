"""The network under measurement: who owns its parameters, and the conditions in which it is called."""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from gradmeter.errors import InputError, UnsupportedModelError, one_line
from gradmeter.reading.hooks import of_this_thread
from gradmeter.reading.inputs import Inputs
from gradmeter.stages import stage

_NAMED = 5
_BIAS = re.compile(r"(^|_)bias(_(ih|hh)(_l\d+(_reverse)?)?)?$")
_QUANTISED = ("torch.ao.nn.quantized", "torch.nn.quantized")
# A measurement changes what all threads share: the mode of the network, its hooks, the state of the random generators.
_one_at_a_time = threading.RLock()


class NotFinite(InputError):
    """The logits of some samples, or their gradients, are not finite numbers.

    Attributes:
        rows: which samples of the batch.
        has_logits: whether the logits are finite and only the gradient is not.
    """

    def __init__(self, message: str, rows: Sequence[int] = (), *, has_logits: bool = False) -> None:
        super().__init__(message)
        self.rows, self.has_logits = rows, has_logits

    @classmethod
    def of(cls, rows: Sequence[int], samples: int, *, has_logits: bool = False) -> NotFinite:
        """The error for these rows of a batch of so many samples."""
        named = ", ".join(map(str, rows[:_NAMED])) + (", ..." if len(rows) > _NAMED else "")
        what = "gradient is" if has_logits else "logits are"
        return cls(
            f"the network's {what} not finite for {len(rows)} of {samples} samples (index {named}); "
            "expected finite numbers: check the input and the weights",
            rows,
            has_logits=has_logits,
        )


def unwrapped(model: nn.Module) -> nn.Module:
    """The network itself: compiled code hides its operations, copies on several devices hide its parameters."""
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(model.module)
    if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        return unwrapped(inner)
    return model


def owned_parameters(network: nn.Module, *, biases: bool) -> dict[str, dict[str, nn.Parameter]]:
    """The parameters to measure, by name, of each module that owns one directly ("root" for the network itself).

    A parameter that several modules share counts where it stands first.

    Raises:
        UnsupportedModelError: for a parameter that has no gradient, or if there are none.
    """
    owners: dict[str, dict[str, nn.Parameter]] = {}
    seen: set[int] = set()
    for layer, module in network.named_modules():
        if type(module).__module__.startswith(_QUANTISED):
            raise UnsupportedModelError(
                f"layer {layer!r} ({type(module).__name__}) is quantised and has no gradient; "
                "expected the network before it was quantised"
            )
        if isinstance(module, torch.jit._script.RecursiveScriptModule):
            raise UnsupportedModelError(
                f"layer {layer or 'root'!r} was compiled by torch.jit.script and cannot be watched; expected the "
                "network before it was compiled, or a trace of it"
            )
        for name, parameter in module.named_parameters(recurse=False):
            if id(parameter) in seen or (not biases and _BIAS.search(name)):
                continue
            seen.add(id(parameter))
            _require_differentiable(f"{layer}.{name}" if layer else name, parameter)
            if not parameter.numel():  # no number has no statistics
                continue
            owners.setdefault(layer or "root", {})[name] = parameter
    if not owners:
        raise UnsupportedModelError("the network has no parameters; expected a trained classifier")
    own_names = dict(network.named_modules())
    taken = [name for name in ("all", "root") if name in own_names and (name == "all" or "root" in owners)]
    if taken:
        raise UnsupportedModelError(
            f"the network has a layer called {taken[0]!r}, which stands for the whole network in readings; "
            "expected another name"
        )
    for layer in owners:
        try:
            layer.encode()
        except UnicodeEncodeError as error:
            raise UnsupportedModelError(
                f"the network has a layer called {layer!r}, which is no Unicode and can be no column of readings; "
                "expected another name"
            ) from error
    return owners


def _require_differentiable(name: str, parameter: nn.Parameter) -> None:
    if isinstance(parameter, nn.parameter.UninitializedParameter):
        problem = "is not initialised yet; expected a trained network: call it once on a batch first"
    elif parameter.is_complex():
        problem = f"holds {parameter.dtype} numbers, of which none is the smallest; expected real numbers"
    elif not parameter.is_floating_point():
        problem = f"holds {parameter.dtype} numbers, which have no gradient; expected a network that is not quantised"
    elif parameter.is_inference():
        problem = "was made under torch.inference_mode; expected a network that can be trained"
    else:
        return
    raise UnsupportedModelError(f"parameter {name!r} {problem}")


def require_independent_samples(network: nn.Module) -> None:
    """Check that no module, as it stands, normalises over the batch.

    Raises:
        InputError: for BatchNorm in train mode.
        UnsupportedModelError: for BatchNorm without running statistics, which mixes the samples in every mode.
    """
    for name, module in network.named_modules():
        if not isinstance(module, _BatchNorm):
            continue
        layer = f"layer {name or 'root'!r} ({type(module).__name__})"
        if module.running_mean is None or module.running_var is None:
            raise UnsupportedModelError(
                f"{layer} has no running statistics and normalises over the batch, so a sample has no gradient of its "
                "own; expected track_running_stats=True"
            )
        if module.training:
            raise InputError(
                f"{layer} is in train mode and mixes the samples of a batch; "
                "expected a trained network in eval mode: call model.eval() first"
            )


@contextmanager
def measuring(network: nn.Module) -> Iterator[None]:
    """Eval mode, every parameter differentiable, gradients on, compiled parts eager; all as found after the block.

    Threads wait for each other.

    Raises:
        UnsupportedModelError: if the network overwrites in place what its own backward pass needs.
    """
    with ExitStack() as stack:
        stack.enter_context(_one_at_a_time)
        training = [module for module in network.modules() if module.training]
        frozen = [parameter for parameter in network.parameters() if not parameter.requires_grad]
        devices = {parameter.device for parameter in network.parameters() if parameter.device.type == "cuda"}
        stack.enter_context(torch.random.fork_rng(devices))
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        # Where the compiler was never loaded nothing is compiled, and loading it takes a second.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(_buffers_kept(network))
        stack.enter_context(_weights_computed_anew())
        stack.enter_context(_recurrent_layers_step_by_step(network))
        try:
            for module in training:
                module.training = False
            for parameter in frozen:
                parameter.requires_grad_(True)
            yield
        except RuntimeError as error:
            if "modified by an inplace operation" in str(error):
                raise UnsupportedModelError(
                    "the network overwrites in place what its own backward pass needs; expected a network that can be "
                    "trained: use the out-of-place operation there"
                ) from error
            raise
        finally:
            for module in training:
                module.training = True
            for parameter in frozen:
                parameter.requires_grad_(False)


@contextmanager
def _recurrent_layers_step_by_step(network: nn.Module) -> Iterator[None]:
    """Keep cuDNN, and MIOpen, out of recurrent layers: in eval mode they have no backward pass."""
    before: list[bool] = []

    def switch_off(module: nn.Module, args: Any) -> None:
        before.append(torch.backends.cudnn.enabled)
        torch.backends.cudnn.enabled = False

    def switch_back(module: nn.Module, args: Any, output: Any) -> None:
        # It is called after an error too, even of a hook that came before.
        if before:
            torch.backends.cudnn.enabled = before.pop()

    handles = []
    for module in network.modules():
        if isinstance(module, nn.RNNBase) and any(parameter.device.type != "cpu" for parameter in module.parameters()):
            handles.append(module.register_forward_pre_hook(switch_off))
            handles.append(module.register_forward_hook(switch_back, prepend=True, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _weights_computed_anew() -> Iterator[None]:
    """Pass over what `parametrize.cached` keeps: weights computed where gradients were off lead to no parameter."""
    enabled = parametrize._cache_enabled
    parametrize._cache_enabled = 0
    try:
        yield
    finally:
        parametrize._cache_enabled = enabled


@contextmanager
def _buffers_kept(network: nn.Module) -> Iterator[None]:
    """Undo what a network does to its own buffers, such as counting its calls.

    Copies stand in for buffers that were made in inference mode, which a backward pass cannot use.
    """
    buffers = [
        (module, name, buffer, None if buffer.is_inference() else buffer._version, buffer.clone())
        for module in network.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None
    ]
    try:
        for module, name, _, version, values in buffers:
            if version is None:
                module._buffers[name] = values
        yield
    finally:
        with torch.no_grad():
            for module, name, buffer, version, values in buffers:
                if module._buffers.get(name) is not buffer:
                    module._buffers[name] = buffer
                if version is not None and buffer._version != version:
                    buffer.copy_(values)


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
        inputs: for N samples.
        owners: modules to watch: they must not be called with gradients switched off.

    Returns:
        Logits [N, C] that can be differentiated by the parameters.

    Raises:
        InputError: if it returns something else.
        NotFinite: for numbers that are not finite.
        UnsupportedModelError: if it switches gradients off.
    """
    with _refusing_disabled_gradients(owners):
        logits = answer(network, inputs)
    samples = inputs.samples
    if isinstance(logits, Tensor) and logits.is_complex():
        raise InputError(f"the network returned {logits.dtype} numbers; expected real logits")
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[0] != samples or logits.shape[1] < 2:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"the network returned {given}; expected logits of shape ({samples}, classes >= 2)")
    if rows := not_finite(logits):
        raise NotFinite.of(rows, samples)
    if not logits.requires_grad:
        raise UnsupportedModelError(
            "the network's logits are cut off from its parameters (detached, or no longer floating point); "
            "expected logits that can be differentiated by the weights"
        )
    return logits


def not_finite(logits: Tensor) -> list[int]:
    """Rows of logits [N, C] that hold something else than finite numbers."""
    rows: list[int] = (~torch.isfinite(logits.detach()).all(dim=1)).nonzero().flatten().tolist()
    return rows


def answer(network: nn.Module, inputs: Inputs) -> Any:
    """What a network returns, its `.logits` where it has some."""
    # Copies: a network may write into its input, which is the user's, and which is read more than once.
    inputs = inputs.map(lambda tensor: tensor.clone())
    output = network(*inputs.args, **inputs.kwargs)
    return getattr(output, "logits", output)


@contextmanager
def _refusing_disabled_gradients(owners: Mapping[str, nn.Module]) -> Iterator[None]:
    """Raise where one of the modules is called with gradients switched off."""

    def check_for(layer: str) -> Callable[[nn.Module, Any], None]:
        def check(module: nn.Module, args: Any) -> None:
            if not torch.is_grad_enabled():
                raise UnsupportedModelError(
                    f"layer {layer!r} is called under torch.no_grad or torch.inference_mode, where it has no gradient; "
                    "expected a forward pass without them: freeze parameters with requires_grad_(False) instead"
                )

        return check

    handles = [module.register_forward_pre_hook(of_this_thread(check_for(name))) for name, module in owners.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def weights_hash(network: nn.Module) -> str:
    """SHA-256 of a network's parameters and buffers, with their names, shapes and types."""
    try:
        digest, state = hashlib.sha256(), network.state_dict()
    except Exception as error:  # it may be the network's own
        raise UnsupportedModelError(
            f"state_dict() of {type(network).__name__} failed with {type(error).__name__}: {one_line(error)}; expected "
            "the network's parameters and buffers"
        ) from error
    with stage("hashing the weights", len(state)) as advance:
        for name, value in sorted(state.items()):
            if isinstance(value, Tensor):  # a module may keep state of any kind beside them
                digest.update(f"{name} {value.dtype} {tuple(value.shape)}\0".encode())
                numbers = value.detach().cpu().resolve_conj().resolve_neg()
                dense = numbers if numbers.layout == torch.strided else numbers.to_dense()
                digest.update(dense.contiguous().reshape(-1).view(torch.uint8).numpy().data)
            advance(1)
    return digest.hexdigest()
