import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.covariance import LedoitWolf, ledoit_wolf
from sklearn.datasets import make_spd_matrix

from gradmeter.trust import densities
from gradmeter.trust.densities import NEAREST, NEXT, PREDICTED, ClassDensities

RANDOM = np.random.default_rng(0)


def samples(count: int, numbers: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return samples and classes with different means and covariances, and features of different scales."""
    random = np.random.default_rng(seed)
    labels = random.integers(classes, size=count)
    labels[:classes] = np.arange(classes)
    means = 3 * random.normal(size=(classes, numbers))
    maps = random.normal(size=(classes, numbers, numbers))
    spread = 10.0 ** random.uniform(-6, 6, numbers)
    rows = [means[c] + maps[c] @ random.normal(size=numbers) for c in labels]
    return np.array(rows) * spread + 100 * spread, labels


def by_scipy(X: np.ndarray, labels: np.ndarray, new: np.ndarray, weigh: bool) -> np.ndarray:
    """Return squared distances [n, classes]; with `weigh`, the covariance of a class has the weight n / (n + 2 d)."""
    scaled, new = ((values - X.mean(0)) / X.std(0) for values in (X, new))
    classes = np.unique(labels)
    means = {c: scaled[labels == c].mean(0) for c in classes}
    residuals = scaled - np.array([means[c] for c in labels])
    pooled = LedoitWolf(assume_centered=True).fit(residuals).covariance_
    squares = np.empty((len(new), len(classes)))
    for index, c in enumerate(classes):
        count = np.count_nonzero(labels == c)
        weight = count / (count + 2 * X.shape[1]) if weigh else 0.0
        covariance = residuals[labels == c].T @ residuals[labels == c] / count
        inverse = np.linalg.inv(weight * covariance + (1 - weight) * pooled + 1e-6 * np.eye(X.shape[1]))
        squares[:, index] = [mahalanobis(row, means[c], inverse) ** 2 for row in new]
    return squares


@pytest.mark.parametrize(("samples", "dimensions"), [(5, 1), (3, 40), (50, 50), (500, 9)])
def test_the_shrunk_covariance_is_that_of_scikit_learn(samples: int, dimensions: int) -> None:
    X = RANDOM.normal(size=(samples, dimensions)) * RANDOM.uniform(0.1, 10, dimensions)
    expected, _ = ledoit_wolf(X, assume_centered=True)
    np.testing.assert_allclose(densities._ledoit_wolf(X), expected, rtol=1e-12, atol=1e-12)
    zeros = np.zeros((samples, dimensions))
    assert np.array_equal(densities._ledoit_wolf(zeros), np.zeros((dimensions, dimensions)))


def three(squares: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return log distances to the predicted class, the nearest one, and the nearest other one."""
    rows = np.arange(len(squares))
    to_predicted, others = squares[rows, predicted], squares.copy()
    others[rows, predicted] = np.inf
    return np.log(np.stack([to_predicted, squares.min(1), others.min(1)], axis=1))


def one_view(X: np.ndarray, labels: np.ndarray) -> ClassDensities:
    return ClassDensities().fit(X[None], labels)


@pytest.mark.parametrize(
    ("count", "numbers", "classes", "weigh"),
    [
        (400, 3, 4, True),
        (60, 5, 2, True),
        (80, 40, 3, True),
        # About two samples of 60 dimensions for each class: all classes share one covariance.
        (200, 60, 100, False),
        (300, 4, 101, False),
        (60, 257, 2, False),
    ],
)
def test_against_scipy(count: int, numbers: int, classes: int, weigh: bool) -> None:
    X, labels = samples(count, numbers, classes)
    new, _ = samples(30, numbers, classes if classes < 30 else 30, seed=1)
    new = X[:30] + (new - new.mean(0)) / new.std(0) * X.std(0)
    predicted = RANDOM.integers(classes, size=30)
    density = one_view(X, labels)
    assert len(density.whitening_[0]) == (classes if weigh else 1)
    actual = density.distances(new[None], predicted)[0]
    assert actual.shape == (30, 3)
    assert (actual[:, NEAREST] <= actual[:, PREDICTED]).all()
    assert (actual[:, NEAREST] <= actual[:, NEXT]).all()
    np.testing.assert_allclose(actual, three(by_scipy(X, labels, new, weigh), predicted), rtol=1e-6, atol=1e-6)


def test_many_samples_find_the_true_distances() -> None:
    random, covariance = np.random.default_rng(0), make_spd_matrix(3, random_state=1)
    labels = random.integers(2, size=40_000)
    means = np.array([[0.0, 0, 0], [4, -2, 1]])
    X = means[labels] + random.multivariate_normal(np.zeros(3), covariance, size=len(labels))
    new = 5 * random.normal(size=(50, 3))
    inverse = np.linalg.inv(covariance)
    squares = np.array([[mahalanobis(row, mean, inverse) ** 2 for mean in means] for row in new])
    actual = one_view(X, labels).distances(new[None], np.zeros(50, np.int64))[0]
    np.testing.assert_allclose(actual, three(squares, np.zeros(50, np.int64)), atol=0.1)


def test_units_do_not_matter() -> None:
    X, labels = samples(100, 6, 3)
    scale, shift = 10.0 ** RANDOM.uniform(-8, 8, 6), RANDOM.normal(size=6)
    plain = one_view(X, labels).distances(X[:20][None], labels[:20])[0]
    actual = one_view(X * scale + shift, labels).distances((X[:20] * scale + shift)[None], labels[:20])[0]
    np.testing.assert_allclose(actual, plain, rtol=1e-6, atol=1e-6)


def test_a_class_without_training_samples_is_as_far_as_the_farthest() -> None:
    X, labels = samples(90, 4, 3)
    labels = labels * 2  # classes 0, 2 and 4
    density = one_view(X, labels)
    assert density.classes_.tolist() == [0, 2, 4]
    new = X[:30]
    squares = by_scipy(X, labels, new, True)
    for absent in (1, 3, 9):
        actual = density.distances(new[None], np.full(30, absent))[0]
        nearest = np.log(squares.min(1))
        np.testing.assert_allclose(
            actual, np.stack([np.log(squares.max(1)), nearest, nearest], 1), rtol=1e-6, atol=1e-6
        )


def test_a_single_class_has_three_equal_distances() -> None:
    X, labels = samples(60, 4, 1)
    actual = one_view(X, labels).distances(X[None], labels)[0]
    assert np.array_equal(actual[:, 0], actual[:, 1])
    assert np.array_equal(actual[:, 0], actual[:, 2])


def test_a_class_of_a_single_sample() -> None:
    X, labels = samples(60, 4, 2)
    labels[:] = 0
    labels[7] = 1
    actual = one_view(X, labels).distances(X[None], labels)[0]
    assert np.isfinite(actual).all()
    assert actual[7, 0] == actual[7, 1]


@pytest.mark.parametrize("value", [0.0, 0.1, -27.631021115928547, 1e8])
def test_columns_that_are_constant(value: float) -> None:
    """Their standard deviation is a rounding error, which must not become the unit of distances."""
    X, labels = samples(137, 3, 2)
    X /= X.std(0)
    wide = np.hstack([X, np.full((137, 2), value)])
    density = one_view(wide, labels)
    plain = one_view(X, labels).distances(X[None], labels)[0]
    actual = density.distances(wide[None], labels)[0]
    assert np.isfinite(actual).all()
    # The pooled covariance is shrunk towards the mean variance, which constant columns lower.
    np.testing.assert_allclose(actual, plain, atol=0.2)
    other = wide + np.array([0, 0, 0, 1e-9, 0])
    np.testing.assert_allclose(density.distances(other[None], labels)[0], actual, atol=0.01)
    far = wide + np.array([0, 0, 0, 1.0, 0])
    assert (density.distances(far[None], labels)[0] > actual).all()


def test_columns_that_are_multiples_of_each_other() -> None:
    X, labels = samples(80, 3, 2)
    X = np.hstack([X, 2 * X, X[:, :1] - 5])
    assert np.isfinite(one_view(X, labels).distances(X[None], labels)[0]).all()


def test_the_distance_of_a_sample_at_the_mean_is_finite() -> None:
    X, labels = samples(50, 3, 1)
    actual = one_view(X, labels).distances((X.mean(0, keepdims=True))[None], np.array([0]))[0]
    assert actual.tolist() == [[np.log(1e-12)] * 3]


@pytest.mark.parametrize("classes", [4, 101])
@pytest.mark.parametrize("count", [1, 300])
def test_views_together_equal_each_view_alone(count: int, classes: int) -> None:
    parts = [samples(300, 5, classes, seed) for seed in range(3)]
    views, labels = np.stack([part[0] for part in parts]), parts[0][1]
    density = ClassDensities().fit(views, labels)
    together = density.distances(views[:, :count], labels[:count])
    for view, distances in zip(views, together, strict=True):
        alone = one_view(view, labels).distances(view[None, :count], labels[:count])[0]
        np.testing.assert_allclose(distances, alone, rtol=1e-12)


@pytest.mark.parametrize(("classes", "maps"), [(4, 4), (101, 1)])
def test_squares_equal_those_of_each_class_alone(classes: int, maps: int) -> None:
    """All classes together differ from a loop over classes by rounding only."""
    parts = [samples(300, 5, classes, seed) for seed in range(2)]
    views, labels = np.stack([part[0] for part in parts]), parts[0][1]
    density = ClassDensities().fit(views, labels)
    assert density.whitening_.shape[1] == maps
    scaled = (views - density.centre_[:, None]) / density.scale_[:, None]
    squares = density.squares(views)
    for label in range(classes):
        residuals = (scaled - density.means_[:, label, None]) @ density.whitening_[:, label if maps > 1 else 0]
        np.testing.assert_allclose(squares[:, :, label], (residuals**2).sum(2), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("block", [1, 2**10])
def test_distances_do_not_depend_on_the_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    X, labels = samples(300, 5, 10)
    density = one_view(X, labels)
    whole = density.distances(X[None], labels)
    monkeypatch.setattr(densities, "_ENTRIES", block)
    np.testing.assert_allclose(density.distances(X[None], labels), whole, rtol=1e-11, atol=1e-11)


def test_memory_does_not_grow_with_samples_times_classes() -> None:
    """The squared distances of all samples to all classes would take 61 MiB, and with 100 layers 6 GiB."""
    X, labels = RANDOM.normal(size=(1, 8000, 3)), RANDOM.integers(1000, size=8000)
    density = ClassDensities().fit(X, labels)
    tracemalloc.start()
    try:
        density.distances(X, labels)
        assert tracemalloc.get_traced_memory()[1] < 30 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("noise", [0, 1e-3, 1e-2])
def test_a_column_that_the_class_decides_does_not_depend_on_the_number_of_samples(noise: float) -> None:
    """With hardly any variance within classes, its distance between classes was that of the shrinkage."""
    random = np.random.default_rng(0)
    labels = np.arange(400) % 2
    X = np.stack([random.normal(size=400), labels + noise * random.normal(size=400)], axis=1)
    apart = []
    for count in (100, 400):
        squares = one_view(X[:count], labels[:count]).squares(X[None])[0]
        own, other = squares[np.arange(400), labels], squares[np.arange(400), 1 - labels]
        apart.append((other - own).mean())
    assert apart[0] == pytest.approx(apart[1], rel=0.15)
