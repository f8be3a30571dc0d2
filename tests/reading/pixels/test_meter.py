"""Readings of every pixel, compared with float64 autograd one pixel at a time."""

import contextlib
import math
import warnings
from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.module import register_module_forward_hook
from torch.utils.checkpoint import checkpoint

from gradmeter import InputError, PixelMeter, PixelReadings, UnsupportedModelError
from gradmeter.errors import ProbabilitiesWarning, SlowLayerWarning
from gradmeter.reading.network import NotFinite
from gradmeter.reading.pixels.structure import checked_pixels
from gradmeter.reading.statistics import METRICS
from oracles.moments import assert_agree
from oracles.networks import randomise, samples, with_same_parameters
from oracles.pixels import pixel_statistics
from reading.pixels.networks import IMAGES, assert_pixels, doubled, interpolated, segmenter, shifted

HEADS: dict[str, Any] = {
    "1x1": lambda: nn.Conv2d(6, 4, 1),
    "no bias": lambda: nn.Conv2d(6, 4, 1, bias=False),
    "one channel": lambda: nn.Conv2d(6, 1, 1),
    "3x3": lambda: nn.Conv2d(6, 4, 3, padding=1),
    "stride and dilation": lambda: nn.Conv2d(6, 4, (3, 2), stride=(2, 1), dilation=(1, 2), padding=(1, 1)),
    "groups": lambda: nn.Conv2d(6, 4, 3, groups=2, padding="same"),
    "even kernel, same": lambda: nn.Conv2d(6, 4, 2, padding="same"),
    "reflected": lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"),
    "circular": lambda: nn.Conv2d(6, 4, 3, padding=(2, 1), padding_mode="circular"),
    "replicated": lambda: nn.Conv2d(6, 4, 3, padding=1, padding_mode="replicate"),
    "transposed": lambda: nn.ConvTranspose2d(6, 4, 3, stride=2, padding=1, output_padding=1),
    "transposed, groups": lambda: nn.ConvTranspose2d(6, 4, (2, 3), stride=(2, 1), dilation=(1, 2), groups=2),
}

WAYS: dict[str, Any] = {
    "as they are": lambda logits: logits,
    "bilinear": interpolated(size=(7, 10), mode="bilinear"),
    "bilinear, corners": interpolated(size=(12, 9), mode="bilinear", align_corners=True),
    "bilinear, factor": interpolated(scale_factor=(1.7, 2.3), mode="bilinear"),
    "bilinear, recomputed": interpolated(scale_factor=1.7, mode="bilinear", recompute_scale_factor=True),
    "bilinear, antialias": interpolated(size=(3, 4), mode="bilinear", antialias=True),
    "bicubic": interpolated(size=(7, 10), mode="bicubic"),
    "bicubic, corners": interpolated(scale_factor=2, mode="bicubic", align_corners=True),
    "nearest": interpolated(size=(9, 11), mode="nearest"),
    "nearest-exact": interpolated(scale_factor=2.5, mode="nearest-exact"),
    "area": interpolated(size=(3, 2), mode="area"),
    "twice": lambda logits: F.interpolate(
        F.interpolate(logits, scale_factor=2, mode="nearest"), size=(7, 9), mode="bilinear"
    ),
    "cropped": lambda logits: F.interpolate(logits, scale_factor=2, mode="bilinear")[:, :, 1:-2, ::2],
    "cropped from the right": lambda logits: logits[..., :-1],
    "padded": lambda logits: F.pad(logits, (1, 0, 0, 2)),
    "temperature": lambda logits: logits / 2.5,
    "negative, in place": lambda logits: doubled(logits * -1.5),
    "shifted": shifted,
    "negated": lambda logits: 1 - -logits,
    "rows first": lambda logits: logits.permute(0, 1, 3, 2).permute(0, 1, 3, 2),
    "double": lambda logits: logits.double().contiguous(),
}


