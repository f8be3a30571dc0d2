"""Validation of samples of numbers."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError


def finite_sample(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return `values` as a float64 array [N].

    Args:
        values: N finite numbers.
        name: of the values, for error messages.

    Raises:
        InputError: if the values are empty, not one-dimensional or not finite.
    """
    try:
        sample = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: the tensor requires a gradient
        raise InputError(f"{name}: expected a 1-d array of numbers, got {type(values).__name__}: {error}") from error
    if sample.ndim != 1 or sample.size == 0:
        raise InputError(
            f"{name}: expected shape [N] with N at least 1, got {sample.shape}; pass one number for each sample"
        )
    finite = np.isfinite(sample)
    if not finite.all():
        raise InputError(
            f"{name}: expected finite numbers, got {np.count_nonzero(~finite)} of {sample.size} that are NaN or "
            "infinite; remove these samples"
        )
    return sample
