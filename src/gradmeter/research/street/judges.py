"""Judges of pixels: the same classifiers on what the forward pass shows, with gradients or with controls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from gradmeter.errors import DataError
from gradmeter.research.street.reading import PixelFeatures, Values

LOGISTIC, BOOSTING = "logistic regression", "gradient boosting"
FORWARD, INPUTS, GRADIENTS, BOTH, NOISE, ALONE = (
    "forward",
    "with inputs",
    "with gradients",
    "with inputs and gradients",
    "with noise",
    "gradients alone",
)
"""What a judge reads: the forward pass's logits; also statistics of the last layer's input; also gradients; all three;
also gradients of other pixels, drawn at random; gradients alone."""
VARIANTS = {
    LOGISTIC: (FORWARD, INPUTS, GRADIENTS, BOTH, NOISE, ALONE),
    BOOSTING: (FORWARD, INPUTS, GRADIENTS, BOTH, NOISE),
}
"""What the judges of each classifier read."""

_PENALTIES = (0.001, 0.01, 0.1, 1.0)
_TREES, _LEAVES = 60, 15

Judge = Callable[[Values], Values]


@dataclass(frozen=True, eq=False)
class Lessons:
    """Pixels that judges learn from, in the order of their scenes.

    Attributes:
        features: of n pixels.
        outside: [n] whether a judge is to distrust the pixel.
    """

    features: PixelFeatures
    outside: NDArray[np.bool_]


def judge_name(classifier: str, variant: str) -> str:
    """Return the name of a judge's score."""
    return f"{classifier}: {variant}"


class Panel:
    """All judges that learn from the same pixels.

    Args:
        lessons: what they learn from.
        seed: of the random donors of `NOISE`.

    Raises:
        DataError: if all pixels are of one kind, or all that penalties are compared with.
    """

    def __init__(self, lessons: Lessons, seed: int) -> None:
        kinds = lessons.outside[_first(len(lessons.outside))]
        if kinds.all() or not kinds.any():
            raise DataError(
                f"judges would learn from {len(kinds):,} pixels of validation scenes, {np.count_nonzero(kinds):,} of "
                "them wrong or unknown; expected two kinds of pixels: give more scenes"
            )
        self._donors, self._random = lessons.features.gradients, np.random.default_rng(seed)
        views = self._views(lessons.features)
        self._judges = {
            judge_name(classifier, variant): (variant, _FITS[classifier](views[variant], lessons.outside))
            for classifier in VARIANTS
            for variant in VARIANTS[classifier]
        }

    def __call__(self, features: PixelFeatures) -> dict[str, Values]:
        """Return the doubt [n] of every judge about n pixels."""
        views = self._views(features)
        return {name: judge(views[variant]) for name, (variant, judge) in self._judges.items()}

    def _views(self, features: PixelFeatures) -> Mapping[str, Values]:
        noise = self._donors[self._random.integers(len(self._donors), size=len(features))]
        forward, inputs, gradients = features.forward, features.inputs, features.gradients
        return {
            FORWARD: forward,
            INPUTS: np.hstack([forward, inputs]),
            GRADIENTS: np.hstack([forward, gradients]),
            BOTH: np.hstack([forward, inputs, gradients]),
            NOISE: np.hstack([forward, noise]),
            ALONE: gradients,
        }


def _first(count: int) -> NDArray[np.bool_]:
    """Return which of the pixels are fitted for each penalty, [count]: the first four fifths."""
    return np.arange(count) < 0.8 * count


def _logistic(values: Values, outside: NDArray[np.bool_]) -> Judge:
    """Fit a logistic regression; the penalty is the best of four on the last fifth of the pixels."""
    first = _first(len(values))

    def fitted(penalty: float, rows: NDArray[np.bool_]) -> Pipeline:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, solver="newton-cholesky"))
        return model.fit(values[rows], outside[rows])

    losses = [
        log_loss(outside[~first], fitted(penalty, first).predict_proba(values[~first]), labels=[False, True])
        for penalty in _PENALTIES
    ]
    model = fitted(_PENALTIES[int(np.argmin(losses))], np.ones(len(values), np.bool_))
    return lambda test: np.asarray(model.decision_function(test))


def _boosting(values: Values, outside: NDArray[np.bool_]) -> Judge:
    """Fit gradient boosting of 60 small trees."""
    model = HistGradientBoostingClassifier(
        max_iter=_TREES, max_leaf_nodes=_LEAVES, early_stopping=False, random_state=0
    ).fit(values, outside)
    return lambda test: np.asarray(model.decision_function(test))


_FITS = {LOGISTIC: _logistic, BOOSTING: _boosting}
