"""The gradient of the loss of the predicted classes, by PyTorch's own backward pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

# With up to how many input channels PyTorch 2.13 may write outside of its memory, on a CPU, where it computes the
# gradient of the weight of a strided 1 x 1 convolution, channels last. It does with 2, 3, 6 and 12. RepVGG, MobileOne
# and FastViT begin with such a layer.
_NARROW = 15


def loss_gradients(logits: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The gradients of the summed loss of the predicted classes.

    Args:
        logits: [N, C], with their graph.
        parameters: what the loss is differentiated by.

    Returns:
        A gradient for each parameter; None if it does not affect the loss, or if its gradient may corrupt memory.
    """
    loss = (logits.logsumexp(dim=1) - logits.amax(dim=1)).sum()
    left_out = set(map(id, _corrupting(logits.grad_fn)))
    wanted = [one for one in parameters if id(one) not in left_out]
    gradients = iter(torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ())
    return tuple(None if id(one) in left_out else next(gradients) for one in parameters)


def _corrupting(root: Node | None) -> Iterator[Tensor]:
    """The parameters of convolutions whose backward pass may corrupt memory."""
    for node in _below([root]):
        if node.name().startswith("ConvolutionBackward"):
            _, channels, *kernel = node._saved_weight.shape  # type: ignore[attr-defined]
            strides = node._saved_stride  # type: ignore[attr-defined]
            if channels <= _NARROW and set(kernel) == {1} and max(strides) > 1:
                below_weight_and_bias = [child for child, _ in node.next_functions[1:]]
                yield from (leaf.variable for leaf in _below(below_weight_and_bias) if hasattr(leaf, "variable"))


def _below(nodes: Sequence[Node | None]) -> Iterator[Node]:
    """The nodes, and all that their gradients reach."""
    stack, seen = list(nodes), set[Node | None]((None,))
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        assert node is not None
        yield node
        stack.extend(child for child, _ in node.next_functions)
