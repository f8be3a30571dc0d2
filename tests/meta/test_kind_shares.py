import numpy as np
import pytest
from scipy.special import expit, logit, logsumexp
from sklearn.metrics import average_precision_score, roc_auc_score

from gradmeter.meta.kind_shares import _LOSSES, chosen_log_odds, kind_log_odds, p_known

RANDOM = np.random.default_rng(0)
# Far from known inputs, nearer, and hardly told from them.
RATIOS = np.stack([RANDOM.normal(mean, 1.5, 4000) for mean in (-12, -5, 0)], axis=1)


# --- shares at which each kind costs the same


@pytest.mark.parametrize("loss", [1e-4, 1e-3, 1e-2])
def test_each_kind_costs_known_inputs_the_same(loss: float) -> None:
    odds = kind_log_odds(RATIOS, loss, 0.9999, odd=0.0)
    np.testing.assert_allclose(expit(RATIOS + odds).mean(axis=0), loss, rtol=1e-6)
    # What can be told from known inputs may be expected the more often.
    assert odds[0] > odds[1] + 3 > odds[2] + 6


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25])
def test_together_they_are_no_more_than_allowed(share: float) -> None:
    free, cut = (kind_log_odds(RATIOS, 1e-3, one, odd=0.001) for one in (0.9999, share))
    assert expit(logsumexp(cut)) == pytest.approx(share)
    # The commonest are cut to the same; the others keep theirs.
    level = cut.max()
    np.testing.assert_allclose(cut, free.clip(max=level))


def test_where_there_is_room_nothing_is_cut() -> None:
    odds = kind_log_odds(RATIOS, 1e-6, 0.25, odd=0.0)
    assert expit(logsumexp(odds)) < 0.25
    assert len({*odds}) == 3


def test_all_kinds_alike_and_cut() -> None:
    """The level to cut at is then that of all, to the last digit."""
    odds = kind_log_odds(np.repeat(RATIOS[:, :1], 14, axis=1), 0.01, 0.1, odd=0.0)
    np.testing.assert_allclose(odds, logit(0.1) - np.log(14), rtol=1e-6)


def test_ratios_that_are_all_the_same() -> None:
    np.testing.assert_allclose(kind_log_odds(np.full((100, 1), 3.0), 0.01, 0.5, odd=0.0), logit(0.01) - 3)


def test_one_odd_input_does_not_decide() -> None:
    odd = RATIOS.copy()
    odd[7] = 30
    shares = [kind_log_odds(ratios, 1e-4, 0.9, odd=0.0025) for ratios in (odd, RATIOS)]
    np.testing.assert_allclose(*shares, atol=0.1)


def test_of_few_inputs_none_is_odd() -> None:
    few = RATIOS[:200].copy()
    few[7] = 30
    shares = [kind_log_odds(ratios, 1e-4, 0.9, odd=0.0025) for ratios in (few, RATIOS[:200])]
    assert (shares[0] < shares[1] - 5).any()


def test_p_known_is_bayes() -> None:
    odds = np.log([0.02, 0.005, 0.001])
    ratios = RATIOS[:50]
    expected = 1 / (1 + (np.exp(ratios) * np.exp(odds)).sum(axis=1))
    np.testing.assert_allclose(p_known(ratios, odds), expected)


# --- the rule for the loss


def least(wrong: np.ndarray) -> float:
    """What is lost where the rule finds no gain."""
    return min(0.001, (wrong.sum() + 0.5) / (len(wrong) + 1) / 50)


def chosen(p_wrong: np.ndarray, ratios: np.ndarray, log_scale: np.ndarray, wrong: np.ndarray) -> float:
    """The loss that the rule takes."""
    found, smallest = chosen_log_odds(p_wrong, ratios, log_scale, wrong), least(wrong)
    shares = {one: kind_log_odds(ratios, one, odd=2.5 * smallest) for one in (*_LOSSES, smallest)}
    return next(one for one, odds in shares.items() if np.allclose(odds, found, rtol=1e-9))


def risk_area(uncertainty: np.ndarray, wrong: np.ndarray) -> float:
    """Mean risk over coverages 1/n to 1, without ties."""
    ordered = wrong[uncertainty.argsort()]
    return float((ordered.cumsum() / np.arange(1, len(wrong) + 1)).mean())


MEASURES = (
    (lambda uncertainty, wrong: roc_auc_score(wrong, uncertainty), 1),
    (lambda uncertainty, wrong: average_precision_score(wrong, uncertainty), 1),
    (risk_area, -1),
)


