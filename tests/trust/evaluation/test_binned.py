"""Binned measures against scikit-learn on all samples."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from gradmeter import InputError
from gradmeter.trust.evaluation.binned import AUPR, AUROC, BINS, FPR95, GroupedScores, ScoreCounts


def counted(scores: np.ndarray, outside: np.ndarray, groups: np.ndarray) -> GroupedScores:
    counts = GroupedScores()
    for group in np.unique(groups):
        counts.add(int(group), ScoreCounts.of(scores[groups == group], outside[groups == group]))
    return counts


def oracle(scores: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    false, true, _ = roc_curve(outside, scores, drop_intermediate=False)
    return {
        AUROC: roc_auc_score(outside, scores),
        AUPR: average_precision_score(outside, scores),
        FPR95: false[np.argmax(true >= 0.95 - 1e-12)],
    }


DISTRIBUTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "normal": lambda normal: normal,
    "heavy tails": lambda normal: np.sinh(9 * normal),
    "near one": lambda normal: -np.exp(-3 * normal - 8),
    "within 1e-6": lambda normal: 3 + 1e-7 * normal,
    "two clusters": lambda normal: np.where(normal < 1, 1e-9 * normal, 1e6 + 1e-3 * normal),
    "infinities": lambda normal: np.where(abs(normal) < 2, normal, np.inf * normal),
    "another scale in each group": lambda normal: normal + 1000 * (np.arange(len(normal)) // 20_000),
}


@pytest.mark.parametrize("share", [0.3, 0.0005])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_many_scores_are_close_to_scikit_learn(distribution: Callable[[np.ndarray], np.ndarray], share: float) -> None:
    random = np.random.default_rng(3)
    outside = random.random(200_000) < share
    scores = distribution(random.normal(size=200_000) + 1.5 * outside)
    measures = counted(scores, outside, np.arange(200_000) // 20_000).histograms().measures()
    # Ranks, because scikit-learn refuses infinities.
    for name, value in oracle(np.unique(scores, return_inverse=True)[1], outside).items():
        assert measures[name][0] == pytest.approx(value, abs=3e-4)


def test_the_bound_holds_where_every_bin_is_in_the_wrong_order() -> None:
    # In each run of 49 scores, those outside lie above those inside, so that merging a run loses its whole order.
    random = np.random.default_rng(0)
    place = np.arange(400_000)
    outside = place % 49 < 24
    scores = 10.0 * (place // 49) + outside + 1e-3 * random.random(len(place))
    measures = counted(scores, outside, np.zeros(len(place), int)).histograms().measures()
    assert abs(measures[AUROC][0] - roc_auc_score(outside, scores)) < 32 / BINS


@given(st.data())
def test_few_scores_are_exact(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 40))
    # Small integers have few significant bits, so that equal bins are equal scores.
    scores = np.array(data.draw(st.lists(st.integers(-6, 6), min_size=size, max_size=size)), float)
    outside = np.array([True, False, *data.draw(st.lists(st.booleans(), min_size=size - 2, max_size=size - 2))])
    groups = np.array(data.draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    histograms = counted(scores, outside, groups).histograms()
    measures = histograms.measures()
    for name, value in oracle(scores, outside).items():
        assert measures[name][0] == pytest.approx(value, abs=1e-12)
    # Weighting groups is repeating their samples.
    weights = np.array(data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4)))
    repeated = np.repeat(np.arange(size), weights[groups])
    weighted = histograms.measures(weights[None, : len(histograms.inside)])
    if len({*outside[repeated]}) < 2:
        assert np.isnan(weighted[AUROC][0])
    else:
        for name, value in oracle(scores[repeated], outside[repeated]).items():
            assert weighted[name][0] == pytest.approx(value, abs=1e-12)


def test_the_bins_are_bounded_and_keep_rare_samples_apart() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=50_000)
    outside = np.arange(50_000) < 100
    scores[:100] += 4
    histograms = counted(scores, outside, np.zeros(50_000, int)).histograms(200)
    assert histograms.inside.shape[1] <= 202
    assert histograms.outside.astype(bool).sum() > 40
    assert (histograms.inside.sum(), histograms.outside.sum()) == (49_900, 100)


def test_negative_zero_is_zero() -> None:
    counts = GroupedScores()
    counts.add(0, ScoreCounts.of([0.0, -0.0], np.array([True, False])))
    assert counts.histograms().measures()[AUROC][0] == 0.5


def test_wrong_samples() -> None:
    with pytest.raises(InputError, match="no scores"):
        GroupedScores().histograms()
    with pytest.raises(InputError, match="NaN"):
        ScoreCounts.of([np.nan], np.array([True]))
    with pytest.raises(InputError, match="float64"):
        ScoreCounts.of([1.0], np.array([1.0]))