@pytest.fixture(autouse=True)
def _small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of a few pixels, so that images have several."""
    monkeypatch.setattr("gradmeter.reading.pixels.meter._PIXELS", 24)
    monkeypatch.setattr("gradmeter.reading.pixels.features._ENTRIES", 50)


# PyTorch warns that it copies the input.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("way", ["as they are", "bilinear", "nearest"])
@pytest.mark.parametrize("head", HEADS)
def test_last_layers(head: str, way: str) -> None:
    network = segmenter(HEADS[head](), WAYS[way])
    readings = PixelMeter(network)(IMAGES)
    assert readings.layers == ("head",)
    assert_pixels(readings, "head", pixel_statistics(network, IMAGES, "head"))
    torch.testing.assert_close(readings.logits, network(IMAGES))


@pytest.mark.parametrize("head", ["1x1", "3x3", "one channel"])
@pytest.mark.parametrize("way", WAYS)
def test_ways_to_the_logits(head: str, way: str) -> None:
    network = segmenter(HEADS[head](), WAYS[way])
    image = IMAGES[1:]
    assert_pixels(PixelMeter(network)(image), "head", pixel_statistics(network, image, "head"))


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
@pytest.mark.parametrize("way", [Tensor.mul, Tensor.div])
def test_a_temperature_of_each_image(way: Callable[[Tensor, Tensor], Tensor]) -> None:
    """That of the first image was taken for all others."""
    network = segmenter(HEADS["1x1"](), lambda logits: way(logits, logits.detach().std((1, 2, 3), keepdim=True)))
    assert_pixels(PixelMeter(network)(IMAGES), "head", pixel_statistics(network, IMAGES, "head"))


@given(
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    dilation=st.integers(1, 2),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    groups=st.sampled_from([1, 2, 4]),
    classes=st.sampled_from([1, 2]),
    transposed=st.booleans(),
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    mode=st.sampled_from(["bilinear", "bicubic", "nearest", "nearest-exact", "area", None]),
    corners=st.booleans(),
    bias=st.booleans(),
    shape=st.tuples(st.integers(5, 8), st.integers(5, 8)),
)
def test_geometries(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: int,
    padding: tuple[int, int],
    groups: int,
    classes: int,
    transposed: bool,
    size: tuple[int, int],
    mode: str | None,
    corners: bool,
    bias: bool,
    shape: tuple[int, int],
) -> None:
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    if transposed:
        padding = (0, 0)
    # With four groups, the layer is depthwise.
    head = kind(
        4,
        classes if groups == 1 else groups,
        kernel,
        stride=stride,
        dilation=dilation,
        padding=padding,
        groups=groups,
        bias=bias,
    )
    network = nn.Sequential(nn.Identity(), head).double().eval()
    randomise(network)
    if mode is not None:
        aligned = {"align_corners": corners} if mode in ("bilinear", "bicubic") else {}
        network.append(_Interpolation(size=size, mode=mode, **aligned))
    images = samples(1, 4, *shape)
    readings = PixelMeter(network)(images)
    assert_pixels(readings, "1", pixel_statistics(network, images, "1"), norms=1e-6, shapes=1e-5)


class _Interpolation(nn.Module):
    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.options = options

    def forward(self, logits: Tensor) -> Tensor:
        return F.interpolate(logits, **self.options)


class _Dense(nn.Module):
    """A dense layer on channels-last features."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        logits = self.head(torch.tanh(self.body(images)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return F.interpolate(logits, size=images.shape[2:], mode="bilinear")


