"""Distances from tensors equal those of NumPy, with one map for all classes and with one for each."""

import numpy as np
import pytest
import torch

from gradmeter.trust.densities import ClassDensities
from gradmeter.trust.traced.densities import TracedDensities


@pytest.mark.parametrize(("samples", "width", "maps"), [(60, 150, 1), (600, 10, 4)], ids=["shared map", "own maps"])
def test_distances(samples: int, width: int, maps: int) -> None:
    random = np.random.default_rng(0)
    classes = random.integers(0, 5, samples)
    views = random.normal(size=(3, samples, width)) + classes[:, None] * random.normal(size=(3, 1, width))
    densities = ClassDensities().fit(views[:, classes < 4], classes[classes < 4])
    assert densities.whitening_.shape[1] == maps
    new = random.normal(size=(3, 30, width)) * 2
    predicted = random.integers(0, 5, 30)  # class 4 has no training samples
    assert 4 in predicted
    given = TracedDensities(densities)(torch.from_numpy(new), torch.from_numpy(predicted))
    np.testing.assert_allclose(given, densities.distances(new, predicted), rtol=1e-9, atol=1e-9)


def test_a_single_class() -> None:
    random = np.random.default_rng(0)
    views = random.normal(size=(1, 50, 4))
    densities = ClassDensities().fit(views, np.full(50, 2))
    predicted = np.array([2, 0, 1])
    given = TracedDensities(densities)(torch.from_numpy(views[:, :3]), torch.from_numpy(predicted))
    np.testing.assert_allclose(given, densities.distances(views[:, :3], predicted), rtol=1e-9)
