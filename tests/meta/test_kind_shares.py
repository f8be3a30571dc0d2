import numpy as np
import pytest
from scipy.special import expit, logit, logsumexp

from gradmeter.meta import kind_shares
from gradmeter.meta.kind_shares import kind_log_odds

RANDOM = np.random.default_rng(0)
# Far from known inputs, nearer, and hardly told from them.
RATIOS = np.stack([RANDOM.normal(mean, 1.5, 4000) for mean in (-12, -5, 0)], axis=1)


@pytest.fixture
def no_outliers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kind_shares, "_OUTLIERS", 0.0)


@pytest.mark.usefixtures("no_outliers")
@pytest.mark.parametrize("loss", [1e-4, 1e-3, 1e-2])
def test_each_kind_costs_known_inputs_the_same(loss: float) -> None:
    odds = kind_log_odds(RATIOS, loss, 0.9999)
    np.testing.assert_allclose(expit(RATIOS + odds).mean(axis=0), loss, rtol=1e-6)
    # What can be told from known inputs may be expected the more often.
    assert odds[0] > odds[1] + 3 > odds[2] + 6


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25])
def test_together_they_are_no_more_than_allowed(share: float) -> None:
    free, cut = kind_log_odds(RATIOS, 1e-3, 0.9999), kind_log_odds(RATIOS, 1e-3, share)
    assert expit(logsumexp(cut)) == pytest.approx(share)
    # The commonest are cut to the same; the others keep theirs.
    level = cut.max()
    np.testing.assert_allclose(cut, free.clip(max=level))


def test_where_there_is_room_nothing_is_cut() -> None:
    odds = kind_log_odds(RATIOS, 1e-6, 0.25)
    assert expit(logsumexp(odds)) < 0.25
    assert len({*odds}) == 3


def test_all_kinds_alike_and_cut() -> None:
    """The level to cut at is then that of all, to the last digit."""
    odds = kind_log_odds(np.repeat(RATIOS[:, :1], 14, axis=1), 0.01, 0.1)
    np.testing.assert_allclose(odds, logit(0.1) - np.log(14), rtol=1e-6)


def test_ratios_that_are_all_the_same() -> None:
    np.testing.assert_allclose(kind_log_odds(np.full((100, 1), 3.0), 0.01, 0.5), logit(0.01) - 3)


def test_one_odd_input_does_not_decide() -> None:
    odd = RATIOS.copy()
    odd[7] = 30
    np.testing.assert_allclose(kind_log_odds(odd, 1e-4, 0.9), kind_log_odds(RATIOS, 1e-4, 0.9), atol=0.1)


def test_of_few_inputs_none_is_odd() -> None:
    few = RATIOS[:200].copy()
    few[7] = 30
    assert (kind_log_odds(few, 1e-4, 0.9) < kind_log_odds(RATIOS[:200], 1e-4, 0.9) - 5).any()
