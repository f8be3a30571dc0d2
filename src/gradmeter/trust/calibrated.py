"""Any scikit-learn classifier as a meta classifier: its output is mapped to P(correct)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from gradmeter.errors import InputError
from gradmeter.reading.readings import Readings
from gradmeter.stages import Advance
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.folds import FOLDS, Fold, stratified_folds
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.meta_classifier import CORRECT, UNKNOWN, CrossFit, Judgement, TrainingData
from gradmeter.trust.smoothing import fit_smoothed

LEAST = 10
"""With fewer samples of either class a fold holds one or none: neither calibration nor comparison means anything."""


class Calibrated(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A classifier whose output a logistic curve, fitted to held-out outputs (Platt 1999), maps to P(correct).

    Args:
        classifier: of scikit-learn; it learns from the known and unknown inputs that are given.

    Attributes:
        calibrated_: scikit-learn's calibrated classifier; class 1 is "correct".
        unknown_share_: the share of unknown inputs that it learned from.
    """

    learns_from_synthetic = False
    steps = None
    borne_loss = None

    def __init__(self, classifier: Any = None) -> None:
        self.classifier = classifier

    def features(self, readings: Readings) -> LogFeatures:
        """Those of the outputs and of the first pseudo-label's gradients."""
        return LogFeatures.chosen(readings)

    def require_enough(self, right: int, wrong: int, unknown: int) -> None:
        """Check that ten predictions are right and ten are not.

        Raises:
            InputError: if not.
        """
        if right < LEAST or wrong + unknown < LEAST:
            raise InputError(
                f"{right} predictions are right, {wrong} are wrong and {unknown} inputs are unknown; expected at least "
                f"{LEAST} that are right and {LEAST} that are not: give more data, or unknown inputs"
            )

    def cross_fit(self, data: TrainingData, advance: Advance) -> CrossFit:
        """Fit to all samples; judge each by a classifier and a curve that learned from the other folds."""
        matrix = data.block.values
        correct = (data.target == CORRECT).astype(np.int64)
        folds = stratified_folds(data.contents, correct)
        p_correct = _held_out(self.classifier, matrix, correct, folds)
        calibrated = CalibratedClassifierCV(self.classifier, method="sigmoid", cv=folds, ensemble=False)
        # It is saved, and needs the rows of its folds no more.
        calibrated.fit(matrix, correct).set_params(cv=StratifiedKFold(FOLDS, shuffle=True, random_state=0))
        unknown_share = float(np.count_nonzero(data.target >= UNKNOWN) / len(data.target))
        held_out = Judgement(p_correct, np.ones(len(correct), np.bool_))
        return CrossFit(self.of(calibrated, unknown_share), held_out, None)

    @classmethod
    def of(cls, calibrated: CalibratedClassifierCV, unknown_share: float) -> Self:
        """A fitted one, from scikit-learn's calibrated classifier and the share of unknown inputs that it saw."""
        fitted = cls(calibrated.estimator)
        fitted.calibrated_, fitted.unknown_share_, fitted.classes_ = calibrated, unknown_share, calibrated.classes_
        return fitted

    @property
    def presumed_share(self) -> float:
        """The share of unknown inputs for which P(correct) is a probability."""
        share: float = self.unknown_share_
        return share

    def judge(self, block: FeatureBlock) -> Judgement:
        """Judge N predictions; it does not say which inputs are known."""
        p_correct = self.calibrated_.predict_proba(block.values)[:, CORRECT]
        return Judgement(p_correct, np.ones(len(block), np.bool_))


def _held_out(
    classifier: Any, matrix: NDArray[np.float64], correct: NDArray[np.int64], folds: Sequence[Fold]
) -> NDArray[np.float64]:
    """[N] P(correct) by classifiers that learned from the other folds, calibrated on the other folds' outputs."""
    method = "decision_function" if hasattr(classifier, "decision_function") else "predict_proba"
    outputs = cross_val_predict(classifier, matrix, correct, cv=folds, method=method)
    outputs = outputs if outputs.ndim == 1 else outputs[:, 1]
    p_correct = np.empty(len(correct))
    for others, own in folds:
        p_correct[own] = _calibrated(outputs[others], correct[others], outputs[own])
    return p_correct


def _calibrated(
    outputs: NDArray[np.float64], correct: NDArray[np.int64], new: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[M] P(correct) of new outputs, by Platt's logistic curve with his smoothed targets, fitted to outputs [N]."""
    size = outputs.std() or 1.0
    curve = fit_smoothed(LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000), outputs[:, None] / size, correct == 1)
    p_correct: NDArray[np.float64] = curve.predict_proba(new[:, None] / size)[:, 1]
    return p_correct
