"""The share of labels that confident learning contradicts is that of cleanlab."""

from dataclasses import replace

import numpy as np
import pytest
from cleanlab.count import num_label_issues

from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.labels.confident import contradicted_shares
from gradmeter.trust.labels.rate import raised_by
from trust.labels.clusters import clusters
from trust.labels.drawn import drawn


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3])
def test_the_share_is_that_of_cleanlab(rate: float) -> None:
    inputs, _ = drawn(rate, 5000)
    p = np.exp(inputs.log_probabilities(slice(None)))
    confidently, contradicted = contradicted_shares(inputs)
    assert contradicted == (p.argmax(axis=1) != inputs.labels).mean()
    assert confidently == pytest.approx(num_label_issues(inputs.labels, p) / 5000, abs=2e-4)


def test_a_class_without_labels_is_never_confident() -> None:
    inputs, _ = clusters(300, 0, classes=4)
    labels = np.where(inputs.labels == 3, 0, inputs.labels)
    share, _ = contradicted_shares(replace(inputs, labels=labels))
    assert share < 0.5 * (inputs.labels == 3).mean()


def test_a_low_estimate_is_raised_and_a_high_one_stays() -> None:
    low = raised_by(Interval(0.04, 0.03, 0.05), 0.035, 0.09, 0.1, 1000)
    assert low.value == pytest.approx(0.06)
    assert (low.low, low.high) == (0.03, pytest.approx(0.1 + 1.96 * (0.1 * 0.9 / 1000) ** 0.5, rel=1e-3))
    assert raised_by(Interval(0.04, 0.03, 0.05), 0.02, 0.0, 0.0, 1000) == Interval(pytest.approx(0.04), 0.02, 0.05)
