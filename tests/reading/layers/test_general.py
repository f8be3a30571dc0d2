from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gradmeter import GradientMeter
from gradmeter.reading.capture import Operation
from gradmeter.reading.finite import read_finite
from gradmeter.reading.inputs import Inputs
from oracles.networks import Recipe, randomise, samples
from reading.layers.measured import Use, built, check

X, GRID, IMAGES, FRAMES = samples(3, 5), samples(3, 4, 5), samples(3, 2, 5, 5), samples(3, 4, 2, 5, 5)

UNKNOWN: dict[str, Use] = {
    "distances": (lambda m, x: torch.cdist(x, m.w), X, {"w": (3, 5)}),
    "spread over the batch": (lambda m, x: torch.maximum(x, m.w), GRID, {"w": (4, 1)}),
    "time-major": (lambda m, x: torch.maximum(x.transpose(0, 1), m.w).transpose(0, 1), GRID, {"w": (4, 1, 5)}),
    "time-major folded": (
        lambda m, x: torch.maximum(x.transpose(0, 1).flatten(0, 1), m.w).unflatten(0, (4, -1)).transpose(0, 1),
        GRID,
        {"w": (5,)},
    ),
    "two of two inputs": (lambda m, x: torch.lerp(m.v, m.w, x), X, {"w": (5,), "v": (5,)}),
}


@pytest.mark.parametrize("use", UNKNOWN)
def test_an_operation_without_a_rule(use: str) -> None:
    forms = check(*built(UNKNOWN[use]))
    assert forms == {name: ["Masked"] for name in UNKNOWN[use][2]}


def test_samples_in_an_order_of_their_own() -> None:
    """Rows that each belong to one sample, in any order."""
    order = torch.tensor([5, 0, 3, 7, 11, 4, 1, 2, 10, 8, 6, 9])

    def recipe(m: Any, x: Tensor) -> Tensor:
        own = order[order < 4 * len(x)]
        out: Tensor = (x.flatten(0, 1)[own] @ m.w)[own.argsort()].unflatten(0, (-1, 4))
        return out

    assert check(*built((recipe, GRID, {"w": (5, 3)}))) == {"w": ["Dense"]}


ENTRY_BY_ENTRY: dict[str, Use] = {
    "maximum": (lambda m, x: torch.maximum(x, m.w), GRID, {"w": (4, 1)}),
    "interpolation": (lambda m, x: torch.lerp(m.v, m.w, x), X, {"w": (5,), "v": (5,)}),
    "where": (lambda m, x: torch.where(x > 0, x, m.w), GRID, {"w": (5,)}),
    "clamp": (lambda m, x: torch.clamp(x, min=m.w), GRID, {"w": (5,)}),
    "quotient": (lambda m, x: x / m.w, GRID, {"w": (5,)}),
    "power": (lambda m, x: x.abs() ** m.w, GRID, {"w": (5,)}),
    "sum of a product": (lambda m, x: torch.addcmul(m.v, x, m.w), GRID, {"w": (5,), "v": (4, 1)}),
    "angle": (lambda m, x: torch.atan2(x, m.w), GRID, {"w": (5,)}),
    "length": (lambda m, x: torch.hypot(x, m.w), GRID, {"w": (5,)}),
    "logarithms": (lambda m, x: torch.logaddexp(x, m.w), GRID, {"w": (5,)}),
    "masked": (lambda m, x: torch.maximum(x.transpose(0, 1), m.w).transpose(0, 1), GRID, {"w": (4, 1, 5)}),
}


