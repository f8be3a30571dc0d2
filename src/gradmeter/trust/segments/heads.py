"""The meta classifier and the meta regression of segments, chosen on folds that keep an image's segments together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline

from gradmeter.errors import InputError
from gradmeter.trust.scaling import array_scaler
from gradmeter.trust.segments.features import SegmentFeature
from gradmeter.trust.segments.scale import LogScale

Values = NDArray[np.float64]
Fold = tuple[NDArray[np.int64], NDArray[np.int64]]

FOLDS = 5
LEAST_OF_EACH = 10
"""Smallest number of segments that hit, and of segments that do not, from which a meta classifier is fitted."""

_TREES: dict[str, Any] = {
    "max_iter": 100,
    "learning_rate": 0.08,
    "max_leaf_nodes": 15,
    # Of many similar features, a part suffices for a split.
    "max_features": 0.3,
    "l2_regularization": 1.0,
    # It would hold out segments of images that are also trained on.
    "early_stopping": False,
    "random_state": 0,
}


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted estimator.

    Attributes:
        estimator: of scikit-learn.
        name: which of the candidates it is.
        held_out: [S] its predictions for the training segments, each by an estimator that did not see its image.
        losses: the loss of each candidate on held-out images, by name.
    """

    estimator: Any
    name: str
    held_out: Values
    losses: dict[str, float]


def classification(
    X: Values, hits: NDArray[np.bool_], image: NDArray[np.int64], axes: Sequence[SegmentFeature]
) -> Head:
    """Fit P(the segment hits) to features [S, F]; the candidate with the least log loss wins.

    Args:
        X: features.
        hits: [S] whether the adjusted IoU is above 0.
        image: [S] the image of each segment.
        axes: the feature of each column.

    Raises:
        InputError: if too few segments or images hit or miss.
    """
    hit, missed = int(np.count_nonzero(hits)), int(np.count_nonzero(~hits))
    of_hits, of_misses = (len(np.unique(image[rows])) for rows in (hits, ~hits))
    if min(hit, missed) < LEAST_OF_EACH or min(of_hits, of_misses) < FOLDS:
        raise InputError(
            f"{hit:,} segments hit and {missed:,} do not, in {of_hits:,} and {of_misses:,} images; expected at least "
            f"{LEAST_OF_EACH} of both, in at least {FOLDS} images each"
        )
    scale = LogScale.of(axes)
    # Another solver stops so early that rounding errors of the features, which depend on the batch, would show.
    candidates = {
        f"logistic regression, C = {strength:g}": make_pipeline(
            scale, array_scaler(), LogisticRegression(C=strength, solver="newton-cholesky")
        )
        for strength in (0.001, 0.01, 0.1, 1.0)
    }
    candidates["gradient boosting"] = HistGradientBoostingClassifier(**_TREES)
    folds = list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(X, hits, image))
    return _best(candidates, X, hits, folds, "predict_proba", log_loss)


def regression(X: Values, iou: Values, image: NDArray[np.int64], axes: Sequence[SegmentFeature]) -> Head:
    """Fit the adjusted IoU [S] to features [S, F]; the candidate with the least squared error wins.

    Args:
        X: features, of at least as many images as folds.
        iou: the adjusted IoU.
        image: [S] the image of each segment.
        axes: the feature of each column.
    """
    scale = LogScale.of(axes)
    candidates = {
        f"ridge regression, penalty {penalty:g}": make_pipeline(scale, array_scaler(), Ridge(alpha=penalty))
        for penalty in (1.0, 10.0, 100.0, 1000.0)
    }
    candidates["gradient boosting"] = HistGradientBoostingRegressor(**_TREES)
    folds = list(GroupKFold(FOLDS, shuffle=True, random_state=0).split(X, iou, image))
    return _best(candidates, X, iou, folds, "predict", mean_squared_error)


def _best(
    candidates: dict[str, Any], X: Values, target: NDArray[Any], folds: Sequence[Fold], method: str, loss: Any
) -> Head:
    held_out: dict[str, Values] = {}
    for name, candidate in candidates.items():
        values = np.empty(len(X))
        for train, test in folds:
            values[test] = answers(clone(candidate).fit(X[train], target[train]), X[test], method)
        held_out[name] = values
    losses = {name: float(loss(target, values)) for name, values in held_out.items()}
    best = min(losses, key=losses.__getitem__)
    return Head(candidates[best].fit(X, target), best, held_out[best], losses)


def answers(estimator: Any, X: Values, method: str) -> Values:
    """Return what an estimator says of features [S, F]: P(hit), or an IoU in [0, 1]."""
    given = getattr(estimator, method)(X)
    found: Values = given[:, 1] if method == "predict_proba" else np.clip(given, 0, 1)
    return found
