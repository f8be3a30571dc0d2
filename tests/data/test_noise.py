from __future__ import annotations

import numpy as np
from scipy import stats

from gradmeter.data import noise


def test_uniform_follows_its_distribution() -> None:
    images = noise.uniform(30, np.random.default_rng(0)).images
    assert images.shape == (30, 28, 28)
    assert images.dtype == np.float32
    assert stats.kstest(images.ravel(), "uniform").pvalue > 0.01


def test_normal_is_not_clipped() -> None:
    images = noise.normal(30, np.random.default_rng(0), clip=False).images
    assert images.dtype == np.float32
    assert stats.kstest(images.ravel(), "norm").pvalue > 0.01


def test_clipping_only_brings_the_same_noise_into_range() -> None:
    free = noise.normal(30, np.random.default_rng(0), clip=False).images
    clipped = noise.normal(30, np.random.default_rng(0), clip=True).images
    np.testing.assert_array_equal(clipped, np.clip(free, 0, 1))
    assert free.min() < 0
    assert free.max() > 1
