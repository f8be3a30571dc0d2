"""Plans: the operations of a graph that use parameters, and the sample axis of each, found by a probe and reused.

A parameter acts on the data directly (a dense layer's weight) or through operations on parameters alone (a
transposition, a weight norm, a position embedding). Per-sample gradients are available at the first operation whose
output belongs to the samples. Names and types of modules do not identify it. Two facts do: the dimension of its output
that grows with the batch, and the entries that each sample's loss reaches when it is propagated alone.
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
from gradmeter.reading.capture.order import Indexed, in_order, indexed, may_move_samples
from gradmeter.reading.capture.ownership import axis_of, each_alone, gradients_at, owned_gradients, owners_of
from gradmeter.reading.capture.sample_axis import (
    OwnedRows,
    SampleAxis,
    Scattered,
    Shape,
    candidate_axes,
    exclusive,
    growing_dimension,
    touched_by,
)

# The transposition that every dense layer applies to its weight; all samples share its output.
TRANSPOSED = "TBackward0"
# With these a dense layer over positions folds them into the samples and unfolds its output.
_VIEWS = ("ViewBackward0", "UnsafeViewBackward0")

Axis = SampleAxis | OwnedRows | Scattered


@dataclass(frozen=True)
class Planned:
    """One operation of the plan.

    Attributes:
        index: its position in `Graph.nodes`.
        inputs: numbers of its inputs that depend on a parameter, directly or through operations on parameters.
        axes: sample axis of each output; None if it is unknown because no sample's loss reached the output.
        terminal: whether it depends on no other planned operation.
        call: number of the recorded call whose output it computes, for modules with their own rule.
    """

    index: int
    inputs: tuple[int, ...]
    axes: tuple[Axis | None, ...]
    terminal: bool
    call: int | None

    @property
    def silent(self) -> bool:
        """Whether no sample's loss reached it at planning time."""
        return all(axis is None for axis in self.axes)


@dataclass(frozen=True)
class Plan:
    """The operations to measure.

    Attributes:
        operations: in the order of `Graph.nodes`.
        contributions: number of contributions to each parameter's gradient, by name.
        reusable: whether the plan is valid for other batches, too.
        keep: whether to keep the graph after the backward pass, because contributions are summed or computed then.
        deferred: whether to process the operations after the backward pass: for activation checkpointing, which
            recomputes saved tensors in the backward pass and returns each only once.
        gradients: gradients of the outputs of each operation, by its index, if planning has computed them for this
            batch and loss; no further backward pass is needed then.
        indexed: the operations that index the samples; the plan is valid if they keep the samples in order.
        moves: whether other operations may put the samples in another order.
    """

    operations: tuple[Planned, ...]
    contributions: Counter[str]
    reusable: bool
    keep: bool
    deferred: bool = False
    gradients: Mapping[int, tuple[Tensor | None, ...]] | None = None
    indexed: tuple[Indexed, ...] = ()
    moves: bool = False

    @property
    def unordered(self) -> bool:
        """Whether the samples lie, or may lie in another batch, in an arbitrary order in some output."""
        return self.moves or any(
            isinstance(axis, OwnedRows | Scattered) for planned in self.operations for axis in planned.axes
        )

    def adapted(self, graph: Graph, samples: int) -> Plan | None:
        """The plan for a graph with the same signature and other sizes; None if it does not fit.

        The number of positions may differ where they are folded on one side of the samples only.
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
        samples: number of samples in the smaller batch.
        shapes: shapes of the outputs, by position in `Graph.nodes` and by output.
    """

    samples: int
    shapes: list[list[Shape]]


def _mixing_error(node: Node) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the network mixes the samples of a batch in {node.name()}, so per-sample gradients are undefined; "
        "expected a network that treats samples independently"
    )


def _trivially_shared(graph: Graph, smaller: Smaller | None) -> set[Node]:
    """Operations on parameters alone that have the same output for every batch, and so need no backward pass."""
    shared: set[Node] = set()
    for position, node in enumerate(graph.nodes):
        same_shapes = smaller is not None and output_shapes(node) == smaller.shapes[position]
        if node.name() == TRANSPOSED or (
            same_shapes and all(child in shared for child, _ in node.next_functions if child in graph.index)
        ):
            shared.add(node)
    return shared


