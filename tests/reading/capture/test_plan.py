from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from gradmeter import UnsupportedModelError
from gradmeter.reading.capture import OwnedRows, SampleAxis, Scattered
from oracles.networks import Recipe, Tied, randomise, samples
from reading.capture.passes import Pass

X, GRID = samples(3, 5), samples(3, 4, 5)
# the last two of 4 positions
PLAIN, TIME_MAJOR, INNER, OUTER = SampleAxis(0, 1, 1), SampleAxis(1, 1, 1), SampleAxis(0, 1, 4), SampleAxis(0, 4, 1)


def network(recipe: Callable[[Any, Tensor], Tensor], **members: nn.Module | tuple[int, ...]) -> Recipe:
    model = Recipe(recipe, **members).double()
    randomise(model)
    return model


def listed(
    model: nn.Module, x: Tensor
) -> list[tuple[str, tuple[int, ...], SampleAxis | OwnedRows | Scattered | None, bool]]:
    """(operation, inputs with parameters, axis of its output, terminal) of every planned operation."""
    walk = Pass.of(model, x)
    return [
        (walk.name(planned), planned.inputs, planned.axes[0], planned.terminal) for planned in walk.plan().operations
    ]


def test_two_dense_layers() -> None:
    model = network(lambda m, x: m.second(m.first(x).tanh()), first=nn.Linear(5, 4), second=nn.Linear(4, 3, bias=False))
    assert listed(model, X) == [("AddmmBackward0", (0, 2), PLAIN, True), ("MmBackward0", (1,), PLAIN, False)]


def test_an_operation_that_only_leads_to_data_is_terminal() -> None:
    model = network(lambda m, x: m.left(x).tanh() + m.right(x).tanh(), left=nn.Linear(5, 3), right=nn.Linear(5, 3))
    assert [terminal for *_, terminal in listed(model, X)] == [True, True]


BEHIND: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, Any], str, tuple[int, ...], set[str]]] = {
    "transposition": (lambda m, x: x @ m.w.t(), {"w": (3, 5)}, "MmBackward0", (1,), {"w"}),
    "permutation": (lambda m, x: x @ m.w.T, {"w": (3, 5)}, "MmBackward0", (1,), {"w"}),
    "transposed twice": (lambda m, x: x @ m.w.t().t(), {"w": (5, 3)}, "MmBackward0", (1,), {"w"}),
    "concatenation": (
        lambda m, x: x @ torch.cat([m.a, m.b], 1),
        {"a": (5, 1), "b": (5, 2)},
        "MmBackward0",
        (1,),
        {"a", "b"},
    ),
    "product": (lambda m, x: x @ (m.a @ m.b), {"a": (5, 2), "b": (2, 3)}, "MmBackward0", (1,), {"a", "b"}),
    "table of positions": (
        lambda m, x: x + F.interpolate(m.p, 5, mode="linear")[0],
        {"p": (1, 1, 3)},
        "AddBackward0",
        (1,),
        {"p"},
    ),
    "token": (
        lambda m, x: torch.cat([m.t.expand(len(x), -1), x], 1),
        {"t": (1, 2)},
        "ExpandBackward0",
        (0,),
        {"t"},
    ),
    "weight norm": (
        lambda m, x: m.dense(x),
        {"dense": weight_norm(nn.Linear(5, 3, bias=False))},
        "MmBackward0",
        (1,),
        {"dense.parametrizations.weight.original0", "dense.parametrizations.weight.original1"},
    ),
}


@pytest.mark.parametrize("case", BEHIND)
def test_parameters_behind_operations_on_parameters(case: str) -> None:
    recipe, members, operation, inputs, names = BEHIND[case]
    model = network(recipe, **members)
    assert listed(model, X) == [(operation, inputs, PLAIN, True)]
    assert Pass.of(model, X).plan().contributions == dict.fromkeys(names, 1)


