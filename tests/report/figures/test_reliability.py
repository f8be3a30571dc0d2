import re

import numpy as np
import pytest

from gradmeter.errors import InputError
from gradmeter.report.figures import reliability
from gradmeter.trust.evaluation import reliability as measured

RANDOM = np.random.default_rng(0)
STATED = RANDOM.random(3000)
LARGE = measured(STATED, RANDOM.random(3000) < STATED**2)
SMALL = measured([0.2, 0.2, 0.2, 0.9], np.array([True, False, False, True]))


def lines(axes):
    """The methods of a panel, without the diagonal, which comes first."""
    return axes.get_lines()[1:]


def test_dots_lie_where_they_were_measured_and_are_as_large_as_their_share():
    axes = reliability({"Known": {"ours": LARGE, "softmax": SMALL}}).axes[0]
    for dots, line, bins in zip(axes.collections, lines(axes), (LARGE, SMALL), strict=True):
        expected = np.column_stack([bins.predicted, bins.observed])
        np.testing.assert_array_equal(dots.get_offsets(), expected)
        np.testing.assert_array_equal(line.get_xydata(), expected)
        np.testing.assert_allclose(dots.get_sizes() / dots.get_sizes().sum(), bins.weight)
    np.testing.assert_allclose(axes.collections[1].get_offsets(), [[0.2, 1 / 3], [0.9, 1]])
    diagonal = axes.get_lines()[0].get_xydata()
    assert diagonal.tolist() == [[0, 0], [1, 1]]


def test_panels_are_named():
    figure = reliability({"Known": {"ours": LARGE}, "Known and unknown": {"ours": SMALL}})
    assert [axes.get_title() for axes in figure.axes] == ["Known", "Known and unknown"]
    assert [axes.get_xlabel() for axes in figure.axes] == ["predicted probability"] * 2
    assert [axes.get_ylabel() for axes in figure.axes] == ["share of correct predictions", ""]
    assert {(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes} == {((0, 1), (0, 1))}


def test_a_method_keeps_its_colour_and_is_named_once_whatever_panel_it_is_in():
    figure = reliability({"Known": {"softmax": LARGE}, "All": {"ours": SMALL, "softmax": SMALL}})
    known, both = (lines(axes) for axes in figure.axes)
    assert known[0].get_color() == both[1].get_color() != both[0].get_color()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["softmax", "ours"]
    assert [handle.get_color() for handle in legend.get_lines()] == [both[1].get_color(), both[0].get_color()]


@pytest.mark.parametrize("panels", [{}, {"Known": {}}])
def test_nothing_to_draw(panels):
    with pytest.raises(InputError, match=re.escape(str(list(panels)))):
        reliability(panels)