@pytest.mark.parametrize("use", ENTRY_BY_ENTRY)
def test_one_backward_pass_serves_all_samples(use: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only two samples are measured alone, as a check, for any size of the batch."""
    requested: list[int | None] = []
    original = Operation.input_gradients

    def counted(operation: Operation, sample: int | None = None) -> Any:
        requested.append(sample)
        return original(operation, sample)

    monkeypatch.setattr(Operation, "input_gradients", counted)
    recipe, x, members = ENTRY_BY_ENTRY[use]
    model = randomise(Recipe(recipe, **members).double())
    check(model, torch.cat([x, x.flip(0), x / 2]))
    assert set(requested) == {None, 0, 8}
    assert requested.count(None) == len(members)


LENGTHS: dict[str, Use] = {
    "each entry": (lambda m, x: torch.hypot(x, m.w), X, {"w": (5,)}),
    "one number": (lambda m, x: torch.hypot(x, m.w), X, {"w": (1,)}),
}


@pytest.mark.parametrize("bad", [0, 4, 8])
@pytest.mark.parametrize("use", LENGTHS)
def test_a_gradient_that_is_not_finite_stays_in_its_sample(use: str, bad: int) -> None:
    """The length of (0, 0) has no gradient."""
    recipe, x, members = LENGTHS[use]
    model = randomise(Recipe(recipe, **members).double())
    with torch.no_grad():
        model.get_parameter("w").zero_()
    x = torch.cat([x, x.flip(0), x / 2])
    x[bad] = 0
    healthy = [row for row in range(len(x)) if row != bad]
    finite = read_finite(GradientMeter(model), Inputs.of(x))
    assert finite.no_gradient == (bad,)
    assert finite.readings is not None
    torch.testing.assert_close(finite.readings.values, GradientMeter(model)(x[healthy]).values)


class Crossed(torch.autograd.Function):
    """Broadcasts a parameter and mixes the gradients of several samples in one row, so it is not elementwise."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * w

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[None, Tensor]:
        (x,) = ctx.saved_tensors
        return None, (deltas[0] * x).flip(0)


crossed: Callable[..., Tensor] = Crossed.apply


def test_an_operation_whose_gradient_lies_in_other_rows() -> None:
    assert check(*built((lambda m, x: crossed(x, m.w), X, {"w": (5,)}))) == {"w": ["Masked"]}


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).T


def symmetric() -> nn.Module:
    dense = nn.Linear(5, 5)
    parametrize.register_parametrization(dense, "weight", Symmetric())
    return dense