class _TwoHeads(nn.Module):
    """Two last layers, one of which is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.low, self.high = nn.Conv2d(3, 6, 3, stride=2), nn.Conv2d(3, 4, 3), nn.Conv2d(6, 4, 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        features = torch.tanh(self.body(images))
        coarse = F.avg_pool2d(features, 2)
        size = (images.shape[2] - 2, images.shape[3] - 2)
        high = F.interpolate(self.high(features), size=size, mode="bilinear")
        coarse_high = F.interpolate(self.high(coarse), size=size, mode="bilinear")
        return {"out": self.low(images) + (high - coarse_high), "aux": features}


def test_in_a_function_that_is_compiled() -> None:
    meter = PixelMeter(segmenter(nn.Conv2d(6, 4, 1)))
    compiled = torch.compile(lambda images: meter(images), backend="eager")
    assert torch.equal(compiled(IMAGES).values, meter(IMAGES).values)


def test_a_dense_layer() -> None:
    network = randomise(_Dense()).eval()
    assert_pixels(PixelMeter(network)(IMAGES), "head", pixel_statistics(network, IMAGES, "head"))


def test_several_last_layers_and_calls() -> None:
    network = randomise(_TwoHeads()).eval()
    readings = PixelMeter(network)(IMAGES)
    assert readings.layers == ("low", "high")
    for layer in readings.layers:
        assert_pixels(readings, layer, pixel_statistics(network, IMAGES, layer))


def test_the_network_itself_as_last_layer() -> None:
    network = randomise(nn.Conv2d(3, 4, 3)).eval()
    assert_pixels(PixelMeter(network)(IMAGES), "root", pixel_statistics(network, IMAGES, ""))


def test_frozen_parameters_and_no_grad() -> None:
    network = segmenter(nn.Conv2d(6, 4, 1)).requires_grad_(False)
    expected = pixel_statistics(network, IMAGES, "head")
    with torch.inference_mode():
        readings = PixelMeter(network)(IMAGES)
    assert_pixels(readings, "head", expected)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert torch.is_grad_enabled()


def test_without_biases() -> None:
    network = segmenter(nn.Conv2d(6, 4, 3), WAYS["bilinear"])
    readings = PixelMeter(network, biases=False)(IMAGES)
    assert_pixels(readings, "head", pixel_statistics(network, IMAGES, "head", biases=False))
    assert not readings.biases
    assert not PixelReadings.concatenate([readings, readings]).biases
    with pytest.raises(InputError, match="2 kinds"):
        PixelReadings.concatenate([readings, PixelMeter(network)(IMAGES)])


@pytest.mark.parametrize("size", ["input", (6, 13)])
def test_upsampled_logits(size: Any) -> None:
    network = segmenter(nn.Conv2d(6, 4, 1))
    target = (9, 11) if size == "input" else size
    upsampled = interpolated(size=target, mode="bilinear")
    readings = PixelMeter(network, size=size)(IMAGES)
    assert readings.logits.shape == (2, 4, *target)
    assert_pixels(readings, "head", pixel_statistics(network, IMAGES, "head", change=upsampled))


def test_pseudo_labels_share_a_pass() -> None:
    network = segmenter(nn.Conv2d(6, 4, 1), WAYS["bilinear"])

    def squares(logits: Tensor) -> Tensor:
        return (logits**2).sum(1)

    readings = PixelMeter(network, pseudo_label=["predicted", "uniform", 2, squares])(IMAGES)
    assert readings.pseudo_labels == ("predicted", "uniform", "2", "squares")
    losses = {
        "uniform": lambda logits: -torch.log_softmax(logits, 1).mean(1),
        "2": lambda logits: -torch.log_softmax(logits, 1)[:, 2],
        "squares": squares,
    }
    for name, loss in losses.items():
        expected = pixel_statistics(network, IMAGES, "head", loss=loss)
        assert_pixels(readings.for_pseudo_label(name), "head", expected)
    alone = PixelMeter(network)(IMAGES)
    torch.testing.assert_close(readings.values, alone.values, rtol=1e-5, atol=1e-5)


def test_uniform_of_a_binary_network() -> None:
    network = segmenter(nn.Conv2d(6, 1, 1), WAYS["bilinear"])

    def loss(logits: Tensor) -> Tensor:
        return -(F.logsigmoid(logits) + F.logsigmoid(-logits))[:, 0] / 2

    readings = PixelMeter(network, pseudo_label="uniform")(IMAGES)
    assert_pixels(readings, "head", pixel_statistics(network, IMAGES, "head", loss=loss))
    assert torch.equal(readings.predictions, (network(IMAGES)[:, 0] > 0).long())


@pytest.mark.parametrize("classes", [1, 4])
def test_confident_pixels(classes: int) -> None:
    """The loss gradient of a pixel with 1 - p = 1e-60 has all its digits."""
    network = segmenter(nn.Conv2d(6, classes, 1))
    with torch.no_grad():
        network.head.weight.mul_(1e-3)
        network.head.bias.copy_(torch.tensor([138.0, 0.0, 0.0, 0.0])[:classes])
    readings = PixelMeter(network)(IMAGES)
    logits = readings.logits.double()
    others = logits[:, 1:].logsumexp(1) if classes > 1 else torch.zeros(2, *logits.shape[2:])
    expected = others - logits[:, 0]
    torch.testing.assert_close(readings.log_scale, expected, rtol=0, atol=1e-6)
    # The l1 norm of u is 2 for several classes and 1 for one.
    features = network.features(IMAGES).double().sum(1) + 1
    torch.testing.assert_close(readings["head", "l1"], min(classes, 2) * expected.exp() * features, rtol=1e-5, atol=0)


def test_equal_logits() -> None:
    """Two largest logits are equal: the first class is predicted, as by argmax."""
    network = segmenter(nn.Conv2d(6, 3, 1))
    with torch.no_grad():
        network.head.weight[1] = network.head.weight[0]
        network.head.bias.copy_(torch.tensor([9.0, 9.0, 0.0]))
    readings = PixelMeter(network)(IMAGES)

    def loss(logits: Tensor) -> Tensor:
        return -torch.log_softmax(logits, 1).gather(1, logits.argmax(1, keepdim=True)).squeeze(1)

    assert_pixels(readings, "head", pixel_statistics(network, IMAGES, "head", loss=loss))


def test_half_precision() -> None:
    network = segmenter(nn.Conv2d(6, 4, 1), WAYS["bilinear"])
    expected = PixelMeter(network)(IMAGES)
    readings = PixelMeter(network.bfloat16())(IMAGES.bfloat16())
    torch.testing.assert_close(readings["head", "l1"], expected["head", "l1"], rtol=0.2, atol=0.2)


def test_a_batch_and_its_images() -> None:
    network = segmenter(nn.Conv2d(6, 4, 1), WAYS["bilinear"])
    meter = PixelMeter(network)
    parts = PixelReadings.concatenate([meter(IMAGES[:1]), meter(IMAGES[1:])])
    torch.testing.assert_close(parts.values, meter(IMAGES).values, rtol=1e-5, atol=1e-5)


class FirstOfSigmoid(nn.Module):
    """Only the first channel is a sigmoid."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.slice_scatter(x.sigmoid(), x[:, 1:], dim=1, start=1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [None, (13, 9)])
