"""Out-of-fold probabilities for labels that the network has learned: new last layers on the frozen embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline

from gradmeter.errors import InputError
from gradmeter.stages import stage
from gradmeter.trust.labels.inputs import Labels
from gradmeter.trust.one_thread import one_thread
from gradmeter.trust.scaling import array_scaler

# Each head is fitted to at most this many inputs.
_MOST_ROWS = 20_000
# Inverse penalties, of which the first fold chooses one.
_STRENGTHS = (0.001, 0.01, 0.1, 1.0)
# Every class has at least this probability in all; a class may have no label in the other folds.
_FLOOR = 1e-6
_TILE = 4096


def out_of_fold(
    embedding: NDArray[Any], labels: Labels, classes: int, fold: Labels, seed: int = 0
) -> NDArray[np.float32]:
    """Return probabilities [N, C] for each input by a head that was fitted to the other folds.

    A head is a multinomial logistic regression on the embedding. What the network itself learned from the labels stays
    in the embedding.

    Args:
        embedding: [N, D].
        labels: [N] given classes.
        classes: number of classes C.
        fold: [N] number of each input's fold.
        seed: of the draw of training rows, if there are many.

    Raises:
        InputError: if the labels outside some fold are of one class.
    """
    p = np.empty((len(labels), classes), np.float32)
    strength: float | None = None
    numbers = np.unique(fold)
    with stage("fitting heads to the embedding", len(numbers)) as advance, one_thread():
        for number in numbers:
            train, test = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
            if len(np.unique(labels[train])) < 2:
                raise InputError(
                    f"all labels outside fold {number} are class {labels[train[0]]}; expected at least two classes in "
                    "every fold: check more labels, or use fewer folds"
                )
            if len(train) > _MOST_ROWS:
                train = np.sort(np.random.default_rng([seed, 4]).choice(train, _MOST_ROWS, replace=False))
            X, y = np.asarray(embedding[train], np.float32), labels[train]
            strength = strength or _best_strength(X, y)
            head = _head(strength).fit(X, y)
            columns = head[-1].classes_
            for start in range(0, len(test), _TILE):
                rows = test[start : start + _TILE]
                p[rows] = _FLOOR / classes
                p[np.ix_(rows, columns)] += (1 - _FLOOR) * head.predict_proba(np.asarray(embedding[rows], np.float32))
            advance(1)
    return p


def _head(strength: float) -> Pipeline:
    return make_pipeline(array_scaler(), LogisticRegression(C=strength, max_iter=300, tol=1e-3))


def _best_strength(X: NDArray[np.float32], y: Labels) -> float:
    """Return the inverse penalty with the least log loss on every fourth row."""
    held_out = np.arange(len(y)) % 4 == 0
    held_out &= np.isin(y, np.unique(y[~held_out]))
    if not held_out.any() or len(np.unique(y[~held_out])) < 2:
        return _STRENGTHS[1]
    losses = []
    for strength in _STRENGTHS:
        head = _head(strength).fit(X[~held_out], y[~held_out])
        p = head.predict_proba(X[held_out]).clip(_FLOOR)
        losses.append(log_loss(y[held_out], p / p.sum(axis=1, keepdims=True), labels=head[-1].classes_))
    return _STRENGTHS[int(np.argmin(losses))]
