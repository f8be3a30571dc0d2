"""Ranks of methods over many blocks: Friedman's test and Conover's post hoc comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats


@dataclass(frozen=True)
class Ranks:
    """How methods rank over blocks; rank 1 is the best.

    Attributes:
        mean: mean rank of each method, the best first.
        statistic: Friedman's chi-squared, corrected for ties.
        p_value: of Friedman's test, that all methods rank alike.
        blocks: number of blocks.
        against: p-values of the difference of the mean ranks of the given method and each other one, by Conover's
            test, adjusted by Holm's method.
    """

    mean: Mapping[str, float]
    statistic: float
    p_value: float
    blocks: int
    against: Mapping[str, float]


def rank(values: Mapping[str, Sequence[float]], method: str) -> Ranks:
    """Rank methods, and compare one with all others (Friedman 1937; Conover 1999, section 5.8).

    Args:
        values: for each method, a value for each block; the higher, the better.
        method: the method to compare with the others.
    """
    names = list(values)
    # [blocks, methods]
    ranks = stats.rankdata(-np.array([values[name] for name in names]).T, axis=1)
    statistic, p_value = _friedman(ranks)
    others = [number for number, name in enumerate(names) if name != method]
    adjusted = holm(_conover(ranks, names.index(method))[others])
    mean = dict(sorted(zip(names, ranks.mean(axis=0).tolist(), strict=True), key=lambda pair: pair[1]))
    against = {names[number]: float(p) for number, p in zip(others, adjusted, strict=True)}
    return Ranks(mean, statistic, p_value, len(ranks), against)


def _friedman(ranks: NDArray[np.float64]) -> tuple[float, float]:
    """Return Friedman's chi-squared and its p-value for ranks [blocks, methods]."""
    blocks, methods = ranks.shape
    spread = (ranks**2).sum() - blocks * methods * (methods + 1) ** 2 / 4
    if spread == 0:  # all methods are equal in every block
        return 0.0, 1.0
    sums = ranks.sum(axis=0)
    between = (sums**2).sum() - blocks**2 * methods * (methods + 1) ** 2 / 4
    statistic = (methods - 1) * between / spread
    return float(statistic), float(stats.chi2.sf(statistic, methods - 1))


def _conover(ranks: NDArray[np.float64], method: int) -> NDArray[np.float64]:
    """Return two-sided p-values of a method against each method, [methods]."""
    blocks, methods = ranks.shape
    sums = ranks.sum(axis=0)
    freedom = (blocks - 1) * (methods - 1)
    variance = 2 * (blocks * (ranks**2).sum() - (sums**2).sum()) / freedom
    differences = np.abs(sums - sums[method])
    if variance <= 0:  # every block has the same ranks
        return np.where(differences > 0, 0.0, 1.0)
    p_values: NDArray[np.float64] = 2 * stats.t.sf(differences / np.sqrt(variance), freedom)
    return p_values


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p-values adjusted for their number (Holm 1979)."""
    order = np.argsort(p_values)
    factors = len(p_values) - np.arange(len(p_values))
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.maximum.accumulate((factors * p_values[order]).clip(max=1))
    return adjusted