@pytest.mark.parametrize(
    "last",
    [
        nn.Softmax(1),
        nn.Sigmoid(),
        nn.Sequential(nn.Conv2d(4, 1, 1), nn.Sigmoid()),
        nn.Sequential(nn.Sigmoid(), nn.Upsample(scale_factor=2)),
        nn.Sequential(nn.Sigmoid(), nn.Hardtanh(0.001, 0.999)),
    ],
)
@pytest.mark.parametrize("scale", [0.1, 1000.0])
def test_probabilities_in_place_of_logits(
    last: nn.Module, scale: float, size: tuple[int, int] | None, dtype: torch.dtype
) -> None:
    torch.manual_seed(0)
    head = nn.Conv2d(3, 4, 3, padding=1)
    for values in head.parameters():
        values.data *= scale
    images = torch.randn(2, 3, 8, 8, dtype=dtype)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        PixelMeter(nn.Sequential(head, last).eval().to(dtype), size=size)(images)
    assert ProbabilitiesWarning in {warning.category for warning in caught}


@pytest.mark.parametrize(
    "last",
    [
        nn.Identity(),
        nn.ReLU(),
        nn.LogSoftmax(1),
        nn.LogSigmoid(),
        nn.Sequential(nn.Sigmoid(), nn.Conv2d(4, 4, 1)),
        FirstOfSigmoid(),
    ],
)
def test_logits_that_are_no_probabilities(last: nn.Module) -> None:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SlowLayerWarning)
        PixelMeter(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), last).eval())(torch.rand(2, 3, 8, 8) / 10)