def test_the_largest_loss_at_which_three_quarters_of_the_gain_stay() -> None:
    """By all three measures."""
    random, losses = np.random.default_rng(0), set()
    for strength in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0):
        odds = random.normal(-2, 2, 2000)
        hidden = random.normal(size=2000)
        wrong = random.random(2000) < expit(odds + hidden)
        p_wrong, log_scale = expit(odds + hidden), np.log(expit(odds))
        ratios = strength * (3 * random.normal(size=(2000, 2)) - 2)
        expected = least(wrong)
        for loss in _LOSSES:
            uncertainty = -(1 - p_wrong) * p_known(ratios, kind_log_odds(ratios, loss, odd=2.5 * least(wrong)))
            kept = []
            for measure, sign in MEASURES:
                softmax, head, both = (sign * measure(one, wrong) for one in (log_scale, p_wrong, uncertainty))
                kept.append(both >= softmax + 0.75 * max(0, head - softmax) - 1e-4)
            if all(kept):
                expected = loss
                break
        assert chosen(p_wrong, ratios, log_scale, wrong) == expected
        losses.add(expected)
    assert len(losses) > 2
    assert max(losses) == max(_LOSSES)


def test_a_head_that_knows_nothing_of_unknown_inputs_does_no_harm() -> None:
    random = np.random.default_rng(1)
    odds, hidden = random.normal(-2, 2, 2000), random.normal(0, 2, 2000)
    wrong = random.random(2000) < expit(odds + hidden)
    p_wrong, log_scale = expit(odds + hidden), np.log(expit(odds))
    assert chosen(p_wrong, np.zeros((2000, 1)), log_scale, wrong) == max(_LOSSES)
    assert chosen(p_wrong, random.normal(0, 50, (2000, 9)), log_scale, wrong) < 0.5 * max(_LOSSES)


def test_a_gain_by_chance_over_the_softmax_is_none() -> None:
    """What is no more than noise to known inputs stays out of their ranking."""
    cautious = 0
    for seed in range(30):
        random = np.random.default_rng(seed)
        odds = random.normal(-5, 2, 3000)
        wrong = random.random(3000) < expit(odds)
        assert np.count_nonzero(wrong) >= 50
        ratios = random.normal(-1, 0.3, (3000, 1))
        cautious += chosen(expit(odds), ratios, np.log(expit(odds)), wrong) == least(wrong)
    assert cautious >= 28


def test_few_wrong_predictions_are_no_ground_for_a_larger_loss() -> None:
    random = np.random.default_rng(0)
    wrong = np.arange(3000) < 49
    log_scale = random.normal(-3 + wrong, 1).clip(max=-1e-3)
    hidden = expit(-4 + 8 * wrong)
    ratios = random.normal(0, 0.01, (3000, 1))
    assert chosen(hidden, ratios, log_scale, wrong) == least(wrong)
    wrong[49] = True
    hidden[49] = hidden[0]
    assert chosen(hidden, ratios, log_scale, wrong) == max(_LOSSES)


@pytest.mark.parametrize(("count", "loss"), [(0, 0.01 / 2001), (8, 0.17 / 2001), (40, 0.81 / 2001), (49, 0.99 / 2001)])
def test_what_is_lost_without_a_gain_follows_the_errors(count: int, loss: float) -> None:
    """Of which a network with few has few to rank."""
    random = np.random.default_rng(2)
    wrong, ratios = np.arange(2000) < count, random.normal(-3, 2, (2000, 3))
    log_scale = random.normal(-3, 1, 2000).clip(max=-1e-3)
    assert least(wrong) == pytest.approx(loss)
    odds = chosen_log_odds(np.exp(log_scale), ratios, log_scale, wrong)
    lost = np.sort(expit(ratios + odds), axis=0)[: 2000 - int(2.5 * loss * 2000)].mean(axis=0)
    np.testing.assert_allclose(lost, loss, rtol=1e-6)


def test_what_is_lost_without_a_gain_has_a_limit() -> None:
    random = np.random.default_rng(3)
    wrong, ratios = random.random(4000) < 0.3, random.normal(-3, 2, (4000, 3))
    log_scale = random.normal(-3, 1, 4000).clip(max=-1e-3)
    odds = chosen_log_odds(np.exp(log_scale), ratios, log_scale, wrong)
    np.testing.assert_allclose(np.sort(expit(ratios + odds), axis=0)[:3990].mean(axis=0), 0.001, rtol=1e-6)