def _mixing_operation(graph: Graph, shared: set[Node]) -> Node | None:
    """A shared operation whose inputs are not all shared; None if there is none."""
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
    reusable: bool = True
    gradients: dict[int, tuple[Tensor | None, ...]] = field(default_factory=dict)
    seen: dict[torch.Size, tuple[Tensor, Axis | None]] = field(default_factory=dict)

    def axes_of(self, nodes: Sequence[Node]) -> dict[Node, list[Axis | None] | None]:
        """For each node the sample axes of its outputs; None for a node that the samples share."""
        if self.smaller is None:
            # The plan is for this batch only, so any axis that agrees with the owners will do.
            axes: dict[Node, list[Axis | None] | None] = {}
            for node, owned in owned_gradients(nodes, self.logits, self.direction).items():
                self.gradients[self.graph.index[node]] = owned.gradients
                axes[node] = None if owned.owners is None else [self._axis_of(owner) for owner in owned.owners]
            return axes
        gradients = gradients_at(nodes, self.logits, list(each_alone(self.direction)))
        return {node: self._axes(node, outputs) for node, outputs in gradients.items()}

    def _axis_of(self, owner: Tensor | None) -> Axis | None:
        """The sample axis; cached by shape, because the steps of a recurrent network have equal owners."""
        if owner is None:
            return None
        known, axis = self.seen.get(owner.shape, (None, None))
        if known is None or not torch.equal(known, owner):
            axis = axis_of(owner, len(self.logits))
            self.seen[owner.shape] = owner, axis
        return axis

    def _axes(self, node: Node, outputs: list[list[Tensor | None]]) -> list[Axis | None] | None:
        assert self.smaller is not None
        axes = []
        for output, gradients in enumerate(outputs):
            shapes = output_shapes(node)[output], self.smaller.shapes[self.graph.index[node]][output]
            axis, shared = self._for_any_batch(node, touched_by(gradients), *shapes)
            if shared:
                return None
            axes.append(axis)
        return axes

    def _for_any_batch(
        self, node: Node, touched: Tensor | None, shape: Shape, smaller: Shape
    ) -> tuple[Axis | None, bool]:
        """The axis of an output along the dimension that grows with the batch, and whether the samples share it."""
        assert self.smaller is not None
        if shape == smaller:
            return None, touched is not None
        dim = growing_dimension(shape, len(self.logits), smaller, self.smaller.samples)
        if dim is not None and smaller[dim] == self.smaller.samples and touched is None:
            return SampleAxis(dim, 1, 1), False
        if touched is None:
            return None, False
        axes = [] if dim is None else list(candidate_axes(touched, [dim]))
        if dim is not None and len(axes) > 1:
            unfolded = self._unfolded(node, dim, shape)
            axes = [axis for axis in axes if axis == unfolded] or axes
        # A single axis is valid for every batch; with several or none, every batch needs its own plan.
        self.reusable = self.reusable and len(axes) == 1
        if axes:
            return axes[0], False
        if exclusive(touched):
            return axis_of(owners_of(touched), len(self.logits)), False
        if dim is not None:
            raise _mixing_error(node)
        return None, True

    def _unfolded(self, node: Node, dim: int, shape: Shape) -> SampleAxis | None:
        """The axis that a following view implies by unfolding the samples' dimension; None if there is none."""
        assert self.smaller is not None
        samples = len(self.logits)
        for user, _ in self.graph.uses.get(node, ()):
            if user.name() not in _VIEWS:
                continue
            (viewed,), (fewer,) = output_shapes(user), self.smaller.shapes[self.graph.index[user]]
            growing = growing_dimension(viewed, samples, fewer, self.smaller.samples)
            if growing is not None and viewed[growing] == samples:
                # A view keeps the order of the entries, so the sizes in front of the samples agree.
                outer = math.prod(viewed[:growing]) // math.prod(shape[:dim])
                return SampleAxis(dim, outer, shape[dim] // (outer * samples)) if outer else None
        return None


def make_plan(
    graph: Graph, logits: Tensor, direction: Tensor, calls: Sequence[Call] = (), smaller: Smaller | None = None
) -> Plan:
    """Find the operations that use parameters, and their sample axes.

    Args:
        graph: graph of the logits.
        logits: [N, C]; two or three samples are enough.
        direction: [N, C] start vectors.
        calls: calls of modules with a rule, which covers the operations inside.
        smaller: outputs of the same operations for a smaller batch; without it the plan is valid for this batch only.

    Raises:
        UnsupportedModelError: if the network mixes the samples.
    """
    planner = _Planner(graph, logits, direction, smaller)
    trivial = _trivially_shared(graph, smaller)
    shared: set[Node] = set()
    inside = {node: number for number, call in enumerate(calls) for node in call.inside()}
    inputs: dict[Node, set[int]] = {}
    axes: dict[Node, list[Axis | None]] = {}
    by_call: dict[Node, int] = {}
    # Follow the parameters through shared operations up to the first operations that belong to the samples.
    frontier: list[Node] = list(graph.leaves)
    while frontier:
        candidates: list[Node] = []
        newly_shared: list[Node] = []
        for node in frontier:
            for user, number in graph.uses.get(node, ()):
                if user in inside:
                    by_call[calls[inside[user]].edge.node] = inside[user]
                    user, number = calls[inside[user]].edge.node, -1
                if user not in inputs:
                    inputs[user] = set()
                    (newly_shared if user in trivial else candidates).append(user)
                inputs[user].add(number)
        for node, node_axes in planner.axes_of(candidates).items():
            if node_axes is None:
                newly_shared.append(node)
            else:
                axes[node] = node_axes
        shared.update(newly_shared)
        frontier = newly_shared
    if (mixing := _mixing_operation(graph, shared)) is not None:
        if smaller is None:
            raise _mixing_error(mixing)
        return make_plan(graph, logits, direction, calls)
    operations = _ordered(graph, inputs, axes, by_call)
    contributions = _contributions(graph, operations, calls)
    keep = any(count > 1 for count in contributions.values())
    if smaller is None:
        return Plan(operations, contributions, reusable=False, keep=keep, gradients=planner.gradients)
    places, moves = indexed(graph, smaller.shapes), may_move_samples(graph, smaller.shapes)
    reusable = planner.reusable and not moves and all(in_order(graph, place, len(logits)) for place in places)
    return Plan(operations, contributions, reusable, keep, indexed=places, moves=moves)


def _ordered(
    graph: Graph,
    inputs: dict[Node, set[int]],
    axes: dict[Node, list[Axis | None]],
    by_call: dict[Node, int],
) -> tuple[Planned, ...]:
    """The planned operations in topological order, in which one sweep finds the terminal ones."""
    depends: dict[Node, bool] = {}
    operations = []
    for position, node in enumerate(graph.nodes):
        behind = any(depends.get(child, False) for child, _ in node.next_functions if child is not None)
        if node in axes:
            operations.append(
                Planned(position, tuple(sorted(inputs[node])), tuple(axes[node]), not behind, by_call.get(node))
            )
        depends[node] = behind or node in axes
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