@pytest.mark.parametrize("pixels", [1, 2, 64, 2**24 + 1, 4000 * 6000, 3 * 10**9])
def test_the_pixels_that_are_checked_are_in_the_image(pixels: int) -> None:
    """A single-precision number of the last of 24 million pixels was that of one more."""
    numbers = checked_pixels(pixels)
    assert (numbers[0], numbers[-1]) == (0, pixels - 1)
    assert (numbers.diff() >= 0).all()


def test_images_of_several_sizes() -> None:
    network = segmenter(nn.Conv2d(6, 4, 1), interpolated(scale_factor=2, mode="bilinear"))
    meter = PixelMeter(network)
    for images in (IMAGES, IMAGES[:, :, :7, :6], IMAGES):
        assert_pixels(meter(images), "head", pixel_statistics(network, images, "head"))


def test_a_replaced_layer() -> None:
    network = segmenter(nn.Conv2d(6, 4, 1))
    meter = PixelMeter(network)
    meter(IMAGES)
    network.head = randomise(nn.Conv2d(6, 3, 3), seed=5)
    assert_pixels(meter(IMAGES), "head", pixel_statistics(network, IMAGES, "head"))


@pytest.mark.parametrize("layer", ["body", "head"])
def test_a_layer_that_was_replaced_with_its_parameters(layer: str) -> None:
    network = segmenter(nn.Conv2d(6, 4, 1))
    meter = PixelMeter(network)
    meter(IMAGES)
    setattr(network, layer, with_same_parameters(network.get_submodule(layer)))
    assert_pixels(meter(IMAGES), "head", pixel_statistics(network, IMAGES, "head"))


class _Softplus(nn.Module):
    """A last layer with an operation behind it that is not linear."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        return F.softplus(self.head(F.silu(self.body(images), inplace=True)))


class _Refined(nn.Module):
    """Coarse logits that a further layer reads and refines."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse, self.fine = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        coarse = self.coarse(images)
        return coarse + self.fine(torch.tanh(coarse))


class _Scaled(nn.Module):
    """A factor for every class behind the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 3, 1)
        self.register_buffer("factors", torch.tensor([0.5, 1.0, 2.0]).reshape(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images) * self.factors


class _Pooled(nn.Module):
    """A pooling between the layer before the last and the last."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(F.avg_pool2d(self.body(images), 3, stride=1, padding=1))


