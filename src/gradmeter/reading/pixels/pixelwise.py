"""Power sums of a pixel's gradient of any layer, from a backward pass for each pixel: exact, and slow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.reading.hooks import Hooks
from gradmeter.reading.kernels import reduce
from gradmeter.reading.network import nodes_below, sound_gradients
from gradmeter.reading.statistics import PowerSums

# Memory for the gradients of a block of pixels, in bytes.
_BLOCK_BYTES = 2**24


@dataclass(frozen=True)
class SlowLayer:
    """A layer that is measured by backward passes, in the forward pass of one image.

    Attributes:
        module: the layer.
        parameters: the parameters to measure, of which the logits are a function.
    """

    module: nn.Module
    parameters: Sequence[nn.Parameter]

    def sums(self, logits: Tensor, direction: Tensor) -> PowerSums:
        """Power sums of the gradients of P pixels.

        Args:
            logits: [P, C] of the pixels, with their graph.
            direction: [P, C] derivative of each pixel's loss with respect to its logits.
        """
        numbers = sum(parameter.numel() for parameter in self.parameters)
        if logits.grad_fn is None:  # the layer was not called for this image
            return PowerSums.zeros(len(logits), numbers, logits.device)
        block = max(1, _BLOCK_BYTES // (numbers * logits.element_size()))
        with sound_gradients(nodes_below([logits.grad_fn]), of_parameters=True):
            pixels = zip(logits.split(block), direction.to(logits.dtype).split(block), strict=True)
            return PowerSums.concatenate([self._block(*part) for part in pixels])

    def _block(self, logits: Tensor, direction: Tensor) -> PowerSums:
        rows: list[list[Tensor]] = [[] for _ in self.parameters]
        for of_pixel, start in zip(logits, direction, strict=True):
            gradients = torch.autograd.grad(
                of_pixel, self.parameters, start, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            for of_parameter, gradient in zip(rows, gradients, strict=True):
                of_parameter.append(gradient.flatten())
        stacked = [torch.stack(of_parameter) for of_parameter in rows]
        exact = (torch.float32, torch.float64)
        return PowerSums.merge([reduce(total if total.dtype in exact else total.float()) for total in stacked])


@contextmanager
def in_default_format(layers: Iterable[SlowLayer]) -> Iterator[None]:
    """Give layers their inputs in the default memory format inside the block.

    The gradients of a GroupNorm whose input is channels last and needs no gradient itself would crash PyTorch.
    """

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        return tuple(map(_contiguous, args)), {name: _contiguous(value) for name, value in kwargs.items()}

    with Hooks() as hooks:
        for layer in layers:
            hooks.before(layer.module, before, with_kwargs=True)
        yield


def _contiguous(value: Any) -> Any:
    return value.contiguous() if isinstance(value, Tensor) else value
