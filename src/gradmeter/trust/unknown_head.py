"""Likelihood ratios of unknown to known inputs."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

from gradmeter.errors import InputError
from gradmeter.trust.signed_regression import SignedLogisticRegression, balanced_weights
from gradmeter.trust.unchecked import standardised

Values = NDArray[np.float64]

KNOWN = -1
"""The kind of known inputs."""

# Squared distances up to this many times those of known inputs stand for unknown inputs that nobody gave.
_FARTHEST = 10.0
# From this number of kinds on, nothing has to stand for others. With 1, 2, 3, 5 and 8 of the 14 synthetic kinds, most
# digits that were multiplied by 10 to a million counted as known in 4, 4, 0, 0 and 0 of 8 draws of these kinds.
_ENOUGH_KINDS = 10
# scikit-learn's C, which grows with the number of known inputs: from few of them, steep odds would overfit.
_C_PER_SAMPLE, _SMALLEST_C, _LARGEST_C = 5e-4, 0.1, 1.0
# With fewer known inputs than _FEW, a kind gets a larger C where left-out inputs show that its odds can be steeper.
_FEW, _LARGER_C = 750, (1.0, 10.0)
# Fewer inputs of a kind show nothing of that sort.
_FEWEST = 5


class UnknownHead(BaseEstimator):  # type: ignore[misc]
    """Log likelihood ratios of several kinds of unknown inputs to known inputs, one logistic regression for each kind.

    Some kinds are far from the known inputs and some are close. A single regression for all kinds would underestimate
    the ratios of the far ones. The weights of the distances are not negative, so that no regression calls an input
    more likely known because it is farther away: future unknown inputs may differ from the kinds seen in training.
    If there are few kinds, copies of the known inputs at larger distances are one more, for which only distances count.
    Otherwise the other features would call some inputs known, however far away these are.

    Args:
        factors: [kinds] by which scikit-learn's C exceeds the one that follows from the number of known inputs. None
            for 1; with few known inputs, the next larger C of a short list is taken as long as it lowers the log loss
            of left-out inputs by more than one standard error. Otherwise the penalty for few inputs would keep the odds
            of a kind that is easy to tell from known inputs, such as noise, near those of known inputs.

    Attributes:
        distances_only_: whether there were no unknown inputs, so that only the distances are used.
        scaler_: standardises the features.
        coef_: [d, kinds] the weights of each kind's `SignedLogisticRegression`, in the order of the kinds; last, of the
            copies.
        intercept_: [kinds] their intercepts.
        factors_: [kinds] as given or chosen.
    """

    def __init__(self, factors: Values | None = None) -> None:
        self.factors = factors

    def fit(self, distances: Values, signed: Values, kinds: NDArray[np.int64]) -> Self:
        """Fit to known and unknown inputs.

        Args:
            distances: [n, d] logarithms of distances to the known inputs; their weights are not negative.
            signed: [n, k] other features; their weights have either sign.
            kinds: [n] `KNOWN`, or the number of a kind of unknown inputs; if all are known, only distances are used.

        Raises:
            InputError: if all inputs are known, and there are no distances, because no layer's output varies.
        """
        known = kinds == KNOWN
        self.distances_only_ = bool(known.all())
        if self.distances_only_:
            if not distances.shape[1]:
                raise InputError(
                    "the outputs of the network's layers cannot be read, as in a traced or exported network, or in one "
                    "that sorts the inputs of a batch, or they are the same for all inputs; expected different inputs, "
                    "and a network that is not traced, whose layers are modules, or reads='gradients'"
                )
            distances = _with_copies(distances)
            signed = np.concatenate([signed, signed])
            kinds = np.repeat([KNOWN, 0], len(known))
            known = kinds == KNOWN
        columns = self._columns(distances, signed)
        self.scaler_ = StandardScaler().fit(columns)
        scaled = standardised(self.scaler_, columns)
        C = float(np.clip(_C_PER_SAMPLE * np.count_nonzero(known), _SMALLEST_C, _LARGEST_C))
        # Shifted copies of the known inputs do not say how steep the odds of others are.
        chosen = self.factors is None and not self.distances_only_ and np.count_nonzero(known) < _FEW
        numbers = np.unique(kinds[~known])
        self.factors_ = np.ones(len(numbers)) if self.factors is None else self.factors
        models, width = [], distances.shape[1]
        for index, kind in enumerate(numbers):
            rows = known | (kinds == kind)
            # Both classes have the same total weight, so that the odds are a likelihood ratio. The share of unknown
            # inputs enters later.
            X, unknown = scaled[rows], ~known[rows]
            model = SignedLogisticRegression(C * float(self.factors_[index]), width).fit(X, unknown)
            if chosen:
                model = _as_steep_as_useful(model, X, unknown)
                self.factors_[index] = model.C / C
            models.append(model)
        self.coef_ = np.stack([model.coef_ for model in models], axis=1)
        self.intercept_ = np.array([model.intercept_ for model in models])
        if width and not self.distances_only_ and len(models) < _ENOUGH_KINDS:
            self._add_copies(distances[known], C)
        return self

    def _add_copies(self, distances: Values, C: float) -> None:
        """Add the kind of copies of the known inputs, from the distances [known, d] of these."""
        width = distances.shape[1]
        X = (_with_copies(distances) - self.scaler_.mean_[:width]) / self.scaler_.scale_[:width]
        model = SignedLogisticRegression(C, width).fit(X, np.repeat([False, True], len(distances)))
        weights = np.zeros((len(self.coef_), 1))
        weights[:width, 0] = model.coef_
        self.coef_ = np.hstack([self.coef_, weights])
        self.intercept_ = np.append(self.intercept_, model.intercept_)

    def log_ratios(self, distances: Values, signed: Values) -> Values:
        """Return the log likelihood ratios [n, kinds] of samples as in `fit`."""
        ratios: Values = standardised(self.scaler_, self._columns(distances, signed)) @ self.coef_ + self.intercept_
        return ratios

    def _columns(self, distances: Values, signed: Values) -> Values:
        return distances if self.distances_only_ else np.hstack([distances, signed])


def _with_copies(distances: Values) -> Values:
    """Append copies of inputs at larger distances to the logarithms of distances [n, d]; [2 n, d]."""
    shift = np.random.default_rng(0).uniform(0, np.log(_FARTHEST), len(distances))[:, None]
    return np.concatenate([distances, distances + shift])


def _as_steep_as_useful(
    model: SignedLogisticRegression, X: Values, unknown: NDArray[np.bool_]
) -> SignedLogisticRegression:
    """Raise C as long as the next larger one lowers the log loss of left-out inputs by more than a standard error.

    Args:
        model: the regression with the smallest C, fitted to these inputs.
        X: [n, d] features.
        unknown: [n] whether the input is of the kind; otherwise it is known.
    """
    if np.count_nonzero(unknown) < _FEWEST:
        return model
    losses = _losses(model, X, unknown)
    for C in (larger for larger in _LARGER_C if larger > model.C):
        steeper = SignedLogisticRegression(C, model.positive).fit(X, unknown)
        gains = balanced_weights(unknown) * (losses - (steeper_losses := _losses(steeper, X, unknown)))
        if gains.mean() <= gains.std(ddof=1) / np.sqrt(len(gains)):
            break
        model, losses = steeper, steeper_losses
    return model


def _losses(model: SignedLogisticRegression, X: Values, unknown: NDArray[np.bool_]) -> Values:
    losses: Values = np.logaddexp(0, np.where(unknown, -1, 1) * model.left_out(X, unknown))
    return losses
