import numpy as np
import pytest
from scipy.special import expit

from gradmeter.trust.kind_shares import kind_log_odds, tolerated_loss, unknown_log_odds

RANDOM = np.random.default_rng(0)
# Far from known inputs, nearer, and hardly told from them.
RATIOS = np.stack([RANDOM.normal(mean, 1.5, 4000) for mean in (-12, -5, 0)], axis=1)


def lost(ratios: np.ndarray, odds: np.ndarray, left_out: int) -> float:
    """What known inputs lose, all but the oddest."""
    loss = np.sort(expit(unknown_log_odds(ratios, odds)))
    return float(loss[: len(loss) - left_out].mean())


@pytest.mark.parametrize("loss", [1e-4, 1e-3, 1e-2])
def test_known_inputs_lose_what_they_may(loss: float) -> None:
    odds = kind_log_odds(RATIOS, loss)
    assert lost(RATIOS, odds, int(loss / 4 * 4000)) == pytest.approx(loss, rel=1e-6)
    # What can be told from known inputs may be expected the more often.
    assert odds[0] > odds[1] + 3 > odds[2] + 6


@pytest.mark.parametrize("loss", [1e-4, 1e-3, 5e-3])
def test_each_kind_alone_costs_them_the_same(loss: float) -> None:
    odds = kind_log_odds(RATIOS, loss)
    alone = expit(np.sort(RATIOS + odds, axis=0)[: 4000 - int(loss / 4 * 4000)]).mean(axis=0)
    np.testing.assert_allclose(alone, alone.mean(), rtol=0.05)


def test_a_kind_that_is_easily_told_may_be_as_common_as_it_will() -> None:
    """The others' shares do not suffer."""
    farther = RATIOS - np.array([15, 0, 0])
    np.testing.assert_allclose(
        kind_log_odds(farther, 1e-3), kind_log_odds(RATIOS, 1e-3) + np.array([15, 0, 0]), rtol=1e-6
    )


def test_kinds_that_are_odd_to_the_same_inputs_cost_less_together() -> None:
    one, many = RATIOS[:, 1:2], np.repeat(RATIOS[:, 1:2], 14, axis=1)
    odds = kind_log_odds(many, 1e-3)
    np.testing.assert_allclose(odds, odds[0])
    np.testing.assert_allclose(odds[0] + np.log(14), kind_log_odds(one, 1e-3), rtol=1e-6)


def test_ratios_that_are_all_the_same() -> None:
    odds = kind_log_odds(np.full((100, 2), 3.0), 0.01)
    np.testing.assert_allclose(expit(unknown_log_odds(np.full((100, 2), 3.0), odds)), 0.01)


def test_one_odd_input_of_many_does_not_decide() -> None:
    odd = RATIOS.copy()
    odd[7] = 30
    np.testing.assert_allclose(kind_log_odds(odd, 5e-3), kind_log_odds(RATIOS, 5e-3), atol=0.1)


def test_of_few_inputs_none_is_odd() -> None:
    few = RATIOS[:200].copy()
    few[7] = 30
    assert (kind_log_odds(few, 5e-4) < kind_log_odds(RATIOS[:200], 5e-4) - 5).any()


def test_the_odds_are_bayes() -> None:
    shares, ratios = np.array([0.02, 0.005, 0.001]), RATIOS[:50]
    np.testing.assert_allclose(np.exp(unknown_log_odds(ratios, np.log(shares))), np.exp(ratios) @ shares)


def test_no_kind_is_taken_for_certain() -> None:
    """Two odd inputs, and nothing between them and the rest."""
    ratios = np.full((200, 1), -1000.0)
    ratios[:2] = 30
    assert abs(kind_log_odds(ratios, 0.01)[0]) <= 30
    assert kind_log_odds(ratios[2:], 0.01)[0] == 30


@pytest.mark.parametrize(
    ("wrong", "count", "loss"),
    [(0, 200, 0.1 / 201), (2, 200, 0.5 / 201), (110, 20_000, 22.1 / 20_001), (46, 200, 0.01), (5000, 20_000, 0.01)],
)
def test_what_they_may_lose_follows_the_errors(wrong: int, count: int, loss: float) -> None:
    """Of which a network with few has few to rank."""
    assert tolerated_loss(np.arange(count) < wrong) == pytest.approx(loss)


@pytest.mark.parametrize("seed", range(5))
def test_the_ranking_of_wrong_predictions_suffers_by_little_more_than_it_may(seed: int) -> None:
    """Also of a network with few of them, and by ratios that know nothing of anything."""
    random = np.random.default_rng(seed)
    odds = random.normal(-7, 2.5, 20_000)
    wrong = random.random(20_000) < expit(odds)
    ratios = random.normal(-4, 3, (20_000, 14))
    known = expit(-unknown_log_odds(ratios, kind_log_odds(ratios, tolerated_loss(wrong))))
    order = {name: (-p).argsort() for name, p in (("softmax", expit(-odds)), ("both", expit(-odds) * known))}
    risk = {name: float((wrong[at].cumsum() / np.arange(1, 20_001)).mean()) for name, at in order.items()}
    assert risk["both"] < 1.35 * risk["softmax"]
