"""A scikit-learn classifier as a meta classifier: calibrate its output to P(correct)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from gradmeter.errors import InputError, one_line
from gradmeter.reading.readings import Readings
from gradmeter.stages import Advance
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.folds import FOLDS, Fold, stratified_folds
from gradmeter.trust.layer_ranges import LayerValues
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.meta_classifier import CORRECT, UNKNOWN, CrossFit, Judgement, TrainingData
from gradmeter.trust.smoothing import fit_smoothed

LEAST = 10
"""Smallest number of samples of each class; with fewer, a fold has one sample of a class or none."""

# Added to features, which are mostly logarithms, for an input far from all others.
_FAR = 100.0


class Calibrated(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier with Platt scaling: a logistic curve, fitted to held-out outputs, maps its output to P(correct).

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
        """Fit to all samples, and judge each sample by a classifier and a curve fitted to the other folds.

        Raises:
            InputError: if the classifier cannot be fitted, or has no output for some input.
        """
        matrix = data.block.values
        correct = (data.target == CORRECT).astype(np.int64)
        folds = stratified_folds(data.contents, correct)
        calibrated = CalibratedClassifierCV(self.classifier, method="sigmoid", cv=folds, ensemble=False)
        try:
            p_correct = _held_out(self.classifier, matrix, correct, folds)
            calibrated.fit(matrix, correct)
        except ValueError as error:
            raise InputError(
                f"the meta classifier {type(self.classifier).__name__} cannot be fitted to {len(correct):,} samples of "
                f"{matrix.shape[1]} real numbers ({one_line(error)}); expected a classifier that can"
            ) from error
        # The saved classifier does not need the rows of the folds.
        calibrated.set_params(cv=StratifiedKFold(FOLDS, shuffle=True, random_state=0))
        unknown_share = float(np.count_nonzero(data.target >= UNKNOWN) / len(data.target))
        held_out = Judgement(p_correct, np.ones(len(correct), np.bool_))
        numbers = np.empty(len(correct), np.int64)
        for number, (_, test) in enumerate(folds):
            numbers[test] = number
        fitted = self.of(calibrated, unknown_share)
        fitted._require_output_everywhere(data.block)
        return CrossFit(fitted, held_out, numbers, None)

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


def _held_out(
    classifier: Any, matrix: NDArray[np.float64], correct: NDArray[np.int64], folds: Sequence[Fold]
) -> NDArray[np.float64]:
    """Return P(correct) [N] by classifiers and calibration curves fitted to the other folds."""
    method = "decision_function" if hasattr(classifier, "decision_function") else "predict_proba"
    outputs = cross_val_predict(classifier, matrix, correct, cv=folds, method=method)
    outputs = outputs if outputs.ndim == 1 else outputs[:, 1]
    p_correct = np.empty(len(correct))
    for train, test in folds:
        p_correct[test] = _calibrate(outputs[train], correct[train], outputs[test])
    return p_correct


def _calibrate(
    outputs: NDArray[np.float64], correct: NDArray[np.int64], new: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Fit Platt's curve, with his smoothed targets, to outputs [N]; return P(correct) of new outputs [M]."""
    size = outputs.std() or 1.0
    curve = fit_smoothed(LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000), outputs[:, None] / size, correct == 1)
    p_correct: NDArray[np.float64] = curve.predict_proba(new[:, None] / size)[:, 1]
    return p_correct
