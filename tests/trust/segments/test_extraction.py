"""Features of segments, compared with loops over pixels and with MetaSeg's definitions by hand."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gradmeter import InputError, PixelReadings
from gradmeter.errors import GradmeterWarning
from gradmeter.trust.segments import segments
from trust.segments import loops

CLASSES = 3
MAPS = st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(0, CLASSES - 1))
)


def assert_like_loops(given: PixelReadings) -> None:
    found = segments(given)
    assert found.mask is not None
    number = 0
    for image, mask in enumerate(found.mask):
        assert {*loops.pixels_of(mask).values()} == loops.components(given.predictions[image].numpy())
        for number, pixels in sorted(loops.pixels_of(mask).items()):
            expected = loops.features(given, image, pixels)
            assert {*found.names} == {*expected}
            in_order = [expected[name] for name in found.names]
            scale = np.abs(in_order).max()
            np.testing.assert_allclose(found.values[number], in_order, rtol=1e-9, atol=1e-13 * max(1.0, scale))
            assert found.image[number] == image
            assert found.size[number] == len(pixels)
    assert number == len(found) - 1


@settings(deadline=None, max_examples=60)
@given(MAPS, st.integers(0, 5))
def test_features_are_those_of_loops_over_pixels(classes: np.ndarray, seed: int) -> None:
    assert_like_loops(loops.readings(classes, CLASSES, seed))


def test_further_pseudo_labels_are_layers_of_their_own() -> None:
    classes = np.random.default_rng(0).integers(0, 3, (1, 4, 5))
    given = loops.readings(classes, 3, further=True)
    assert_like_loops(given)
    assert "gradients/l2/uniform:high/variance_inside" in segments(given).names


def test_features_of_other_pseudo_labels_or_without_biases_are_told_apart() -> None:
    given = loops.readings(np.random.default_rng(0).integers(0, 3, (1, 4, 5)), 3)
    fitted, other = segments(given), segments(replace(given, pseudo_label="uniform"))
    assert "gradients/l2/uniform:high/variance_inside" in other.names
    with pytest.raises(InputError, match="with the same layers, pseudo-labels and biases"):
        other.named(fitted.axes)
    with pytest.raises(InputError, match="with the same layers, pseudo-labels and biases"):
        segments(replace(given, biases=False)).named(fitted.axes)
    both = segments(replace(given, pseudo_label="uniform", further={"predicted": given}))
    np.testing.assert_array_equal(both.named(fitted.axes).values, fitted.values)


def test_a_network_with_one_channel_has_two_classes() -> None:
    logits = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 1, 6, 5)))
    whole = loops.readings((logits[:, 0] > 0).long().numpy(), 2)
    given = PixelReadings(logits, whole.log_scale, whole.layers, whole.values)
    assert_like_loops(given)


def test_metaseg_by_hand() -> None:
    # A segment of 4 x 4 pixels in the upper left corner: the image's edge is no boundary, so that 3 x 3 lie inside.
    classes = np.zeros((1, 6, 6), np.int64)
    classes[0, :4, :4] = 1
    values = torch.zeros(1, 1, 8, 6, 6, dtype=torch.float64)
    values[0, 0, 0, :3, :3] = 1.0
    values[0, 0, 0, 3, :4] = 5.0
    logits = torch.nn.functional.one_hot(torch.from_numpy(classes)).permute(0, 3, 1, 2).double()
    found = segments(PixelReadings(logits, torch.zeros(1, 6, 6), ("head",), values))
    named = dict(zip(found.names, found.values[1], strict=True))
    assert [named[f"shape/{name}"] for name in ("size", "size_inside", "size_boundary")] == [16, 9, 7]
    assert named["shape/size_relative"] == pytest.approx(16 / 7)
    assert named["shape/size_relative_inside"] == pytest.approx(9 / 7)
    l1 = {name.rpartition("/")[2]: value for name, value in named.items() if name.startswith("gradients/l1/")}
    mean, in_boundary = (9 + 4 * 5) / 16, 4 * 5 / 7
    assert l1 == pytest.approx(
        {
            "mean_all": mean,
            "mean_inside": 1,
            "mean_boundary": in_boundary,
            "variance_all": (9 + 4 * 25) / 16 - mean**2,
            "variance_inside": 0,
            "variance_boundary": 4 * 25 / 7 - in_boundary**2,
            "relative": mean * 16 / 7,
            "relative_inside": 9 / 7,
        }
    )
    assert [named[f"neighbours/{name}"] for name in ("0", "1", "edge")] == [0.5, 0, 0.5]
    assert (named["position/y"], named["position/x"]) == pytest.approx((2 / 6, 2 / 6))
    assert (found.prediction.tolist(), found.size.tolist()) == ([0, 1], [20, 16])


def test_a_segment_that_fills_the_image() -> None:
    found = segments(loops.readings(np.zeros((1, 3, 4), np.int64), 2))
    named = dict(zip(found.names, found.values[0], strict=True))
    assert (named["shape/size_relative"], named["neighbours/edge"], named["shape/size_boundary"]) == (12, 1, 0)


def test_tiny_values_inside_are_not_lost_beside_large_ones_at_the_boundary() -> None:
    classes = np.zeros((1, 7, 7), np.int64)
    classes[0, 1:6, 1:6] = 1
    given = loops.readings(classes, 2)
    given.values[:] = 1e8
    given.values[0, :, :, 2:5, 2:5] = 1e-40 * torch.arange(1.0, 10.0, dtype=torch.float64).reshape(3, 3)
    found = segments(given)
    named = dict(zip(found.names, found.values[1], strict=True))
    assert named["gradients/l2/low/mean_inside"] == pytest.approx(5e-40, rel=1e-12, abs=0)
    assert named["gradients/l2/low/variance_inside"] == pytest.approx(20 / 3 * 1e-80, rel=1e-12, abs=0)
    assert named["gradients/l2/low/variance_boundary"] == 0


def test_rounding_errors_of_equal_pixels_are_no_variance() -> None:
    """They are others in another batch, and the smallest variances are the unit of a feature."""
    classes = np.zeros((1, 6, 6), np.int64)
    random = np.random.default_rng(0)
    given = loops.readings(classes, CLASSES)
    equal = given.values[..., :1, :1].expand_as(given.values)
    noise = torch.from_numpy(random.normal(size=given.values.shape))
    for size, is_zero in ((1e-8, True), (1e-5, False)):
        found = segments(replace(given, values=equal * (1 + size * noise)))
        columns = [name.startswith("gradients") and "/variance" in name for name in found.names]
        assert (found.values[:, columns] == 0).all() == is_zero


def test_ground_truth() -> None:
    random = np.random.default_rng(3)
    classes, truth = random.integers(0, 4, (2, 5, 6)), random.choice(5, (2, 5, 6), p=[0.1, 0.1, 0.6, 0.1, 0.1])
    given = loops.readings(classes, 4)
    plain = segments(given)
    assert (plain.adjusted_iou, plain.wrong) == (None, None)
    judged = segments(given, torch.from_numpy(truth), ignore=2)
    assert judged.adjusted_iou is not None
    assert judged.wrong is not None
    assert plain.mask is not None
    assert judged.mask is not None
    expected = [
        loops.adjusted_iou(pixels, classes[image], truth[image], 2)
        for image, mask in enumerate(plain.mask)
        for _, pixels in sorted(loops.pixels_of(mask).items())
    ]
    known = ~np.isnan(expected)
    assert 0 < known.sum() < len(known)
    np.testing.assert_allclose(judged.adjusted_iou, np.array(expected)[known])
    assert judged.wrong.tolist() == (judged.adjusted_iou == 0).tolist()
    # The ground truth leaves segments out, and changes no feature.
    np.testing.assert_array_equal(judged.values, plain.values[known])
    for number, pixels in enumerate(np.flatnonzero(known)):
        assert (judged.mask == number).tolist() == (plain.mask == pixels).tolist()


def test_gradients_can_be_left_out() -> None:
    given = loops.readings(np.random.default_rng(0).integers(0, 3, (2, 6, 6)), 3)
    forward = segments(given, gradients=False)
    assert not any(name.startswith("gradients") for name in forward.names)
    assert forward.axes == segments(given).without_gradients().axes
    np.testing.assert_array_equal(forward.values, segments(given).without_gradients().values)


@pytest.mark.parametrize(
    ("truth", "ignore", "message"),
    [
        (torch.zeros(1, 4, 5).long(), None, r"\(1, 4, 5\)"),
        (torch.zeros(1, 4, 4), None, "float32"),
        (np.zeros((1, 4, 4)), None, "ndarray"),
        (torch.full((1, 4, 4), -1), None, "contains -1"),
        (torch.full((1, 4, 4), -1), 255, "contains -1"),
        (None, 3, "ignore=3"),
    ],
)
def test_wrong_ground_truth(truth: torch.Tensor | None, ignore: int | None, message: str) -> None:
    with pytest.raises(InputError, match=message):
        segments(loops.readings(np.zeros((1, 4, 4), np.int64), 2), truth, ignore)


def test_pixels_without_a_label_that_count_as_a_class() -> None:
    given, truth = loops.readings(np.zeros((1, 4, 4), np.int64), 2), torch.full((1, 4, 4), 255)
    truth[0, 0, 0] = 0
    with pytest.warns(GradmeterWarning, match="ignore=255"):
        segments(given, truth)
    segments(given, truth, ignore=255)
    segments(given, truth.clamp(max=254))


@pytest.mark.parametrize("ignore", [1.0, "0", [0], True])
def test_an_ignored_class_that_is_no_integer(ignore: Any) -> None:
    given = loops.readings(np.zeros((1, 4, 4), np.int64), 2)
    with pytest.raises(InputError, match="ignore="):
        segments(given, torch.zeros(1, 4, 4, dtype=torch.int64), ignore)


def test_readings_of_another_kind() -> None:
    with pytest.raises(InputError, match="Tensor"):
        segments(torch.zeros(1, 2, 4, 4))  # type: ignore[arg-type]


def test_an_ignored_class_may_be_negative() -> None:
    truth = torch.full((1, 4, 4), -1)
    truth[0, 0, 0] = 0
    assert segments(loops.readings(np.zeros((1, 4, 4), np.int64), 2), truth, -1).adjusted_iou == pytest.approx([1.0])


def test_readings_that_are_not_finite() -> None:
    given = loops.readings(np.zeros((1, 4, 4), np.int64), 2)
    given.values[0, 1, 1, 2, 2] = np.inf
    with pytest.raises(InputError, match="gradients/l2/high/mean_all"):
        segments(given)