class Cube(torch.autograd.Function):
    """A torch.autograd.Function."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        ctx.save_for_backward(w)
        return w**3

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> Tensor:
        (w,) = ctx.saved_tensors
        slope: Tensor = 3 * w**2 * deltas[0]
        return slope


cube: Callable[[Tensor], Tensor] = Cube.apply

BEHIND: dict[str, Use] = {
    "permutation that changes nothing": (lambda m, x: x @ m.w.permute(0, 1), X, {"w": (5, 5)}),
    "vectors swapped": (lambda m, x: x * m.w.transpose(1, 2).squeeze(), X, {"w": (1, 1, 5)}),
    "transposition of a transposition": (lambda m, x: x @ m.w.t().t(), X, {"w": (5, 3)}),
    "view": (lambda m, x: x @ m.w.view(5, 3), X, {"w": (15,)}),
    "slice": (lambda m, x: x @ m.w[1:, ::2], X, {"w": (6, 5)}),
    "product of two": (lambda m, x: x @ (m.w @ m.v), X, {"w": (5, 2), "v": (2, 3)}),
    "concatenation": (lambda m, x: x @ torch.cat([m.w, m.v]), X, {"w": (2, 3), "v": (3, 3)}),
    "two ways to one input": (lambda m, x: x @ (m.w.t() + m.w * m.w), X, {"w": (5, 5)}),
    "own function": (lambda m, x: x @ cube(m.w), X, {"w": (5, 3)}),
    "looked up after a scale": (lambda m, x: F.embedding(x.sign().long() + 1, m.w * 2), X, {"w": (3, 2)}),
    "unknown operation": (lambda m, x: torch.cdist(x, m.w.exp()), X, {"w": (3, 5)}),
    "one of two parts": (lambda m, x: x @ m.w.unbind(0)[1], X, {"w": (2, 5, 3)}),
}


@pytest.mark.parametrize("use", BEHIND)
def test_a_parameter_behind_operations_on_parameters(use: str) -> None:
    forms = check(*built(BEHIND[use]))
    assert forms == {name: ["PulledBack"] for name in BEHIND[use][2]}


@pytest.mark.parametrize(
    "transposed",
    [lambda w: w.T, lambda w: w.t(), lambda w: w.mT, lambda w: w.transpose(0, -1), lambda w: w.permute(-1, 0)],
)
def test_a_transposed_matrix_keeps_its_rule(transposed: Callable[[Tensor], Tensor]) -> None:
    forms = check(*built((lambda m, x: x @ transposed(m.w) + x @ m.w, X, {"w": (5, 5)})))
    assert forms == {"w": ["Dense", "Dense"]}


MODULES: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(5, 3)), X),
    "weight norm of a convolution": (lambda: parametrizations.weight_norm(nn.Conv2d(2, 3, 3, stride=2)), IMAGES),
    "spectral norm": (lambda: parametrizations.spectral_norm(nn.Linear(5, 3)).eval(), X),
    "orthogonal": (lambda: parametrizations.orthogonal(nn.Linear(5, 3), orthogonal_map="matrix_exp"), X),
    "symmetric": (symmetric, GRID),
}


@pytest.mark.parametrize("case", MODULES)
def test_parametrised_weights(case: str) -> None:
    make, x = MODULES[case]
    forms = check(randomise(make().double()), x, norms=1e-10, shapes=1e-8)
    assert forms.pop("bias") in (["Direct"], ["Totals"])
    assert all(used == ["PulledBack"] for used in forms.values())


def test_a_parametrised_convolution_over_frames() -> None:
    model = nn.Sequential(nn.Flatten(0, 1), parametrizations.weight_norm(nn.Conv2d(2, 3, 3)), nn.Unflatten(0, (-1, 4)))
    check(randomise(model.double()), FRAMES)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_gradients_are_widened_where_the_network_has_fewer_digits(dtype: torch.dtype) -> None:
    """Operations on parameters propagate gradients in the network's dtype."""
    model = randomise(parametrizations.weight_norm(nn.Linear(5, 3)).to(dtype))
    product = randomise(Recipe(lambda m, x: x @ (m.w @ m.v), w=(5, 2), v=(2, 3)).to(dtype))
    x = samples(3, 5).to(dtype)
    digits = 2e-2 if dtype == torch.bfloat16 else 1e-5
    check(model, x, norms=digits, shapes=10 * digits)
    check(product, x, norms=digits, shapes=10 * digits)


class Both(torch.autograd.Function):
    """The product and the sum with a parameter, as two outputs of one operation."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, w)
        return x * w, x + w

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> tuple[Tensor, Tensor]:
        x, w = ctx.saved_tensors
        return deltas[0] * w + deltas[1], (deltas[0] * x + deltas[1]).sum(0)


both: Callable[..., tuple[Tensor, Tensor]] = Both.apply


@pytest.mark.parametrize("used", [0, 1])
def test_an_output_that_is_not_used(used: int) -> None:
    assert check(*built((lambda m, x: both(x, m.w)[used], X, {"w": (5,)}))) == {"w": ["Masked"]}


class Stopped(torch.autograd.Function):
    """Returns a parameter unchanged and propagates no gradient."""

    @staticmethod
    def forward(ctx: Any, w: Tensor) -> Tensor:
        return w.clone()

    @staticmethod
    def backward(ctx: Any, *deltas: Tensor) -> None:
        return None


stopped: Callable[[Tensor], Tensor] = Stopped.apply


def test_a_parameter_that_no_gradient_reaches() -> None:
    check(*built((lambda m, x: x * m.v * stopped(m.w), X, {"w": (5,), "v": (5,)})))
