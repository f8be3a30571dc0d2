from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradmeter.reading.capture import OwnedRows, SampleAxis, Scattered, ownership
from gradmeter.reading.capture.ownership import NOBODY, SAMPLES_PER_PASS, axis_of, owned_gradients, owners_of
from oracles.networks import Recipe, randomise, samples
from reading.capture.passes import Pass

ORDER = torch.tensor([5, 0, 3, 7, 11, 4, 1, 2, 10, 8, 6, 9])


def owners_at(
    recipe: Callable[[Any, Tensor], Tensor], x: Tensor, name: str, **members: nn.Module | tuple[int, ...]
) -> list[Tensor | None] | None:
    """Owners of the outputs of the operation of that name."""
    walk = Pass.of(randomise(Recipe(recipe, **members).to(x.dtype)), x)
    (node,) = (node for node in walk.graph.nodes if node.name() == name)
    owned = owned_gradients([node], walk.out, walk.direction)[node]
    (plain,) = ownership.gradients_at([node], walk.out, [walk.direction])[node]
    assert owned.gradients[0] is not None
    assert plain[0] is not None
    assert torch.equal(owned.gradients[0], plain[0])
    return owned.owners


def mixed(m: Any, x: Tensor) -> Tensor:
    out: Tensor = (x.flatten(0, 1)[ORDER] @ m.w)[ORDER.argsort()].unflatten(0, (-1, 4))
    return out


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_rows_in_an_order_of_their_own(dtype: torch.dtype) -> None:
    owners = owners_at(mixed, samples(3, 4, 5).to(dtype), "MmBackward0", w=(5, 2))
    assert owners is not None
    (owner,) = owners
    assert owner is not None
    assert torch.equal(owner, (ORDER // 4).unsqueeze(1).expand(12, 2))
    axis = axis_of(owner, 3)
    assert isinstance(axis, OwnedRows)
    assert torch.equal(axis.owners, ORDER // 4)


@pytest.mark.parametrize("count", [2, 3, SAMPLES_PER_PASS, SAMPLES_PER_PASS + 1, 5 * SAMPLES_PER_PASS])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_as_many_samples_as_there_are(count: int, dtype: torch.dtype) -> None:
    """More than one pass tells apart take several."""
    x = samples(count, 2, 3).to(dtype)
    owners = owners_at(lambda m, x: (x.transpose(0, 1) @ m.w).transpose(0, 1), x, "UnsafeViewBackward0", w=(3, 2))
    assert owners is not None
    assert axis_of(owners[0], count) == SampleAxis(1, 1, 1)


def test_what_two_samples_reach() -> None:
    assert owners_at(lambda m, x: x @ m.w.exp(), samples(3, 5), "ExpBackward0", w=(5, 2)) is None


def test_what_only_two_of_many_reach() -> None:
    """Even and odd samples apart do not show it."""

    def recipe(m: Any, x: Tensor) -> Tensor:
        hidden = x @ m.w
        out: Tensor = hidden + torch.nn.functional.pad(hidden[2:3], (0, 0, 0, 4))
        return out

    assert owners_at(recipe, samples(5, 5), "MmBackward0", w=(5, 2)) is None


@pytest.mark.parametrize("scale", [1e-30, 1e-42])
def test_gradients_too_small_for_powers_of_two(scale: float) -> None:
    """Rounding hides the owners, so each sample is propagated alone."""

    def recipe(m: Any, x: Tensor) -> Tensor:
        out: Tensor = (x @ m.w) * scale
        return out

    owners = owners_at(recipe, samples(5, 5).float(), "MmBackward0", w=(5, 2))
    assert owners is not None
    assert axis_of(owners[0], 5) == SampleAxis(0, 1, 1)


def test_complex_numbers() -> None:
    x = torch.view_as_complex(samples(5, 3, 2))
    walk = Pass.of(Recipe(lambda m, x: torch.view_as_real(x * m.w).sum(2), w=(3,)).double(), x)
    (node,) = (node for node in walk.graph.nodes if node.name() == "MulBackward0")
    owners = owned_gradients([node], walk.out, walk.direction)[node].owners
    assert owners is not None
    assert axis_of(owners[0], 5) == SampleAxis(0, 1, 1)


def test_entries_of_nobody() -> None:
    owner = torch.tensor([[NOBODY, NOBODY], [1, NOBODY], [NOBODY, 2]])
    assert axis_of(owner, 3) == SampleAxis(0, 1, 1)
    assert axis_of(torch.full((3, 2), NOBODY), 3) is None
    assert axis_of(None, 3) is None


def test_entries_along_no_dimension() -> None:
    assert isinstance(axis_of(torch.tensor([[0, 1], [1, 0]]), 2), Scattered)


def test_owners_of_what_is_touched() -> None:
    touched = torch.tensor([[True, False, False], [False, False, True]])
    owner = owners_of(touched)
    assert owner is not None
    assert owner.tolist() == [0, NOBODY, 1]
    assert owners_of(None) is None
