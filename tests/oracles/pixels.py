"""Reference statistics of pixels' gradients: autograd in float64, one pixel at a time."""

import copy
from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oracles.moments import Array, eight

Pixel = tuple[int, int, int]
"""Image, row and column."""


def predicted_loss(logits: Tensor) -> Tensor:
    """-log p of the predicted class, [N, H, W], for logits [N, C, H, W]."""
    if logits.shape[1] == 1:
        return -F.logsigmoid(logits[:, 0].abs())
    return -torch.log_softmax(logits, dim=1).amax(1)


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """The logits in the answer of a network."""
    output = model(images)
    return output["out"] if isinstance(output, dict) and "out" in output else getattr(output, "logits", output)


def every_pixel(logits: Tensor) -> list[Pixel]:
    """All pixels of logits [N, C, H, W], in order."""
    samples, _, height, width = logits.shape
    return [(n, y, x) for n in range(samples) for y in range(height) for x in range(width)]


def pixel_statistics(
    model: nn.Module,
    images: Tensor,
    layer: str,
    *,
    pixels: Sequence[Pixel] | None = None,
    loss: Callable[[Tensor], Tensor] = predicted_loss,
    change: Callable[[Tensor], Tensor] = lambda logits: logits,
    biases: bool = True,
) -> Array:
    """The eight statistics of pixels' gradients by the parameters of a layer, [pixels, 8].

    Args:
        model: a network.
        images: its input.
        layer: name of the layer, "" for the network itself.
        pixels: the pixels, all by default.
        loss: maps logits [N, C, H, W] to losses [N, H, W].
        change: applied to the logits first.
        biases: whether the bias belongs to the layer.
    """
    double = copy.deepcopy(model).double().eval().requires_grad_()
    module = double.get_submodule(layer)
    parameters = [p for name, p in module.named_parameters(recurse=False) if biases or name != "bias"]
    logits = change(logits_of(double, images.double()))
    losses = loss(logits)
    rows = []
    for pixel in every_pixel(logits) if pixels is None else pixels:
        gradients = torch.autograd.grad(losses[pixel], parameters, retain_graph=True, allow_unused=True)
        flat = [(torch.zeros_like(p) if g is None else g).flatten() for g, p in zip(gradients, parameters, strict=True)]
        rows.append(eight(torch.cat(flat).unsqueeze(0).numpy())[0])
    return np.stack(rows)
