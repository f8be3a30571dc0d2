import re

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy.special import expit, logit

from gradmeter.errors import InputError
from gradmeter.report.figures import distributions
from gradmeter.report.figures.style import GROUPS


def histogram(axes):
    """Heights of a row, and the edges of its bins as probabilities."""
    (stairs,) = axes.patches
    heights, edges, _ = stairs.get_data()
    return heights, expit(edges)


def bin_of(axes, value):
    return int(np.searchsorted(histogram(axes)[1], value)) - 1


def test_every_row_is_a_histogram_as_high_as_the_others():
    figure = distributions({"right": [0.6] * 4 + [0.98] * 8, "wrong": [0.3]})
    first, second = figure.axes
    heights, _ = histogram(first)
    assert heights[bin_of(first, 0.6)] == 0.5
    assert heights[bin_of(first, 0.98)] == 1
    assert heights.sum() == 1.5
    heights, _ = histogram(second)
    assert heights[bin_of(second, 0.3)] == heights.sum() == 1


def test_what_is_nearly_certain_is_drawn_at_the_edges():
    heights, edges = histogram(distributions({"right": [0.0, 1e-9, 0.5, 1 - 1e-9, 1.0, 1.0]}).axes[0])
    np.testing.assert_allclose(edges[[0, -1]], [0.001, 0.999])
    np.testing.assert_allclose(heights[[0, -1]], [2 / 3, 1])
    assert heights.sum() == pytest.approx(2)


def test_rows_have_names_sizes_and_colours():
    figure = distributions({name: np.full(1234, 0.5) for name in ("letters", "right", "noise", "wrong")})
    names = [axes.get_ylabel() for axes in figure.axes]
    assert names == [f"{name}\n1,234" for name in ("letters", "right", "noise", "wrong")]
    letters, right, noise, wrong = (to_hex(axes.patches[0].get_facecolor()) for axes in figure.axes)
    assert (right, wrong) == (GROUPS["correct"], GROUPS["wrong"])
    assert len({letters, right, noise, wrong}) == 4


def test_more_concepts_than_colours():
    assert len(distributions({f"concept {number}": [0.5] for number in range(20)}).axes) == 20


def test_the_axis_is_in_log_odds_and_labelled_in_probabilities():
    axes = distributions({"right": [0.5], "wrong": [0.5]}).axes[-1]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    np.testing.assert_allclose(axes.get_xticks(), logit([float(label) for label in labels]))
    assert labels == ["0.001", "0.01", "0.1", "0.5", "0.9", "0.99", "0.999"]
    assert axes.get_xlabel() == "P(correct)"


@pytest.mark.parametrize(("threshold", "place"), [(0.8, 0.8), (0.0, 0.001), (1.0, 0.999)])
def test_a_threshold_is_marked_in_every_row(threshold, place):
    figure = distributions({"right": [0.9, 0.95], "wrong": [0.2]}, threshold)
    for axes in figure.axes:
        (line,) = axes.get_lines()
        np.testing.assert_allclose(line.get_xdata(), logit(place))
    assert figure.axes[-1].get_xlabel() == "P(correct); right of the dashed line: accepted if familiar"


@pytest.mark.parametrize(
    "groups", [{}, {"right": []}, {"right": [0.5], "wrong": [1.1]}, {"right": [-0.1]}, {"right": [np.nan, 0.5]}]
)
def test_bad_groups_are_named(groups):
    with pytest.raises(InputError, match=re.escape(str(list(groups)))):
        distributions(groups)
