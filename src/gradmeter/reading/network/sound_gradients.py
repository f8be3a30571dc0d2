"""Gradients that PyTorch 2.13 gets wrong on a CPU, and how to get them right.

- The gradient of the weight of a strided 1 x 1 convolution of 2, 3, 6 or 12 input channels, channels last, is written
  outside of its memory. RepVGG, MobileOne and FastViT begin with such a layer.
- All gradients of a BatchNorm for a batch of one, or for images one pixel wide or high, are wrong if its input and the
  gradient of its output have different orders in memory, one of them as after `flatten(2).transpose(1, 2)`. An
  InstanceNorm makes a batch of one of each. With a gradient that is channels last, they are right for any input.
- The gradients of the weight and bias of a GroupNorm crash if its input is channels last and needs no gradient itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node

# With up to how many input channels the gradient of the weight of such a convolution may corrupt memory.
_NARROW = 15
# The second is that of traced networks.
_CONVOLUTIONS = {"ConvolutionBackward0", "ConvolutionBackward1"}
_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
_BATCH_NORMS = {
    "BatchNormNoUpdateBackward0",
    "NativeBatchNormBackward0",
    "NativeBatchNormLegitBackward0",
    "NativeBatchNormLegitNoTrainingBackward0",
}


@contextmanager
def sound_gradients(nodes: Iterable[Node], *, of_parameters: bool = False) -> Iterator[None]:
    """Let autograd compute right gradients while the block runs.

    Args:
        nodes: the operations that are differentiated.
        of_parameters: whether the gradient of a weight that is a parameter itself is computed, too.
    """
    corrupting, hooks = False, []
    # `flags` would set the precision, too, which PyTorch warns of.
    enabled = torch.backends.mkldnn.enabled
    try:
        for node in nodes:
            if _needs_order(node):
                hooks.append(node.register_prehook(_channels_last))
            elif not corrupting and corrupts_memory(node):
                corrupting = of_parameters or _computes_weight(node)
        if corrupting:
            torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
        yield
    finally:
        if corrupting:
            torch.backends.mkldnn.enabled = enabled
        # The graph may be differentiated again.
        for hook in hooks:
            hook.remove()


def corrupts_memory(node: Any) -> bool:
    """Whether an operation is a convolution whose weight's gradient may corrupt memory."""
    # With activation checkpointing, reading a weight computes the checkpoint again.
    if node.name() not in _CONVOLUTIONS or max(node._saved_stride) == 1:
        return False
    _, channels, *kernel = node._saved_weight.shape
    return set(kernel) == {1} and channels <= _NARROW


def laid_out(node: Node, gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    """Return the gradients of an operation's outputs as it needs them if it is called itself, which runs no hooks."""
    return _channels_last(gradients) if _needs_order(node) else gradients


def _channels_last(gradients: Sequence[Tensor | None]) -> Sequence[Tensor | None]:
    gradient = gradients[0]
    if gradient is None:
        return gradients
    # `contiguous` would keep the strides of dimensions of size 1, which mislead PyTorch.
    ordered = torch.empty_like(gradient, memory_format=_CHANNELS_LAST[gradient.dim()])
    return gradients if gradient.stride() == ordered.stride() else (ordered.copy_(gradient), *gradients[1:])


def nodes_below(nodes: Iterable[Node | None]) -> Iterator[Node]:
    """The operations, and all that their gradients reach."""
    stack, seen = list(nodes), set[Node | None]((None,))
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        assert node is not None
        yield node
        stack.extend(child for child, _ in node.next_functions)


def _needs_order(node: Any) -> bool:
    if node.name() not in _BATCH_NORMS:
        return False
    samples, _, *size = node._input_metadata[0].shape
    return len(size) in (2, 3) and 1 in (samples, *size)


def _computes_weight(node: Node) -> bool:
    child, _ = node.next_functions[1]
    return child is not None and not hasattr(child, "variable")
