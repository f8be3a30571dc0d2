import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from gradmeter.errors import InputError
from gradmeter.trust.evaluation.curves import (
    Curve,
    area_under_risk_coverage,
    precision_recall,
    risk_coverage,
    roc,
    thin,
)
from gradmeter.trust.evaluation.separation import separation

tied = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=12)
spread = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)
samples = st.one_of(st.tuples(tied, tied), st.tuples(spread, spread))
graded = st.lists(st.tuples(st.integers(0, 5).map(float), st.booleans()), min_size=1, max_size=15)


def labelled(inside, outside):
    return np.repeat([0, 1], [len(inside), len(outside)]), np.concatenate([inside, outside])


@given(samples)
def test_roc_is_that_of_scikit_learn(pair):
    fpr, tpr, _ = roc_curve(*labelled(*pair), drop_intermediate=False)
    curve = roc(*pair)
    np.testing.assert_allclose(curve.x, fpr, atol=1e-15)
    np.testing.assert_allclose(curve.y, tpr, atol=1e-15)
    assert auc(curve.x, curve.y) == pytest.approx(separation(*pair).auroc)


@given(samples)
def test_precision_recall_is_that_of_scikit_learn(pair):
    precision, recall, _ = precision_recall_curve(*labelled(*pair))
    curve = precision_recall(*pair)
    np.testing.assert_allclose(curve.x, recall[::-1], atol=1e-15)
    np.testing.assert_allclose(curve.y, precision[::-1], atol=1e-15)


def test_axes_are_the_usual_ones():
    assert (roc([0.0], [1.0]).x_name, roc([0.0], [1.0]).y_name) == ("false positive rate", "true positive rate")
    assert (precision_recall([0.0], [1.0]).x_name, precision_recall([0.0], [1.0]).y_name) == ("recall", "precision")


@given(graded)
def test_risk_coverage_counts_what_each_threshold_accepts(rows):
    uncertainty, wrong = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    curve = risk_coverage(uncertainty, wrong)
    accepted = [uncertainty <= threshold for threshold in np.unique(uncertainty)]
    np.testing.assert_allclose(curve.x, [np.mean(mask) for mask in accepted])
    np.testing.assert_allclose(curve.y, [np.mean(wrong[mask]) for mask in accepted])
    risk_of_each = [np.mean(wrong[uncertainty <= threshold]) for threshold in uncertainty]
    assert area_under_risk_coverage(uncertainty, wrong) == pytest.approx(np.mean(risk_of_each))


def test_risk_coverage_by_hand():
    curve = risk_coverage([0.3, 0.1, 0.2, 0.3], np.array([True, False, True, False]))
    np.testing.assert_allclose(curve.x, [0.25, 0.5, 1.0])
    np.testing.assert_allclose(curve.y, [0.0, 0.5, 0.5])
    assert area_under_risk_coverage([0.3, 0.1, 0.2, 0.3], np.array([True, False, True, False])) == pytest.approx(0.375)


@pytest.mark.parametrize(
    "wrong", [np.array([0, 1]), np.array([True]), np.array([[True, False]])], ids=["integers", "too few", "2-d"]
)
def test_wrong_must_be_boolean_for_each_sample(wrong):
    with pytest.raises(InputError, match=r"wrong.*\(2,\)"):
        risk_coverage([0.1, 0.2], wrong)


def test_risk_coverage_refuses_no_samples():
    with pytest.raises(InputError, match="uncertainty"):
        area_under_risk_coverage([], np.array([], dtype=bool))


def test_thin_keeps_the_ends_the_order_and_the_shape():
    generator = np.random.default_rng(1)
    curve = roc(generator.normal(size=20_000), generator.normal(4.0, size=20_000))
    thinned = thin(curve, 200)
    assert 100 < thinned.x.size <= 200
    assert (thinned.x[0], thinned.y[0], thinned.x[-1], thinned.y[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert set(zip(thinned.x, thinned.y, strict=True)) <= set(zip(curve.x, curve.y, strict=True))
    assert (np.diff(thinned.x) >= 0).all()
    assert (thinned.x_name, thinned.y_name) == (curve.x_name, curve.y_name)
    # This curve rises almost only at x < 0.05; points evenly spaced along x would lose the area.
    assert auc(thinned.x, thinned.y) == pytest.approx(auc(curve.x, curve.y), abs=1e-3)


def test_thin_leaves_a_short_curve_alone_and_needs_two_points():
    curve = roc([0.0, 1.0], [2.0])
    assert thin(curve, 10) is curve
    ends = thin(roc(np.arange(10.0), np.arange(10.0)), 2)
    np.testing.assert_array_equal(ends.x, [0.0, 1.0])
    with pytest.raises(InputError, match=r"points.*\b2\b"):
        thin(curve, 1)


def test_thin_keeps_the_last_point_of_a_curve_without_length():
    still = Curve(np.full(5, 0.5), np.full(5, 0.25), "x", "y")
    np.testing.assert_array_equal(thin(still, 3).x, [0.5, 0.5])