class _LayerNorm(nn.Module):
    """A norm over all channels as the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.norm = nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.norm(self.head(images))


SLOW = {
    "softplus": (_Softplus, ("head", "body")),
    "refined": (_Refined, ("coarse", "fine")),
    "factors": (_Scaled, ("head",)),
    "pooled": (_Pooled, ("body",)),
    "norm": (_LayerNorm, ("norm", "head")),
}


@pytest.mark.parametrize("case", SLOW)
def test_other_layers_by_a_backward_pass_for_each_pixel(case: str) -> None:
    kind, layers = SLOW[case]
    network = randomise(kind()).eval()
    images = IMAGES[:, :, :5, :4]
    with pytest.warns(SlowLayerWarning) as shown:
        readings = PixelMeter(network, layers)(images)
    assert any(layers[0] in str(warning.message) for warning in shown)
    for layer in layers:
        assert_pixels(readings, layer, pixel_statistics(network, images, layer), norms=1e-4, shapes=1e-3)


@pytest.mark.parametrize("head", ["1x1", "groups", "transposed, groups", "stride and dilation", "one channel"])
@pytest.mark.parametrize("way", ["as they are", "bilinear", "negative, in place"])
def test_layers_before_the_last(head: str, way: str) -> None:
    """No warning: these layers need no backward pass for each pixel."""
    network = segmenter(HEADS[head](), WAYS[way])
    image = IMAGES[1:]
    readings = PixelMeter(network, ["body", "norm", "head"], pseudo_label=["uniform", "predicted"])(image)
    for layer in readings.layers:
        expected = pixel_statistics(network, image, layer)
        assert_pixels(readings.for_pseudo_label("predicted"), layer, expected, norms=1e-4, shapes=1e-3)


def test_a_grouped_layer_before_the_last() -> None:
    body = nn.Conv2d(3, 6, 3, groups=3, padding=1, padding_mode="circular", bias=False)
    network = randomise(nn.Sequential(body, nn.Hardswish(), nn.Conv2d(6, 4, 3), _Interpolation(size=(5, 9)))).eval()
    readings = PixelMeter(network, "0")(IMAGES)
    assert_pixels(readings, "0", pixel_statistics(network, IMAGES, "0"), norms=1e-4, shapes=1e-3)


def test_the_warning_is_given_once() -> None:
    meter = PixelMeter(randomise(_Softplus()).eval())
    images = IMAGES[:1, :, :4, :4]
    with pytest.warns(SlowLayerWarning, match="head"):
        meter(images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        meter(images)


def test_a_deep_layer_is_refused() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh(), nn.Conv2d(3, 3, 1), nn.Tanh(), nn.Conv2d(3, 3, 1)).eval()
    with pytest.raises(UnsupportedModelError, match=r"'0'.*expected one of 2, 4"):
        PixelMeter(network, "0")(IMAGES)


def test_backward_hooks_of_the_user() -> None:
    network = segmenter(nn.Conv2d(6, 4, 1))
    expected = PixelMeter(network)(IMAGES).values
    network.head.register_full_backward_hook(lambda *_: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error", SlowLayerWarning)
        actual = PixelMeter(network)(IMAGES).values
    assert torch.equal(actual, expected)
    assert len(network.head._backward_hooks) == 1


@pytest.mark.parametrize("layers", [3, [], [3], ["head", "head"]])
def test_layers_that_are_no_names(layers: Any) -> None:
    with pytest.raises(InputError, match="layers="):
        PixelMeter(segmenter(nn.Conv2d(6, 4, 1)), layers)


def test_a_size_that_is_an_array() -> None:
    with pytest.raises(InputError, match="size="):
        PixelMeter(segmenter(nn.Conv2d(6, 4, 1)), size=np.array([8, 8]))  # type: ignore[arg-type]


def test_unknown_and_shared_layers_are_refused() -> None:
    network = segmenter(nn.Conv2d(6, 6, 1))
    with pytest.raises(InputError, match=r"'nonsense'.*head"):
        PixelMeter(network, "nonsense")
    shared = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)).eval()
    shared[1].weight = shared[0].weight
    with pytest.raises(UnsupportedModelError, match="'1'"):
        PixelMeter(shared, "1")


@pytest.mark.parametrize("direct", [False, True])
def test_a_weight_used_outside_of_its_layer_is_refused(direct: bool) -> None:
    class Functional(nn.Module):
        """The weight of the last layer is also used without a call of that layer."""

        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, images: Tensor) -> Tensor:
            if direct:
                return self.head(images) + F.conv2d(images, self.head.weight)
            return self.head(self.body(F.conv2d(images, self.head.weight)))

    with pytest.raises(UnsupportedModelError, match="'head'"):
        PixelMeter(Functional().eval(), "head")(IMAGES)


def test_weights_computed_from_parameters_are_refused() -> None:
    """The gradients were those by the computed weights."""

    class Functional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, 3, 1)

        def forward(self, images: Tensor) -> Tensor:
            doubled = {name: 2 * parameter for name, parameter in self.head.named_parameters()}
            return functional_call(self.head, doubled, (images,))

    with pytest.raises(UnsupportedModelError, match="'head'"):
        PixelMeter(Functional().eval())(IMAGES)


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
@pytest.mark.parametrize("layer", ["head", "body"])
def test_a_checkpoint(layer: str) -> None:
    class Checkpointed(nn.Module):
        """It computes the layers again in the backward pass."""

        def __init__(self) -> None:
            super().__init__()
            self.network = segmenter(nn.Conv2d(6, 4, 1))

        def forward(self, images: Tensor) -> Any:
            return checkpoint(self.network, images, use_reentrant=False)

    network, images = Checkpointed().eval(), IMAGES[..., :5, :4]
    name = f"network.{layer}"
    assert_pixels(PixelMeter(network, name)(images), name, pixel_statistics(network, images, name))


def test_a_refinement_is_fast() -> None:
    """It was measured by a backward pass for each pixel, because logits are added that are not followed."""

    class Refined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network, self.refine = segmenter(nn.Conv2d(6, 4, 1)), nn.Conv2d(4, 4, 3, padding=1)

        def forward(self, images: Tensor) -> Tensor:
            coarse = self.network(images)
            return coarse + self.refine(torch.relu(coarse))

    network = randomise(Refined()).eval()
    assert_pixels(PixelMeter(network, "refine")(IMAGES), "refine", pixel_statistics(network, IMAGES, "refine"))


def test_a_single_logit_times_a_vector() -> None:
    """It was taken for the factor."""
    network = segmenter(nn.Conv2d(6, 1, 1), lambda logits: logits * torch.tensor([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1))
    with pytest.warns(SlowLayerWarning):
        readings = PixelMeter(network)(IMAGES[:1, :, :2, :2])
    assert_pixels(readings, "head", pixel_statistics(network, IMAGES[:1, :, :2, :2], "head"))


@pytest.mark.parametrize(
    "options",
    [
        {"size": (0, 3)},
        {"size": "half"},
        {"size": 5},
        {"biases": "no"},
        {"pseudo_label": "nonsense"},
        {"pseudo_label": []},
        {"pseudo_label": ["uniform", "uniform"]},
        {"layers": []},
    ],
)
def test_invalid_arguments(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r".*"):
        PixelMeter(segmenter(nn.Conv2d(6, 4, 1)), **options)


def test_a_model_is_required() -> None:
    with pytest.raises(InputError, match="function"):
        PixelMeter(lambda images: images)  # type: ignore[arg-type]


@pytest.mark.parametrize("output", [torch.zeros(2, 3), torch.zeros(1, 3, 4, 4), {"mask": torch.zeros(2)}, (1, 2)])
def test_other_outputs_are_refused(output: Any) -> None:
    network = segmenter(nn.Conv2d(6, 4, 1), lambda logits: output)
    with pytest.raises(InputError, match="expected logits"):
        PixelMeter(network)(IMAGES)


def test_images_without_finite_logits_are_named() -> None:
    images = IMAGES.clone()
    images[1, 0, 0, 0] = math.nan
    with pytest.raises(NotFinite) as error:
        PixelMeter(segmenter(nn.Conv2d(6, 4, 1)))(images)
    assert list(error.value.rows) == [1]


def test_a_network_in_train_mode_is_refused() -> None:
    with pytest.raises(InputError, match="norm"):
        PixelMeter(segmenter(nn.Conv2d(6, 4, 1)).train())(IMAGES)


def test_a_network_that_mixes_images_is_refused() -> None:
    network = segmenter(nn.Conv2d(6, 4, 1), lambda logits: logits + logits.mean(0))
    with pytest.raises(UnsupportedModelError, match="mixes"):
        PixelMeter(network)(IMAGES)


class Windows(nn.Module):
    """Inference in windows that are added into one map."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits = images.new_zeros(len(images), 4, *images.shape[2:])
        for start in (0, 2):
            logits[..., start : start + 3] += self.head(torch.relu(self.body(images[..., start : start + 3])))
        return logits


