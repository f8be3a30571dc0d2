"""Where the samples are in the outputs of a traced forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx

from gradmeter.reading.traced.rules import Layout

_ATEN = torch.ops.aten
_RESHAPING = (
    *(_ATEN.view.default, _ATEN.reshape.default, _ATEN._unsafe_view.default, _ATEN.clone.default),
    *(_ATEN.squeeze.dim, _ATEN.squeeze.dims, _ATEN.unsqueeze.default),
)


class SamplesAt(NamedTuple):
    """Where the samples are in the output of an operation.

    Attributes:
        axis: of the samples in the output, or in `node`.
        node: a tensor whose first `folded` axes were folded together to all axes of the output but the last; None
            without that.
        folded: the number of axes.
    """

    axis: int
    node: fx.Node | None = None
    folded: int = 0

    def layout(self, values: Mapping[fx.Node, Any]) -> Layout:
        """Return where they are in a run that gave nodes these values."""
        return Layout(self.axis, None if self.node is None else values[self.node].shape[: self.folded])


def samples_at(node: fx.Node, samples: Any) -> SamplesAt | None:
    """Find the samples in the output of an operation with a parameter.

    Args:
        node: the operation; its first argument has the positions of its output.
        samples: their number, a symbol.

    Returns:
        Where they are; None if they have no axis of their own there, nor in the first argument before views of it.
    """
    if (axis := _axis_of(value_of_node(node), samples)) is not None:
        return SamplesAt(axis)
    # The weight of a dense layer follows the positions that were folded together with the samples.
    data, width = node.args[0], value_of_node(node.args[0]).shape[-1]
    while isinstance(data, fx.Node) and is_reshaping(data):
        data = data.args[0]
        if not isinstance(data, fx.Node):
            break
        value = value_of_node(data)
        axis, folded = _axis_of(value, samples), _axes_before(value, width)
        if axis is not None and folded is not None and axis < folded:
            return SamplesAt(axis, data, folded)
    return None


def is_reshaping(node: fx.Node) -> bool:
    """Whether an operation changes the sizes of a tensor only, not the order of its entries."""
    return node.target in _RESHAPING


def _axes_before(value: Tensor, width: int) -> int | None:
    """Return how many axes there are before the last ones that hold `width` entries together."""
    entries, axes = 1, value.dim()
    while entries < width and axes and isinstance(value.shape[axes - 1], int):
        axes -= 1
        entries *= value.shape[axes]
    return axes if entries == width else None


def _axis_of(value: Tensor, samples: Any) -> int | None:
    """Return the axis that has the size `samples`."""
    axes = [axis for axis, size in enumerate(value.shape) if str(size) == str(samples)]
    return axes[0] if len(axes) == 1 else None


def value_of_node(node: Any) -> Any:
    """Return the value, or the first of several, that an operation had when it was traced; None without a value."""
    value = node.meta.get("val")
    return value[0] if isinstance(value, (tuple, list)) else value
