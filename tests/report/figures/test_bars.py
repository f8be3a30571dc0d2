import pytest

from gradmeter.errors import InputError
from gradmeter.report.figures import bars

# Layers of an nn.Sequential are named by numbers; they must not be sorted.
VALUES = {"10": (4.0, 0.5), "entropy": (1.5, 0.25), "2": (-0.5, 1.0)}


def test_bars_are_as_long_as_their_values_and_stand_in_order_from_the_top():
    axes = bars(VALUES, "points of AUROC").axes[0]
    assert [bar.get_width() for bar in axes.patches] == [4.0, 1.5, -0.5]
    assert [bar.get_y() + bar.get_height() / 2 for bar in axes.patches] == pytest.approx([0, 1, 2])
    assert [label.get_text() for label in axes.get_yticklabels()] == list(VALUES)
    assert axes.yaxis_inverted()
    assert axes.get_xlabel() == "points of AUROC"


def test_names_are_no_formulas_and_cannot_turn_the_text():
    figure = bars({r"$\foo$": (1.0, 0.0), "\u202eevil": (0.5, 0.0)}, "")
    figure.draw_without_rendering()
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == [r"\$\foo\$", r"\u202eevil"]


def test_a_spread_reaches_to_both_sides_of_its_bar():
    (spreads,) = bars(VALUES, "").axes[0].collections
    ends = [segment[:, 0].tolist() for segment in spreads.get_segments()]
    assert ends == [[3.5, 4.5], [1.25, 1.75], [-1.5, 0.5]]


def test_more_bars_make_a_taller_figure():
    few, many = (bars({str(number): (1.0, 0.0) for number in range(count)}, "") for count in (1, 15))
    assert many.get_figheight() > few.get_figheight() + 3


def test_no_bars():
    with pytest.raises(InputError):
        bars({}, "loss")
