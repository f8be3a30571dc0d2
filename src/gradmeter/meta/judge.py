"""From readings to a calibrated P(the prediction is correct)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.calibration import CalibratedClassifierCV
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from gradmeter.errors import InputError
from gradmeter.meta.features import Features
from gradmeter.meta.neural import neural_network
from gradmeter.meta.regressions import REGRESSIONS
from gradmeter.readings import Readings

CLASSIFIERS = {**REGRESSIONS, "neural_network": neural_network}
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

    features: Features
    estimator: Any
    right: int
    wrong: int
    unknown: int
    held_out: NDArray[np.float64]

    @classmethod
    def fit(
        cls, known: Readings, labels: torch.Tensor, unknowns: Sequence[Readings] = (), classifier: Any = "ridge"
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
        features = Features.chosen(readings)
        matrix, target = features.matrix(readings), correct.astype(np.int64)
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
        judge = CalibratedClassifierCV(_classifier(classifier), method="sigmoid", cv=folds, ensemble=False)
        held_out = cross_val_predict(judge, matrix, target, cv=folds, method="predict_proba")[:, 1]
        return cls(features, clone(judge).fit(matrix, target), right, wrong, unknown, held_out)

    def probability(self, readings: Readings) -> NDArray[np.float64]:
        """[N] P(correct)."""
        found: NDArray[np.float64] = self.estimator.predict_proba(self.features.matrix(readings))[:, 1]
        return found


def _classifier(given: Any) -> Any:
    if isinstance(given, str):
        if given not in CLASSIFIERS:
            raise InputError(f"classifier={given!r}; expected {', '.join(CLASSIFIERS)}, or a scikit-learn classifier")
        return CLASSIFIERS[given]()
    if isinstance(given, type) or not is_classifier(given):
        raise InputError(
            f"classifier is a {type(given).__name__}; expected {', '.join(CLASSIFIERS)}, or a scikit-learn classifier"
        )
    return given
