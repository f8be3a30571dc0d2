"""Logarithmic scales for features that span many orders of magnitude, such as norms of gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin

from gradmeter.trust.segments.features import GRADIENTS, SHAPE, SOFTMAX, SegmentFeature

Values = NDArray[np.float64]

# Share of the training values whose size is below the unit of a feature that has one sign.
_LOW = 0.01


class LogScale(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Replace x by arcsinh(x / unit): logarithmic for sizes above the unit, linear below, odd, and 0 for 0.

    A feature's unit is a low quantile of its sizes in the training data, or their median if it has both signs, so that
    rounding errors around 0 do not become large numbers of both signs.

    Args:
        wide: columns to replace.
        plain: columns to keep as they are, too; they come first.

    Attributes:
        units_: the unit of each wide column.
    """

    def __init__(self, wide: Sequence[int] = (), plain: Sequence[int] = ()) -> None:
        self.wide = wide
        self.plain = plain

    @classmethod
    def of(cls, axes: Sequence[SegmentFeature]) -> LogScale:
        """The scale for these features; the softmax's are kept in both forms."""
        wide = [column for column, axis in enumerate(axes) if axis.source in (GRADIENTS, SHAPE, SOFTMAX)]
        plain = [column for column, axis in enumerate(axes) if axis.source not in (GRADIENTS, SHAPE)]
        return cls(wide, plain)

    def fit(self, X: Values, y: object = None) -> Self:
        """Find the units for samples [n, features]."""
        self.units_ = np.array([_unit(X[:, column]) for column in self.wide])
        return self

    def transform(self, X: Values) -> Values:
        """Return [n, plain + wide] for samples [n, features]."""
        scaled: Values = np.concatenate([X[:, self.plain], np.arcsinh(X[:, self.wide] / self.units_)], axis=1)
        return scaled


def _unit(values: Values) -> float:
    sizes = np.abs(values[values != 0])
    if not sizes.size:
        return 1.0
    both = values.min() < 0 < values.max()
    # Not below the smallest normal number, whose reciprocal is finite.
    return max(float(np.quantile(sizes, 0.5 if both else _LOW)), float(np.finfo(np.float64).tiny))
