"""Fits do not depend on what scikit-learn is set to return."""

import warnings
from typing import Any

import numpy as np
import pytest
import sklearn
import torch

from gradmeter import GradientMeter, TrustModel
from gradmeter.trust.labels import LabelCheck, read_labels
from gradmeter.trust.scaling import array_scaler
from trust.trained import digits, trained


@pytest.mark.usefixtures("quick_fits")
@pytest.mark.parametrize("classifier", ["gradmeter", "ridge", "ridge_cv", "elastic_net"])
def test_data_frames_wanted_by_the_caller(classifier: str) -> None:
    meter, (images, labels) = GradientMeter(trained()), digits()

    def judged() -> Any:
        trust = TrustModel(meter, classifier, reads="gradients").fit((images[300:700], labels[300:700]))
        warnings.simplefilter("error")
        return trust.predict_proba(images[700:])

    expected = judged()
    with sklearn.config_context(transform_output="pandas"):
        actual = judged()
    assert torch.equal(actual, expected)


def test_data_frames_and_labels() -> None:
    images, labels = (part[300:700] for part in digits())
    readings = read_labels(GradientMeter(trained()), images, labels)
    with sklearn.config_context(transform_output="pandas"):
        verdicts = LabelCheck(reads="gradients").fit_predict(readings)
    np.testing.assert_array_equal(verdicts.p_label, LabelCheck(reads="gradients").fit_predict(readings).p_label)


def test_the_scaler_returns_arrays() -> None:
    rows = np.arange(6.0).reshape(3, 2)
    with sklearn.config_context(transform_output="pandas"):
        assert isinstance(array_scaler().fit_transform(rows), np.ndarray)
