from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from oracles.networks import Recipe, randomise, samples
from reading.layers.measured import DIGITS, Use, built, check

HEADS, STEPS = samples(3, 2, 5), samples(3, 4, 2, 5)

USES: dict[str, Use] = {
    "weights on the right": (lambda m, x: torch.bmm(x.transpose(0, 1), m.w).transpose(0, 1), HEADS, {"w": (2, 5, 4)}),
    "weights on the left": (lambda m, x: torch.bmm(m.w, x.permute(1, 2, 0)).permute(2, 0, 1), HEADS, {"w": (2, 4, 5)}),
    "positions behind the samples": (
        lambda m, x: torch.bmm(x.permute(2, 0, 1, 3).flatten(1, 2), m.w).unflatten(1, (-1, 4)).movedim(0, 2),
        STEPS, {"w": (2, 5, 4)},
    ),
    "positions before the samples": (
        lambda m, x: torch.bmm(x.permute(2, 1, 0, 3).flatten(1, 2), m.w).unflatten(1, (4, -1)).permute(2, 1, 0, 3),
        STEPS, {"w": (2, 5, 4)},
    ),
    "positions and weights on the left": (
        lambda m, x: torch.bmm(m.w, x.permute(2, 3, 0, 1).flatten(2)).unflatten(2, (-1, 4)).permute(2, 3, 0, 1),
        STEPS, {"w": (2, 4, 5)},
    ),
    "one group": (lambda m, x: torch.bmm(x.transpose(0, 1)[:1], m.w).transpose(0, 1), HEADS, {"w": (1, 5, 4)}),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_weights_of_heads(use: str, device: torch.device) -> None:
    assert check(*built(USES[use]), device=device) == {"w": ["Correlation"]}


@pytest.mark.parametrize("use", USES)
def test_in_float32(use: str) -> None:
    recipe, x, members = USES[use]
    check(randomise(Recipe(recipe, **members)), x.float(), **DIGITS[torch.float32])


@pytest.mark.parametrize(("alpha", "beta"), [(1, 1), (2, 1), (1, 0.5)])
def test_with_a_bias(alpha: float, beta: float) -> None:
    def recipe(m: Any, x: Tensor) -> Tensor:
        out: Tensor = torch.baddbmm(m.b, x.transpose(0, 1), m.w, alpha=alpha, beta=beta).transpose(0, 1)
        return out

    forms = check(*built((recipe, HEADS, {"w": (2, 5, 4), "b": (2, 1, 4)})))
    assert forms == {"w": ["Correlation"], "b": ["Direct"]}


EINSUMS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "heads": lambda m, x: torch.einsum("nhi,hij->nhj", x[:, 0], m.w),
    "steps and heads": lambda m, x: torch.einsum("nthi,hij->nthj", x, m.w),
    "output first": lambda m, x: torch.einsum("hij,nthj->nthi", m.w, x),
}


@pytest.mark.parametrize("use", EINSUMS)
def test_einsum(use: str) -> None:
    """einsum rearranges the weight first, which changes no statistic."""
    shape = (2, 4, 5) if use == "output first" else (2, 5, 4)
    assert check(*built((EINSUMS[use], STEPS, {"w": shape}))) == {"w": ["PulledBack"]}


def test_samples_in_the_first_dimension_are_expanded_weights() -> None:
    forms = check(*built((lambda m, x: torch.bmm(x, m.w.expand(len(x), -1, -1)), HEADS, {"w": (5, 4)})))
    assert forms == {"w": ["Direct"]}
