"""Reference per-sample gradients, materialised in float64 by torch.func."""

import copy
import warnings
from collections.abc import Callable

import mpmath
import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from oracles.moments import Array, eight

Start = Callable[[Tensor], Tensor]


def exact_log_scale(logits: Tensor) -> Array:
    """log(1 - p) of the predicted class, [N], computed with 60 digits from logits [N, C]."""
    return np.array([float(mpmath.log(-_error(row)[row.argmax()])) for row in logits.double().numpy()])


def predicted_error(logits: Tensor) -> Tensor:
    """p - e_y, the derivative of -log p at the predicted class, [N, C], computed with 60 digits and then rounded."""
    rows = [[float(entry) for entry in _error(row)] for row in logits.double().numpy()]
    return torch.tensor(rows, dtype=torch.float64)


def _error(logits: Array) -> list[mpmath.mpf]:
    with mpmath.workdps(60):
        weights = [mpmath.exp(mpmath.mpf(float(z))) for z in logits]
        total = mpmath.fsum(weights)
        predicted = int(logits.argmax())
        error = [weight / total for weight in weights]
        # p - 1 without the cancellation
        error[predicted] = -mpmath.fsum(weight for index, weight in enumerate(weights) if index != predicted) / total
        return error


def per_sample(model: nn.Module, inputs: Tensor, cotangent: Tensor) -> dict[str, Array]:
    """J^T v for each sample: {parameter name: [N, *shape]} for inputs [N, ...] and v [N, *out], in float64."""
    double = copy.deepcopy(model).double().eval()
    parameters = {name: parameter.detach() for name, parameter in double.named_parameters()}

    def weighted(values: dict[str, Tensor], sample: Tensor, v: Tensor) -> Tensor:
        return (functional_call(double, values, (sample.unsqueeze(0),)).squeeze(0) * v).sum()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vmap warns about operations that it runs in a loop
        gradients = vmap(grad(weighted), in_dims=(None, 0, 0))(parameters, inputs.double(), cotangent.double())
    return {name: gradient.detach().numpy() for name, gradient in gradients.items()}


def logits_of(model: nn.Module, inputs: Tensor) -> Tensor:
    """The float64 logits [N, C] in eval mode."""
    with torch.no_grad():
        logits: Tensor = copy.deepcopy(model).double().eval()(inputs.double().clone())
    return logits


def expected_readings(
    model: nn.Module, inputs: Tensor, start: Start = predicted_error, *, biases: bool = True
) -> tuple[tuple[str, ...], Array]:
    """Expected layer names and values [N, layers, 8] of a meter; start maps logits to the loss's derivative."""
    gradients = per_sample(model, inputs, start(logits_of(model, inputs)))
    layers: dict[str, list[Array]] = {}
    for name, gradient in gradients.items():
        layer, _, parameter = name.rpartition(".")
        if biases or parameter not in ("bias", "in_proj_bias"):
            layers.setdefault(layer or "root", []).append(gradient.reshape(len(gradient), -1))
    joined = {layer: np.concatenate(parts, axis=1) for layer, parts in layers.items()}
    joined["all"] = np.concatenate(list(joined.values()), axis=1)
    return tuple(joined), np.stack([eight(gradient) for gradient in joined.values()], axis=1)
