"""A scikit-learn classifier as a meta classifier: calibrate its output to P(correct)."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedKFold

from gradmeter.errors import InputError, one_line
from gradmeter.reading.readings import Readings
from gradmeter.stages import Advance
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.folds import FOLDS, stratified_folds
from gradmeter.trust.layer_ranges import LayerValues
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.meta_classifier import CORRECT, UNKNOWN, CrossFit, Judgement, TrainingData

LEAST = 10
"""Smallest number of samples of each class; with fewer, a fold has one sample of a class or none."""

# Added to features, which are mostly logarithms, for an input far from all others.
_FAR = 100.0


class Calibrated(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier with Platt scaling.

    It is fitted once without each fold, and a logistic curve, fitted to its outputs for this fold, maps them to
    P(correct). The mean of the five is P(correct).

    Args:
        classifier: a scikit-learn classifier; it learns from the known inputs and the given unknown ones.

    Attributes:
        calibrated_: scikit-learn's calibrated classifier; class 1 is "correct".
        unknown_share_: share of unknown inputs among the training samples.
    """

    learns_from_synthetic = False
    steps = None
    known_loss = None
    second_look = None

    def __init__(self, classifier: Any = None) -> None:
        self.classifier = classifier

    def features(self, readings: Readings) -> LogFeatures:
        """Select the features of the outputs and of the first pseudo-label's gradients."""
        return LogFeatures.chosen(readings)

    def require_enough(self, right: int, wrong: int, unknown: int) -> None:
        """Check that at least `LEAST` predictions are right, and at least `LEAST` wrong or unknown.

        Raises:
            InputError: if they are not.
        """
        if right < LEAST or wrong + unknown < LEAST:
            raise InputError(
                f"{right} predictions are right, {wrong} are wrong and {unknown} inputs are unknown, without copies; "
                f"expected at least {LEAST} right ones, and at least {LEAST} wrong or unknown ones: give more data"
            )

    def cross_fit(self, data: TrainingData, advance: Advance) -> CrossFit:
        """Fit to all samples, and judge each sample by classifiers and curves fitted to the other folds.

        Raises:
            InputError: if the classifier cannot be fitted, or has no output for some input.
        """
        matrix = data.block.values
        correct = (data.target == CORRECT).astype(np.int64)
        p_correct, numbers = np.empty(len(correct)), np.empty(len(correct), np.int64)
        try:
            for number, (train, test) in enumerate(stratified_folds(data.contents, correct)):
                others = self._calibrated(matrix[train], correct[train], data.contents[train])
                p_correct[test], numbers[test] = others.predict_proba(matrix[test])[:, CORRECT], number
            calibrated = self._calibrated(matrix, correct, data.contents)
        except ValueError as error:
            raise InputError(
                f"the meta classifier {type(self.classifier).__name__} cannot be fitted to {len(correct):,} samples of "
                f"{matrix.shape[1]} real numbers ({one_line(error)}); expected a classifier that can"
            ) from error
        unknown_share = float(np.count_nonzero(data.target >= UNKNOWN) / len(data.target))
        held_out = Judgement(p_correct, np.ones(len(correct), np.bool_))
        fitted = self.of(calibrated, unknown_share)
        fitted._require_output_everywhere(data.block)
        return CrossFit(fitted, held_out, numbers, None)

    def _calibrated(
        self, matrix: NDArray[np.float64], correct: NDArray[np.int64], contents: NDArray[np.uint64]
    ) -> CalibratedClassifierCV:
        """Fit a classifier and its curve for each fold.

        The outputs of a perceptron, for example, have another scale after each fit: a curve fits only the outputs of
        the classifier that it was fitted to.
        """
        folds = stratified_folds(contents, correct)
        calibrated = CalibratedClassifierCV(self.classifier, method="sigmoid", cv=folds, ensemble=True)
        # The saved classifier does not need the rows of the folds.
        return calibrated.fit(matrix, correct).set_params(cv=StratifiedKFold(FOLDS, shuffle=True, random_state=0))

    @classmethod
    def of(cls, calibrated: CalibratedClassifierCV, unknown_share: float) -> Self:
        """Wrap a fitted classifier of scikit-learn; `unknown_share` of its training samples were unknown."""
        fitted = cls(calibrated.estimator)
        fitted.calibrated_, fitted.unknown_share_, fitted.classes_ = calibrated, unknown_share, calibrated.classes_
        return fitted

    def _require_output_everywhere(self, block: FeatureBlock) -> None:
        """Check that the fitted classifier has an output for inputs far from those that it learned from."""
        values = block.values
        far = np.stack([values.min(0) - _FAR, np.zeros_like(values[0]), values.max(0) + _FAR])
        try:
            self.judge(FeatureBlock(far, block.axes)).require_probabilities()
        except ValueError as error:
            raise InputError(
                f"the meta classifier {type(self.classifier).__name__} has no output for inputs far from those it "
                f"learned from ({one_line(error)}); expected a classifier that has one for every input"
            ) from error

    @property
    def assumed_unknown_share(self) -> float:
        """The share of unknown inputs for which P(correct) is a probability."""
        share: float = self.unknown_share_
        return share

    def unfamiliar_origins(self, block: FeatureBlock) -> list[tuple[str, ...]]:
        """Return no origins: the classifier does not tell known from unknown inputs."""
        return [()] * len(block)

    def layer_distances(self, block: FeatureBlock) -> list[LayerValues]:
        """Return no distances: the classifier takes none."""
        return []

    def judge(self, block: FeatureBlock) -> Judgement:
        """Judge N predictions; all inputs count as familiar."""
        p_correct = self.calibrated_.predict_proba(block.values)[:, CORRECT]
        return Judgement(p_correct, np.ones(len(block), np.bool_))
