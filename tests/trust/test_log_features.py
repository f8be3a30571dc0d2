from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, Readings
from gradmeter.errors import InputError
from gradmeter.reading.scores import entropy
from gradmeter.trust import features
from gradmeter.trust.log_features import LogFeatures
from trust.named_features import axes, feature
from trust.trained import digits, trained

IMAGES = digits()[0][300:340]


def names_of(features: LogFeatures) -> tuple[str, ...]:
    return tuple(map(str, features.axes.features))


def test_by_hand() -> None:
    readings = GradientMeter(trained())(IMAGES)
    names = ("4/l2", "0/min", "6/skewness", "4/kurtosis", "log_scale", "entropy")
    values = LogFeatures(axes(*names)).block(readings).values
    p = readings.logits.double().softmax(1).max(1).values.numpy()
    start = 1 - p
    np.testing.assert_allclose(values[:, 0], np.log(readings["4", "l2"].numpy() / start), rtol=1e-5)
    np.testing.assert_allclose(values[:, 1], np.log(-readings["0", "min"].numpy() / start), rtol=1e-5)
    np.testing.assert_allclose(np.sinh(values[:, 2]), readings["6", "skewness"].numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(np.exp(values[:, 3]) - 3, readings["4", "kurtosis"].numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(values[:, 4], np.log(start), rtol=1e-4)
    np.testing.assert_allclose(np.exp(values[:, 5]), entropy(readings.logits), rtol=1e-9)


def test_sizes_do_not_depend_on_confidence() -> None:
    """The bias of the predicted class changes 1 - p, and thereby only the scale of the gradient."""
    network = nn.Linear(4, 2)
    x = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    features = LogFeatures(axes("root/l2", "root/max"))
    with torch.no_grad():
        network.bias.copy_(torch.tensor([20.0, 0.0]))
        plain = features.block(GradientMeter(network)(x)).values
        network.bias[0] += 10
        sure = features.block(GradientMeter(network)(x)).values
    np.testing.assert_allclose(sure, plain, atol=1e-5)


def test_a_layer_without_a_gradient_is_finite() -> None:
    network = trained()
    with torch.no_grad():
        network[4].bias.fill_(-1e6)  # no unit of this layer is ever active
    readings = GradientMeter(network)(IMAGES)
    assert (readings["0", "l2"] == 0).all()
    assert LogFeatures(axes("0/l2")).block(readings).values == pytest.approx(np.log(1e-12))
    assert not any(name.startswith("0/") for name in names_of(LogFeatures.chosen(readings)))


def test_chosen_are_all_but_the_mean_and_the_whole() -> None:
    names = names_of(LogFeatures.chosen(GradientMeter(trained())(IMAGES)))
    assert names[:3] == ("entropy", "log_scale", "energy")
    assert {name.rpartition("/")[0] for name in names[3:]} == {"0", "4", "6"}
    assert {name.rpartition("/")[2] for name in names[3:]} == {"l1", "l2", "min", "max", "std", "skewness", "kurtosis"}


@pytest.fixture(scope="module")
def whole() -> Readings:
    """Readings with all optional parts."""
    meter = GradientMeter(trained(), ["predicted", "uniform"], activations=True, embedding=True, probes=["odin"])
    return meter(IMAGES)


def broken(whole: Readings, name: str, value: float) -> Readings:
    """Return readings with one value that is not finite, in the source of a feature."""

    def changed(tensor: Tensor, *place: int) -> Tensor:
        tensor = tensor.clone()
        tensor[place] = value
        return tensor

    further, activations, embedding = whole.for_pseudo_label("uniform"), whole.activations, whole.embedding
    assert activations is not None
    assert embedding is not None
    where = {layer: number for number, layer in enumerate(whole.layers)}
    if name.startswith("activation:"):
        place = activations.layers.index("4"), activations.metrics.index(name.rpartition("/")[2])
        return replace(whole, activations=replace(activations, values=changed(activations.values, 3, *place)))
    if name.startswith("embedding:"):
        return replace(whole, embedding=changed(embedding, 3, 7))
    if name.startswith("score:"):
        return replace(whole, scores={"odin": changed(whole.scores["odin"], 3)})
    if name.startswith("logit:"):
        return replace(whole, logits=changed(whole.logits, 3, 2))
    if name.startswith("uniform:"):
        values = changed(further.values, 3, where["4"], whole.metrics.index(name.rpartition("/")[2]))
        return replace(whole, further={"uniform": replace(further, values=values)})
    return replace(whole, values=changed(whole.values, 3, where["4"], whole.metrics.index(name.rpartition("/")[2])))


GRADIENTS = ("l1", "l2", "min", "max", "std", "skewness", "kurtosis")
READ = [
    *(f"{label}4/{metric}" for label in ("", "uniform:") for metric in GRADIENTS),
    *(f"activation:4/{metric}" for metric in (*GRADIENTS, "mean", "positive")),
    *("embedding:7", "logit:2", "score:odin"),
]


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("name", READ)
def test_readings_that_are_not_finite(name: str, value: float, whole: Readings) -> None:
    """Such values raise an error, even if clipping or a logarithm would make the feature finite."""
    assert np.isfinite(LogFeatures(axes(name)).block(whole).values).all()
    with pytest.raises(InputError, match=f"'{name}'"):
        LogFeatures(axes(name)).block(broken(whole, name, value))


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_scales_that_are_not_finite(value: float, whole: Readings) -> None:
    with pytest.raises(InputError, match="'4/l2'"):
        LogFeatures(axes("4/l2")).block(replace(whole, log_scale=torch.full_like(whole.log_scale, value)))


def test_a_loss_without_a_gradient_is_finite() -> None:
    """For equal logits, the start vector of "uniform" is zero, and the logarithm of its size is -inf."""
    network = nn.Linear(4, 3)
    with torch.no_grad():
        network.weight.zero_()
        network.bias.zero_()
        network.weight[0, 0] = 1
    x = torch.eye(4)
    readings = GradientMeter(network, ["predicted", "uniform"])(x)
    assert readings.for_pseudo_label("uniform").log_scale[1:].tolist() == [-torch.inf] * 3
    values = LogFeatures(axes("uniform:root/l2")).block(readings).values[:, 0]
    assert values[1:] == pytest.approx(np.log(1e-12))
    assert values[0] > -1


# --- everything


def test_everything_by_hand(whole: Readings) -> None:
    assert whole.activations is not None
    assert whole.embedding is not None
    uniform = whole.for_pseudo_label("uniform")
    expected = {
        "uniform:4/max": (uniform["4", "max"] / uniform.log_scale.exp()).log(),
        "uniform:6/kurtosis": (uniform["6", "kurtosis"] + 3).log(),
        "activation:0/l1": whole.activations["0", "l1"].log(),
        "activation:4/min": whole.activations["4", "min"].asinh(),
        "activation:4/positive": whole.activations["4", "positive"],
        "activation:6/mean": whole.activations["6", "mean"].asinh(),
        "embedding:7": whole.embedding[:, 7].double(),
        "logit:2": whole.logits[:, 2].double(),
        "score:odin": whole.scores["odin"],
    }
    values = LogFeatures(axes(*expected)).block(whole).values
    np.testing.assert_allclose(values, torch.stack([*expected.values()], 1), rtol=1e-6, atol=1e-9)


def test_everything_selects_all_features_that_vary(whole: Readings) -> None:
    names = names_of(LogFeatures.everything(whole))
    assert len(names) == len({*names})
    assert {name.partition(":")[0] for name in names if ":" in name} == {
        *("logit", "uniform", "activation", "embedding", "score")
    }
    assert [name for name in names if name.startswith("logit:")] == [f"logit:{number}" for number in range(10)]
    assert not any(name.rpartition("/")[2] == "mean" for name in names if not name.startswith("activation:"))
    assert (np.ptp(LogFeatures(axes(*names)).block(whole).values, axis=0) > 0).all()
    constant = replace(whole, logits=whole.logits[:1].expand(40, 10), scores={"odin": torch.ones(40).double()})
    left = names_of(LogFeatures.everything(constant))
    # All logits are kept, because they determine the predicted class.
    assert {*names} - {*left} == {"entropy", "energy", "score:odin"}
    sure = replace(whole, log_scale=torch.full_like(whole.log_scale, -3))
    assert "log_scale" in names_of(LogFeatures.everything(sure))


def test_features_that_vary_by_rounding_errors_alone_are_left_out() -> None:
    """A layer norm has a mean of 0, the outputs of a softmax one of 1 / n, and a layer behind tanh a gradient of -1."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 24), nn.LayerNorm(24), nn.Softmax(1), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 3)
    )
    names = names_of(LogFeatures.everything(GradientMeter(network, activations=True, embedding=True)(IMAGES)))
    assert {"activation:1/mean", "activation:2/max", "6/max", "6/l2", "embedding:0"} < {*names}
    assert not {"activation:2/mean", "activation:3/mean", "activation:3/l1", "activation:6/kurtosis", "6/min"} & {
        *names
    }


def test_the_norm_of_a_normalised_output_is_left_out() -> None:
    """It varies a little, by the number that a layer norm adds to the variance."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.LayerNorm(24), nn.Linear(24, 10))
    readings = GradientMeter(network, activations=True)(IMAGES)
    assert readings.activations is not None
    assert np.ptp(readings.activations["2", "l2"].log().numpy()) > 1e-5
    names = names_of(LogFeatures.everything(readings))
    assert "activation:2/max" in names
    assert not {"activation:2/l2", "activation:2/std"} & {*names}


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_small_and_large_outputs_are_no_rounding_errors(scale: float) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.BatchNorm1d(24, eps=0), nn.Linear(24, 10)).eval()
    of_one = names_of(LogFeatures.everything(GradientMeter(network, activations=True)(IMAGES)))
    with torch.no_grad():
        network[1].weight *= scale
        network[1].bias *= scale
        network[2].running_var *= scale**2
    assert names_of(LogFeatures.everything(GradientMeter(network, activations=True)(IMAGES))) == of_one


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("uniform:4/l2", "pseudo-label 'uniform'"),
        ("activation:4/l2", "activations"),
        ("embedding:0", "embedding"),
        ("score:odin", "score 'odin'"),
    ],
)
def test_readings_without_the_source_of_a_feature(name: str, missing: str) -> None:
    with pytest.raises(InputError, match=missing):
        LogFeatures(axes(name)).block(GradientMeter(trained())(IMAGES))


@pytest.mark.parametrize(
    ("name", "origin"),
    [
        ("block.conv/l2", "block.conv"),
        ("uniform:block.conv/l2", "block.conv"),
        ("activation:en:de/l2", "en:de (output)"),
        ("activation:block.conv/l2", "block.conv (output)"),
        ("logit:3", "logits"),
        ("embedding:3", "embedding"),
        ("score:odin", "score:odin"),
        ("entropy", "entropy"),
    ],
)
def test_the_origin_of_a_feature(name: str, origin: str) -> None:
    assert feature(name).origin == origin
    assert str(feature(name)) == name


def test_a_layer_whose_name_has_a_colon() -> None:
    plain, uniform = (features.Feature(features.GRADIENTS, "l2", "en:de", label) for label in ("", "uniform"))
    assert (str(plain), str(uniform)) == ("en:de/l2", "uniform:en:de/l2")
    assert plain.origin == uniform.origin == "en:de"
