"""The one check that every sample of numbers passes before it is evaluated."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gradmeter.errors import InputError


def finite_sample(values: ArrayLike, name: str) -> NDArray[np.float64]:
    """Return `values` as a float64 array [N].

    Raises InputError, naming `name`, unless they are one-dimensional, at least one, and all finite.
    """
    try:
        sample = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, RuntimeError) as error:  # the last of a tensor that requires a gradient
        raise InputError(f"{name}: expected a 1-d array of numbers, got {type(values).__name__}: {error}") from error
    if sample.ndim != 1 or sample.size == 0:
        raise InputError(
            f"{name}: expected shape [N] with at least one number, got {sample.shape}; pass one number per sample"
        )
    finite = np.isfinite(sample)
    if not finite.all():
        raise InputError(
            f"{name}: expected finite numbers, got {np.count_nonzero(~finite)} of {sample.size} that are NaN or "
            "infinite; remove those samples or repair their scores"
        )
    return sample
