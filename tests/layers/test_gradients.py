import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gradmeter.kernels.portable import PerSampleGradient
from gradmeter.layers.gradients import Correlation, Direct, Geometry, Outer
from gradmeter.statistics import statistics
from oracles.moments import assert_agree, eight
from oracles.networks import samples

FORMS: dict[str, PerSampleGradient] = {
    "direct": Direct(samples(7, 3, 4)),
    "outer": Outer(samples(7, 3), samples(7, 4, seed=2)),
    "correlation": Correlation(
        samples(7, 4, 3, 3), samples(7, 2, 7, 6, seed=2), Geometry((3, 2), (2, 1), (1, 2), groups=2)
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_those_of_the_whole(form: str) -> None:
    gradient = FORMS[form]
    assert gradient.samples == 7
    whole = gradient.materialise(slice(0, 7))
    torch.testing.assert_close(gradient.materialise(slice(2, 5)), whole[2:5])
    torch.testing.assert_close(gradient.materialise(slice(5, 99)), whole[5:])
    # memory of the entries themselves, and the float64 copy and square made while they are reduced
    assert gradient.bytes_per_sample >= 3 * whole[0].numel() * 8


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 6), st.floats(-2, 2), st.floats(-2, 2))
def test_closed_form_of_an_outer_product(seed: int, rows: int, columns: int, left: float, right: float) -> None:
    gradient = Outer(samples(3, rows, seed=seed) + left, samples(3, columns, seed=seed + 1) + right)
    sums = gradient.closed_form()
    assert sums is not None
    assert sums.count == rows * columns
    entries = gradient.materialise(slice(0, 3)).flatten(1).numpy()
    powers = [entries, entries**2, entries**3, entries**4, np.abs(entries)]
    expected = np.stack([power.sum(1) for power in powers], 1)
    size = np.stack([np.abs(power).sum(1) for power in powers], 1)
    assert (np.abs(sums.sums.numpy() - expected) <= 1e-12 * size).all()
    np.testing.assert_allclose(sums.minimum, entries.min(1), rtol=1e-14)
    np.testing.assert_allclose(sums.maximum, entries.max(1), rtol=1e-14)


def test_closed_form_in_float32() -> None:
    gradient = Outer(samples(3, 10).float(), samples(3, 144, seed=2).float().relu())
    sums = gradient.closed_form()
    assert sums is not None
    exact = gradient.delta.double().unsqueeze(2) * gradient.activation.double().unsqueeze(1)
    assert_agree(statistics(sums), eight(exact.numpy()), norms=1e-12, shapes=1e-9)
