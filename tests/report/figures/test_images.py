import numpy as np
import pytest

from gradmeter.errors import InputError
from gradmeter.report.figures import StressRow, gallery, stress
from gradmeter.report.figures.mosaic import mosaic

RANDOM = np.random.default_rng(0)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_mosaic_puts_every_image_in_its_place():
    first, second = RANDOM.random((3, 4, 5)), RANDOM.random((2, 4, 5))
    picture = mosaic([first, second], gap=1, leading=2)
    assert picture.shape == (2 * 4 + 2, 3 * 5 + 2)
    np.testing.assert_array_equal(picture[:4, 6:11], first[1])
    np.testing.assert_array_equal(picture[6:, :5], second[0])
    assert (picture[4:6] == 1).all()
    assert (picture[6:, 11:] == 1).all()


def test_gallery_has_one_named_row_per_concept_and_one_bitmap():
    axes = gallery({"digits": RANDOM.random((3, 28, 28)), "noise": RANDOM.normal(size=(3, 28, 28))}).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["digits", "noise"]
    (image,) = axes.images
    shown = np.asarray(image.get_array())
    assert shown.shape == (2 * 28 + 3, 3 * 28 + 2 * 3)
    assert shown.min() >= 0
    assert shown.max() <= 1


def test_stress_writes_each_class_under_its_image():
    images = RANDOM.random((2, 28, 28))
    left, right = stress([StressRow("digits", images, images[::-1], [3, 8], ["a", "b"])]).axes
    assert (texts(left), texts(right)) == (["3", "8"], ["a", "b"])
    np.testing.assert_array_equal(np.asarray(left.images[0].get_array())[:28, :28], images[0])
    np.testing.assert_array_equal(np.asarray(right.images[0].get_array())[:28, :28], images[1])
    below = [text.get_position()[1] for text in left.texts]
    assert min(below) > 28


@pytest.mark.parametrize(
    ("concepts", "match"),
    [
        ({}, "concepts"),
        ({"digits": np.zeros((28, 28))}, r"'digits' .*\(28, 28\)"),
        ({"digits": np.zeros((0, 28, 28))}, r"'digits' .*\(0, 28, 28\)"),
        ({"digits": np.full((1, 28, 28), np.nan)}, "'digits' .*NaN"),
        ({"a": np.zeros((1, 28, 28)), "b": np.zeros((1, 32, 32))}, r"\[\(28, 28\), \(32, 32\)\]"),
    ],
)
def test_bad_images_are_named(concepts, match):
    with pytest.raises(InputError, match=match):
        gallery(concepts)


def test_bad_stress_rows_are_named():
    images = np.zeros((2, 28, 28))
    with pytest.raises(InputError, match="StressRow"):
        stress([])
    with pytest.raises(InputError, match=r"'digits' .*\b2\b.*\b1\b"):
        stress([StressRow("digits", images, images, [1, 2], [1])])
