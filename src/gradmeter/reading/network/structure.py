"""The modules and parameters of a network, and which module owns which parameter."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from gradmeter.errors import InputError, UnsupportedModelError

# A pruned one is called bias_orig.
_BIAS = re.compile(r"(^|_)bias(_(ih|hh)(_l\d+(_reverse)?)?)?(_orig)?$")
NO_VALUES = "is on the device meta and has no values; expected a network with its weights"
FORWARD_ONLY = 'read only the forward pass with GradientMeter(model, gradients=False) or reads="forward"'
_QUANTISED = ("torch.ao.nn.quantized", "torch.nn.quantized")


def unwrapped(model: nn.Module) -> nn.Module:
    """The network without torch.compile, which hides its operations, and without wrappers for several devices."""
    if isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return unwrapped(model.module)
    if isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):
        return unwrapped(inner)
    return model


def runs_forward_of(module: nn.Module, kind: type[nn.Module]) -> bool:
    """Whether a module runs the `forward` of a class: neither that of a subclass nor one that the module was given."""
    return getattr(module.forward, "__func__", None) is kind.forward


def uncompiled(name: str) -> str:
    """The name of a module or tensor without the parts that torch.compile of a part of the network adds."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def named_layers(network: nn.Module) -> dict[str, nn.Module]:
    """The modules of a network by name, as if no part of it were compiled."""
    return {uncompiled(name): module for name, module in network.named_modules()}


def owned_parameters(network: nn.Module, *, biases: bool) -> dict[str, dict[str, nn.Parameter]]:
    """The parameters to measure, by name, for each module that owns some directly ("root" is the network itself).

    A shared parameter belongs to its first owner.

    Raises:
        UnsupportedModelError: if a parameter has no gradient, if there is no parameter, or if the name of a layer
            cannot be used in readings.
    """
    owners: dict[str, dict[str, nn.Parameter]] = {}
    seen: set[int] = set()
    modules = named_layers(network)
    for layer, module in modules.items():
        if type(module).__module__.startswith(_QUANTISED):
            raise UnsupportedModelError(
                f"layer {layer!r} ({type(module).__name__}) is quantised and has no gradient; "
                "expected the network before quantisation"
            )
        if isinstance(module, torch.jit._script.RecursiveScriptModule):
            raise UnsupportedModelError(
                f"layer {layer or 'root'!r} was compiled by torch.jit.script, which hides its operations; expected the "
                "network before compilation"
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
        problem = NO_VALUES
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
    for name, module in named_layers(network).items() if mixing else ():
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


def require_registered_parameters(network: nn.Module) -> None:
    """Check that the modules compute with the parameters that they register.

    FullyShardedDataParallel puts views of a parameter of its own in their places.

    Raises:
        UnsupportedModelError: if they do not.
    """
    fsdp = sys.modules.get("torch.distributed.fsdp")
    if fsdp is None:  # no network is wrapped
        return
    for name, module in named_layers(network).items():
        if isinstance(module, fsdp.FullyShardedDataParallel):
            raise UnsupportedModelError(
                f"layer {name or 'root'!r} is wrapped in FullyShardedDataParallel, which replaces its parameters; "
                f"expected the network before it was wrapped, or {FORWARD_ONLY}"
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


def ownership(network: nn.Module) -> list[tuple[int, int]]:
    """The identities of the modules that own parameters, and of these: others tell that a layer was replaced."""
    return [
        (id(module), id(parameter))
        for module in modules_of(network)
        for parameter in module._parameters.values()
        if parameter is not None
    ]


def owning_modules(network: nn.Module) -> dict[str, nn.Module]:
    """The modules that own parameters directly, by name."""
    return {
        name or "root": module
        for name, module in named_layers(network).items()
        if any(True for _ in module.parameters(recurse=False))
    }
