"""The closed form of the sums of start vectors, beside the vectors themselves."""

import pytest
import torch

from gradmeter.reading.pixels.starts import PixelStarts
from gradmeter.reading.pseudo_labels import predicted, uniform
from gradmeter.reading.statistics import PowerSums
from oracles.gradients import exact_log_scale, predicted_error


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [0.1, 5.0, 60.0])
@pytest.mark.parametrize("classes", [2, 3, 21])
def test_sums_of_the_predicted_class(classes: int, scale: float, dtype: torch.dtype) -> None:
    logits = (scale * torch.randn(classes, 50, generator=torch.Generator().manual_seed(0))).to(dtype)
    starts = PixelStarts(predicted, logits)
    expected = PixelStarts(lambda given: predicted(given), logits)
    (sums,), (reference,) = starts.sums(1), expected.sums(1)
    assert sums.count == reference.count == classes
    tolerance = 1e-6 if dtype == torch.float32 else 1e-13
    torch.testing.assert_close(sums.numbers, reference.numbers, rtol=tolerance, atol=2 * tolerance)
    torch.testing.assert_close(starts.log_scale, torch.from_numpy(exact_log_scale(logits.T)), rtol=1e-6, atol=1e-6)


def test_scale_and_sums_are_those_of_the_derivative() -> None:
    logits = 3 * torch.randn(7, 20, dtype=torch.float64)
    starts = PixelStarts(predicted, logits)
    exact = PowerSums.of(predicted_error(logits.T)).numbers
    scale = starts.log_scale.exp().unsqueeze(1) ** torch.tensor([1, 2, 3, 4, 1, 1, 1])
    torch.testing.assert_close(starts.sums(1)[0].numbers * scale, exact, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        starts.direction * starts.log_scale.exp().unsqueeze(1), predicted_error(logits.T), rtol=1e-9, atol=1e-12
    )


def test_groups_of_channels() -> None:
    logits = torch.randn(6, 9)
    starts = PixelStarts(predicted, logits)
    first, second = starts.sums(2)
    merged = PowerSums.merge([first, second])
    torch.testing.assert_close(merged.numbers, starts.total.numbers, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(first.numbers, PowerSums.of(starts.direction[:, :3]).numbers)


def test_equal_largest_logits_are_left_to_the_vectors() -> None:
    logits = torch.tensor([[2.0, 1.0], [2.0, 0.0], [0.0, 0.0]])
    torch.testing.assert_close(
        PixelStarts(predicted, logits).sums(1)[0].numbers,
        PowerSums.of(predicted(logits.T.double()).direction).numbers,
    )


@pytest.mark.parametrize("start", [predicted, uniform])
def test_one_channel_is_the_second_of_two_classes(start: object) -> None:
    logits = torch.randn(1, 30, dtype=torch.float64)
    both = PixelStarts(start, torch.cat([torch.zeros_like(logits), logits]))  # type: ignore[arg-type]
    one = PixelStarts(start, logits)  # type: ignore[arg-type]
    torch.testing.assert_close(one.direction, both.direction[:, 1:])
    torch.testing.assert_close(one.log_scale, both.log_scale, rtol=1e-9, atol=1e-12)
