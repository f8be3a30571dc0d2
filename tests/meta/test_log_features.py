import numpy as np
import pytest
import torch
from torch import nn

from gradmeter import GradientMeter, Readings
from gradmeter.errors import InputError
from gradmeter.meta import LogFeatures
from gradmeter.scores import entropy
from meta.trained import digits, trained

IMAGES = digits()[0][300:340]


def test_by_hand() -> None:
    readings = GradientMeter(trained())(IMAGES)
    names = ("4/l2", "0/min", "6/skewness", "4/kurtosis", "log_scale", "entropy")
    found = LogFeatures(names).matrix(readings)
    p = readings.logits.double().softmax(1).max(1).values.numpy()
    start = 1 - p
    np.testing.assert_allclose(found[:, 0], np.log(readings["4", "l2"].numpy() / start), rtol=1e-5)
    np.testing.assert_allclose(found[:, 1], np.log(-readings["0", "min"].numpy() / start), rtol=1e-5)
    np.testing.assert_allclose(np.sinh(found[:, 2]), readings["6", "skewness"].numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.exp(found[:, 3]) - 3, readings["4", "kurtosis"].numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found[:, 4], np.log(start), rtol=1e-4)
    np.testing.assert_allclose(np.exp(found[:, 5]), entropy(readings.logits), rtol=1e-9)


def test_sizes_do_not_depend_on_how_confident_the_answer_is() -> None:
    """A bias of the predicted class changes 1 - p, and of the gradient only its scale."""
    network = nn.Linear(4, 2)
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    features = LogFeatures(("root/l2", "root/max"))
    with torch.no_grad():
        network.bias.copy_(torch.tensor([20.0, 0.0]))
        plain = features.matrix(GradientMeter(network)(x))
        network.bias[0] += 10
        sure = features.matrix(GradientMeter(network)(x))
    np.testing.assert_allclose(sure, plain, atol=1e-5)


def test_a_layer_without_a_gradient_is_finite() -> None:
    network = trained()
    with torch.no_grad():
        network[4].bias.fill_(-1e6)  # no unit behind it is ever on
    readings = GradientMeter(network)(IMAGES)
    assert (readings["0", "l2"] == 0).all()
    assert LogFeatures(("0/l2",)).matrix(readings) == pytest.approx(np.log(1e-12))
    assert not any(name.startswith("0/") for name in LogFeatures.chosen(readings).names)


def test_chosen_are_all_but_the_mean_and_the_whole() -> None:
    names = LogFeatures.chosen(GradientMeter(trained())(IMAGES)).names
    assert names[:3] == ("entropy", "log_scale", "energy")
    assert {name.rpartition("/")[0] for name in names[3:]} == {"0", "4", "6"}
    assert {name.rpartition("/")[2] for name in names[3:]} == {"l1", "l2", "min", "max", "std", "skewness", "kurtosis"}


def test_readings_that_are_not_finite() -> None:
    readings = GradientMeter(trained())(IMAGES)
    values = readings.values.clone()
    values[3, 0, 1] = torch.nan
    broken = Readings(readings.logits, readings.log_scale, readings.layers, values)
    with pytest.raises(InputError, match="'0/l2' is not finite for some samples"):
        LogFeatures(("0/l2",)).matrix(broken)
