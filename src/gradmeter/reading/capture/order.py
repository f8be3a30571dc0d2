"""Check whether operations keep the samples of a batch in order.

Networks sort sequences by length, for example, or dispatch samples to experts. A batch that is sorted already stays in
order, so a probe in order says nothing about other batches. Where samples are indexed, each batch shows it; where they
are multiplied with a permutation, it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from gradmeter.reading.capture.graph import Graph, output_shapes
from gradmeter.reading.capture.sample_axis import Shape

# Operations whose indices refer to their input; those of other operations refer to their output.
_READING = ("IndexBackward0", "IndexSelectBackward0", "GatherBackward0", "MaskedSelectBackward0")
_MASKED = ("MaskedSelectBackward0", "MaskedScatterBackward0")

# Operations that can move rows without an index: for each input the dimensions along which they mix or select, None for
# all.
_MIXED: dict[str, dict[int, tuple[int, ...] | None]] = {
    "MmBackward0": {0: (1,), 1: (0,)},
    "AddmmBackward0": {1: (1,), 2: (0,)},
    "SparseAddmmBackward0": {2: (0,)},
    "BmmBackward0": {0: (2,), 1: (1,)},
    "BaddbmmBackward0": {1: (2,), 2: (1,)},
    "AddbmmBackward0": {1: (0, 2), 2: (0, 1)},
    "MvBackward0": {0: (1,), 1: (0,)},
    "AddmvBackward0": {1: (1,), 2: (0,)},
    "DotBackward0": {0: None, 1: None},
    "EmbeddingBackward0": {0: (0,)},
    "EmbeddingBagBackward0": {0: (0,)},
    "TakeBackward0": {0: None},
    "SegmentReduceBackward0": {0: None},
    "PutBackward0": {0: None, 1: None},
}

Indexed = tuple[int, int]
"""Position of an operation in `Graph.nodes`, and the dimension that it indexes."""


def _indices(node: Node) -> Iterator[tuple[int, Tensor]]:
    """The dimensions that an operation indexes, with the index of each."""
    saved: Any = node
    if node.name() in _MASKED:
        yield 0, saved._saved_mask
    if isinstance(indices := getattr(saved, "_saved_indices", None), tuple):
        dim = 0
        for index in indices:
            if index is not None:
                yield dim, index
            dim += index.dim() if index is not None and index.dtype == torch.bool else 1
    if isinstance(index := getattr(saved, "_saved_index", None), Tensor) and hasattr(saved, "_saved_dim"):
        # autograd stores -1 as an unsigned number
        signed = saved._saved_dim - 2**64 if saved._saved_dim >= 2**63 else saved._saved_dim
        yield signed % max(1, len(output_shapes(node)[0])), index


def _shape(graph: Graph, node: Node, shapes: list[list[Shape]] | None = None) -> Shape | None:
    """The shape of the indexed tensor; None if it is a parameter or needs no gradient."""
    output: int
    if node.name() in _READING:
        child, output = node.next_functions[0]
        if child not in graph.index:
            return None
        node = child
    else:
        output = 0
    return output_shapes(node)[output] if shapes is None else shapes[graph.index[node]][output]


def indexed(graph: Graph, fewer: list[list[Shape]]) -> tuple[Indexed, ...]:
    """The operations that index a dimension that grows with the batch.

    Args:
        graph: graph of some samples.
        fewer: shapes of the outputs of the same operations for fewer samples.
    """
    places = []
    for position, node in enumerate(graph.nodes):
        for dim, index in _indices(node):
            many, few = _shape(graph, node), _shape(graph, node, fewer)
            span = slice(dim, dim + index.dim() if index.dtype == torch.bool else dim + 1)
            if many is not None and few is not None and many[span] != few[span]:
                places.append((position, dim))
    return tuple(places)


def in_order(graph: Graph, place: Indexed, samples: int) -> bool:
    """Whether the index keeps the samples in order: row n for sample n, or a mask that is all true or once per sample.

    The latter selects the last token of each text, for example.
    """
    position, dim = place
    node = graph.nodes[position]
    shape, index = _shape(graph, node), dict(_indices(node)).get(dim)
    if shape is None or index is None:
        return False
    if index.dtype == torch.bool:
        # With as many positions as samples, the first axis may be that of the positions.
        by_sample = shape[dim] == samples and index.shape.count(samples) == 1
        return bool(index.all()) or (by_sample and bool((index.reshape(samples, -1).sum(1) == 1).all()))
    if shape[dim] != samples or index.numel() % samples:
        return False
    rows = torch.arange(samples, device=index.device)
    outermost, innermost = index.reshape(samples, -1), index.reshape(-1, samples)
    return bool((outermost == rows.unsqueeze(1)).all()) or bool((innermost == rows).all())


def may_move_samples(graph: Graph, fewer: list[list[Shape]]) -> bool:
    """Whether an operation may move samples in a way that no index shows, as the product with a permutation does.

    It mixes along a dimension that grows with the batch, has an output of which two dimensions grow, or is a
    torch.autograd.Function that keeps whole numbers or a mask for its backward pass.

    Args:
        graph: graph of some samples.
        fewer: shapes of the outputs of the same operations for fewer samples.
    """

    def growing(node: Node, output: int) -> set[int]:
        sizes = zip(output_shapes(node)[output], fewer[graph.index[node]][output], strict=False)
        return {dim for dim, (many, few) in enumerate(sizes) if many != few}

    for node in graph.nodes:
        if any(len(growing(node, output)) > 1 for output in range(len(output_shapes(node)))):
            return True
        function: Any = node
        if isinstance(function, BackwardCFunction):
            kept = (*function.saved_tensors, *vars(function).values())
            if any(isinstance(value, Tensor) and not value.is_floating_point() for value in kept):
                return True
        for number, dims in _MIXED.get(node.name(), {}).items():
            child, output = node.next_functions[number]
            if child in graph.index:
                grown = growing(child, output)
                if grown if dims is None else grown.intersection(dims):
                    return True
    return False
