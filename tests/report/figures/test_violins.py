import numpy as np
import pytest
from matplotlib.collections import PolyCollection
from scipy.stats import gaussian_kde

from gradmeter.errors import InputError
from gradmeter.report.figures import violins

RANDOM = np.random.default_rng(0)


def bodies(axes):
    """The filled outlines, one per group, in order."""
    return [area for area in axes.collections if isinstance(area, PolyCollection)]


def test_groups_have_the_papers_colours_and_their_names():
    groups = {key: RANDOM.normal(size=50) for key in ("correct", "wrong", "letters", "cifar10", "uniform")}
    axes = violins({"Entropy": groups}, {"letters": "EMNIST letters"}).axes[0]
    hues = [tuple(np.round(body.get_facecolor()[0][:3], 2)) for body in bodies(axes)]
    assert len(set(hues)) == 5
    green, red, blue, grey, purple = hues
    assert max(green) == green[1]
    assert max(red) == red[0]
    assert max(blue) == blue[2]
    assert len(set(grey)) == 1
    assert purple[1] < min(purple[0], purple[2])
    assert [label.get_text() for label in axes.get_xticklabels()] == [
        "correct",
        "wrong",
        "EMNIST letters",
        "CIFAR-10",
        "uniform noise",
    ]


@pytest.mark.parametrize(("sign", "label"), [(1, "value, log scale"), (-1, "-value, log scale")])
def test_one_sign_over_decades_gets_a_logarithmic_axis(sign, label):
    values = sign * 10.0 ** RANDOM.uniform(-6, 0, 5000)
    axes = violins({"Minimum": {"correct": values}}).axes[0]
    assert axes.get_ylabel() == label
    heights = bodies(axes)[0].get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(-6, abs=0.1)
    assert heights.max() == pytest.approx(0, abs=0.1)


def test_values_of_both_signs_or_of_one_decade_stay_linear():
    panels = {"both": {"correct": [-1.0, 0.5, 100.0]}, "narrow": {"correct": RANDOM.uniform(1, 5, 100)}}
    assert [axes.get_ylabel() for axes in violins(panels).axes] == ["value", "value"]


def test_zeros_stand_with_the_smallest_measured_value():
    values = np.concatenate([np.zeros(500), 10.0 ** RANDOM.uniform(-4, 0, 500)])
    axes = violins({"Entropy": {"correct": values}}).axes[0]
    heights = bodies(axes)[0].get_paths()[0].vertices[:, 1]
    assert axes.get_ylabel() == "value, log scale"
    assert -4.1 < heights.min() < -3.9


def test_density_follows_the_gaussian_kernel_estimate_of_scipy():
    values = RANDOM.normal(3, 1, 4000)
    outline = bodies(violins({"score": {"correct": values}}).axes[0])[0].get_paths()[0].vertices
    right = outline[outline[:, 0] > 0]
    expected = gaussian_kde(values)(right[:, 1])
    ours = right[:, 0] / right[:, 0].max()
    middle = np.abs(right[:, 1] - 3) < 2
    np.testing.assert_allclose(ours[middle], (expected / expected.max())[middle], atol=0.04)


def test_of_a_few_values_none_is_cut_off():
    heights = bodies(violins({"score": {"correct": [1.0, 2.0, 3.0]}}).axes[0])[0].get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [1, 3], atol=0.02)


def test_a_group_of_one_value_is_drawn():
    assert len(bodies(violins({"score": {"correct": [2.0], "wrong": [1.0, 3.0]}}).axes[0])) == 2


@pytest.mark.parametrize(
    ("panels", "match"),
    [
        ({}, r"\[\]"),
        ({"Entropy": {}}, r"\['Entropy'\]"),
        ({"Entropy": {"wrong": []}}, "'wrong' of 'Entropy' .*no values"),
        ({"Entropy": {"wrong": [1.0, np.nan]}}, "'wrong' of 'Entropy' .*NaN"),
    ],
)
def test_bad_input_is_named(panels, match):
    with pytest.raises(InputError, match=match):
        violins(panels)
