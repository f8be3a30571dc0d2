"""Classifiers of scikit-learn as meta classifiers: their output becomes a probability."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import Perceptron, SGDClassifier

from gradmeter.trust.calibrated import Calibrated
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.meta_classifier import TrainingData
from trust.named_features import axes

SIZE = 700


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("classifier", [Perceptron(), SGDClassifier(random_state=0)])
def test_a_classifier_whose_outputs_have_another_scale_after_each_fit(classifier: Any, seed: int) -> None:
    """A curve fitted to the outputs of other fits would shift P(correct) of new inputs by up to 0.3."""
    values, correct = make_classification(3000, 10, flip_y=0.2, weights=[0.3], random_state=seed)
    block = FeatureBlock(values + 5 * np.arange(10), axes(*"abcdefghij"))
    known, contents = block.rows(slice(SIZE)), np.arange(SIZE, dtype=np.uint64)
    fit = Calibrated(classifier).cross_fit(
        TrainingData(known, correct[:SIZE], np.zeros(SIZE), contents), lambda _: None
    )
    new = fit.classifier.judge(block.rows(slice(SIZE, None))).p_correct
    assert new.mean() == pytest.approx(correct[SIZE:].mean(), abs=0.05)
    assert fit.held_out.p_correct.mean() == pytest.approx(correct[:SIZE].mean(), abs=0.02)
