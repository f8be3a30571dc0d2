import numpy as np
import pytest
from scipy.spatial import cKDTree
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from gradmeter.errors import InputError
from gradmeter.report.figures import precision_recall, risk_coverage, roc

RANDOM = np.random.default_rng(0)
TRUTH = RANDOM.random(20_000) < 0.3
SCORE = RANDOM.normal(size=20_000) + 1.5 * TRUTH


def drawn(axes):
    """The curves of a panel, without the diagonal."""
    return [line.get_xydata() for line in axes.get_lines() if len(line.get_xydata()) > 2]


def test_roc_is_thinned_without_a_visible_change():
    x, y, _ = roc_curve(TRUTH, SCORE)
    axes = roc({"wrong": {"softmax": (x, y)}}).axes[0]
    (line,) = drawn(axes)
    assert len(line) < 1000 < len(x)
    np.testing.assert_array_equal(line[[0, -1]], [[x[0], y[0]], [x[-1], y[-1]]])
    assert auc(*line.T) == pytest.approx(auc(x, y), abs=5e-4)
    distances, _ = cKDTree(line).query(np.column_stack([x, y]), p=np.inf)
    assert 0 < distances.max() <= 1 / 400


def test_precision_recall_keeps_axes_and_panels_apart():
    precision, recall, _ = precision_recall_curve(TRUTH, SCORE)
    figure = precision_recall({title: {"softmax": (recall, precision)} for title in ("wrong", "letters", "noise")})
    assert [axes.get_title() for axes in figure.axes] == ["wrong", "letters", "noise"]
    assert figure.axes[0].get_ylabel() == "precision"
    assert all(axes.get_xlabel() == "recall" for axes in figure.axes)
    assert drawn(figure.axes[0])[0][0].tolist() == [recall[0], precision[0]]


def test_a_score_keeps_its_colour_in_every_panel():
    x = np.linspace(0, 1, 5)
    panels = {"wrong": {"softmax": (x, x), "LASSO": (x, x)}, "noise": {"LASSO": (x, x)}}
    figure = roc(panels)
    first, second = (
        [line for line in axes.get_lines() if len(line.get_xydata()) > 2][-1].get_color() for axes in figure.axes
    )
    assert first == second
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["softmax", "LASSO"]


def test_risk_and_coverage_are_in_percent():
    axes = risk_coverage({"softmax": ([0.1, 0.5, 1.0], [0.0, 0.01, 0.02])}).axes[0]
    np.testing.assert_allclose(drawn(axes)[0], [[10, 0], [50, 1], [100, 2]])
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["softmax"]


@pytest.mark.parametrize(
    ("curves", "match"),
    [
        ({}, r"\[\]"),
        ({"wrong": {}}, r"\['wrong'\]"),
        ({"wrong": {"softmax": ([0, 1], [0, 1, 1])}}, r"'softmax' .*\(2,\) .*\(3,\)"),
        ({"wrong": {"softmax": ([0, 1], [0, np.nan])}}, "'softmax' .*NaN"),
    ],
)
def test_bad_curves_are_named(curves, match):
    with pytest.raises(InputError, match=match):
        roc(curves)


def test_no_risk_coverage_curve_is_an_error():
    with pytest.raises(InputError):
        risk_coverage({})
