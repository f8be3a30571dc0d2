"""Given labels as a mixture of right ones, and of wrong ones that look like labels corrupted on purpose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from gradmeter.trust.labels.inputs import Labels, Values

# Penalty on squared weights of standardised columns, per kind of wrong labels.
_PENALTY = 0.05
_SEARCH = {"maxiter": 200, "ftol": 1e-7, "gtol": 1e-5}
# Shares of wrong labels that the search starts from; the best result counts.
_STARTS = (0.02, 0.2)
# Log ratios beyond this are equal to all purposes, and do not overflow.
_LARGEST = 500.0


@dataclass(frozen=True, eq=False)
class Mixture:
    """A fitted mixture.

    Given labels are drawn from (1 - r) R + sum r_k W_k: R are right labels and W_k wrong labels of kind k, of which
    there are examples. The density ratio W_k / R is log-linear in the evidence. The maximum likelihood estimate of all
    parameters from both samples is that of case-control studies with contaminated controls (Lancaster and Imbens 1996).

    Attributes:
        weights: [kinds, d + 1] of the columns and a constant.
        shares: [1 + kinds] share of right labels, and of wrong labels of each kind.
        loss: negative log likelihood with the penalty.
    """

    weights: Values
    shares: Values
    loss: float

    @property
    def rate(self) -> float:
        """The share of wrong labels, r."""
        return float(1 - self.shares[0])

    def log_odds(self, evidence: Values) -> Values:
        """Return the log odds [n] that labels with evidence [n, d] are wrong, if they are drawn like the given ones."""
        ratios = _log_ratios(self.weights, evidence)
        with np.errstate(divide="ignore"):
            odds: Values = _log_sum((ratios + np.log(self.shares[1:])).T) - np.log(self.shares[0])
        return odds


def fit_mixture(
    given: Values,
    corrupted: Values,
    kinds: Labels,
    *,
    rising: int | None = None,
    start: Mixture | None = None,
) -> Mixture:
    """Fit a mixture by maximum likelihood.

    Args:
        given: [n, d] standardised evidence against the given labels.
        corrupted: [m, d] the same against corrupted ones.
        kinds: [m] kind of each corrupted label, 0, 1, ...
        rising: number of the first columns that never speak for a label; by default all.
        start: where the search starts; by default at several shares of wrong labels.
    """
    # Of few corrupted labels, those of a kind may all be left out of a fold.
    least = 0 if start is None else len(start.weights)
    problem = Problem.of(given, corrupted, kinds, given.shape[1] if rising is None else rising, least)
    starts = [problem.parameters(start)] if start is not None else [problem.at_share(share) for share in _STARTS]
    results = [
        minimize(
            problem,
            first,
            jac=True,
            method="L-BFGS-B",
            bounds=problem.bounds,
            options=_SEARCH,
        )
        for first in starts
    ]
    best = min(results, key=lambda result: float(result.fun))
    slopes, shares = problem.parts(best.x)
    return Mixture(slopes, softmax(shares), float(best.fun))


@dataclass(frozen=True, eq=False)
class Problem:
    """The negative log likelihood of which sample each row is from, and its gradient.

    Attributes:
        rows: [n + m, d] evidence.
        source: [n + m] 0 for a given label, 1 + k for a corrupted one of kind k.
        totals: [1 + kinds] number of rows of each source.
        rising: number of the first columns whose weights are not negative.
    """

    rows: Values
    source: Labels
    totals: Values
    rising: int

    @classmethod
    def of(cls, given: Values, corrupted: Values, kinds: Labels, rising: int, least: int = 0) -> Problem:
        """Return the problem of `fit_mixture`, with at least so many kinds."""
        source = np.concatenate([np.zeros(len(given), np.int64), 1 + kinds])
        totals = np.bincount(source, minlength=1 + least).clip(1e-9)
        return cls(np.concatenate([given, corrupted]), source, totals, rising)

    @property
    def _kinds(self) -> int:
        return len(self.totals) - 1

    def parts(self, parameters: Values) -> tuple[Values, Values]:
        """Return weights [kinds, d + 1], and the logarithms of shares [1 + kinds]."""
        shape = (self._kinds, self.rows.shape[1] + 1)
        return parameters[: shape[0] * shape[1]].reshape(shape), parameters[shape[0] * shape[1] :]

    def parameters(self, mixture: Mixture) -> Values:
        """Return the parameters of a mixture."""
        return np.concatenate([mixture.weights.ravel(), np.log(mixture.shares.clip(1e-6))])

    def at_share(self, share: float) -> Values:
        """Return parameters without weights, for a share of wrong labels."""
        shares = np.array([1 - share, *[share / self._kinds] * self._kinds])
        return np.concatenate([np.zeros(self._kinds * (self.rows.shape[1] + 1)), np.log(shares)])

    @property
    def bounds(self) -> list[tuple[float | None, float | None]]:
        """Bounds of the parameters: no evidence against a label speaks for it."""
        free = self.rows.shape[1] + 1 - self.rising
        weights: list[tuple[float | None, float | None]] = [*[(0.0, None)] * self.rising, *[(None, None)] * free]
        return [*weights * self._kinds, *[(None, None)] * len(self.totals)]

    def __call__(self, parameters: Values) -> tuple[float, Values]:
        """Return the penalised negative log likelihood and its gradient, both per row."""
        weights, _ = self.parts(parameters)
        losses, of_ratios, of_shares = self._derivatives(parameters)
        loss = float(losses.sum()) + _PENALTY * float((weights[:, :-1] ** 2).sum())
        slopes = np.concatenate([of_ratios @ self.rows, of_ratios.sum(axis=1)[:, None]], axis=1)
        slopes[:, :-1] += 2 * _PENALTY * weights[:, :-1]
        # Per row, because the tolerances of the search are meant for numbers of about one.
        scale = 1 / len(losses)
        return scale * loss, scale * np.concatenate([slopes.ravel(), of_shares.sum(axis=1)])

    def _derivatives(self, parameters: Values) -> tuple[Values, Values, Values]:
        """Return the loss of each row [n + m], its derivatives by log ratios [kinds, n + m], and by the logarithms of
        shares [1 + kinds, n + m].
        """
        weights, logits = self.parts(parameters)
        log_shares = log_softmax(logits)
        # Sources come first, because NumPy sums short rows slowly.
        ratios = _log_ratios(weights, self.rows).T
        terms = np.empty((len(self.totals), len(self.rows)))
        terms[0], terms[1:] = log_shares[0], ratios + log_shares[1:, None]
        mixed = _log_sum(terms)
        joint = np.concatenate([mixed[None], ratios]) + np.log(self.totals)[:, None]
        total = _log_sum(joint)
        at = np.arange(len(self.rows))
        losses = total - joint[self.source, at]
        residual = np.exp(joint - total)
        residual[self.source, at] -= 1
        posterior = np.exp(terms - mixed)
        of_ratios = residual[0] * posterior[1:] + residual[1:]
        return losses, of_ratios, residual[0] * (posterior - np.exp(log_shares)[:, None])


def _log_ratios(weights: Values, rows: Values) -> Values:
    ratios: NDArray[np.float64] = rows @ weights[:, :-1].T + weights[:, -1]
    return ratios.clip(-_LARGEST, _LARGEST)


def _log_sum(terms: Values) -> Values:
    """Return the logarithm of the sum of exp(terms) along the first axis."""
    largest = terms.max(axis=0)
    sums: Values = largest + np.log(np.exp(terms - largest).sum(axis=0))
    return sums