class Constants(nn.Module):
    """A head that is called once more for a number that the network treats as a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.body(images))
        with torch.no_grad():
            size = self.head(features).std((1, 2, 3), keepdim=True)
        return self.head(features) / size


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
@pytest.mark.parametrize("kind", [Windows, Constants])
@pytest.mark.parametrize("layer", ["head", "body"])
def test_gradients_are_enabled_where_the_network_does_not_disable_them(kind: type[nn.Module], layer: str) -> None:
    network = randomise(kind()).eval()
    images = IMAGES[..., :4, :5]
    assert_pixels(PixelMeter(network, layer)(images), layer, pixel_statistics(network, images, layer))


def double(module: nn.Module, args: Any, output: Tensor) -> Tensor:
    return 2 * output


def rooted(module: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return ((args[0] ** 2 + 1).sqrt(),)


def with_sine(module: nn.Conv2d, x: Tensor) -> Tensor:
    return F.conv2d(x, module.weight.sin(), module.bias, module.stride, module.padding)


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
@pytest.mark.parametrize("layer", ["head", "body"])
@pytest.mark.parametrize("after", [lambda logits: logits, F.softplus], ids=["fast", "slow"])
@pytest.mark.parametrize("change", ["hook", "hook of all modules", "pre-hook", "forward"])
def test_what_users_do_to_a_layer(layer: str, after: Callable[[Tensor], Tensor], change: str) -> None:
    network = segmenter(nn.Conv2d(6, 4, 1), after)
    module = getattr(network, layer)
    hooks = contextlib.ExitStack()
    if change == "hook":
        module.register_forward_hook(double)
    elif change == "hook of all modules":
        hooks.enter_context(register_module_forward_hook(double))
    elif change == "pre-hook":
        module.register_forward_pre_hook(rooted)
    else:
        module.forward = MethodType(with_sine, module)
    images = IMAGES[..., :5, :4]
    with hooks:
        readings, expected = PixelMeter(network, layer)(images), pixel_statistics(network, images, layer)
    assert_pixels(readings, layer, expected, norms=1e-4, shapes=1e-3)


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
def test_a_norm_with_a_forward_pass_of_its_own() -> None:
    """Such as those with an activation in timm."""

    class Activated(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return torch.sin(super().forward(x))

    network = segmenter(nn.Conv2d(6, 4, 1))
    network.norm = Activated(6)
    randomise(network, 0).eval()
    images = IMAGES[..., :5, :4]
    assert_pixels(
        PixelMeter(network, "norm")(images), "norm", pixel_statistics(network, images, "norm"), norms=1e-4, shapes=1e-3
    )


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
def test_hooks_see_numbers() -> None:
    network, seen = segmenter(nn.Conv2d(6, 4, 1), F.softplus), []
    network.head.register_forward_hook(lambda module, args, output: seen.append(output.detach().numpy().mean()))
    PixelMeter(network)(IMAGES[..., :5, :4])
    assert seen


def test_an_input_overwritten_in_place_is_refused() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Conv2d(3, 3, 1)

        def forward(self, images: Tensor) -> Tensor:
            features = images * 1
            logits: Tensor = self.head(features)
            features.zero_()
            return logits

    with pytest.raises(UnsupportedModelError, match="in place"):
        PixelMeter(Overwriting().eval())(IMAGES)


def test_nothing_of_the_network_changes() -> None:
    network = segmenter(nn.Conv2d(6, 4, 1), WAYS["bilinear"])
    state = {name: value.clone() for name, value in network.state_dict().items()}
    PixelMeter(network, ["body", "head"])(IMAGES)
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])
    assert all(parameter.grad is None for parameter in network.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_values_by_name() -> None:
    readings = PixelMeter(segmenter(nn.Conv2d(6, 4, 1)))(IMAGES)
    assert readings.metrics == METRICS
    assert readings["head", "l2"].shape == readings.predictions.shape == readings.log_scale.shape == (2, 5, 6)
    assert readings.values.dtype == readings.log_scale.dtype == torch.float64
    assert_agree(
        np.stack([readings["head", metric].numpy() for metric in METRICS], axis=-1),
        readings.values[:, 0].permute(0, 2, 3, 1).numpy(),
        norms=0,
        shapes=0,
    )


def test_torch_s_default_device_does_not_matter() -> None:
    network = segmenter(nn.Conv2d(6, 4, 3, padding=1))

    def values() -> Tensor:
        return PixelMeter(network, ["body", "head"])(IMAGES).values

    expected = values()
    with torch.device("meta"):  # as after torch.set_default_device("cuda"), tensors come where they must not be
        other = values()
    assert torch.equal(other, expected)


def test_a_network_is_measured_in_the_autocast_of_the_caller() -> None:
    network = segmenter(nn.Conv2d(6, 4, 3, padding=1), nn.Upsample(scale_factor=2, mode="bilinear")).float()
    meter, images = PixelMeter(network, ["head"]), IMAGES.float()
    expected = meter(images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, readings = network(images), PixelMeter(network, ["head"])(images)
    assert torch.equal(readings.logits, logits)
    assert readings.logits.dtype == torch.bfloat16
    torch.testing.assert_close(readings["head", "l2"], expected["head", "l2"], rtol=0.1, atol=0)
