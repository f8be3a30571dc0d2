from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from gradmeter.research.study.data import Concept, noise


def test_uniform_follows_its_distribution() -> None:
    images = noise.uniform(30, np.random.default_rng(0)).images
    assert images.shape == (30, 28, 28)
    assert images.dtype == np.float32
    assert stats.kstest(images.ravel(), "uniform").pvalue > 0.01


def test_normal_is_as_drawn() -> None:
    images = noise.normal(30, np.random.default_rng(0)).images
    assert images.dtype == np.float32
    assert stats.kstest(images.ravel(), "norm").pvalue > 0.01


def test_clipping_only_brings_the_same_noise_into_range() -> None:
    free = noise.normal(30, np.random.default_rng(0)).images
    clipped = noise.normal(30, np.random.default_rng(0), noise.CLIPPED).images
    np.testing.assert_array_equal(clipped, np.clip(free, 0, 1))
    assert free.min() < 0
    assert free.max() > 1


@pytest.mark.parametrize("make", [noise.uniform, noise.normal])
def test_rounded_noise_has_the_values_of_8_bits(make: Callable[..., Concept]) -> None:
    clipped, rounded = (make(30, np.random.default_rng(0), form).images for form in (noise.CLIPPED, noise.ROUNDED))
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded * 255, np.round(rounded * 255))
    np.testing.assert_allclose(rounded, clipped, atol=0.5 / 255 + 1e-6)
