"""The logits [N, C, H, W] in the answer of a segmentation network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.errors import InputError, ProbabilitiesWarning, warn
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.network import NotFinite, answer, are_probabilities, are_sigmoids, not_finite

Size = tuple[int, int] | Literal["input"] | None
"""The size to which logits are upsampled: (height, width), that of the images, or None to leave them as they are."""

# The least number of outputs whose sums tell whether they are probabilities.
_TELLING = 64
# Operations after which probabilities are still probabilities.
_KEEPING = re.compile(
    r"(Alias|AvgPool2D|Clamp|Clone|Flip|Hardtanh|NanToNum|Permute|ReshapeAlias|Select|Slice|Squeeze|ToCopy|Transpose|"
    r"UnsafeView|Unsqueeze|Upsample\w+|View)Backward\d"
)


class NotPixelwise(InputError):
    """The network does not return logits of pixels."""


def pixel_logits(network: nn.Module, inputs: Inputs, size: Size) -> Tensor:
    """Call a network.

    Args:
        network: returns the logits, a mapping with "out" or "logits", or an object with `.logits`.
        inputs: inputs of N images.
        size: size to which the logits are upsampled bilinearly.

    Returns:
        Logits [N, C, H, W].

    Raises:
        NotPixelwise: if the network returns something else.
        InputError: if the logits are no floating-point numbers.
        NotFinite: if logits are not finite.
    """
    logits = _found(answer(network, inputs))
    samples = inputs.samples
    if not isinstance(logits, Tensor) or logits.dim() != 4 or logits.shape[0] != samples or not logits.numel():
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise NotPixelwise(
            f"the network returned {given}; expected logits of shape ({samples}, classes, height, width)"
        )
    if not logits.is_floating_point():
        raise InputError(f"the network returned logits of dtype {logits.dtype}; expected a floating-point dtype")
    # A sum is finite only if all terms are, and takes less time than looking at each; it may overflow.
    if not torch.isfinite(logits.detach().sum()) and (rows := not_finite(logits.flatten(1))):
        raise NotFinite.of(rows, samples)
    target = _image_size(inputs) if size == "input" else size
    if target is None or tuple(logits.shape[2:]) == target:
        return logits
    return F.interpolate(logits, size=target, mode="bilinear", align_corners=False)


def warn_of_probabilities(outputs: Tensor) -> None:
    """Warn if outputs [N, C, H, W], with their graph, are those of a softmax or of sigmoids."""
    node = outputs.grad_fn
    while node is not None and _KEEPING.match(node.name()):
        node = node.next_functions[0][0]
    is_last = node is not None and node.name() in ("SigmoidBackward0", "SoftmaxBackward0")
    values = outputs.detach()
    if is_last or are_sigmoids(values) or (outputs.numel() >= _TELLING and are_probabilities(values)):
        warn(
            "the network's outputs are probabilities; expected logits, since a softmax, or for one channel a sigmoid, "
            "is applied to them: remove the last softmax or sigmoid, or return the logits",
            ProbabilitiesWarning,
        )


def _found(output: Any) -> Any:
    """The logits of a torchvision or transformers network, which returns more than these."""
    if isinstance(output, Mapping):
        return next((output[name] for name in ("out", "logits") if name in output), output)
    return output


def _image_size(inputs: Inputs) -> tuple[int, int]:
    for shape in inputs.shapes:
        if len(shape) == 3:
            return shape[1], shape[2]
    raise InputError("size='input' needs images of shape (N, channels, height, width) among the inputs; give (H, W)")
