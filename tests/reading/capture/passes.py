"""One forward pass of a small network, with its graph and plan, and the reference gradients."""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from gradmeter.reading.capture import (
    Call,
    Graph,
    Operation,
    Plan,
    Planned,
    Smaller,
    make_plan,
    output_shapes,
    propagate,
    recorded_calls,
)
from oracles.networks import samples


@dataclass
class Pass:
    """A forward pass.

    Attributes:
        out: [N, ...] output of the network; it need not be logits.
        direction: like `out`, the derivative of some loss with respect to it.
        graph: graph of `out`.
        calls: recorded calls of modules.
    """

    out: Tensor
    direction: Tensor
    graph: Graph
    calls: list[Call]

    @classmethod
    def of(cls, model: nn.Module, x: Tensor, ruled: Iterable[str] = ()) -> "Pass":
        with recorded_calls({name: model.get_submodule(name) for name in ruled}) as calls:
            out = model(x)
        direction = samples(*out.shape, seed=5).to(out)
        return cls(out, direction, Graph.of(out, dict(model.named_parameters())), calls)

    def plan(self, smaller: "Pass | None" = None) -> Plan:
        """The plan; without the pass of a smaller batch it is valid for this one only."""
        shapes = None
        if smaller is not None:
            shapes = Smaller(len(smaller.out), [output_shapes(node) for node in smaller.graph.nodes])
        return make_plan(self.graph, self.out, self.direction, self.calls, shapes)

    def propagate(
        self, plan: Plan, receive: Callable[[Planned, Operation], Any], *, keep: bool = False, deferred: bool = False
    ) -> None:
        plan = replace(plan, keep=plan.keep or keep, deferred=plan.deferred or deferred)
        propagate(self.graph, plan, self.out, self.direction, receive)

    def ordinary_backward(self) -> None:
        edges = [GradientEdge(leaf, 0) for leaf in self.graph.leaves]
        torch.autograd.grad(self.out, edges, self.direction, retain_graph=True)

    def name(self, planned: Planned) -> str:
        return self.graph.nodes[planned.index].name()


def each_alone(model: nn.Module, x: Tensor, direction: Tensor) -> dict[str, Tensor]:
    """The gradient [N, *shape] of every parameter, by autograd for one sample at a time, in float64 on the CPU."""
    double = copy.deepcopy(model).double().cpu()
    x = (x.double() if x.is_floating_point() else x).cpu()
    direction = direction.cpu()
    rows = [
        torch.autograd.grad(
            double(x[sample : sample + 1]),
            list(double.parameters()),
            direction[sample : sample + 1].double(),
            allow_unused=True,
            materialize_grads=True,
        )
        for sample in range(len(x))
    ]
    names = [name for name, _ in double.named_parameters()]
    return {
        name: torch.stack([gradient.to_dense() for gradient in gradients])
        for name, gradients in zip(names, zip(*rows, strict=True), strict=True)
    }
