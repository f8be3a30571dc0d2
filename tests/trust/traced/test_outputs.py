"""Functions of logits, where float64 loses digits: against mpmath and the meter."""

import mpmath
import numpy as np
import pytest
import torch

from gradmeter.reading.pseudo_labels import predicted
from gradmeter.reading.scores import energy, entropy
from gradmeter.trust.traced.arithmetic import asinh, log1p, log_above, logsumexp, softplus
from gradmeter.trust.traced.outputs import Outputs

LOGITS = torch.tensor(
    [[0.0, 0.0, 0.0], [3.0, 1.0, 3.0], [800.0, 1.0, -5.0], [40.0, 0.0, -1.0], [1e-9, 0.0, 0.0], [-700.0, -90.0, -60.0]],
    dtype=torch.float64,
)


def test_functions_of_the_softmax() -> None:
    outputs = Outputs.of(LOGITS)
    np.testing.assert_allclose(outputs.probabilities, LOGITS.softmax(1), rtol=1e-12)
    np.testing.assert_allclose(outputs.log_scale, predicted(LOGITS).log_scale, rtol=1e-12)
    np.testing.assert_allclose(outputs.energy, energy(LOGITS), rtol=1e-12)
    expected = np.logaddexp(np.log(entropy(LOGITS).clip(np.finfo(np.float64).tiny)), -700)
    np.testing.assert_allclose(outputs.log_entropy, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("x", [0.0, 1e-320, 1e-20, 1e-9, 1e-3, 0.3, 1.0, 50.0, 1e10])
def test_special_functions(x: float) -> None:
    value = torch.tensor([x], dtype=torch.float64)
    with mpmath.workdps(40):
        assert float(log1p(value)) == pytest.approx(float(mpmath.log1p(x)), rel=1e-14)
        # Absolute, because features are compared with their spread.
        assert float(asinh(-value)) == pytest.approx(float(mpmath.asinh(-x)), rel=1e-12, abs=1e-15)
        assert float(softplus(-value)) == pytest.approx(float(mpmath.log1p(mpmath.exp(-x))), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("least", [1e-12, 9.859676543759770e-305])
@pytest.mark.parametrize("x", [0.0, 1e-320, 1e-304, 1e-13, 1e-12, 1e-3, 1.0])
def test_logarithms_with_a_floor(x: float, least: float) -> None:
    with mpmath.workdps(40):
        expected = float(mpmath.log(mpmath.mpf(x) + mpmath.mpf(least)))
    assert float(log_above(torch.tensor([x], dtype=torch.float64), least)) == pytest.approx(
        expected, rel=1e-14, abs=1e-12
    )


def test_logsumexp_of_infinite_entries() -> None:
    values = torch.tensor([[-np.inf, 2.0, 1000.0], [-np.inf, -np.inf, -5.0]])
    assert logsumexp(values).tolist() == [1000.0, -5.0]
