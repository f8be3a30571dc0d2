"""Scaled features as arrays, whatever scikit-learn is set to return."""

from __future__ import annotations

from sklearn.preprocessing import StandardScaler


def array_scaler() -> StandardScaler:
    """A `StandardScaler` that returns arrays, also after `sklearn.set_config(transform_output="pandas")`."""
    return StandardScaler().set_output(transform="default")
