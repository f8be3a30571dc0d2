import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix_at_thresholds

from gradmeter.evaluation.thresholds import accepted_counts


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
