"""Which operations of a graph use parameters, and where the samples lie in each: found once by a probe, then reused.

A parameter may reach the data directly (a dense layer's weight) or through operations on parameters alone (a
transposition, a weight norm, a table of positions). The first operation whose output belongs to the samples is where
its gradient can be told apart by sample. Neither names nor types of modules tell which that is. Two things do: which
dimension of its output grows with the batch, and what each sample's loss, propagated alone, reaches in it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.autograd.graph import Node

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.capture.calls import Call
from gradmeter.reading.capture.graph import Graph, output_shapes
from gradmeter.reading.capture.order import Indexed, in_order, indexed
from gradmeter.reading.capture.ownership import axis_of, belongings, each_alone, gradients_at, owners_of
from gradmeter.reading.capture.sample_axis import (
    OwnedRows,
    SampleAxis,
    Scattered,
    Shape,
    exclusive,
    explanations,
    growing_dimension,
    touched_by,
)

# The transposition that every dense layer applies to its weight: shared by the samples, no need to ask.
TRANSPOSED = "TBackward0"
# A dense layer over positions folds them with the samples and unfolds its output so.
_VIEWS = ("ViewBackward0", "UnsafeViewBackward0")

Axis = SampleAxis | OwnedRows | Scattered


@dataclass(frozen=True)
class Planned:
    """One operation of the plan.

    Attributes:
        index: its position in `Graph.nodes`.
        inputs: numbers of its inputs on which a parameter lies, directly or through operations on parameters.
        axes: by output; None for an output of which nothing is known, because no sample's loss reached it.
        terminal: whether no other planned operation lies behind it.
        call: number of the recorded call whose output it is, if that call's module has a rule of its own.
    """

    index: int
    inputs: tuple[int, ...]
    axes: tuple[Axis | None, ...]
    terminal: bool
    call: int | None

    @property
    def silent(self) -> bool:
        """Whether no sample's loss reached it when it was probed."""
        return all(axis is None for axis in self.axes)


@dataclass(frozen=True)
class Plan:
    """The operations to listen to.

    Attributes:
        operations: in the order of `Graph.nodes`.
        contributions: how many gradients each parameter's gradient is the sum of, by name.
        lasting: whether it holds for other batches too, or only for the one that was probed.
        keep: whether the graph has to outlive the backward pass, because gradients wait for others or for its end.
        deferred: whether operations are handed over after the backward pass, all gradients at once: for networks that
            make their activations anew in the backward pass and give each away only once.
        arrived: gradients by output of each operation, by its index, where they are known from planning: for this
            batch and loss, for which no further backward pass is needed.
        indexed: where the network indexes its samples; the plan holds while it leaves them in their order.
    """

    operations: tuple[Planned, ...]
    contributions: Counter[str]
    lasting: bool
    keep: bool
    deferred: bool = False
    arrived: Mapping[int, tuple[Tensor | None, ...]] | None = None
    indexed: tuple[Indexed, ...] = ()

    @property
    def unordered(self) -> bool:
        """Whether the samples lie in an order of their own somewhere."""
        return any(isinstance(axis, OwnedRows | Scattered) for planned in self.operations for axis in planned.axes)

    def adapted(self, graph: Graph, samples: int) -> Plan | None:
        """The same plan for a graph with the same signature and other sizes; None if it does not fit.

        Where positions are folded with the samples on one side, their number may differ.
        """
        if not all(in_order(graph, place, samples) for place in self.indexed):
            return None
        operations = []
        for planned in self.operations:
            axes = []
            for axis, shape in zip(planned.axes, output_shapes(graph.nodes[planned.index]), strict=True):
                adapted = None if axis is None else axis.adapted(shape, samples)
                if axis is not None and adapted is None:
                    return None
                axes.append(adapted)
            unchanged = all(new is old for new, old in zip(axes, planned.axes, strict=True))
            operations.append(planned if unchanged else replace(planned, axes=tuple(axes)))
        return replace(self, operations=tuple(operations))


@dataclass(frozen=True)
class Smaller:
    """The outputs of the same operations for a smaller batch.

    Attributes:
        samples: of the smaller batch.
        shapes: by position in `Graph.nodes`, and output.
    """

    samples: int
    shapes: list[list[Shape]]


