"""Contributions of the operations to each parameter's gradient, reduced as soon as they are complete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from gradmeter.errors import UnsupportedModelError
from gradmeter.reading.capture import TRANSPOSED, Call, Graph, Operation, Plan, Planned, metadata, output_shapes
from gradmeter.reading.layers.general import Masked, PulledBack
from gradmeter.reading.layers.gradients import Direct, PerSampleGradient, total, transposed
from gradmeter.reading.layers.registry import module_rule, rule_for
from gradmeter.reading.statistics import PowerSums

_CAST = "ToCopyBackward0"


def _before_casts(node: Node | None, output: int) -> tuple[Node, int]:
    """Skip casts between real dtypes, for example by autocast, because they do not change the gradient."""
    assert node is not None
    while node.name() == _CAST and not metadata(node)[0].dtype.is_complex:
        node, output = node.next_functions[0]
        assert node is not None
    return node, output


def _transposes(node: Node) -> bool:
    """Whether an operation transposes a matrix: W.t() in a dense layer, W.T, W.transpose(0, 1)."""
    if node.name() == TRANSPOSED:
        return True
    if len(output_shapes(node)[0]) != 2:
        return False
    saved: Any = node
    if node.name() == "PermuteBackward0":
        return tuple(dim % 2 for dim in saved._saved_dims) == (1, 0)
    return node.name() == "TransposeBackward0" and saved._saved_dim0 % 2 != saved._saved_dim1 % 2


class Unkept(Exception):
    """A gradient is available only after the backward pass, but the plan does not keep the graph."""


class Contributions:
    """Collects the gradients of one backward pass.

    Attributes:
        sums: power sums of the parameters whose gradients are complete, by name.
    """

    def __init__(self, graph: Graph, plan: Plan, calls: Sequence[Call], samples: int) -> None:
        self._graph, self._calls, self._samples = graph, calls, samples
        self._expected, self._keep = plan.contributions, plan.keep
        self._pending: defaultdict[str, list[PerSampleGradient]] = defaultdict(list)
        self.sums: dict[str, PowerSums] = {}
        self._operation = ""
        self._late: list[tuple[str, str, PerSampleGradient]] = []

    def receive(self, planned: Planned, operation: Operation) -> None:
        """Add the contributions of one operation while its saved tensors are alive."""
        if planned.call is not None:
            call = self._calls[planned.call]
            self._operation = type(call.module).__name__
            self._receive_call(call, operation)
            return
        self._operation = operation.node.name()
        rule = rule_for(operation)
        gradients = {} if rule is None else rule(operation)
        for number in operation.inputs:
            gradient = gradients.get(number)
            self._trace(operation, number, Masked(operation, number) if gradient is None else gradient)

    def finish(self) -> dict[str, PowerSums]:
        """Reduce the remaining gradients; return the power sums of every parameter that received a gradient."""
        for name in list(self._pending):
            self._reduce(name)
        return self.sums

    @property
    def one_by_one(self) -> set[tuple[str, str]]:
        """(parameter, operation) pairs for which the operation's backward pass ran for one sample at a time."""
        return {(name, operation) for name, operation, gradient in self._late if gradient.alone}

    def _receive_call(self, call: Call, operation: Operation) -> None:
        rule = module_rule(call.module)
        assert rule is not None
        delta = operation.gradients[call.edge.output_nr]
        assert delta is not None
        call.require_input_kept()
        gradients = rule(call.module, call.activation, delta)
        leaves = {self._graph.leaves[leaf]: leaf for leaf in call.inside() & self._graph.leaves.keys()}
        local_names = {id(parameter): name for name, parameter in call.module.named_parameters()}
        for name, leaf in leaves.items():
            parameter = leaf.variable  # type: ignore[attr-defined]
            local_name = local_names.get(id(parameter), "")
            gradient = gradients.get(local_name) if isinstance(gradients, Mapping) else gradients
            expected = (self._samples, *parameter.shape)
            if not isinstance(gradient, Tensor) or tuple(gradient.shape) != expected:
                given = "nothing" if gradient is None else type(gradient).__name__
                if isinstance(gradient, Tensor):
                    given = f"shape {tuple(gradient.shape)}"
                raise UnsupportedModelError(
                    f"the rule for {type(call.module).__name__} returned {given} for parameter {name!r}; "
                    f"expected a dict with a tensor of shape {expected}"
                )
            self._add(name, Direct(gradient))

    def _trace(self, operation: Operation, number: int, gradient: PerSampleGradient) -> None:
        """Add the gradient of an operation's input to the parameters that this input is computed from."""
        child, output = _before_casts(*operation.node.next_functions[number])
        if child in self._graph.leaves:
            self._add(self._graph.leaves[child], gradient)
            return
        if _transposes(child):
            behind, _ = _before_casts(*child.next_functions[0])
            if behind in self._graph.leaves:
                self._add(self._graph.leaves[behind], transposed(gradient))
                return
        for leaf, name in self._graph.leaves_behind(child).items():
            self._add(name, PulledBack(gradient, GradientEdge(child, output), GradientEdge(leaf, 0)))

    def _add(self, name: str, gradient: PerSampleGradient) -> None:
        if gradient.late and not self._keep:
            raise Unkept
        if gradient.late:
            self._late.append((name, self._operation, gradient))
        pending = self._pending[name]
        pending.append(gradient)
        if len(pending) == self._expected[name] and not any(gradient.late for gradient in pending):
            self._reduce(name)

    def _reduce(self, name: str) -> None:
        self.sums[name] = total(self._pending.pop(name))
