from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from gradmeter import UnsupportedModelError
from gradmeter.reading.layers.embedding import LookedUp
from oracles.networks import randomise
from reading.layers.measured import DIGITS, Use, assert_sums, built, check

TOKENS = torch.tensor([[0, 2, 2, 1], [3, 3, 3, 3], [4, 0, 1, 0]])

USES: dict[str, Use] = {
    "lookup": (lambda m, x: F.embedding(x, m.w), TOKENS, {"w": (7, 3)}),
    "one position": (lambda m, x: F.embedding(x[:, 0], m.w), TOKENS, {"w": (7, 3)}),
    "grid": (lambda m, x: F.embedding(x.unflatten(1, (2, 2)), m.w), TOKENS, {"w": (7, 3)}),
    "every row touched by all": (lambda m, x: F.embedding(x, m.w), TOKENS.new_tensor([[0, 1, 1], [1, 1, 0]]),
                                 {"w": (2, 3)}),
    "every row touched by one": (lambda m, x: F.embedding(x, m.w), TOKENS, {"w": (5, 3)}),
    "a table of one row": (lambda m, x: F.embedding(x * 0, m.w), TOKENS, {"w": (1, 3)}),
    "padding": (lambda m, x: F.embedding(x, m.w, padding_idx=0), TOKENS, {"w": (7, 3)}),
    "padding alone": (lambda m, x: F.embedding(x, m.w, padding_idx=3), TOKENS, {"w": (7, 3)}),
    "padding from the end": (lambda m, x: F.embedding(x, m.w, padding_idx=-4), TOKENS, {"w": (7, 3)}),
    "time-major": (lambda m, x: F.embedding(x.t(), m.w).transpose(0, 1), TOKENS, {"w": (7, 3)}),
    "folded": (lambda m, x: F.embedding(x.flatten(), m.w).unflatten(0, (-1, 4)), TOKENS, {"w": (7, 3)}),
    "time-major folded": (
        lambda m, x: F.embedding(x.t().flatten(), m.w).unflatten(0, (4, -1)).transpose(0, 1), TOKENS, {"w": (7, 3)}
    ),
    "sparse": (lambda m, x: F.embedding(x, m.w, sparse=True), TOKENS, {"w": (7, 3)}),
    "32 bit": (lambda m, x: F.embedding(x, m.w), TOKENS.int(), {"w": (7, 3)}),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_uses_with_a_rule(use: str, device: torch.device) -> None:
    assert check(*built(USES[use]), device=device) == {"w": ["LookedUp"]}


LOOKED_UP: dict[str, Use] = {
    "mean": (lambda m, x: F.embedding_bag(x, m.w, mode="mean"), TOKENS, {"w": (7, 3)}),
    "sum": (lambda m, x: F.embedding_bag(x, m.w, mode="sum"), TOKENS, {"w": (7, 3)}),
    "sparse sum": (lambda m, x: F.embedding_bag(x, m.w, mode="sum", sparse=True), TOKENS, {"w": (7, 3)}),
    "mean without padding": (lambda m, x: F.embedding_bag(x, m.w, mode="mean", padding_idx=0), TOKENS, {"w": (7, 3)}),
    "padding alone": (lambda m, x: F.embedding_bag(x, m.w, mode="mean", padding_idx=3), TOKENS, {"w": (7, 3)}),
    "weighted": (
        lambda m, x: F.embedding_bag(x, m.w, mode="sum", per_sample_weights=x.double() + 0.5), TOKENS, {"w": (7, 3)}
    ),
    "two bags for each sample": (
        lambda m, x: F.embedding_bag(x.reshape(-1, 2), m.w, mode="mean").unflatten(0, (-1, 2)), TOKENS, {"w": (7, 3)}
    ),
    "bags of several sizes": (
        lambda m, x: F.embedding_bag(
            torch.cat([row[: int(row[0]) + 1] for row in x]), m.w, (x[:, 0] + 1).cumsum(0) - x[:, 0] - 1, mode="mean"
        ),
        torch.tensor([[0, 2, 2, 1], [3, 3, 3, 3], [2, 0, 1, 0]]), {"w": (7, 3)},
    ),
    "an empty bag": (
        lambda m, x: F.embedding_bag(
            torch.cat([row[: int(row[0])] for row in x]), m.w, x[:, 0].cumsum(0) - x[:, 0], mode="mean"
        ),
        torch.tensor([[3, 2, 2, 1], [0, 3, 3, 3], [2, 0, 1, 0]]), {"w": (7, 3)},
    ),
    "indexing": (lambda m, x: m.w[x], TOKENS, {"w": (7, 3)}),
    "indexing from the end": (lambda m, x: m.w[-x - 1], TOKENS, {"w": (7, 3)}),
    "indexing a vector": (lambda m, x: m.w[x], TOKENS, {"w": (7,)}),
    "time-major indexing": (lambda m, x: m.w[x.t()].transpose(0, 1), TOKENS, {"w": (7, 3)}),
    "selecting": (lambda m, x: m.w.index_select(0, x.flatten()).unflatten(0, (-1, 4)), TOKENS, {"w": (7, 3)}),
}  # fmt: skip


@pytest.mark.parametrize("use", LOOKED_UP)
def test_other_ways_to_look_up(use: str) -> None:
    assert check(*built(LOOKED_UP[use])) == {"w": ["LookedUp"]}


MASKED: dict[str, Use] = {
    "the largest entries": (lambda m, x: F.embedding_bag(x, m.w, mode="max"), TOKENS, {"w": (7, 3)}),
    "columns": (lambda m, x: m.w[:, x].movedim(1, 0), TOKENS, {"w": (3, 7)}),
    "two indices": (lambda m, x: m.w[x, x % 2], TOKENS, {"w": (7, 3)}),
    "a table of matrices": (lambda m, x: m.w[x], TOKENS, {"w": (7, 3, 2)}),
    "selected columns": (
        lambda m, x: m.w.index_select(1, x.flatten()).unflatten(1, (-1, 4)).movedim(1, 0), TOKENS, {"w": (3, 7)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("use", MASKED)
def test_uses_that_autograd_serves(use: str) -> None:
    (form,) = check(*built(MASKED[use]))["w"]
    assert form == "Masked" or (use == "columns" and form == "PulledBack")  # with PyTorch 2.6


def test_scaled_by_frequency() -> None:
    """The gradient of a token is divided by its count in the sample, not in the batch."""
    model = randomise(nn.Embedding(7, 3, scale_grad_by_freq=True).double())
    assert check(model, torch.tensor([[0, 2, 2, 1], [3, 2, 5, 3]])) == {"weight": ["LookedUp"]}


@pytest.mark.parametrize("dtype", DIGITS, ids=str)
@pytest.mark.parametrize("options", [{}, {"padding_idx": 0}, {"max_norm": 0.5}], ids=str)
def test_module(options: dict[str, Any], dtype: torch.dtype) -> None:
    model = randomise(nn.Embedding(7, 3, **options).to(dtype))
    check(model, TOKENS, **DIGITS[dtype])


@given(st.integers(1, 6), st.integers(1, 3), st.integers(1, 8), st.integers(0, 99), st.floats(-2, 2))
def test_sums_from_the_used_rows(rows: int, width: int, positions: int, seed: int, shift: float) -> None:
    """A shift makes all entries positive or negative, so that the zeros of unused rows are an extreme."""
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(rows, (3, positions), generator=generator)
    delta: Tensor = torch.randn(3, positions, width, generator=generator, dtype=torch.float64) + shift
    gradient = LookedUp(index, delta, rows)
    whole = torch.zeros(3, rows, width, dtype=torch.float64)
    for sample in range(3):
        for position, row in enumerate(index[sample]):
            whole[sample, row] += delta[sample, position]
    torch.testing.assert_close(gradient.materialise(slice(0, 3)), whole)
    assert_sums(gradient.power_sums(), whole, norms=1e-11, shapes=1e-7)
    torch.testing.assert_close(gradient.power_sums().minimum, whole.flatten(1).amin(1))
    torch.testing.assert_close(gradient.power_sums().maximum, whole.flatten(1).amax(1))


def test_a_bag_that_is_scaled_by_the_frequency_in_the_batch() -> None:
    model = randomise(nn.EmbeddingBag(7, 3, mode="sum", scale_grad_by_freq=True).double())
    with pytest.raises(UnsupportedModelError, match=r"EmbeddingBag.*scale_grad_by_freq"):
        check(model, TOKENS)
