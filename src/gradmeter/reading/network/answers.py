"""Call a network and check its logits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.errors import InputError, UnsupportedModelError
from gradmeter.reading.hooks import Hooks
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network.autocast import autocast_of_caller
from gradmeter.reading.network.loss_gradients import loss_gradients
from gradmeter.reading.network.not_finite import NotFinite, not_finite

# Samples in a batch where those with non-finite logits are looked for.
_FEW = 8
# Largest difference between a sample's logits alone and in a batch, relative to the largest logit.
_LOGIT_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-2}
_LOGIT_TOLERANCE_HALF = 0.1
# Largest difference between 1 and a sum of probabilities that were rounded to 16 bits.
_SUM_TOLERANCE = 5e-3
# Outputs of trained sigmoids differ by more than this; of fewer outputs, it tells nothing.
_SPREAD, _TELLING = 0.5, 64


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
    with Hooks() as hooks:
        for name, module in owners.items():
            hooks.before(module, _refuse_disabled_gradients(name))
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


def answer(network: nn.Module, inputs: Inputs) -> Any:
    """The output of a network, or its `.logits` attribute or entry if it has one."""
    # Copies, because a network may modify its input in place, which belongs to the user and is used again.
    inputs = inputs.map(lambda tensor: tensor.clone())
    with autocast_of_caller():
        return logits_in(network(*inputs.args, **inputs.kwargs))


def logits_in(output: Any) -> Any:
    """An output of a network, or its `.logits` attribute or entry if it has one."""
    if isinstance(output, Mapping) and "logits" in output:
        return output["logits"]
    return getattr(output, "logits", output)


def are_probabilities(logits: Tensor) -> bool:
    """Whether each sample's outputs lie between 0 and 1 and add up to 1."""
    return bool((logits >= 0).all()) and bool(((logits.double().sum(1) - 1).abs() < _SUM_TOLERANCE).all())


def are_sigmoids(logits: Tensor) -> bool:
    """Whether all outputs lie between 0 and 1, and far enough apart not to be logits of an untrained network."""
    if logits.numel() < _TELLING:
        return False
    low, high = logits.aminmax()
    return bool(low >= 0) and bool(high <= 1) and bool(high - low > _SPREAD)


def logits_difference(logits: Tensor, others: Tensor) -> float:
    """The largest difference between two logits of a sample, 0 if it may be rounding."""
    difference = float((logits - others).abs().max())
    tolerance = _LOGIT_TOLERANCE.get(logits.dtype, _LOGIT_TOLERANCE_HALF)
    # Below the smallest normal number, rounding errors do not shrink with the logits.
    rounding = tolerance * float(others.abs().max()) + torch.finfo(logits.dtype).tiny
    return difference if difference > rounding else 0.0


def require_same_logits(alone: Tensor, in_batch: Tensor) -> None:
    """Check that the logits of a sample alone and in a batch are the same, but for rounding.

    Raises:
        UnsupportedModelError: if they differ.
    """
    difference = logits_difference(alone, in_batch)
    if difference:
        raise UnsupportedModelError(
            f"the network's logits for a sample alone and in a batch differ by {difference:.2g}: it mixes the samples "
            "or draws random numbers; expected a network that treats samples independently"
        )


def not_finite_logits(network: nn.Module, inputs: Inputs) -> NotFinite | None:
    """The error that names all samples with non-finite logits; None if there are none."""
    rows: list[int] = []
    with torch.no_grad():
        for start in range(0, inputs.samples, _FEW):
            logits = answer(network, inputs.rows(slice(start, start + _FEW)))
            rows += [start + row for row in not_finite(logits)]
    return NotFinite.of(rows, inputs.samples) if rows else None


def not_finite_gradients(
    network: nn.Module, inputs: Inputs, rows: Sequence[int], parameters: Iterable[nn.Parameter]
) -> NotFinite | None:
    """The error that names those of the rows with non-finite gradients; None if there are none."""
    weights, not_finite_rows = list(parameters), []
    for row in rows:
        try:
            logits = answer(network, inputs.rows([row]))
            gradients = loss_gradients(logits, weights)
        except Exception:  # the network may reject a batch of one sample
            return None
        if not all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in gradients):
            not_finite_rows.append(row)
    return NotFinite.of(not_finite_rows, inputs.samples, has_logits=True) if not_finite_rows else None


def _refuse_disabled_gradients(layer: str) -> Callable[[nn.Module, Any], None]:
    """A hook that raises UnsupportedModelError if the layer is called with gradients disabled."""

    def refuse(module: nn.Module, args: Any) -> None:
        if not torch.is_grad_enabled():
            raise UnsupportedModelError(
                f"layer {layer!r} is called under torch.no_grad or torch.inference_mode and has no gradient there; "
                "expected a forward pass without them: freeze parameters with requires_grad_(False) instead"
            )

    return refuse
