import pytest
import torch
import torch.nn.functional as F
from torch import nn

from oracles.networks import Recipe, randomise, samples
from reading.layers.measured import DIGITS, Use, built, check

X, GRID = samples(3, 5), samples(3, 4, 5)

USES: dict[str, Use] = {
    "rows": (lambda m, x: F.bilinear(x, x[:, :2], m.w), X, {"w": (3, 5, 2)}),
    "positions": (lambda m, x: F.bilinear(x, x[..., :2], m.w), GRID, {"w": (3, 5, 2)}),
    "time-major": (
        lambda m, x: F.bilinear(x.transpose(0, 1), x.transpose(0, 1), m.w).transpose(0, 1),
        GRID,
        {"w": (3, 5, 5)},
    ),
}


@pytest.mark.parametrize("dtype", DIGITS, ids=str)
@pytest.mark.parametrize("use", USES)
def test_weights(use: str, dtype: torch.dtype, device: torch.device) -> None:
    recipe, x, members = USES[use]
    model = randomise(Recipe(recipe, **members).to(dtype))
    assert check(model, x.to(dtype), device=device, **DIGITS[dtype]) == {"w": ["Trilinear"]}


def test_the_module() -> None:
    class Paired(nn.Bilinear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return super().forward(x, x)

    assert check(randomise(Paired(5, 5, 3).double()), X) == {"weight": ["Trilinear"], "bias": ["Direct"]}


def test_a_parameter_in_the_place_of_an_input_goes_through_autograd() -> None:
    forms = check(*built((lambda m, x: F.bilinear(x, m.v.expand(len(x), -1), m.w), X, {"w": (3, 5, 2), "v": (2,)})))
    assert forms["w"] == ["Trilinear"]
