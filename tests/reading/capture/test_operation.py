from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.reading.capture import Operation, SampleAxis
from oracles.networks import Recipe, randomise, samples
from reading.capture.passes import Pass, each_alone

GRID = samples(3, 4, 5)


def given(gradient: Tensor | None) -> Tensor:
    assert gradient is not None
    return gradient


def operations(model: nn.Module, x: Tensor, look: Callable[[Operation], Any]) -> list[Any]:
    """What `look` sees in each operation when the pass is over."""
    walk = Pass.of(model, x)
    kept: list[Operation] = []
    walk.propagate(walk.plan(), lambda planned, operation: kept.append(operation), keep=True)
    return [look(operation) for operation in kept]


class Both(torch.autograd.Function):
    """Product and sum with a parameter, two outputs of one operation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, w)
        return x * w, x + w

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        product, total = deltas
        return product * w + total, (product * x + total).sum(tuple(range(x.dim() - 1)))


both: Callable[..., tuple[Tensor, Tensor]] = Both.apply


def recipe_of_both(m: Any, x: Tensor) -> Tensor:
    product, total = both(x, m.w)
    return product + 2 * total


OPERATIONS: dict[str, tuple[Callable[[Any, Tensor], Tensor], dict[str, tuple[int, ...]]]] = {
    "dense": (lambda m, x: torch.addmm(m.b, x[:, 0], m.w), {"b": (3,), "w": (5, 3)}),
    "positions": (lambda m, x: (x.flatten(0, 1) @ m.w).unflatten(0, (-1, 4)), {"w": (5, 3)}),
    "time-major": (lambda m, x: (x.transpose(0, 1) * m.w).transpose(0, 1), {"w": (4, 1, 5)}),
    "time-major folded": (
        lambda m, x: (x.transpose(0, 1).reshape(-1, 5) @ m.w).unflatten(0, (4, -1)).transpose(0, 1),
        {"w": (5, 3)},
    ),
    "norm": (lambda m, x: F.layer_norm(x, (5,), m.w, m.b), {"w": (5,), "b": (5,)}),
    "two outputs": (recipe_of_both, {"w": (5,)}),
    "one of two outputs": (lambda m, x: both(x, m.w)[1], {"w": (5,)}),
}


@pytest.mark.parametrize("case", OPERATIONS)
def test_input_gradients_of_one_sample_against_a_loop(case: str) -> None:
    recipe, members = OPERATIONS[case]
    model = randomise(Recipe(recipe, **members).double())

    def look(operation: Operation) -> dict[str, Tensor]:
        actual = {}
        for number in operation.inputs:
            leaf: Any = operation.node.next_functions[number][0]
            name = next(name for name, parameter in model.named_parameters() if parameter is leaf.variable)
            assert operation.size_of_input(number) == tuple(leaf.variable.shape)
            actual[name] = torch.stack(
                [
                    given(operation.input_gradients(sample)[number]).sum_to_size(leaf.variable.shape)
                    for sample in range(3)
                ]
            )
        return actual

    walk = Pass.of(model, GRID)
    expected = each_alone(model, GRID, walk.direction)
    (actual,) = operations(model, GRID, look)
    torch.testing.assert_close(actual, expected)


def test_asking_for_one_sample_leaves_the_gradient_alone() -> None:
    def look(operation: Operation) -> bool:
        before = operation.delta.clone()
        operation.input_gradients(0)
        return torch.equal(operation.delta, before)

    assert operations(Recipe(lambda m, x: x @ m.w, w=(5, 3)).double(), samples(3, 5), look) == [True]


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_is_widened(dtype: torch.dtype, wide: torch.dtype) -> None:
    model = Recipe(lambda m, x: torch.addmm(m.b, x, m.w), b=(3,), w=(5, 3)).to(dtype)
    x = samples(3, 5).to(dtype)
    walk = Pass.of(model, x)

    def look(operation: Operation) -> None:
        saved = operation.saved("mat1")
        assert saved.dtype == operation.delta.dtype == wide
        assert not saved.requires_grad
        assert torch.equal(saved, x.to(wide))
        assert torch.equal(operation.delta, walk.direction.to(wide))
        assert operation.saved("alpha") == 1

    walk.propagate(walk.plan(), lambda planned, operation: look(operation))


def test_rows_and_axis_of_the_first_output() -> None:
    model = Recipe(OPERATIONS["time-major folded"][0], w=(5, 3)).double()

    def look(operation: Operation) -> tuple[SampleAxis, bool]:
        rows = operation.rows(operation.saved("self"))
        return operation.axis, torch.equal(rows.flatten(1, 2), GRID)

    assert operations(model, GRID, look) == [(SampleAxis(0, 4, 1), True)]


def packed(m: Any, x: Tensor) -> Tensor:
    """The positions of every sample in an order of their own."""
    order = torch.tensor([5, 0, 3, 7, 11, 4, 1, 2, 10, 8, 6, 9])
    order = order[order < len(x) * 4]
    out: Tensor = (x.flatten(0, 1)[order] @ m.w)[order.argsort()].unflatten(0, (-1, 4))
    return out


def entries(m: Any, x: Tensor) -> Tensor:
    """A product whose entries are mixed up, row by row in another way."""
    rows = torch.arange(len(x)).unsqueeze(1)
    mixed = x[:, :3, 0].gather(0, (rows + torch.arange(3)) % len(x)) * m.w
    out: Tensor = mixed.gather(0, (rows - torch.arange(3)) % len(x))
    return out


@pytest.mark.parametrize(("recipe", "shape", "along_rows"), [(packed, (5, 3), True), (entries, (1,), False)])
def test_scattered_samples(recipe: Callable[[Any, Tensor], Tensor], shape: tuple[int, ...], along_rows: bool) -> None:
    model = randomise(Recipe(recipe, w=shape).double())
    walk = Pass.of(model, GRID)
    expected = each_alone(model, GRID, walk.direction)["w"]

    def look(operation: Operation) -> Tensor:
        assert operation.regular == along_rows
        return torch.stack([given(operation.input_gradients(sample)[1]).sum_to_size(shape) for sample in range(3)])

    (actual,) = operations(model, GRID, look)
    torch.testing.assert_close(actual, expected)


def test_regular() -> None:
    assert operations(Recipe(lambda m, x: x @ m.w, w=(5, 3)).double(), samples(3, 5), lambda o: o.regular) == [True]
    # the first of two outputs is not used
    model = randomise(Recipe(lambda m, x: both(x, m.w)[1], w=(5,)).double())
    assert operations(model, GRID, lambda operation: operation.regular) == [False]
