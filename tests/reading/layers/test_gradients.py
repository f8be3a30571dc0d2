import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gradmeter.reading.kernels.geometry import Geometry
from gradmeter.reading.layers.embedding import LookedUp
from gradmeter.reading.layers.gradients import Correlation, Dense, Direct, PerSampleGradient, total, transposed
from oracles.networks import samples
from reading.layers.measured import assert_sums

EXACT = {"norms": 1e-12, "shapes": 1e-9}
WHOLE = slice(0, 7)
FORMS: dict[str, PerSampleGradient] = {
    "direct": Direct(samples(7, 3, 4)),
    "dense": Dense(samples(7, 1, 3), samples(7, 1, 4, seed=2)),
    "dense over positions": Dense(samples(7, 5, 3), samples(7, 5, 4, seed=2)),
    "correlation": Correlation(
        samples(7, 4, 3, 3),
        samples(7, 2, 7, 6, seed=2),
        Geometry((3, 2), (2, 1), (1, 2), (0, 0), groups=2),
        (4, 1, 3, 2),
    ),
    "looked up": LookedUp(torch.arange(35).reshape(7, 5) % 6, samples(7, 5, 3), 6),
    "transposed": transposed(Direct(samples(7, 3, 4))),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_those_of_the_whole(form: str) -> None:
    gradient = FORMS[form]
    assert gradient.samples == 7
    whole = gradient.materialise(WHOLE)
    torch.testing.assert_close(gradient.materialise(slice(2, 5)), whole[2:5])
    torch.testing.assert_close(gradient.materialise(slice(5, 99)), whole[5:])
    assert_sums(gradient.power_sums(), whole, **EXACT)
    # memory of the entries, and of the float64 copy and its square during the reduction
    assert gradient.bytes_per_sample >= 3 * whole[0].numel() * 8


def test_dense_against_einsum() -> None:
    delta, activation = samples(7, 5, 3), samples(7, 5, 4, seed=2)
    expected = torch.einsum("ntm,ntk->nmk", delta, activation)
    torch.testing.assert_close(Dense(delta, activation).materialise(WHOLE), expected)


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 6), st.floats(-2, 2), st.floats(-2, 2))
def test_one_position_has_a_closed_form(seed: int, rows: int, columns: int, left: float, right: float) -> None:
    gradient = Dense(samples(3, 1, rows, seed=seed) + left, samples(3, 1, columns, seed=seed + 1) + right)
    sums = gradient.power_sums()
    assert sums.count == rows * columns
    entries = gradient.materialise(slice(0, 3)).flatten(1)
    powers = torch.stack([entries, entries**2, entries**3, entries**4, entries.abs()], 1)
    assert ((sums.numbers[:, :5] - powers.sum(2)).abs() <= 1e-12 * powers.abs().sum(2)).all()
    torch.testing.assert_close(sums.minimum, entries.amin(1))
    torch.testing.assert_close(sums.maximum, entries.amax(1))


def test_closed_form_in_float32() -> None:
    delta, activation = samples(3, 1, 10).float(), samples(3, 1, 144, seed=2).float().relu()
    exact = delta.double().transpose(1, 2) @ activation.double()
    assert_sums(Dense(delta, activation).power_sums(), exact, **EXACT)


def refuse(self: Dense, rows: slice) -> Tensor:
    raise AssertionError("materialised")


def test_the_closed_form_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    gradient = Dense(samples(3, 1, 4), samples(3, 1, 5, seed=2))
    expected = gradient.materialise(slice(0, 3))
    monkeypatch.setattr(Dense, "materialise", refuse)
    assert_sums(gradient.power_sums(), expected, **EXACT)
    assert_sums(transposed(gradient).power_sums(), expected.transpose(1, 2), **EXACT)
    assert_sums(total([gradient]), expected, **EXACT)


@pytest.mark.parametrize("form", ["direct", "dense", "dense over positions", "transposed"])
def test_transposed(form: str) -> None:
    gradient = FORMS[form]
    turned = transposed(gradient)
    torch.testing.assert_close(turned.materialise(WHOLE), gradient.materialise(WHOLE).transpose(1, 2))
    assert_sums(turned.power_sums(), gradient.materialise(WHOLE), **EXACT)
    assert (turned.samples, turned.bytes_per_sample) == (7, gradient.bytes_per_sample)


SUMS = {
    "steps of a recurrence": ("dense", "dense", "dense over positions"),
    "twice the same": ("dense", "dense"),
    "a table and a projection": ("direct", "dense over positions"),
    "three kinds": ("dense", "direct", "direct"),
    "correlations": ("correlation", "correlation"),
}


@pytest.mark.parametrize("case", SUMS)
def test_contributions_are_added_before_they_are_reduced(case: str) -> None:
    forms = [FORMS[form] for form in SUMS[case]]
    assert_sums(total(forms), torch.stack([form.materialise(WHOLE) for form in forms]).sum(0), **EXACT)


def test_dense_calls_are_joined_along_their_positions(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = [Dense(samples(7, 1, 3, seed=seed), samples(7, 1, 4, seed=seed + 50)) for seed in range(9)]
    expected = torch.stack([call.materialise(WHOLE) for call in calls]).sum(0)
    monkeypatch.setattr(Dense, "materialise", refuse)
    assert_sums(total(calls), expected, **EXACT)


def test_contributions_that_cancel() -> None:
    values = samples(2, 6)
    sums = total([Direct(values), Direct(-values)])
    assert not sums.numbers.any()
