import numpy as np
import pandas as pd
import pytest
import scikit_posthocs
from scipy import stats

from gradmeter.research.ood_benchmark.real.ranks import holm, rank

RANDOM = np.random.default_rng(0)
# Rounded, so that there are ties.
VALUES = {
    name: list((RANDOM.normal(size=12) + shift).round(1)) for name, shift in zip("abcd", (0, 0.4, 0.8, 2), strict=True)
}


def test_against_scipy_and_scikit_posthocs() -> None:
    ranks = rank(VALUES, "c")
    friedman = stats.friedmanchisquare(*VALUES.values())
    assert ranks.statistic == pytest.approx(friedman.statistic)
    assert ranks.p_value == pytest.approx(friedman.pvalue)
    table = np.array(list(VALUES.values())).T
    expected = stats.rankdata(-table, axis=1).mean(axis=0)
    assert ranks.mean == pytest.approx(dict(zip(VALUES, expected, strict=True)))
    assert list(ranks.mean) == sorted(ranks.mean, key=lambda name: ranks.mean[name])
    assert ranks.blocks == 12
    conover = scikit_posthocs.posthoc_conover_friedman(pd.DataFrame(VALUES))
    others = ["a", "b", "d"]
    adjusted = holm(conover.loc["c", others].to_numpy())
    assert [ranks.against[name] for name in others] == pytest.approx(list(adjusted))


def test_holm() -> None:
    # By hand: 3 * 0.01, 2 * 0.02 and 1 * 0.03, which must not fall below 0.04.
    assert list(holm(np.array([0.03, 0.01, 0.02]))) == pytest.approx([0.04, 0.03, 0.04])
    assert list(holm(np.array([0.9, 0.8]))) == [1, 1]


def test_equal_ranks_in_all_blocks() -> None:
    ranks = rank({"a": [1.0, 1.0, 1.0], "b": [0.0, 0.0, 0.0]}, "a")
    assert ranks.mean == {"a": 1, "b": 2}
    assert ranks.against == {"b": 0.0}
    equal = rank({"a": [1.0, 1.0, 1.0], "b": [1.0, 1.0, 1.0]}, "a")
    assert (equal.statistic, equal.p_value) == (0, 1)
    assert equal.against == {"b": 1.0}
