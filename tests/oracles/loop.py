"""Reference readings by plain autograd for one sample at a time, in float64."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from oracles.gradients import Start, predicted_error
from oracles.moments import Array

Inputs = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""Inputs of a network: a tensor, *args or **kwargs whose tensors share the first axis."""


def expected_readings(
    model: nn.Module, inputs: Inputs, start: Start = predicted_error
) -> tuple[tuple[str, ...], Array]:
    """Expected layer names and values [N, layers, 8] of a meter; start maps logits to the loss's derivative.

    This supports every network and every use of its parameters, because it runs a copy of the network on each sample
    alone.
    """
    double = copy.deepcopy(_unwrapped(model)).double().eval().requires_grad_()
    first = next(value for value in _values(inputs) if isinstance(value, Tensor))
    # compiled parts run in eager mode
    with torch.enable_grad(), torch.compiler.set_stance("force_eager"):
        logits = torch.cat([_alone(double, inputs, sample) for sample in range(len(first))])
    rows = []
    for row, error in zip(logits, start(logits.detach()), strict=True):
        gradients = torch.autograd.grad(row, list(double.parameters()), error, retain_graph=True, allow_unused=True)
        rows.append([_flat(*pair) for pair in zip(double.parameters(), gradients, strict=True)])
    names = [name.replace("_orig_mod.", "") for name, _ in double.named_parameters()]  # of compiled parts
    owners = [name.rpartition(".")[0] or "root" for name in names]
    layers = tuple(dict.fromkeys(owners))
    values = [[_joined(row, owners, layer) for layer in layers] + [eight_of_one(np.concatenate(row))] for row in rows]
    return (*layers, "all"), np.array(values)


def eight_of_one(gradient: Array) -> Array:
    """The statistics of `oracles.moments.eight` for one gradient with millions of entries, [P] to [8]."""
    scale = np.abs(gradient).max() or 1.0
    unit = gradient / scale
    centred = unit - unit.mean()
    square = centred * centred
    deviation = square.mean() ** 0.5
    skewness, kurtosis = 0.0, 0.0
    if deviation >= 1e-12:
        skewness = square @ centred / unit.size / deviation**3
        kurtosis = square @ square / unit.size / deviation**4 - 3
    norms = scale * np.abs(unit).sum(), scale * np.linalg.norm(unit)
    return np.array([*norms, gradient.min(), gradient.max(), gradient.mean(), scale * deviation, skewness, kurtosis])


def converted(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Apply a function to every tensor of the inputs."""
    if isinstance(inputs, Tensor):
        return change(inputs)
    if isinstance(inputs, Mapping):
        return {name: change(value) if isinstance(value, Tensor) else value for name, value in inputs.items()}
    return tuple(change(value) if isinstance(value, Tensor) else value for value in inputs)


def cast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """Cast the floating-point tensors of the inputs; integers and masks stay unchanged."""
    return converted(inputs, lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)


def chosen(inputs: Inputs, rows: list[int]) -> Inputs:
    """The inputs of these rows, in this order."""
    return converted(inputs, lambda tensor: tensor[rows])


def call(model: nn.Module, inputs: Inputs) -> Tensor:
    """The logits [N, C] of a network."""
    if isinstance(inputs, Tensor):
        output = model(inputs)
    elif isinstance(inputs, Mapping):
        output = model(**inputs)
    else:
        output = model(*inputs)
    logits: Tensor = getattr(output, "logits", output)
    return logits


def _unwrapped(model: nn.Module) -> nn.Module:
    """The network without its wrappers, whose names are not part of the layers' names."""
    while isinstance(inner := getattr(model, "_orig_mod", getattr(model, "module", None)), nn.Module):
        model = inner
    return model


def _values(inputs: Inputs) -> tuple[Any, ...]:
    if isinstance(inputs, Tensor):
        return (inputs,)
    return tuple(inputs.values()) if isinstance(inputs, Mapping) else inputs


def _alone(model: nn.Module, inputs: Inputs, sample: int) -> Tensor:
    """The logits [1, C] of one sample; copied, because networks may modify their input."""
    return call(model, cast(converted(inputs, lambda tensor: tensor[sample : sample + 1].clone()), torch.float64))


def _flat(parameter: Tensor, gradient: Tensor | None) -> Array:
    """The flattened gradient; zeros if the logits do not depend on the parameter."""
    if gradient is None:
        return np.zeros(parameter.numel())
    flat: Array = gradient.to_dense().flatten().numpy()
    return flat


def _joined(gradients: list[Array], owners: list[str], layer: str) -> Array:
    own = [gradient for gradient, owner in zip(gradients, owners, strict=True) if owner == layer]
    return eight_of_one(np.concatenate(own))
