from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter.reading.capture import Operation, SampleAxis
from gradmeter.reading.layers.dense import linear, mkldnn_linear
from oracles.networks import randomise, samples
from reading.layers.measured import DIGITS, Use, built, check
from reading.layers.stand_in import stand_in

X, GRID, CUBE = samples(3, 5), samples(3, 4, 5), samples(3, 2, 3, 5)

MEASURED: dict[str, Use] = {
    "weight on the right": (lambda m, x: x @ m.w, X, {"w": (5, 4)}),
    "weight on the right, transposed": (lambda m, x: F.linear(x, m.w), X, {"w": (4, 5)}),
    "weight on the left": (lambda m, x: (m.w @ x.t()).t(), X, {"w": (4, 5)}),
    "weight on the left, transposed": (lambda m, x: (m.w.t() @ x.t()).t(), X, {"w": (5, 4)}),
    "positions on the right": (lambda m, x: (m.w @ x.flatten(0, 1).t()).t().unflatten(0, (-1, 4)), GRID, {"w": (3, 5)}),
    "time-major on the right": (
        lambda m, x: (m.w @ x.transpose(0, 1).flatten(0, 1).t()).unflatten(1, (4, -1)).permute(2, 1, 0),
        GRID,
        {"w": (3, 5)},
    ),
    "bias": (lambda m, x: torch.addmm(m.b, x, m.w), X, {"w": (5, 4), "b": (4,)}),
    "one bias for all": (lambda m, x: torch.addmm(m.b, x, m.w), X, {"w": (5, 4), "b": (1,)}),
    "bias without dimensions": (lambda m, x: torch.addmm(m.b, x, m.w), X, {"w": (5, 4), "b": ()}),
    "bias of one row": (lambda m, x: torch.addmm(m.b, x, m.w), X, {"w": (5, 4), "b": (1, 4)}),
    "bias alone": (lambda m, x: torch.addmm(m.b, x, x.new_ones(5, 4)), X, {"b": (4,)}),
    "weight beside data": (lambda m, x: torch.addmm(x[:, :4], x, m.w), X, {"w": (5, 4)}),
    "bias of a weight on the left": (lambda m, x: torch.addmm(m.b, m.w, x.t()).t(), X, {"w": (4, 5), "b": (4, 1)}),
    "rows of positions": (
        lambda m, x: torch.addmm(m.b, x.flatten(0, 1), m.w).unflatten(0, (-1, 4)),
        GRID,
        {"w": (5, 3), "b": (3,)},
    ),
    "rows, time-major": (
        lambda m, x: torch.addmm(m.b, x.transpose(0, 1).flatten(0, 1), m.w).unflatten(0, (4, -1)).transpose(0, 1),
        GRID,
        {"w": (5, 3), "b": (3,)},
    ),
    "rows folded on both sides": (
        lambda m, x: (x.transpose(0, 1).flatten(0, 2) @ m.w).unflatten(0, (2, -1, 3)).transpose(0, 1),
        CUBE,
        {"w": (5, 4)},
    ),
    "one row folded": (lambda m, x: x[:, :1].flatten(0, 1) @ m.w, GRID, {"w": (5, 4)}),
    "a vector for a weight": (lambda m, x: x @ m.w, X, {"w": (5, 1)}),
}

OTHERS: dict[str, tuple[Use, dict[str, str]]] = {
    "alpha and beta": (
        (lambda m, x: torch.addmm(m.b, x, m.w, alpha=2, beta=0.5), X, {"w": (5, 4), "b": (4,)}),
        {"w": "Dense", "b": "Direct"},
    ),
    "beta": (
        (lambda m, x: torch.addmm(m.b, x, m.w, beta=2), X, {"w": (5, 4), "b": (4,)}),
        {"w": "Dense", "b": "Direct"},
    ),
    "a matrix times a vector": ((lambda m, x: x @ m.w, X, {"w": (5,)}), {"w": "Direct"}),
    "positions times a vector": ((lambda m, x: x @ m.w, GRID, {"w": (5,)}), {"w": "Direct"}),
    "a vector and a bias": (
        (lambda m, x: torch.addmv(m.b, x, m.w, alpha=3, beta=2).unsqueeze(1), X, {"w": (5,), "b": (1,)}),
        {"w": "Direct", "b": "Direct"},
    ),
}
"""A use, and the class of each parameter's contribution."""


@pytest.mark.parametrize("use", MEASURED)
def test_uses_with_a_rule(use: str, device: torch.device) -> None:
    forms = check(*built(MEASURED[use]), device=device)
    assert forms == {name: ["Direct" if name == "b" else "Dense"] for name in MEASURED[use][2]}


@pytest.mark.parametrize("use", OTHERS)
def test_other_products(use: str) -> None:
    given, expected = OTHERS[use]
    assert check(*built(given)) == {name: [form] for name, form in expected.items()}


@pytest.mark.parametrize("x", [X, GRID, samples(3, 2, 4, 5)], ids=["rows", "positions", "grid"])
@pytest.mark.parametrize(("rule", "data"), [(linear, "input"), (mkldnn_linear, "self")])
def test_a_dense_layer_in_one_operation(rule: Callable[[Operation], Any], data: str, x: Tensor) -> None:
    """PyTorch uses it on other devices only, so the rule is tested with a simulated operation."""
    w, b, delta = samples(4, 5, seed=2), samples(4, seed=3), samples(*x.shape[:-1], 4, seed=4)
    operation = stand_in((delta,), (SampleAxis(0, 1, 1),), {1: w, 2: b}, {data: x})
    actual = rule(operation)
    for sample in range(3):
        leaves = w.clone().requires_grad_(), b.clone().requires_grad_()
        expected = torch.autograd.grad(F.linear(x[sample], *leaves), leaves, delta[sample])
        for number, gradient in zip((1, 2), expected, strict=True):
            torch.testing.assert_close(actual[number].materialise(slice(sample, sample + 1))[0], gradient)


@pytest.mark.parametrize("dtype", DIGITS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("positions", [(), (1,), (5,), (2, 3), (300,)])
def test_linear(positions: tuple[int, ...], bias: bool, dtype: torch.dtype, device: torch.device) -> None:
    model = randomise(nn.Linear(6, 4, bias=bias).to(dtype))
    forms = check(model, samples(3, *positions, 6).to(dtype), device=device, **DIGITS[dtype])
    assert forms == {"weight": ["Dense"], **({"bias": ["Direct"]} if bias else {})}


def test_bfloat16_is_summed_in_float32() -> None:
    """Products of bfloat16 values are exact in float32, and so are sums of a few of them."""
    model = randomise(nn.Linear(6, 4).bfloat16())
    check(model, samples(3, 7, 6).bfloat16(), norms=1e-6, shapes=1e-5)
