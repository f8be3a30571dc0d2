"""The autograd graph of one forward pass, from the logits down to the parameters.

Autograd records every use of every parameter: by a layer, by a parent module, repeated, in place or through another
tensor. So the graph contains everything that affects the logits.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.capture.sample_axis import Shape
from gradmeter.reading.network import FORWARD_ONLY, is_spread, wraps_numbers

_ACCUMULATE = "torch::autograd::AccumulateGrad"
# Autograd's names of the dimensions along which an operation works.
_DIMENSIONS = ("_saved_dim", "_saved_dims", "_saved_dim0", "_saved_dim1", "_saved_dimension")


@cache
def _dimensions(kind: type[Node]) -> list[str]:
    """Names of the dimensions that operations of this kind have."""
    return [name for name in _DIMENSIONS if hasattr(kind, name)]


def metadata(node: Node) -> Sequence[Any]:
    """Shape, dtype and device of each output of an operation."""
    outputs: Sequence[Any] = node._input_metadata
    return outputs


def output_shapes(node: Node) -> list[Shape]:
    """Shapes of the outputs of an operation."""
    return [tuple(entry.shape) for entry in metadata(node)]


@dataclass
class Graph:
    """Nodes reachable from the logits in topological order: every node after the nodes of its inputs.

    Attributes:
        nodes: the operations; the one that computed the logits is the last.
        leaves: the parameters' names by leaf node.
    """

    nodes: list[Node]
    leaves: dict[Node, str]

    @classmethod
    def of(cls, logits: Tensor, parameters: Mapping[str, nn.Parameter]) -> Graph:
        """Walk from the logits [N, C] down to the named parameters, which must require gradients."""
        names = {id(parameter): name for name, parameter in parameters.items()}
        graph = cls([], {})
        root = logits.grad_fn
        if root is None:
            return graph
        seen: set[Node] = {root}
        stack = [(root, iter(root.next_functions))]
        while stack:
            node, children = stack[-1]
            for child, _ in children:
                if child is None or child in seen:
                    continue
                seen.add(child)
                if child.name() == _ACCUMULATE:
                    variable = child.variable  # type: ignore[attr-defined]
                    if (name := names.get(id(variable))) is not None:
                        graph.leaves[child] = name
                    continue
                stack.append((child, iter(child.next_functions)))
                break
            else:
                stack.pop()
                graph.nodes.append(node)
        return graph

    def require_dense(self) -> None:
        """Check that no operation computes a nested tensor, whose shape does not say which entries are a sample's.

        Raises:
            UnsupportedModelError: if one does.
        """
        for node in self.nodes:
            if any(entry.is_nested_tensor for entry in metadata(node)):
                raise UnsupportedModelError(
                    f"the network computes with nested tensors ({node.name()}), whose gradients cannot be measured; "
                    f"expected padded tensors: build them with a mask, or {FORWARD_ONLY}"
                )

    def require_gradients(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Check that every parameter which wraps its numbers, as the quantised ones of torchao, gets a whole gradient.

        Raises:
            UnsupportedModelError: if one gets none, or only a part in each process.
        """
        reached = set(self.leaves.values())
        for name, parameter in parameters.items():
            if is_spread(parameter) or (name not in reached and wraps_numbers(parameter)):
                layer, _, own_name = name.rpartition("/")
                raise UnsupportedModelError(
                    f"layer {layer!r} has no whole gradient for its {own_name}, of type {type(parameter).__name__}; "
                    f"expected the network before it was quantised or spread over processes, or {FORWARD_ONLY}"
                )

    @cached_property
    def index(self) -> dict[Node, int]:
        """Position of each operation in `nodes`."""
        return {node: position for position, node in enumerate(self.nodes)}

    @cached_property
    def uses(self) -> dict[Node, list[tuple[Node, int]]]:
        """The uses of every node or leaf, as (operation, number of its input), in the order of `nodes`."""
        uses: dict[Node, list[tuple[Node, int]]] = {}
        for node in self.nodes:
            for number, (child, _) in enumerate(node.next_functions):
                if child is not None and (child in self.leaves or child in self.index):
                    uses.setdefault(child, []).append((node, number))
        return uses

    def signature(self) -> str:
        """Digest of the operations, their dimensions and their inputs; equal digests mean equal computations.

        Names alone are not enough: they are the same for two layers of one type, and for different orders of samples
        and positions.
        """
        digest = hashlib.sha256()
        for node in self.nodes:
            inputs = [
                (self.leaves.get(child, self.index.get(child)), output) if child is not None else None
                for child, output in node.next_functions
            ]
            dimensions = [getattr(node, name) for name in _dimensions(type(node))]
            digest.update(f"{node.name()} {dimensions} {inputs}\n".encode())
        return digest.hexdigest()

    def leaves_behind(self, node: Node) -> dict[Node, str]:
        """The leaves that a node depends on (itself included), with the names of their parameters."""
        leaves, seen, stack = {}, {node}, [node]
        while stack:
            current = stack.pop()
            if current in self.leaves:
                leaves[current] = self.leaves[current]
                continue
            for child, _ in current.next_functions:
                if child is not None and child not in seen:
                    seen.add(child)
                    stack.append(child)
        return leaves