AXES: dict[str, tuple[Callable[[Any, Tensor], Tensor], SampleAxis]] = {
    "plain": (lambda m, x: m.dense(x.flatten(1)[:, :5]), PLAIN),
    "positions": (lambda m, x: m.dense(x).sum(1), INNER),
    "time-major": (lambda m, x: torch.relu(x.transpose(0, 1) + m.dense.bias[:1]).transpose(0, 1), TIME_MAJOR),
    "time-major folded": (lambda m, x: m.dense(x.transpose(0, 1).flatten(0, 1)).unflatten(0, (4, -1)).sum(0), OUTER),
    "folded on both sides": (
        lambda m, x: m.dense(x.unflatten(1, (2, 2)).movedim(1, 0).flatten(0, 2)).unflatten(0, (2, -1, 2)).sum((0, 2)),
        SampleAxis(0, 2, 2),
    ),
    "columns": (lambda m, x: (m.dense.weight @ x[:, 0].t()).t(), TIME_MAJOR),
}


@pytest.mark.parametrize("fewer", [None, 1, 2])
@pytest.mark.parametrize("case", AXES)
def test_axes_of_layouts(case: str, fewer: int | None) -> None:
    recipe, axis = AXES[case]
    model = network(recipe, dense=nn.Linear(5, 3))
    smaller = Pass.of(model, GRID[:fewer]) if fewer is not None else None
    plan = Pass.of(model, GRID).plan(smaller)
    assert [planned.axes for planned in plan.operations] == [(axis,)]
    assert plan.reusable == (fewer is not None)


def last_step(m: Any, x: Tensor) -> Tensor:
    """Positions before the batch, of which the last reaches the logits, and only where it is large."""
    out: Tensor = torch.relu(torch.cat(x.unbind(1)) @ m.w.abs() - 10).unflatten(0, (4, -1))[-1]
    return out


def test_a_plan_that_may_be_another_does_not_last() -> None:
    model = network(last_step, w=(5, 3))
    ambiguous, clear = torch.zeros(3, 4, 5).double(), torch.full((3, 4, 5), 100.0).double()
    ambiguous[2] = 100
    smaller = Pass.of(model, clear[:1])
    assert not Pass.of(model, ambiguous).plan(smaller).reusable
    plan = Pass.of(model, clear).plan(smaller)
    assert plan.reusable
    assert [planned.axes for planned in plan.operations] == [(OUTER,)]


FIRST: dict[str, tuple[Callable[[Any, Tensor], Tensor], SampleAxis]] = {
    "folded behind": (lambda m, x: m.head(m.dense(x)[:, 0]), INNER),
    "folded before": (lambda m, x: m.head(m.dense(x.transpose(0, 1).contiguous())[0]), OUTER),
}


@pytest.mark.parametrize("fewer", [1, 2])
@pytest.mark.parametrize("case", FIRST)
def test_one_position_of_four_that_counts(case: str, fewer: int) -> None:
    """A class token. Row 4 n of sample n may be the row of sample 4 n modulo 3, too; the view that follows tells."""
    recipe, axis = FIRST[case]
    model = network(recipe, dense=nn.Linear(5, 4), head=nn.Linear(4, 3))
    walk = Pass.of(model, GRID)
    plan = walk.plan(Pass.of(model, GRID[:fewer]))
    assert [planned.axes[0] for planned in plan.operations] == [axis, PLAIN]
    assert plan.reusable
    assert not walk.plan().reusable


