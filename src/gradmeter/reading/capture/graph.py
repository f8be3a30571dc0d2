"""The autograd graph of one forward pass, walked from the logits down to the parameters.

Autograd itself is the record of every use of every parameter: by a layer, by a parent, twice, in place or through
another tensor. Nothing that acts on the logits can be missing here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from torch import Tensor, nn
from torch.autograd.graph import Node

from gradmeter.reading.capture.sample_axis import Shape

_ACCUMULATE = "torch::autograd::AccumulateGrad"
# What autograd calls the dimensions that an operation acts along.
_DIMENSIONS = ("_saved_dim", "_saved_dims", "_saved_dim0", "_saved_dim1", "_saved_dimension")


def metadata(node: Node) -> Sequence[Any]:
    """Shape, dtype and device of each output of an operation."""
    found: Sequence[Any] = node._input_metadata
    return found


def output_shapes(node: Node) -> list[Shape]:
    """Shapes of the outputs of an operation."""
    return [tuple(entry.shape) for entry in metadata(node)]


@dataclass
class Graph:
    """Nodes reachable from the logits, every node after all that it leads to.

    Attributes:
        nodes: the operations, the logits' own last.
        leaves: node at which a parameter enters, and the parameter's name.
    """

    nodes: list[Node]
    leaves: dict[Node, str]

    @classmethod
    def of(cls, logits: Tensor, parameters: Mapping[str, nn.Parameter]) -> Graph:
        """Walk from the logits [N, C] down to the named parameters, which must require a gradient."""
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

    @cached_property
    def index(self) -> dict[Node, int]:
        """Position of each operation in `nodes`."""
        return {node: position for position, node in enumerate(self.nodes)}

    @cached_property
    def uses(self) -> dict[Node, list[tuple[Node, int]]]:
        """(operation, number of its input) for every node or leaf, in the order of `nodes`."""
        found: dict[Node, list[tuple[Node, int]]] = {}
        for node in self.nodes:
            for number, (child, _) in enumerate(node.next_functions):
                if child is not None and (child in self.leaves or child in self.index):
                    found.setdefault(child, []).append((node, number))
        return found

    def signature(self) -> str:
        """Digest of the operations, their dimensions and what they lead to: two passes that agree here did the same.

        Names alone would not do: two layers of one kind have the same, and so have two orders of samples and positions.
        """
        digest = hashlib.sha256()
        for node in self.nodes:
            inputs = [
                (self.leaves.get(child, self.index.get(child)), output) if child is not None else None
                for child, output in node.next_functions
            ]
            dimensions = [getattr(node, name, None) for name in _DIMENSIONS]
            digest.update(f"{node.name()} {dimensions} {inputs}\n".encode())
        return digest.hexdigest()

    def leaves_behind(self, node: Node) -> dict[Node, str]:
        """The leaves that a node leads to, itself included, and their names."""
        found, seen, stack = {}, {node}, [node]
        while stack:
            current = stack.pop()
            if current in self.leaves:
                found[current] = self.leaves[current]
                continue
            for child, _ in current.next_functions:
                if child is not None and child not in seen:
                    seen.add(child)
                    stack.append(child)
        return found
