"""PyTorch's own backward pass, and the convolutions for which it corrupts memory.

On a CPU, PyTorch 2.13 writes outside of its memory where it computes the gradient of the weight of a strided 1 x 1
convolution of 2, 3, 6 or 12 input channels, channels last. RepVGG, MobileOne and FastViT begin with such a layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd.graph import Node

# With up to how many input channels the gradient of the weight of such a convolution may corrupt memory.
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
    corrupting = filter(_corrupts, nodes_below([logits.grad_fn]))
    # Below their weights and biases.
    below = nodes_below([child for node in corrupting for child, _ in node.next_functions[1:]])
    left_out = {id(node.variable) for node in below if hasattr(node, "variable")}
    wanted = [parameter for parameter in parameters if id(parameter) not in left_out]
    gradients = iter(torch.autograd.grad(loss, wanted, allow_unused=True) if wanted else ())
    return tuple(None if id(parameter) in left_out else next(gradients) for parameter in parameters)


def _corrupts(node: Node) -> bool:
    """Whether an operation is such a convolution."""
    if not node.name().startswith("ConvolutionBackward"):
        return False
    _, channels, *kernel = node._saved_weight.shape  # type: ignore[attr-defined]
    strides = node._saved_stride  # type: ignore[attr-defined]
    return channels <= _NARROW and set(kernel) == {1} and max(strides) > 1


@contextmanager
def sound_convolutions(nodes: Iterable[Node], *, of_parameters: bool = False) -> Iterator[None]:
    """Differentiate without oneDNN, which corrupts memory, if one of the operations is such a convolution.

    Args:
        nodes: operations.
        of_parameters: whether the gradient of a weight that is a parameter itself is computed, too.
    """
    if not any(_corrupts(node) and (of_parameters or _computes_weight(node)) for node in nodes):
        yield
        return
    # `flags` would set the precision, too, which PyTorch warns of.
    enabled = torch.backends.mkldnn.enabled
    try:
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
        yield
    finally:
        torch.backends.mkldnn.enabled = enabled


def _computes_weight(node: Node) -> bool:
    child, _ = node.next_functions[1]
    return child is not None and not hasattr(child, "variable")


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
