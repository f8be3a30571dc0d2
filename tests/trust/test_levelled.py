import numpy as np
import pytest
from scipy.special import expit

from gradmeter.trust.levelled import LevelledOdds, upper_quantile


def odds_and_right(samples: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.normal(-5, 2, samples), random.uniform(0.5, 1, samples)


def test_usual_inputs_share_one_value_and_unusual_ones_keep_theirs() -> None:
    odds, right = odds_and_right()
    levelled = LevelledOdds().fit(odds, right)
    by_size = np.sort(odds)
    assert (levelled.usual_, levelled.familiar_) == (by_size[-10], by_size[-1])
    after = levelled(odds)
    unusual = odds > by_size[-10]
    assert np.count_nonzero(unusual) == 9
    np.testing.assert_array_equal(after[unusual], odds[unusual])
    assert len(set(after[~unusual])) == 1
    # Nothing is ranked the other way round.
    assert (np.diff(after[odds.argsort()]) >= 0).all()


def test_p_correct_loses_as_much_on_average() -> None:
    odds, right = odds_and_right()
    levelled = LevelledOdds().fit(odds, right)
    before, after = ((right * expit(-one)).mean() for one in (odds, levelled(odds)))
    assert after == pytest.approx(before, rel=1e-12)


@pytest.mark.parametrize("odds", [np.full(60, -3.0), np.full(60, -40.0), np.full(60, 30.0)])
def test_equal_odds(odds: np.ndarray) -> None:
    np.testing.assert_allclose(LevelledOdds().fit(odds, np.full(60, 0.9))(odds), odds)


def test_few_inputs_are_all_usual() -> None:
    odds, right = odds_and_right(75)
    assert LevelledOdds().fit(odds, right).usual_ == odds.max()


def test_upper_quantile() -> None:
    assert upper_quantile(np.arange(100.0), 0.05) == 95
    assert upper_quantile(np.arange(100.0), 0.001) == 99