def test_scattered_samples_hold_for_their_batch() -> None:
    """Positions of the batch in an order of their own, as in a packed sequence."""
    order = torch.tensor([5, 0, 3, 7, 11, 4, 1, 2, 10, 8, 6, 9])

    def recipe(m: Any, x: Tensor) -> Tensor:
        out: Tensor = (x.flatten(0, 1)[order] @ m.w)[order.argsort()].unflatten(0, (-1, 4))
        return out

    walk = Pass.of(network(recipe, w=(5, 2)), GRID)
    plan = walk.plan()
    ((scattered,),) = (planned.axes for planned in plan.operations)
    assert isinstance(scattered, OwnedRows)
    assert scattered.dim == 0
    assert torch.equal(scattered.owners, order // 4)
    assert not plan.reusable
    assert plan.adapted(walk.graph, 3) is None


def marked(m: Any, x: Tensor) -> Tensor:
    """Positions with a mark, such as the end of a text."""
    out: Tensor = m.head(m.dense(x)[x[:, :, 0] > 5]).unflatten(0, (len(x), -1)).sum(1)
    return out


def with_marks(places: list[list[int]]) -> Tensor:
    x = GRID.clone().clamp(max=5)
    for sample, at in enumerate(places):
        x[sample, at, 0] = 9
    return x


@pytest.mark.parametrize(
    ("places", "reusable"),
    [([[1], [3], [0]], True), ([[0, 1], [0, 3], [2, 3]], False)],
    ids=["once", "twice"],
)
def test_a_plan_lasts_if_each_sample_has_one_mark(places: list[list[int]], reusable: bool) -> None:
    model, x = network(marked, dense=nn.Linear(5, 4), head=nn.Linear(4, 3)), with_marks(places)
    assert Pass.of(model, x).plan(Pass.of(model, x[:1])).reusable is reusable


def test_a_plan_for_marks_fits_those_at_other_positions() -> None:
    model, x = network(marked, dense=nn.Linear(5, 4), head=nn.Linear(4, 3)), with_marks([[1], [3], [0]])
    plan = Pass.of(model, x).plan(Pass.of(model, x[:1]))
    x = with_marks([[2], [2], [1]])
    assert plan.adapted(Pass.of(model, x).graph, 3) is not None
    square = with_marks([[0], [1], [2]])[:, :3].contiguous()
    assert plan.adapted(Pass.of(model, square).graph, 3) is None  # the mask may be of positions before the batch


def test_every_use_is_counted() -> None:
    walk = Pass.of(randomise(Tied().double()), samples(3, 4))
    assert walk.plan().contributions == {"first.weight": 2, "first.bias": 1, "second.bias": 1, "head.weight": 1}
    square = network(lambda m, x: (x @ m.w).tanh() @ m.w + x * m.w.sum(), w=(5, 5))
    assert Pass.of(square, X).plan().contributions == {"w": 3}


def test_a_parameter_twice_on_one_operation_counts_by_input() -> None:
    model = network(lambda m, x: x @ torch.cat([m.w, m.w.t()]), w=(5, 5))
    walk = Pass.of(model, samples(3, 10))
    assert walk.plan().contributions == {"w": 1}  # one input that depends on it in two ways


SILENT: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "scaled by nothing": lambda m, x: m.head(x) + 0 * m.side(x),
    "dead": lambda m, x: m.head(x) + torch.relu(m.side(x) - 100),
    "masked": lambda m, x: m.head(x) + torch.where(x[:, :3] > 100, m.side(x), 0.0),
}


@pytest.mark.parametrize(
    ("keep", "recipe"),
    [
        (False, lambda m, x: m.second(m.first(x))),
        (True, lambda m, x: m.second(m.second(m.first(x)))),
    ],
)
def test_the_graph_is_kept_where_contributions_wait_for_others(
    keep: bool, recipe: Callable[[Any, Tensor], Tensor]
) -> None:
    plan = Pass.of(network(recipe, first=nn.Linear(5, 5), second=nn.Linear(5, 5)), X).plan()
    assert (plan.keep, plan.deferred) == (keep, False)


@pytest.mark.parametrize("case", SILENT)
def test_what_no_sample_reaches_is_silent(case: str) -> None:
    walk = Pass.of(network(SILENT[case], head=nn.Linear(5, 3), side=nn.Linear(5, 3)), X)
    plan = walk.plan()
    assert [planned.silent for planned in plan.operations] == [False, True]
    assert plan.contributions == {"head.weight": 1, "head.bias": 1}


def test_samples_in_another_order_on_the_way() -> None:
    model = network(lambda m, x: m.head(m.body(x).tanh().flip(0)).flip(0), body=nn.Linear(5, 4), head=nn.Linear(4, 3))
    plan = Pass.of(model, X).plan(Pass.of(model, X[:1]))
    body, head = (planned.axes[0] for planned in plan.operations)
    assert body == PLAIN
    assert isinstance(head, OwnedRows)
    assert head.owners.tolist() == [2, 1, 0]
    assert not plan.reusable


