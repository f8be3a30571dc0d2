import numpy as np
import pytest

from gradmeter.errors import InputError
from gradmeter.report.figures import heatmap

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (12, 16, 3), np.uint8)
VALUES = 10.0 ** RANDOM.uniform(-4, 2, (6, 8))


def scale(figure, number):
    """The exponents at the ends of the scale of a map."""
    return figure.axes[number].images[-1].get_clim()


def labels(figure):
    """The numbers at the scale of the first map, when the figure is drawn."""
    figure.draw_without_rendering()
    return [label.get_text() for label in figure.axes[2].get_xticklabels()]


def test_an_image_and_its_maps_show_the_same_view():
    figure = heatmap(IMAGE, {"one": VALUES, "two": VALUES.T})
    panels = figure.axes[:3]
    assert [axes.get_title() for axes in panels] == ["image", "one", "two"]
    assert {tuple(image.get_extent()) for axes in panels for image in axes.images} == {(0, 16, 12, 0)}
    np.testing.assert_allclose(10 ** panels[1].images[-1].get_array(), VALUES.clip(*np.percentile(VALUES, (1, 99))))


def test_a_scale_is_logarithmic_and_shows_values():
    figure = heatmap(IMAGE, {"one": VALUES}, limits=(0.01, 100))
    assert scale(figure, 1) == pytest.approx((-2, 2))
    assert labels(figure) == ["0.01", "0.1", "1", "10", "100"]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ((0.018, 1), ["0.03", "0.1", "0.3", "1"]),
        ((0.4, 4), ["0.5", "1", "2"]),
        ((0.56, 0.95), ["0.6", "0.7", "0.8", "0.9"]),
        ((0.91, 0.99), ["0.91", "0.949", "0.99"]),
        ((1e-12, 1), ["1e-12", "1e-10", "1e-08", "1e-06", "0.0001", "0.01", "1"]),
    ],
)
def test_a_scale_has_a_few_round_numbers(limits, expected):
    assert labels(heatmap(IMAGE, {"one": VALUES}, limits=limits)) == expected


def test_the_image_and_its_map_are_at_the_same_height():
    figure = heatmap(IMAGE, {"one": VALUES})
    figure.draw_without_rendering()
    tops, bottoms = zip(*((axes.get_position().y1, axes.get_position().y0) for axes in figure.axes[:2]), strict=True)
    assert tops[0] == pytest.approx(tops[1])
    assert bottoms[0] == pytest.approx(bottoms[1])


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_equal_values(value):
    low, high = scale(heatmap(IMAGE, {"one": np.full((3, 4), value)}), 1)
    assert high - low == pytest.approx(1)


def test_zeros_do_not_stretch_the_scale():
    values = VALUES.copy()
    values[:3] = 0
    low, high = scale(heatmap(IMAGE, {"one": values}), 1)
    assert high - low == pytest.approx(12)


def test_a_grey_image():
    assert len(heatmap(IMAGE[..., 0], {"one": VALUES}).axes) == 3


@pytest.mark.parametrize(
    ("maps", "limits"),
    [
        ({}, None),
        ({"one": -VALUES}, None),
        ({"one": VALUES * np.nan}, None),
        ({"one": VALUES[0]}, None),
        ({"one": VALUES}, (0.0, 1.0)),
        ({"one": VALUES}, (2.0, 1.0)),
    ],
)
def test_invalid_maps_and_limits(maps, limits):
    with pytest.raises(InputError):
        heatmap(IMAGE, maps, limits=limits)
