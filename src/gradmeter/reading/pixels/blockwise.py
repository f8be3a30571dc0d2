"""Power sums of a pixel's gradient of any layer, from a backward pass for each pixel: exact, and slow.

A pixel costs one backward pass from the logits to the layer, and a block of pixels one product of these derivatives and
the layer's inputs, in which the gradients of the block, but never those of all pixels, exist at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from gradmeter.reading.kernels import reduce
from gradmeter.reading.network import autocast_of_caller, nodes_below, sound_gradients
from gradmeter.reading.statistics import PowerSums

# Memory for the derivatives and gradients of a block of pixels, in bytes.
_BLOCK_BYTES = 2**24


@dataclass
class CutLayer:
    """A layer whose output is a leaf of the graph of the logits, in the forward pass of one image.

    Attributes:
        module: the layer.
        parameters: the parameters to measure, by name.
        calls: for each call the arguments and the leaf.
    """

    module: nn.Module
    parameters: Mapping[str, nn.Parameter]
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Tensor]] = field(default_factory=list)

    def sums(self, logits: Tensor, rows: slice, direction: Tensor) -> PowerSums:
        """Power sums of the gradients of P pixels.

        Args:
            logits: [1, C, H, W], a function of the leaves.
            rows: the pixels' rows.
            direction: [P, C] derivative of each pixel's loss with respect to its logits.
        """
        leaves = [leaf for _, _, leaf in self.calls]
        numbers = sum(parameter.numel() for parameter in self.parameters.values())
        numbers += sum(leaf.numel() for leaf in leaves)
        block = max(1, _BLOCK_BYTES // (numbers * logits.element_size()))
        of_pixels = logits[0, :, rows].flatten(1).T
        parts = []
        with sound_gradients(nodes_below([logits.grad_fn])):
            for start in range(0, len(direction), block):
                pixels = slice(start, start + block)
                parts.append(self._block(of_pixels[pixels], leaves, direction[pixels].to(logits.dtype)))
        return PowerSums.concatenate(parts)

    def _block(self, logits: Tensor, leaves: list[Tensor], direction: Tensor) -> PowerSums:
        derivatives: list[list[Tensor]] = [[] for _ in leaves]
        for of_pixel, start in zip(logits, direction, strict=True):
            gradients = torch.autograd.grad(of_pixel, leaves, start, retain_graph=True, allow_unused=True)
            for of_leaf, gradient, leaf in zip(derivatives, gradients, leaves, strict=True):
                of_leaf.append(torch.zeros_like(leaf) if gradient is None else gradient)
        totals: dict[str, Tensor] = {}
        for (args, kwargs, _), of_leaf in zip(self.calls, derivatives, strict=True):
            for name, gradient in self._pulled_back(args, kwargs, torch.stack(of_leaf)).items():
                totals[name] = totals[name] + gradient if name in totals else gradient
        exact = (torch.float32, torch.float64)
        summed = [total if total.dtype in exact else total.float() for total in totals.values()]
        return PowerSums.merge([reduce(total.detach().flatten(1)) for total in summed])

    def _pulled_back(self, args: tuple[Any, ...], kwargs: dict[str, Any], derivatives: Tensor) -> dict[str, Tensor]:
        """Gradients [P, *shape] of the parameters for derivatives [P, *output] of the output."""
        parameters = {name: parameter.detach() for name, parameter in self.parameters.items()}

        def called(values: dict[str, Tensor]) -> Any:
            with autocast_of_caller():
                return functional_call(self.module, values, args, kwargs)

        pull_back: Callable[[Tensor], tuple[dict[str, Tensor]]] = vjp(called, parameters)[1]
        gradients: dict[str, Tensor] = vmap(lambda derivative: pull_back(derivative)[0])(derivatives)
        return gradients