@pytest.mark.parametrize("mix", [lambda h: h.cumsum(0), lambda h: h - h.mean(0), lambda h: h + h.roll(1, 0)])
def test_samples_that_meet_on_the_way(mix: Callable[[Tensor], Tensor]) -> None:
    model = network(lambda m, x: m.head(mix(m.body(x).tanh())), body=nn.Linear(5, 4), head=nn.Linear(4, 3))
    with pytest.raises(UnsupportedModelError, match="AddmmBackward0"):
        Pass.of(model, X).plan(Pass.of(model, X[:1]))


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense = nn.Linear(5, 5)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dense(x.tanh()).tanh()
        return out


def nested() -> nn.Module:
    return network(lambda m, x: m.head(m.outer(m.stem(x))), stem=Inner(), outer=nn.Sequential(Inner(), nn.Tanh()),
                   head=nn.Linear(5, 3))  # fmt: skip


DENSE, INSIDE = (None, "AddmmBackward0", (0, 2)), "TanhBackward0"


@pytest.mark.parametrize(
    ("ruled", "expected_operations"),
    [
        (["outer"], [DENSE, (0, INSIDE, (-1,)), DENSE]),
        (["outer.0"], [DENSE, (0, INSIDE, (-1,)), DENSE]),
        # the outer call covers the inner one, which ends first
        (["outer", "outer.0"], [DENSE, (1, INSIDE, (-1,)), DENSE]),
        (["stem", "outer", "head"], [(0, INSIDE, (-1,)), (1, INSIDE, (-1,)), (2, "AddmmBackward0", (-1,))]),
    ],
)
def test_calls_of_modules_with_a_rule(
    ruled: list[str], expected_operations: list[tuple[int | None, str, tuple[int, ...]]]
) -> None:
    walk = Pass.of(nested(), X, ruled)
    plan = walk.plan()
    assert [(planned.call, walk.name(planned), planned.inputs) for planned in plan.operations] == expected_operations
    assert [planned.terminal for planned in plan.operations] == [True, False, False]
    parameters = [f"{layer}.{name}" for layer in ("stem.dense", "outer.0.dense", "head") for name in ("weight", "bias")]
    assert plan.contributions == dict.fromkeys(parameters, 1)


def test_a_module_called_twice_makes_two_calls() -> None:
    model = network(lambda m, x: m.head(m.inner(m.inner(x))), inner=Inner(), head=nn.Linear(5, 3))
    plan = Pass.of(model, X, ["inner"]).plan()
    assert [planned.call for planned in plan.operations] == [0, 1, None]
    assert plan.contributions["inner.dense.weight"] == 2


@pytest.mark.parametrize("case", AXES)
def test_a_plan_serves_other_numbers_of_samples(case: str) -> None:
    model = network(AXES[case][0], dense=nn.Linear(5, 3))
    plan = Pass.of(model, GRID).plan()
    for count in (1, 2, 7):
        graph = Pass.of(model, samples(count, 4, 5)).graph
        assert plan.adapted(graph, count) == plan
        assert plan.adapted(graph, 11) is None


POSITIONS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "folded behind": lambda m, x: m.dense(x.flatten(0, 1)).unflatten(0, (len(x), -1)),
    "folded before": lambda m, x: m.dense(torch.cat(x.unbind(1))).unflatten(0, (-1, len(x)))[0],
    "unfolded": lambda m, x: (x.transpose(0, 1) * m.dense.weight[0]).transpose(0, 1),
}


@pytest.mark.parametrize("case", POSITIONS)
def test_a_plan_serves_other_numbers_of_positions(case: str) -> None:
    model = network(POSITIONS[case], dense=nn.Linear(5, 3))
    plan = Pass.of(model, GRID).plan()
    walk = Pass.of(model, samples(2, 7 if case != "folded before" else 4, 5))
    adapted = plan.adapted(walk.graph, 2)
    assert adapted is not None
    assert adapted.operations == walk.plan().operations


def test_a_graph_without_parameters_has_an_empty_plan() -> None:
    walk = Pass.of(network(lambda m, x: x.requires_grad_() * 2, unused=(3,)), X.clone())
    plan = walk.plan()
    assert (plan.operations, plan.contributions) == ((), {})
