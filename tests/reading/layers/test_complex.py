"""Products and sums of complex data with real parameters that were converted to complex."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from oracles.networks import samples
from reading.layers.measured import Use, built, check

FLAT, STEPS = torch.view_as_complex(samples(3, 4, 2)), torch.view_as_complex(samples(3, 5, 4, 2))
MATRIX, VECTOR, HEADS = {"p": (4, 3, 2)}, {"p": (4, 2)}, {"p": (2, 2, 3, 2)}


def weight(m: object) -> Tensor:
    return torch.view_as_complex(m.p)  # type: ignore[attr-defined]


def real(z: Tensor) -> Tensor:
    return torch.view_as_real(z).flatten(1)


USES: dict[str, Use] = {
    "rows times a matrix": (lambda m, x: real(x @ weight(m)), FLAT, MATRIX),
    "a matrix times columns": (lambda m, x: real((weight(m).t() @ x.t()).t()), FLAT, MATRIX),
    "over positions": (lambda m, x: real(x @ weight(m)), STEPS, MATRIX),
    "dense layer": (lambda m, x: real(F.linear(x, weight(m).t(), weight(m)[0])), FLAT, MATRIX),
    "complex factors": (
        lambda m, x: real(torch.addmm(weight(m)[0], x, weight(m), alpha=2j, beta=1 - 1j)), FLAT, MATRIX
    ),
    "a vector": (lambda m, x: torch.view_as_real(x @ weight(m)), FLAT, VECTOR),
    "heads": (
        lambda m, x: real(torch.bmm(x.unflatten(1, (2, 2)).transpose(0, 1), weight(m)).transpose(0, 1)), FLAT, HEADS
    ),
    "a sum": (lambda m, x: real(torch.add(x, weight(m), alpha=1j)), FLAT, VECTOR),
    "a difference": (lambda m, x: real(torch.sub(x, weight(m), alpha=1 + 1j)), FLAT, VECTOR),
}  # fmt: skip


@pytest.mark.parametrize("case", USES)
def test_complex_data(case: str) -> None:
    check(*built(USES[case]))
