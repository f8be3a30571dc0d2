"""Call a network and check its logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.errors import InputError, UnsupportedModelError
from gradmeter.names import listed
from gradmeter.reading.hooks import OfThisThread
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network.autocast import autocast_of_caller

_MAX_LISTED_ROWS = 5


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
