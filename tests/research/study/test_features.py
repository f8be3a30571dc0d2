import numpy as np
import pytest
import torch

from gradmeter import GradientMeter, InputError, Readings
from gradmeter.reading.scores import entropy
from gradmeter.reading.statistics import METRICS
from gradmeter.research.study.features import Features
from gradmeter.research.study.network import PaperCNN
from gradmeter.trust.features import GRADIENTS, Feature

LAYERS = ("conv1", "conv2", "conv3", "dense")


@pytest.fixture(scope="module")
def readings() -> Readings:
    """Readings of 60 images by the paper's network, with weights that make some predictions confident."""
    torch.manual_seed(0)
    network = PaperCNN().eval()
    with torch.no_grad():
        network.dense.weight *= 10
    return GradientMeter(network)(torch.rand(60, 1, 28, 28))


def test_entropy_and_all_metrics_of_all_layers_but_the_dense_mean(readings: Readings) -> None:
    expected = ["entropy", *(f"{layer}/{metric}" for layer in LAYERS for metric in METRICS)]
    expected.remove("dense/mean")  # p - e_y sums to zero up to rounding
    assert Features.chosen(readings).names == tuple(expected)
    assert readings["dense", "mean"].abs().max() > 0, "rounding noise, but not constant"


def test_layers_and_the_whole_gradient_can_be_selected(readings: Readings) -> None:
    names = Features.chosen(readings, ["conv3"], whole_gradient=True).names
    assert names == ("entropy", *(f"{layer}/{metric}" for layer in ("conv3", "all") for metric in METRICS))
    with pytest.raises(InputError, match="conv9"):
        Features.chosen(readings, ["conv9"])


def test_a_constant_is_dropped(readings: Readings) -> None:
    values = readings.values.clone()
    values[:, 0, METRICS.index("min")] = -0.25
    changed = Readings(readings.logits, readings.log_scale, readings.layers, values)
    dropped = set(Features.chosen(readings).names) - set(Features.chosen(changed).names)
    assert dropped == {"conv1/min"}


def test_a_mean_above_rounding_noise_in_one_sample_is_kept(readings: Readings) -> None:
    values = readings.values.clone()
    dense, mean = readings.layers.index("dense"), METRICS.index("mean")
    # A thousandth of the mean absolute entry: small, but far above rounding.
    count = 10 * 145
    values[0, dense, mean] = 1e-3 * values[0, dense, METRICS.index("l1")] / count
    changed = Readings(readings.logits, readings.log_scale, readings.layers, values)
    assert "dense/mean" in Features.chosen(changed).names


def test_the_matrix_holds_the_named_columns_in_order(readings: Readings) -> None:
    matrix = Features.named(("dense/l2", "entropy", "conv2/kurtosis")).matrix(readings)
    assert matrix.dtype == np.float64
    np.testing.assert_array_equal(matrix[:, 0], readings["dense", "l2"].numpy())
    np.testing.assert_array_equal(matrix[:, 1], entropy(readings.logits.double().numpy()))
    np.testing.assert_array_equal(matrix[:, 2], readings["conv2", "kurtosis"].numpy())


def test_layers_may_have_dots_and_slashes_in_their_names(readings: Readings) -> None:
    renamed = Readings(readings.logits, readings.log_scale, ("a/b.0", *readings.layers[1:]), readings.values)
    features = Features.chosen(renamed, ["a/b.0"])
    assert features.axes.features[1] == Feature(GRADIENTS, "l1", "a/b.0")
    np.testing.assert_array_equal(features.matrix(renamed)[:, 1], readings["conv1", "l1"].numpy())
    assert Features.named(features.names) == features


def test_a_feature_that_is_not_finite_is_named(readings: Readings) -> None:
    values = readings.values.clone()
    values[3, 1, METRICS.index("max")] = torch.nan
    changed = Readings(readings.logits, readings.log_scale, readings.layers, values)
    with pytest.raises(InputError, match="conv2/max"):
        Features.named(("entropy", "conv2/max")).matrix(changed)
