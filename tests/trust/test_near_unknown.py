"""Unknown inputs that resemble known ones."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from gradmeter.trust.near_unknown import NearUnknown

Values = NDArray[np.float64]
Known = tuple[Values, Values, Values, NDArray[np.bool_]]

NEVER = -50.0


def planted(count: int = 4000, link: float = 1.0, seed: int = 0) -> Known:
    """Return largest logits, log odds of being wrong and of being unknown, and what is wrong, of known inputs.

    Args:
        count: number of inputs.
        link: by how much the log odds of being wrong rise as the largest logit falls by a standard deviation.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    largest = rng.normal(15, 3, count)
    seen = rng.normal(-3, 1.5, count)
    wrong = rng.random(count) < expit(seen + link * (15 - largest) / 3)
    return largest, seen, np.full(count, NEVER), wrong


def p_correct(near: NearUnknown, known: Known) -> Values:
    largest, wrong_odds, odds, _ = known
    return np.asarray(expit(-wrong_odds) * expit(-np.logaddexp(odds, near.log_odds(largest))))


def test_a_small_largest_logit_speaks_for_an_unknown_input() -> None:
    near = NearUnknown().fit(*planted())
    odds = near.log_odds(np.array([6.0, 15.0, 24.0]))
    # Four per standard deviation.
    np.testing.assert_allclose(np.diff(odds) / np.diff([6, 15, 24]) * near.spread_, -4)


def test_near_unknown_inputs_have_a_density() -> None:
    """The likelihood ratio of near unknown to known inputs is 1 on average over known inputs."""
    near, known = NearUnknown().fit(*planted()), planted()
    np.testing.assert_allclose(np.exp(near.log_odds(known[0]) - near.log_share_).mean(), 1)


def test_known_inputs_lose_up_to_two_fifths_of_the_error_rate_and_2_percent() -> None:
    known = planted()
    lost = (expit(-known[1]) - p_correct(NearUnknown().fit(*known), known)).mean()
    assert lost == pytest.approx(min(0.4 * known[3].mean(), 0.02), rel=1e-6)


def test_the_ranking_of_wrong_predictions_is_not_worsened() -> None:
    known = planted()
    after = roc_auc_score(~known[3], p_correct(NearUnknown().fit(*known), known))
    assert after >= roc_auc_score(~known[3], -known[1])


@pytest.mark.parametrize("seed", range(3))
def test_where_it_would_worsen_the_ranking_there_are_none(seed: int) -> None:
    known = planted(link=-1.0, seed=seed)
    near = NearUnknown().fit(*known)
    assert near.log_share_ == -np.inf
    np.testing.assert_array_equal(p_correct(near, known), expit(-known[1]))


@pytest.mark.parametrize("wrong", [False, True])
def test_without_both_right_and_wrong_predictions_there_are_none(wrong: bool) -> None:
    largest, wrong_odds, odds, _ = planted(100)
    assert NearUnknown().fit(largest, wrong_odds, odds, np.full(100, wrong)).log_share_ == -np.inf


def test_equal_largest_logits() -> None:
    _, wrong_odds, odds, wrong = planted(100)
    near = NearUnknown().fit(np.full(100, 7.0), wrong_odds, odds, wrong)
    assert (near.log_odds(np.array([0.0, 7.0, 100.0])) == -np.inf).all()
