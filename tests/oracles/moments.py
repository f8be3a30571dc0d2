"""The eight statistics of materialised gradients, by NumPy and scipy.stats."""

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.float64]

# Rounding error of a power sum, relative to its size.
_ROUNDING = 4 * np.finfo(np.float64).eps


def eight(gradients: Array) -> Array:
    """[N, 8] from gradients [N, P]: l1, l2, min, max, mean, std, skewness, kurtosis."""
    return np.stack([_one(row) for row in gradients.reshape(len(gradients), -1).astype(np.float64)])


def _one(g: Array) -> Array:
    # squares of numbers below 1e-160 and their third powers below 1e-103 would underflow
    scale = np.abs(g).max() or 1.0
    unit = g / scale
    constant = unit.std() < 1e-12
    skewness, kurtosis = (0.0, 0.0) if constant else (stats.skew(unit), stats.kurtosis(unit))
    norm, deviation = scale * np.linalg.norm(unit), scale * unit.std()
    return np.array(
        [np.abs(g).sum(), norm, g.min(), g.max(), g.mean(), deviation, skewness, kurtosis], dtype=np.float64
    )


def assert_agree(actual: npt.ArrayLike, expected: Array, *, norms: float, shapes: float) -> None:
    """Compare statistics [..., 8] with those of an oracle.

    Tolerances are relative: for norms and standard deviation to the value; for extremes to the larger of the two; for
    the mean to mean plus standard deviation, because a dense layer's mean may be 0 up to rounding; for skewness and
    kurtosis to the larger of 1 and the value. The latter two are computed from power sums about zero; for nearly equal
    entries their rounding errors grow with the third and fourth power of root mean square over standard deviation.
    """
    values = np.asarray(actual)
    assert values.shape == expected.shape
    assert np.isfinite(values).all()
    size = np.abs(expected)
    size[..., 2:4] = size[..., 2:4].max(-1, keepdims=True)
    size[..., 4] += size[..., 5]
    size[..., 6:] = np.maximum(size[..., 6:], 1.0)
    limit = size * np.array([norms] * 6 + [shapes] * 2)
    mean, deviation = expected[..., 4], expected[..., 5]
    ratio = np.hypot(mean, deviation) / np.where(deviation > 0, deviation, np.inf)
    limit[..., 6:] += _ROUNDING * ratio[..., None] ** np.array([3, 4])
    excess = np.abs(values - expected) - limit
    worst = np.unravel_index(excess.argmax(), excess.shape)
    assert excess[worst] <= 0, f"at {worst}: {values[worst]!r}, expected {expected[worst]!r} within {limit[worst]:.1e}"
