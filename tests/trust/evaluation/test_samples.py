import numpy as np
import pytest
import torch

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.samples import finite_sample


def test_a_list_becomes_float64():
    sample = finite_sample([1, 2], "scores")
    assert sample.dtype == np.float64
    np.testing.assert_array_equal(sample, [1.0, 2.0])


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ([], r"scores: expected shape \[N\] with at least one number, got \(0,\)"),
        ([[1.0, 2.0]], r"scores: expected shape .* got \(1, 2\)"),
        (3.0, r"scores: expected shape .* got \(\)"),
        ([1.0, np.nan, np.inf], "scores: expected finite numbers, got 2 of 3"),
        (torch.ones(2, requires_grad=True), "scores: expected a 1-d array of numbers, got Tensor"),
        (["high", "low"], "scores: expected a 1-d array of numbers, got list"),
    ],
)
def test_bad_samples_are_named(values, complaint):
    with pytest.raises(InputError, match=complaint) as caught:
        finite_sample(values, "scores")
    assert "\n" not in str(caught.value)