def _mixing(node: Node) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the network mixes the samples of a batch in {node.name()}, so a sample has no gradient of its own; "
        "expected a network that treats each sample alone"
    )


def _evidently_shared(graph: Graph, smaller: Smaller | None) -> set[Node]:
    """Operations that act on parameters alone and give the same for every batch: no need to ask."""
    found: set[Node] = set()
    for position, node in enumerate(graph.nodes):
        alike = smaller is not None and output_shapes(node) == smaller.shapes[position]
        if node.name() == TRANSPOSED or (
            alike and all(child in found for child, _ in node.next_functions if child in graph.index)
        ):
            found.add(node)
    return found


def _leading_elsewhere(graph: Graph, shared: set[Node]) -> Node | None:
    """A shared operation that acts on more than parameters alone."""
    for node in shared:
        for child, _ in node.next_functions:
            if child in graph.index and child not in shared and graph.leaves_behind(child):
                return node
    return None


@dataclass
class _Planner:
    graph: Graph
    logits: Tensor
    direction: Tensor
    smaller: Smaller | None
    lasting: bool = True
    arrived: dict[int, tuple[Tensor | None, ...]] = field(default_factory=dict)
    seen: dict[torch.Size, tuple[Tensor, Axis | None]] = field(default_factory=dict)

    def ask(self, nodes: Sequence[Node]) -> dict[Node, list[Axis | None] | None]:
        """By node and output, where the samples lie; None for a node that they share."""
        if self.smaller is None:
            # For this batch only, any explanation of what is touched here and now will do.
            axes: dict[Node, list[Axis | None] | None] = {}
            for node, belonging in belongings(nodes, self.logits, self.direction).items():
                self.arrived[self.graph.index[node]] = belonging.gradients
                axes[node] = None if belonging.owners is None else [self._axis_of(owner) for owner in belonging.owners]
            return axes
        arrived = gradients_at(nodes, self.logits, list(each_alone(self.direction)))
        return {node: self._axes(node, outputs) for node, outputs in arrived.items()}

    def _axis_of(self, owner: Tensor | None) -> Axis | None:
        """Where the samples lie; the steps of a recurrent network are alike, and have one axis."""
        if owner is None:
            return None
        known, axis = self.seen.get(owner.shape, (None, None))
        if known is None or not torch.equal(known, owner):
            axis = axis_of(owner, len(self.logits))
            self.seen[owner.shape] = owner, axis
        return axis

    def _axes(self, node: Node, outputs: list[list[Tensor | None]]) -> list[Axis | None] | None:
        assert self.smaller is not None
        found = []
        for output, gradients in enumerate(outputs):
            shapes = output_shapes(node)[output], self.smaller.shapes[self.graph.index[node]][output]
            axis, shared = self._for_any_batch(node, touched_by(gradients), *shapes)
            if shared:
                return None
            found.append(axis)
        return found

    def _for_any_batch(
        self, node: Node, touched: Tensor | None, shape: Shape, smaller: Shape
    ) -> tuple[Axis | None, bool]:
        """The explanation has to hold for every batch: only the dimension that grows with it holds the samples."""
        assert self.smaller is not None
        if shape == smaller:
            return None, touched is not None
        dim = growing_dimension(shape, len(self.logits), smaller, self.smaller.samples)
        if dim is not None and smaller[dim] == self.smaller.samples and touched is None:
            return SampleAxis(dim, 1, 1), False
        if touched is None:
            return None, False
        found = [] if dim is None else list(explanations(touched, [dim]))
        if dim is not None and len(found) > 1:
            unfolded = self._unfolded(node, dim, shape)
            found = [axis for axis in found if axis == unfolded] or found
        # One explanation holds for every batch; several, or none, have to be looked at batch by batch.
        self.lasting = self.lasting and len(found) == 1
        if found:
            return found[0], False
        if exclusive(touched):
            return axis_of(owners_of(touched), len(self.logits)), False
        if dim is not None:
            raise _mixing(node)
        return None, True

    def _unfolded(self, node: Node, dim: int, shape: Shape) -> SampleAxis | None:
        """How a view that follows takes the samples' dimension apart; None if none does."""
        assert self.smaller is not None
        samples = len(self.logits)
        for user, _ in self.graph.uses.get(node, ()):
            if user.name() not in _VIEWS:
                continue
            (viewed,), (fewer,) = output_shapes(user), self.smaller.shapes[self.graph.index[user]]
            growing = growing_dimension(viewed, samples, fewer, self.smaller.samples)
            if growing is not None and viewed[growing] == samples:
                # A view keeps the order of the entries.
                outer = math.prod(viewed[:growing]) // math.prod(shape[:dim])
                return SampleAxis(dim, outer, shape[dim] // (outer * samples)) if outer else None
        return None


def make_plan(
    graph: Graph, logits: Tensor, direction: Tensor, calls: Sequence[Call] = (), smaller: Smaller | None = None
) -> Plan:
    """Find the operations that use parameters, and their sample axes.

    Args:
        graph: of the logits.
        logits: [N, C]; N of two or three is enough, and cheap.
        direction: [N, C] the derivative of each sample's loss by its logits.
        calls: calls whose module has a rule; what happens inside is theirs.
        smaller: the same operations for a smaller batch; without it the plan holds for this batch only.

    Raises:
        UnsupportedModelError: if the samples act on each other.
    """
    planner = _Planner(graph, logits, direction, smaller)
    evident = _evidently_shared(graph, smaller)
    shared: set[Node] = set()
    inside = {node: number for number, call in enumerate(calls) for node in call.inside()}
    inputs: dict[Node, set[int]] = {}
    axes: dict[Node, list[Axis | None]] = {}
    by_call: dict[Node, int] = {}
    fresh: list[Node] = list(graph.leaves)
    while fresh:
        asked: list[Node] = []
        passed: list[Node] = []
        for node in fresh:
            for user, number in graph.uses.get(node, ()):
                if user in inside:
                    by_call[calls[inside[user]].edge.node] = inside[user]
                    user, number = calls[inside[user]].edge.node, -1
                if user not in inputs:
                    inputs[user] = set()
                    (passed if user in evident else asked).append(user)
                inputs[user].add(number)
        for node, found in planner.ask(asked).items():
            if found is None:
                passed.append(node)
            else:
                axes[node] = found
        shared.update(passed)
        fresh = passed
    if (impure := _leading_elsewhere(graph, shared)) is not None:
        if smaller is None:
            raise _mixing(impure)
        return make_plan(graph, logits, direction, calls)
    operations = _ordered(graph, inputs, axes, by_call)
    contributions = _contributions(graph, operations, calls)
    keep = any(count > 1 for count in contributions.values())
    if smaller is None:
        return Plan(operations, contributions, lasting=False, keep=keep, arrived=planner.arrived)
    places = indexed(graph, smaller.shapes)
    lasting = planner.lasting and all(in_order(graph, place, len(logits)) for place in places)
    return Plan(operations, contributions, lasting, keep, indexed=places)


def _ordered(
    graph: Graph,
    inputs: dict[Node, set[int]],
    axes: dict[Node, list[Axis | None]],
    by_call: dict[Node, int],
) -> tuple[Planned, ...]:
    """The operations in the graph's order; nodes come after what they lead to, so one sweep finds the terminal ones."""
    leads_on: dict[Node, bool] = {}
    operations = []
    for position, node in enumerate(graph.nodes):
        behind = any(leads_on.get(child, False) for child, _ in node.next_functions if child is not None)
        if node in axes:
            operations.append(
                Planned(position, tuple(sorted(inputs[node])), tuple(axes[node]), not behind, by_call.get(node))
            )
        leads_on[node] = behind or node in axes
    return tuple(operations)


def _contributions(graph: Graph, operations: Sequence[Planned], calls: Sequence[Call]) -> Counter[str]:
    contributions: Counter[str] = Counter()
    for planned in operations:
        if planned.silent:
            continue
        node = graph.nodes[planned.index]
        for number in planned.inputs:
            child = node.next_functions[number][0] if number >= 0 else None
            if child is not None:
                contributions.update(graph.leaves_behind(child).values())
        if planned.call is not None:
            contributions.update(graph.leaves[leaf] for leaf in calls[planned.call].inside() & graph.leaves.keys())
    return contributions
