import numpy as np
import pytest

from gradmeter.errors import InputError
from gradmeter.report.operating_points import operating_points


def scores(samples: int, seed: int = 0) -> np.ndarray:
    """Scores with ties, exact zeros and ones, and samples that no threshold accepts."""
    random = np.random.default_rng(seed)
    values = random.beta(5, 1, samples)
    values[::7] = values[0]
    values[1::50], values[2::50], values[3::10] = 0, 1, -1
    return values


@pytest.mark.parametrize("samples", [20, 300, 5000])
@pytest.mark.parametrize("threshold", [0.5, 0.9123456789, 1.0])
def test_every_threshold_accepts_the_samples_whose_score_reaches_it(samples: int, threshold: float) -> None:
    score = scores(samples)
    members = {"right": np.arange(samples) % 3 > 0, "wrong": np.arange(samples) % 3 == 0}
    points = operating_points(score, members, threshold)
    assert (np.diff(points.thresholds) > 0).all()
    assert points.thresholds[points.marked] == threshold
    assert points.thresholds[0] == 0
    for name, rows in members.items():
        expected = [(score[rows] >= level).sum() for level in points.thresholds]
        assert points.accepted[name].tolist() == expected
        assert points.samples[name] == rows.sum()
    for level, value in enumerate(points.thresholds):
        assert ((points.passed > level) == (score >= value)).all()


def test_neighbouring_thresholds_accept_about_equally_many_more() -> None:
    score = np.random.default_rng(0).beta(50, 1, 100_000)
    points = operating_points(score, {"all": np.ones(100_000, np.bool_)}, 0.5, limit=200)
    assert 200 <= len(points.thresholds) <= 202
    assert np.abs(np.diff(points.accepted["all"])).max() <= 600


def test_all_scores_are_thresholds_if_there_are_few() -> None:
    points = operating_points([0.2, 0.4, 0.4, -1], {"all": np.ones(4, np.bool_)}, 0.3)
    assert points.thresholds.tolist() == [0, 0.2, 0.3, 0.4]
    assert points.accepted["all"].tolist() == [3, 3, 2, 2]
    assert points.passed.tolist() == [2, 4, 4, 0]


@pytest.mark.parametrize("score", [[], [[0.5]], [float("nan")], [1.5]])
def test_what_is_no_score(score: list) -> None:
    with pytest.raises(InputError, match="score"):
        operating_points(score, {}, 0.5)
