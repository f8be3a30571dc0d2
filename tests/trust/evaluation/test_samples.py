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
    ("values", "message"),
    [
        ([], r"scores.*\(0,\)"),
        ([[1.0, 2.0]], r"scores.*\(1, 2\)"),
        (3.0, r"scores.*\(\)"),
        ([1.0, np.nan, np.inf], r"scores.*\b2 of 3\b"),
        (torch.ones(2, requires_grad=True), r"scores.*\bTensor\b"),
        (["high", "low"], r"scores.*\blist\b"),
    ],
)
def test_bad_samples_are_named(values, message):
    with pytest.raises(InputError, match=message) as caught:
        finite_sample(values, "scores")
    assert "\n" not in str(caught.value)
