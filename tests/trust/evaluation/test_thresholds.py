import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix_at_thresholds

from gradmeter.trust.evaluation.thresholds import Ranking, accepted_counts, counts_of_histograms


def test_counts_by_hand():
    counts = accepted_counts(np.array([0.0, 1.0, 1.0, 5.0]), np.array([1.0, 7.0]))
    np.testing.assert_array_equal(counts.inside, [0, 1, 3, 4, 4])
    np.testing.assert_array_equal(counts.outside, [0, 0, 1, 1, 2])
    rejected = counts.rejected()
    np.testing.assert_array_equal(rejected.inside, [0, 0, 1, 3, 4])
    np.testing.assert_array_equal(rejected.outside, [0, 1, 1, 2, 2])


def test_both_zeros_are_one_threshold_and_huge_scores_do_not_overflow():
    counts = accepted_counts(np.array([-0.0, -1.7e308]), np.array([0.0, 1.7e308]))
    np.testing.assert_array_equal(counts.inside, [0, 1, 2, 2])
    np.testing.assert_array_equal(counts.outside, [0, 0, 1, 2])


tied_scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)


@given(tied_scores, tied_scores)
def test_rejected_counts_are_those_of_scikit_learn(inside, outside):
    labels = np.repeat([0, 1], [len(inside), len(outside)])
    _, fps, _, tps, _ = confusion_matrix_at_thresholds(y_true=labels, y_score=np.array(inside + outside))
    rejected = accepted_counts(np.array(inside), np.array(outside)).rejected()
    np.testing.assert_array_equal(rejected.inside[1:], fps)
    np.testing.assert_array_equal(rejected.outside[1:], tps)


weighted = st.lists(st.tuples(st.integers(-3, 3).map(float), st.booleans(), st.integers(0, 3)), min_size=1, max_size=12)


@given(weighted)
def test_a_weight_counts_as_that_many_samples(weighted):
    scores, outside, weights = map(np.array, zip(*weighted, strict=True))
    ranking = Ranking.of(scores)
    # Histograms of samples in a different order.
    kinds = [np.flatnonzero(outside == kind)[::-1] for kind in (False, True)]
    counts = counts_of_histograms(*(ranking.histogram(samples, weights[samples]) for samples in kinds))
    repeated = [np.repeat(scores[samples], weights[samples]) for samples in kinds]
    if sum(map(len, repeated)) == 0:
        assert (counts.inside.tolist(), counts.outside.tolist()) == ([0], [0])
        return
    expected = accepted_counts(*repeated)
    np.testing.assert_array_equal(counts.inside, expected.inside)
    np.testing.assert_array_equal(counts.outside, expected.outside)


def test_ranks_by_hand():
    ranking = Ranking.of(np.array([5.0, -1.0, 5.0, 2.0]))
    assert ranking.places == 3
    assert ranking.place.tolist() == [2, 0, 2, 1]
    assert ranking.histogram(np.array([0, 2, 3]), np.array([1, 4, 2])).tolist() == [0, 2, 5]


def test_neighbouring_ranks_are_merged_beyond_a_limit():
    scores = np.random.default_rng(0).permutation(1003).astype(float)
    one_group = np.zeros(1003, np.int64)
    ranking = Ranking.of(scores).coarse(100, one_group)
    assert ranking.places == 100
    assert (np.diff(ranking.place[np.argsort(scores)]) >= 0).all()
    assert set(np.bincount(ranking.place)) == {10, 11}
    assert Ranking.of(scores).coarse(1003, one_group).places == 1003


def test_samples_of_a_small_group_keep_their_ranks():
    random = np.random.default_rng(0)
    groups = (random.permutation(5000) < 12).astype(np.int64)
    ranking = Ranking.of(random.random(5000)).coarse(100, groups)
    assert ranking.places <= 101
    assert set(np.bincount(ranking.place)[ranking.place[groups == 1]]) == {1}
