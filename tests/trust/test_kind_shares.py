import numpy as np
import pytest
from scipy.special import expit

from gradmeter.trust.kind_shares import kind_log_odds, tolerated_loss, unknown_log_odds

RANDOM = np.random.default_rng(0)
# Three kinds: far from known inputs, closer, and close.
RATIOS = np.stack([RANDOM.normal(mean, 1.5, 4000) for mean in (-12, -5, 0)], axis=1)


def lost(ratios: np.ndarray, odds: np.ndarray, left_out: int) -> float:
    """Return the average loss of known inputs without the largest losses."""
    loss = np.sort(expit(unknown_log_odds(ratios, odds)))
    return float(loss[: len(loss) - left_out].mean())


@pytest.mark.parametrize("loss", [1e-4, 1e-3, 1e-2])
def test_known_inputs_lose_the_tolerated_share(loss: float) -> None:
    odds = kind_log_odds(RATIOS, loss)
    assert lost(RATIOS, odds, int(loss / 4 * 4000)) == pytest.approx(loss, rel=1e-6)
    # Kinds that are easier to separate from known inputs get larger shares.
    assert odds[0] > odds[1] + 3 > odds[2] + 6


@pytest.mark.parametrize("loss", [1e-4, 1e-3, 5e-3])
def test_each_kind_alone_costs_them_the_same(loss: float) -> None:
    odds = kind_log_odds(RATIOS, loss)
    alone = expit(np.sort(RATIOS + odds, axis=0)[: 4000 - int(loss / 4 * 4000)]).mean(axis=0)
    np.testing.assert_allclose(alone, alone.mean(), rtol=0.05)


def test_a_kind_that_is_easy_to_separate_may_be_arbitrarily_common() -> None:
    """The shares of the other kinds do not change."""
    farther = RATIOS - np.array([15, 0, 0])
    np.testing.assert_allclose(
        kind_log_odds(farther, 1e-3), kind_log_odds(RATIOS, 1e-3) + np.array([15, 0, 0]), rtol=1e-6
    )


def test_kinds_that_resemble_the_same_inputs_cost_less_together() -> None:
    one, many = RATIOS[:, 1:2], np.repeat(RATIOS[:, 1:2], 14, axis=1)
    odds = kind_log_odds(many, 1e-3)
    np.testing.assert_allclose(odds, odds[0])
    np.testing.assert_allclose(odds[0] + np.log(14), kind_log_odds(one, 1e-3), rtol=1e-6)


def test_equal_ratios() -> None:
    odds = kind_log_odds(np.full((100, 2), 3.0), 0.01)
    np.testing.assert_allclose(expit(unknown_log_odds(np.full((100, 2), 3.0), odds)), 0.01)


def test_one_outlier_of_many_has_little_influence() -> None:
    odd = RATIOS.copy()
    odd[7] = 30
    np.testing.assert_allclose(kind_log_odds(odd, 5e-3), kind_log_odds(RATIOS, 5e-3), atol=0.1)


def test_no_outlier_is_left_out_of_few_inputs() -> None:
    few = RATIOS[:200].copy()
    few[7] = 30
    assert (kind_log_odds(few, 5e-4) < kind_log_odds(RATIOS[:200], 5e-4) - 5).any()


def test_the_odds_follow_bayes_rule() -> None:
    shares, ratios = np.array([0.02, 0.005, 0.001]), RATIOS[:50]
    np.testing.assert_allclose(np.exp(unknown_log_odds(ratios, np.log(shares))), np.exp(ratios) @ shares)


def test_the_odds_are_limited() -> None:
    """Two outliers, with a gap to all other inputs, do not make the odds infinite."""
    ratios = np.full((200, 1), -1000.0)
    ratios[:2] = 30
    assert abs(kind_log_odds(ratios, 0.01)[0]) <= 30
    assert kind_log_odds(ratios[2:], 0.01)[0] == 30


@pytest.mark.parametrize(
    ("wrong", "count", "loss"),
    [(0, 200, 0.1 / 201), (2, 200, 0.5 / 201), (110, 20_000, 22.1 / 20_001), (46, 200, 0.01), (5000, 20_000, 0.01)],
)
def test_the_tolerated_loss_follows_the_error_rate(wrong: int, count: int, loss: float) -> None:
    """The tolerated loss is a share of the error rate, and limited."""
    assert tolerated_loss(np.arange(count) < wrong) == pytest.approx(loss)


@pytest.mark.parametrize("seed", range(5))
def test_the_ranking_of_wrong_predictions_suffers_little(seed: int) -> None:
    """This holds for a network with few errors and for uninformative ratios."""
    random = np.random.default_rng(seed)
    odds = random.normal(-7, 2.5, 20_000)
    wrong = random.random(20_000) < expit(odds)
    ratios = random.normal(-4, 3, (20_000, 14))
    known = expit(-unknown_log_odds(ratios, kind_log_odds(ratios, tolerated_loss(wrong))))
    order = {name: (-p).argsort() for name, p in (("softmax", expit(-odds)), ("both", expit(-odds) * known))}
    risk = {name: float((wrong[at].cumsum() / np.arange(1, 20_001)).mean()) for name, at in order.items()}
    assert risk["both"] < 1.35 * risk["softmax"]
