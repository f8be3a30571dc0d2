"""From readings to a calibrated P(the prediction is correct)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from threadpoolctl import threadpool_limits

from gradmeter.errors import InputError
from gradmeter.meta.log_features import LogFeatures
from gradmeter.meta.neural import neural_network
from gradmeter.meta.regressions import REGRESSIONS, ridge_cv
from gradmeter.readings import Readings

CLASSIFIERS = {"ridge_cv": ridge_cv, **REGRESSIONS, "neural_network": neural_network}
"""Factories of meta classifiers by name."""

_FOLDS = 5
# With fewer of either kind a fold holds one or none: neither calibration nor comparison would mean anything.
LEAST = 10


@dataclass(frozen=True, eq=False)
class Judge:
    """A fitted and calibrated meta classifier.

    Attributes:
        features: what it sees of the readings.
        estimator: the calibrated scikit-learn classifier; class 1 is "correct".
        right: predictions that it learned from and that were right.
        wrong: known inputs whose prediction was wrong.
        unknown: unknown inputs.
        held_out: [right + wrong + unknown] P(correct) of each sample it learned from, by judges that had not.
    """

    features: LogFeatures
    estimator: Any
    right: int
    wrong: int
    unknown: int
    held_out: NDArray[np.float64]

    @classmethod
    def fit(
        cls, known: Readings, labels: torch.Tensor, unknowns: Sequence[Readings] = (), classifier: Any = "ridge_cv"
    ) -> Judge:
        """Fit on known inputs with labels, and on unknown inputs where there are some.

        P(correct) is the classifier's output mapped by a logistic curve that was fitted to out-of-fold outputs (Platt
        1999); it is meant for inputs of which as many are unknown as here.

        Args:
            known: of N inputs that the network did not learn from.
            labels: [N] their classes.
            unknowns: readings of inputs of no class; every prediction for them is wrong.
            classifier: a name of `CLASSIFIERS`, or a scikit-learn classifier.

        Raises:
            InputError: for another classifier, labels that do not fit, or fewer than 10 right or wrong predictions.
        """
        if labels.shape != known.predictions.shape:
            raise InputError(f"labels have shape {tuple(labels.shape)}; expected {tuple(known.predictions.shape)}")
        answered = (known.predictions.cpu() == labels.cpu()).numpy()
        readings = Readings.concatenate([known, *unknowns])
        correct = np.concatenate([answered, np.zeros(len(readings) - len(known), np.bool_)])
        right, wrong = int(answered.sum()), int((~answered).sum())
        unknown = len(readings) - len(known)
        if right < LEAST or wrong + unknown < LEAST:
            raise InputError(
                f"{right} predictions are right, {wrong} are wrong and {unknown} inputs are unknown; expected at least "
                f"{LEAST} that are right and {LEAST} that are not: give more data, or unknown inputs"
            )
        features = LogFeatures.chosen(readings)
        matrix, target = features.matrix(readings), correct.astype(np.int64)
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
        meta_classifier = named_classifier(classifier)
        judge = CalibratedClassifierCV(meta_classifier, method="sigmoid", cv=folds, ensemble=False)
        # The matrices are small: threads would cost more than they bring, and much where others use them too.
        with threadpool_limits(1):
            return cls(
                features,
                judge.fit(matrix, target),
                right,
                wrong,
                unknown,
                _held_out(meta_classifier, matrix, target, folds),
            )

    def probability(self, readings: Readings) -> NDArray[np.float64]:
        """[N] P(correct)."""
        found: NDArray[np.float64] = self.estimator.predict_proba(self.features.matrix(readings))[:, 1]
        return found


def _held_out(
    meta_classifier: Any, matrix: NDArray[np.float64], target: NDArray[np.int64], folds: StratifiedKFold
) -> NDArray[np.float64]:
    """[N] P(correct) by classifiers that learned from the other folds, calibrated on the other folds' outputs."""
    method = "decision_function" if hasattr(meta_classifier, "decision_function") else "predict_proba"
    outputs = cross_val_predict(meta_classifier, matrix, target, cv=folds, method=method)
    outputs = outputs if outputs.ndim == 1 else outputs[:, 1]
    found = np.empty(len(target))
    for others, own in folds.split(matrix, target):
        found[own] = _calibrated(outputs[others], target[others], outputs[own])
    return found


def _calibrated(
    outputs: NDArray[np.float64], target: NDArray[np.int64], new: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[M] P(correct) of new outputs, by Platt's logistic curve with his smoothed targets, fitted to outputs [N]."""
    right, wrong = np.count_nonzero(target == 1), np.count_nonzero(target == 0)
    smoothed = np.where(target == 1, (right + 1) / (right + 2), 1 / (wrong + 2))
    # scikit-learn's targets are classes: every sample counts as either, in the share that its target says.
    size = outputs.std() or 1.0
    curve = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(
        np.concatenate([outputs, outputs])[:, None] / size,
        np.repeat([1, 0], len(outputs)),
        sample_weight=np.concatenate([smoothed, 1 - smoothed]),
    )
    p_correct: NDArray[np.float64] = curve.predict_proba(new[:, None] / size)[:, 1]
    return p_correct


def named_classifier(given: Any) -> Any:
    """A meta classifier from its name; one that is given comes back.

    Raises:
        InputError: for anything else.
    """
    if isinstance(given, str):
        if given not in CLASSIFIERS:
            raise InputError(f"classifier={given!r}; expected {', '.join(CLASSIFIERS)}, or a scikit-learn classifier")
        return CLASSIFIERS[given]()
    if isinstance(given, type) or not is_classifier(given):
        raise InputError(
            f"classifier is a {type(given).__name__}; expected {', '.join(CLASSIFIERS)}, or a scikit-learn classifier"
        )
    return given
