from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from gradmeter.reading.capture import Graph
from oracles.networks import CASES, Recipe, randomise, samples
from reading.capture.passes import Pass

Use = Callable[[Any, Tensor], Tensor]

OFF_THE_WAY: dict[str, set[str]] = {
    "residual": set(),
    "called twice": set(),
    "tokens": set(),
    "tied weights": set(),
    "auxiliary heads": {"inner", "outer", "idle"},
}
"""Case of the table: modules that do not reach the logits."""


def names(graph: Graph) -> list[str]:
    return [node.name() for node in graph.nodes]


def walked(case: str) -> tuple[nn.Module, Pass]:
    make, shape = CASES[case]
    model = randomise(make()).eval().double()
    return model, Pass.of(model, samples(3, *shape))


@pytest.mark.parametrize("case", OFF_THE_WAY)
def test_every_node_comes_after_all_that_it_leads_to(case: str) -> None:
    _, walk = walked(case)
    graph = walk.graph
    assert graph.nodes[-1] is walk.out.grad_fn
    assert graph.index == {node: position for position, node in enumerate(graph.nodes)}
    for position, node in enumerate(graph.nodes):
        for child, _ in node.next_functions:
            assert child is None or child in graph.leaves or graph.index[child] < position


@pytest.mark.parametrize("case", OFF_THE_WAY)
def test_leaves_are_the_parameters_that_reach_the_logits(case: str) -> None:
    model, walk = walked(case)
    names = [name for name, _ in model.named_parameters() if name.split(".")[0] not in OFF_THE_WAY[case]]
    assert sorted(walk.graph.leaves.values()) == sorted(names)
    parameters = dict(model.named_parameters())
    for leaf, name in walk.graph.leaves.items():
        node: Any = leaf
        assert node.variable is parameters[name]


@pytest.mark.parametrize("case", OFF_THE_WAY)
def test_uses_turn_the_edges_around(case: str) -> None:
    graph = walked(case)[1].graph
    expected: dict[Node, list[tuple[Node, int]]] = {}
    for node in graph.nodes:
        for number, (child, _) in enumerate(node.next_functions):
            if child is not None:
                expected.setdefault(child, []).append((node, number))
    assert graph.uses == expected


def test_two_outputs_of_one_operation() -> None:
    def both(m: Any, x: Tensor) -> Tensor:
        scale, shift = m.pair.unbind()
        return x * scale + shift  # type: ignore[no-any-return]

    graph = Pass.of(Recipe(both, pair=(2, 3)), torch.ones(4, 3)).graph
    assert names(graph) == ["UnbindBackward0", "MulBackward0", "AddBackward0"]
    unbound, product, total = graph.nodes
    assert graph.uses[unbound] == [(product, 1), (total, 1)]
    assert list(graph.leaves_behind(unbound).values()) == ["pair"]


def test_what_is_reached_by_many_ways_is_walked_once() -> None:
    """2^60 ways lead from the end to the parameter."""
    parameter = nn.Parameter(torch.ones(2, 2))
    out = parameter * 1
    for _ in range(60):
        out = out + out
    graph = Graph.of(out, {"w": parameter})
    assert names(graph) == ["MulBackward0", *["AddBackward0"] * 60]
    assert list(graph.leaves_behind(graph.nodes[-1]).values()) == ["w"]
    assert graph.uses[graph.nodes[3]] == [(graph.nodes[4], 0), (graph.nodes[4], 1)]


def test_deep_networks_need_no_recursion() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    out: Tensor = parameter
    for _ in range(5000):
        out = out.neg()
    graph = Graph.of(out, {"w": parameter})
    assert len(graph.nodes) == 5000
    assert list(graph.leaves_behind(graph.nodes[-1]).values()) == ["w"]


def test_logits_without_a_graph() -> None:
    parameter = nn.Parameter(torch.ones(2, 2))
    graph = Graph.of((parameter * 2).detach(), {"w": parameter})
    assert (graph.nodes, graph.leaves, graph.uses) == ([], {}, {})


def test_a_network_of_one_operation() -> None:
    parameter = nn.Parameter(torch.ones(2))
    out = parameter.expand(3, 2)
    graph = Graph.of(out, {"w": parameter})
    assert graph.nodes == [out.grad_fn]
    assert list(graph.leaves.values()) == ["w"]
    (leaf,) = graph.leaves
    assert graph.uses == {leaf: [(out.grad_fn, 0)]}


def test_only_the_named_parameters_are_leaves() -> None:
    model = nn.Linear(4, 3)
    parameter = next(model.parameters())
    graph = Graph.of(model(samples(2, 4).float()), {"w": parameter})
    assert list(graph.leaves.values()) == ["w"]
    assert names(graph) == ["TBackward0", "AddmmBackward0"]


def test_signatures_tell_networks_apart_and_not_data() -> None:
    make, shape = CASES["residual"]
    model = randomise(make()).eval().double()
    signature = Pass.of(model, samples(3, *shape)).graph.signature()
    assert Pass.of(model, samples(5, *shape, seed=9)).graph.signature() == signature
    other = nn.Sequential(model, nn.Tanh())
    assert Pass.of(other, samples(3, *shape)).graph.signature() != signature


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (lambda m, x: x @ m.a @ m.b, lambda m, x: x @ m.b @ m.a),
        (lambda m, x: x @ m.a @ m.b, lambda m, x: x @ m.a @ m.a),
        (lambda m, x: x + torch.stack([m.c] * 2), lambda m, x: x + torch.stack([m.c] * 3)),
        (lambda m, x: (x[:, None, None] * m.c).sum(1).sum(1), lambda m, x: (x[:, None, None] * m.c).sum(2).sum(1)),
        (lambda m, x: (x[:, None] * m.c).transpose(0, 1), lambda m, x: (x[:, None] * m.c).transpose(0, 2)),
        (lambda m, x: torch.cat((x @ m.pair).split(3, 1)), lambda m, x: torch.cat((x @ m.pair).split(3, 1)[::-1])),
    ],
)
def test_signatures_of_networks_with_the_same_operations(first: Use, second: Use) -> None:
    model = Recipe(first, a=(3, 3), b=(3, 3), c=(3,), pair=(3, 6))

    def signature(use: Use) -> str:
        return Graph.of(use(model, torch.ones(1, 3)), dict(model.named_parameters())).signature()

    assert signature(first) == signature(first)
    assert signature(first) != signature(second)


def test_leaves_behind() -> None:
    def recipe(m: Any, x: Tensor) -> Tensor:
        return (x @ (m.a.t() * m.b)).tanh() @ torch.cat([m.c, m.b]) + m.d  # type: ignore[no-any-return]

    graph = Pass.of(Recipe(recipe, a=(6, 5), b=(5, 6), c=(1, 6), d=(6,)), torch.ones(3, 5)).graph
    behind: dict[str, list[str]] = {}
    for node in graph.nodes:
        behind.setdefault(node.name(), []).append("".join(sorted(graph.leaves_behind(node).values())))
    assert behind == {
        "TBackward0": ["a"],
        "MulBackward0": ["ab"],
        "MmBackward0": ["ab", "abc"],
        "TanhBackward0": ["ab"],
        "CatBackward0": ["bc"],
        "AddBackward0": ["abcd"],
    }
    leaf = next(iter(graph.leaves))
    assert graph.leaves_behind(leaf) == {leaf: graph.leaves[leaf]}
